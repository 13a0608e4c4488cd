package apiserver

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// watchedClaim is one claim as its watch shows it; the onDemand's mu guards it.
type watchedClaim struct {
	cancel  context.CancelFunc
	stopped bool
	known   bool                // it has been read
	object  *kube.ResourceClaim // as it was last seen; nil if it does not exist
}

func (c *watchedClaim) stop() {
	c.cancel()
	c.stopped = true
}

// here says whether the claim is allocated to a device of the node.
func (c *watchedClaim) here(node string) bool { return len(allocatedHere(c.object, node)) > 0 }

// elsewhere says whether the claim is allocated, but only to devices of other drivers.
func (c *watchedClaim) elsewhere(node string) bool {
	return c.known && c.object != nil && c.object.Status.Allocation != nil && !c.here(node)
}

// watch watches a claim; o.mu is held.
func (o *onDemand) watch(name types.NamespacedName) *watchedClaim {
	ctx, cancel := context.WithCancel(o.ctx)
	claim := &watchedClaim{cancel: cancel}
	byName := fields.OneTermEqualSelector(metav1.ObjectNameField, name.Name)
	lw := cache.NewListWatchFromClient(o.client.Resource, kube.ResourceClaims, name.Namespace, byName)
	informer := slimInformer(o.reach.Of("ResourceClaims", lw), &kube.ResourceClaim{}, slimMeta)
	seen := func(object any) { o.saw(ctx, claim, object.(*kube.ResourceClaim)) }
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: seen, UpdateFunc: func(_, object any) { seen(object) }, DeleteFunc: func(object any) {
		if _, missed := object.(cache.DeletedFinalStateUnknown); missed {
			go o.confirm(ctx, name, claim)
			return
		}
		o.saw(ctx, claim, nil)
	}})
	if err != nil {
		panic(err) // a programming error: the informer has been stopped
	}
	go informer.RunWithContext(ctx)
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) && len(informer.GetStore().ListKeys()) == 0 {
			o.confirm(ctx, name, claim)
		}
	}()
	return claim
}

// saw takes in the claim as it is; nil if it was deleted.
func (o *onDemand) saw(ctx context.Context, claim *watchedClaim, object *kube.ResourceClaim) {
	o.mu.Lock()
	stopped := ctx.Err() != nil
	if !stopped {
		claim.known, claim.object = true, object
	}
	o.mu.Unlock()
	if !stopped {
		o.update()
		signal(o.changed)
	}
}

// confirm asks the API server for a claim that a list did not show: that alone does not
// prove that there is none. Until it answers, the claim is what it was.
func (o *onDemand) confirm(ctx context.Context, name types.NamespacedName, claim *watchedClaim) {
	for logged := false; ctx.Err() == nil; {
		var object kube.ResourceClaim
		err := o.client.Resource.Get().Namespace(name.Namespace).Resource(kube.ResourceClaims).Name(name.Name).Timeout(fetchTimeout).Do(ctx).Into(&object)
		if kube.IsNotFound(err) {
			o.saw(ctx, claim, nil)
			return
		}
		if err == nil {
			return // the watch shows it
		}
		if !logged {
			o.log.Warn("a ResourceClaim is missing from the list, but its deletion is not confirmed; keeping its ENI", "claim", name.String(), "error", err)
			logged = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(fetchRetry):
		}
	}
}

const fetchTimeout = 10 * time.Second

// allocatedHere are the node's devices that a claim is allocated to.
func allocatedHere(claim *kube.ResourceClaim, node string) (all []agent.Claim) {
	if claim == nil || claim.Status.Allocation == nil {
		return nil
	}
	var pods []types.UID
	for _, consumer := range claim.Status.ReservedFor {
		if consumer.Resource == kube.Pods {
			pods = append(pods, consumer.UID)
		}
	}
	for _, r := range claim.AllocatedFrom(driver.Name, node) {
		here := agent.Claim{
			Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, Device: r.Device, Pods: pods,
			Parameters: parameters(claim.Status.Allocation.Devices.Config, r.Request), Status: claim.DeviceStatus(r),
		}
		all = append(all, here)
	}
	return all
}

// parameters are those of our driver for a request, the class's before the claim's. An
// entry may name a request by all of its name, or without the alternative that was chosen.
func parameters(configs []kube.AllocationConfig, request string) (all []json.RawMessage) {
	whole, _, _ := strings.Cut(request, "/")
	for _, source := range []string{"FromClass", "FromClaim"} {
		for _, c := range configs {
			concerns := len(c.Requests) == 0 || slices.Contains(c.Requests, request) || slices.Contains(c.Requests, whole)
			if c.Source == source && concerns && c.Opaque != nil && c.Opaque.Driver == driver.Name {
				all = append(all, c.Opaque.Parameters)
			}
		}
	}
	return all
}

// slimPod keeps of a pod which claims it uses.
func slimPod(object any) (any, error) {
	if pod, ok := object.(*kube.Pod); ok && len(pod.ClaimNames()) == 0 {
		pod.Spec, pod.Status = kube.PodSpec{NodeName: pod.Spec.NodeName}, kube.PodStatus{}
	}
	return slimMeta(object)
}

// slimMeta keeps of an object's metadata what names it.
func slimMeta(object any) (any, error) {
	if o, ok := object.(metav1.Object); ok {
		o.SetManagedFields(nil)
		o.SetLabels(nil)
		o.SetAnnotations(nil)
		o.SetOwnerReferences(nil)
		o.SetFinalizers(nil)
	}
	return object, nil
}
