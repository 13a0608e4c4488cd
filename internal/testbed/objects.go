package testbed

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// CreateNode registers a node of the simulator as kubelet and cloud controller
// would.
func (tb *Testbed) CreateNode(ctx context.Context, name string, labels map[string]string) error {
	n, err := tb.Sim.Node(name)
	if err != nil {
		return err
	}
	node := &kube.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec:       kube.NodeSpec{ProviderID: n.ProviderID()},
	}
	return tb.Client.Core.Post().Resource(kube.Nodes).Body(node).Do(ctx).Error()
}

// DeleteNode deletes the Node object. The instance goes on.
func (tb *Testbed) DeleteNode(ctx context.Context, name string) error {
	return tb.Client.Core.Delete().Resource(kube.Nodes).Name(name).Do(ctx).Error()
}

// Label sets a label of a Node.
func (tb *Testbed) Label(ctx context.Context, node, key, value string) error {
	return tb.patchLabels(ctx, node, map[string]any{key: value})
}

// Unlabel removes a label of a Node.
func (tb *Testbed) Unlabel(ctx context.Context, node, key string) error {
	return tb.patchLabels(ctx, node, map[string]any{key: nil})
}

func (tb *Testbed) patchLabels(ctx context.Context, node string, labels map[string]any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels}})
	if err != nil {
		return err
	}
	return tb.Client.Core.Patch(types.MergePatchType).Resource(kube.Nodes).Name(node).Body(patch).Do(ctx).Error()
}

// Apply applies NodeENIs and whatever else the documents hold.
func (tb *Testbed) Apply(ctx context.Context, documents string) error {
	return tb.ControlPlane.Apply(ctx, []byte(documents))
}

// PatchNodeENI changes a NodeENI by a JSON merge patch.
func (tb *Testbed) PatchNodeENI(ctx context.Context, name, patch string) error {
	return tb.Client.API.Patch(types.MergePatchType).Resource(kube.NodeENIs).Name(name).Body([]byte(patch)).Do(ctx).Error()
}

// DeleteNodeENI asks for the deletion of a NodeENI; its finalizer may hold it.
func (tb *Testbed) DeleteNodeENI(ctx context.Context, name string) error {
	return tb.Client.API.Delete().Resource(kube.NodeENIs).Name(name).Do(ctx).Error()
}

// NodeENIs lists all NodeENIs.
func (tb *Testbed) NodeENIs(ctx context.Context) ([]v1alpha1.NodeENI, error) {
	var list v1alpha1.NodeENIList
	err := tb.Client.API.Get().Resource(kube.NodeENIs).Do(ctx).Into(&list)
	return list.Items, err
}

// States lists the agents' reports.
func (tb *Testbed) States(ctx context.Context) ([]v1alpha1.NodeENIState, error) {
	var list v1alpha1.NodeENIStateList
	err := tb.Client.API.Get().Resource(kube.NodeENIStates).Do(ctx).Into(&list)
	return list.Items, err
}

// Watch calls saw with each object of a kind that a watch shows, until ctx ends.
func Watch[T runtime.Object](ctx context.Context, client *kube.Client, resource string, kind T, saw func(T)) error {
	lw := cache.NewListWatchFromClient(client.API, resource, "", fields.Everything())
	informer := cache.NewSharedIndexInformer(lw, kind, 0, nil)
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { saw(o.(T)) },
		UpdateFunc: func(_, o any) { saw(o.(T)) },
	})
	if err != nil {
		return err
	}
	go informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return fmt.Errorf("%s cannot be watched", resource)
	}
	return nil
}

// Disturb changes what is none of the agent's business on a node, as pods that come and
// go do: it adds an address to lo and deletes it again, until ctx ends.
func (tb *Testbed) Disturb(ctx context.Context, node string, every time.Duration) error {
	n, err := tb.Sim.Node(node)
	if err != nil {
		return err
	}
	h, err := n.Namespace.Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	address, err := netlink.ParseAddr("127.1.0.1/32")
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ; err == nil && ctx.Err() == nil; <-tick.C {
		err = h.AddrAdd(lo, address)
		<-tick.C
		err = cmp.Or(err, h.AddrDel(lo, address))
	}
	return err
}

// ENIs are the ENIs in EC2 that agents have made, known by their tags and
// without EC2's lag.
func (tb *Testbed) ENIs() []cloud.Interface {
	var ours []cloud.Interface
	for _, e := range tb.Sim.Cloud().Interfaces() {
		if e.Tags[eni.TagCluster] != "" {
			ours = append(ours, e)
		}
	}
	return ours
}
