package e2e

import (
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// neighbour is another cluster in the same account, with an API server of its own.
func (c *cluster) neighbour() *cluster {
	c.t.Helper()
	tb, err := testbed.Start(c.t.Context(), testbed.Config{Programs: programs, Dir: c.t.TempDir(), Sim: c.Sim})
	c.must(err)
	other := &cluster{Testbed: tb, t: c.t, agents: map[string]*testbed.Process{}, coordinators: map[string]*testbed.Process{}}
	c.t.Cleanup(other.stop)
	return other
}

// Two clusters in one account, with Nodes and NodeENIs of the same names. One
// has a name that as a filter matches the other's as well.
func TestScenario14TwoClusters(t *testing.T) {
	t.Parallel()
	const node, name = "node-1", "data"
	greedy := newCluster(t, 1, nil)
	modest := greedy.neighbour()
	clusters := []*cluster{greedy, modest}
	tags := map[*cluster]string{greedy: "prod*", modest: "prod-2"}
	ids := map[*cluster]string{}
	for i, c := range clusters {
		if i > 0 {
			_, err := c.Sim.AddNode(sim.NodeSpec{Name: node, Zone: "us-east-1a"})
			c.must(err)
			c.must(c.CreateNode(t.Context(), node, nil)) // the younger of the instances
		}
		p, err := c.StartAgent(t.Context(), node, "--cluster-name", tags[c], "--release-delay", "1s")
		c.must(err)
		c.agents[node] = p
		c.remember(p.Log)
		c.coordinator("coordinator-"+tags[c], append([]string{"--cluster-name", tags[c]}, eager...)...)
		c.want(node, name, c.plain("data"))
		ids[c] = c.awaitReady(node, name, 1)[0].ENIID
	}
	greedy.staysOnly(node, 2*time.Second, ids[greedy], ids[modest])
	for c, id := range ids {
		if got := c.eni(id).Tags[eni.TagCluster]; got != tags[c] {
			t.Errorf("%s has the tag %q, want %q", id, got, tags[c])
		}
	}
	left := func(c *cluster, ids ...string) {
		t.Helper()
		c.awaitMade(node, len(ids))
		c.staysOnly(node, 2*time.Second, ids...)
	}

	// One cluster's objects go, the other's ENI stays and is Ready.
	greedy.must(greedy.DeleteNodeENI(t.Context(), name))
	greedy.awaitNodeENIGone(name)
	left(greedy, ids[modest])
	greedy.must(greedy.DeleteNode(t.Context(), node))
	left(greedy, ids[modest])
	if a := modest.eni(ids[modest]).Attachment; a == nil || phases(modest.entries(node, name)) != "Ready" {
		t.Errorf("attachment %+v, report %+v", a, modest.entries(node, name))
	}
	modest.must(modest.DeleteNodeENI(t.Context(), name))
	modest.awaitNodeENIGone(name)
	left(modest)
}
