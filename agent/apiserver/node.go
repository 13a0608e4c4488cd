package apiserver

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// node is the agent's own Node: as the watch shows it, and as it was last read or patched.
type node struct {
	client   *kube.Client
	name     string
	informer cache.SharedIndexInformer // *kube.Node, one
	absences *Absences
	changed  chan struct{} // of the Source

	mu    sync.Mutex
	fresh *kube.Node // as it was last read or patched
	read  time.Time  // when that was
}

func (n *node) handler() cache.ResourceEventHandler {
	changed := func(any) { signal(n.changed) }
	return cache.ResourceEventHandlerFuncs{AddFunc: changed, UpdateFunc: func(_, o any) { changed(o) }, DeleteFunc: func(o any) {
		n.mu.Lock()
		n.fresh = nil
		n.mu.Unlock()
		n.absences.onDelete(o)
		signal(n.changed)
	}}
}

// freshFor is how long what was read or patched counts for more than the watch. One
// that shows an older Node for longer does not trail: etcd has been restored from a
// backup.
const freshFor = time.Minute

// current is the newest Node that is known: the watch may not have come yet
// to what was read or patched.
func (n *node) current() *kube.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	watched := n.watched()
	if watched == nil || n.fresh != nil && newer(n.fresh, watched) && time.Since(n.read) < freshFor {
		return n.fresh
	}
	return watched
}

// setFresh keeps the Node as it was read or patched; n.mu is held.
func (n *node) setFresh(node *kube.Node) { n.fresh, n.read = node, time.Now() }

func (n *node) watched() *kube.Node {
	if o, ok, _ := n.informer.GetStore().GetByKey(n.name); ok {
		return o.(*kube.Node)
	}
	return nil
}

// refresh reads the Node.
func (n *node) refresh(ctx context.Context) (*kube.Node, error) {
	var node kube.Node
	if err := n.client.Core.Get().Resource(kube.Nodes).Name(n.name).Do(ctx).Into(&node); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.setFresh(&node)
	return &node, nil
}

// patch changes the Node, or a subresource of it. What it is then need not be awaited from
// the watch, or the same patch would be made twice.
func (n *node) patch(ctx context.Context, patch []byte, subresources ...string) error {
	var node kube.Node
	err := n.client.Core.Patch(types.JSONPatchType).Resource(kube.Nodes).Name(n.name).SubResource(subresources...).Body(patch).Do(ctx).Into(&node)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if watched := n.watched(); watched != nil && watched.UID == node.UID { // or it has been deleted since
		n.setFresh(&node)
	}
	return nil
}

// NodeProblem says why the Node is not this instance, or "".
func NodeProblem(node *kube.Node, instanceID string) string {
	switch kube.InstanceID(node.Spec.ProviderID) {
	case instanceID:
		return ""
	case "":
		return fmt.Sprintf("Node %s has the providerID %q, which does not name an EC2 instance. A providerID cannot be changed: make the AWS cloud controller manager, or --provider-id of the kubelet, set it to aws:///ZONE/%s, then delete the Node and restart the kubelet to register the Node again", node.Name, node.Spec.ProviderID, instanceID)
	default:
		return fmt.Sprintf("Node %s has the providerID %q, but IMDS reports that this agent runs on instance %s. Set --node-name to the name of this instance's Node. If the Node is a leftover from an earlier instance with the same name, delete it and restart the kubelet, because a providerID cannot be changed", node.Name, node.Spec.ProviderID, instanceID)
	}
}
