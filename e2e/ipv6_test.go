package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/vpc"
)

// dualStack gives a topology the dual-stack subnets nodes, data and storage, and the
// IPv6-only subnet only6.
func dualStack(topology *sim.Topology) {
	topology.VPC.IPv6CIDR = netip.MustParsePrefix("2001:db8::/56")
	topology.Subnets = nil
	for i, name := range []string{"nodes", "data", "storage", "only6"} {
		s := sim.Subnet{Name: name, Zone: "us-east-1a", IPv6Native: true, IPv6CIDR: netip.MustParsePrefix(fmt.Sprintf("2001:db8:0:%x::/64", i))}
		if name != "only6" {
			s.IPv6Native, s.CIDR = false, netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/24", i))
		}
		topology.Subnets = append(topology.Subnets, s)
	}
	topology.Subnets[0].AssignIPv6AddressOnCreation = true // the nodes themselves
}

// IPv6 with addressing Host and None, while the router of every subnet advertises itself
// ten times a second, invites nodes to make up addresses, and a network manager keeps
// every link up.
func TestIPv6(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, func(topology *sim.Topology) {
		dualStack(topology)
		topology.Links = vpc.Links{Names: "ens%d", First: 5, Rename: true}
		topology.RouterAdvertisements = vpc.RouterAdvertisements{Interval: "100ms", Autonomous: true}
	})
	c.await("a router advertises itself", func() string {
		if made := strings.Join(c.mainOf("node-1"), "\n"); !strings.Contains(made, "metric 1024") {
			return made
		}
		return ""
	})
	c.keepLinksUp("node-1")
	watches := []func() []string{c.watchMain("node-1"), c.watchPrimary("node-1")}
	before := c.mainOf("node-1")
	c.agent("node-1", "node-2")
	c.coordinator("coordinator-1", eager...)
	c.run("both families of a dual-stack subnet", c.testDualStack)
	c.run("the source check", c.testSourceCheck)
	c.run("the primary's own subnet", c.testPrimarySubnet)
	c.run("an MTU that IPv6 does not allow", c.testMTUWithoutIPv6)
	c.run("an IPv6-only subnet", c.testIPv6Only)
	c.run("ENIs come, change their names, flap and go", c.testPassing)
	c.run("the agent is killed while a link is awaited", c.testKilledBeforeLink)
	for _, watch := range watches {
		for _, problem := range watch() {
			t.Error(problem)
		}
	}
	after := c.mainOf("node-1")
	for _, line := range before {
		if !slices.Contains(after, line) {
			t.Errorf("main has lost: %s", line)
		}
	}
	c.run("what the kernel took before the agent started", c.testAdvertisedBefore)
}

// ipv6Spec asks for an ENI that the host itself uses.
func (c *cluster) ipv6Spec(subnet string, more ...string) string {
	return fmt.Sprintf("subnetNames: [%s]\nsecurityGroupIDs: [%s]\naddressing: Host\n%s", subnet, c.group("data"), strings.Join(more, "\n"))
}

// testDualStack: packets of both families reach an ENI from other subnets and from its
// own, and the answers leave by it; the VPC drops what leaves by another.
func (c *cluster) testDualStack(t *testing.T) {
	for _, node := range []string{"node-1", "node-2"} {
		c.want(node, node, c.ipv6Spec("data", "ipv6: {addresses: 2}", "ipv4: {secondaryAddresses: 1}"))
	}
	one, two := c.awaitOnly("node-1", "node-1"), c.awaitOnly("node-2", "node-2")
	for node, e := range map[string]cloud.Interface{"node-1": one, "node-2": two} {
		if len(e.PrivateIPs) != 2 || len(e.IPv6Addresses) != 2 || e.Attachment.DeviceIndex != 1 { // table 20001
			t.Fatalf("%s has %+v", node, e)
		}
		c.await("the link", func() string { return c.configured(node, e, true, 0) })
		c.expectCalls(c.source(node), map[string]int{createCall: 1, attachCall: 1, modifyCall: 1})
		entry := c.entries(node, node)[0]
		if got, want := fmt.Sprint(entry.Addresses, entry.SubnetIPv6CIDRs), fmt.Sprint(addressesOf(e), c.ranges(e.SubnetID)[1:]); got != want {
			t.Errorf("%s reports %s, want %s", node, got, want)
		}
	}
	server, client := c.instance("node-1"), c.instance("node-2")
	for _, at := range addressesOf(one) {
		c.serveEcho(server, at)
		for _, from := range append(addressesOf(two), client.PrivateIP, client.IPv6) {
			if from.Is4() == at.Is4() {
				c.exchange(client, from, at)
			}
		}
	}
	c.serveEcho(client, client.IPv6)
	c.exchange(server, one.IPv6Addresses[0], client.IPv6)
	c.noDrops()
}

