package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// operation does something at random and says what.
func (d *demandTrial) operation(r *rand.Rand) string {
	return choose(r, []operation{
		{32, d.opPod},
		{18, d.opPodGone},
		{8, d.trial.opAgent},
		{10, d.opFault},
		{3, d.opStorm},
		{10, d.opKilledWhile},
		{8, d.opAPI},
		{4, d.opSubnetFull},
		{3, d.opChange},
		{2, d.opReplace},
		{2, d.field.opShared},
	})
}

// opPod creates a pod, with a claim of its own, a claim that outlives it and that it may
// share with others, or an extended resource.
func (d *demandTrial) opPod(r *rand.Rand) string {
	enis, total := 1, 0
	for _, n := range d.pods {
		total += n
	}
	kind, selector := pick(r, "own", "own", "own", "two", "kept", "kept", "limits"), pick(r, "", ofNodeENI("alpha-"+d.name), ofNodeENI("beta-"+d.name))
	if kind == "two" && !slices.Contains(slices.Collect(maps.Values(d.pods)), 2) {
		enis = 2
	}
	if total+enis > mostENIs {
		return "there are pods enough"
	}
	d.made++
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: d.name, Name: fmt.Sprint("pod-", d.made)}}
	pod.Spec.NodeSelector = map[string]string{"run": d.name}
	pod.Spec.Containers = []corev1.Container{{Name: "main", Image: "example.com/appliance"}}
	spec := resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{
		Name: "eni", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "eni.networking.k8s.aws", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: int64(enis)},
	}}}}
	if selector != "" {
		spec.Devices.Requests[0].Exactly.Selectors = []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: selector}}}
	}
	claim := corev1.PodResourceClaim{Name: "eni"}
	var claimed client.Object
	switch kind {
	case "limits":
		one := corev1.ResourceList{corev1.ResourceName("networking.k8s.aws/" + d.name): resource.MustParse("1")}
		pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: one, Limits: one}
	case "kept":
		name := d.keptClaim(pick(r, "claim-a", "claim-b"))
		if name == "" {
			return "the claim is being allocated"
		}
		claim.ResourceClaimName = &name
		d.kept[pod.Name] = name
		claimed = &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: d.name, Name: name}, Spec: spec}
	default:
		claim.ResourceClaimTemplateName = &pod.Name
		claimed = &resourcev1.ResourceClaimTemplate{ObjectMeta: pod.ObjectMeta, Spec: resourcev1.ResourceClaimTemplateSpec{Spec: spec}}
	}
	if claimed != nil {
		pod.Spec.ResourceClaims = []corev1.PodResourceClaim{claim}
		pod.Spec.Containers[0].Resources.Claims = []corev1.ResourceClaim{{Name: "eni"}}
		d.apply(claimed)
	}
	d.pods[pod.Name] = enis
	d.apply(pod)
	return fmt.Sprintf("pod %s, %s: %q", pod.Name, kind, selector)
}

// apply creates an object, unless it is there.
func (d *demandTrial) apply(object client.Object) {
	d.must(d.attempt(func() error {
		err := d.objects.Create(d.t.Context(), object)
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	}))
}

func (d *demandTrial) opPodGone(r *rand.Rand) string {
	if len(d.pods) == 0 {
		return "there is no pod"
	}
	name := pick(r, slices.Sorted(maps.Keys(d.pods))...)
	d.removePod(name)
	return fmt.Sprintf("pod %s is deleted", name)
}

// removePod deletes a pod. If it has not been bound yet, the claim that would outlive it
// is deleted, too, and its name is not used again: kube-scheduler 1.37 would wait ten
// minutes for that claim to be ready for the pod that is gone, and meanwhile allocate it for
// no other.
func (d *demandTrial) removePod(name string) {
	claim := d.kept[name]
	if claim == "" || d.isBound(name) {
		claim = name // which may not exist
	} else {
		d.retired[claim] = true
	}
	delete(d.pods, name)
	delete(d.kept, name)
	meta := metav1.ObjectMeta{Namespace: d.name, Name: name}
	for _, object := range []client.Object{
		&corev1.Pod{ObjectMeta: meta}, &resourcev1.ResourceClaimTemplate{ObjectMeta: meta}, &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: d.name, Name: claim}},
	} {
		d.must(d.attempt(func() error {
			return client.IgnoreNotFound(d.objects.Delete(d.t.Context(), object, client.GracePeriodSeconds(0)))
		}))
	}
}

