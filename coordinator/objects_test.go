package coordinator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

func (r *rig) instance() string {
	r.Helper()
	i, err := r.cloud.RunInstance(cloud.RunInstance{Type: "m5.xlarge", SubnetID: subnetA})
	if err != nil {
		r.Fatal(err)
	}
	r.await("a running instance", func() bool {
		return slices.ContainsFunc(r.cloud.Instances(), func(o cloud.Instance) bool {
			return o.ID == i.ID && o.State == cloud.InstanceRunning
		})
	})
	return i.ID
}

// create makes an object and reads it back.
func create[T any](r *rig, client rest.Interface, resource string, obj runtime.Object) *T {
	r.Helper()
	var out T
	if err := client.Post().Resource(resource).Body(obj).Do(r.Context()).Into(any(&out).(runtime.Object)); err != nil {
		r.Fatalf("creating %s: %v", resource, err)
	}
	return &out
}

func get[T any](r *rig, client rest.Interface, resource, name string) *T {
	r.Helper()
	var out T
	err := client.Get().Resource(resource).Name(name).Do(r.Context()).Into(any(&out).(runtime.Object))
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		r.Fatalf("reading %s %s: %v", resource, name, err)
	}
	return &out
}

func (r *rig) patch(client rest.Interface, resource, name string, change map[string]any) {
	r.Helper()
	body, err := json.Marshal(change)
	if err == nil {
		err = client.Patch(types.MergePatchType).Resource(resource).Name(name).Body(body).Do(r.Context()).Error()
	}
	if err != nil {
		r.Fatalf("changing %s %s: %v", resource, name, err)
	}
}

func (r *rig) remove(client rest.Interface, resource, name string) {
	r.Helper()
	err := client.Delete().Resource(resource).Name(name).Do(context.Background()).Error()
	if err != nil && !apierrors.IsNotFound(err) {
		r.Fatalf("deleting %s %s: %v", resource, name, err)
	}
}

// label sets the label that nodeENI selects, or with nil removes it.
func (r *rig) label(node string, value any) {
	r.Helper()
	r.patch(r.kube.Core, kube.Nodes, node, map[string]any{"metadata": map[string]any{"labels": map[string]any{"ng": value}}})
}

// node makes a Node of an instance that a NodeENI of the rig selects.
func (r *rig) node(name, instance string) *kube.Node {
	r.Helper()
	return create[kube.Node](r, r.kube.Core, kube.Nodes, &kube.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"ng": "multi-eni"}},
		Spec:       kube.NodeSpec{ProviderID: providerID(instance)},
	})
}

// newNode makes a Node and its instance.
func (r *rig) newNode(name string) (instance string) {
	r.Helper()
	instance = r.instance()
	r.node(name, instance)
	return instance
}

func (r *rig) nodeENI(name string, change ...func(*v1alpha1.NodeENI)) *v1alpha1.NodeENI {
	r.Helper()
	n := validNodeENI()
	n.ObjectMeta = metav1.ObjectMeta{Name: name}
	for _, f := range change {
		f(n)
	}
	return create[v1alpha1.NodeENI](r, r.kube.API, kube.NodeENIs, n)
}

// changeMTU makes another generation of the NodeENI.
func (r *rig) changeMTU(name string) {
	r.Helper()
	r.patch(r.kube.API, kube.NodeENIs, name, map[string]any{"spec": map[string]any{"mtu": 9001}})
}

func (r *rig) getNodeENI(name string) *v1alpha1.NodeENI {
	r.Helper()
	return get[v1alpha1.NodeENI](r, r.kube.API, kube.NodeENIs, name)
}

func (r *rig) awaitFinalizer(n *v1alpha1.NodeENI) {
	r.Helper()
	r.await("the finalizer on "+n.Name, func() bool {
		now := r.getNodeENI(n.Name)
		return now != nil && slices.Contains(now.Finalizers, v1alpha1.CleanupFinalizer)
	})
}

// awaitNoNodeENI waits until the NodeENI is gone, and before it its ENIs.
func (r *rig) awaitNoNodeENI(name string, enis ...string) {
	r.Helper()
	r.await("NodeENI "+name+" gone", func() bool { return r.getNodeENI(name) == nil })
	for _, id := range enis {
		if r.exists(id) {
			r.Errorf("NodeENI %s is gone, but its ENI %s is not", name, id)
		}
	}
}

// owner is what an agent's tags say.
func owner(n *v1alpha1.NodeENI, node, instance string) eni.Owner {
	return eni.Owner{
		Cluster: testCluster, Node: node, Instance: arn(instance), NodeENI: n.Name, NodeENIUID: n.UID,
		CreatedAt: time.Now().Truncate(time.Second),
	}
}

// available is an ENI in subnetA that is attached to nothing.
func available(id string, o eni.Owner) eni.ENI {
	return eni.ENI{ID: id, Status: "available", SubnetID: subnetA, Owner: o}
}

// newENI makes an ENI as an agent does, without attaching it. Each is another one.
func (r *rig) newENI(o eni.Owner, subnet string) string {
	r.Helper()
	r.created++
	e, err := r.ec2.Create(r.Context(), eni.CreateParams{
		Owner: o, SubnetID: subnet, Groups: []string{testGroup}, Replaces: fmt.Sprint("eni-", r.created),
	})
	if err != nil {
		r.Fatal(err)
	}
	return e.ID
}

