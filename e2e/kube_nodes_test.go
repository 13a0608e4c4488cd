package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// An agent that is stopped leaves everything in place, unless its node has lost
// the label: then it takes the links down and says so.
func TestAgentStops(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	enis := c.oneENIEach(nodesOf(2), c.hostSpec())
	c.run("all stays", func(t *testing.T) {
		c.Sim.Cloud().ResetCalls()
		c.must(c.agents["node-1"].Stop())
		if problem := c.configured("node-1", enis["node-1"], true, 9001); problem != "" {
			t.Error(problem)
		}
		before := c.host("node-1").routing(enis["node-1"])
		c.agent("node-1")
		c.awaitCall("node-1", describeCall, 1)
		c.stays("a start changes nothing on the data path", 500*time.Millisecond, func() string {
			if now := c.host("node-1").routing(enis["node-1"]); !slices.Equal(now, before) {
				return fmt.Sprint(now)
			}
			return c.configured("node-1", enis["node-1"], true, 9001)
		})
		c.expectCalls(c.source("node-1"), nil)
	})
	c.run("the label is lost", func(t *testing.T) {
		c.stopAndUnlabel("node-2")
		if left := c.released("node-2", enis["node-2"]); left != "" {
			t.Error(left)
		}
		entries := c.entries("node-2", "node-2")
		if phases(entries) != "Released" || entries[0].ENIID != enis["node-2"].ID {
			t.Errorf("it reports %+v", entries)
		}
	})
}

// A node loses its label and gets it back, its Node is deleted, another instance
// takes its name, its instance is terminated. Before that, scenario 28.
func TestScenario23Nodes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4, nil)
	c.coordinator("coordinator-1", eager...)
	before := c.oneENIEach(nodesOf(4), c.hostSpec())
	c.run("28 an agent's token", c.testAgentToken)
	gone := func(node string) {
		c.t.Helper()
		c.awaitMade(node, 0)
		c.await(node+" has cleaned up", func() string { return strings.Join(c.host(node).band(), "\n") })
	}
	c.run("the label is lost and comes back", func(t *testing.T) {
		c.must(c.Unlabel(t.Context(), "node-1", "node-1"))
		gone("node-1")
		c.must(c.Label(t.Context(), "node-1", "node-1", "node-1"))
		e := c.awaitOnly("node-1", "node-1")
		// Once more, while the coordinator is at it.
		c.must(c.Unlabel(t.Context(), "node-1", "node-1"))
		c.await("the ENI is being detached", func() string {
			if now, there := c.Sim.Cloud().Interface(e.ID); there && now.Attachment != nil && now.Attachment.Status == cloud.AttachmentAttached {
				return "it is attached"
			}
			return ""
		})
		c.must(c.Label(t.Context(), "node-1", "node-1", "node-1"))
		now := c.awaitSettled("node-1")
		c.await("it is configured", func() string { return c.configured("node-1", now, true, 9001) })
		c.staysOnly("node-1", time.Second, now.ID)
	})
	c.run("the Node is deleted while the instance runs", func(t *testing.T) {
		c.must(c.DeleteNode(t.Context(), "node-2"))
		// As the garbage collector does, of which there is none here. Ten seconds later the
		// API server no longer takes the agent's token, so a report that stayed might speak
		// of the ENI as ready, and the next agent would look for it for minutes.
		c.must(c.Client.API.Delete().Resource(kube.NodeENIStates).Name("node-2").Do(t.Context()).Error())
		gone("node-2")
		c.must(c.CreateNode(t.Context(), "node-2", map[string]string{"node-2": "node-2"}))
		c.restart("node-2") // its token was bound to the Node, and no report may have been saved since
		c.awaitSettled("node-2")
	})
	c.run("another instance has the name", func(t *testing.T) {
		c.agents["the former node-3"] = c.agents["node-3"]
		former := c.source("node-3")
		c.must(c.DeleteNode(t.Context(), "node-3"))
		_, err := c.Sim.AddNode(sim.NodeSpec{Name: "node-3"})
		c.must(err)
		c.must(c.CreateNode(t.Context(), "node-3", map[string]string{"node-3": "node-3"}))
		c.agent("node-3")
		c.await("the former ENI is deleted", func() string {
			if _, there := c.Sim.Cloud().Interface(before["node-3"].ID); there {
				return c.enis()
			}
			return ""
		})
		instance, err := c.Sim.Node("node-3")
		c.must(err)
		if e := c.awaitSettled("node-3"); e.Attachment.InstanceID != instance.ID || eniInstance(e) != instance.ID {
			t.Errorf("%s is attached to %s and tagged %s, the Node is %s", e.ID, e.Attachment.InstanceID, e.Tags[eni.TagInstance], instance.ID)
		}
		c.expectCalls(former, map[string]int{createCall: 1, attachCall: 1, modifyCall: 1}) // as before
	})
	c.run("the instance is terminated", func(t *testing.T) {
		c.must(c.PatchNodeENI(t.Context(), "node-4", `{"spec":{"deleteOnTermination":false}}`))
		c.await("deleteOnTermination is off", func() string {
			if c.eni(before["node-4"].ID).Attachment.DeleteOnTermination {
				return "it is on"
			}
			return ""
		})
		node, err := c.Sim.Node("node-4")
		c.must(err)
		c.agents["node-4"].Kill()
		c.must(c.Sim.Cloud().Terminate(node.ID))
		c.awaitFree(before["node-4"].ID)
		c.must(c.DeleteNode(t.Context(), "node-4"))
		c.awaitMade("node-4", 0)
	})
}

