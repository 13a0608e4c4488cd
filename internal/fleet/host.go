package fleet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
)

// Plug is an ENI whose link appears on a node.
type Plug struct {
	Node             string
	ENI, MAC, Subnet string
	DeviceIndex      int
}

// host is a node's network and metadata service in memory: links come and go as
// the fleet has them, and are configured by being remembered so.
type host struct {
	mu      sync.Mutex
	plugged map[string]*link // by MAC
	changed chan struct{}
	last    int // index of a link
}

type link struct {
	Plug
	index      int
	name       string
	mtu        int
	configured bool
}

var (
	_ agent.Links    = (*host)(nil)
	_ agent.Metadata = (*host)(nil)
)

// firstMTU is that of a new link in EC2.
const firstMTU = 9001

func newHost() *host {
	return &host{plugged: map[string]*link{}, changed: make(chan struct{}, 1), last: 2} // lo and the primary ENI's
}

func (h *host) plug(p Plug) {
	h.mu.Lock()
	h.last++
	h.plugged[p.MAC] = &link{Plug: p, index: h.last, name: fmt.Sprintf("ens%d", h.last+2), mtu: firstMTU}
	h.mu.Unlock()
	h.signal()
}

func (h *host) unplug(eni string) {
	h.mu.Lock()
	for mac, l := range h.plugged {
		if l.ENI == eni {
			delete(h.plugged, mac)
		}
	}
	h.mu.Unlock()
	h.signal()
}

func (h *host) signal() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// Know implements agent.Links: there are no routes.
func (h *host) Know(...net.HardwareAddr) error { return nil }

// Expect implements agent.Links: no router advertises itself.
func (h *host) Expect(net.HardwareAddr) error { return nil }

// Present implements agent.Links.
func (h *host) Present(mac net.HardwareAddr) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.plugged[mac.String()] != nil, nil
}

// Configure implements agent.Links.
func (h *host) Configure(w hostnet.Wanted) (hostnet.Status, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.plugged[w.MAC.String()]
	if l == nil {
		return hostnet.Status{}, nil
	}
	before := *l
	l.configured = true
	if w.MTU != 0 {
		l.mtu = w.MTU
	}
	if w.InterfaceName != "" {
		l.name = w.InterfaceName
	}
	status := hostnet.Status{Present: true, Index: l.index, Name: l.name, MTU: l.mtu}
	if *l != before {
		status.Repaired = 1
	}
	return status, nil
}

// Release implements agent.Links.
func (h *host) Release(w hostnet.Wanted) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.plugged[w.MAC.String()]; l != nil {
		l.configured = false
	}
	return nil
}

// Yield implements agent.Links.
func (h *host) Yield(net.HardwareAddr, string) error { return nil }

// Sweep implements agent.Links: there are no rules and routes.
func (h *host) Sweep([]hostnet.Wanted) (int, error) { return 0, nil }

// Watch implements agent.Links.
func (h *host) Watch(ctx context.Context) (<-chan struct{}, error) {
	changed := make(chan struct{})
	go func() {
		defer close(changed)
		for {
			select {
			case <-ctx.Done():
				return
			case <-h.changed:
			}
			select {
			case <-ctx.Done():
				return
			case changed <- struct{}{}:
			}
		}
	}()
	return changed, nil
}

// Assigned implements agent.Metadata: others change nothing.
func (h *host) Assigned(context.Context, net.HardwareAddr) (imds.Assigned, error) {
	return imds.Assigned{}, nil
}

// VPC implements agent.Metadata.
func (h *host) VPC(context.Context) ([]netip.Prefix, error) { return nil, nil }

// Interfaces implements agent.Metadata: without a request, and without lag.
func (h *host) Interfaces(context.Context) ([]imds.Interface, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []imds.Interface
	for _, l := range h.plugged {
		mac, err := net.ParseMAC(l.MAC)
		if err != nil {
			return nil, err
		}
		all = append(all, imds.Interface{MAC: mac, Settled: true, DeviceIndex: l.DeviceIndex, ENIID: l.ENI, SubnetID: l.Subnet})
	}
	return all, nil
}
