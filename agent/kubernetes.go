package agent

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
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

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// Kubernetes is the Source in a cluster: NodeENIs, the agent's own Node, and
// its NodeENIState.
//
// Of NodeENIs it watches only the metadata, and gets the object when its
// generation has changed: their status, which changes whenever any node of the
// fleet does, then costs an agent next to nothing.
type Kubernetes struct {
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
	vanished *vanished

	mu    sync.Mutex
	specs map[string]v1alpha1.NodeENI // by name
	fresh *kube.Node                  // as it was last read or patched
	read  time.Time                   // when that was
	state *v1alpha1.NodeENIState      // as it was last saved or loaded
	lost  bool                        // the state is not what was saved: there is none, or somebody has changed it
	check bool                        // it is looked at soon
}

// A node whose links do not come to rest must not become the API server's
// trouble; each ENI of one that starts comes to four reports within two seconds, and
// a large instance takes 15 ENIs.
const (
	savesPerSecond = 2
	savesAtOnce    = 4 * 15
)

// NewKubernetes makes a Source for the node on this instance.
func NewKubernetes(cfg *rest.Config, client *kube.Client, node, instanceID string, log *slog.Logger) (*Kubernetes, error) {
	meta, err := metadata.NewForConfig(kube.Bounded(cfg))
	if err != nil {
		return nil, err
	}
	k := &Kubernetes{
		client: client, log: log, node: node, instanceID: instanceID,
		changed: make(chan struct{}, 1), fetch: make(chan struct{}, 1),
		limiter: flowcontrol.NewTokenBucketRateLimiter(savesPerSecond, savesAtOnce),
		specs:   map[string]v1alpha1.NodeENI{},
	}
	k.vanished = newVanished(client, func() { signal(k.changed) }, log)
	gvr := v1alpha1.GroupVersion.WithResource(kube.NodeENIs)
	reach := kube.NewReach(log)
	k.nodeENIs = informer(reach.Of("NodeENIs", &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return meta.Resource(gvr).List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return meta.Resource(gvr).Watch(ctx, o)
		},
	}), &metav1.PartialObjectMetadata{})
	byName := fields.OneTermEqualSelector(metav1.ObjectNameField, node)
	k.nodes = informer(reach.Of("its Node", cache.NewListWatchFromClient(client.Core, kube.Nodes, "", byName)), &kube.Node{})
	k.states = informer(reach.Of("its NodeENIState", cache.NewListWatchFromClient(client.API, kube.NodeENIStates, "", byName)), &v1alpha1.NodeENIState{})
	return k, nil
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
func (k *Kubernetes) Run(ctx context.Context) error {
	if _, err := k.nodeENIs.AddEventHandler(k.onNodeENI()); err != nil {
		return err
	}
	if _, err := k.nodes.AddEventHandler(k.onNode()); err != nil {
		return err
	}
	written := func(any) { k.stateWritten() }
	handler := cache.ResourceEventHandlerFuncs{AddFunc: written, UpdateFunc: func(_, o any) { written(o) }, DeleteFunc: func(any) { k.stateDeleted() }}
	if _, err := k.states.AddEventHandler(handler); err != nil {
		return err
	}
	for _, i := range []cache.SharedIndexInformer{k.nodeENIs, k.nodes, k.states} {
		go i.RunWithContext(ctx)
	}
	if !cache.WaitForCacheSync(ctx.Done(), k.nodeENIs.HasSynced, k.nodes.HasSynced, k.states.HasSynced) {
		return ctx.Err()
	}
	go k.fetchSpecs(ctx)
	signal(k.fetch)
	return nil
}