func (c *cluster) instance(name string) sim.Node {
	c.t.Helper()
	n, err := c.Sim.Node(name)
	c.must(err)
	return n
}

// exchange sends a line from an address of a node to an echo, and back.
func (c *cluster) exchange(node sim.Node, from, to netip.Addr) {
	c.t.Helper()
	if err := node.Namespace.Do(func() error { return echo(from, to) }); err != nil {
		c.t.Errorf("from %s of %s to %s: %v", from, node.Name, to, err)
	}
}

// noDrops: the VPC has dropped nothing of our ENIs. (The nodes' primary ENIs have
// addresses that EC2 does not know.)
func (c *cluster) noDrops() {
	c.t.Helper()
	for _, e := range c.managed() {
		for _, reason := range []vpc.DropReason{vpc.DropSource, vpc.DropDestination, vpc.DropMAC} {
			if n := c.dropped(e.ID, reason); n > 0 {
				c.t.Errorf("the VPC has dropped %d packets of %s: %s", n, e.ID, reason)
			}
		}
	}
}

// dropped is the number of an ENI's packets that the VPC has dropped for a reason.
func (c *cluster) dropped(id string, reason vpc.DropReason) uint64 {
	c.t.Helper()
	drops, err := c.Sim.Network().Drops()
	c.must(err)
	for _, d := range drops {
		if d.ENI == id && d.Reason == reason {
			return d.Packets
		}
	}
	return 0
}

// testSourceCheck: a packet from an address that the ENI does not have arrives when
// sourceDestCheck is off, and not before.
func (c *cluster) testSourceCheck(t *testing.T) {
	e := c.awaitOnly("node-1", "node-1")
	other, to := netip.MustParseAddr("2001:db8:0:1::f00d"), netip.AddrPortFrom(c.instance("node-2").IPv6, 9)
	rule := netlink.NewRule()
	rule.Family, rule.Src, rule.Priority, rule.Table = unix.AF_INET6, &net.IPNet{IP: other.AsSlice(), Mask: net.CIDRMask(128, 128)}, 100, 20001
	lo, address := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: 1}}, &netlink.Addr{IPNet: rule.Src, Flags: unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE}
	c.onHost("node-1", func(h *netlink.Handle) error { return errors.Join(h.RuleAdd(rule), h.AddrAdd(lo, address)) })
	defer c.onHost("node-1", func(h *netlink.Handle) error { return errors.Join(h.RuleDel(rule), h.AddrDel(lo, address)) })
	receiver, err := c.instance("node-2").Namespace.ListenPacket(t.Context(), "udp6", to.String())
	c.must(err)
	defer receiver.Close()
	from := make(chan net.Addr, 1)
	go func() {
		if _, sender, err := receiver.ReadFrom(make([]byte, 10)); err == nil {
			from <- sender
		}
	}()
	send := func() {
		err := c.instance("node-1").Namespace.Do(func() error {
			conn, err := net.DialUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(other, 0)), net.UDPAddrFromAddrPort(to))
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.Write([]byte("x"))
			return err
		})
		c.must(err)
	}
	c.await("the VPC drops it", func() string {
		if send(); c.dropped(e.ID, vpc.DropSource) == 0 {
			return "nothing is dropped"
		}
		return ""
	})
	if len(from) > 0 {
		t.Errorf("a packet from %v arrived while the source was checked", <-from)
	}
	c.must(c.PatchNodeENI(t.Context(), "node-1", `{"spec":{"sourceDestCheck":false}}`))
	c.await("it arrives", func() string {
		if send(); len(from) == 0 {
			return "nothing has arrived"
		}
		return ""
	})
	if got := (<-from).(*net.UDPAddr).AddrPort().Addr(); got != other {
		t.Errorf("a packet arrived from %v", got)
	}
}

