package e2e

import (
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// awaitFree waits until EC2 has detached the ENI.
func (c *cluster) awaitFree(id string) {
	c.t.Helper()
	c.await(id+" is available", func() string {
		if e := c.eni(id); e.Status != cloud.StatusAvailable {
			return e.Status
		}
		return ""
	})
}

// takenAway detaches and deletes an ENI as an operator does in the console.
func (c *cluster) takenAway(id string) {
	c.t.Helper()
	c.must(c.Sim.Cloud().DetachByHand(id))
	c.awaitFree(id)
	c.must(c.Sim.Cloud().DeleteByHand(id))
}

// awaitAttachedAnew waits until the node has exactly one ENI, Ready and not by
// the attachment that it had.
func (c *cluster) awaitAttachedAnew(node string, before cloud.Interface) cloud.Interface {
	c.t.Helper()
	c.await(node+" has its ENI again", func() string {
		made, entries := c.made(node), c.entries(node, node)
		if len(made) != 1 || made[0].Attachment == nil || made[0].Attachment.ID == before.Attachment.ID || !made[0].Attachment.DeleteOnTermination {
			return c.enis()
		}
		if phases(entries) != "Ready" || entries[0].ENIID != made[0].ID || entries[0].AttachmentID != made[0].Attachment.ID {
			return "another report"
		}
		return ""
	})
	return c.made(node)[0]
}

// An ENI that is detached by hand is attached again, and one that is deleted is
// replaced: exactly one afterwards.
func TestScenario10ByHand(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4, nil)
	c.coordinator("coordinator-1", eager...)
	before := c.oneENIEach(nodesOf(4), c.plain("data")+"\naddressing: Host")
	for _, test := range []struct {
		name, node string
		hand       func(id string)
		again      bool // the same ENI
	}{
		{"detached", "node-1", func(id string) { c.must(c.Sim.Cloud().DetachByHand(id)) }, true},
		{"detached while the agent is away", "node-2", func(id string) {
			c.agents["node-2"].Kill()
			c.must(c.Sim.Cloud().DetachByHand(id))
			c.awaitFree(id)
			c.agent("node-2")
		}, true},
		{"deleted", "node-3", func(id string) {
			c.must(c.agents["node-3"].Pause()) // or it attaches the ENI first
			c.takenAway(id)
			c.must(c.agents["node-3"].Resume())
		}, false},
		{"deleted while the agent is away", "node-4", func(id string) {
			c.agents["node-4"].Kill()
			c.takenAway(id)
			c.agent("node-4")
		}, false},
	} {
		c.run(test.name, func(t *testing.T) {
			old := before[test.node]
			c.lag(time.Second)
			test.hand(old.ID)
			now := c.awaitAttachedAnew(test.node, old)
			if (now.ID == old.ID) != test.again {
				t.Errorf("the ENI was %s and is %s", old.ID, now.ID)
			}
			if now.Attachment.DeviceIndex != 2 {
				t.Errorf("it is at index %d", now.Attachment.DeviceIndex)
			}
			c.staysOnly(test.node, time.Second, now.ID)
			c.await("the link is configured", func() string { return c.configured(test.node, now, true, 0) })
		})
	}
	c.expectCalls("coordinator-1", nil)
}

// EC2 does not delete at once what was detached, in either of its words.
func TestScenario11DeleteInUse(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	c.coordinator("coordinator-1", eager...)
	c.timing(func(timing *cloud.Timing) { timing.Detach, timing.DeleteInUse = time.Second, 2*time.Second })
	for node, f := range map[string]cloud.Fault{
		"node-1": {},
		"node-2": {Code: "InvalidNetworkInterface.InUse", Count: 2},
	} {
		c.run("in use "+f.Code, func(t *testing.T) {
			c.agent(node)
			c.want(node, node, c.plain("data"))
			c.awaitOnly(node, node)
			if f.Code != "" {
				f.Action, f.SourceID = deleteCall, "coordinator-1"
				c.inject(f)
			}
			c.Sim.Cloud().ResetCalls()
			c.must(c.DeleteNodeENI(t.Context(), node))
			c.awaitMade(node, 0)
			c.awaitNodeENIGone(node)
			refused := 0
			for _, call := range c.calls("coordinator-1", deleteCall) {
				if call.Code != "" {
					refused++
				}
			}
			if refused == 0 {
				t.Error("no delete was refused, so this shows nothing")
			}
		})
	}
}
