package nodereadiness

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
)

const (
	// claim is what a refusal without it speaks of.
	claim  = "authentication.kubernetes.io/node-name"
	policy = "eni-agent-node-readiness"
)

var (
	nodes    = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	bindings = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"}
)

// rigObjects are two Nodes as they are when they have just joined, and an agent
// that RBAC lets do anything: what is refused is refused by the policy.
const rigObjects = `
apiVersion: v1
kind: Node
metadata:
  name: node-1
  labels: {ng: multi-eni, nodeeni.networking.k8s.aws/old: ready, nodeeni.networking.k8s.aws/odd: "1"}
  annotations: {a: b}
spec:
  providerID: aws:///us-east-1a/i-0123456789abcdef0
  taints:
  - {key: node.kubernetes.io/not-ready, effect: NoSchedule, timeAdded: "2026-01-01T00:00:00Z"}
  - {key: networking.k8s.aws/eni-not-ready, effect: NoSchedule}
  - {key: example.com/starting, effect: NoExecute, value: "yes"}
  - {key: networking.k8s.aws/eni-not-ready, effect: NoExecute, value: "yes"}
---
apiVersion: v1
kind: Node
metadata: {name: node-2}
spec:
  unschedulable: true
  taints:
  - {key: networking.k8s.aws/eni-not-ready, effect: NoSchedule}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: agents-may-do-anything}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects:
- {kind: ServiceAccount, name: eni-agent, namespace: eni-system}
`

