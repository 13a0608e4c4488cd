package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// byUID is the index of NodeENIs: ENIs are tagged with the UID, because a
// deleted NodeENI may come back under its name.
const byUID = "uid"

// byInstance is the index of Nodes: ENIs are tagged with the name that a Node had,
// and its instance may have come back under another.
const byInstance = "instance"

// errStale is returned when the caches show what the API server no longer has. Watches
// go on where they were, so that only new caches help.
var errStale = errors.New("the caches are newer than the API server")

// caches hold what the API server shows. They run on followers too, so that a
// new leader begins with everything at hand, seen deletions included.
type caches struct {
	client   *kube.Client
	nodeENIs cache.SharedIndexInformer
	nodes    cache.SharedIndexInformer
	states   cache.SharedIndexInformer
	history  *history
	synced   []cache.DoneChecker
}

func newCaches(client *kube.Client, history *history) (*caches, error) {
	c := &caches{
		client:   client,
		nodeENIs: informer(client.API, kube.NodeENIs, &v1alpha1.NodeENI{}, cache.Indexers{byUID: uidOf}),
		nodes:    informer(client.Core, kube.Nodes, &kube.Node{}, cache.Indexers{byInstance: instanceOf}),
		states:   informer(client.API, kube.NodeENIStates, &v1alpha1.NodeENIState{}, cache.Indexers{}),
		history:  history,
	}
	for _, i := range c.all() {
		if err := i.SetTransform(trim); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// informer keeps what an API server has of a resource. One that does not stream its
// first list is asked for pages from etcd: of "any version" it gives all in one
// answer, whatever the limit, and with some thousand Nodes that is more than the
// memory that a coordinator is given.
func informer(client rest.Interface, resource string, example runtime.Object, indexers cache.Indexers) cache.SharedIndexInformer {
	lw := cache.NewFilteredListWatchFromClient(client, resource, "", func(o *metav1.ListOptions) {
		if !o.Watch && o.ResourceVersion == "0" {
			o.ResourceVersion = ""
		}
	})
	return cache.NewSharedIndexInformer(cache.ToListWatcherWithWatchListSemantics(lw, client), example, 0, indexers)
}

func uidOf(obj any) ([]string, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	return []string{string(m.GetUID())}, nil
}

func instanceOf(obj any) ([]string, error) {
	if id := kube.InstanceID(obj.(*kube.Node).Spec.ProviderID); id != "" {
		return []string{id}, nil
	}
	return nil, nil
}

// trim drops what is never read, such as a Node's annotations, and what no report
// may hold.
func trim(obj any) (any, error) {
	if m, err := meta.Accessor(obj); err == nil {
		m.SetManagedFields(nil)
	}
	switch o := obj.(type) {
	case *kube.Node:
		o.Annotations, o.Spec.Taints = nil, nil
	case *v1alpha1.NodeENIState:
		o.Annotations, o.Labels = nil, nil
		o.Status.Clip() // an agent says what it likes
	}
	return obj, nil
}

func (c *caches) all() []cache.SharedIndexInformer {
	return []cache.SharedIndexInformer{c.nodeENIs, c.nodes, c.states}
}

// handle registers a handler; the caches are synced once it has seen
// everything that was there at the start.
func (c *caches) handle(i cache.SharedIndexInformer, h cache.ResourceEventHandler) error {
	registration, err := i.AddEventHandler(h)
	if err != nil {
		return err
	}
	c.synced = append(c.synced, registration.HasSyncedChecker())
	return nil
}

// run starts the caches and waits until they are filled. They stop with ctx;
// join waits for that.
func (c *caches) run(ctx context.Context, log *slog.Logger) (join func(), err error) {
	var running sync.WaitGroup
	for _, i := range c.all() {
		running.Go(func() { i.RunWithContext(ctx) })
	}
	slow := time.AfterFunc(30*time.Second, func() {
		log.Warn("still waiting for NodeENIs, NodeENIStates and Nodes from the API server; is it there, are the CRDs installed, does RBAC allow list and watch?")
	})
	defer slow.Stop()
	if !cache.WaitFor(ctx, "", c.synced...) {
		running.Wait()
		return nil, fmt.Errorf("the caches were not filled: %w", context.Cause(ctx))
	}
	return running.Wait, nil
}

// filled fails until all is known that a decision may rest on.
func (c *caches) filled() error {
	for _, s := range c.synced {
		if !cache.IsDone(s) {
			return errors.New("NodeENIs, NodeENIStates and Nodes have not all been read from the API server yet")
		}
	}
	return nil
}

// evidence gathers what is known about an ENI now.
func (c *caches) evidence(e eni.ENI) evidence {
	node := c.nodeOf(e)
	return c.combine(e, c.nodeENIByUID(e.Owner.NodeENIUID), c.node(node), c.state(node))
}

// combine puts the objects that an ENI's tags name, nil for each that is not there, together
// with the deletions that were seen.
func (c *caches) combine(e eni.ENI, nodeENI *v1alpha1.NodeENI, node *kube.Node, report *v1alpha1.NodeENIState) evidence {
	ev := evidence{NodeENI: nodeENI, Node: node, Phase: reportedPhase(e, report)}
	ev.NodeENIDeleted, ev.NodeDeleted = c.history.explains(e.Owner)
	return ev
}

// liveEvidence asks the API server for what the caches may have missed: one that
// cannot list or watch any more, for want of a right or for an object that it
// cannot read, stays as it was and tells nobody. New ENIs would then be orphans,
// and those whose label came back left over, for as long as that lasts.
func (c *caches) liveEvidence(ctx context.Context, e eni.ENI) (evidence, error) {
	name := e.Owner.NodeENI
	if cached := c.nodeENIByUID(e.Owner.NodeENIUID); cached != nil {
		name = cached.Name // a tag can be edited
	}
	nodeENI, err := read[v1alpha1.NodeENI](ctx, c.client.API, kube.NodeENIs, name)
	if err != nil {
		return evidence{}, err
	}
	if nodeENI != nil && nodeENI.UID != e.Owner.NodeENIUID {
		nodeENI = nil
	}
	// Of the custom resources the CRDs may be gone, but no API server is without Nodes.
	nodeName := c.nodeOf(e)
	node, err := readStrictly[kube.Node](ctx, c.client.Core, kube.Nodes, nodeName)
	if err != nil {
		return evidence{}, err
	}
	report, err := read[v1alpha1.NodeENIState](ctx, c.client.API, kube.NodeENIStates, nodeName)
	if err != nil {
		return evidence{}, err
	}
	return c.combine(e, nodeENI, node, report), nil
}

// nodeOf is the name of the Node that the ENI's instance has: that of its tag, unless
// that is another instance now, or gone, and the instance has another name.
func (c *caches) nodeOf(e eni.ENI) string {
	if named := c.node(e.Owner.Node); named != nil && !isOther(e, named) {
		return e.Owner.Node
	}
	found, err := c.nodes.GetIndexer().ByIndex(byInstance, e.Owner.InstanceID())
	if err != nil || len(found) != 1 {
		return e.Owner.Node
	}
	return found[0].(*kube.Node).Name
}

// hasInstance says whether a Node is that instance.
func (c *caches) hasInstance(id string) bool {
	found, err := c.nodes.GetIndexer().ByIndex(byInstance, id)
	return err == nil && len(found) > 0
}

// instances are at most so many of those that Nodes are, first those that report ENIs.
func (c *caches) instances(reported []reportedENI, most int) []string {
	set := map[string]bool{}
	for _, r := range reported {
		if len(set) < most {
			set[r.Instance] = true
		}
	}
	for _, node := range c.allNodes() {
		if id := kube.InstanceID(node.Spec.ProviderID); id != "" && len(set) < most {
			set[id] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

func (c *caches) nodeENIByUID(uid types.UID) *v1alpha1.NodeENI {
	found, err := c.nodeENIs.GetIndexer().ByIndex(byUID, string(uid))
	if err != nil || len(found) == 0 {
		return nil
	}
	return found[0].(*v1alpha1.NodeENI)
}

func (c *caches) nodeENI(name string) *v1alpha1.NodeENI {
	return lookUp[v1alpha1.NodeENI](c.nodeENIs, name)
}

func (c *caches) node(name string) *kube.Node { return lookUp[kube.Node](c.nodes, name) }

func (c *caches) state(node string) *v1alpha1.NodeENIState {
	return lookUp[v1alpha1.NodeENIState](c.states, node)
}

func lookUp[T any](i cache.SharedIndexInformer, name string) *T {
	obj, ok, err := i.GetStore().GetByKey(name)
	if err != nil || !ok {
		return nil
	}
	return obj.(*T)
}

func (c *caches) allNodeENIs() []*v1alpha1.NodeENI { return listOf[v1alpha1.NodeENI](c.nodeENIs) }
func (c *caches) allNodes() []*kube.Node           { return listOf[kube.Node](c.nodes) }
func (c *caches) allStates() []*v1alpha1.NodeENIState {
	return listOf[v1alpha1.NodeENIState](c.states)
}

func listOf[T any](i cache.SharedIndexInformer) []*T {
	objects := i.GetStore().List()
	all := make([]*T, len(objects))
	for n, obj := range objects {
		all[n] = obj.(*T)
	}
	return all
}

// older says whether a resource version is of a time before another one: etcd has been
// restored.
func older(version, other string) bool {
	x, errA := strconv.ParseUint(version, 10, 64)
	y, errB := strconv.ParseUint(other, 10, 64)
	return errA == nil && errB == nil && x < y
}

// ahead says whether a cache holds what the API server has not, after a restore of etcd.
// Its watch then waits for the time at which it was, and misses what happens until then.
func (c *caches) ahead(ctx context.Context) (bool, error) {
	for _, of := range []struct {
		client   rest.Interface
		resource string
		informer cache.SharedIndexInformer
	}{{c.client.API, kube.NodeENIs, c.nodeENIs}, {c.client.API, kube.NodeENIStates, c.states}, {c.client.Core, kube.Nodes, c.nodes}} {
		seen := of.informer.LastSyncResourceVersion() // before the API server's
		var now struct {
			Metadata metav1.ListMeta `json:"metadata"`
		}
		body, err := of.client.Get().Resource(of.resource).Param("limit", "1").Timeout(apiTimeout).Do(ctx).Raw()
		if err == nil {
			err = json.Unmarshal(body, &now)
		}
		if err != nil {
			return false, fmt.Errorf("reading the version of %s: %w", of.resource, err)
		}
		if older(now.Metadata.ResourceVersion, seen) {
			return true, nil
		}
	}
	return false, nil
}

// apiTimeout is how long to wait for an answer of the API server.
const apiTimeout = 10 * time.Second

// read gets an object; nil when there is none, or no such resource.
func read[T any](ctx context.Context, client rest.Interface, resource, name string) (*T, error) {
	obj, err := readStrictly[T](ctx, client, resource, name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return obj, err
}

// readStrictly gets an object; nil when the resource has none of this name.
func readStrictly[T any](ctx context.Context, client rest.Interface, resource, name string) (*T, error) {
	if name == "" || len(content.IsPathSegmentName(name)) > 0 {
		return nil, nil // no object can have that name
	}
	obj := new(T)
	err := client.Get().Resource(resource).Name(name).Timeout(apiTimeout).Do(ctx).Into(any(obj).(runtime.Object))
	if kube.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", resource, name, err)
	}
	return obj, nil
}
