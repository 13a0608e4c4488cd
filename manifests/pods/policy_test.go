package pods

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	policy = "eni-agent-pods"
)

var (
	nodes    = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	bindings = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"}
)

// rigObjects are two Nodes, and an agent that RBAC lets do anything: what is refused is
// refused by the policy.
const rigObjects = `
{apiVersion: v1, kind: Node, metadata: {name: node-1, labels: {ng: multi-eni}, annotations: {a: b}}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-2}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: agents-may-do-anything}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects:
- {kind: ServiceAccount, name: eni-agent, namespace: eni-system}
`

// kubeletStatus is what a kubelet reports, and what agents have added.
const kubeletStatus = `{"status":{
	"capacity":{"cpu":"2","memory":"8Gi","pods":"110","example.com/gpu":"1","networking.k8s.aws/storage":"16"},
	"allocatable":{"cpu":"1","memory":"7Gi","pods":"110","example.com/gpu":"1","networking.k8s.aws/storage":"16"},
	"addresses":[{"type":"InternalIP","address":"10.0.0.4"}],
	"conditions":[{"type":"Ready","status":"False","reason":"KubeletNotReady","message":"","lastHeartbeatTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:00:00Z"}],
	"nodeInfo":{"kubeletVersion":"v1.34.0"}}}`

// TestPolicy: what an agent may change of the status of Nodes, with real tokens that are
// bound to a Node; and that it does not concern other clients.
func TestPolicy(t *testing.T) {
	r := newRig(t)
	agent, admin := r.agent("node-1"), r.cp.AdminConfig()
	const capacity, ours = "/status/capacity/", "/status/capacity/networking.k8s.aws~1"

	// Each step that is not refused is a dry run, so all of them begin with the same Nodes.
	// With a refusal comes what it says.
	for _, step := range []struct {
		what    string
		do      func() error
		refusal string
	}{
		{"a resource comes", r.patch(agent, "node-1", add(ours+"data", "32")), ""},
		{"it is 0", r.patch(agent, "node-1", add(ours+"storage", "0")), ""},
		{"it goes", r.patch(agent, "node-1", remove(ours+"storage")), ""},
		{"all at once", r.patch(agent, "node-1", add(ours+"data", "1k"), remove(ours+"storage")), ""},

		{"another Node", r.patch(agent, "node-2", add(ours+"data", "32")),
			"the token belongs to the agent on node node-1, which can patch the status of the Node node-1 but not of node-2; check the --node-name of the agent"},
		{"a kubelet's resource changes", r.patch(agent, "node-1", add(capacity+"cpu", "64")),
			"an agent can change only resources that start with networking.k8s.aws/, but not cpu"},
		{"a kubelet's resource goes", r.patch(agent, "node-1", remove(capacity+"memory")), "but not memory"},
		{"a device plugin's resource changes", r.patch(agent, "node-1", add(capacity+"example.com~1gpu", "8")), "but not example.com/gpu"},
		{"a new one of others", r.patch(agent, "node-1", add(capacity+"vpc.amazonaws.com~1pod-eni", "9")), "but not vpc.amazonaws.com/pod-eni"},
		{"one that only looks like ours", r.patch(agent, "node-1", add(capacity+"x.networking.k8s.aws~1data", "9")), "but not x.networking.k8s.aws/data"},
		{"one of ours and another one", r.patch(agent, "node-1", add(ours+"data", "32"), add(capacity+"cpu", "64")), "but not cpu"},
		{"all resources go", r.patch(agent, "node-1", remove("/status/capacity")), "but not "},

		{"what pods may have of it", r.patch(agent, "node-1", add("/status/allocatable/networking.k8s.aws~1storage", "99")), "only extended resources in status.capacity"},
		{"what pods may have of a CPU", r.patch(agent, "node-1", add("/status/allocatable/cpu", "64")), "only extended resources in status.capacity"},
		{"nothing is allocatable", r.patch(agent, "node-1", remove("/status/allocatable")), "only extended resources in status.capacity"},
		{"a condition changes", r.patch(agent, "node-1", add("/status/conditions/0/status", "True")), "only extended resources in status.capacity"},
		{"a condition comes", r.patch(agent, "node-1", add("/status/conditions/-", map[string]any{"type": "MemoryPressure", "status": "True"})), "only extended resources in status.capacity"},
		{"the conditions go", r.patch(agent, "node-1", remove("/status/conditions")), "only extended resources in status.capacity"},
		{"an address", r.patch(agent, "node-1", add("/status/addresses/0/address", "10.0.0.5")), "only extended resources in status.capacity"},
		{"the kubelet's port", r.patch(agent, "node-1", add("/status/daemonEndpoints", map[string]any{"kubeletEndpoint": map[string]any{"Port": 1234}})), "only extended resources in status.capacity"},
		{"the kubelet's version", r.patch(agent, "node-1", add("/status/nodeInfo/kubeletVersion", "v9")), "only extended resources in status.capacity"},
		{"an image", r.patch(agent, "node-1", add("/status/images", []any{map[string]any{"names": []any{"x"}}})), "only extended resources in status.capacity"},
		{"a volume", r.patch(agent, "node-1", add("/status/volumesInUse", []any{"x"})), "only extended resources in status.capacity"},
		{"a label", r.patch(agent, "node-1", add("/metadata/labels/ng", "other")), "only extended resources in status.capacity"},
		{"a label of node readiness", r.patch(agent, "node-1", add("/metadata/labels/nodeeni.networking.k8s.aws~1x", "ready")), "only extended resources in status.capacity"},
		{"no annotations", r.patch(agent, "node-1", remove("/metadata/annotations")), "only extended resources in status.capacity"},
		{"a finalizer", r.patch(agent, "node-1", add("/metadata/finalizers", []string{"example.com/held"})), "only extended resources in status.capacity"},
		{"an owner", r.patch(agent, "node-1", add("/metadata/ownerReferences", []any{map[string]any{"apiVersion": "v1", "kind": "Node", "name": "node-2", "uid": "1"}})), "only extended resources in status.capacity"},
		{"a change beside one that is allowed", r.patch(agent, "node-1", add(ours+"data", "32"), add("/status/allocatable/cpu", "64")), "only extended resources in status.capacity"},

		{"a token without the claim", r.patch(r.agent(""), "node-1", add(ours+"data", "32")), claim},
		{"a token without the claim: what to do", r.patch(r.agent(""), "node-1", add(ours+"data", "32")),
			"kubectl create token eni-agent -n eni-system --bound-object-kind Node --bound-object-name NODE"},
		{"a token of another node's agent", r.patch(r.agent("node-2"), "node-1", add(ours+"storage", "0")), "but not of node-1"},

		{"an admin changes another resource", r.patch(admin, "node-1", add(capacity+"example.com~1gpu", "8")), ""},
		{"an admin changes another Node", r.patch(admin, "node-2", add(ours+"data", "32")), ""},
	} {
		controlplane.CheckRefusal(t, step.what, step.do(), policy, step.refusal)
	}
}

