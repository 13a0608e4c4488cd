package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// lagging is how far describes are behind in these tests: long enough that an
// agent which believes one has acted upon it by then.
const lagging = 3 * time.Second

// answerWithheld lets the answer of the agent's first such call wait for ever;
// carriedOut says whether EC2 has done what was asked. It returns the ENI that
// there is when the agent has been killed.
func (c *cluster) answerWithheld(node, action string, carriedOut bool) cloud.Interface {
	c.t.Helper()
	c.fault(node, cloud.Fault{Action: action, After: carriedOut, Hang: true, Count: 1})
	c.agent(node)
	c.want(node, node, c.plain("data"))
	c.awaitCall(node, action, 1)
	before := c.awaitMade(node, 1)[0]
	c.agents[node].Kill()
	return before
}

// Killed at each moment of an ENI's making, and started again while describes
// lag: the next start goes on with that ENI.
func TestScenario01Killed(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 6, nil)
	c.coordinator("coordinator-1", eager...)
	for _, test := range []struct {
		name, node, action string
		carriedOut         bool
	}{
		{"after Create, before its answer", "node-1", createCall, true},
		{"after Create's answer", "node-2", attachCall, false},
		{"after Attach, before its answer", "node-3", attachCall, true},
		{"after Modify, before its answer", "node-4", modifyCall, true},
	} {
		c.run(test.name, func(t *testing.T) {
			before := c.answerWithheld(test.node, test.action, test.carriedOut)
			c.lag(lagging)
			c.agent(test.node)
			after := c.awaitOnly(test.node, test.node)
			same(t, after.ID, before.ID)
			if !after.Attachment.DeleteOnTermination {
				t.Error("deleteOnTermination is not set")
			}
			c.staysOnly(test.node, lagging, before.ID)
		})
	}
	c.run("again and again", func(t *testing.T) {
		const node = "node-5"
		c.lag(time.Second)
		c.want(node, node, c.plain("data"))
		// Each life is one call longer than the one before.
		for calls := 1; calls <= 6; calls++ {
			before := len(c.calls(c.source(node)))
			c.agent(node)
			c.await("calls", func() string {
				if len(c.calls(c.source(node))) < before+calls && phases(c.entries(node, node)) != "Ready" {
					return "not yet"
				}
				return ""
			})
			c.agents[node].Kill()
		}
		c.agent(node)
		only := c.awaitOnly(node, node)
		c.staysOnly(node, lagging, only.ID)
	})
	c.run("and the spec changes meanwhile", func(t *testing.T) {
		const node = "node-6"
		before := c.answerWithheld(node, createCall, true)
		c.lag(lagging)
		c.must(c.PatchNodeENI(t.Context(), node, fmt.Sprintf(`{"spec":{"description":"changed","securityGroupIDs":[%q]}}`, c.group("storage"))))
		c.agent(node)
		after := c.awaitOnly(node, node)
		same(t, after.ID, before.ID)
		if after.Description != "changed" || !slices.Equal(after.GroupIDs, []string{c.group("storage")}) {
			t.Errorf("it has the description %q and the groups %v", after.Description, after.GroupIDs)
		}
		c.staysOnly(node, lagging, before.ID)
	})
	c.expectCalls("coordinator-1", nil)
}

// Describes that lag behind by seconds neither make an agent create or attach
// twice, nor anybody delete.
func TestScenario02DescribesLag(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	c.coordinator("coordinator-1", eager...)
	c.lag(lagging)
	once := map[string]int{createCall: 1, attachCall: 1, modifyCall: 1}
	c.run("agent stays", func(*testing.T) {
		c.agent("node-1")
		c.want("node-1", "node-1", c.plain("data"))
		only := c.awaitOnly("node-1", "node-1")
		c.staysOnly("node-1", lagging+time.Second, only.ID)
		c.expectCalls(c.source("node-1"), once)
	})
	c.run("agent starts anew", func(t *testing.T) {
		c.agent("node-2")
		c.want("node-2", "node-2", c.plain("data"))
		before := c.awaitOnly("node-2", "node-2")
		described := len(c.calls(c.source("node-2"), describeCall))
		c.restart("node-2")
		c.awaitCall("node-2", describeCall, described+1)
		c.staysOnly("node-2", lagging+time.Second, before.ID)
		same(t, c.awaitOnly("node-2", "node-2").ID, before.ID)
		c.expectCalls(c.source("node-2"), once)
	})
	c.expectCalls("coordinator-1", nil)
}

// An answer that is lost after EC2 has carried the call out is as good as none:
// what it would have told is found out.
func TestScenario03AnswerLost(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4, nil)
	c.coordinator("coordinator-1", eager...)
	for node, f := range map[string]cloud.Fault{
		"node-1": {Action: createCall, After: true, Count: 2},
		"node-2": {Action: attachCall, After: true, Count: 1},
		"node-3": {Action: modifyCall, After: true, Count: 1},
		"node-4": {Action: attachCall, After: true, Count: 2, Code: "InternalError"},
	} {
		c.run(f.Action+" "+f.Code, func(t *testing.T) {
			c.lag(time.Second)
			c.fault(node, f)
			c.agent(node)
			c.want(node, node, c.plain("data"))
			before := c.awaitMade(node, 1)[0]
			after := c.awaitOnly(node, node)
			same(t, after.ID, before.ID)
			if !after.Attachment.DeleteOnTermination {
				t.Error("deleteOnTermination is not set")
			}
			c.staysOnly(node, time.Second, after.ID)
		})
	}
	c.run("Detach and Delete", func(*testing.T) {
		c.inject(cloud.Fault{Action: detachCall, SourceID: "coordinator-1", After: true, Count: 2})
		c.inject(cloud.Fault{Action: deleteCall, SourceID: "coordinator-1", After: true, Count: 3})
		for n := 1; n <= 4; n++ {
			c.must(c.DeleteNodeENI(c.t.Context(), fmt.Sprintf("node-%d", n)))
		}
		c.awaitENIs(0)
		for n := 1; n <= 4; n++ {
			c.awaitNodeENIGone(fmt.Sprintf("node-%d", n))
		}
	})
}