// onNodeENI has specs fetched when one may be another. A write of a status, which is
// sent to every node of the fleet, ends here.
func (k *Kubernetes) onNodeENI() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { signal(k.fetch) },
		UpdateFunc: func(old, now any) {
			if before, after := old.(metav1.Object), now.(metav1.Object); before.GetUID() != after.GetUID() ||
				before.GetGeneration() != after.GetGeneration() || !before.GetDeletionTimestamp().Equal(after.GetDeletionTimestamp()) {
				signal(k.fetch)
			}
		},
		DeleteFunc: func(o any) {
			k.vanished.onDelete(o)
			signal(k.fetch)
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
func (k *Kubernetes) fetchSpecs(ctx context.Context) {
	var retry <-chan time.Time // one at most, however many events come meanwhile
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.fetch:
		case <-retry:
		}
		err := k.fetchOnce(ctx)
		switch {
		case err == nil:
			retry = nil
		case ctx.Err() == nil:
			if retry == nil {
				k.log.Warn("a NodeENI could not be read; it is tried again", "error", err)
			}
			retry = time.After(fetchRetry)
		}
		signal(k.changed)
	}
}

func (k *Kubernetes) fetchOnce(ctx context.Context) error {
	there := map[string]bool{}
	for _, o := range k.nodeENIs.GetStore().List() {
		meta := o.(*metav1.PartialObjectMetadata)
		there[meta.Name] = true
		if known, ok := k.spec(meta.Name); ok && known.UID == meta.UID && known.Generation == meta.Generation {
			continue
		}
		n := v1alpha1.NodeENI{}
		err := k.client.API.Get().Resource(kube.NodeENIs).Name(meta.Name).Do(ctx).Into(&n)
		if apierrors.IsNotFound(err) {
			continue // its delete event is on the way
		}
		if err != nil {
			return fmt.Errorf("NodeENI %s: %w", meta.Name, err)
		}
		n.Status, n.ManagedFields = v1alpha1.NodeENIStatus{}, nil
		k.mu.Lock()
		k.specs[n.Name] = n
		k.mu.Unlock()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for name := range k.specs {
		if !there[name] {
			delete(k.specs, name)
		}
	}
	return nil
}

func (k *Kubernetes) spec(name string) (v1alpha1.NodeENI, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n, ok := k.specs[name]
	return n, ok
}

// Changed implements Source.
func (k *Kubernetes) Changed() <-chan struct{} { return k.changed }

// Snapshot implements Source.
func (k *Kubernetes) Snapshot() (Snapshot, bool) {
	var s Snapshot
	there, leaving := map[types.UID]thing{}, map[types.UID]bool{}
	for _, o := range k.nodeENIs.GetStore().List() {
		meta := o.(*metav1.PartialObjectMetadata)
		there[meta.UID] = thing{kube.NodeENIs, meta.Name}
		leaving[meta.UID] = meta.DeletionTimestamp != nil
		n, ok := k.spec(meta.Name)
		if !ok || n.UID != meta.UID {
			return Snapshot{}, false // it is being read
		}
		n.DeletionTimestamp = meta.DeletionTimestamp
		s.NodeENIs = append(s.NodeENIs, n)
	}
	node := k.currentNode()
	if node != nil {
		there[node.UID] = thing{kube.Nodes, node.Name}
	}
	s.Unread, s.Gone = k.vanished.look(there, leaving)
	if node == nil {
		return s, true
	}
	s.NodeExists, s.NodeUID, s.Labels, s.Taints = true, node.UID, node.Labels, node.Spec.Taints
	s.NodeProblem = NodeProblem(node, k.instanceID)
	k.mu.Lock()
	s.ReportLost = k.lost
	k.mu.Unlock()
	return s, true
}

// Counts implements Source.
func (k *Kubernetes) Counts(ctx context.Context, nodeENI string) (v1alpha1.NodeCounts, error) {
	return k.client.NodeCounts(ctx, nodeENI)
}

// Load implements Source.
func (k *Kubernetes) Load(context.Context) (v1alpha1.NodeENIStateStatus, error) {
	o, ok, err := k.states.GetStore().GetByKey(k.node)
	if err != nil || !ok {
		return v1alpha1.NodeENIStateStatus{}, err
	}
	state := o.(*v1alpha1.NodeENIState).DeepCopy()
	k.mu.Lock()
	k.state = state
	k.mu.Unlock()
	k.vanished.remember(state.Status)
	return state.Status, nil
}

// Save implements Source. The NodeENIState is owned by the Node; where there is
// no Node, there is none to create, and the report is lost until the Node is back.
func (k *Kubernetes) Save(ctx context.Context, report v1alpha1.NodeENIStateStatus) error {
	k.mu.Lock()
	state, node := k.state, k.node
	k.mu.Unlock()
	owner := k.currentNode()
	if state == nil {
		if owner == nil {
			k.mu.Lock()
			k.lost = true
			k.mu.Unlock()
			return nil
		}
		state = &v1alpha1.NodeENIState{ObjectMeta: metav1.ObjectMeta{Name: node}}
	}
	state = state.DeepCopy()
	report.DeepCopyInto(&state.Status)
	state.Status.Clip() // or the schema refuses all of it
	if owner != nil {
		state.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: owner.Name, UID: types.UID(owner.UID)}}
	}
	if err := k.limiter.Wait(ctx); err != nil {
		return err
	}
	saved, err := k.write(ctx, state, owner != nil)
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.state, k.lost = saved, saved == nil
	k.mu.Unlock()
	return nil
}

