package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
)

// dualStackZones gives the subnets data and storage of both zones IPv6.
func dualStackZones(topology *sim.Topology) {
	topology.VPC.IPv6CIDR = netip.MustParsePrefix("2001:db8::/56")
	for i, zone := range []string{"us-east-1a", "us-east-1b"} {
		for j, name := range []string{"nodes", "data", "storage"} {
			s := sim.Subnet{Name: name, Zone: zone, CIDR: netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/20", 128*i+16*j))}
			if name != "nodes" {
				s.IPv6CIDR = netip.MustParsePrefix(fmt.Sprintf("2001:db8:0:%x::/64", 8*i+j))
			}
			topology.Subnets = append(topology.Subnets, s)
		}
	}
}

// What docs/multus.md promises, with its own manifests: pods of three nodes in two zones.
func TestPods(t *testing.T) {
	t.Parallel()
	c := forPods(t, 3, dualStackZones)
	c.coordinator("coordinator-1", eager...)
	nodes := nodesOf(3)
	c.agent(nodes...)
	for _, name := range []string{"storage", "capture"} {
		c.must(c.Apply(t.Context(), documented(t, "NodeENI", name)))
	}
	c.must(c.Apply(t.Context(), nodeENI("both", "subnetNames: [data]\nsecurityGroupNames: [data]\ndeviceIndex: 3\nipv4: {secondaryAddresses: 2}\nipv6: {prefixes: 1}\npods: {}")))
	for _, node := range nodes {
		c.must(c.Label(t.Context(), node, "ng", "multi-eni"))
	}
	for _, node := range nodes {
		for _, name := range []string{"storage", "capture", "both"} {
			c.awaitReady(node, name, 1)
		}
		c.expectCalls(c.source(node), map[string]int{createCall: 3, attachCall: 3, modifyCall: 3})
	}
	c.Sim.Cloud().ResetCalls()
	c.run("the network of the page", func(*testing.T) { c.testPodsOf(network(t, "storage")) })
	c.run("ptp", func(*testing.T) { c.testPodsOf(network(t, "storage", "mode", "ptp")) })
	c.run("ipvlan", func(t *testing.T) {
		if !hasIPVLAN(t) {
			t.Skip("SKIPPED: this kernel has no ipvlan, so its pods are not tested here")
		}
		c.testPodsOf(network(t, "storage", "mode", "ipvlan"))
	})
	c.run("both families, and no address left", c.testBothFamilies)
	c.run("an address of the pod's choice", c.testChosenAddress)
	c.run("answers to other networks", c.testAnswers)
	c.run("the agent is killed", c.testAgentAway)
	for _, node := range nodes { // not one call for any pod
		c.onlyCalls(c.source(node), map[string]int{})
	}
	c.run("host-device", c.testHostDevice)
	for _, node := range nodes {
		c.expectCalls(c.source(node), nil)
	}
}

// hasIPVLAN says whether this kernel makes such links.
func hasIPVLAN(t *testing.T) bool {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	return ns.Do(func() error {
		parent := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "parent"}}
		if err := netlink.LinkAdd(parent); err != nil {
			return err
		}
		return netlink.LinkAdd(&netlink.IPVlan{LinkAttrs: netlink.LinkAttrs{Name: "child", ParentIndex: parent.Index}, Mode: netlink.IPVLAN_MODE_L2})
	}) == nil
}