// awaitSettled waits until the node has one ENI, which it reports as ready. One that is being
// detached is not it, and neither is the one that an earlier report speaks of.
func (c *cluster) awaitSettled(node string) (only cloud.Interface) {
	c.t.Helper()
	c.await("exactly one ENI of "+node, func() string {
		made, entries := c.made(node), c.entries(node, node)
		if len(made) != 1 || made[0].Attachment == nil || made[0].Attachment.Status != cloud.AttachmentAttached ||
			phases(entries) != "Ready" || entries[0].ENIID != made[0].ID {
			return fmt.Sprintf("%s\nreported: %+v", c.enis(), entries)
		}
		only = made[0]
		return ""
	})
	return only
}

func eniInstance(e cloud.Interface) string {
	return eni.Owner{Instance: e.Tags[eni.TagInstance]}.InstanceID()
}

// testAgentToken: what anybody who breaks into a node can do with the agent's
// token: nothing to any ENI.
func (c *cluster) testAgentToken(t *testing.T) {
	cfg, err := c.ControlPlane.ServiceAccountConfig(t.Context(), testbed.Namespace, "eni-agent", "node-2")
	c.must(err)
	client, err := kube.NewClient(cfg, "thief")
	c.must(err)
	merge, ctx := types.MergePatchType, t.Context()
	for name, do := range map[string]func() error{
		"change a NodeENI": func() error {
			return client.API.Patch(merge).Resource(kube.NodeENIs).Name("node-1").Body([]byte(`{"spec":{"mtu":1500}}`)).Do(ctx).Error()
		},
		"change a NodeENI's status": func() error {
			return client.API.Patch(merge).Resource(kube.NodeENIs).Name("node-1").SubResource("status").Body([]byte(`{"status":{}}`)).Do(ctx).Error()
		},
		"remove a finalizer": func() error {
			return client.API.Patch(merge).Resource(kube.NodeENIs).Name("node-1").Body([]byte(`{"metadata":{"finalizers":null}}`)).Do(ctx).Error()
		},
		"create a NodeENI": func() error {
			n := &v1alpha1.NodeENI{}
			n.Name = "thief"
			return client.API.Post().Resource(kube.NodeENIs).Body(n).Do(ctx).Error()
		},
		"delete a NodeENI": func() error {
			return client.API.Delete().Resource(kube.NodeENIs).Name("node-1").Do(ctx).Error()
		},
		"delete a NodeENIState": func() error {
			return client.API.Delete().Resource(kube.NodeENIStates).Name("node-1").Do(ctx).Error()
		},
		"label a Node": func() error {
			return client.Core.Patch(merge).Resource(kube.Nodes).Name("node-2").Body([]byte(`{"metadata":{"labels":{"node-1":"node-1"}}}`)).Do(ctx).Error()
		},
		"delete a Node": func() error { return client.Core.Delete().Resource(kube.Nodes).Name("node-1").Do(ctx).Error() },
		"read secrets": func() error {
			return client.Core.Get().Namespace("kube-system").Resource("secrets").Do(ctx).Error()
		},
	} {
		if err := do(); !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v, want it to be forbidden", name, err)
		}
	}
}
