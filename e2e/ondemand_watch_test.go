package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// inspector looks at each change of Pods, ResourceClaims, and ResourceSlices, and finds what
// must never be, not even for a moment:
//   - a pod that is bound before the ENIs of its claims are attached and their links are up;
//   - a claim that reports a device as attached while its link is missing;
//   - a ResourceSlice with a negative counter;
//   - where nothing takes ENIs from pods, see watchBound, a bound pod that has lost one.
type inspector struct {
	*cluster
	objects client.WithWatch

	mu       sync.Mutex
	pods     map[types.UID]*corev1.Pod            // that are bound
	claims   map[string]*resourcev1.ResourceClaim // by namespace and name
	seen     map[string]bool                      // what has been looked at
	bound    int                                  // pods
	attached int                                  // devices of claims
	gone     map[string]bool                      // nodes that die at the moment
	problems []finding
}

// finding is a problem of a namespace or node.
type finding struct{ of, text string }

// inspect starts an inspector for all pods of the cluster.
func (c *cluster) inspect(objects client.WithWatch) *inspector {
	i := &inspector{
		cluster: c, objects: objects, pods: map[types.UID]*corev1.Pod{}, claims: map[string]*resourcev1.ResourceClaim{}, seen: map[string]bool{}, gone: map[string]bool{},
	}
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	for _, list := range []client.ObjectList{&corev1.PodList{}, &resourcev1.ResourceClaimList{}, &resourcev1.ResourceSliceList{}} {
		watching.Go(func() { i.watch(ctx, list) })
	}
	c.t.Cleanup(func() {
		cancel()
		watching.Wait()
		for _, f := range i.problems { // that no run has taken
			c.t.Errorf("%s: %s", f.of, f.text)
		}
		c.t.Logf("%d pods were bound, and %d devices of claims attached", i.bound, i.attached)
	})
	return i
}

func (i *inspector) watch(ctx context.Context, list client.ObjectList) {
	for ; ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		watch, err := i.objects.Watch(ctx, list.DeepCopyObject().(client.ObjectList))
		if err != nil {
			continue // the API server is away
		}
		for event := range watch.ResultChan() {
			if i.keep(event.Object, event.Type != apiwatch.Deleted); event.Type == apiwatch.Deleted {
				continue
			}
			switch object := event.Object.(type) {
			case *corev1.Pod:
				i.sawPod(object)
			case *resourcev1.ResourceClaim:
				i.sawClaim(object)
			case *resourcev1.ResourceSlice:
				i.sawSlice(object)
			}
		}
	}
}

// keep keeps bound pods, and claims, as they were seen last.
func (i *inspector) keep(object runtime.Object, exists bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch o := object.(type) {
	case *corev1.Pod:
		if delete(i.pods, o.UID); exists && o.Spec.NodeName != "" && o.DeletionTimestamp == nil {
			i.pods[o.UID] = o
		}
	case *resourcev1.ResourceClaim:
		key := o.Namespace + "/" + o.Name
		if delete(i.claims, key); exists {
			i.claims[key] = o
		}
	}
}

// watchBound looks again and again whether each bound pod has its ENIs still, until ctx ends.
func (i *inspector) watchBound(ctx context.Context) {
	for ; ctx.Err() == nil; time.Sleep(time.Second) {
		i.mu.Lock()
		pods := slices.Collect(maps.Values(i.pods))
		i.mu.Unlock()
		for _, pod := range pods {
			problem := i.lost(pod)
			var now corev1.Pod
			if problem == "" {
				continue
			}
			if i.still(pod, &now) {
				i.found(pod.Namespace, pod.Spec.NodeName, fmt.Sprintf("pod %s on %s has lost an ENI: %s", pod.Name, pod.Spec.NodeName, problem))
			}
			i.keep(pod, false) // it has been reported
		}
	}
}

