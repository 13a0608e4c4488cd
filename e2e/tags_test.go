package e2e

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// primary is the ENI that the node was born with.
func (c *cluster) primary(node string) cloud.Interface {
	c.t.Helper()
	n, err := c.Sim.Node(node)
	c.must(err)
	for _, e := range c.Sim.Cloud().Interfaces() {
		if a := e.Attachment; a != nil && a.InstanceID == n.ID && a.DeviceIndex == 0 {
			return e
		}
	}
	c.t.Fatalf("%s has no primary ENI", node)
	return cloud.Interface{}
}

// A user copies all tags of an ENI of ours to the node's primary one, as a tag editor
// allows: the primary one stays as it is, and so does the node's way out.
func TestTagsCopiedToPrimary(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	c.coordinator("coordinator-1", eager...)
	c.agent("node-1")
	c.want("node-1", "node-1", c.hostSpec())
	ours, primary := c.awaitOnly("node-1", "node-1"), c.primary("node-1")
	before := c.host("node-1").routing(primary)
	c.must(c.Sim.Cloud().CreateTags([]string{primary.ID}, maps.Clone(ours.Tags)))
	c.restart("node-1")
	c.stays("both stay", 4*time.Second, func() string {
		if link, ok := c.host("node-1").linkOf(primary.MAC); !ok || link.Attrs().OperState.String() != "up" {
			return "the primary link is down"
		}
		return c.configured("node-1", ours, true, 9001)
	})
	if after := c.host("node-1").routing(primary); !slices.Equal(after, before) {
		t.Errorf("the primary ENI has %v and had %v", after, before)
	}
	c.awaitReady("node-1", "node-1", 1)
}
