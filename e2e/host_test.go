package e2e

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/metadata"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/vpc"
)

// What happens on a node besides EC2's doings: scenarios 15 to 22. Links appear
// as eth2 and are renamed to ens7 a moment later, as udev does.
func TestHost(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, func(topology *sim.Topology) {
		topology.Links = vpc.Links{Names: "ens%d", First: 5, Rename: true}
	})
	nodes := []string{"node-1", "node-2", "node-3"}
	c.agent(nodes...)
	c.coordinator("coordinator-1", eager...)
	primary := c.watchPrimary("node-1")
	c.run("21 replies leave by the ENI that was asked", c.testReplies)
	c.run("19 what is deleted comes back", c.testGuardian)
	c.run("17 links with the ENI's MAC", c.testSharedMAC)
	c.run("20 reboot", c.testReboot)
	c.run("20 reboot while EC2 does not tell", c.testRebootWithoutEC2)
	c.run("16 renamed", c.testRename)
	c.run("22 MTU", c.testMTU)
	c.run("15 the link before the answer", c.testEarlyLink)
	c.run("15 the link late", c.testLateLink)
	c.run("18 IMDS fails and lags", c.testMetadata)
	for _, problem := range primary() {
		t.Error(problem)
	}
	drops, err := c.Sim.Network().Drops()
	c.must(err)
	if len(drops) > 0 {
		t.Errorf("the VPC has dropped what no ENI may send or get: %+v", drops)
	}
}

// hostSpec is what node-1 has throughout: the second ENI wants index 2.
func (c *cluster) hostSpec() string {
	return fmt.Sprintf("subnetNames: [data]\nsecurityGroupIDs: [%s]\ndeviceIndex: 2\nmtu: 9001\naddressing: Host", c.group("data"))
}

// awaitConfigured waits until the ENI is on the node as it must be.
func (c *cluster) awaitConfigured(node string, e cloud.Interface) {
	c.t.Helper()
	c.await(e.ID+" is configured on "+node, func() string { return c.configured(node, e, true, 9001) })
}

