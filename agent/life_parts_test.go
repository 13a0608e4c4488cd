package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

var errKilled = errors.New("the process has been killed")

// wire carries requests to the simulated EC2 without a network, for as long as
// its process lives.
type wire struct {
	ec2    http.Handler
	killed *atomic.Bool
	after  func(*http.Request) // each call
}

func (w *wire) Do(r *http.Request) (answer *http.Response, err error) {
	if w.killed.Load() {
		return nil, errKilled
	}
	defer func() {
		if p := recover(); p == http.ErrAbortHandler { //nolint:errorlint // what was panicked with
			err = io.ErrUnexpectedEOF
		} else if p != nil {
			panic(p)
		}
		w.after(r)
		if err == nil && w.killed.Load() {
			err = errKilled
		}
	}()
	recorder := httptest.NewRecorder()
	w.ec2.ServeHTTP(recorder, r)
	return recorder.Result(), nil
}

// memory is a Source in memory, and the host's place for reports.
type memory struct {
	mu      sync.Mutex
	wanted  Snapshot
	report  v1alpha1.NodeENIStateStatus
	refuses bool // reports
	waiting int  // nodes
	lost    bool
	changed chan struct{}
}

// process is the memory as one process sees it.
type process struct {
	*memory
	killed *atomic.Bool
}

func (m *memory) set(f func(*memory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
	signal(m.changed)
}

func (m *memory) Changed() <-chan struct{} { return m.changed }

func (m *memory) Snapshot() (Snapshot, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.wanted
	s.ReportLost = m.lost
	s.NodeENIs = nil
	for _, n := range m.wanted.NodeENIs {
		s.NodeENIs = append(s.NodeENIs, *n.DeepCopy())
	}
	return s, true
}

func (m *memory) Load(context.Context) (v1alpha1.NodeENIStateStatus, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *m.report.DeepCopy(), nil
}

func (p process) Save(_ context.Context, r v1alpha1.NodeENIStateStatus) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.killed.Load():
		return errKilled
	case p.refuses:
		return errors.New("the API server is away")
	}
	p.report, p.lost = *r.DeepCopy(), false
	return nil
}

func (p process) Counts(context.Context, string) (v1alpha1.NodeCounts, error) {
	if p.killed.Load() {
		return v1alpha1.NodeCounts{}, errKilled
	}
	return v1alpha1.NodeCounts{Matching: int32(p.waiting)}, nil
}

func (p process) Refresh(context.Context) error {
	if p.killed.Load() {
		return errKilled
	}
	return nil
}

// slate is a host without a kernel: links are plugged by the simulated EC2, and
// bear what they are told.
type slate struct {
	mu         sync.Mutex
	plugged    map[string]string // ENIs, by MAC
	inPod      map[string]bool   // by MAC
	configured map[string]hostnet.Wanted
	ours       func(mac string) bool
	released   func(eniID string)
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
	if !s.ours(w.MAC.String()) || w.DeviceIndex == 0 {
		s.wrong = append(s.wrong, fmt.Sprintf("link %v configured, at device index %d", w.MAC, w.DeviceIndex))
	}
	if !s.here(w.MAC) {
		return hostnet.Status{}, nil
	}
	status := hostnet.Status{Present: true, Index: 7, Name: "eth7", MTU: w.MTU}
	if !reflect.DeepEqual(s.configured[w.MAC.String()], w) {
		status.Repaired = 1
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
	}
	delete(s.configured, mac)
	return nil
}

func (s *slate) Yield(net.HardwareAddr, string) error           { return nil }
func (s *slate) Know(...net.HardwareAddr) error                 { return nil }
func (s *slate) Sweep([]hostnet.Wanted) (int, error)            { return 0, nil }
func (s *slate) Watch(context.Context) (<-chan struct{}, error) { return s.changed, nil }

// hints are what IMDS shows.
type hints struct {
	cloud    *cloud.Cloud
	instance string
}

func (h hints) Interfaces(context.Context) ([]imds.Interface, error) {
	m, err := h.cloud.Metadata(h.instance)
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

// mute writes no Events.
type mute struct{}

func (mute) Event(kube.ObjectReference, string, string, string, ...any) {}