// TestPolicy: what an agent may change on Nodes, with real tokens that are bound
// to a Node; and that it does not concern other clients.
func TestPolicy(t *testing.T) {
	r := newRig(t)
	agent, admin := r.agent("node-1"), r.cp.AdminConfig()

	const taint, label = "/spec/taints/", "/metadata/labels/nodeeni.networking.k8s.aws~1"
	add := func(path string, value any) map[string]any {
		return map[string]any{"op": "add", "path": path, "value": value}
	}
	remove := func(path string) map[string]any { return map[string]any{"op": "remove", "path": path} }
	strange := map[string]any{"key": "example.com/away", "effect": "NoExecute"}
	ours := map[string]any{"key": "networking.k8s.aws/eni-not-ready", "effect": "PreferNoSchedule"}

	// Each step that is not refused is a dry run, so all of them begin with the
	// same Nodes. With a refusal comes what it says.
	for _, step := range []struct {
		what    string
		do      func() error
		refusal string
	}{
		{"the startup taint goes", r.patch(agent, "node-1", remove(taint+"1")), ""},
		{"both of them", r.patch(agent, "node-1", remove(taint+"3"), remove(taint+"1")), ""},
		{"a label comes", r.patch(agent, "node-1", add(label+"data", "ready")), ""},
		{"a label goes", r.patch(agent, "node-1", remove(label+"old")), ""},
		{"one with another value goes, too", r.patch(agent, "node-1", remove(label+"odd")), ""},
		{"all at once", r.patch(agent, "node-1", remove(taint+"3"), remove(taint+"1"), add(label+"data", "ready"), remove(label+"old")), ""},
		{"a Node without labels", r.patch(r.agent("node-2"), "node-2", add("/metadata/labels", map[string]any{}), add(label+"data", "ready"), remove(taint+"0")), ""},

		{"another Node", r.patch(agent, "node-2", remove(taint+"0")),
			"the token belongs to the agent on node node-1, which can patch the Node node-1 but not node-2; check the --node-name of the agent"},
		{"another Node's label", r.patch(agent, "node-2", add("/metadata/labels", map[string]any{"nodeeni.networking.k8s.aws/data": "ready"})), "not node-2"},
		{"another taint goes", r.patch(agent, "node-1", remove(taint+"2")), "can remove only the taint networking.k8s.aws/eni-not-ready, but not example.com/starting"},
		{"all taints go", r.patch(agent, "node-1", remove("/spec/taints")), "but not node.kubernetes.io/not-ready, example.com/starting"},
		{"a taint comes", r.patch(agent, "node-1", add(taint+"-", strange)), "an agent cannot add or change taints, such as example.com/away"},
		{"the startup taint comes", r.patch(agent, "node-1", add(taint+"-", ours)), "an agent cannot add or change taints"},
		{"a taint is replaced by another one", r.patch(agent, "node-1", remove(taint+"1"), add(taint+"-", strange)), "an agent cannot add or change taints"},
		{"another taint gets another value", r.patch(agent, "node-1", add(taint+"2/value", "no")), "an agent cannot add or change taints, such as example.com/starting"},
		{"the startup taint gets another value", r.patch(agent, "node-1", add(taint+"1/value", "no")), "an agent cannot add or change taints"},

		{"another label comes", r.patch(agent, "node-1", add("/metadata/labels/node-role.kubernetes.io~1control-plane", "")),
			"can change only labels that start with nodeeni.networking.k8s.aws/, but not node-role.kubernetes.io/control-plane"},
		{"another label changes", r.patch(agent, "node-1", add("/metadata/labels/ng", "other")), "but not ng"},
		{"another label goes", r.patch(agent, "node-1", remove("/metadata/labels/ng")), "but not ng"},
		{"all labels go", r.patch(agent, "node-1", remove("/metadata/labels")), "but not ng"},
		{"a label of ours with another value", r.patch(agent, "node-1", add(label+"data", "no")), "the only allowed value of the labels"},
		{"a label beside ours", r.patch(agent, "node-1", add("/metadata/labels/nodeeni.networking.k8s.aws", "ready")), "but not nodeeni.networking.k8s.aws"},

		{"an annotation", r.patch(agent, "node-1", add("/metadata/annotations/c", "d")), "can change only the taint networking.k8s.aws/eni-not-ready and labels of its Node"},
		{"no annotation", r.patch(agent, "node-1", remove("/metadata/annotations")), "can change only the taint networking.k8s.aws/eni-not-ready and labels of its Node"},
		{"a finalizer", r.patch(agent, "node-1", add("/metadata/finalizers", []string{"example.com/held"})), "can change only the taint networking.k8s.aws/eni-not-ready and labels of its Node"},
		{"an owner", r.patch(agent, "node-1", add("/metadata/ownerReferences", []any{map[string]any{"apiVersion": "v1", "kind": "Node", "name": "node-2", "uid": "1"}})), "can change only the taint networking.k8s.aws/eni-not-ready and labels of its Node"},
		{"it is cordoned", r.patch(agent, "node-1", add("/spec/unschedulable", true)), "can change only the taint networking.k8s.aws/eni-not-ready and labels of its Node"},
		{"it is uncordoned", r.patch(r.agent("node-2"), "node-2", remove("/spec/unschedulable")), "can change only the taint networking.k8s.aws/eni-not-ready and labels of its Node"},
		{"a change beside one that is allowed", r.patch(agent, "node-1", remove(taint+"1"), add("/spec/unschedulable", true)), "can change only the taint networking.k8s.aws/eni-not-ready and labels of its Node"},
		{"a CIDR", r.patch(r.agent("node-2"), "node-2", add("/spec/podCIDR", "10.0.0.0/24"), add("/spec/podCIDRs", []string{"10.0.0.0/24"})), "can change only the taint networking.k8s.aws/eni-not-ready and labels of its Node"},
		{"it is deleted", r.remove(agent, "node-1"), "cannot create, replace, or delete Nodes"},
		{"a Node is created", r.create(agent, "node-3"), "cannot create, replace, or delete Nodes"},
		{"it is written as a whole", r.write(agent, "node-1"), "can change only labels"},

		{"a token without the claim", r.patch(r.agent(""), "node-1", remove(taint+"1")), claim},
		{"a token without the claim: what to do", r.patch(r.agent(""), "node-1", remove(taint+"1")),
			"kubectl create token eni-agent -n eni-system --bound-object-kind Node --bound-object-name NODE"},

		{"an admin adds a taint", r.patch(admin, "node-1", add(taint+"-", strange)), ""},
		{"an admin changes labels", r.patch(admin, "node-1", add("/metadata/labels/ng", "other")), ""},
		{"an admin cordons", r.patch(admin, "node-1", add("/spec/unschedulable", true)), ""},
	} {
		controlplane.CheckRefusal(t, step.what, step.do(), policy, step.refusal)
	}
}

