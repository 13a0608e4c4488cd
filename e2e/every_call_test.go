package e2e

import (
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// agentCalls are the calls of an agent in a life, and how many of each.
var agentCalls = map[string]int{
	createCall: 1, attachCall: 1, modifyCall: 4, describeCall: 1, "DescribeSubnets": 1, "DescribeSecurityGroups": 1,
}

// campaignNodes is how many lives go on side by side.
const campaignNodes = 8

// behind is how EC2 lags in these lives: an agent that starts anew does not see at
// once what the one before it has done.
func behind(timing *cloud.Timing) {
	timing.DescribeLag, timing.DeleteInUse = time.Second, 200*time.Millisecond
}

// newLives starts nodes for lives.
func newLives(t *testing.T) (*cluster, []string) {
	c := gated(t, sim.Topology{Nodes: sim.Nodes(campaignNodes)})
	timing := quick
	behind(&timing)
	c.must(c.Sim.Cloud().SetTiming(timing))
	return c, nodesOf(campaignNodes)
}

func newLivesAlone(t *testing.T) (*cluster, []string) {
	c := newStandAlone(t, campaignNodes, func(topology *sim.Topology) { behind(topology.Timing) })
	return c, nodesOf(campaignNodes)
}

// Every call of an agent to EC2 goes wrong in every way, once, with the agent
// living on and with the agent killed at that moment. Then those of the
// coordinator, one after the other: it is everybody's.
func TestEveryCall(t *testing.T) {
	t.Parallel()
	c, nodes := newLives(t)
	c.coordinator("coordinator-1", eager...)
	c.undergo("TestEveryCall", sample(t, ofCalls(agentCalls, false), campaignNodes), nodes)
	if t.Failed() {
		return
	}
	all := ofCalls(map[string]int{describeCall: 1, detachCall: 1, deleteCall: 1}, true)
	c.undergo("TestEveryCall", sample(t, all, 2), nodes[:1])
}

// The same for an agent that stands alone.
func TestStandAloneEveryCall(t *testing.T) {
	t.Parallel()
	c, nodes := newLivesAlone(t)
	calls := map[string]int{
		createCall: 1, attachCall: 1, modifyCall: 4, describeCall: 2, "DescribeSubnets": 1, "DescribeSecurityGroups": 1, detachCall: 1, deleteCall: 1,
	}
	c.undergo("TestStandAloneEveryCall", sample(t, ofCalls(calls, false), campaignNodes), nodes)
}

// An agent is killed before and after every call to EC2 and every write to the
// API server of a life, until a life ends without reaching the next. Then the
// coordinator.
func TestKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	c, nodes := newLives(t)
	c.coordinator("coordinator-1", eager...)
	c.stepByStep(t, "TestKilledAtEveryStep", nodes, false)
	c.stepByStep(t, "TestKilledAtEveryStep", nodes[:1], true)
}

// The same for an agent that stands alone.
func TestStandAloneKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	c, nodes := newLivesAlone(t)
	c.stepByStep(t, "TestStandAloneKilledAtEveryStep", nodes, false)
}

// stepByStep goes on from step to step as long as some are reached; outside of a
// campaign it takes some of the first.
func (c *cluster) stepByStep(t *testing.T, test string, nodes []string, ofCoordinator bool) {
	const stride = 4
	for first := 1; !t.Failed(); first += stride {
		all := steps(first, first+stride-1, ofCoordinator, !c.alone)
		some := sample(t, all, min(len(nodes), 4))
		if c.undergo(test, some, nodes) == 0 || len(some) < len(all) {
			return
		}
	}
}