// watchPrimary looks again and again by which link the node's own traffic would
// leave: to EC2 and the API server, to its primary's subnet, to other subnets.
func (c *cluster) watchPrimary(node string) (stop func() []string) {
	n, err := c.Sim.Node(node)
	c.must(err)
	h, err := n.Namespace.Netlink()
	c.must(err)
	primary := slices.IndexFunc(c.host(node).links, func(l netlink.Link) bool { return l.Attrs().HardwareAddr.String() == n.MAC })
	index := c.host(node).links[primary].Attrs().Index
	var to []net.IP
	for _, s := range c.Sim.Services() {
		to = append(to, s.Address.Addr().AsSlice())
	}
	for _, s := range c.Sim.Topology().Subnets {
		for _, subnet := range c.ranges(s.ID) {
			to = append(to, subnet.Addr().Next().Next().Next().AsSlice())
		}
	}
	isPrimary := func(ip net.IP) bool {
		// Beside the IPv6 address that EC2 gave, there may be one that the node made up.
		a, _ := netip.AddrFromSlice(ip)
		return ip.Equal(n.PrivateIP.AsSlice()) || a.Is6() && slices.ContainsFunc(c.ranges(n.SubnetID), func(p netip.Prefix) bool { return p.Contains(a) })
	}
	done := make(chan struct{})
	var watching sync.WaitGroup
	var problems []string
	watching.Go(func() {
		defer h.Close()
		for {
			for _, ip := range to {
				routes, err := h.RouteGet(ip)
				wrong := err != nil || len(routes) != 1 || routes[0].LinkIndex != index || !isPrimary(routes[0].Src)
				if wrong && len(problems) < 3 {
					problems = append(problems, fmt.Sprintf("%s what %s sends to %v takes %+v, %v", time.Now().Format("05.000"), node, ip, routes, err))
				}
			}
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	return func() []string {
		close(done)
		watching.Wait()
		return problems
	}
}

// testReplies: a server on node-1 that listens on a secondary ENI's address is
// asked from the same subnet, from another subnet and zone, and from the subnet
// of node-1's own primary ENI. The VPC drops what leaves by the wrong ENI.
func (c *cluster) testReplies(t *testing.T) {
	for _, node := range []string{"node-1", "node-2", "node-3"} {
		c.want(node, node, c.hostSpec())
	}
	server, err := c.Sim.Node("node-1")
	c.must(err)
	at := c.awaitOnly("node-1", "node-1").PrivateIPs[0]
	c.serveEcho(server, at)
	for _, from := range []string{"node-2", "node-3"} {
		node, err := c.Sim.Node(from)
		c.must(err)
		e := c.awaitOnly(from, from)
		for what, source := range map[string]netip.Addr{"primary": node.PrivateIP, "secondary": e.PrivateIPs[0]} {
			err := node.Namespace.Do(func() error { return echo(source, at) })
			if err != nil {
				t.Errorf("from the %s ENI of %s (%s): %v", what, from, source, err)
			}
		}
	}
}

// serveEcho sends back what comes to an address of a node, until the test has ended or
// the listener is closed.
func (c *cluster) serveEcho(node sim.Node, at netip.Addr) net.Listener {
	c.t.Helper()
	listener, err := node.Namespace.Listen(c.t.Context(), "tcp", netip.AddrPortFrom(at, 7).String())
	c.must(err)
	c.t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return listener
}

// echo sends a line from an address of the calling thread's namespace and
// expects it back.
func echo(from, to netip.Addr) error {
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Timeout: 10 * time.Second}
	conn, err := dialer.Dial("tcp", netip.AddrPortFrom(to, 7).String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	line := []byte(strings.Repeat("x", 100))
	if _, err := conn.Write(line); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, line)
	return err
}

// testReboot: a node that reboots has its links back as the driver makes them.
// The agent gives them their configuration again and changes nothing in EC2.
func (c *cluster) testReboot(t *testing.T) {
	e := c.awaitOnly("node-1", "node-1")
	c.agents["node-1"].Kill()
	c.reboot("node-1", e)
	c.Sim.Cloud().ResetCalls()
	c.agent("node-1")
	c.awaitConfigured("node-1", e)
	same(t, c.awaitOnly("node-1", "node-1").ID, e.ID)
	c.expectCalls(c.source("node-1"), nil)
}

// testRebootWithoutEC2: the node's last report tells what a link must be, when EC2
// does not.
func (c *cluster) testRebootWithoutEC2(t *testing.T) {
	e := c.awaitOnly("node-1", "node-1")
	for _, refused := range [][]string{{describeCall}, {"DescribeSubnets", "DescribeSecurityGroups"}} {
		c.agents["node-1"].Kill()
		c.reboot("node-1", e)
		for _, action := range refused {
			c.fault("node-1", cloud.Fault{Action: action, Code: "UnauthorizedOperation"})
		}
		c.agent("node-1")
		c.awaitConfigured("node-1", e)
		c.Sim.Cloud().ClearFaults()
	}
	c.restart("node-1")
	same(t, c.awaitOnly("node-1", "node-1").ID, e.ID)
}

// reboot takes from a node's host what a reboot takes of the ENI.
func (c *cluster) reboot(node string, e cloud.Interface) {
	c.t.Helper()
	c.onHost(node, func(h *netlink.Handle) error {
		l, _ := c.host(node).linkOf(e.MAC)
		for _, r := range c.host(node).rules {
			if inBand(r.Priority) {
				if err := h.RuleDel(&r); err != nil {
					return err
				}
			}
		}
		addresses, err := h.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, a := range slices.Backward(addresses) { // with the first of IPv4, its others would go, too
			if err := h.AddrDel(l, &a); err != nil {
				return err
			}
		}
		if err := h.LinkSetDown(l); err != nil {
			return err
		}
		return h.LinkSetMTU(l, 1500)
	})
	if left := c.host(node).routing(e); len(left) > 0 {
		c.t.Fatalf("this is no reboot, there is still\n%s", strings.Join(left, "\n"))
	}
}

// testRename: udev and the agent both rename the link; the name that the
// NodeENI asks for wins, also when the link is renamed by hand later.
func (c *cluster) testRename(*testing.T) {
	c.want("node-1", "named", strings.Replace(c.hostSpec(), "[data]", "[storage]", 1)+"\ninterfaceName: fast")
	e := c.eni(c.awaitReady("node-1", "named", 1)[0].ENIID)
	named := func() string {
		l, ok := c.host("node-1").linkOf(e.MAC)
		if !ok || l.Attrs().Name != "fast" {
			return "it is not"
		}
		return c.configured("node-1", e, true, 9001)
	}
	c.await("the link is named fast", named)
	c.stays("udev does not win", 200*time.Millisecond, named) // it renames after 100 ms
	c.onHost("node-1", func(h *netlink.Handle) error {
		l, _ := c.host("node-1").linkOf(e.MAC)
		return h.LinkSetName(l, "slow")
	})
	c.await("the link is named fast again", named)
	c.awaitEntry("node-1", "named", func(entry v1alpha1.ENIState) string {
		if entry.InterfaceName != "fast" {
			return "it reports another name"
		}
		return ""
	})
	// Two ENIs of ours change names.
	c.want("node-1", "other", strings.Replace(c.hostSpec(), "[data]", "[nodes]", 1)+"\ninterfaceName: calm")
	c.awaitReady("node-1", "other", 1)
	c.must(c.PatchNodeENI(c.t.Context(), "named", `{"spec":{"interfaceName":"calm"}}`))
	c.must(c.PatchNodeENI(c.t.Context(), "other", `{"spec":{"interfaceName":"fast"}}`))
	for name, link := range map[string]string{"named": "calm", "other": "fast"} {
		c.awaitEntry("node-1", name, func(entry v1alpha1.ENIState) string {
			if entry.InterfaceName != link || entry.Phase != v1alpha1.PhaseReady {
				return "want it Ready as " + link
			}
			return c.configured("node-1", c.eni(entry.ENIID), true, 9001)
		})
	}
	c.must(c.DeleteNodeENI(c.t.Context(), "other"))
	c.awaitNodeENIGone("other")
	// A name that another link has is reported; the rest works all the same.
	c.must(c.PatchNodeENI(c.t.Context(), "named", `{"spec":{"interfaceName":"ens5"}}`))
	c.awaitEntry("node-1", "named", says(v1alpha1.PhaseFailed, "InterfaceNameTaken", "ens5"))
	c.awaitConfigured("node-1", e)
	c.must(c.PatchNodeENI(c.t.Context(), "named", `{"spec":{"interfaceName":""}}`))
	c.awaitReady("node-1", "named", 1)
}

// testMTU: what the link can do is set, also on a living NodeENI. (A veth takes
// any MTU that the schema allows; that a link refuses one is tested in hostnet.)
func (c *cluster) testMTU(*testing.T) {
	e := c.eni(c.awaitReady("node-1", "named", 1)[0].ENIID)
	for _, mtu := range []int32{576, 9216} {
		c.must(c.PatchNodeENI(c.t.Context(), "named", fmt.Sprintf(`{"spec":{"mtu":%d}}`, mtu)))
		c.await("the MTU is set", func() string { return c.configured("node-1", e, true, mtu) })
		c.awaitEntry("node-1", "named", func(entry v1alpha1.ENIState) string {
			if entry.MTU != mtu || entry.Phase != v1alpha1.PhaseReady {
				return "it reports another MTU"
			}
			return ""
		})
	}
	c.must(c.DeleteNodeENI(c.t.Context(), "named"))
	c.awaitNodeENIGone("named")
	if left := c.released("node-1", e); left != "" {
		c.t.Error(left)
	}
}

// testEarlyLink: the link is there and configured while EC2 has not answered the
// attach yet.
func (c *cluster) testEarlyLink(t *testing.T) {
	c.fault("node-1", cloud.Fault{Action: attachCall, Count: 1, After: true, Hang: true})
	c.want("node-1", "early", strings.Replace(c.hostSpec(), "[data]", "[storage]", 1))
	c.await("the link is configured", func() string {
		for _, e := range c.made("node-1") {
			if e.Attachment != nil && e.SubnetID == c.subnet("storage", "node-1") {
				return c.configured("node-1", e, true, 9001)
			}
		}
		return "no ENI is attached"
	})
	calls := c.calls(c.source("node-1"), attachCall)
	if last := calls[len(calls)-1]; !last.Pending {
		t.Errorf("EC2 has answered: %+v", last)
	}
	c.Sim.Cloud().ClearFaults() // the answer is lost
	c.awaitReady("node-1", "early", 1)
	c.must(c.DeleteNodeENI(t.Context(), "early"))
	c.awaitNodeENIGone("early")
}

// testLateLink: a link that takes its time is waited for without asking EC2.
func (c *cluster) testLateLink(t *testing.T) {
	c.timing(func(timing *cloud.Timing) { timing.PlugDelay = 3 * time.Second })
	c.want("node-1", "late", strings.Replace(c.hostSpec(), "[data]", "[storage]", 1))
	entry := c.awaitEntry("node-1", "late", says(v1alpha1.PhaseConfiguring, "LinkMissing", "no link with MAC"))
	c.Sim.Cloud().ResetCalls()
	c.awaitReady("node-1", "late", 1)
	c.awaitConfigured("node-1", c.eni(entry.ENIID))
	if calls := c.calls(c.source("node-1")); len(calls) > 0 {
		t.Errorf("EC2 was asked while a link was awaited: %+v", calls)
	}
	c.must(c.DeleteNodeENI(t.Context(), "late"))
	c.awaitNodeENIGone("late")
}

// testMetadata: what IMDS tells of interfaces is a hint; without it, and while
// it lags, ENIs come all the same.
func (c *cluster) testMetadata(*testing.T) {
	node, err := c.Sim.Node("node-1")
	c.must(err)
	c.timing(func(timing *cloud.Timing) { timing.IMDSLag = 2 * time.Second })
	old := "/latest/meta-data/network/interfaces/macs/" + c.awaitOnly("node-1", "node-1").MAC
	for name, fault := range map[string]metadata.Fault{
		"lags":        {Path: "/latest/meta-data/none", Status: 404},
		"not-found":   {Path: old, Status: 404},
		"unavailable": {Path: old, Status: 503},
	} {
		c.must(node.IMDS.Inject(fault))
		c.want("node-1", name, strings.Replace(c.hostSpec(), "[data]", "[storage]", 1))
		e := c.eni(c.awaitReady("node-1", name, 1)[0].ENIID)
		// The next agent describes while the ENI's metadata is half there.
		c.restart("node-1")
		c.awaitConfigured("node-1", e)
		same(c.t, c.awaitReady("node-1", name, 1)[0].ENIID, e.ID)
		node.IMDS.ClearFaults()
		c.must(c.DeleteNodeENI(c.t.Context(), name))
		c.awaitNodeENIGone(name)
	}
}