// keptClaim is the name of a claim that outlives its pods, "" while one of them waits for it.
func (d *demandTrial) keptClaim(stem string) string {
	name := stem
	for i := 2; d.retired[name]; i++ {
		name = fmt.Sprint(stem, "-", i)
	}
	for pod, claim := range d.kept {
		if claim == name && !d.isBound(pod) {
			return ""
		}
	}
	return name
}

func (d *demandTrial) isBound(name string) bool {
	var pod corev1.Pod
	d.must(d.attempt(func() error {
		return d.objects.Get(d.t.Context(), client.ObjectKey{Namespace: d.name, Name: name}, &pod)
	}))
	return pod.Spec.NodeName != ""
}

// opChange changes a NodeENI, which carries that out in place.
func (d *demandTrial) opChange(r *rand.Rand) string {
	name, patch := pick(r, d.nodeENIs()...), pick(r, `{"spec":{"description":"changed"}}`, `{"spec":{"mtu":1500}}`, `{"spec":{"mtu":9001}}`)
	d.must(d.attempt(func() error { return d.PatchNodeENI(d.t.Context(), name, patch) }))
	return "change NodeENI " + name + " " + patch
}

// opFault makes calls of an agent go wrong.
func (d *demandTrial) opFault(r *rand.Rand) string {
	f := anyFault(r)
	f.Action = pick(r, createCall, attachCall, modifyCall, describeCall, "DescribeSubnets", "DescribeSecurityGroups", "*")
	if d.trial.harsh && r.IntN(4) == 0 {
		f = cloud.Fault{Action: f.Action, Count: f.Count, Code: pick(r, "UnauthorizedOperation", "InsufficientFreeAddressesInSubnet", "OperationNotPermitted",
			"NetworkInterfaceLimitExceeded", "AttachmentLimitExceeded", "SecurityGroupsPerInterfaceLimitExceeded", "AuthFailure")}
	}
	f.SourceID = d.source(pick(r, d.nodes...))
	d.must(d.Sim.Cloud().Inject(f))
	return "fault " + string(mustJSON(f))
}

// opStorm has EC2 throttle the agents of this run for a while, or be slow.
func (d *demandTrial) opStorm(r *rand.Rand) string {
	f := pick(r, cloud.Fault{Code: "RequestLimitExceeded"}, cloud.Fault{Delay: time.Duration(r.IntN(7000)) * time.Millisecond})
	f.Action = pick(r, "*", createCall, attachCall)
	f.Count = 5 + r.IntN(15)
	for _, node := range d.nodes {
		f.SourceID = d.source(node)
		d.must(d.Sim.Cloud().Inject(f))
	}
	return "for all agents, fault " + string(mustJSON(f))
}

func (d *demandTrial) opSubnetFull(r *rand.Rand) string {
	if !d.trial.harsh {
		return "no subnet is full in this run"
	}
	id := d.subnet(pick(r, "data", "storage")+d.name[len("run"):], pick(r, d.nodes...))
	d.must(d.Sim.Cloud().SetFreeAddresses(id, 0))
	d.trial.full = append(d.trial.full, id)
	return "the subnet " + id + " is full"
}

