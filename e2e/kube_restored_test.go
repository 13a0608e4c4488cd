package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// etcd is restored to a state in which neither a NodeENI nor a Node was there yet
// that have ENIs now. Nothing goes because of that within minutes, and what comes
// back meanwhile is as before.
func TestEtcdRestored(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	c.must(c.DeleteNode(t.Context(), "node-3")) // registers later
	c.agent("node-1", "node-2")
	c.want("node-1", "node-1", c.hostSpec())
	c.must(c.Label(t.Context(), "node-2", "node-2", "node-2"))
	before := map[string]cloud.Interface{"node-1": c.awaitOnly("node-1", "node-1")}
	c.must(c.ControlPlane.Backup())

	c.must(c.CreateNode(t.Context(), "node-3", map[string]string{"node-1": "node-1"}))
	c.agent("node-3")
	c.want("node-2", "node-2", c.hostSpec())
	before["node-2"], before["node-3"] = c.awaitOnly("node-2", "node-2"), c.awaitOnly("node-3", "node-1")
	c.coordinator("coordinator-1", "--sweep-interval", "1s", "--poll-interval", "200ms", "--release-grace", "2s", "--lease-duration", "60s", "--lease-renew-deadline", "50s")
	c.leader()
	c.must(c.ControlPlane.Restore(t.Context()))
	c.want("node-2", "late", c.plain("storage"))
	c.await("agent and coordinator are back", func() string {
		all, err := c.NodeENIs(t.Context())
		if err != nil {
			return err.Error()
		}
		for _, n := range all {
			if n.Name == "late" && n.Status.Nodes.Ready == 1 {
				return ""
			}
		}
		return fmt.Sprint(all)
	})
	c.stays("all stays", 5*time.Second, func() string {
		for node, e := range before {
			if problem := c.configured(node, e, true, 9001); problem != "" {
				return node + ": " + problem
			}
		}
		return ""
	})
}