// lost says which ENI of a bound pod is missing, by the claims as they were seen last.
func (i *inspector) lost(pod *corev1.Pod) string {
	for _, name := range claimNames(pod) {
		i.mu.Lock()
		claim := i.claims[pod.Namespace+"/"+name]
		i.mu.Unlock()
		if claim == nil || claim.Status.Allocation == nil {
			continue
		}
		if _, problem := i.enisOf(claim); problem != "" {
			return problem
		}
	}
	return ""
}

// first says whether something is seen for the first time, and counts it.
func (i *inspector) first(what string, count *int) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.seen[what] {
		return false
	}
	i.seen[what] = true
	*count++
	return true
}

func (i *inspector) sawPod(pod *corev1.Pod) {
	if pod.Spec.NodeName == "" || pod.DeletionTimestamp != nil || !i.first("pod "+string(pod.UID), &i.bound) {
		return
	}
	problem := i.unusable(pod)
	var now corev1.Pod
	if problem != "" && i.still(pod, &now) {
		i.found(pod.Namespace, pod.Spec.NodeName, fmt.Sprintf("pod %s is bound to %s, and %s", pod.Name, pod.Spec.NodeName, problem))
	}
}

func (i *inspector) sawClaim(claim *resourcev1.ResourceClaim) {
	if claim.Status.Allocation == nil || claim.DeletionTimestamp != nil {
		return
	}
	for _, status := range claim.Status.Devices {
		c := meta.FindStatusCondition(status.Conditions, driver.ConditionAttached)
		if status.Driver != driver.Name || c == nil || c.Status != "True" || !i.first(fmt.Sprint(claim.UID, status.Pool, status.Device, c.LastTransitionTime), &i.attached) {
			continue
		}
		_, problem := i.usable(status)
		var now resourcev1.ResourceClaim
		if problem != "" && i.still(claim, &now) && slices.ContainsFunc(now.Status.Devices, func(d resourcev1.AllocatedDeviceStatus) bool {
			return d.Device == status.Device && d.Pool == status.Pool && meta.IsStatusConditionTrue(d.Conditions, driver.ConditionAttached)
		}) {
			i.found(claim.Namespace, status.Pool, fmt.Sprintf("claim %s reports %s/%s as attached, and %s", claim.Name, status.Pool, status.Device, problem))
		}
	}
}

func (i *inspector) sawSlice(slice *resourcev1.ResourceSlice) {
	for _, set := range slice.Spec.SharedCounters {
		for name, counter := range set.Counters {
			if counter.Value.Sign() < 0 {
				i.found(slice.Spec.Pool.Name, slice.Spec.Pool.Name, fmt.Sprintf("slice %s has the counter %s/%s=%s", slice.Name, set.Name, name, counter.Value.String()))
			}
		}
	}
}

// still reads the object again, and says whether it is there and is not being deleted: what
// goes may be without its ENI.
func (i *inspector) still(object, now client.Object) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		err := i.objects.Get(context.Background(), client.ObjectKeyFromObject(object), now)
		if err == nil {
			return now.GetUID() == object.GetUID() && now.GetDeletionTimestamp() == nil
		}
		if apierrors.IsNotFound(err) {
			return false
		}
	}
	return true
}

// found notes a problem, unless the node has just been lost.
func (i *inspector) found(namespace, node, text string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.gone[node] && len(i.problems) < 20 {
		i.problems = append(i.problems, finding{namespace, time.Now().Format("05.000") + " " + text})
	}
}

// lose says that a node dies, or is back.
func (i *inspector) lose(node string, yes bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.gone[node] = yes
}

// take returns the problems of namespaces and nodes, and forgets them.
func (i *inspector) take(of ...string) (texts []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.problems = slices.DeleteFunc(i.problems, func(f finding) bool {
		mine := slices.Contains(of, f.of)
		if mine {
			texts = append(texts, f.text)
		}
		return mine
	})
	return texts
}

