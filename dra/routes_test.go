package dra

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// The tables and priorities of rules in a pod.
const (
	sharedTable = 20000
	firstTable  = 20000 // plus the index of the link
	ruleFromENI = 20000
	ruleShared  = 20002
)

func prefix(text string) *net.IPNet {
	_, p, err := net.ParseCIDR(text)
	if err != nil {
		panic(err)
	}
	return p
}

// TestPod: a pod with a claim carries packets by the ENI, of both families, and the link
// comes back.
func TestPod(t *testing.T) {
	n := newNode(t)
	claim := offered("c1", 0, "p1")
	claim.Devices[0].Parameters.RouteVPC = true
	n.offer(claim)
	n.must(n.prepare("c1"))
	pod, ns := n.sandbox("s1", "p1")
	n.must(ns.Do(func() error { // an attempt with another index of the link has left it
		rule := netlink.NewRule()
		rule.Src, rule.Table, rule.Priority = prefix("10.0.0.5/32"), 5, ruleFromENI
		return netlink.RuleAdd(rule)
	}))
	n.must(n.startPod(pod))
	n.expect(ns, 0, "eni0")
	n.expect(n.host, 0, "")
	if got := n.attachment("c1"); got != "s1" {
		t.Errorf("the agent learns that %q has the link", got)
	}
	n.inspect(ns)
	for address, source := range map[string]string{
		"10.0.0.1": "10.0.0.5", "2001:db8::1": "2001:db8::5", // the subnet
		"10.0.1.1": "10.0.0.5", // the VPC, by the router
	} {
		n.exchange(ns, address, source)
	}
	n.repliesLeaveByTheENI(ns)
	n.stopPod("s1")
	n.expect(n.host, 0, "ens6")
	if got := n.attachment("c1"); got != "" {
		t.Errorf("after the end of the pod, the agent learns that %q has the link", got)
	}
	n.must(n.unprepare(ref("c1")))
	n.must(n.unprepare(ref("c1")))
	if got := n.attachment("c1"); got != "-" {
		t.Errorf("after the end of the claim, the agent learns that %q has the link", got)
	}
}

// repliesLeaveByTheENI: packets from the ENI's addresses leave by it, wherever they go, by
// one rule for each.
func (n *node) repliesLeaveByTheENI(ns *netns.Namespace) {
	n.Helper()
	n.must(ns.Do(func() error {
		link, err := netlink.LinkByName("eni0")
		if err != nil {
			return err
		}
		for source, target := range map[string]string{"10.0.0.5": "203.0.113.7", "2001:db8::5": "2001:db8:ffff::7"} {
			routes, err := netlink.RouteGetWithOptions(net.ParseIP(target), &netlink.RouteGetOptions{SrcAddr: net.ParseIP(source)})
			if err != nil || len(routes) != 1 || routes[0].LinkIndex != link.Attrs().Index {
				n.Errorf("packets from %s to %s leave by %v, %v", source, target, routes, err)
			}
			if _, err := netlink.RouteGet(net.ParseIP(target)); err == nil {
				n.Errorf("the pod's own packets to %s have a route", target)
			}
		}
		rules, err := netlink.RuleListFiltered(netlink.FAMILY_ALL, &netlink.Rule{Priority: ruleFromENI}, netlink.RT_FILTER_PRIORITY)
		if err != nil || len(rules) != 2 {
			n.Errorf("there are the rules %v, %v", rules, err)
		}
		return nil
	}))
}

// inspect checks the link and the routing tables of the pod.
func (n *node) inspect(ns *netns.Namespace) {
	n.Helper()
	n.must(ns.Do(func() error {
		link, err := netlink.LinkByName("eni0")
		if err != nil {
			return err
		}
		if link.Attrs().MTU != 1400 {
			n.Errorf("the MTU is %d", link.Attrs().MTU)
		}
		sysctl, err := os.ReadFile("/proc/sys/net/ipv6/conf/eni0/accept_ra")
		if err != nil || strings.TrimSpace(string(sysctl)) != "0" {
			n.Errorf("accept_ra is %q, %v", sysctl, err)
		}
		byENI := []string{
			"10.0.0.0/24", "10.0.0.0/16 via 10.0.0.1", "10.0.9.0/24 via 10.0.0.1",
			"2001:db8::/64", "2001:db8:0:9::/64 via fe80:ec2::1",
		}
		for table, want := range map[int][]string{
			unix.RT_TABLE_MAIN:              {"fe80::/64"},
			sharedTable:                     byENI,
			firstTable + link.Attrs().Index: append([]string{"0.0.0.0/0 via 10.0.0.1", "::/0 via fe80:ec2::1"}, byENI...),
		} {
			routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: table, LinkIndex: link.Attrs().Index},
				netlink.RT_FILTER_TABLE|netlink.RT_FILTER_OIF)
			if err != nil {
				return err
			}
			var got []string
			for _, r := range routes {
				text := r.Dst.String()
				if r.Gw != nil {
					text += " via " + r.Gw.String()
				}
				if !r.Dst.IP.IsMulticast() {
					got = append(got, text)
				}
			}
			slices.Sort(got)
			if want = slices.Sorted(slices.Values(want)); !slices.Equal(slices.Compact(got), want) {
				n.Errorf("table %d has %q, want %q", table, got, want)
			}
		}
		return nil
	}))
}

