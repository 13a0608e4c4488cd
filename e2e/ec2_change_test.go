package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// deleteOnTermination: false stays false, in the object and in EC2: the ENI
// outlives its instance, and goes when the Node does. True is carried out too.
func TestScenario12DeleteOnTermination(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	c.coordinator("coordinator-1", eager...)
	for node, test := range map[string]struct {
		value    string
		modified int
		left     int // of ENIs when the instance has ended
	}{
		"node-1": {"false", 0, 1},
		"node-2": {"true", 1, 0},
	} {
		c.run(test.value, func(t *testing.T) {
			c.agent(node)
			c.want(node, node, c.plain("data")+"\ndeleteOnTermination: "+test.value)
			only := c.awaitOnly(node, node)
			c.awaitStored(node, test.value)
			c.expectCalls(c.source(node), map[string]int{createCall: 1, attachCall: 1, modifyCall: test.modified})
			if got := fmt.Sprint(c.eni(only.ID).Attachment.DeleteOnTermination); got != test.value {
				t.Errorf("EC2 has %s", got)
			}
			instance, err := c.Sim.Node(node)
			c.must(err)
			c.agents[node].Kill()
			c.must(c.Sim.Cloud().Terminate(instance.ID))
			c.await("the instance has ended", func() string {
				for _, i := range c.Sim.Cloud().Instances() {
					if i.ID == instance.ID && i.State != cloud.InstanceTerminated {
						return i.State
					}
				}
				return ""
			})
			if got := c.made(node); len(got) != test.left {
				t.Errorf("%d ENIs are left, want %d", len(got), test.left)
			}
			c.must(c.DeleteNode(t.Context(), node))
			c.awaitMade(node, 0)
		})
	}
}

// awaitStored waits until the coordinator has written to the NodeENI, and checks
// that its deleteOnTermination is still what it was.
func (c *cluster) awaitStored(name, value string) {
	c.t.Helper()
	c.await("the stored deleteOnTermination of "+name, func() string {
		all, err := c.NodeENIs(c.t.Context())
		if err != nil {
			return err.Error()
		}
		for _, n := range all {
			if n.Name == name && n.Status.Nodes.Ready == 1 && len(n.Finalizers) == 1 && n.Spec.DeleteOnTermination != nil && fmt.Sprint(*n.Spec.DeleteOnTermination) == value {
				return ""
			}
		}
		return fmt.Sprintf("%+v", all)
	})
}

