package agent_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"reflect"
	"sync"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// slate is a host without a kernel: links are plugged by the simulated EC2, and
// bear what they are told.
type slate struct {
	mu         sync.Mutex
	plugged    map[string]string // ENIs, by MAC
	inPod      map[string]bool   // by MAC
	configured map[string]hostnet.Wanted
	ours       func(mac string) bool
	released   func(eniID string)
	lied       bool // the report may name MACs of others
	changes    int  // to links that were here before and after
	wrong      []string
	changed    chan struct{}
}

func newSlate() *slate {
	return &slate{plugged: map[string]string{}, inPod: map[string]bool{}, configured: map[string]hostnet.Wanted{}, changed: make(chan struct{}, 1)}
}

func (s *slate) AddInstance(cloud.Instance) error { return nil }
func (s *slate) RemoveInstance(string) error      { return nil }
func (s *slate) Update(cloud.Interface) error     { return nil }

func (s *slate) Plug(_ string, e cloud.Interface) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plugged[e.MAC] = e.ID
	signal(s.changed)
	return nil
}

func (s *slate) Unplug(_, eniID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for mac, id := range s.plugged {
		if id == eniID {
			delete(s.plugged, mac)
			delete(s.inPod, mac)
			delete(s.configured, mac) // the kernel takes it with the link
		}
	}
	signal(s.changed)
	return nil
}

// take moves all links but the primary one into a pod's namespace, or back.
func (s *slate) take(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.inPod)
	for mac := range s.plugged {
		if away && s.ours(mac) {
			s.inPod[mac] = true
			delete(s.configured, mac)
		}
	}
	signal(s.changed)
}

// count is how often a link has been changed so far.
func (s *slate) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changes
}

// reboot leaves links bare.
func (s *slate) reboot() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.configured)
}

// links are those that are configured, by MAC.
func (s *slate) links() map[string]hostnet.Wanted {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.configured)
}

func (s *slate) here(mac net.HardwareAddr) bool {
	_, plugged := s.plugged[mac.String()]
	return plugged && !s.inPod[mac.String()]
}

func (s *slate) Present(mac net.HardwareAddr) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.here(mac), nil
}

func (s *slate) Configure(w hostnet.Wanted) (hostnet.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.lied && (!s.ours(w.MAC.String()) || w.DeviceIndex == 0) {
		s.wrong = append(s.wrong, fmt.Sprintf("link %v configured, at device index %d", w.MAC, w.DeviceIndex))
	}
	if !s.here(w.MAC) {
		return hostnet.Status{}, nil
	}
	status := hostnet.Status{Present: true, Index: 7, Name: "eth7", MTU: w.MTU}
	if !reflect.DeepEqual(s.configured[w.MAC.String()], w) {
		status.Repaired = 1
		s.changes++
	}
	s.configured[w.MAC.String()] = w
	return status, nil
}

func (s *slate) Release(w hostnet.Wanted) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	mac := w.MAC.String()
	if !s.ours(mac) {
		s.wrong = append(s.wrong, fmt.Sprintf("link %s released", mac))
	}
	if id, ok := s.plugged[mac]; ok {
		s.released(id)
		s.changes++
	}
	delete(s.configured, mac)
	return nil
}

func (s *slate) Yield(net.HardwareAddr, string) error           { return nil }
func (s *slate) Know(...net.HardwareAddr) error                 { return nil }
func (s *slate) Sweep([]hostnet.Wanted) (int, error)            { return 0, nil }
func (s *slate) Watch(context.Context) (<-chan struct{}, error) { return s.changed, nil }

// hints are what IMDS shows, when it answers.
type hints struct {
	cloud    *cloud.Cloud
	instance string

	mu    sync.Mutex
	state imdsState
	lie   *imds.Assigned // about every ENI, unless nil
}

type imdsState int

const (
	imdsAnswers imdsState = iota
	imdsFails
	imdsIsSlow
	imdsHangs
)

func (h *hints) set(s imdsState) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state = s
}

// lies sets what IMDS shows of every ENI.
func (h *hints) lies(a *imds.Assigned) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lie = a
}

// ask waits for an answer.
func (h *hints) ask(ctx context.Context) (cloud.Metadata, error) {
	h.mu.Lock()
	state := h.state
	h.mu.Unlock()
	var wait <-chan time.Time
	switch state {
	case imdsAnswers:
		return h.cloud.Metadata(h.instance)
	case imdsFails:
		return cloud.Metadata{}, errors.New("IMDS fails")
	case imdsIsSlow:
		wait = time.After(3 * time.Second)
	}
	select {
	case <-ctx.Done():
		return cloud.Metadata{}, ctx.Err()
	case <-wait:
		return h.cloud.Metadata(h.instance)
	}
}

func (h *hints) Interfaces(ctx context.Context) ([]imds.Interface, error) {
	m, err := h.ask(ctx)
	var all []imds.Interface
	for _, i := range m.Interfaces {
		mac, _ := net.ParseMAC(i.MAC)
		all = append(all, imds.Interface{
			MAC: mac, Settled: i.Ready && (i.DeviceNumber != 0 || i.MAC == m.MAC),
			DeviceIndex: int(i.DeviceNumber), ENIID: i.InterfaceID, SubnetID: i.SubnetID,
		})
	}
	return all, err
}

func (h *hints) Assigned(ctx context.Context, mac net.HardwareAddr) (imds.Assigned, error) {
	m, err := h.ask(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, i := range m.Interfaces {
		if i.MAC == mac.String() {
			if h.lie != nil {
				return *h.lie, err
			}
			return imds.Assigned{Addresses: i.LocalIPv4s, Groups: i.SecurityGroupIDs}, err
		}
	}
	return imds.Assigned{}, err
}

// mute writes no Events.
type mute struct{}

func (mute) Event(kube.ObjectReference, string, string, string, ...any) {}
