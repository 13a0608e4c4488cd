package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// room is how many pods the node has addresses for.
const room = 6

// Pods whose node reboots, whose ENI is replaced, and whose NodeENI goes. The subnet is so
// small that EC2 soon gives the same addresses again.
func TestPodsInTrouble(t *testing.T) {
	t.Parallel()
	c := forPods(t, 1, func(topology *sim.Topology) {
		topology.Subnets = []sim.Subnet{
			{Name: "nodes", Zone: "us-east-1a", CIDR: netip.MustParsePrefix("10.0.0.0/20")},
			{Name: "small", Zone: "us-east-1a", CIDR: netip.MustParsePrefix("10.0.16.0/28")},
		}
	})
	c.coordinator("coordinator-1", eager...)
	c.agent("node-1")
	c.want("node-1", "storage", fmt.Sprintf("subnetNames: [small]\nsecurityGroupIDs: [%s]\nipv4: {secondaryAddresses: %d}\npods: {}", c.group("data"), room))
	c.awaitOnly("node-1", "storage")
	c.run("the node reboots", c.testPodsReboot)
	c.run("a DEL is lost", c.testLostDetach)
	c.run("the ENI is replaced", c.testPodsReplaced)
	c.run("the NodeENI goes", c.testPodsReleased)
}

// fill attaches pods until the node has no address left.
func (c *cluster) fill(t *testing.T, n int) []*pod {
	t.Helper()
	var pods []*pod
	for i := range n {
		pods = append(pods, c.attach("node-1", fmt.Sprintf("pod-%d", i), network(t, "storage")))
	}
	c.full(t)
	return pods
}

// full checks that no address is left.
func (c *cluster) full(t *testing.T) {
	t.Helper()
	want := fmt.Sprintf("NodeENI storage has no free addresses on node node-1: %d of %[1]d are in use", room)
	if p, err := c.tryAttach("node-1", "surplus", network(t, "storage")); err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("one more pod has %v, %v; want %q", p.addresses, err, want)
	}
}

// testPodsReboot: until the agent has configured the ENI no pod gets on. Then the addresses
// from before the reboot are free again.
func (c *cluster) testPodsReboot(t *testing.T) {
	e := c.awaitOnly("node-1", "storage")
	before := c.fill(t, room)
	c.agents["node-1"].Kill()
	for _, p := range before {
		p.lose()
	}
	c.reboot("node-1", e)
	c.must(os.RemoveAll(c.NetworksDir("node-1")))
	if p, err := c.tryAttach("node-1", "early", network(t, "storage")); err == nil || !strings.Contains(err.Error(), "NodeENI storage has no network file on this node") {
		t.Errorf("before the agent is there, a pod has %v, %v", p.addresses, err)
	}
	c.agent("node-1")
	c.await("the ENI is for pods again", func() string {
		_, err := os.Stat(c.NetworksDir("node-1") + "/storage.json")
		return errorText(err)
	})
	c.awaitReady("node-1", "storage", 1)
	for _, p := range c.fill(t, room) {
		p.detach()
	}
}

// testLostDetach: the runtime forgets to call the plugin.
func (c *cluster) testLostDetach(t *testing.T) {
	for _, p := range c.fill(t, room)[:2] {
		p.lose()
	}
	c.fill(t, 2)
	for _, p := range slices.Clone(c.podsOf) {
		p.detach()
	}
}

// testPodsReplaced: EC2 gives the ENI's successors addresses that pods still have.
func (c *cluster) testPodsReplaced(t *testing.T) {
	old := c.fill(t, room)
	var back []netip.Addr // which EC2 has given again
	for len(back) == 0 {
		before := c.awaitOnly("node-1", "storage")
		c.await("the ENI is attached", func() string {
			if status := c.eni(before.ID).Attachment.Status; status != cloud.AttachmentAttached {
				return status
			}
			return ""
		})
		c.must(c.agents["node-1"].Pause()) // or it attaches the ENI first
		c.takenAway(before.ID)
		c.must(c.agents["node-1"].Resume())
		var now cloud.Interface
		c.await("another ENI", func() string {
			if made := c.made("node-1"); len(made) != 1 || made[0].ID == before.ID || phases(c.entries("node-1", "storage")) != "Ready" {
				return c.enis()
			}
			now = c.made("node-1")[0]
			return ""
		})
		for _, p := range old {
			if slices.Contains(now.PrivateIPs[1:], p.addresses[0]) {
				back = append(back, p.addresses[0])
			}
		}
	}
	// Those that are not held are given, and no other.
	c.fill(t, room-len(back))
	for _, p := range old {
		p.detach()
	}
	c.fill(t, len(back))
	for _, p := range slices.Clone(c.podsOf) {
		p.detach()
	}
}

// testPodsReleased: an Event names the pods that lose their ENI, and the host keeps nothing
// of it. They can still be detached.
func (c *cluster) testPodsReleased(t *testing.T) {
	e := c.awaitOnly("node-1", "storage")
	pods := c.fill(t, room)
	c.must(c.DeleteNodeENI(t.Context(), "storage"))
	c.awaitNodeENIGone("storage")
	c.awaitMade("node-1", 0)
	c.await("an Event names the pods", func() string {
		names := func(e event) bool {
			return !slices.ContainsFunc(pods, func(p *pod) bool { return !strings.Contains(e.Message, "default/"+p.Name) })
		}
		if events := c.eventsOf("storage"); !slices.ContainsFunc(events, names) {
			return fmt.Sprintf("%+v", events)
		}
		return ""
	})
	c.await("no rule is left", func() string {
		for _, r := range c.host("node-1").rules {
			if inBand(r.Priority) {
				return ruleText(r)
			}
		}
		return c.released("node-1", e)
	})
	if files, err := os.ReadDir(c.NetworksDir("node-1")); err != nil || len(files) > 0 {
		t.Errorf("the agent has left %v, %v", files, err)
	}
	if p, err := c.tryAttach("node-1", "late", network(t, "storage")); err == nil {
		t.Errorf("a pod has %v of an ENI that is gone", p.addresses)
	}
	for _, p := range pods {
		p.detach()
	}
	if left := c.hostFiles("node-1"); slices.ContainsFunc(left, func(l string) bool { return strings.HasPrefix(l, "file") || strings.HasPrefix(l, "link veth") }) {
		t.Errorf("the host has\n%s", strings.Join(left, "\n"))
	}
}