// testPrimarySubnet: neither the answers of an ENI beside the primary nor the node's own
// packets leave by the wrong one. The address is the subnet's default.
func (c *cluster) testPrimarySubnet(t *testing.T) {
	const node, name = "node-1", "near"
	c.want(node, name, c.ipv6Spec("nodes", "deviceIndex: 2"))
	e := c.eni(c.awaitReady(node, name, 1)[0].ENIID)
	c.await("the link", func() string { return c.configured(node, e, true, 0) })
	server, client := c.instance(node), c.instance("node-2")
	c.serveEcho(server, e.IPv6())
	c.serveEcho(client, client.IPv6)
	c.exchange(client, client.IPv6, e.IPv6())
	c.exchange(client, c.made("node-2")[0].IPv6(), e.IPv6())
	c.exchange(server, e.IPv6(), client.IPv6)
	c.exchange(server, server.IPv6, client.IPv6)
	if n := c.dropped(e.ID, vpc.DropSource); n > 0 {
		t.Errorf("the VPC has dropped %d packets", n)
	}
	c.must(c.DeleteNodeENI(t.Context(), name))
	c.awaitNodeENIGone(name)
}

// testMTUWithoutIPv6: below 1280, the kernel has no IPv6 on a link. That is reported, IPv4
// stays, and IPv6 comes back with the MTU. So does all that is deleted.
func (c *cluster) testMTUWithoutIPv6(t *testing.T) {
	const node = "node-1"
	e := c.awaitOnly(node, node)
	c.must(c.PatchNodeENI(t.Context(), node, `{"spec":{"mtu":1200}}`))
	c.awaitEntry(node, node, says(v1alpha1.PhaseFailed, "IPv6Disabled", "mtu of 1280 or more"))
	without := e
	without.IPv6Addresses = nil
	c.await("IPv4", func() string { return c.configured(node, without, true, 1200) })
	c.must(c.PatchNodeENI(t.Context(), node, `{"spec":{"mtu":9001}}`))
	c.await("both families", func() string { return c.configured(node, e, true, 9001) })
	c.awaitOnly(node, node)
	c.damage(node, e, 16) // of each family two rules for an address and two routes, at least
}

// testAdvertisedBefore: a reboot takes what the agent has made from the host, and a router
// is quicker than the agent.
func (c *cluster) testAdvertisedBefore(*testing.T) {
	const node = "node-1"
	before := c.mainOf(node)
	e := c.made(node)[slices.IndexFunc(c.made(node), func(e cloud.Interface) bool { return e.Tags[eni.TagNodeENI] == node })]
	c.agents[node].Kill()
	c.reboot(node, e)
	c.forgetTables(node) // at last, for the link is up again at once
	c.onHost(node, func(h *netlink.Handle) error {
		l, _ := c.host(node).linkOf(e.MAC)
		return h.LinkSetUp(l)
	})
	c.await("advertisements are taken", func() string {
		if got := c.mainOf(node); len(got) < len(before)+2 {
			return strings.Join(got, "\n")
		}
		return ""
	})
	c.agent(node)
	c.await("the link", func() string { return c.configured(node, e, true, 9001) })
	clean := func() string {
		if after := c.mainOf(node); !slices.Equal(after, before) {
			return fmt.Sprintf("main is\n\t%s\nand was\n\t%s", strings.Join(after, "\n\t"), strings.Join(before, "\n\t"))
		}
		return ""
	}
	c.await("main is clean", clean) // the agent removes routes after it has configured the link
	c.stays("main", time.Second, clean)
	c.forgetTables(node) // by a firewall's restart
	time.Sleep(200 * time.Millisecond)
	c.await("main is clean again", clean)
	c.stays("main", time.Second, clean)
	c.await("the link", func() string { return c.configured(node, e, true, 9001) })
}

// forgetTables deletes the tables of nftables on a node.
func (c *cluster) forgetTables(node string) {
	c.t.Helper()
	c.must(c.instance(node).Namespace.With(func(fd int) error {
		conn, err := nftables.New(nftables.WithNetNSFd(fd))
		if err != nil {
			return err
		}
		conn.FlushRuleset()
		return conn.Flush()
	}))
}

