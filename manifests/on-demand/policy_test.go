package ondemand

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
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
	// nodeName is what a refusal without it speaks of.
	nodeName     = "authentication.kubernetes.io/node-name"
	slicesPolicy = "eni-agent-on-demand-slices"
	claimsPolicy = "eni-agent-on-demand-claims"
	lostPolicy   = "eni-coordinator-on-demand-claims"
	driver       = "eni.networking.k8s.aws"
)

var (
	resourceSlices = schema.GroupVersionResource{Group: "resource.k8s.io", Version: "v1", Resource: "resourceslices"}
	resourceClaims = schema.GroupVersionResource{Group: "resource.k8s.io", Version: "v1", Resource: "resourceclaims"}
	bindings       = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterrolebindings"}
	accessReviews  = schema.GroupVersionResource{Group: "authorization.k8s.io", Version: "v1", Resource: "selfsubjectaccessreviews"}
	dryRun         = []string{metav1.DryRunAll}
)

// rigObjects are two Nodes with a slice and a claim each, and another driver's slice.
const rigObjects = `
{apiVersion: v1, kind: Node, metadata: {name: node-1}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-2}}
---
apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {name: node-1-eni-0, labels: {a: b}, ownerReferences: [{apiVersion: v1, kind: Node, name: node-1, uid: "1"}]}
spec: {driver: eni.networking.k8s.aws, nodeName: node-1, pool: {name: node-1, generation: 1, resourceSliceCount: 1}, devices: [{name: a}]}
---
apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {name: node-2-eni-0, ownerReferences: [{apiVersion: v1, kind: Node, name: node-2, uid: "2"}]}
spec: {driver: eni.networking.k8s.aws, nodeName: node-2, pool: {name: node-2, generation: 1, resourceSliceCount: 1}, devices: [{name: a}]}
---
apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {name: node-1-gpu}
spec: {driver: gpu.example.com, nodeName: node-1, pool: {name: node-1, generation: 1, resourceSliceCount: 1}, devices: [{name: a}]}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: claim-1, namespace: default}
spec: {devices: {requests: [{name: eni, exactly: {deviceClassName: eni.networking.k8s.aws}}, {name: gpu, exactly: {deviceClassName: eni.networking.k8s.aws}}]}}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: claim-2, namespace: default}
spec: {devices: {requests: [{name: eni, exactly: {deviceClassName: eni.networking.k8s.aws}}, {name: gpu, exactly: {deviceClassName: eni.networking.k8s.aws}}]}}
`

