package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// configureRegion has the SDK of all that is started from now on take a Region.
func (c *cluster) configureRegion(region string) (undo func()) {
	c.t.Helper()
	file := filepath.Join(c.dir, ".aws", "config")
	c.must(os.MkdirAll(filepath.Dir(file), 0o755))
	c.must(os.WriteFile(file, []byte("[default]\nregion = "+region+"\n"), 0o644))
	return func() { c.must(os.Remove(file)) }
}

// An agent that is configured for another Region than its instance's does nothing, and
// says so where people look.
func TestAgentInTheWrongRegion(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	c.coordinator("coordinator-1", eager...)
	c.agent("node-1")
	c.want("node-1", "data", c.hostSpec())
	e := c.awaitOnly("node-1", "data")
	c.must(c.agents["node-1"].Stop())
	undo := c.configureRegion("eu-west-1")
	c.Sim.Cloud().ResetCalls()
	c.agent("node-1")
	c.await("the report says so", func() string {
		if r := c.report("node-1"); r.Reason != "WrongRegion" || !strings.Contains(r.Message, "eu-west-1") || !strings.Contains(r.Message, r.Region) {
			return r.Reason + ": " + r.Message
		}
		return ""
	})
	c.await("the NodeENI says so", func() string {
		all, err := c.NodeENIs(t.Context())
		c.must(err)
		n, text := all[0], ""
		for _, condition := range n.Status.Conditions {
			text += condition.Message
		}
		if n.Status.Nodes != (v1alpha1.NodeCounts{Matching: 1, Failed: 1}) || !strings.Contains(text, "eu-west-1") {
			return text
		}
		return ""
	})
	c.awaitEvent("node-1", "WrongRegion")
	c.must(c.Unlabel(t.Context(), "node-1", "data"))
	c.must(c.Label(t.Context(), "node-1", "data", "node-1"))
	c.stays("nothing is done", 2*time.Second, func() string { return c.configured("node-1", e, true, 9001) })
	if calls := c.calls(c.source("node-1")); len(calls) > 0 {
		t.Errorf("EC2 was asked: %v", calls)
	}
	c.must(c.agents["node-1"].Stop())
	undo()
	c.agent("node-1")
	c.await("the report no longer says so", func() string { return c.report("node-1").Reason })
	same(t, c.awaitOnly("node-1", "data").ID, e.ID)
}

// Without Kubernetes it ends, which systemd shows; and cleanup touches nothing.
func TestStandAloneInTheWrongRegion(t *testing.T) {
	t.Parallel()
	c := newStandAlone(t, 1, nil)
	c.agent("node-1")
	c.want("node-1", "data", c.hostSpec())
	e := c.awaitOnly("node-1", "data")
	c.must(c.agents["node-1"].Stop())
	c.configureRegion("eu-west-1")
	c.Sim.Cloud().ResetCalls()
	_, stderr, code := c.subcommand("node-1", "cleanup")
	if code != 1 || !strings.Contains(stderr, "eu-west-1") || !strings.Contains(stderr, "unset AWS_REGION") {
		t.Errorf("cleanup: %d, %s", code, stderr)
	}
	c.agent("node-1")
	c.await("the agent ends", func() string {
		if !c.agents["node-1"].Exited() {
			return "it runs"
		}
		return ""
	})
	c.awaitLogged("node-1", "eu-west-1", 1)
	if problem := c.configured("node-1", e, true, 9001); problem != "" || len(c.calls(c.source("node-1"))) > 0 {
		t.Errorf("%s; calls %v", problem, c.calls(c.source("node-1")))
	}
}
