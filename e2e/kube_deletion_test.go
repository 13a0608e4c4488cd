package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// goneAfterENIs waits until the NodeENI, which is the last one, is gone, and
// checks that its ENIs went first.
func (c *cluster) goneAfterENIs(name string) {
	c.t.Helper()
	c.awaitNodeENIGone(name)
	if len(c.managed()) > 0 {
		c.t.Errorf("the NodeENI %s is gone, and EC2 still has\n%s", name, c.enis())
	}
}

// A NodeENI is deleted while the agent or the coordinator is away, or while the agent
// creates its ENI, and it comes back under its name.
func TestScenario24Deletion(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	c.agent("node-1")
	c.coordinator("coordinator-1", eager...)
	ready := func(name string) cloud.Interface {
		c.t.Helper()
		c.want("node-1", name, c.hostSpec())
		e := c.awaitOnly("node-1", name)
		c.await("the NodeENI is held for its ENIs", func() string {
			all, err := c.NodeENIs(c.t.Context())
			if err != nil || len(all) != 1 || len(all[0].Finalizers) != 1 {
				return fmt.Sprint(err, all)
			}
			return ""
		})
		return e
	}
	nothingLeft := func(name string) {
		c.t.Helper()
		c.goneAfterENIs(name)
		c.await("nothing is left on the host", func() string { return strings.Join(c.host("node-1").band(), "\n") })
	}
	c.run("while the agent is down", func(t *testing.T) {
		ready("alone")
		c.agents["node-1"].Kill()
		c.must(c.DeleteNodeENI(t.Context(), "alone"))
		c.goneAfterENIs("alone")
		c.agent("node-1")
		nothingLeft("alone")
	})
	c.run("while the coordinator is down", func(t *testing.T) {
		e := ready("unattended")
		c.coordinators["coordinator-1"].Kill()
		c.must(c.DeleteNodeENI(t.Context(), "unattended"))
		c.await("the agent lets go", func() string {
			if got := phases(c.entries("node-1", "unattended")); got != "Released" {
				return got
			}
			return c.released("node-1", e)
		})
		c.stays("without a coordinator nothing is deleted", 300*time.Millisecond, func() string {
			all, err := c.NodeENIs(t.Context())
			if now, there := c.Sim.Cloud().Interface(e.ID); err != nil || len(all) != 1 || !there || now.Attachment == nil {
				return fmt.Sprint(err, all, c.enis())
			}
			return ""
		})
		c.coordinator("coordinator-1", eager...)
		nothingLeft("unattended")
	})
	c.run("while its ENI is being created", func(t *testing.T) {
		c.fault("node-1", cloud.Fault{Action: createCall, Count: 1, Delay: 3 * time.Second})
		c.want("node-1", "hasty", c.hostSpec())
		calls := len(c.calls(c.source("node-1"), createCall))
		c.awaitCall("node-1", createCall, calls+1)
		c.must(c.DeleteNodeENI(t.Context(), "hasty"))
		c.await("EC2 has answered", func() string {
			if calls := c.calls(c.source("node-1"), createCall); calls[len(calls)-1].Pending {
				return "it has not"
			}
			return ""
		})
		c.awaitENIs(0) // the NodeENI may not have waited for an ENI that was not known yet
		nothingLeft("hasty")
	})
	c.run("and created again under the same name", func(t *testing.T) {
		e := ready("phoenix")
		c.must(c.DeleteNodeENI(t.Context(), "phoenix"))
		c.goneAfterENIs("phoenix")
		c.want("node-1", "phoenix", c.hostSpec())
		c.awaitReady("node-1", "phoenix", 1)
		c.awaitENIs(1)
		if made := c.made("node-1")[0]; made.ID == e.ID || made.Tags[eni.TagNodeENIUID] == e.Tags[eni.TagNodeENIUID] {
			t.Errorf("%s is the ENI of the former NodeENI", made.ID)
		}
		c.must(c.DeleteNodeENI(t.Context(), "phoenix"))
		nothingLeft("phoenix")
	})
}

// An uninstall: all NodeENIs are deleted, then the programs are stopped. Nothing
// is left in EC2, on the nodes, or waiting for a finalizer.
func TestScenario29Uninstall(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	nodes := []string{"node-1", "node-2", "node-3"}
	c.agent(nodes...)
	c.coordinator("coordinator-1", eager...)
	for _, name := range []string{"data", "storage"} {
		c.must(c.Apply(t.Context(), nodeENI(name, fmt.Sprintf(
			"subnetNames: [%s]\nsecurityGroupNames: [%s]\naddressing: Host\ndeviceIndex: 2", name, name))))
	}
	for _, node := range nodes {
		c.must(c.Label(t.Context(), node, "ng", "multi-eni"))
	}
	for _, node := range nodes {
		c.awaitReady(node, "", 2)
	}
	// One cannot be detached at first, another one not be deleted.
	c.inject(cloud.Fault{Action: detachCall, Count: 1, Code: "InternalError"})
	c.inject(cloud.Fault{Action: deleteCall, Count: 1, Code: "RequestLimitExceeded"})
	for _, name := range []string{"data", "storage"} {
		c.must(c.DeleteNodeENI(t.Context(), name))
	}
	c.awaitNodeENIGone("data")
	c.goneAfterENIs("storage")
	for _, node := range nodes {
		c.await(node+" has cleaned up", func() string { return strings.Join(c.host(node).band(), "\n") })
		c.must(c.agents[node].Stop())
	}
	c.must(c.coordinators["coordinator-1"].Stop())
	states, err := c.States(t.Context())
	c.must(err)
	for _, s := range states {
		if len(s.Finalizers) > 0 {
			t.Errorf("NodeENIState %s has the finalizers %v", s.Name, s.Finalizers)
		}
	}
}
