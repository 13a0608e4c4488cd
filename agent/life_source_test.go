package agent_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/agent/apiserver"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// signal tells that something has changed, once.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

var (
	errKilled = errors.New("the process has been killed")
	errAway   = errors.New("cannot reach the API server")
)

// wire carries requests to the simulated EC2 without a network, for as long as
// its process lives.
type wire struct {
	ec2           http.Handler
	killed        *atomic.Bool
	before, after func(*http.Request) // each call
}

func (w *wire) Do(r *http.Request) (answer *http.Response, err error) {
	if w.killed.Load() {
		return nil, errKilled
	}
	w.before(r)
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

// memory is the API server, or without Kubernetes the disk: NodeENIs, the Node and
// the report.
type memory struct {
	mu      sync.Mutex
	wanted  agent.Snapshot
	report  v1alpha1.NodeENIStateStatus
	refuses bool               // reports
	cut     bool               // nothing gets through, in either direction
	hidden  map[types.UID]bool // NodeENIs that lists lack
	unheard map[types.UID]bool // NodeENIs whose deletion no watch has told
	edited  bool               // the report, ever
	waiting int                // nodes
	lost    bool
	changed chan struct{}
}

func newMemory() *memory {
	return &memory{changed: make(chan struct{}, 1), hidden: map[types.UID]bool{}, unheard: map[types.UID]bool{}}
}

func (m *memory) set(f func(*memory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
	signal(m.changed)
}

// truth is what the API server holds.
func (m *memory) truth() agent.Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.wanted
	s.NodeENIs = nil
	for _, n := range m.wanted.NodeENIs {
		s.NodeENIs = append(s.NodeENIs, *n.DeepCopy())
	}
	s.Claims = slices.Clone(m.wanted.Claims)
	return s
}

// saved is the report as it was last saved.
func (m *memory) saved() v1alpha1.NodeENIStateStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *m.report.DeepCopy()
}

func (m *memory) isCut() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cut
}

// misleads says whether the agent cannot know what is wanted: it cannot ask, or both
// the list and the report that could contradict it are wrong.
func (m *memory) misleads() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cut || m.edited && len(m.hidden) > 0
}

// process is a Source: the memory as one process sees it.
type process struct {
	*memory
	killed   *atomic.Bool
	absences *apiserver.Absences // nil without Kubernetes

	// Of the goroutine that asks for Snapshots.
	last    agent.Snapshot
	listed  bool // there is a last one
	missing bool // events, since the last one
}

func newProcess(m *memory, killed *atomic.Bool, kubernetes bool) *process {
	p := &process{memory: m, killed: killed}
	if kubernetes {
		p.absences = apiserver.NewAbsences(p.uid, func() { signal(m.changed) }, slog.New(slog.DiscardHandler))
	}
	return p
}

// uid is who has the name now.
func (p *process) uid(_ context.Context, t apiserver.Object) (types.UID, error) {
	switch {
	case p.killed.Load():
		return "", nil // or it is asked for ever
	case p.isCut():
		return "", errAway
	}
	s := p.truth()
	if t.Resource == kube.Nodes && s.NodeExists {
		return s.NodeUID, nil
	}
	for _, n := range s.NodeENIs {
		if t == (apiserver.Object{Resource: kube.NodeENIs, Name: n.Name}) {
			return n.UID, nil
		}
	}
	return "", nil
}

func (p *process) Changed() <-chan struct{} { return p.changed }

func (p *process) Snapshot() (agent.Snapshot, bool) {
	if p.isCut() || p.killed.Load() { // the answers of uid to a killed process are none
		p.missing = true
		return p.last, p.listed
	}
	s := p.truth()
	p.mu.Lock()
	defer p.mu.Unlock()
	s.ReportLost = p.lost && s.NodeExists
	there := map[types.UID]apiserver.Object{}
	if s.NodeExists {
		there[s.NodeUID] = apiserver.Object{Resource: kube.Nodes, Name: "node"}
	}
	exists := map[types.UID]bool{}
	for _, n := range s.NodeENIs {
		exists[n.UID] = true
		if !p.hidden[n.UID] {
			there[n.UID] = apiserver.Object{Resource: kube.NodeENIs, Name: n.Name}
		}
	}
	s.NodeENIs = slices.DeleteFunc(s.NodeENIs, func(n v1alpha1.NodeENI) bool { return p.hidden[n.UID] })
	if p.absences == nil {
		s.Incomplete = len(p.hidden) > 0
	} else {
		p.hear(s, exists)
		s.Incomplete, s.Deleted = p.absences.Observe(there, nil)
	}
	p.last, p.listed, p.missing = s, true, false
	return s, true
}

// hear takes in the delete events since the last Snapshot, unless the watch was
// broken meanwhile.
func (p *process) hear(s agent.Snapshot, exists map[types.UID]bool) {
	if p.missing {
		return
	}
	if p.last.NodeExists && !s.NodeExists {
		p.absences.Delete(p.last.NodeUID)
	}
	for _, n := range p.last.NodeENIs {
		if !exists[n.UID] && !p.unheard[n.UID] {
			p.absences.Delete(n.UID)
		}
	}
}

// Load waits for the API server, as the informers do.
func (p *process) Load(ctx context.Context) (v1alpha1.NodeENIStateStatus, error) {
	for p.isCut() {
		select {
		case <-ctx.Done():
			return v1alpha1.NodeENIStateStatus{}, ctx.Err()
		case <-p.changed:
		}
	}
	report := p.saved()
	if p.absences != nil {
		p.absences.Seed(report)
	}
	return report, nil
}

func (p *process) Save(_ context.Context, r v1alpha1.NodeENIStateStatus) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.killed.Load():
		return errKilled
	case p.refuses, p.cut:
		return errAway
	case !p.wanted.NodeExists && p.report.InstanceID == "":
		p.lost = true // whom should it belong to?
		return nil
	}
	p.report, p.lost = *r.DeepCopy(), false
	return nil
}

func (p *process) Counts(context.Context, string) (v1alpha1.NodeCounts, error) {
	if err := p.Refresh(context.Background()); err != nil {
		return v1alpha1.NodeCounts{}, err
	}
	return v1alpha1.NodeCounts{Matching: int32(p.waiting)}, nil
}

func (p *process) Refresh(context.Context) error {
	switch {
	case p.killed.Load():
		return errKilled
	case p.isCut():
		return errAway
	}
	return nil
}

// server is a process that can ask the API server itself.
type server struct{ *process }

// Confirm fails unless the NodeENI selects the node now.
func (s server) Confirm(ctx context.Context, uid types.UID, name string) error {
	if err := s.Refresh(ctx); err != nil {
		return err
	}
	truth := s.truth()
	selects := func(n v1alpha1.NodeENI) bool { return n.UID == uid && n.Selects(truth.Labels) }
	if !truth.NodeExists || !slices.ContainsFunc(truth.NodeENIs, selects) {
		return errors.New(name + " does not select the node")
	}
	return nil
}
