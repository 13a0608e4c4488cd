package e2e

import (
	"context"
	"encoding/json"
	"fmt"
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

// Taints of a Node that has just joined: the startup taint twice, among others.
const joinTaints = `[
	{"key":"example.com/starting","effect":"NoExecute","value":"yes","timeAdded":"2026-01-01T00:00:00Z"},
	{"key":"networking.k8s.aws/eni-not-ready","effect":"NoSchedule"},
	{"key":"example.com/gpu","effect":"NoSchedule","value":"a100"},
	{"key":"networking.k8s.aws/eni-not-ready","effect":"NoExecute","value":"yes"}]`

const otherTaints = "example.com/starting=yes:NoExecute 2026-01-01T00:00:00Z, example.com/gpu=a100:NoSchedule "

// What Nodes show of their ENIs: the startup taint goes when all of them are
// ready, labels come and go with the NodeENIs.
func TestNodeReadiness(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4, nil)
	for _, node := range []string{"node-1", "node-2", "node-3"} {
		c.setTaints(node, joinTaints)
	}
	c.run("without the right it is told what to do", func(t *testing.T) {
		c.showingAgent("node-2") // which no NodeENI selects
		c.awaitEvent("node-2", "NodeNotPatched")
		c.same(t, "node-2", "example.com/starting=yes:NoExecute 2026-01-01T00:00:00Z, networking.k8s.aws/eni-not-ready=:NoSchedule , "+
			"example.com/gpu=a100:NoSchedule , networking.k8s.aws/eni-not-ready=yes:NoExecute ")
		c.allowNodeReadiness()
		c.awaitTaints("node-2", otherTaints)
		if n := c.events("node-2", "NodeNotPatched"); n != 1 {
			t.Errorf("it is told %d times", n)
		}
		if n := mutating(cloud.CountCalls(c.calls(c.source("node-2")))); n > 0 {
			t.Errorf("a node that wants nothing makes %d calls", n)
		}
	})
	c.run("the taint goes when all ENIs are ready", c.testStartupTaint)
	c.run("labels come and go", c.testReadyLabels)
	c.run("a restart changes nothing", func(*testing.T) {
		c.agents["node-1"].Kill()
		c.lag(time.Second)
		version := c.node("node-1").Metadata.ResourceVersion
		c.showingAgent("node-1")
		c.awaitCall("node-1", describeCall, 1)
		c.stays("the Node is not touched", time.Second, func() string {
			if now := c.node("node-1"); now.Metadata.ResourceVersion != version {
				return fmt.Sprintf("%+v", now)
			}
			return ""
		})
	})
	c.run("while others change the Node without end", c.testContendedTaint)
	c.run("an agent that goes leaves no label", func(t *testing.T) {
		c.awaitLabels("node-3", "node-3")
		c.stopAndUnlabel("node-3")
		if labels := c.readyLabels("node-3"); len(labels) > 0 {
			t.Errorf("it leaves the labels %v", labels)
		}
	})
	c.run("off by default", func(t *testing.T) {
		c.setTaints("node-4", joinTaints)
		c.agent("node-4")
		c.want("node-4", "node-4", c.plain("data"))
		c.awaitReady("node-4", "node-4", 1)
		if node := c.node("node-4"); len(node.Spec.Taints) != 4 || len(c.readyLabels("node-4")) > 0 {
			t.Errorf("it changes its Node: %+v", node)
		}
	})
}

func (c *cluster) testStartupTaint(t *testing.T) {
	c.fault("node-1", cloud.Fault{Action: attachCall, Code: "RequestLimitExceeded"})
	c.want("node-1", "first", c.plain("data"))
	c.want("node-1", "second", c.plain("storage"))
	c.showingAgent("node-1")
	c.awaitCall("node-1", attachCall, 1)
	before := c.node("node-1").Metadata.ResourceVersion
	c.stays("nothing changes while an ENI is awaited", time.Second, func() string {
		if now := c.node("node-1"); now.Metadata.ResourceVersion != before {
			return fmt.Sprintf("%+v", now)
		}
		return ""
	})
	c.Sim.Cloud().ClearFaults()
	c.awaitTaints("node-1", otherTaints)
	made := c.made("node-1")
	if len(made) != 2 {
		t.Errorf("the taint has gone, and EC2 has\n%s", c.enis())
	}
	for _, e := range made {
		if problem := c.configured("node-1", e, false, 0); problem != "" {
			t.Errorf("the taint has gone: %s", problem)
		}
	}
	c.awaitLabels("node-1", "first", "second")
	c.awaitEvent("node-1", "StartupTaintRemoved")
	c.noCalls(time.Second) // the Node has changed, and nothing that matters
	// At most one patch for each NodeENI: the second one comes with the taint.
	if n := c.logged("node-1", "changed the labels of the Node"); n > 2 {
		t.Errorf("the Node was patched %d times", n)
	}

	// It is put there again, as an EKS node group that gets a taint does.
	c.setTaints("node-1", joinTaints)
	c.awaitTaints("node-1", otherTaints)
}