// write updates or creates. An update that comes too late reads the object and
// writes over it: the agent is its only writer.
func (k *Kubernetes) write(ctx context.Context, state *v1alpha1.NodeENIState, mayCreate bool) (*v1alpha1.NodeENIState, error) {
	var out v1alpha1.NodeENIState
	req := k.client.API.Put().Resource(kube.NodeENIStates).Name(state.Name)
	if state.ResourceVersion == "" {
		req = k.client.API.Post().Resource(kube.NodeENIStates)
	}
	err := req.Body(state).Do(ctx).Into(&out)
	switch {
	case err == nil:
		return &out, nil
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		if getErr := k.client.API.Get().Resource(kube.NodeENIStates).Name(state.Name).Do(ctx).Into(&out); getErr != nil {
			return nil, getErr
		}
		state.ResourceVersion, state.UID = out.ResourceVersion, out.UID
		err = k.client.API.Put().Resource(kube.NodeENIStates).Name(state.Name).Body(state).Do(ctx).Into(&out)
		return &out, err
	case apierrors.IsNotFound(err) && state.ResourceVersion != "" && mayCreate:
		state.ResourceVersion, state.UID = "", ""
		err = k.client.API.Post().Resource(kube.NodeENIStates).Body(state).Do(ctx).Into(&out)
		return &out, err
	case apierrors.IsNotFound(err) && state.ResourceVersion != "":
		return nil, nil // collected together with its Node
	}
	return nil, err
}

// stateDeleted notes that the report is gone, unless the agent has none.
func (k *Kubernetes) stateDeleted() {
	k.mu.Lock()
	k.lost = k.lost || k.state != nil
	k.state = nil
	k.mu.Unlock()
	signal(k.changed)
}

// stateCheck is when the report is looked at after it has been written. Somebody
// else who goes on writing is answered no more often than that.
const stateCheck = 10 * time.Second

// stateWritten notes that somebody, the agent as a rule, has written the report.
func (k *Kubernetes) stateWritten() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.check {
		k.check = true
		time.AfterFunc(stateCheck, k.checkState)
	}
}

// checkState has the report saved again when it says what the agent has not said.
func (k *Kubernetes) checkState() {
	o, ok, _ := k.states.GetStore().GetByKey(k.node)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.check = false
	if !ok || k.state == nil {
		return
	}
	if shown := o.(*v1alpha1.NodeENIState); newer(shown, k.state) && !equality.Semantic.DeepEqual(shown.Status, k.state.Status) {
		k.log.Warn("somebody else has written this node's report; it is written again", "nodeENIState", k.node)
		k.lost = true
		signal(k.changed)
	}
}
