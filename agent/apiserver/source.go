// Package apiserver tells an agent in a cluster what is wanted of its node, and keeps
// the node's report: NodeENIs, the agent's own Node, and its NodeENIState.
package apiserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// Source is the agent.Source in a cluster: NodeENIs, the agent's own Node, and
// its NodeENIState.
//
// Of NodeENIs it watches only the metadata, and gets the object when its
// generation has changed: their status, which changes whenever any node of the
// fleet does, then costs an agent next to nothing.
type Source struct {
	client     *kube.Client
	log        *slog.Logger
	node       string
	instanceID string

	nodeENIs cache.SharedIndexInformer // *metav1.PartialObjectMetadata
	nodes    cache.SharedIndexInformer // *kube.Node, one
	states   cache.SharedIndexInformer // *v1alpha1.NodeENIState, one
	changed  chan struct{}
	fetch    chan struct{}
	limiter  flowcontrol.RateLimiter // of saves
	absences *Absences
	complete bool // all NodeENIs have been read; of Snapshot

	mu    sync.Mutex
	specs map[string]v1alpha1.NodeENI // by name
	fresh *kube.Node                  // as it was last read or patched
	read  time.Time                   // when that was
	state *v1alpha1.NodeENIState      // as it was last saved or loaded
	lost  bool                        // the state is not what was saved: there is none, or another client has changed it
	check bool                        // it is looked at soon
}

// A node whose links do not come to rest must not become the API server's
// trouble; each ENI of one that starts comes to four reports within two seconds, and
// a large instance takes 15 ENIs.
const (
	savesPerSecond = 2
	savesAtOnce    = 4 * 15
)

// New makes a Source for the node on this instance.
func New(cfg *rest.Config, client *kube.Client, node, instanceID string, log *slog.Logger) (*Source, error) {
	meta, err := metadata.NewForConfig(kube.Bounded(cfg))
	if err != nil {
		return nil, err
	}
	s := &Source{
		client: client, log: log, node: node, instanceID: instanceID,
		changed: make(chan struct{}, 1), fetch: make(chan struct{}, 1),
		limiter: flowcontrol.NewTokenBucketRateLimiter(savesPerSecond, savesAtOnce),
		specs:   map[string]v1alpha1.NodeENI{},
	}
	s.absences = NewAbsences(func(ctx context.Context, o Object) (types.UID, error) {
		return client.UID(ctx, o.Resource, o.Name)
	}, func() { signal(s.changed) }, log)
	gvr := v1alpha1.GroupVersion.WithResource(kube.NodeENIs)
	reach := kube.NewReach(log)
	s.nodeENIs = informer(reach.Of("NodeENIs", &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return meta.Resource(gvr).List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return meta.Resource(gvr).Watch(ctx, o)
		},
	}), &metav1.PartialObjectMetadata{})
	byName := fields.OneTermEqualSelector(metav1.ObjectNameField, node)
	s.nodes = informer(reach.Of("its Node", cache.NewListWatchFromClient(client.Core, kube.Nodes, "", byName)), &kube.Node{})
	s.states = informer(reach.Of("its NodeENIState", cache.NewListWatchFromClient(client.API, kube.NodeENIStates, "", byName)), &v1alpha1.NodeENIState{})
	return s, nil
}

func informer(lw cache.ListerWatcher, object runtime.Object) cache.SharedIndexInformer {
	i := cache.NewSharedIndexInformer(lw, object, 0, nil)
	if err := i.SetTransform(withoutManagedFields); err != nil {
		panic(err) // a programming error: the informer has been started
	}
	return i
}

func withoutManagedFields(o any) (any, error) {
	if object, ok := o.(metav1.Object); ok {
		object.SetManagedFields(nil)
	}
	return o, nil
}

// Run keeps up with the API server until ctx ends.
func (s *Source) Run(ctx context.Context) error {
	for i, handler := range map[cache.SharedIndexInformer]cache.ResourceEventHandler{s.nodeENIs: s.onNodeENI(), s.nodes: s.onNode(), s.states: s.onState()} {
		if _, err := i.AddEventHandler(handler); err != nil {
			return err
		}
		go i.RunWithContext(ctx)
	}
	if !cache.WaitForCacheSync(ctx.Done(), s.nodeENIs.HasSynced, s.nodes.HasSynced, s.states.HasSynced) {
		return ctx.Err()
	}
	go s.fetchSpecs(ctx)
	signal(s.fetch)
	return nil
}

