package e2e

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// The API server is away: what is there stays and is looked after, what changes
// meanwhile is made good afterwards, and the report catches up.
func TestScenario25APIServerAway(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	c.coordinator("coordinator-1", eager...)
	before := map[string]cloud.Interface{}
	for _, node := range []string{"node-1", "node-2", "node-3"} {
		c.agent(node)
		c.want(node, node, c.hostSpec())
		before[node] = c.awaitOnly(node, node)
	}
	c.must(c.PatchNodeENI(t.Context(), "node-3", `{"spec":{"mtu":1500}}`))
	c.await("node-3 follows", func() string { return c.configured("node-3", before["node-3"], true, 1500) })

	c.ControlPlane.APIServer.Kill()
	c.onHost("node-1", func(h *netlink.Handle) error {
		for _, r := range c.host("node-1").rules {
			if inBand(r.Priority) {
				return h.RuleDel(&r)
			}
		}
		return nil
	})
	c.awaitConfigured("node-1", before["node-1"])
	// Whoever detaches an ENI now may know that it is no longer wanted, and the agent
	// cannot: it undoes nothing before it has heard from the API server again.
	c.must(c.Sim.Cloud().DetachByHand(before["node-2"].ID))
	c.awaitLogged("node-2", "another client detached or deleted ENIs of this node", 1)
	c.agents["node-3"].Kill()
	c.stays("the data path stays", time.Second, func() string {
		for node, e := range map[string]cloud.Interface{"node-1": before["node-1"], "node-3": before["node-3"]} {
			mtu := int32(9001)
			if node == "node-3" {
				mtu = 1500
			}
			if problem := c.configured(node, e, true, mtu); problem != "" {
				return problem
			}
		}
		if a := c.eni(before["node-2"].ID).Attachment; a != nil {
			return "node-2 has attached its ENI again"
		}
		return ""
	})

	c.awaitLogged("node-1", "cannot reach the API server", 1)
	c.must(c.ControlPlane.StartAPIServer(t.Context()))
	c.awaitLogged("node-1", "reached the API server again", 1)
	c.awaitEntry("node-2", "node-2", func(entry v1alpha1.ENIState) string {
		if entry.Phase != v1alpha1.PhaseReady || entry.ENIID != before["node-2"].ID || entry.AttachmentID == before["node-2"].Attachment.ID {
			return "its ENI is not attached again"
		}
		return ""
	})
	c.awaitConfigured("node-2", c.eni(before["node-2"].ID))
	c.awaitEvent("node-2", "OutOfTouch")
	if c.coordinators["coordinator-1"].Exited() { // it lost the Lease, and Kubernetes restarts it
		c.coordinator("coordinator-1", eager...)
	}
	c.Sim.Cloud().ResetCalls()
	c.agent("node-3")
	c.awaitCall("node-3", describeCall, 1)
	c.must(c.PatchNodeENI(t.Context(), "node-1", `{"spec":{"mtu":1500}}`))
	c.await("node-1 hears of changes again", func() string { return c.configured("node-1", before["node-1"], true, 1500) })
	for _, node := range []string{"node-1", "node-2", "node-3"} {
		same(t, c.awaitOnly(node, node).ID, before[node].ID)
		c.expectCalls(c.source(node), nil)
	}
	c.must(c.Unlabel(t.Context(), "node-1", "node-1"))
	c.awaitMade("node-1", 0)
}

// leader waits until one of the coordinators leads, other than those named.
func (c *cluster) leader(not ...string) string {
	c.t.Helper()
	leads := ""
	c.await("a coordinator leads", func() string {
		for name, p := range c.coordinators {
			log, err := os.ReadFile(p.Log)
			if err == nil && !slices.Contains(not, name) && bytes.Contains(log, []byte("msg=leading")) {
				leads = name
				return ""
			}
		}
		return "none does"
	})
	return leads
}

// The leader is killed in the middle of a collection, and another one is frozen
// and wakes up believing that it still leads.
func TestScenario26Leaders(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	nodes := []string{"node-1", "node-2"}
	c.agent(nodes...)
	for _, node := range nodes {
		c.want(node, node, c.hostSpec())
		c.awaitOnly(node, node)
	}
	c.coordinator("coordinator-1", eager...)
	first := c.leader()
	c.coordinator("coordinator-2", eager...)
	c.coordinator("coordinator-3", eager...)

	// What it detaches is detached, and it never hears of it.
	c.inject(cloud.Fault{SourceID: first, Action: detachCall, After: true, Hang: true})
	for _, node := range nodes {
		c.must(c.Unlabel(t.Context(), node, node))
	}
	c.await("the leader is detaching", func() string {
		if n := len(c.calls(first, detachCall)); n == 0 {
			return "it is not"
		}
		return ""
	})
	c.coordinators[first].Kill()
	c.awaitENIs(0)
	second := c.leader(first)
	if len(c.calls(second, deleteCall)) == 0 {
		t.Errorf("%s leads, and has deleted nothing", second)
	}

	// The second is frozen while ENIs are left over; a third takes over; the
	// nodes want ENIs again. Whatever the second had in mind, it has no say.
	for _, node := range nodes {
		c.must(c.Label(t.Context(), node, node, node))
		c.awaitOnly(node, node)
	}
	for _, node := range nodes {
		c.must(c.Unlabel(t.Context(), node, node))
		c.await(node+" lets go", func() string {
			if phases(c.entries(node, node)) != "Released" {
				return fmt.Sprint(c.entries(node, node))
			}
			return ""
		})
	}
	c.must(c.coordinators[second].Pause())
	third := c.leader(first, second)
	c.awaitENIs(0)
	var ids []string
	for _, node := range nodes {
		c.must(c.Label(t.Context(), node, node, node))
		ids = append(ids, c.awaitOnly(node, node).ID)
	}
	calls := len(c.calls(second))
	c.must(c.coordinators[second].Resume())
	c.await("the second gives up", func() string {
		if !c.coordinators[second].Exited() {
			return "it has not"
		}
		return ""
	})
	for i, node := range nodes {
		c.staysOnly(node, 500*time.Millisecond, ids[i])
	}
	for _, call := range c.calls(second)[calls:] {
		if (call.Action == detachCall || call.Action == deleteCall) && call.Code == "" {
			t.Errorf("%s has acted though %s leads: %+v", second, third, call)
		}
	}
}
