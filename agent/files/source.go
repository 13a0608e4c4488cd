// Package files is for an agent without Kubernetes: NodeENIs come from the files
// of a directory, and the report goes to a state file.
package files

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// Config is what a Source needs.
type Config struct {
	Directory  string
	StateFile  *StateFile
	Node       string
	InstanceID string
	Cluster    string
	// Labels are those that the node has for NodeENIs' selectors. AskLabels,
	// unless nil, is asked for changes of them.
	Labels    map[string]string
	AskLabels func(context.Context) (map[string]string, error)
	// Changed, unless nil, is called with the state after each change.
	Changed func(State)
	Log     *slog.Logger
}

// Source is the agent's Source where there is no Kubernetes.
type Source struct {
	cfg     Config
	changed chan struct{}

	saving sync.Mutex // taken before mu: one write at a time

	mu     sync.Mutex // never held while the disk is waited for: each reconcile takes it
	state  State
	lost   bool // nothing is known from before
	ready  bool // it is known what is wanted
	labels map[string]string
}

var _ agent.Source = (*Source)(nil)

// New makes a Source that goes on from its state file.
func New(cfg Config) (*Source, error) {
	state, err := open(cfg.StateFile, cfg.InstanceID, cfg.Cluster, cfg.Log)
	if err != nil {
		return nil, err
	}
	s := &Source{cfg: cfg, changed: make(chan struct{}, 1), state: state, lost: state.Cluster == "", labels: cfg.Labels}
	s.state.Metadata.Name, s.state.Cluster, s.state.Directory = cfg.Node, cfg.Cluster, cfg.Directory
	return s, nil
}

// open reads the state. What is of another instance, as in an image made of a
// node, is left out. cluster, unless "", has to be that of the ENIs.
func open(file *StateFile, instanceID, cluster string, log *slog.Logger) (State, error) {
	state, ok, moved, err := file.read()
	if err != nil {
		return State{}, err
	}
	if moved != "" {
		log.Warn("the state file is damaged and was moved aside; the agent gets its ENIs from EC2", "now", moved)
	}
	if !ok {
		return State{}, nil
	}
	if id := state.Status.InstanceID; id != "" && id != instanceID {
		log.Info("ignoring the state file, which is about another instance", "instance", id)
		return State{}, nil
	}
	if cluster != "" && cluster != state.Cluster && len(state.Status.ENIs) > 0 {
		return State{}, fmt.Errorf("the ENIs of this instance have the cluster tag %q instead of %q, so the agent would not manage them; "+
			"use --cluster-name %s, or run eni-agent cleanup first", state.Cluster, cluster, state.Cluster)
	}
	return state, nil
}

// Snapshot implements agent.Source.
func (s *Source) Snapshot() (agent.Snapshot, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	snapshot := agent.Snapshot{NodeExists: true, Labels: s.labels}
	seen := map[string]bool{}
	for _, f := range s.state.Files {
		snapshot.Incomplete = snapshot.Incomplete || f.Unknown
		for _, n := range f.NodeENIs {
			if !seen[n.Name] {
				snapshot.NodeENIs = append(snapshot.NodeENIs, n.object())
			}
			seen[n.Name] = true
		}
	}
	slices.SortFunc(snapshot.NodeENIs, func(a, b v1alpha1.NodeENI) int { return strings.Compare(a.Name, b.Name) })
	if snapshot.Incomplete {
		snapshot.Deleted = map[types.UID]bool{}
		for _, name := range s.state.Gone {
			snapshot.Deleted[UID(name)] = true
		}
	}
	return snapshot, s.ready
}

// UID is that of the NodeENI of a name in any file: an ENI is known again by it.
func UID(name string) types.UID {
	return types.UID(uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://networking.k8s.aws/nodeenis/"+name)).String())
}

// object is the NodeENI as an API server would give it.
func (n NodeENI) object() v1alpha1.NodeENI {
	return v1alpha1.NodeENI{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: UID(n.Name), Generation: n.generation()},
		Spec:       *n.Spec.DeepCopy(),
	}
}

// generation is another one for another spec.
func (n NodeENI) generation() int64 {
	text, err := json.Marshal(n.Spec)
	if err != nil {
		panic("a spec always marshals: " + err.Error())
	}
	h := fnv.New64a()
	h.Write(text)
	return int64(h.Sum64() >> 1)
}

// Changed implements agent.Source.
func (s *Source) Changed() <-chan struct{} { return s.changed }

// Load implements agent.Source.
func (s *Source) Load(context.Context) (v1alpha1.NodeENIStateStatus, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.state.Status.DeepCopy(), nil
}

