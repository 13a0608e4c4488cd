package manifests

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestCoordinatorPolicy: with the coordinator's token, even where RBAC lets it do
// anything, a NodeENI's finalizer of ours and its status change, and nothing else; and
// Events are in its own name only.
func TestCoordinatorPolicy(t *testing.T) {
	cp := installed.Get(t)
	r := newPolicyRig(t, cp)
	admin, coordinator := cp.AdminConfig(), r.account(namespace, "eni-coordinator")
	const ours = "networking.k8s.aws/eni-cleanup"
	if err := r.create(admin, changedTo(nodeENI("guarded"), map[string]any{"a": "b"}, "metadata", "labels"))(); err != nil {
		t.Fatal(err)
	}
	refusedEvent := func(change func(*unstructured.Unstructured)) func() error {
		e := event("", involved("networking.k8s.aws/v1alpha1", "NodeENI", "guarded"))
		e.Object["source"] = map[string]any{"component": "eni-coordinator"}
		change(e)
		return r.create(coordinator, e)
	}
	for _, step := range []step{
		{"its finalizer is added", r.patch(coordinator, "guarded", `{"metadata":{"finalizers":["`+ours+`"]}}`), ""},
		{"its finalizer is removed from a living NodeENI", r.patch(coordinator, "guarded", `{"metadata":{"finalizers":null}}`), "only from a NodeENI that is being deleted"},
		{"another finalizer is added", r.patch(coordinator, "guarded", `{"metadata":{"finalizers":["`+ours+`","example.com/other"]}}`), "add and remove only the finalizer"},
		{"people add another finalizer", r.patch(admin, "guarded", `{"metadata":{"finalizers":["`+ours+`","example.com/other"]}}`), ""},
		{"another finalizer is removed", r.patch(coordinator, "guarded", `{"metadata":{"finalizers":["`+ours+`"]}}`), "add and remove only the finalizer"},
		{"all finalizers are removed", r.patch(coordinator, "guarded", `{"metadata":{"finalizers":[]}}`), "add and remove only the finalizer"},
		{"the spec is changed", r.patch(coordinator, "guarded", `{"spec":{"mtu":1500}}`), "cannot change the spec"},
		{"the selector is changed", r.patch(coordinator, "guarded", `{"spec":{"nodeSelector":{"another":"label"}}}`), "cannot change the spec"},
		{"spec and finalizers are changed", r.patch(coordinator, "guarded", `{"metadata":{"finalizers":["`+ours+`","example.com/other"]},"spec":{"mtu":1500}}`), "cannot change the spec"},
		{"a label is added", r.patch(coordinator, "guarded", `{"metadata":{"labels":{"x":"y"}}}`), "only its finalizer in the metadata"},
		{"the labels are removed", r.patch(coordinator, "guarded", `{"metadata":{"labels":null}}`), "only its finalizer in the metadata"},
		{"an annotation is added", r.patch(coordinator, "guarded", `{"metadata":{"annotations":{"x":"y"}}}`), "only its finalizer in the metadata"},
		{"an owner is added", r.patch(coordinator, "guarded", `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"node-1","uid":"any"}]}}`), "only its finalizer in the metadata"},
		{"the status is written", r.patch(coordinator, "guarded", `{"status":{"observedGeneration":1}}`, "status"), ""},
		{"the status is written, and the spec with it", r.patch(coordinator, "guarded", `{"spec":{"mtu":1500},"status":{"observedGeneration":2}}`, "status"), ""},
		{"the spec has stayed as it was", func() error {
			obj, err := r.client(admin).Resource(nodeENIs).Get(t.Context(), "guarded", metav1.GetOptions{})
			if _, changed, _ := unstructured.NestedInt64(obj.Object, "spec", "mtu"); changed {
				t.Error("a write of the status has changed the spec")
			}
			return err
		}, ""},
		{"a NodeENI is created", r.create(coordinator, nodeENI("new")), "cannot create or delete"},
		{"a NodeENI is deleted", r.remove(coordinator, nodeENIs, "guarded"), "cannot create or delete"},
		{"all NodeENIs are deleted", func() error {
			return r.client(coordinator).Resource(nodeENIs).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{})
		}, "cannot create or delete"},
		{"people delete it", r.remove(admin, nodeENIs, "guarded"), ""},
		{"its finalizer is removed then", r.patch(coordinator, "guarded", `{"metadata":{"finalizers":["example.com/other"]}}`), ""},
		{"people remove the other", r.patch(admin, "guarded", `{"metadata":{"finalizers":null}}`), ""},

		{"an Event about a NodeENI", refusedEvent(func(*unstructured.Unstructured) {}), ""},
		{"an Event about a Node", refusedEvent(func(e *unstructured.Unstructured) { e.Object["involvedObject"] = involved("v1", "Node", "node-2") }), ""},
		{"an Event about a Pod", refusedEvent(func(e *unstructured.Unstructured) { e.Object["involvedObject"] = involved("v1", "Pod", "x") }), "must be about a NodeENI or a Node"},
		{"an Event as an agent", refusedEvent(func(e *unstructured.Unstructured) { changed(e, "eni-agent", "source", "component") }), "must have the source.component eni-coordinator"},
		{"an Event as a kubelet", refusedEvent(func(e *unstructured.Unstructured) { changed(e, "kubelet", "source", "component") }), "must have the source.component eni-coordinator"},
		{"an Event of a node", refusedEvent(func(e *unstructured.Unstructured) { changed(e, "node-1", "source", "host") }), "must not have a source.host"},
		{"an Event elsewhere", refusedEvent(func(e *unstructured.Unstructured) {
			changed(changed(e, "kube-system", "metadata", "namespace"), "kube-system", "involvedObject", "namespace")
		}), "must be in the namespace default"},
	} {
		step.check(t)
	}
}

// changed sets a text in an object.
func changed(obj *unstructured.Unstructured, text string, path ...string) *unstructured.Unstructured {
	return changedTo(obj, text, path...)
}

func changedTo(obj *unstructured.Unstructured, value any, path ...string) *unstructured.Unstructured {
	if err := unstructured.SetNestedField(obj.Object, value, path...); err != nil {
		panic(err)
	}
	return obj
}
