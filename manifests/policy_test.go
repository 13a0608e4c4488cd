package manifests

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
)

var (
	pods     = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	events   = schema.GroupVersionResource{Version: "v1", Resource: "events"}
	accounts = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
	nodeENIs = schema.GroupVersionResource{Group: "networking.k8s.aws", Version: "v1alpha1", Resource: "nodeenis"}
	states   = schema.GroupVersionResource{Group: "networking.k8s.aws", Version: "v1alpha1", Resource: "nodeenistates"}
)

// claim is what a refusal without it speaks of.
const claim = "authentication.kubernetes.io/node-name"

// TestPolicy: what the agents of two nodes may write, with tokens as kubelet
// gets them for pods, and with others; and that it does not concern other clients.
func TestPolicy(t *testing.T) {
	cp := installed.Get(t)
	r := newPolicyRig(t, cp)
	inPod, onNode := r.podsAgent("node-1"), r.agent("node-1")

	// Each step builds on the ones before it.
	for _, step := range []step{
		{"its node's report is created", r.create(inPod, report("node-1", ownedBy("node-1"))), ""},
		{"and updated", r.update(inPod, "node-1", nil), ""},
		{"also by an agent whose token is bound to the Node", r.update(onNode, "node-1", nil), ""},
		{"another node's report is created", r.create(inPod, report("node-2", ownedBy("node-2"))),
			"the token belongs to the agent on node node-1, which can write the NodeENIState node-1 but not node-2; check the --node-name of the agent"},
		{"another node's report, as if it were its own", r.create(inPod, report("node-2", ownedBy("node-1"))), "not node-2"},
		{"the other agent creates its report", r.create(r.agent("node-2"), report("node-2", ownedBy("node-2"))), ""},
		{"it is updated by the first agent", r.update(inPod, "node-2", nil), "not node-2"},
		{"a report of a node that does not exist", r.create(inPod, report("node-9", ownedBy("node-9"))), "not node-9"},
		{"a name made by the API server", r.create(inPod, generated(report("", ownedBy("node-1")))), "not node-1-"},
		{"the report is given to another node", r.update(inPod, "node-1", ownedBy("node-2")), "must have one owner, the Node node-1"},
		{"the report gets another owner besides", r.update(inPod, "node-1", append(ownedBy("node-1"), ownedBy("node-2")...)), "must have one owner"},
		{"the report has its node as owner twice", r.update(inPod, "node-1", append(ownedBy("node-1"), map[string]any{"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "another"})), "must have one owner"},
		{"the report is left without an owner", r.update(inPod, "node-1", []any{}), "must have one owner"},
		{"the report's owner is something else", r.update(inPod, "node-1", []any{owner("v1", "Namespace", "node-1")}), "must have one owner"},
		{"the report gets a finalizer", r.create(r.podsAgent("node-3"), changedTo(report("node-3", ownedBy("node-3")), []any{"example.com/mine"}, "metadata", "finalizers")), "cannot add labels, annotations, or finalizers"},
		{"the report gets an annotation", r.create(r.agent("node-3"), changed(report("node-3", ownedBy("node-3")), "x", "metadata", "annotations", "x")), "cannot add labels, annotations, or finalizers"},
		{"the report is deleted", r.remove(inPod, states, "node-1"), "an agent cannot delete reports"},
		{"all reports are deleted", func() error {
			return r.client(inPod).Resource(states).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{})
		},
			"an agent cannot delete reports"},

		{"a NodeENI is created", r.create(inPod, nodeENI("mine")), "an agent can only read nodeenis"},
		{"a NodeENI is changed", r.patch(inPod, "wanted", `{"spec":{"mtu":1500}}`), "an agent can only read nodeenis"},
		{"a NodeENI's finalizer is removed", r.patch(inPod, "wanted", `{"metadata":{"finalizers":null}}`), "an agent can only read nodeenis"},
		{"a NodeENI's status is changed", r.patch(inPod, "wanted", `{"status":{"observedGeneration":7}}`, "status"), "an agent can only read nodeenis"},
		{"a NodeENI is deleted", r.remove(inPod, nodeENIs, "wanted"), "an agent can only read nodeenis"},

		{"an Event about its node", r.create(inPod, event("node-1", involved("v1", "Node", "node-1"))), ""},
		{"an Event about a NodeENI", r.create(inPod, event("node-1", involved("networking.k8s.aws/v1alpha1", "NodeENI", "wanted"))), ""},
		{"an Event in another node's name", r.create(inPod, event("node-2", involved("v1", "Node", "node-1"))), "must have that node as its source.host"},
		{"an Event in no name", r.create(inPod, event("", involved("v1", "Node", "node-1"))), "must have that node as its source.host"},
		{"an Event about another node", r.create(inPod, event("node-1", involved("v1", "Node", "node-2"))), "must be about that node or about a NodeENI"},
		{"an Event about a report", r.create(inPod, event("node-1", involved("networking.k8s.aws/v1alpha1", "NodeENIState", "node-2"))), "must be about that node or about a NodeENI"},
		{"an Event about a Pod", r.create(inPod, event("node-1", involved("v1", "Pod", "node-1"))), "must be about that node or about a NodeENI"},
		{"an Event as the coordinator", r.create(inPod, changed(event("node-1", involved("v1", "Node", "node-1")), "eni-coordinator", "source", "component")), "must have the source.component eni-agent"},
		{"an Event reported by the coordinator", r.create(inPod, changed(event("node-1", involved("v1", "Node", "node-1")), "eni-coordinator", "reportingComponent")), "must have the source.component eni-agent"},
		{"an Event reported from another node", r.create(inPod, changed(event("node-1", involved("v1", "Node", "node-1")), "node-2", "reportingInstance")), "must have that node as its source.host"},
		{"an Event with its own names twice", r.create(inPod, changed(changed(event("node-1", involved("v1", "Node", "node-1")), "node-1", "reportingInstance"), "eni-agent", "reportingComponent")), ""},
		{"an Event about a NodeENI in a namespace", r.create(inPod, changed(changed(event("node-1", involved("networking.k8s.aws/v1alpha1", "NodeENI", "wanted")), "kube-system", "metadata", "namespace"), "kube-system", "involvedObject", "namespace")), "must be in the namespace default"},
		{"an Event with labels", r.create(inPod, changed(event("node-1", involved("v1", "Node", "node-1")), "x", "metadata", "labels", "x")), "without labels"},
		{"an Event of two lines", r.create(inPod, changed(event("node-1", involved("v1", "Node", "node-1")), "one\ntwo", "message")), "must be one line"},
		{"an Event with an escape sequence", r.create(inPod, changed(event("node-1", involved("v1", "Node", "node-1")), "\x1b[2J", "message")), "must be one line"},
		{"a long Event", r.create(inPod, changed(event("node-1", involved("v1", "Node", "node-1")), strings.Repeat("x", 1025), "message")), "at most 1024 characters"},
		{"an Event of a strange reason", r.create(inPod, changed(event("node-1", involved("v1", "Node", "node-1")), "two words", "reason")), "its reason one word"},
		{"an Event with a related object", r.create(inPod, changed(event("node-1", involved("v1", "Node", "node-1")), "Pod", "related", "kind")), "its action and related object must be empty"},
		{"an Event about nothing", r.create(inPod, event("node-1", map[string]any{})), "must be about that node or about a NodeENI"},

		{"a token without the claim: a report", r.update(r.agent(""), "node-1", nil), claim},
		{"a token without the claim: what to do", r.update(r.agent(""), "node-1", nil),
			"kubectl create token eni-agent -n eni-system --bound-object-kind Node --bound-object-name NODE"},
		{"a token without the claim: an Event", r.create(r.agent(""), event("node-1", involved("v1", "Node", "node-1"))), claim},
		{"an admin in the place of the agent", r.update(r.impersonator(), "node-1", nil), claim},

		{"an admin changes a report", r.update(cp.AdminConfig(), "node-1", []any{}), ""},
		{"an admin deletes a report", r.remove(cp.AdminConfig(), states, "node-2"), ""},
		{"an admin changes a NodeENI", r.patch(cp.AdminConfig(), "wanted", `{"spec":{"mtu":1500}}`), ""},
		{"an admin writes any Event", r.create(cp.AdminConfig(), event("", involved("v1", "Pod", "any"))), ""},
		{"an account of the same name elsewhere", r.create(r.account("default", "eni-agent"), event("", involved("v1", "Pod", "any"))), ""},
		{"the garbage collector deletes a report", r.remove(r.garbageCollector(), states, "node-1"), ""},
	} {
		step.check(t)
	}
}

// step is a request, and what the refusal says if a policy refuses it.
type step struct {
	what    string
	do      func() error
	refusal string
}

func (s step) check(t *testing.T) {
	t.Helper()
	controlplane.CheckRefusal(t, s.what, s.do(), "eni-", s.refusal)
}

// policyRig has two nodes, and an agent that RBAC lets do anything: what is
// refused is refused by the policy.
type policyRig struct {
	*testing.T
	cp *controlplane.ControlPlane
}

const rigObjects = `
{apiVersion: v1, kind: Node, metadata: {name: node-1}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-2}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-3}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: eni-agent, namespace: default}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: agents-may-do-anything}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects:
- {kind: ServiceAccount, name: eni-agent, namespace: eni-system}
- {kind: ServiceAccount, name: eni-agent, namespace: default}
- {kind: ServiceAccount, name: eni-coordinator, namespace: eni-system}
---
apiVersion: networking.k8s.aws/v1alpha1
kind: NodeENI
metadata: {name: wanted}
spec: {nodeSelector: {ng: multi-eni}, subnetNames: [data], securityGroupNames: [data]}
`

func newPolicyRig(t *testing.T, cp *controlplane.ControlPlane) *policyRig {
	r := &policyRig{t, cp}
	if err := cp.Apply(t.Context(), []byte(rigObjects)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The other tests see the rights that are installed.
		bindings := schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"}
		if err := r.client(cp.AdminConfig()).Resource(bindings).Delete(context.Background(), "agents-may-do-anything", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	// Policy and role are in force a moment after they are there.
	probe := metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}
	controlplane.AwaitRefusal(t, "eni-", claim, func() error {
		return r.client(r.agent("")).Resource(nodeENIs).Delete(r.Context(), "wanted", probe)
	})
	controlplane.AwaitRefusal(t, "eni-", "cannot create or delete", func() error {
		return r.client(r.account(namespace, "eni-coordinator")).Resource(nodeENIs).Delete(r.Context(), "wanted", probe)
	})
	controlplane.AwaitRefusal(t, "eni-", claim, func() error {
		_, err := r.client(r.agent("")).Resource(events).Namespace("default").Create(r.Context(), event("", involved("v1", "Node", "a")), metav1.CreateOptions{DryRun: probe.DryRun})
		return err
	})
	return r
}

func (r *policyRig) config(cfg *rest.Config, err error) *rest.Config {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
	return cfg
}

// agent has a token that is bound to a Node, or to nothing.
func (r *policyRig) agent(node string) *rest.Config {
	r.Helper()
	return r.config(r.cp.ServiceAccountConfig(r.Context(), namespace, "eni-agent", node))
}

func (r *policyRig) account(namespace, name string) *rest.Config {
	r.Helper()
	return r.config(r.cp.ServiceAccountConfig(r.Context(), namespace, name, ""))
}

func (r *policyRig) garbageCollector() *rest.Config {
	r.Helper()
	return r.config(r.cp.UserConfig("system:serviceaccount:kube-system:generic-garbage-collector",
		"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"))
}

func (r *policyRig) impersonator() *rest.Config {
	cfg := r.cp.AdminConfig()
	cfg.Impersonate.UserName = "system:serviceaccount:eni-system:eni-agent"
	return cfg
}

// podsAgent has the token of a pod of the DaemonSet, which that node's kubelet
// asks for.
func (r *policyRig) podsAgent(node string) *rest.Config {
	r.Helper()
	pod := podOf(r.T, "DaemonSet", "eni-agent")
	pod.SetName("eni-agent-of-" + node)
	if err := unstructured.SetNestedField(pod.Object, node, "spec", "nodeName"); err != nil {
		r.Fatal(err)
	}
	pod, err := r.client(r.cp.AdminConfig()).Resource(pods).Namespace(namespace).Create(r.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		r.Fatal(err)
	}
	kubelet := r.config(r.cp.UserConfig("system:node:"+node, "system:nodes"))
	request := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": map[string]any{"name": "eni-agent"},
		"spec": map[string]any{"boundObjectRef": map[string]any{
			"apiVersion": "v1", "kind": "Pod", "name": pod.GetName(), "uid": string(pod.GetUID()),
		}},
	}}
	var granted *unstructured.Unstructured
	err = wait.PollUntilContextTimeout(r.Context(), 20*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		granted, err = r.client(kubelet).Resource(accounts).Namespace(namespace).Create(ctx, request, metav1.CreateOptions{}, "token")
		if apierrors.IsForbidden(err) { // the authorizer has not seen the pod yet
			return false, nil
		}
		return true, err
	})
	if err != nil {
		r.Fatal(err)
	}
	token, _, err := unstructured.NestedString(granted.Object, "status", "token")
	if err != nil {
		r.Fatal(err)
	}
	cfg := r.agent("")
	cfg.BearerToken = token
	return cfg
}

func (r *policyRig) client(cfg *rest.Config) dynamic.Interface { return controlplane.Client(r, cfg) }

func (r *policyRig) create(as *rest.Config, obj *unstructured.Unstructured) func() error {
	return func() error {
		resource := dynamic.ResourceInterface(r.client(as).Resource(map[string]schema.GroupVersionResource{
			"NodeENIState": states, "NodeENI": nodeENIs,
		}[obj.GetKind()]))
		if obj.GetKind() == "Event" {
			resource = r.client(as).Resource(events).Namespace(obj.GetNamespace())
		}
		_, err := resource.Create(r.Context(), obj, metav1.CreateOptions{})
		return err
	}
}

// update writes a report as it is, or with other owners.
func (r *policyRig) update(as *rest.Config, name string, owners []any) func() error {
	return func() error {
		obj, err := r.client(r.cp.AdminConfig()).Resource(states).Get(r.Context(), name, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("reading it: %w", err)
		}
		if err := unstructured.SetNestedField(obj.Object, map[string]any{"instanceID": fmt.Sprintf("i-%x", time.Now().UnixNano()), "zone": "a"}, "status"); err != nil {
			return err
		}
		if owners != nil {
			if err := unstructured.SetNestedSlice(obj.Object, owners, "metadata", "ownerReferences"); err != nil {
				return err
			}
		}
		_, err = r.client(as).Resource(states).Update(r.Context(), obj, metav1.UpdateOptions{})
		return err
	}
}

func (r *policyRig) patch(as *rest.Config, name, patch string, subresource ...string) func() error {
	return func() error {
		_, err := r.client(as).Resource(nodeENIs).Patch(r.Context(), name, "application/merge-patch+json", []byte(patch), metav1.PatchOptions{}, subresource...)
		return err
	}
}

func (r *policyRig) remove(as *rest.Config, resource schema.GroupVersionResource, name string) func() error {
	return func() error { return r.client(as).Resource(resource).Delete(r.Context(), name, metav1.DeleteOptions{}) }
}

func report(name string, owners []any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.k8s.aws/v1alpha1", "kind": "NodeENIState",
		"metadata": map[string]any{"name": name, "ownerReferences": owners},
	}}
}

func generated(obj *unstructured.Unstructured) *unstructured.Unstructured {
	obj.SetName("")
	obj.SetGenerateName("node-1-")
	return obj
}

func ownedBy(node string) []any { return []any{owner("v1", "Node", node)} }

func owner(apiVersion, kind, name string) any {
	return map[string]any{"apiVersion": apiVersion, "kind": kind, "name": name, "uid": "any"}
}

func nodeENI(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.k8s.aws/v1alpha1", "kind": "NodeENI", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"nodeSelector": map[string]any{"ng": "multi-eni"}, "subnetNames": []any{"data"}, "securityGroupNames": []any{"data"}},
	}}
}

func involved(apiVersion, kind, name string) map[string]any {
	return map[string]any{"apiVersion": apiVersion, "kind": kind, "name": name}
}

func event(host string, about map[string]any) *unstructured.Unstructured {
	obj := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Event", "metadata": map[string]any{"namespace": "default", "generateName": "test-"},
		"involvedObject": about, "reason": "Test", "message": "a test", "type": "Normal", "source": map[string]any{"component": "eni-agent"},
	}}
	if host != "" {
		obj.Object["source"] = map[string]any{"component": "eni-agent", "host": host}
	}
	return obj
}