// unusable says why a bound pod cannot use an ENI that it claims; "" if it can use all.
func (i *inspector) unusable(pod *corev1.Pod) string {
	for _, name := range claimNames(pod) {
		var claim resourcev1.ResourceClaim
		if err := i.objects.Get(context.Background(), types.NamespacedName{Namespace: pod.Namespace, Name: name}, &claim); err != nil {
			if apierrors.IsNotFound(err) {
				return "" // the pod has been deleted meanwhile
			}
			return err.Error()
		}
		if _, problem := i.enisOf(&claim); problem != "" {
			return problem
		}
	}
	return ""
}

// claimNames are those of the pod's claims: its own, those of templates, and that of its
// extended resources.
func claimNames(pod *corev1.Pod) (names []string) {
	for _, s := range pod.Spec.ResourceClaims {
		if s.ResourceClaimName != nil {
			names = append(names, *s.ResourceClaimName)
		}
	}
	for _, s := range pod.Status.ResourceClaimStatuses {
		if s.ResourceClaimName != nil {
			names = append(names, *s.ResourceClaimName)
		}
	}
	if s := pod.Status.ExtendedResourceClaimStatus; s != nil {
		names = append(names, s.ResourceClaimName)
	}
	return names
}

// enisOf are the ENIs of an allocated claim, and why a pod cannot use them yet.
func (i *inspector) enisOf(claim *resourcev1.ResourceClaim) (enis []cloud.Interface, problem string) {
	if claim.Status.Allocation == nil {
		return nil, fmt.Sprintf("claim %s is not allocated", claim.Name)
	}
	for _, r := range claim.Status.Allocation.Devices.Results {
		at := slices.IndexFunc(claim.Status.Devices, func(d resourcev1.AllocatedDeviceStatus) bool { return d.Pool == r.Pool && d.Device == r.Device })
		if at < 0 {
			return enis, fmt.Sprintf("claim %s reports nothing of %s/%s", claim.Name, r.Pool, r.Device)
		}
		e, problem := i.usable(claim.Status.Devices[at])
		if problem != "" {
			return enis, fmt.Sprintf("of claim %s, %s", claim.Name, problem)
		}
		enis = append(enis, e)
	}
	return enis, ""
}

// usable is the ENI that a claim reports of a device, and why a pod could not use it. The
// link counts: EC2 may show the attachment as attaching for a while after it has appeared.
func (i *inspector) usable(status resourcev1.AllocatedDeviceStatus) (e cloud.Interface, problem string) {
	if status.NetworkData == nil {
		return e, fmt.Sprintf("device %s has never been attached: %+v", status.Device, status.Conditions)
	}
	mac := status.NetworkData.HardwareAddress
	all := i.managed()
	at := slices.IndexFunc(all, func(e cloud.Interface) bool { return e.MAC == mac })
	if at < 0 {
		return e, fmt.Sprintf("no ENI has the MAC address %s of device %s", mac, status.Device)
	}
	e = all[at]
	node, err := i.Sim.Node(status.Pool)
	switch {
	case err != nil:
		return e, err.Error()
	case e.Attachment == nil || e.Attachment.InstanceID != node.ID || e.Attachment.Status == cloud.AttachmentDetaching:
		return e, fmt.Sprintf("%s is not attached to %s: %+v", e.ID, status.Pool, e.Attachment)
	}
	if i.kubelets {
		return e, "" // the link may be in the pod
	}
	h, err := node.Namespace.Netlink()
	if err != nil {
		return e, err.Error()
	}
	defer h.Close()
	links, err := h.LinkList()
	up := slices.ContainsFunc(links, func(l netlink.Link) bool {
		return l.Attrs().HardwareAddr.String() == mac && l.Attrs().RawFlags&unix.IFF_UP != 0
	})
	if !up && err == nil {
		return e, fmt.Sprintf("%s has no link of %s (%s) that is up", status.Pool, e.ID, mac)
	}
	return e, ""
}