// TestAPIServerRefuses holds the policy to what it takes for granted: that the API server
// itself takes only whole numbers from 0 on, and nothing of the spec.
func TestAPIServerRefuses(t *testing.T) {
	r := newRig(t)
	agent := r.agent("node-1")
	for _, quantity := range []any{"-1", "0.5", "1500m", "many", ""} {
		err := r.patch(agent, "node-1", add("/status/capacity/networking.k8s.aws~1data", quantity))()
		if !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) {
			t.Errorf("%v: %v", quantity, err)
		}
	}
	patch := []byte(`{"spec":{"unschedulable":true,"taints":[{"key":"example.com/away","effect":"NoExecute"}]}}`)
	node, err := r.client(agent).Resource(nodes).Patch(t.Context(), "node-1", types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	spec, err := json.Marshal(node.Object["spec"])
	if err != nil || strings.Contains(string(spec), "unschedulable") || strings.Contains(string(spec), "example.com/away") {
		t.Errorf("an agent has written its Node's spec with its status: %s (%v)", spec, err)
	}
}

// TestRights: with the component an agent may patch the status of Nodes, and nothing else
// that it may not do without.
func TestRights(t *testing.T) {
	cfg := installed.Access(t, "eni-agent", "")
	may := func(verb, subresource string) bool { return controlplane.May(t, cfg, verb, "nodes", subresource) }
	// The authorizer hears of roles through a watch.
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
		return may("patch", "status") && !may("patch", ""), nil // with or without the rig's role
	})
	if err != nil {
		t.Error("an agent may not patch the status of Nodes, or may patch Nodes")
	}
	for _, verb := range []string{"create", "update", "delete", "deletecollection"} {
		if may(verb, "") || may(verb, "status") || may(verb, "proxy") {
			t.Errorf("an agent may %s Nodes", verb)
		}
	}
}

type rig struct {
	*testing.T
	cp *controlplane.ControlPlane
}

// newRig also has node readiness, whose policy concerns Nodes as well.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t, installed.Get(t)}
	if err := r.cp.Apply(t.Context(), []byte(rigObjects)); err != nil {
		t.Fatal(err)
	}
	if err := r.cp.ApplyFiles(t.Context(), filepath.Join("..", "node-readiness", "policy.yaml")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The other tests see the rights that are installed.
		if err := r.client(r.cp.AdminConfig()).Resource(bindings).Delete(context.Background(), "agents-may-do-anything", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"node-1", "node-2"} {
		if _, err := r.client(r.cp.AdminConfig()).Resource(nodes).Patch(t.Context(), name, types.MergePatchType, []byte(kubeletStatus), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
	}
	// Policies and role are in force a moment after they are there.
	controlplane.AwaitRefusal(t, policy, claim, r.patch(r.agent(""), "node-1", add("/status/capacity/networking.k8s.aws~1data", "1")))
	controlplane.AwaitRefusal(t, "eni-agent-node-readiness", claim, func() error {
		return r.client(r.agent("")).Resource(nodes).Delete(t.Context(), "node-1", metav1.DeleteOptions{DryRun: dryRun})
	})
	return r
}

// agent has a token that is bound to a Node, or to nothing.
func (r *rig) agent(node string) *rest.Config { return installed.Access(r, "eni-agent", node) }

func (r *rig) client(cfg *rest.Config) dynamic.Interface { return controlplane.Client(r, cfg) }

var dryRun = []string{metav1.DryRunAll}

func (r *rig) patch(as *rest.Config, name string, operations ...map[string]any) func() error {
	return func() error {
		return controlplane.PatchNode(r, as, name, operations, "status")
	}
}

func add(path string, value any) map[string]any {
	return map[string]any{"op": "add", "path": path, "value": value}
}

func remove(path string) map[string]any { return map[string]any{"op": "remove", "path": path} }