// testIPv6Only: an ENI without any IPv4, with addressing Host and None.
func (c *cluster) testIPv6Only(t *testing.T) {
	const node, name = "node-1", "native"
	c.want(node, name, c.ipv6Spec("only6", "deviceIndex: 2"))
	e := c.eni(c.awaitReady(node, name, 1)[0].ENIID)
	if len(e.PrivateIPs) != 0 || len(e.IPv6Addresses) != 1 {
		t.Fatalf("EC2 has %+v", e)
	}
	configured := func(host bool) func() string { return func() string { return c.configured(node, e, host, 0) } }
	c.await("the link", configured(true))
	c.serveEcho(c.instance(node), e.IPv6())
	client := c.instance("node-2")
	c.exchange(client, client.IPv6, e.IPv6())
	c.Sim.Cloud().ResetCalls()
	for _, addressing := range []string{"None", "Host"} {
		c.must(c.PatchNodeENI(t.Context(), name, fmt.Sprintf(`{"spec":{"addressing":%q}}`, addressing)))
		c.await("addressing "+addressing, configured(addressing == "Host"))
	}
	c.exchange(client, client.IPv6, e.IPv6())
	if calls := c.calls(c.source(node)); len(calls) > 0 {
		t.Errorf("EC2 was called for what concerns the host alone: %+v", calls)
	}
	if n := c.dropped(e.ID, vpc.DropSource); n > 0 {
		t.Errorf("the VPC has dropped %d packets", n)
	}
	c.must(c.DeleteNodeENI(t.Context(), name))
	c.awaitNodeENIGone(name)
}

// flap takes the link of an ENI down and sets it up again, some times.
func (c *cluster) flap(node string, e cloud.Interface) {
	c.t.Helper()
	for range 3 {
		c.onHost(node, func(h *netlink.Handle) error {
			l, ok := c.host(node).linkOf(e.MAC)
			if !ok {
				return fmt.Errorf("%s has no link", e.ID)
			}
			if err := h.LinkSetDown(l); err != nil {
				return err
			}
			return h.LinkSetUp(l)
		})
		time.Sleep(150 * time.Millisecond) // an advertisement
	}
}

// testPassing: what a link goes through, with every kind of subnet and of addressing.
func (c *cluster) testPassing(t *testing.T) {
	const node = "node-1"
	for _, subnet := range []string{"storage", "only6"} {
		name, host := "passing-"+subnet, subnet == "only6"
		spec := c.ipv6Spec(subnet, "deviceIndex: 2", "interfaceName: first")
		if !host {
			spec = strings.Replace(spec, "Host", "None", 1)
		}
		c.want(node, name, spec)
		e := c.eni(c.awaitReady(node, name, 1)[0].ENIID)
		c.flap(node, e)
		c.must(c.PatchNodeENI(t.Context(), name, `{"spec":{"interfaceName":"second"}}`))
		c.awaitEntry(node, name, func(entry v1alpha1.ENIState) string {
			if entry.InterfaceName != "second" || entry.Phase != v1alpha1.PhaseReady {
				return "want it Ready as second"
			}
			return ""
		})
		c.flap(node, e)
		c.await("the link", func() string { return c.configured(node, e, host, 0) })
		c.must(c.DeleteNodeENI(t.Context(), name))
		c.awaitNodeENIGone(name)
	}
}

// testKilledBeforeLink: the link comes, and is set up, while the node has no agent.
func (c *cluster) testKilledBeforeLink(t *testing.T) {
	const node, name = "node-1", "orphaned"
	c.timing(func(timing *cloud.Timing) { timing.PlugDelay = 500 * time.Millisecond })
	c.fault(node, cloud.Fault{Action: attachCall, After: true, Hang: true, Count: 1})
	attached := len(c.calls(c.source(node), attachCall))
	c.want(node, name, c.ipv6Spec("storage", "deviceIndex: 2", "ipv6: {addresses: 1}"))
	c.awaitCall(node, attachCall, attached+1)
	c.agents[node].Kill()
	e := c.made(node)[slices.IndexFunc(c.made(node), func(e cloud.Interface) bool { return e.SubnetID == c.subnet("storage", node) })]
	c.await("the link is up", func() string {
		if l, ok := c.host(node).linkOf(e.MAC); !ok || l.Attrs().RawFlags&unix.IFF_UP == 0 {
			return "it is not"
		}
		return ""
	})
	time.Sleep(500 * time.Millisecond) // some advertisements
	if got := c.host(node).routing(e); len(got) > 0 {
		t.Errorf("the kernel has made of advertisements\n\t%s", strings.Join(got, "\n\t"))
	}
	c.agent(node)
	c.awaitReady(node, name, 1)
	c.await("the link", func() string { return c.configured(node, e, true, 0) })
}
