package apiserver

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/cache"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

func (s *Source) onNode() cache.ResourceEventHandler {
	changed := func(any) { signal(s.changed) }
	return cache.ResourceEventHandlerFuncs{AddFunc: changed, UpdateFunc: func(_, o any) { changed(o) }, DeleteFunc: func(o any) {
		s.mu.Lock()
		s.fresh = nil
		s.mu.Unlock()
		s.absences.onDelete(o)
		signal(s.changed)
	}}
}

// freshFor is how long what was read or patched counts for more than the watch. One
// that shows an older Node for longer does not trail: etcd has been restored from a
// backup.
const freshFor = time.Minute

// currentNode is the newest Node that is known: the watch may not have come yet
// to what was read or patched.
func (s *Source) currentNode() *kube.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	watched := s.watchedNode()
	if watched == nil || s.fresh != nil && newer(s.fresh, watched) && time.Since(s.read) < freshFor {
		return s.fresh
	}
	return watched
}

// setFresh keeps the Node as it was read or patched; s.mu is held.
func (s *Source) setFresh(node *kube.Node) { s.fresh, s.read = node, time.Now() }

func (s *Source) watchedNode() *kube.Node {
	if o, ok, _ := s.nodes.GetStore().GetByKey(s.node); ok {
		return o.(*kube.Node)
	}
	return nil
}

func newer(a, b metav1.Object) bool {
	order, err := resourceversion.CompareResourceVersion(a.GetResourceVersion(), b.GetResourceVersion())
	return err == nil && order > 0
}

// NodeProblem says why the Node is not this instance, or "".
func NodeProblem(node *kube.Node, instanceID string) string {
	switch kube.InstanceID(node.Spec.ProviderID) {
	case instanceID:
		return ""
	case "":
		return fmt.Sprintf("Node %s has the providerID %q, which names no EC2 instance, and a providerID cannot be changed: have the AWS cloud controller manager, or the kubelet's --provider-id, set it to aws:///ZONE/%s when the Node is registered, then delete the Node and restart the kubelet, so that it is registered again", node.Name, node.Spec.ProviderID, instanceID)
	default:
		return fmt.Sprintf("Node %s has the providerID %q, but this agent runs on instance %s (so says IMDS); start the agent with the name of its own Node in --node-name; if the Node is left from an earlier instance of that name, delete it and restart the kubelet, because a providerID cannot be changed", node.Name, node.Spec.ProviderID, instanceID)
	}
}

// Refresh implements Source: it reads the Node once more.
func (s *Source) Refresh(ctx context.Context) error {
	_, err := s.readNode(ctx)
	return err
}

func (s *Source) readNode(ctx context.Context) (*kube.Node, error) {
	var node kube.Node
	if err := s.client.Core.Get().Resource(kube.Nodes).Name(s.node).Do(ctx).Into(&node); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setFresh(&node)
	return &node, nil
}

// Confirm implements Confirmer.
func (s *Source) Confirm(ctx context.Context, uid types.UID, name string) error {
	node, err := s.readNode(ctx)
	if err != nil {
		return fmt.Errorf("its Node: %w", err)
	}
	var n v1alpha1.NodeENI
	if err := s.client.API.Get().Resource(kube.NodeENIs).Name(name).Do(ctx).Into(&n); err != nil {
		return fmt.Errorf("NodeENI %s: %w", name, err)
	}
	if n.UID != uid || n.DeletionTimestamp != nil || !n.Selects(node.Labels) {
		return fmt.Errorf("NodeENI %s no longer selects this node, and the watch has not shown that yet", name)
	}
	return nil
}

// PatchNode implements NodePatcher. What the Node is then need not be awaited
// from the watch, or the same patch would be made twice.
func (s *Source) PatchNode(ctx context.Context, patch []byte) error {
	var node kube.Node
	err := s.client.Core.Patch(types.JSONPatchType).Resource(kube.Nodes).Name(s.node).Body(patch).Do(ctx).Into(&node)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if watched := s.watchedNode(); watched != nil && watched.UID == node.UID { // or it has been deleted since
		s.setFresh(&node)
	}
	return nil
}