// onNodeENI has specs fetched when one may be another. A write of a status, which is
// sent to every node of the fleet, ends here.
func (s *Source) onNodeENI() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { signal(s.fetch) },
		UpdateFunc: func(old, now any) {
			if before, after := old.(metav1.Object), now.(metav1.Object); before.GetUID() != after.GetUID() ||
				before.GetGeneration() != after.GetGeneration() || !before.GetDeletionTimestamp().Equal(after.GetDeletionTimestamp()) {
				signal(s.fetch)
			}
		},
		DeleteFunc: func(o any) {
			s.absences.onDelete(o)
			signal(s.fetch)
		},
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// fetchRetry is the time after which a NodeENI that could not be read is tried
// again.
const fetchRetry = 2 * time.Second

// fetchSpecs gets each NodeENI whose generation is another one, be it lower: etcd
// may have been restored from a backup. Only events have it look, so a watch that
// trails behind what was read costs a read more for each, and no loop.
func (s *Source) fetchSpecs(ctx context.Context) {
	var retry <-chan time.Time // one at most, however many events come meanwhile
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.fetch:
		case <-retry:
		}
		err := s.fetchOnce(ctx)
		switch {
		case err == nil:
			retry = nil
		case ctx.Err() == nil:
			if retry == nil {
				s.log.Warn("a NodeENI could not be read; the agent will retry", "error", err)
			}
			retry = time.After(fetchRetry)
		}
		signal(s.changed)
	}
}

func (s *Source) fetchOnce(ctx context.Context) error {
	there := map[string]bool{}
	var failed []error
	for _, o := range s.nodeENIs.GetStore().List() {
		meta := o.(*metav1.PartialObjectMetadata)
		there[meta.Name] = true
		if known, ok := s.spec(meta.Name); ok && known.UID == meta.UID && known.Generation == meta.Generation {
			continue
		}
		n := v1alpha1.NodeENI{}
		err := s.client.API.Get().Resource(kube.NodeENIs).Name(meta.Name).Do(ctx).Into(&n)
		if apierrors.IsNotFound(err) {
			continue // its delete event is on the way
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("NodeENI %s: %w", meta.Name, err))
			continue
		}
		n.Status, n.ManagedFields = v1alpha1.NodeENIStatus{}, nil
		s.mu.Lock()
		s.specs[n.Name] = n
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.specs, func(name string, _ v1alpha1.NodeENI) bool { return !there[name] })
	return errors.Join(failed...)
}

func (s *Source) spec(name string) (v1alpha1.NodeENI, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.specs[name]
	return n, ok
}

// Changed implements Source.
func (s *Source) Changed() <-chan struct{} { return s.changed }

// Snapshot implements Source.
func (s *Source) Snapshot() (agent.Snapshot, bool) {
	var snapshot agent.Snapshot
	present, terminating := map[types.UID]Object{}, map[types.UID]bool{}
	unread := false
	for _, o := range s.nodeENIs.GetStore().List() {
		meta := o.(*metav1.PartialObjectMetadata)
		present[meta.UID] = Object{kube.NodeENIs, meta.Name}
		terminating[meta.UID] = meta.DeletionTimestamp != nil
		n, ok := s.spec(meta.Name)
		if !ok || n.UID != meta.UID {
			unread = true
			continue
		}
		n.DeletionTimestamp = meta.DeletionTimestamp
		snapshot.NodeENIs = append(snapshot.NodeENIs, n)
	}
	node := s.currentNode()
	if node != nil {
		present[node.UID] = Object{kube.Nodes, node.Name}
	}
	if s.complete = s.complete || !unread; !s.complete {
		return agent.Snapshot{}, false
	}
	snapshot.Incomplete, snapshot.Deleted = s.absences.Observe(present, terminating)
	snapshot.Incomplete = snapshot.Incomplete || unread // one that cannot be read holds up no other
	if node == nil {
		return snapshot, true
	}
	snapshot.NodeExists, snapshot.NodeUID, snapshot.Labels, snapshot.Taints = true, node.UID, node.Labels, node.Spec.Taints
	snapshot.NodeProblem = NodeProblem(node, s.instanceID)
	s.mu.Lock()
	snapshot.ReportLost = s.lost
	s.mu.Unlock()
	return snapshot, true
}

// Counts implements Source.
func (s *Source) Counts(ctx context.Context, nodeENI string) (v1alpha1.NodeCounts, error) {
	return s.client.NodeCounts(ctx, nodeENI)
}
