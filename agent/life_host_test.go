package agent_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/agenttest"
	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// slate is the host of the simulated instance: EC2 plugs links into it.
type slate struct {
	*agenttest.Links
	ours func(mac string) bool

	mu    sync.Mutex
	lied  bool // the report may name MACs of others
	wrong []string
}

func newSlate(ours func(mac string) bool, released func(eniID string)) *slate {
	s := &slate{Links: agenttest.NewLinks(), ours: ours}
	s.Configured = func(w hostnet.Wanted) {
		s.check(!s.ours(w.MAC.String()) || w.DeviceIndex == 0, "link %v configured, at device index %d", w.MAC, w.DeviceIndex)
	}
	s.Released = func(w hostnet.Wanted, eniID string) {
		if !s.ours(w.MAC.String()) {
			s.report("link %v released", w.MAC)
		}
		if eniID != "" {
			released(eniID)
		}
	}
	return s
}

// check notes what must not happen, unless the report has named MACs of others.
func (s *slate) check(wrong bool, format string, args ...any) {
	s.mu.Lock()
	lied := s.lied
	s.mu.Unlock()
	if wrong && !lied {
		s.report(format, args...)
	}
}

func (s *slate) report(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

func (s *slate) AddInstance(cloud.Instance) error { return nil }
func (s *slate) RemoveInstance(string) error      { return nil }
func (s *slate) Update(cloud.Interface) error     { return nil }

func (s *slate) Plug(_ string, e cloud.Interface) error {
	if e.Tags[eni.TagCluster] == cluster && !s.Expected(e.MAC) {
		s.report("the link of %s came and was not expected", e.ID)
	}
	s.Links.Plug(e.MAC, e.ID)
	return nil
}

func (s *slate) Unplug(_, eniID string) error {
	s.Links.Unplug(eniID)
	return nil
}

// take moves all links but the primary one into a pod's namespace, or back.
func (s *slate) take(away bool) { s.Take(func(mac string) bool { return away && s.ours(mac) }) }

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
			MAC: mac, Settled: i.Ready && (i.DeviceNumber != 0 || i.NetworkCard != 0 || i.MAC == m.MAC),
			Card: int(i.NetworkCard), DeviceIndex: int(i.DeviceNumber), ENIID: i.InterfaceID, SubnetID: i.SubnetID,
		})
	}
	return all, err
}

func (h *hints) VPC(ctx context.Context) ([]netip.Prefix, error) {
	m, err := h.ask(ctx)
	if err != nil {
		return nil, err
	}
	return []netip.Prefix{m.Interfaces[0].VPCCIDR, m.Interfaces[0].VPCIPv6CIDR}, nil
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
			return imds.Assigned{Addresses: slices.Concat(i.LocalIPv4s, i.IPv6s), Groups: i.SecurityGroupIDs}, err
		}
	}
	return imds.Assigned{}, err
}