// TestRights: with the component an agent may patch Nodes, and nothing else that
// it may not do without.
func TestRights(t *testing.T) {
	cfg := installed.Access(t, "eni-agent", "")
	may := func(verb, resource, subresource string) bool {
		return controlplane.May(t, cfg, verb, resource, subresource)
	}
	// The authorizer hears of roles through a watch.
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
		return may("patch", "nodes", "") && !may("delete", "nodes", ""), nil // with or without the rig's role
	})
	if err != nil {
		t.Error("an agent may not patch Nodes, or may delete them")
	}
	for _, verb := range []string{"create", "update", "delete", "deletecollection"} {
		if may(verb, "nodes", "") {
			t.Errorf("an agent may %s Nodes", verb)
		}
	}
	for _, subresource := range []string{"status", "proxy"} {
		if may("patch", "nodes", subresource) || may("update", "nodes", subresource) {
			t.Errorf("an agent may change nodes/%s", subresource)
		}
	}
}

type rig struct {
	*testing.T
	cp *controlplane.ControlPlane
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t, installed.Get(t)}
	if err := r.cp.Apply(t.Context(), []byte(rigObjects)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The other tests see the rights that are installed.
		if err := r.client(r.cp.AdminConfig()).Resource(bindings).Delete(context.Background(), "agents-may-do-anything", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	// Policy and role are in force a moment after they are there.
	controlplane.AwaitRefusal(t, policy, claim, r.remove(r.agent(""), "node-1"))
	return r
}

// agent has a token that is bound to a Node, or to nothing.
func (r *rig) agent(node string) *rest.Config { return installed.Access(r, "eni-agent", node) }

func (r *rig) client(cfg *rest.Config) dynamic.Interface { return controlplane.Client(r, cfg) }

var dryRun = []string{metav1.DryRunAll}

func (r *rig) patch(as *rest.Config, name string, operations ...map[string]any) func() error {
	return func() error {
		return controlplane.PatchNode(r, as, name, operations)
	}
}

func (r *rig) remove(as *rest.Config, name string) func() error {
	return func() error {
		return r.client(as).Resource(nodes).Delete(r.Context(), name, metav1.DeleteOptions{DryRun: dryRun})
	}
}

func (r *rig) create(as *rest.Config, name string) func() error {
	return func() error {
		node := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": name}}}
		_, err := r.client(as).Resource(nodes).Create(r.Context(), node, metav1.CreateOptions{DryRun: dryRun})
		return err
	}
}

// write puts the Node back with another label.
func (r *rig) write(as *rest.Config, name string) func() error {
	return func() error {
		node, err := r.client(as).Resource(nodes).Get(r.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		node.SetLabels(map[string]string{"ng": "other"})
		_, err = r.client(as).Resource(nodes).Update(r.Context(), node, metav1.UpdateOptions{DryRun: dryRun})
		return err
	}
}

// TestStatusIsNotWritten holds the policy to what it takes for granted: that the
// API server takes nothing of a Node's status in a patch of the Node.
func TestStatusIsNotWritten(t *testing.T) {
	r := newRig(t)
	patch := []byte(`{"status":{"conditions":[{"type":"Ready","status":"True"}],"addresses":[{"type":"InternalIP","address":"192.0.2.1"}]}}`)
	node, err := r.client(r.agent("node-1")).Resource(nodes).Patch(t.Context(), "node-1", types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"conditions", "addresses"} {
		if written, _, _ := unstructured.NestedSlice(node.Object, "status", part); len(written) > 0 {
			t.Errorf("an agent has written its Node's %s: %v", part, written)
		}
	}
}