// opKilledWhile kills an agent at the moment of a call, or of a write, for a pod.
func (d *demandTrial) opKilledWhile(r *rand.Rand) string {
	node := pick(r, d.nodes...)
	f := cloud.Fault{Action: pick(r, createCall, attachCall, modifyCall), SourceID: d.source(node), After: r.IntN(2) == 0, Hang: true, Count: 1}
	at, armed := f.Action, func() bool { return slices.Contains(d.Sim.Cloud().Faults(), f) }
	if r.IntN(3) == 0 {
		path := pick(r, "resourceclaims", "nodeenistates", "resourceslices")
		at, armed = "a write of "+path, d.Gate.Inject(testbed.APIFault{Process: "agent-" + node, Write: true, Path: path, After: f.After, Hang: true, Count: 1})
	} else {
		d.must(d.Sim.Cloud().Inject(f))
	}
	what := d.opPod(r)
	for end := time.Now().Add(3 * time.Second); armed() && time.Now().Before(end); {
		time.Sleep(2 * time.Millisecond)
	}
	if f.After {
		time.Sleep(20 * time.Millisecond)
	}
	reached := !armed()
	d.restart(node)
	return fmt.Sprintf("kill the agent of %s at %s (after %v, reached %v): %s", node, at, f.After, reached, what)
}

// opAPI makes the requests of an agent go wrong.
func (d *demandTrial) opAPI(r *rand.Rand) string {
	name, d3 := "agent-"+pick(r, d.nodes...), time.Duration(300+r.IntN(3000))*time.Millisecond
	f := testbed.APIFault{Process: name}
	switch k := r.IntN(20); {
	case k < 4:
		f.Write, f.Status, f.Count = true, pick(r, 429, 500, 503, 409, 504, 403, 401), 1+r.IntN(4)
	case k < 8:
		f.Write, f.After, f.Count = true, true, 1+r.IntN(3)
	case k < 10:
		f.Write, f.After, f.Hang, f.Count = true, r.IntN(2) == 0, true, 1
	case k < 12:
		f.Watch, f.Status, f.Count = true, pick(r, http.StatusGone, 429, 500), 2
	case k < 14:
		f.Delay, f.Count = time.Duration(r.IntN(700))*time.Millisecond, 20
	case k < 17:
		d.Gate.Isolate(name, d3)
		return fmt.Sprintf("%s is cut off from the API server for %v", name, d3)
	default:
		d.Gate.Stall(name, d3)
		return fmt.Sprintf("the watches of %s tell nothing for %v", name, d3)
	}
	d.Gate.Inject(f)
	return fmt.Sprintf("requests to the API server: %+v", f)
}

// opReplace has a node die, with whatever it does at the moment. Its pods are deleted, as
// Kubernetes does in the end, and another instance gets its name.
func (d *demandTrial) opReplace(r *rand.Rand) string {
	node, ctx := pick(r, d.nodes...), d.t.Context()
	old, err := d.Sim.Node(node)
	d.must(err)
	d.lose(node, true)
	d.agents[node].Kill()
	d.must(d.Sim.Cloud().Terminate(old.ID))
	time.Sleep(time.Duration(r.IntN(1000)) * time.Millisecond)
	d.must(d.attempt(func() error { return client.IgnoreNotFound(d.DeleteNode(ctx, node)) }))
	lost := d.lostPods(node)
	for _, pod := range lost {
		d.removePod(pod)
	}
	d.await("the instance is terminated", func() string {
		if slices.ContainsFunc(d.Sim.Nodes(), func(n sim.Node) bool { return n.ID == old.ID }) {
			return "it is not"
		}
		return ""
	})
	specs := d.Sim.Topology().Nodes
	spec := specs[slices.IndexFunc(specs, func(s sim.NodeSpec) bool { return s.Name == node })]
	spec.ID = ""
	_, err = d.Sim.AddNode(spec)
	d.must(err)
	d.lose(node, false)
	d.must(d.attempt(func() error {
		if err := d.CreateNode(ctx, node, map[string]string{"run": d.name}); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
		return testbed.OfferRoom(ctx, d.Client, node)
	}))
	d.agent(node)
	return fmt.Sprintf("%s is another instance; it had the pods %v", node, lost)
}

// lostPods are the pods that are bound to a node, or whose claims are allocated to it.
func (d *demandTrial) lostPods(node string) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(d.pods)) {
		var pod corev1.Pod
		d.must(d.attempt(func() error {
			return d.objects.Get(d.t.Context(), client.ObjectKey{Namespace: d.name, Name: name}, &pod)
		}))
		here := pod.Spec.NodeName == node || pod.Status.NominatedNodeName == node
		for _, claimName := range claimNames(&pod) {
			var claim resourcev1.ResourceClaim
			if d.objects.Get(d.t.Context(), client.ObjectKey{Namespace: d.name, Name: claimName}, &claim) == nil && claim.Status.Allocation != nil {
				here = here || slices.ContainsFunc(claim.Status.Allocation.Devices.Results, func(r resourcev1.DeviceRequestAllocationResult) bool { return r.Pool == node })
			}
		}
		if here {
			names = append(names, name)
		}
	}
	return names
}