// exchange has the pod and the VPC exchange bytes. It retries while the first packets get
// lost to neighbor discovery on a busy machine.
func (n *node) exchange(ns *netns.Namespace, address, source string) {
	n.Helper()
	listener, err := n.vpc.Listen(n.Context(), "tcp", net.JoinHostPort(address, "0"))
	n.must(err)
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
			fmt.Fprint(conn, host)
			_ = conn.Close()
		}
	}()
	n.must(ns.Do(func() error {
		conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(n.Context(), "tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		defer conn.Close()
		buffer := make([]byte, 64)
		got, _ := conn.Read(buffer)
		if seen, err := netip.ParseAddr(string(buffer[:got])); err != nil || seen != netip.MustParseAddr(source) {
			n.Errorf("%s sees the address %q, want %s", address, buffer[:got], source)
		}
		return nil
	}))
}

// connectToNode gives a pod's sandbox the first interface as the VPC CNI does, and the
// node an address that the pod reaches by it.
func (n *node) connectToNode(ns *netns.Namespace, pod, node string) {
	n.Helper()
	add := func(link, address string, up ...string) error {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
		for _, dst := range up {
			if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: prefix(dst), Scope: netlink.SCOPE_LINK}); err != nil {
				return err
			}
		}
		return nil
	}
	n.must(ns.Do(func() error {
		peer, err := netlink.LinkByName("peer")
		if err != nil {
			return err
		}
		return n.host.With(func(fd int) error { return netlink.LinkSetNsFd(peer, fd) })
	}))
	n.must(n.host.Do(func() error {
		peer, err := netlink.LinkByName("peer")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(peer); err != nil {
			return err
		}
		return add("peer", node+"/32", pod+"/32")
	}))
	n.must(ns.Do(func() error { return add("eth0", pod+"/32", "0.0.0.0/0") }))
}

// TestProbes: the kubelet reaches the pod's first address although the ENI has a route to
// the node, and the pod reaches by the ENI whatever else is in the VPC.
func TestProbes(t *testing.T) {
	n := newNode(t)
	claim := offered("c1", 0, "p1")
	claim.Devices[0].Parameters.RouteVPC = true
	claim.Devices[0].Parameters.Routes = []claimnetwork.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0")}}
	n.offer(claim)
	n.must(n.prepare("c1"))
	pod, ns := n.sandbox("s1", "p1")
	n.connectToNode(ns, "10.0.7.7", "10.0.0.200") // the node is in the ENI's subnet
	n.must(n.startPod(pod))
	listener, err := ns.Listen(t.Context(), "tcp", "10.0.7.7:0")
	n.must(err)
	defer listener.Close()
	n.must(n.host.Do(func() error {
		probe, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", listener.Addr().String())
		if err == nil {
			err = probe.Close()
		}
		return err
	}))
	for _, address := range []string{"10.0.0.1", "10.0.1.1"} {
		n.exchange(ns, address, "10.0.0.5")
	}
	n.stopPod("s1")
	n.must(ns.Do(func() error {
		if routes, err := netlink.RouteGet(net.ParseIP("203.0.113.7")); err != nil || len(routes) != 1 {
			t.Errorf("without the ENI, the pod's default route is %v, %v", routes, err)
		}
		return nil
	}))
}

