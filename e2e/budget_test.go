package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// quietFor is how long an idle cluster is watched.
const quietFor = 3 * time.Second

// describes is the number of calls that change nothing.
func describes(calls []cloud.Call) int {
	counts := cloud.CountCalls(calls)
	return len(calls) - mutating(counts)
}

// noCalls checks that EC2 is not called for a while.
func (c *cluster) noCalls(d time.Duration) {
	c.t.Helper()
	before := len(c.Sim.Cloud().Calls())
	c.stays("no EC2 call while idle", d, func() string {
		if calls := c.Sim.Cloud().Calls()[before:]; len(calls) > 0 {
			return fmt.Sprintf("%s by %s", calls[0].Action, calls[0].SourceID)
		}
		return ""
	})
}

// The calls that an ENI, an agent's start, and doing nothing may cost.
func TestBudget(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	c.coordinator("coordinator-1")
	for node, test := range map[string]struct {
		spec string
		want map[string]int
	}{
		"node-1": {"subnetNames: [data]\nsecurityGroupNames: [data]\nmtu: 9001\naddressing: Host",
			map[string]int{createCall: 1, attachCall: 1, modifyCall: 1}},
		"node-2": {fmt.Sprintf("subnetIDs: [%s]\nsubnetNames: [storage]\nsecurityGroupNames: [data, storage]\ndeleteOnTermination: false", c.subnet("data", "node-2")),
			map[string]int{createCall: 2, attachCall: 2}},
	} {
		c.run("from the start of "+node+"'s agent to Ready", func(t *testing.T) {
			c.want(node, node, test.spec)
			c.agent(node)
			c.awaitReady(node, node, test.want[createCall])
			c.expectCalls(c.source(node), test.want)
			if n := describes(c.calls(c.source(node))); n > 4 {
				t.Errorf("%d describes, want 4 at most: %v", n, cloud.CountCalls(c.calls(c.source(node))))
			}
		})
	}
	// What the coordinator still had to do when it began to lead is done.
	c.await("the coordinator leads", func() string {
		if len(c.calls("coordinator-1", describeCall)) == 0 {
			return "it has not asked EC2 yet"
		}
		return ""
	})
	c.run("idle", func(*testing.T) { c.noCalls(quietFor) })
	c.run("the agent's restart", func(t *testing.T) {
		c.Sim.Cloud().ResetCalls()
		c.restart("node-1")
		// Every describe of a start: its ENIs, and the names of the spec.
		for _, action := range []string{describeCall, "DescribeSubnets", "DescribeSecurityGroups"} {
			c.awaitCall("node-1", action, 1)
		}
		c.awaitReady("node-1", "node-1", 1)
		c.noCalls(quietFor)
		if got := c.calls(c.source("node-1")); len(got) != 3 {
			t.Errorf("%d calls, want one of each describe: %v", len(got), cloud.CountCalls(got))
		}
	})
	c.run("the coordinator's restart", func(t *testing.T) {
		c.Sim.Cloud().ResetCalls()
		c.must(c.coordinators["coordinator-1"].Stop())
		c.coordinator("coordinator-1")
		c.await("it leads", func() string {
			if len(c.calls("coordinator-1")) == 0 {
				return "it has not asked EC2 yet"
			}
			return ""
		})
		c.noCalls(quietFor)
		if got := c.Sim.Cloud().Calls(); len(got) != 1 {
			t.Errorf("%d calls, want one sweep: %v", len(got), cloud.CountCalls(got))
		}
	})
	c.run("a link that vanishes", func(t *testing.T) {
		id := c.awaitReady("node-1", "node-1", 1)[0].ENIID
		pod, err := netns.New()
		c.must(err)
		defer pod.Close()
		c.Sim.Cloud().ResetCalls()
		c.moveLink("node-1", id, pod)
		c.awaitCall("node-1", describeCall, 1)
		c.stays("one verification", time.Second, func() string {
			if got := c.calls(c.source("node-1")); len(got) != 1 {
				return fmt.Sprint(cloud.CountCalls(got))
			}
			return ""
		})
		c.expectCalls(c.source("node-1"), nil)
	})
}

// moveLink moves an ENI's link into a pod's namespace, as the CNI plugin
// host-device does.
func (c *cluster) moveLink(node, id string, pod *netns.Namespace) {
	c.t.Helper()
	c.onHost(node, func(h *netlink.Handle) error {
		link, ok := c.host(node).linkOf(c.eni(id).MAC)
		if !ok {
			return fmt.Errorf("%s has no link of %s", node, id)
		}
		return pod.With(func(fd int) error { return h.LinkSetNsFd(link, fd) })
	})
}