// opShared has something go wrong that all runs share.
func (f *demandField) opShared(r *rand.Rand) string {
	d := time.Duration(300+r.IntN(3000)) * time.Millisecond
	f.mu.Lock()
	defer f.mu.Unlock()
	freeze := func(name string, p *testbed.Process) string {
		_ = p.Pause() // it may have ended
		f.in(d, func() { _ = p.Resume() })
		return fmt.Sprintf("freeze %s for %v", name, d)
	}
	switch k := r.IntN(20); {
	case k < 4:
		lags := &trial{cluster: f.cluster, timing: quick}
		f.in(5*time.Second, func() { _ = f.Sim.Cloud().SetTiming(quick) })
		return lags.opLag(r)
	case k < 6:
		f.Sim.Cloud().Storm(1 + r.IntN(3))
		f.in(d, func() { f.Sim.Cloud().SetThrottle(false) })
		return fmt.Sprintf("EC2 throttles all for %v", d)
	case k < 10:
		name := pick(r, "coordinator-1", "coordinator-2")
		f.coordinators[name].Kill()
		return "kill " + name
	case k < 13:
		name := pick(r, "kube-scheduler", "kube-controller-manager")
		f.coordinators[name].Kill()
		return "kill " + name
	case k < 15:
		name := pick(r, "coordinator-1", "kube-scheduler", "kube-controller-manager")
		return freeze(name, f.coordinators[name])
	case k < 17:
		return freezeServer(f, "the API server", d)
	case k < 19:
		return freezeServer(f, "etcd", d)
	}
	f.ControlPlane.APIServer.Kill()
	for f.ControlPlane.StartAPIServer(context.Background()) != nil {
		time.Sleep(time.Second)
	}
	return "the API server is killed and starts again"
}

// freezeServer freezes a server of the control plane.
func freezeServer(f *demandField, name string, d time.Duration) string {
	p := f.ControlPlane.APIServer
	if name == "etcd" {
		p = f.ControlPlane.Etcd
	}
	_ = p.Pause()
	f.in(d, func() { _ = p.Resume() })
	return fmt.Sprintf("freeze %s for %v", name, d)
}

// keep starts shared processes again that have ended, as kubelets do.
func (f *demandField) keep(ctx context.Context) {
	for ; ctx.Err() == nil; time.Sleep(500 * time.Millisecond) {
		f.mu.Lock()
		for _, name := range []string{"coordinator-1", "coordinator-2", "kube-scheduler", "kube-controller-manager"} {
			if p := f.coordinators[name]; p == nil || p.Exited() {
				if p, err := f.begin(ctx, name); err == nil {
					f.coordinators[name] = p
				}
			}
		}
		f.mu.Unlock()
		if len(f.Sim.Cloud().Calls()) > 20_000 { // which nothing reads so far back
			f.Sim.Cloud().ResetCalls()
		}
	}
}

func (f *demandField) begin(ctx context.Context, name string) (*testbed.Process, error) {
	switch name {
	case "kube-scheduler":
		return f.StartScheduler(ctx)
	case "kube-controller-manager":
		return f.StartControllerManager(ctx)
	}
	args := []string{"--sweep-interval", "3s", "--poll-interval", "500ms", "--orphan-age", "20s", "--max-concurrent-eni-cleanup", "20"}
	return f.StartCoordinator(ctx, name, slices.Concat(shortTimes, args)...)
}

// watchSurplus looks again and again whether an instance has two ENIs for one place.
func (f *demandField) watchSurplus(ctx context.Context) {
	for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		if node, problem := f.surplus(); problem != "" {
			f.found(node, node, problem)
		}
	}
}
