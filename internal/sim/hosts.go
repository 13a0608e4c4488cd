package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/metadata"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/vpc"
)

// metadataAddress is where an instance finds its metadata service.
const metadataAddress = "169.254.169.254"

// hosts is the outside of the account's instances: their network, where there
// is one, and their metadata services.
type hosts struct {
	cloud    *cloud.Cloud
	network  *vpc.Network // nil: none
	loopback bool         // metadata services on the simulator's loopback too

	mu   sync.Mutex
	list map[string]*host // by instance id
}

type host struct {
	metadata *metadata.Server
	url      string // of the metadata service on the simulator's loopback, or ""
	servers  []*server
	failed   error // what went wrong when the primary ENI was plugged in
}

var _ cloud.Fabric = (*hosts)(nil)

func (h *hosts) AddInstance(i cloud.Instance) error {
	if h.network != nil {
		if err := h.network.AddInstance(i); err != nil {
			return err
		}
	}
	host := &host{metadata: metadata.New(h.cloud, i.ID)}
	if err := h.serveMetadata(host, i.ID); err != nil {
		err = fmt.Errorf("metadata service of %s: %w", i.ID, err)
		return errors.Join(err, host.close(), h.removeNetwork(i.ID))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list[i.ID] = host
	return nil
}

func (h *hosts) serveMetadata(host *host, instanceID string) error {
	if h.network != nil {
		ns, ok := h.network.Namespace(instanceID)
		if !ok {
			return errors.New("the instance has no namespace")
		}
		listener, err := listenMetadata(ns)
		if err != nil {
			return err
		}
		host.servers = append(host.servers, serve(listener, host.metadata))
	}
	if h.loopback {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		host.servers = append(host.servers, serve(listener, host.metadata))
		host.url = "http://" + listener.Addr().String()
	}
	return nil
}

func listenMetadata(ns *netns.Namespace) (net.Listener, error) {
	err := ns.Do(func() error {
		rtnl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer rtnl.Close()
		lo := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 1}}
		own := netip.MustParseAddr(metadataAddress)
		return rtnl.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: own.AsSlice(), Mask: net.CIDRMask(32, 32)}})
	})
	if err != nil {
		return nil, fmt.Errorf("add %s to lo: %w", metadataAddress, err)
	}
	return ns.Listen(context.Background(), "tcp", metadataAddress+":80")
}

func (h *hosts) RemoveInstance(id string) error {
	h.mu.Lock()
	host := h.list[id]
	delete(h.list, id)
	h.mu.Unlock()
	var err error
	if host != nil {
		err = host.close()
	}
	return errors.Join(err, h.removeNetwork(id))
}

func (h *hosts) removeNetwork(id string) error {
	if h.network == nil {
		return nil
	}
	return h.network.RemoveInstance(id)
}

func (h *hosts) Plug(instanceID string, eni cloud.Interface) error {
	if h.network == nil {
		return nil
	}
	err := h.network.Plug(instanceID, eni)
	if err != nil && eni.Attachment.Primary() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if host := h.list[instanceID]; host != nil {
			host.failed = err
		}
	}
	return err
}

func (h *hosts) Unplug(instanceID, eniID string) error {
	if h.network == nil {
		return nil
	}
	return h.network.Unplug(instanceID, eniID)
}

func (h *hosts) Update(eni cloud.Interface) error {
	if h.network == nil {
		return nil
	}
	return h.network.Update(eni)
}

// node describes an instance; false when it is not there any more.
func (h *hosts) node(i cloud.Instance) (Node, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	host := h.list[i.ID]
	if host == nil {
		return Node{}, false
	}
	n := Node{Instance: i, IMDS: host.metadata, IMDSURL: host.url}
	if h.network != nil {
		n.Namespace, _ = h.network.Namespace(i.ID)
	}
	return n, true
}

// failed returns why an instance's primary ENI is not there, if so.
func (h *hosts) failed(id string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if host := h.list[id]; host != nil {
		return host.failed
	}
	return nil
}

func (h *hosts) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for _, host := range h.list {
		errs = append(errs, host.close())
	}
	clear(h.list)
	if h.network != nil {
		errs = append(errs, h.network.Close())
	}
	return errors.Join(errs...)
}

func (h *host) close() error {
	var errs []error
	for _, s := range h.servers {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}