// mayDoAnything lets agents and coordinator do anything: what is refused then is refused by the policy.
const mayDoAnything = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: they-may-do-anything}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects:
- {kind: ServiceAccount, name: eni-agent, namespace: eni-system}
- {kind: ServiceAccount, name: eni-coordinator, namespace: eni-system}
`

// allocation is that of a claim to an ENI and a GPU of a node.
const allocation = `{"status":{"allocation":{
	"devices":{"results":[{"request":"eni","driver":"eni.networking.k8s.aws","pool":"%[1]s","device":"a"},{"request":"gpu","driver":"gpu.example.com","pool":"%[1]s","device":"a"}]},
	"nodeSelector":{"nodeSelectorTerms":[{"matchFields":[{"key":"metadata.name","operator":"In","values":["%[1]s"]}]}]}},
	"devices":[{"driver":"gpu.example.com","pool":"%[1]s","device":"a","data":{"a":"b"}}]}}`

// TestSlicesPolicy: which ResourceSlices an agent may write, with real tokens that are bound
// to a Node; and that it does not concern other clients.
func TestSlicesPolicy(t *testing.T) {
	r := newRig(t, mayDoAnything)
	controlplane.AwaitRefusal(t, slicesPolicy, nodeName, r.createSlice(r.agent(""), "node-1-eni-1", nil))
	agent, admin := r.agent("node-1"), r.cp.AdminConfig()
	set := func(value any, path ...string) func(map[string]any) {
		return func(o map[string]any) { _ = unstructured.SetNestedField(o, value, path...) }
	}
	owner := func(kind, name string) func(map[string]any) {
		return set([]any{map[string]any{"apiVersion": "v1", "kind": kind, "name": name, "uid": "1"}}, "metadata", "ownerReferences")
	}
	// Each step that is not refused is a dry run. With a refusal comes what it says.
	for _, step := range []struct {
		what    string
		do      func() error
		refusal string
	}{
		{"its own", r.createSlice(agent, "node-1-eni-1", nil), ""},
		{"the eleventh", r.createSlice(agent, "node-1-eni-10", nil), ""},
		{"another device", r.patchSlice(agent, "node-1-eni-0", `{"spec":{"devices":[{"name":"b"}]}}`), ""},
		{"it deletes its own", r.deleteSlice(agent, "node-1-eni-0"), ""},

		{"another node's", r.createSlice(agent, "node-1-eni-1", set("node-2", "spec", "nodeName")),
			`the token belongs to the agent on node node-1, which can write the ResourceSlices of its own node and pool but not those of node "node-2" and pool node-1; check the --node-name`},
		{"another node's pool", r.createSlice(agent, "node-1-eni-1", set("node-2", "spec", "pool", "name")), "and pool node-2"},
		{"all nodes'", r.createSlice(agent, "node-1-eni-1", func(o map[string]any) {
			spec := o["spec"].(map[string]any)
			delete(spec, "nodeName")
			spec["allNodes"] = true
		}), `not those of node ""`},
		{"another driver's", r.createSlice(agent, "node-1-eni-1", set("gpu.example.com", "spec", "driver")), "but not of gpu.example.com"},
		{"a name of another node's", r.createSlice(agent, "node-2-eni-0", nil), "are node-1-eni- and a number"},
		{"a name that another node's begins with", r.createSlice(agent, "node-1-eni-2-eni-0", nil), "are node-1-eni- and a number"},
		{"a name without a number", r.createSlice(agent, "node-1-eni-x", nil), "are node-1-eni- and a number"},
		{"no owner", r.createSlice(agent, "node-1-eni-1", set([]any{}, "metadata", "ownerReferences")), "must have one owner, the Node node-1"},
		{"another owner", r.createSlice(agent, "node-1-eni-1", owner("Node", "node-2")), "must have one owner, the Node node-1"},
		{"an owner of another kind", r.createSlice(agent, "node-1-eni-1", owner("Pod", "node-1")), "must have one owner, the Node node-1"},
		{"a label", r.createSlice(agent, "node-1-eni-1", set("b", "metadata", "labels", "a")), "cannot add labels"},
		{"an annotation", r.createSlice(agent, "node-1-eni-1", set("b", "metadata", "annotations", "a")), "cannot add labels"},
		{"a finalizer", r.patchSlice(agent, "node-1-eni-0", `{"metadata":{"finalizers":["example.com/held"]}}`), "cannot add labels"},
		{"it edits another node's", r.patchSlice(agent, "node-2-eni-0", `{"spec":{"devices":[{"name":"b"}]}}`), `but not those of node "node-2"`},
		{"it edits another driver's", r.patchSlice(agent, "node-1-gpu", `{"spec":{"devices":[{"name":"b"}]}}`), "but not of gpu.example.com"},
		{"it deletes another node's", r.deleteSlice(agent, "node-2-eni-0"), `but not those of node "node-2"`},
		{"it deletes another driver's", r.deleteSlice(agent, "node-1-gpu"), "but not of gpu.example.com"},
		{"a token without the claim: what to do", r.deleteSlice(r.agent(""), "node-1-eni-0"),
			"kubectl create token eni-agent -n eni-system --bound-object-kind Node --bound-object-name NODE"},

		{"an admin", r.deleteSlice(admin, "node-2-eni-0"), ""},
		{"an admin with another driver", r.createSlice(admin, "x", set("gpu.example.com", "spec", "driver")), ""},
	} {
		controlplane.CheckRefusal(t, step.what, step.do(), slicesPolicy, step.refusal)
	}
}

// TestClaimsPolicy: what an agent may change of the status of claims, where the API server
// itself would let it change everything.
func TestClaimsPolicy(t *testing.T) {
	r := newRig(t, mayDoAnything)
	report := `{"status":{"devices":[%s,{"driver":"eni.networking.k8s.aws","pool":"%s","device":"a","data":{"eniID":"eni-1"}}]}}`
	gpu := func(node, value string) string {
		return fmt.Sprintf(`{"driver":"gpu.example.com","pool":%q,"device":"a","data":{"a":%q}}`, node, value)
	}
	controlplane.AwaitRefusal(t, claimsPolicy, nodeName, r.patchClaim(r.agent(""), "claim-1", fmt.Sprintf(report, gpu("node-1", "b"), "node-1")))
	agent, admin := r.agent("node-1"), r.cp.AdminConfig()
	for _, step := range []struct {
		what    string
		do      func() error
		refusal string
	}{
		{"its own device", r.patchClaim(agent, "claim-1", fmt.Sprintf(report, gpu("node-1", "b"), "node-1")), ""},
		{"nothing", r.patchClaim(agent, "claim-2", `{}`), ""},
		{"another node's device", r.patchClaim(agent, "claim-2", fmt.Sprintf(report, gpu("node-2", "b"), "node-2")),
			"the token belongs to the agent on node node-1, which can report only about devices of the driver eni.networking.k8s.aws and of the pool node-1"},
		{"another driver's device", r.patchClaim(agent, "claim-1", fmt.Sprintf(report, gpu("node-1", "c"), "node-1")), "can report only about devices"},
		{"another driver's report goes", r.patchClaim(agent, "claim-1", `{"status":{"devices":null}}`), "can report only about devices"},
		{"the claim is deallocated", r.patchClaim(agent, "claim-1", `{"status":{"allocation":null,"devices":null}}`), "can change only status.devices"},
		{"a consumer", r.patchClaim(agent, "claim-1", `{"status":{"reservedFor":[{"resource":"pods","name":"a","uid":"1"}]}}`), "can change only status.devices"},
		{"an admin", r.patchClaim(admin, "claim-1", `{"status":{"devices":null}}`), ""},
	} {
		controlplane.CheckRefusal(t, step.what, step.do(), claimsPolicy, step.refusal)
	}
}

// TestCoordinatorPolicy: what the coordinator may change of the status of claims, where the API
// server itself would let it change everything.
func TestCoordinatorPolicy(t *testing.T) {
	r := newRig(t, mayDoAnything)
	report := func(gpu, condition, status string) string {
		return fmt.Sprintf(`{"status":{"devices":[{"driver":"gpu.example.com","pool":"node-1","device":"a","data":{"a":%q}},{"driver":"eni.networking.k8s.aws","pool":"node-1","device":"a",
			"conditions":[{"type":"networking.k8s.aws/%s","status":%q,"reason":"NodeLost","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}]}}`, gpu, condition, status)
	}
	coordinator := r.coordinator()
	controlplane.AwaitRefusal(t, lostPolicy, "cannot report", r.patchClaim(coordinator, "claim-1", report("b", "Attached", "True")))
	for _, step := range []struct {
		what, patch, refusal string
	}{
		{"the node is lost", report("b", "AttachFailed", "True"), ""},
		{"nothing", `{}`, ""},
		{"an ENI is attached", report("b", "Attached", "True"), "cannot report that one is attached"},
		{"another driver's device", report("c", "AttachFailed", "True"), "can report only about devices of the driver eni.networking.k8s.aws"},
		{"another driver's report goes", `{"status":{"devices":null}}`, "can report only about devices of the driver"},
		{"the claim is deallocated", `{"status":{"allocation":null,"devices":null}}`, "can change only status.devices"},
		{"a consumer", `{"status":{"reservedFor":[{"resource":"pods","name":"a","uid":"1"}]}}`, "can change only status.devices"},
	} {
		controlplane.CheckRefusal(t, step.what, r.patchClaim(coordinator, "claim-1", step.patch)(), lostPolicy, step.refusal)
	}
}

// TestAPIServerConfines: with the rights of the component alone, the API server lets an agent
// report about claims of its own node, and a token that was stolen from the agent of another
// node about none of them.
func TestAPIServerConfines(t *testing.T) {
	r := newRig(t, "")
	report := func(node string, patch string) func() error {
		return r.patchClaim(r.agent(node), "claim-1", fmt.Sprintf(patch, "node-1"))
	}
	const (
		ours    = `{"status":{"devices":[{"driver":"gpu.example.com","pool":"%[1]s","device":"a","data":{"a":"b"}},{"driver":"eni.networking.k8s.aws","pool":"%[1]s","device":"a","data":{"eniID":"eni-1"}}]}}`
		another = `{"status":{"devices":[{"driver":"gpu.example.com","pool":"%[1]s","device":"a","data":{"a":"c"}}]}}`
		gone    = `{"status":{"allocation":null,"devices":null}}%.0s`
	)
	awaitTrue(t, "an agent may report about a claim of its node", func() error { return report("node-1", ours)() })
	for what, step := range map[string]struct {
		do      func() error
		refusal string
	}{
		"a stolen token":     {report("node-2", ours), `changing status.devices requires resource="resourceclaims/driver", verb="[arbitrary-node:patch]"`},
		"a token of no node": {report("", ours), "arbitrary-node:patch"},
		"another driver":     {report("node-1", another), `"gpu.example.com" is forbidden`},
		"the allocation":     {report("node-1", gone), "resourceclaims/binding"},
	} {
		if err := step.do(); err == nil || !strings.Contains(err.Error(), step.refusal) {
			t.Errorf("%s: %v, want %q", what, err, step.refusal)
		}
	}
}

// TestRights: with the component an agent has these rights, and no others to these resources.
func TestRights(t *testing.T) {
	r := newRig(t, "")
	agent := r.agent("node-1")
	rights := map[string][]string{
		"pods":                        {"list", "watch"},
		"pods/status":                 nil,
		"pods/binding":                nil,
		"resourceclaims":              {"get", "list", "watch"},
		"resourceclaims/status":       {"patch"},
		"resourceclaims/driver":       {"associated-node:patch"},
		"resourceclaims/binding":      nil,
		"resourceslices":              {"list", "watch", "create", "update", "delete"},
		"deviceclasses":               nil,
		"resourceclaimtemplates":      nil,
		"devicetaintrules":            nil,
		"resourcepoolstatusrequests":  nil,
		"resourceslices/anything":     nil,
		"resourceclaims/driver/other": nil,
	}
	r.awaitRights(agent, rights)
}

// TestCoordinatorRights: with the component the coordinator has these rights, and no others to
// these resources.
func TestCoordinatorRights(t *testing.T) {
	r := newRig(t, "")
	r.awaitRights(r.coordinator(), map[string][]string{
		"pods":                        {"list"},
		"pods/status":                 nil,
		"pods/binding":                nil,
		"resourceclaims":              {"get"},
		"resourceclaims/status":       {"patch"},
		"resourceclaims/driver":       {"arbitrary-node:patch"},
		"resourceclaims/binding":      nil,
		"resourceclaims/driver/other": nil,
		"resourceslices":              nil,
		"deviceclasses":               nil,
	})
}

// awaitRights waits until as has these rights, and no others to the resources.
func (r *rig) awaitRights(as *rest.Config, rights map[string][]string) {
	r.Helper()
	verbs := []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "associated-node:patch", "associated-node:update", "arbitrary-node:patch", "arbitrary-node:update"}
	awaitTrue(r.T, "the roles are in force", func() error {
		for resource, want := range rights {
			for _, verb := range verbs {
				if got, may := r.may(as, verb, resource), strings.Contains(" "+strings.Join(want, " ")+" ", " "+verb+" "); got != may {
					return fmt.Errorf("it may %s %s: %v, want %v", verb, resource, got, may)
				}
			}
		}
		return nil
	})
}

func awaitTrue(t *testing.T, what string, check func() error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 20*time.Second, true, func(context.Context) (bool, error) {
		last = check()
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("%s: %v", what, last)
	}
}

type rig struct {
	*testing.T
	cp *controlplane.ControlPlane
}

func newRig(t *testing.T, more string) *rig {
	t.Helper()
	r := &rig{t, installed.Get(t)}
	if err := r.cp.Apply(t.Context(), []byte(rigObjects), []byte(more)); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"1", "2"} {
		patch := []byte(fmt.Sprintf(allocation, "node-"+n))
		if _, err := r.client(r.cp.AdminConfig()).Resource(resourceClaims).Namespace("default").Patch(t.Context(), "claim-"+n, types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if more == "" {
			return
		}
		// The other tests see the rights that are installed.
		if err := r.client(r.cp.AdminConfig()).Resource(bindings).Delete(context.Background(), "they-may-do-anything", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return r
}

// agent has a token that is bound to a Node, or to nothing.
func (r *rig) agent(node string) *rest.Config { return installed.Access(r, "eni-agent", node) }

func (r *rig) coordinator() *rest.Config { return installed.Access(r, "eni-coordinator", "") }

func (r *rig) client(cfg *rest.Config) dynamic.Interface { return controlplane.Client(r, cfg) }

func (r *rig) createSlice(as *rest.Config, name string, change func(map[string]any)) func() error {
	return func() error {
		var object map[string]any
		if err := json.Unmarshal(fmt.Appendf(nil, `{"apiVersion":"resource.k8s.io/v1","kind":"ResourceSlice",
			"metadata":{"name":%q,"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"node-1","uid":"1"}]},
			"spec":{"driver":%q,"nodeName":"node-1","pool":{"name":"node-1","generation":1,"resourceSliceCount":1},"devices":[{"name":"a"}]}}`, name, driver), &object); err != nil {
			return err
		}
		if change != nil {
			change(object)
		}
		_, err := r.client(as).Resource(resourceSlices).Create(r.Context(), &unstructured.Unstructured{Object: object}, metav1.CreateOptions{DryRun: dryRun})
		return err
	}
}

func (r *rig) patchSlice(as *rest.Config, name, patch string) func() error {
	return func() error {
		_, err := r.client(as).Resource(resourceSlices).Patch(r.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{DryRun: dryRun})
		return err
	}
}

func (r *rig) deleteSlice(as *rest.Config, name string) func() error {
	return func() error {
		return r.client(as).Resource(resourceSlices).Delete(r.Context(), name, metav1.DeleteOptions{DryRun: dryRun})
	}
}

func (r *rig) patchClaim(as *rest.Config, name, patch string) func() error {
	return func() error {
		_, err := r.client(as).Resource(resourceClaims).Namespace("default").Patch(r.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{DryRun: dryRun}, "status")
		return err
	}
}

// may asks the API server whether as has a right; to the driver, under its name.
func (r *rig) may(as *rest.Config, verb, resource string) bool {
	r.Helper()
	parts := append(strings.Split(resource, "/"), "", "")
	attributes := map[string]any{"verb": verb, "resource": parts[0], "subresource": parts[1], "group": "resource.k8s.io"}
	switch {
	case parts[0] == "pods":
		attributes["group"] = ""
	case parts[2] == "other":
		attributes["name"] = "gpu.example.com"
	case parts[1] == "driver":
		attributes["name"] = driver
	}
	got, err := r.client(as).Resource(accessReviews).Create(r.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": map[string]any{"resourceAttributes": attributes},
	}}, metav1.CreateOptions{})
	if err != nil {
		r.Fatal(err)
	}
	allowed, _, _ := unstructured.NestedBool(got.Object, "status", "allowed")
	return allowed
}