// Save implements agent.Source.
func (s *Source) Save(_ context.Context, report v1alpha1.NodeENIStateStatus) error {
	return s.update(func(state *State) { state.Status = report })
}

// Counts implements agent.Source: nothing is known of other nodes.
func (s *Source) Counts(context.Context, string) (v1alpha1.NodeCounts, error) {
	return v1alpha1.NodeCounts{}, errors.ErrUnsupported
}

// Refresh implements agent.Source. What the files say is known.
func (s *Source) Refresh(context.Context) error { return nil }

// update changes the state and returns when it is written, with what others have
// changed meanwhile: an older state never replaces a newer one.
func (s *Source) update(change func(*State)) error {
	s.mu.Lock()
	change(&s.state)
	s.mu.Unlock()

	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	state := s.state
	s.mu.Unlock()
	err := s.cfg.StateFile.write(state)
	if s.cfg.Changed != nil {
		s.cfg.Changed(state)
	}
	return err
}

// wouldLose says whether a NodeENI would go if the files were taken in.
func (s *Source) wouldLose(now []parsed) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	after := resolve(memory{files: s.state.Files, gone: s.state.Gone, lost: s.lost}, now)
	return loses(s.state.Files, after.files)
}

// apply takes in what the files hold now.
func (s *Source) apply(now []parsed) {
	s.mu.Lock()
	before, ready := s.state, s.ready
	after := resolve(memory{files: before.Files, gone: before.Gone, lost: s.lost}, now)
	s.lost, s.ready = false, true
	s.mu.Unlock()
	if ready && before.Problem == "" && reflect.DeepEqual(before.Files, after.files) {
		return
	}
	s.tell(before.Files, after.files)
	s.keep(func(state *State) { state.Problem, state.Files, state.Gone = "", after.files, after.gone })
}

// fail notes that the directory cannot be read. What its files held before
// stays in force; when nothing is known of that, nothing is done.
func (s *Source) fail(err error) {
	s.mu.Lock()
	known := s.state.Problem == err.Error() && (s.ready || s.lost)
	s.ready = s.ready || !s.lost
	s.mu.Unlock()
	if !known {
		s.cfg.Log.Warn("cannot read the NodeENI files", "directory", s.cfg.Directory, "error", err)
		s.keep(func(state *State) { state.Problem = err.Error() })
	}
}

// keep is update for what the agent goes on without.
func (s *Source) keep(change func(*State)) {
	if err := s.update(change); err != nil {
		s.cfg.Log.Warn("cannot save the contents of the NodeENI files", "error", err)
	}
	s.signal()
}

func (s *Source) signal() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// tell logs what is new about the files.
func (s *Source) tell(before, after []File) {
	last := map[string]File{}
	for _, f := range before {
		last[f.Name] = f
	}
	for _, f := range after {
		old, seen := last[f.Name]
		delete(last, f.Name)
		switch {
		case f.Error != "" && f.Error != old.Error:
			s.cfg.Log.Warn("a NodeENI file is not valid; using its last valid contents", "file", f.Name, "error", f.Error, "nodeENIs", names(f))
		case f.Error == "" && (!seen || !reflect.DeepEqual(f, old)):
			s.cfg.Log.Info("read a NodeENI file", "file", f.Name, "nodeENIs", names(f))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(last)) {
		s.cfg.Log.Info("a NodeENI file was removed", "file", name, "nodeENIs", names(last[name]))
	}
}

// setLabels takes in the node's labels.
func (s *Source) setLabels(labels map[string]string) {
	s.mu.Lock()
	s.labels = labels
	s.mu.Unlock()
	s.cfg.Log.Info("the labels of this node changed", "labels", labels)
	s.signal()
}

func (s *Source) currentLabels() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.labels
}

// labelsEvery is how often the node's labels are asked for, and labelsAgain the
// time until a change is believed: IMDS is known to slip.
const (
	labelsEvery = 30 * time.Second
	labelsAgain = 2 * time.Second
)

// followLabels keeps up with labels until ctx ends. While they cannot be had the
// last ones count.
func (s *Source) followLabels(ctx context.Context) {
	wait, failing := labelsEvery, false
	var heard map[string]string // once, and to be confirmed
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		labels, err := s.cfg.AskLabels(ctx)
		wait = labelsEvery
		switch {
		case err != nil:
			if !failing && ctx.Err() == nil {
				s.cfg.Log.Warn("cannot read the labels of this node; using the last known labels", "error", err)
			}
			heard = nil
		case maps.Equal(labels, s.currentLabels()):
			heard = nil
		case heard != nil && maps.Equal(labels, heard):
			s.setLabels(labels)
			heard = nil
		default:
			heard, wait = labels, labelsAgain
		}
		failing = err != nil
	}
}
