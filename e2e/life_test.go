package e2e

import (
	"fmt"
	"testing"
)

// The main job: two nodes get their ENI, and lose it with the label and with
// the NodeENI.
func TestLife(t *testing.T) {
	c := newCluster(t, 2, nil)
	c.agent("node-1", "node-2")
	c.coordinator("coordinator-1")
	c.must(c.Apply(t.Context(), nodeENI("data", fmt.Sprintf(`
		subnetNames: [data]
		securityGroupIDs: [%s]
		deviceIndex: 2
		mtu: 9001
		addressing: Host`, c.group("data")))))
	for _, node := range []string{"node-1", "node-2"} {
		c.must(c.Label(t.Context(), node, "ng", "multi-eni"))
	}
	for _, node := range []string{"node-1", "node-2"} {
		c.awaitReady(node, "data", 1)
	}
	c.must(c.Unlabel(t.Context(), "node-1", "ng"))
	c.awaitENIs(1)
	c.must(c.DeleteNodeENI(t.Context(), "data"))
	c.awaitENIs(0)
	c.await("the NodeENI is gone", func() string {
		if all, err := c.NodeENIs(t.Context()); err != nil || len(all) > 0 {
			return fmt.Sprint(err, all)
		}
		return ""
	})
}