// TestAllAddresses: the pod has the ENI's secondary addresses, and can assign those of its
// prefixes. Packets from all of them leave by the ENI.
func TestAllAddresses(t *testing.T) {
	n := newNode(t)
	claim := offered("c1", 0, "p1")
	claim.Devices[0].ENI.Ranges = []netip.Prefix{
		netip.MustParsePrefix("10.0.0.9/32"), netip.MustParsePrefix("10.0.0.32/28"),
		netip.MustParsePrefix("2001:db8::9/128"), netip.MustParsePrefix("2001:db8:0:0:1::/80"),
	}
	n.offer(claim)
	n.must(n.prepare("c1"))
	pod, ns := n.sandbox("s1", "p1")
	n.must(n.startPod(pod))
	n.must(ns.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		for _, address := range []string{"10.0.0.40/32", "2001:db8:0:0:1::7/128"} {
			a, err := netlink.ParseAddr(address)
			if err != nil {
				return err
			}
			if strings.Contains(address, ":") {
				a.Flags = unix.IFA_F_NODAD
			}
			if err := netlink.AddrAdd(lo, a); err != nil {
				return err
			}
		}
		return nil
	}))
	n.must(n.vpc.Do(func() error { // EC2 delivers the prefixes to the ENI
		for block, via := range map[string]string{"10.0.0.32/28": "10.0.0.5", "2001:db8:0:0:1::/80": "2001:db8::5"} {
			if err := netlink.RouteAdd(&netlink.Route{Dst: prefix(block), Gw: net.ParseIP(via)}); err != nil {
				return err
			}
		}
		return nil
	}))
	for _, address := range []string{"10.0.0.5", "10.0.0.9", "10.0.0.40", "2001:db8::5", "2001:db8::9", "2001:db8:0:0:1::7"} {
		listener, err := ns.Listen(t.Context(), "tcp", net.JoinHostPort(address, "0"))
		n.must(err)
		n.must(n.vpc.Do(func() error { // from behind the router
			local := "10.0.1.1"
			if strings.Contains(address, ":") {
				local = "2001:db8:0:1::1"
			}
			dialer := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
			conn, err := dialer.DialContext(t.Context(), "tcp", listener.Addr().String())
			if err == nil {
				err = conn.Close()
			}
			return err
		}))
		n.must(listener.Close())
	}
	// The pod sends from the ENI's own addresses.
	n.exchange(ns, "10.0.0.1", "10.0.0.5")
	n.exchange(ns, "2001:db8::1", "2001:db8::5")
}

// TestGateway: a route of the parameters goes by its gateway, also for packets that
// already have the ENI's address, and replaces one that the driver would add.
func TestGateway(t *testing.T) {
	n := newNode(t)
	claim := offered("c1", 0, "p1")
	claim.Devices[0].Parameters.Routes = []claimnetwork.Route{
		{Dst: netip.MustParsePrefix("10.0.9.0/24"), GW: netip.MustParseAddr("10.0.0.77")},
		{Dst: netip.MustParsePrefix("2001:db8:5::/48"), GW: netip.MustParseAddr("2001:db8::77")},
	}
	n.offer(claim)
	n.must(n.prepare("c1"))
	pod, ns := n.sandbox("s1", "p1")
	n.must(n.startPod(pod))
	n.must(ns.Do(func() error {
		for _, r := range []struct{ dst, src, gateway string }{
			{"10.0.9.9", "", "10.0.0.77"},
			{"10.0.9.9", "10.0.0.5", "10.0.0.77"},
			{"2001:db8:5::9", "", "2001:db8::77"},
			{"2001:db8:5::9", "2001:db8::5", "2001:db8::77"},
			{"203.0.113.7", "10.0.0.5", "10.0.0.1"},
		} {
			routes, err := netlink.RouteGetWithOptions(net.ParseIP(r.dst), &netlink.RouteGetOptions{SrcAddr: net.ParseIP(r.src)})
			if err != nil || len(routes) != 1 || !routes[0].Gw.Equal(net.ParseIP(r.gateway)) {
				t.Errorf("from %q to %s leads %v, %v; want the gateway %s", r.src, r.dst, routes, err, r.gateway)
			}
		}
		return nil
	}))
}

// TestIPv6Only: the ENI of an IPv6-only subnet, in a pod whose runtime has switched IPv6 off.
func TestIPv6Only(t *testing.T) {
	n := newNode(t)
	claim := offered("c1", 0, "p1")
	e := &claim.Devices[0].ENI
	e.Addresses, e.Subnets, e.Gateways, e.OtherSubnets, e.VPC = e.Addresses[1:], e.Subnets[1:], e.Gateways[1:], nil, nil
	n.offer(claim)
	n.must(n.prepare("c1"))
	pod, ns := n.sandbox("s1", "p1")
	n.must(ns.Do(func() error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	}))
	n.must(n.startPod(pod))
	n.exchange(ns, "2001:db8::1", "2001:db8::5")
	n.must(ns.Do(func() error {
		rules, err := netlink.RuleListFiltered(netlink.FAMILY_V4, &netlink.Rule{Priority: ruleShared}, netlink.RT_FILTER_PRIORITY)
		if err != nil || len(rules) > 0 {
			t.Errorf("IPv4 has the rules %v, %v", rules, err)
		}
		return nil
	}))
}