func (c *cluster) testReadyLabels(t *testing.T) {
	ctx := t.Context()
	patched := c.logged("node-1", "changed the labels of the Node")
	long := strings.Repeat("a-name-that-is-", 6) + "long"
	c.must(c.Apply(ctx, strings.Replace(nodeENI(long, c.plain("data")), "{ng: multi-eni}", "{first: node-1}", 1)))
	c.awaitLabels("node-1", "first", "second", strings.TrimPrefix(v1alpha1.ReadyLabel(long), v1alpha1.ReadyLabelPrefix))
	c.must(c.Unlabel(ctx, "node-1", "first"))
	c.awaitLabels("node-1", "second")
	c.must(c.Label(ctx, "node-1", v1alpha1.ReadyLabel("made-up"), "ready"))
	c.awaitLabels("node-1", "second")
	c.must(c.DeleteNodeENI(ctx, "second"))
	c.awaitLabels("node-1")
	c.must(c.Label(ctx, "node-1", "first", "node-1"))
	c.awaitLabels("node-1", "first", strings.TrimPrefix(v1alpha1.ReadyLabel(long), v1alpha1.ReadyLabelPrefix))
	c.same(t, "node-1", otherTaints)
	// The two that came back may have been ready one after the other.
	c.awaitLogged("node-1", "changed the labels of the Node", patched+5)
	if n := c.logged("node-1", "changed the labels of the Node") - patched; n > 6 {
		t.Errorf("five changes were %d patches", n)
	}
	if node := c.node("node-1"); node.Metadata.Labels["first"] != "node-1" || node.Metadata.Labels["second"] != "node-1" {
		t.Errorf("labels of others have changed: %v", node.Metadata.Labels)
	}
}

// testContendedTaint: something adds a taint before all others, and takes it away,
// as fast as it can, so most patches come too late.
func (c *cluster) testContendedTaint(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	changes := make(chan int)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			for _, patch := range []string{
				`[{"op":"add","path":"/spec/taints/0","value":{"key":"example.com/flapping","effect":"NoSchedule"}}]`,
				`[{"op":"test","path":"/spec/taints/0/key","value":"example.com/flapping"},{"op":"remove","path":"/spec/taints/0"}]`,
			} {
				err := c.Client.Core.Patch(types.JSONPatchType).Resource(kube.Nodes).Name("node-3").Body([]byte(patch)).Do(context.WithoutCancel(ctx)).Error()
				if err != nil {
					t.Error(err)
				}
			}
		}
		changes <- n
	}()
	c.want("node-3", "node-3", c.plain("data"))
	c.showingAgent("node-3")
	c.await("the taint goes", func() string {
		if text := c.node("node-3").taints(); strings.Contains(text, v1alpha1.StartupTaint) {
			return text
		}
		return ""
	})
	stop()
	n := <-changes
	c.same(t, "node-3", otherTaints)
	t.Logf("%d changes meanwhile, %d patches came too late", n, c.logged("node-3", "did not update the Node"))
}

// awaitEvent waits for one Event about the Node.
func (c *cluster) awaitEvent(node, reason string) {
	c.t.Helper()
	c.await("an Event "+reason, func() string {
		if n := c.events(node, reason); n != 1 {
			return fmt.Sprintf("%d of them", n)
		}
		return ""
	})
}

// showingAgent starts a node's agent that changes its Node.
func (c *cluster) showingAgent(node string) {
	c.t.Helper()
	p, err := c.StartAgent(c.t.Context(), node, "--log-level", "debug", "--release-delay", "1s", "--startup-taint", "--node-ready-labels")
	c.must(err)
	c.agents[node] = p
	c.remember(p.Log)
}

// allowNodeReadiness installs the component but for the flags.
func (c *cluster) allowNodeReadiness() {
	c.t.Helper()
	root, err := testbed.Root(c.t.Context())
	c.must(err)
	component := filepath.Join(root, "manifests", "node-readiness")
	c.must(c.ControlPlane.ApplyFiles(c.t.Context(), filepath.Join(component, "policy.yaml"), filepath.Join(component, "rbac.yaml")))
}

// wholeNode is what tests look at of a Node.
type wholeNode struct {
	Metadata struct {
		ResourceVersion string
		Labels          map[string]string
	}
	Spec struct {
		Taints []struct{ Key, Value, Effect, TimeAdded string }
	}
}

func (c *cluster) node(name string) wholeNode {
	data, err := c.Client.Core.Get().Resource(kube.Nodes).Name(name).Do(c.t.Context()).Raw()
	c.must(err)
	var node wholeNode
	c.must(json.Unmarshal(data, &node))
	return node
}

func (n wholeNode) taints() string {
	var all []string
	for _, t := range n.Spec.Taints {
		all = append(all, fmt.Sprintf("%s=%s:%s %s", t.Key, t.Value, t.Effect, t.TimeAdded))
	}
	return strings.Join(all, ", ")
}

func (c *cluster) setTaints(node, taints string) {
	c.t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"taints":%s}}`, taints)
	c.must(c.Client.Core.Patch(types.MergePatchType).Resource(kube.Nodes).Name(node).Body(patch).Do(c.t.Context()).Error())
}

func (c *cluster) same(t *testing.T, node, taints string) {
	t.Helper()
	if got := c.node(node).taints(); got != taints {
		t.Errorf("%s has the taints\n%s, want\n%s", node, got, taints)
	}
}

func (c *cluster) awaitTaints(node, want string) {
	c.t.Helper()
	c.await("taints of "+node, func() string {
		if got := c.node(node).taints(); got != want {
			return got
		}
		return ""
	})
}

// readyLabels are the NodeENIs that the Node says to have.
func (c *cluster) readyLabels(node string) []string {
	var names []string
	for key, value := range c.node(node).Metadata.Labels {
		if name, ours := strings.CutPrefix(key, v1alpha1.ReadyLabelPrefix); ours && value == v1alpha1.ReadyLabelValue {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (c *cluster) awaitLabels(node string, want ...string) {
	c.t.Helper()
	slices.Sort(want)
	c.await("labels of "+node, func() string {
		if got := c.readyLabels(node); !slices.Equal(got, want) {
			return fmt.Sprintf("%v, want %v", got, want)
		}
		return ""
	})
}