// attachENI attaches an ENI to the instance that its owner names.
func (r *rig) attachENI(id, instance string, index int32) {
	r.Helper()
	if _, err := r.ec2.Attach(r.Context(), eni.AttachParams{ENIID: id, InstanceID: instance, DeviceIndex: index}); err != nil {
		r.Fatal(err)
	}
	r.await(id+" attached", func() bool { return r.attached(id) })
}

// fullENI is an ENI that an agent made and attached.
func (r *rig) fullENI(n *v1alpha1.NodeENI, node, instance, subnet string, index int32) string {
	r.Helper()
	id := r.newENI(owner(n, node, instance), subnet)
	r.attachENI(id, instance, index)
	return id
}

// report is an agent's report of the ENIs of one NodeENI, all in one phase.
func (r *rig) report(n *v1alpha1.NodeENI, node, instance string, phase v1alpha1.Phase, enis ...string) {
	r.Helper()
	status := v1alpha1.NodeENIStateStatus{InstanceID: instance, Zone: "us-east-1a"}
	for _, id := range enis {
		status.ENIs = append(status.ENIs, v1alpha1.ENIState{
			NodeENI: n.Name, NodeENIUID: n.UID, ObservedGeneration: n.Generation, ENIID: id, SubnetID: subnetA, Phase: phase,
			LastTransitionTime: metav1.NewTime(time.Now().Truncate(time.Second)),
		})
	}
	if get[v1alpha1.NodeENIState](r, r.kube.API, kube.NodeENIStates, node) == nil {
		create[v1alpha1.NodeENIState](r, r.kube.API, kube.NodeENIStates, &v1alpha1.NodeENIState{
			ObjectMeta: metav1.ObjectMeta{Name: node}, Status: status,
		})
		return
	}
	r.patch(r.kube.API, kube.NodeENIStates, node, map[string]any{"status": status})
}

// events are the Events of a reason, as "Type about: message".
func (r *rig) events(reason string) []string {
	r.Helper()
	raw, err := r.kube.Core.Get().Namespace("default").Resource("events").Do(r.Context()).Raw()
	if err != nil {
		r.Fatal(err)
	}
	var list struct{ Items []kube.Event }
	if err := json.Unmarshal(raw, &list); err != nil {
		r.Fatal(err)
	}
	var all []string
	for _, e := range list.Items {
		if e.Reason == reason {
			all = append(all, fmt.Sprintf("%s %s: %s", e.Type, e.InvolvedObject.Name, e.Message))
		}
	}
	slices.Sort(all)
	return all
}

func (r *rig) awaitEvent(reason, text string) {
	r.Helper()
	r.await(fmt.Sprintf("an Event %s with %q", reason, text), func() bool {
		return slices.ContainsFunc(r.events(reason), func(e string) bool { return strings.Contains(e, text) })
	})
}

func (r *rig) awaitBlocked(name, reason, text string) {
	r.Helper()
	r.await(name+" is blocked: "+reason, func() bool {
		n := r.getNodeENI(name)
		if n == nil {
			r.Fatalf("NodeENI %s is gone", name)
		}
		c := meta.FindStatusCondition(n.Status.Conditions, v1alpha1.ConditionCleanupBlocked)
		return c != nil && c.Reason == reason && strings.Contains(c.Message, text)
	})
	r.awaitEvent(reason, text)
}

func (r *rig) awaitReady(n *v1alpha1.NodeENI, status metav1.ConditionStatus, reason string) {
	r.Helper()
	r.await("Ready="+string(status)+" "+reason, func() bool {
		return slices.ContainsFunc(r.getNodeENI(n.Name).Status.Conditions, func(c metav1.Condition) bool {
			return c.Type == v1alpha1.ConditionReady && c.Status == status && c.Reason == reason
		})
	})
}

// awaitAnotherSweep wakes the coordinator and waits for a describe, without the
// help of finalizers.
func (r *rig) awaitAnotherSweep(n *v1alpha1.NodeENI) {
	r.Helper()
	before := r.count("DescribeNetworkInterfaces")
	r.report(n, "node-w", "i-0fffffffffffffff1", v1alpha1.PhaseReady, "eni-0")
	r.report(n, "node-w", "i-0fffffffffffffff1", v1alpha1.PhaseReleased, "eni-0")
	r.await("another sweep", func() bool { return r.count("DescribeNetworkInterfaces") > before })
}

func (r *rig) holder() string {
	r.Helper()
	lease, err := r.leases.Leases(testNamespace).Get(r.Context(), leaseName, metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

func (r *rig) awaitHolder(identity string) {
	r.Helper()
	r.await(identity+" leads", func() bool { return r.holder() == identity })
}

// awaitLeading waits until the coordinator itself knows that it leads: one that is
// stopped before that has nothing to give back.
func (r *rig) awaitLeading(identity string) {
	r.Helper()
	r.awaitHolder(identity)
	r.await("the first sweep of "+identity, func() bool { return r.callsOf(identity, "DescribeNetworkInterfaces") > 0 })
}