// testPodsOf: pods of the same node, of the same zone and of two zones reach each other by
// addresses of their ENIs, without going through the cluster's network. They leave nothing
// on the host.
func (c *cluster) testPodsOf(network string) {
	before := c.hostFiles("node-1")
	pods := []*pod{
		c.attach("node-1", "reader", network), c.attach("node-1", "neighbour", network),
		c.attach("node-2", "writer", network), c.attach("node-3", "third", network),
	}
	for _, p := range pods {
		c.must(p.Check(c.t.Context(), "net1", network))
	}
	c.reachEachOther(pods...)
	for _, p := range pods {
		for _, q := range pods {
			if p.Node.Name != q.Node.Name {
				c.leavesBy("net1", p, nil, q.addresses[0])
			}
		}
		c.leavesBy("eth0", p, nil, netip.MustParseAddr("192.0.2.9"))
	}
	for _, p := range pods {
		p.detach()
		c.must(p.Detach(c.t.Context(), "net1", network)) // once more
	}
	c.await("the host is as before", func() string {
		if after := c.hostFiles("node-1"); !slices.Equal(before, after) {
			return fmt.Sprintf("\n%s\nbefore:\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
		}
		return ""
	})
}

// leavesBy checks the link by which packets from a pod leave; from is nil for one that is
// not bound to an address.
func (c *cluster) leavesBy(link string, p *pod, from net.IP, to netip.Addr) {
	c.t.Helper()
	c.must(p.Namespace.Do(func() error {
		routes, err := netlink.RouteGetWithOptions(to.AsSlice(), &netlink.RouteGetOptions{SrcAddr: from})
		if err != nil {
			return fmt.Errorf("from %s to %v: %w", p.Name, to, err)
		}
		l, err := netlink.LinkByIndex(routes[0].LinkIndex)
		if err == nil && l.Attrs().Name != link {
			err = fmt.Errorf("packets from %s to %v leave by %s, want %s", p.Name, to, l.Attrs().Name, link)
		}
		return err
	}))
}

// hostFiles are what pods could leave behind on a node: links, routes, rules, and files of
// addresses.
func (c *cluster) hostFiles(node string) []string {
	c.t.Helper()
	s := c.host(node)
	var lines []string
	for _, l := range s.links {
		lines = append(lines, "link "+l.Attrs().Name)
	}
	for _, r := range s.routes {
		lines = append(lines, s.routeText(r))
	}
	for _, r := range s.rules {
		lines = append(lines, ruleText(r))
	}
	c.must(filepath.WalkDir(c.DataDir(node), func(path string, entry os.DirEntry, err error) error {
		if entry == nil || entry.IsDir() || entry.Name() == "lock" || strings.HasPrefix(entry.Name(), "last_reserved_ip") {
			return nil
		}
		lines = append(lines, "file "+path)
		return err
	}))
	slices.Sort(lines)
	return lines
}

// testBothFamilies: secondary IPv4 addresses and an IPv6 prefix. When there is none left
// the message says so, and one that is free again is given again.
func (c *cluster) testBothFamilies(t *testing.T) {
	network := network(t, "storage", "name", "both", "nodeENI", "both")
	first, second := c.attach("node-1", "first", network), c.attach("node-1", "second", network)
	other := c.attach("node-2", "other", network)
	for _, p := range []*pod{first, second, other} {
		if len(p.addresses) != 2 || p.addresses[0].Is4() == p.addresses[1].Is4() {
			t.Errorf("%s has %v, want an address of each family", p.Name, p.addresses)
		}
	}
	c.reachEachOther(first, second, other)
	const full = "NodeENI both has no free addresses on node node-1: 2 of 2 are in use; increase spec.ipv4.secondaryAddresses of the NodeENI"
	if p, err := c.tryAttach("node-1", "surplus", network); err == nil || !strings.Contains(err.Error(), full) {
		t.Errorf("a third pod has %v, %v; want %q", p.addresses, err, full)
	}
	freed := first.addresses[0]
	first.detach()
	third := c.attach("node-1", "third", network)
	if third.addresses[0] != freed && third.addresses[1] != freed {
		t.Errorf("the third pod has %v, want %v", third.addresses, freed)
	}
	c.reachEachOther(second, third, other)
	for _, p := range []*pod{second, third, other} {
		p.detach()
	}
}

// testChosenAddress: an annotation chooses the address, out of the node's own.
func (c *cluster) testChosenAddress(t *testing.T) {
	network := network(t, "storage", "capabilities", map[string]bool{"ips": true})
	mine, others := c.awaitReady("node-1", "storage", 1)[0], c.awaitReady("node-2", "storage", 1)[0]
	want := netip.MustParsePrefix(mine.Prefixes[0]).Addr().Next().Next()
	p := c.attach("node-1", "chooser", network, want.String())
	if !slices.Equal(p.addresses, []netip.Addr{want}) {
		t.Errorf("it has %v, want %v", p.addresses, want)
	}
	if again, err := c.tryAttach("node-1", "late", network, want.String()); err == nil {
		t.Errorf("an address in use is given again: %v", again.addresses)
	}
	foreign := netip.MustParsePrefix(others.Prefixes[0]).Addr()
	if wrong, err := c.tryAttach("node-1", "wrong", network, foreign.String()); err == nil {
		t.Errorf("node-1 gives away node-2's address: %v", wrong.addresses)
	}
	p.detach()
}

// testAnswers: a client in a network that no route of the pod's is for. With sbr the answer
// leaves by the ENI that was asked.
func (c *cluster) testAnswers(t *testing.T) {
	client := c.instance("node-2") // its primary ENI's subnet
	plain, routed := c.attach("node-1", "plain", network(t, "storage")), c.attach("node-1", "routed", network(t, "storage-sbr"))
	whole := c.attach("node-1", "whole", network(t, "storage", "routeVPC", true))
	other := c.attach("node-2", "other", network(t, "storage"))
	c.leavesBy("eth0", plain, plain.addresses[0].AsSlice(), client.PrivateIP)
	c.leavesBy("net1", routed, routed.addresses[0].AsSlice(), client.PrivateIP)
	c.leavesBy("eth0", routed, nil, other.addresses[0])
	c.leavesBy("net1", whole, nil, client.PrivateIP)
	for _, p := range []*pod{routed, whole} {
		c.exchange(client, client.PrivateIP, p.addresses[0])
	}
	c.reachEachOther(plain, routed, whole, other)
	for _, p := range []*pod{plain, routed, whole, other} {
		p.detach()
	}
}

// testAgentAway: pods have no need of the agent, neither those that are there nor those
// that come. Its return changes no file and costs no packet.
func (c *cluster) testAgentAway(t *testing.T) {
	network := network(t, "storage")
	a, b := c.attach("node-1", "a", network), c.attach("node-2", "b", network)
	pings := c.startPings(a.place(), a.addresses[0], b.place(), b.addresses[0])
	pings.await(t, 5)
	file := filepath.Join(c.NetworksDir("node-1"), "storage.json")
	before, err := os.Stat(file) // a file that is written again is another one
	c.must(err)
	host := c.hostFiles("node-1")
	c.agents["node-1"].Kill()
	late := c.attach("node-1", "late", network)
	c.reachEachOther(late, b)
	late.detach()
	c.agent("node-1")
	c.awaitCall("node-1", describeCall, 1)
	c.awaitReady("node-1", "storage", 1)
	pings.await(t, 20)
	after, err := os.Stat(file)
	c.must(err)
	if !os.SameFile(before, after) || before.ModTime() != after.ModTime() {
		t.Error("the file has been written again")
	}
	if now := c.hostFiles("node-1"); !slices.Equal(host, now) {
		t.Errorf("the host has\n%s\nand had\n%s", strings.Join(now, "\n"), strings.Join(host, "\n"))
	}
	if sent, lost := pings.stop(); lost > 0 {
		t.Errorf("%d of %d packets were lost", lost, sent)
	}
	a.detach()
	b.detach()
	c.Sim.Cloud().ResetCalls() // those of the start
}

// testHostDevice: one pod of a node has the link and the ENI's own address; the next one
// waits for it.
func (c *cluster) testHostDevice(t *testing.T) {
	network := network(t, "capture")
	c.awaitReady("node-1", "capture", 1)
	a, b := c.attach("node-1", "a", network), c.attach("node-2", "b", network)
	for node, p := range map[string]*pod{"node-1": a, "node-2": b} {
		e := c.eni(c.entries(node, "capture")[0].ENIID)
		if !slices.Equal(p.addresses, e.PrivateIPs) {
			t.Errorf("the pod on %s has %v, and the ENI %v", node, p.addresses, e.PrivateIPs)
		}
		c.must(p.Namespace.Do(func() error {
			l, err := netlink.LinkByName("net1")
			if err == nil && l.Attrs().HardwareAddr.String() != e.MAC {
				err = fmt.Errorf("net1 is not the ENI's link: %+v", l.Attrs())
			}
			return err
		}))
	}
	c.reachEachOther(a, b)
	c.awaitEntry("node-1", "capture", says(v1alpha1.PhaseReady, "Ready", "default/a"))
	if second, err := c.tryAttach("node-1", "second", network); err == nil || !strings.Contains(err.Error(), "is used by default/a") {
		t.Errorf("a second pod has %v, %v", second.addresses, err)
	}
	a.detach()
	c.awaitReady("node-1", "capture", 1)
	again := c.attach("node-1", "again", network)
	c.reachEachOther(again, b)
	again.detach()
	b.detach()
	for _, node := range []string{"node-1", "node-2"} {
		e := c.eni(c.awaitReady(node, "capture", 1)[0].ENIID)
		c.await("the link is back", func() string { return c.configured(node, e, false, 0) })
	}
}