// A living NodeENI changes: its ENI stays the same one, and each change is one
// call.
func TestScenario13Changes(t *testing.T) {
	t.Parallel()
	const node, name = "node-1", "living"
	c := newCluster(t, 1, nil)
	c.coordinator("coordinator-1", eager...)
	c.agent(node)
	c.want(node, name, c.plain("data"))
	first := c.awaitOnly(node, name)
	group := func(names ...string) []string {
		var ids []string
		for _, n := range names {
			ids = append(ids, c.group(n))
		}
		slices.Sort(ids)
		return ids
	}
	hasGroups := func(want []string) func(cloud.Interface) string {
		return func(e cloud.Interface) string {
			if got := slices.Sorted(slices.Values(e.GroupIDs)); !slices.Equal(got, want) {
				return fmt.Sprintf("groups %v, want %v", got, want)
			}
			return ""
		}
	}
	hasDescription := func(want string) func(cloud.Interface) string {
		return func(e cloud.Interface) string {
			if e.Description != want {
				return fmt.Sprintf("description %q", e.Description)
			}
			return ""
		}
	}
	isFlag := func(flag func(cloud.Interface) bool, want bool) func(cloud.Interface) string {
		return func(e cloud.Interface) string {
			if flag(e) != want {
				return fmt.Sprintf("%v, want %v", !want, want)
			}
			return ""
		}
	}
	dot := func(e cloud.Interface) bool { return e.Attachment.DeleteOnTermination }
	check := func(e cloud.Interface) bool { return e.SourceDestCheck }
	onHost := func(host bool, mtu int32) func(cloud.Interface) string {
		return func(e cloud.Interface) string { return c.configured(node, e, host, mtu) }
	}
	for _, test := range []struct {
		name, patch string
		modified    int
		check       func(cloud.Interface) string
	}{
		{"groups by id", fmt.Sprintf(`{"securityGroupIDs":[%q,%q]}`, c.group("data"), c.group("storage")), 1, hasGroups(group("data", "storage"))},
		{"groups by name", `{"securityGroupIDs":null,"securityGroupNames":["storage","nodes"]}`, 1, hasGroups(group("storage", "nodes"))},
		{"the same groups in another order", `{"securityGroupNames":["nodes","storage"]}`, 0, hasGroups(group("storage", "nodes"))},
		{"description", `{"description":"for storage"}`, 1, hasDescription("for storage")},
		{"no description", `{"description":null}`, 1, hasDescription("NodeENI " + name)},
		{"deleteOnTermination off", `{"deleteOnTermination":false}`, 1, isFlag(dot, false)},
		{"deleteOnTermination on", `{"deleteOnTermination":true}`, 1, isFlag(dot, true)},
		{"sourceDestCheck off", `{"sourceDestCheck":false}`, 1, isFlag(check, false)},
		{"sourceDestCheck on", `{"sourceDestCheck":true}`, 1, isFlag(check, true)},
		{"mtu", `{"mtu":1400}`, 0, onHost(false, 1400)},
		{"another mtu", `{"mtu":9001}`, 0, onHost(false, 9001)},
		{"addressing Host", `{"addressing":"Host"}`, 0, onHost(true, 9001)},
		{"addressing None", `{"addressing":"None"}`, 0, onHost(false, 9001)},
	} {
		c.run(test.name, func(t *testing.T) {
			c.Sim.Cloud().ResetCalls()
			c.must(c.PatchNodeENI(t.Context(), name, `{"spec":`+test.patch+`}`))
			c.await("the change", func() string { return test.check(c.eni(first.ID)) })
			same(t, c.awaitOnly(node, name).ID, first.ID)
			c.expectCalls(c.source(node), map[string]int{modifyCall: test.modified})
		})
	}
	c.run("while the agent is away", func(t *testing.T) {
		c.agents[node].Kill()
		c.Sim.Cloud().ResetCalls()
		c.must(c.PatchNodeENI(t.Context(), name, `{"spec":{"securityGroupNames":["data"],"description":"changed","mtu":1500,"deleteOnTermination":false}}`))
		c.agent(node)
		c.await("the change", func() string {
			e := c.eni(first.ID)
			return hasGroups(group("data"))(e) + hasDescription("changed")(e) + isFlag(dot, false)(e) + onHost(false, 1500)(e)
		})
		same(t, c.awaitOnly(node, name).ID, first.ID)
		c.expectCalls(c.source(node), map[string]int{modifyCall: 3})
	})
	c.run("deviceIndex may not change", func(t *testing.T) {
		err := c.PatchNodeENI(t.Context(), name, `{"spec":{"deviceIndex":5}}`)
		if err == nil || !strings.Contains(err.Error(), "deviceIndex") {
			t.Errorf("the API server says %v", err)
		}
	})
	c.expectCalls("coordinator-1", nil)

	var second string
	c.run("a subnet more", func(t *testing.T) {
		c.must(c.PatchNodeENI(t.Context(), name, `{"spec":{"subnetNames":["data","storage"]}}`))
		for _, e := range c.awaitReady(node, name, 2) {
			if e.ENIID != first.ID {
				second = e.ENIID
			}
		}
		c.staysOnly(node, time.Second, first.ID, second)
		if e := c.eni(second); e.SubnetID != c.subnet("storage", node) || e.Attachment.DeviceIndex != 3 {
			t.Errorf("the second is in %s at index %d", e.SubnetID, e.Attachment.DeviceIndex)
		}
	})
	c.run("a subnet less", func(t *testing.T) {
		c.must(c.PatchNodeENI(t.Context(), name, `{"spec":{"subnetNames":["storage"]}}`))
		c.awaitMade(node, 1)
		same(t, c.made(node)[0].ID, second)
		c.await("the report of the ENI that is left", func() string {
			var of []string // what is there; the agent also remembers what was
			for _, e := range c.entries(node, name) {
				if e.ENIID != "" {
					of = append(of, e.ENIID+" "+string(e.Phase))
				}
			}
			if !slices.Equal(of, []string{second + " Ready"}) {
				return fmt.Sprint(of)
			}
			return ""
		})
		// It is now the first in the list, and stays where it is attached.
		if index := c.eni(second).Attachment.DeviceIndex; index != 3 {
			t.Errorf("it has moved to index %d", index)
		}
		c.staysOnly(node, time.Second, second)
	})
}
