package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// patchesPolicy makes the API server write down what agents change of Nodes.
const patchesPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: [system:serviceaccount:eni-system:eni-agent]
  verbs: [create, update, patch, delete]
  resources: [{group: "", resources: [nodes, nodes/status]}]
- level: None
`

// TestPodResources: the Node says how many pods its NodeENIs have addresses for. Each change
// is one PATCH of its status, and nothing else of it is written.
func TestPodResources(t *testing.T) {
	t.Parallel()
	flags, log := audited(t, patchesPolicy)
	r := &resources{newCluster(t, 2, nil, flags...), log, map[string]int{}}
	r.coordinator("coordinator-1", eager...)

	r.want("node-1", "storage", "subnetNames: [storage]\nsecurityGroupNames: [data]\nipv4: {prefixes: 1}\npods: {}")
	r.advertise("node-1")
	r.awaitReady("node-1", "storage", 1)
	r.run("a Node whose kubelet has not come waits for it", func(*testing.T) { r.expect("node-1", "", 0) })
	r.run("without the right it is told what to do", func(t *testing.T) {
		r.kubelet("node-1", "")
		r.awaitEvent("node-1", "NodeNotPatched")
		r.allowPods()
		r.expect("node-1", "storage=16", 1)
		if n := r.events("node-1", "NodeNotPatched"); n != 1 {
			t.Errorf("it is told %d times", n)
		}
	})
	r.run("it grows", func(*testing.T) {
		r.must(r.PatchNodeENI(t.Context(), "storage", `{"spec":{"ipv4":{"prefixes":2}}}`))
		r.expect("node-1", "storage=32", 1)
	})
	r.run("a kubelet that registers its Node again sets it to 0", func(*testing.T) {
		r.kubelet("node-1", "0")
		r.expect("node-1", "storage=32", 1)
	})
	r.run("a restart changes nothing", func(*testing.T) {
		r.agents["node-1"].Kill()
		r.lag(time.Second)
		r.advertise("node-1")
		r.awaitCall("node-1", describeCall, 2)
		r.expect("node-1", "storage=32", 0)
	})
	r.run("0 when it is not ready", r.testNotReady)
	r.run("resources of others stay, and those that nothing stands for go", func(*testing.T) {
		r.patchStatus("node-1", `{"status":{"capacity":{"networking.k8s.aws/made-up":"5","example.com/gpu":"1"}}}`)
		r.expect("node-1", "storage=32", 1)
		if gpus := r.capacity("node-1")["example.com/gpu"]; gpus != "1" {
			t.Errorf("example.com/gpu is %q", gpus)
		}
	})
	r.run("of a NodeENI that is deleted while the agent is away", func(*testing.T) {
		r.agents["node-1"].Kill()
		r.must(r.DeleteNodeENI(t.Context(), "storage"))
		r.expect("node-1", "storage=32", 0)
		r.advertise("node-1")
		r.expect("node-1", "", 1)
	})
	r.run("an agent that goes leaves nothing", func(*testing.T) {
		r.kubelet("node-2", "")
		r.want("node-2", "node-2", "subnetNames: [data]\nsecurityGroupNames: [data]\npods: {}")
		r.advertise("node-2")
		r.expect("node-2", "node-2=1", 1)
		r.stopAndUnlabel("node-2")
		r.expect("node-2", "", 1)
	})
	r.run("while another client fights for it", r.testContended)
}

// resources is a cluster that looks at the Nodes' resources, and at its API server's log of
// what agents have written to Nodes.
type resources struct {
	*cluster
	log  string
	seen map[string]int // writes to each Node, so far
}

// testNotReady: an ENI is detached by hand and cannot be attached for over a minute.
func (r *resources) testNotReady(t *testing.T) {
	r.fault("node-1", cloud.Fault{Action: attachCall, Code: "RequestLimitExceeded"})
	err := r.Sim.Cloud().DetachNetworkInterface(r.made("node-1")[0].Attachment.ID, true)
	r.must(err)
	r.awaitCall("node-1", attachCall, 2)
	r.expect("node-1", "storage=32", 0) // what is repaired soon does not show
	r.expect("node-1", "storage=0", 1)
	r.Sim.Cloud().ClearFaults()
	r.expect("node-1", "storage=32", 1)
}

// testContended: another client sets the resource to 0 whenever it has another value.
func (r *resources) testContended(t *testing.T) {
	r.want("node-1", "again", "subnetNames: [data]\nsecurityGroupNames: [data]\npods: {}")
	r.expect("node-1", "again=1", 1)
	const fight = 20 * time.Second
	for end := time.Now().Add(fight); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if r.shown("node-1") == "again=1" {
			r.patchStatus("node-1", `{"status":{"capacity":{"networking.k8s.aws/again":"0"}}}`)
		}
	}
	r.await("the last word", func() string {
		if got := r.shown("node-1"); got != "again=1" {
			return got
		}
		return ""
	})
	// Waits of at least 25, 50, 100 … ms, and of 2.5 s in the end.
	if n := r.written("node-1"); n < 4 || n > 9+int(fight/(2500*time.Millisecond)) {
		t.Errorf("%d writes in %v", n, fight)
	}
}

// advertise starts a node's agent with --pods.
func (r *resources) advertise(node string) {
	r.t.Helper()
	p, err := r.StartAgent(r.t.Context(), node, "--log-level", "debug", "--release-delay", "1s",
		"--pods", "--pods-dir", filepath.Join(r.dir, node, "run"), "--pods-data-dir", filepath.Join(r.dir, node, "data"))
	r.must(err)
	r.agents[node] = p
	r.remember(p.Log)
}

// allowPods installs what manifests/pods gives an agent.
func (r *resources) allowPods() {
	r.t.Helper()
	root, err := testbed.Root(r.t.Context())
	r.must(err)
	component := filepath.Join(root, "manifests", "pods")
	r.must(r.ControlPlane.ApplyFiles(r.t.Context(), filepath.Join(component, "policy.yaml"), filepath.Join(component, "rbac.yaml")))
}

// kubelet writes the Node's status, and sets the NodeENI's resource as well if it is given.
func (r *resources) kubelet(node, storage string) {
	r.t.Helper()
	own := `"cpu":"2","memory":"8Gi","pods":"110"`
	if storage != "" {
		own += fmt.Sprintf(`,"networking.k8s.aws/storage":%q`, storage)
	}
	r.patchStatus(node, fmt.Sprintf(`{"status":{"capacity":{%s},"allocatable":{%s}}}`, own, own))
}

func (r *resources) patchStatus(node, patch string) {
	r.t.Helper()
	r.must(r.Client.Core.Patch(types.MergePatchType).Resource(kube.Nodes).Name(node).SubResource("status").Body([]byte(patch)).Do(context.WithoutCancel(r.t.Context())).Error())
}

func (r *resources) capacity(node string) map[string]string {
	r.t.Helper()
	data, err := r.Client.Core.Get().Resource(kube.Nodes).Name(node).Do(r.t.Context()).Raw()
	r.must(err)
	var found struct {
		Status struct{ Capacity map[string]string }
	}
	r.must(json.Unmarshal(data, &found))
	return found.Status.Capacity
}

// shown are the resources that say what NodeENIs have.
func (r *resources) shown(node string) string {
	r.t.Helper()
	var all []string
	for name, quantity := range r.capacity(node) {
		if nodeENI, ours := strings.CutPrefix(name, v1alpha1.PodResourcePrefix); ours {
			all = append(all, nodeENI+"="+quantity)
		}
	}
	return strings.Join(slices.Sorted(slices.Values(all)), " ")
}

// expect waits until the Node shows these resources, and then a while for whether they
// stay. The agent has made that many writes since the last time.
func (r *resources) expect(node, want string, writes int) {
	r.t.Helper()
	r.await("resources of "+node, func() string {
		if got := r.shown(node); got != want {
			return fmt.Sprintf("%q, want %q", got, want)
		}
		return ""
	})
	r.stays("resources of "+node, time.Second, func() string {
		if got := r.shown(node); got != want {
			return fmt.Sprintf("%q, want %q", got, want)
		}
		return ""
	})
	if n := r.written(node); n != writes {
		r.t.Errorf("%q: %d writes of the Node, want %d", want, n, writes)
	}
}

// written counts what the agent has written to its Node since it was asked last. Anything
// but a PATCH of the status is a failure.
func (r *resources) written(node string) int {
	r.t.Helper()
	file, err := os.Open(r.log)
	r.must(err)
	defer file.Close()
	counts := map[string]int{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event struct {
			Verb           string
			ObjectRef      struct{ Resource, Subresource, Name string }
			ResponseStatus struct{ Code int }
		}
		r.must(json.Unmarshal(lines.Bytes(), &event))
		switch {
		case event.ObjectRef.Name != node || event.ResponseStatus.Code == 403:
		case event.ResponseStatus.Code != 200:
			counts[fmt.Sprintf("%s of nodes/%s with status %d", event.Verb, event.ObjectRef.Subresource, event.ResponseStatus.Code)]++
		default:
			counts[event.Verb+" of nodes/"+event.ObjectRef.Subresource]++
		}
	}
	r.must(lines.Err())
	total := counts["patch of nodes/status"]
	delete(counts, "patch of nodes/status")
	if len(counts) > 0 {
		r.t.Errorf("the agent of %s has made other writes: %v", node, slices.Sorted(maps.Keys(counts)))
	}
	n := total - r.seen[node]
	r.seen[node] = total
	return n
}
