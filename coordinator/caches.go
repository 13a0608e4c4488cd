package coordinator

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

const (
	byUID      = "uid"      // of NodeENIs: ENIs are tagged with it, because another one may get the name
	byInstance = "instance" // of Nodes: an instance may register again with another name
)

// caches hold what the API server shows. They also run on coordinators that do not lead, so
// that a new leader begins with all objects, and the deletions that were seen.
type caches struct {
	client   *kube.Client
	nodeENIs store[v1alpha1.NodeENI]
	nodes    store[kube.Node]
	states   store[v1alpha1.NodeENIState]
	history  *history
	synced   []cache.DoneChecker
}

func newCaches(client *kube.Client, log *slog.Logger, history *history) *caches {
	reach := kube.NewReach(log)
	return &caches{
		client:   client,
		nodeENIs: store[v1alpha1.NodeENI]{newInformer(reach, client.API, kube.NodeENIs, &v1alpha1.NodeENI{}, cache.Indexers{byUID: uidOf})},
		nodes:    store[kube.Node]{newInformer(reach, client.Core, kube.Nodes, &kube.Node{}, cache.Indexers{byInstance: instanceOf})},
		states:   store[v1alpha1.NodeENIState]{newInformer(reach, client.API, kube.NodeENIStates, &v1alpha1.NodeENIState{}, cache.Indexers{})},
		history:  history,
	}
}

func uidOf(obj any) ([]string, error) { return []string{string(obj.(*v1alpha1.NodeENI).UID)}, nil }

func instanceOf(obj any) ([]string, error) {
	if id := kube.InstanceID(obj.(*kube.Node).Spec.ProviderID); id != "" {
		return []string{id}, nil
	}
	return nil, nil
}

// handle registers a handler. The caches are filled once it has been called for every object
// of the first list.
func (c *caches) handle(i cache.SharedIndexInformer, h cache.ResourceEventHandler) error {
	registration, err := i.AddEventHandler(h)
	if err != nil {
		return err
	}
	c.synced = append(c.synced, registration.HasSyncedChecker())
	return nil
}

// run starts the caches and waits until they are filled, or ctx ends.
func (c *caches) run(ctx context.Context) (stop func(), filled bool) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, run := range []func(context.Context){c.nodeENIs.RunWithContext, c.nodes.RunWithContext, c.states.RunWithContext} {
		running.Go(func() { run(ctx) })
	}
	return func() { cancel(); running.Wait() }, cache.WaitFor(ctx, "", c.synced...)
}

// filled returns an error until the caches are filled. No decision is made before.
func (c *caches) filled() error {
	for _, s := range c.synced {
		if !cache.IsDone(s) {
			return errors.New("not all NodeENIs, NodeENIStates, and Nodes have been read from the API server yet")
		}
	}
	return nil
}

// evidence is what the caches show about an ENI.
func (c *caches) evidence(e eni.ENI) evidence {
	node := c.nodeOf(e)
	return c.combine(e, c.nodeENIByUID(e.Owner.NodeENIUID), c.nodes.get(node), c.states.get(node))
}

// combine adds the deletions that were seen to the objects in an ENI's tags.
func (c *caches) combine(e eni.ENI, nodeENI *v1alpha1.NodeENI, node *kube.Node, report *v1alpha1.NodeENIState) evidence {
	ev := evidence{NodeENI: nodeENI, Node: node, Phase: reportedPhase(e, report)}
	ev.NodeENIDeleted, ev.NodeDeleted = c.history.seenDeletions(e.Owner)
	return ev
}

// liveEvidence is what the API server shows about an ENI. A cache stays as it was while its
// informer cannot list or watch, because a right is missing or an object cannot be decoded,
// and until it has followed a restore of etcd. By such a cache, new ENIs would be orphans, and
// ENIs of a Node whose label came back would be left over.
func (c *caches) liveEvidence(ctx context.Context, e eni.ENI) (evidence, error) {
	name := e.Owner.NodeENI
	if cached := c.nodeENIByUID(e.Owner.NodeENIUID); cached != nil {
		name = cached.Name // a tag may have been edited
	}
	nodeENI, err := read[v1alpha1.NodeENI](ctx, c.client.API, kube.NodeENIs, name)
	if err != nil {
		return evidence{}, err
	}
	if nodeENI != nil && nodeENI.UID != e.Owner.NodeENIUID {
		nodeENI = nil
	}
	// The CRDs of NodeENIs and NodeENIStates may be gone, but every API server has Nodes.
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

// nodeOf is the name of the Node that the ENI's instance is: the one in its tag, unless that
// Node is gone or another instance, and the instance has another name now.
func (c *caches) nodeOf(e eni.ENI) string {
	if named := c.nodes.get(e.Owner.Node); named != nil && !isOtherInstance(e, named) {
		return e.Owner.Node
	}
	if found := c.nodes.by(byInstance, e.Owner.InstanceID()); len(found) == 1 {
		return found[0].Name
	}
	return e.Owner.Node
}

// hasInstance says whether a Node is that instance.
func (c *caches) hasInstance(id string) bool { return len(c.nodes.by(byInstance, id)) > 0 }

// instances are those of the Nodes, first the ones whose agents report ENIs, and no more than
// most.
func (c *caches) instances(reported []reportedENI, most int) []string {
	set := map[string]bool{}
	for _, r := range reported {
		if len(set) < most {
			set[r.Instance] = true
		}
	}
	for _, node := range c.nodes.list() {
		if id := kube.InstanceID(node.Spec.ProviderID); id != "" && len(set) < most {
			set[id] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

func (c *caches) nodeENIByUID(uid types.UID) *v1alpha1.NodeENI {
	if found := c.nodeENIs.by(byUID, string(uid)); len(found) > 0 {
		return found[0]
	}
	return nil
}
