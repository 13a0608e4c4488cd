package vpc

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// addPod makes a pod behind the link eth1 of a node, which forwards for it and has no
// address of its own on that link: the pod's addresses are /32 and /128, as those of a pod
// that the plugin ptp has attached.
func addPod(t *testing.T, node *netns.Namespace, addresses ...string) *netns.Namespace {
	t.Helper()
	pod, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pod.Close() })
	err = node.Do(func() error { return becomeRouter([]string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"}) })
	if err != nil {
		t.Fatal(err)
	}
	veth := &netlink.Veth{PeerName: "net1", LinkAttrs: netlink.LinkAttrs{
		Name: "pod0", TxQLen: -1, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1},
	}}
	inside(t, node, func(rtnl *netlink.Handle) error {
		eth1, err := rtnl.LinkByName("eth1")
		if err != nil {
			return err
		}
		err = pod.With(func(fd int) error {
			veth.PeerNamespace = netlink.NsFd(fd)
			return errors.Join(rtnl.LinkSetUp(eth1), rtnl.LinkAdd(veth), rtnl.LinkSetUp(veth))
		})
		for _, a := range addresses {
			own := ipNet(netip.PrefixFrom(netip.MustParseAddr(a), netip.MustParseAddr(a).BitLen()))
			rule := netlink.NewRule()
			rule.Src, rule.Table, rule.Priority = own, 20001, 20001
			via := &netlink.Route{LinkIndex: eth1.Attrs().Index, Table: 20001, Gw: gateway6.AsSlice(), Flags: unix.RTNH_F_ONLINK}
			if own.IP.To4() != nil {
				via.Gw = netip.PrefixFrom(netip.MustParseAddr(a), 24).Masked().Addr().Next().AsSlice()
			}
			err = errors.Join(err, rtnl.RouteAdd(&netlink.Route{LinkIndex: veth.Index, Dst: own, Scope: netlink.SCOPE_LINK}),
				rtnl.RouteReplace(via), rtnl.RuleAdd(rule))
		}
		return err
	})
	inside(t, pod, func(rtnl *netlink.Handle) error {
		net1, err := rtnl.LinkByName("net1")
		if err != nil {
			return err
		}
		err = rtnl.LinkSetUp(net1)
		for _, a := range addresses {
			own := ipNet(netip.PrefixFrom(netip.MustParseAddr(a), netip.MustParseAddr(a).BitLen()))
			err = errors.Join(err, rtnl.AddrAdd(net1, &netlink.Addr{IPNet: own, Flags: unix.IFA_F_NODAD}))
		}
		// What the host's end of the veth pair answers for, whatever the address.
		host := func(gateway, all string) error {
			gw := netip.MustParseAddr(gateway)
			return errors.Join(
				rtnl.NeighSet(&netlink.Neigh{LinkIndex: net1.Attrs().Index, IP: gw.AsSlice(), HardwareAddr: veth.HardwareAddr, State: netlink.NUD_PERMANENT}),
				rtnl.RouteAdd(&netlink.Route{LinkIndex: net1.Attrs().Index, Dst: ipNet(netip.MustParsePrefix(all)), Gw: gw.AsSlice(), Flags: unix.RTNH_F_ONLINK}))
		}
		return errors.Join(err, host("169.254.1.1", "0.0.0.0/0"), host("fe80::1", "::/0"))
	})
	return pod
}

// Pods of two nodes in two subnets, and of two nodes in one, reach each other by addresses
// of their ENIs' prefixes, which are on no link of the nodes: the VPC answers for them.
// What the nodes' ENIs ask for by ARP comes with the primary ENI's address as the sender.
func TestPods(t *testing.T) {
	n := newDualStack(t, RouterAdvertisements{})
	pods := map[string]*netns.Namespace{}
	for _, p := range []struct{ node, primary, primary6, eni, prefix, prefix6, pod, pod6 string }{
		{"i-1", "10.0.1.10", "2001:db8:0:1::10", "10.0.1.11", "10.0.1.32/28", "2001:db8:0:1:1::/80", "10.0.1.47", "2001:db8:0:1:1::7"},
		{"i-2", "10.0.1.20", "2001:db8:0:1::20", "10.0.1.21", "10.0.1.64/28", "2001:db8:0:1:2::/80", "10.0.1.64", "2001:db8:0:1:2::7"},
		{"i-3", "10.0.2.30", "2001:db8:0:2::30", "10.0.2.31", "10.0.2.32/28", "2001:db8:0:2:3::/80", "10.0.2.40", "2001:db8:0:2:3::7"},
	} {
		node := addDualStackNode(t, n, p.node, p.primary, p.primary6)
		e := eni(p.eni, 1)
		e.IPv4Prefixes, e.IPv6Prefixes = []netip.Prefix{netip.MustParsePrefix(p.prefix)}, []netip.Prefix{netip.MustParsePrefix(p.prefix6)}
		plug(t, n, p.node, e)
		pod := addPod(t, node, p.pod, p.pod6)
		for _, a := range []string{p.pod, p.pod6} {
			echo(t, pod, a)
			pods[a] = pod
		}
	}
	for _, family := range [][]string{{"10.0.1.47", "10.0.1.64", "10.0.2.40"}, {"2001:db8:0:1:1::7", "2001:db8:0:1:2::7", "2001:db8:0:2:3::7"}} {
		for _, from := range family {
			for _, to := range family {
				if err := ping(pods[from], from, to, 1000, patience); err != nil {
					t.Error(err)
				}
			}
		}
	}
	wantNoDrops(t, n)
}

// A pod's address is worth nothing when EC2 does not know it, or when the pod has a MAC of
// its own.
func TestForeignPods(t *testing.T) {
	n := newNetwork(t, Links{})
	node := addNode(t, n, "i-1", "10.0.1.10")
	client := addNode(t, n, "i-2", "10.0.2.20")
	echo(t, client, "10.0.2.20")
	e := eni("10.0.1.11", 1)
	e.IPv4Prefixes = []netip.Prefix{netip.MustParsePrefix("10.0.1.32/28")}
	plug(t, n, "i-1", e)
	pod := addPod(t, node, "10.0.1.48") // one beyond the prefix
	eventually(t, "an address that is not of the prefix is dropped", func() bool {
		_ = ping(pod, "10.0.1.48", "10.0.2.20", 10, time.Millisecond)
		return dropped(t, n, e.ID, DropSource) > 0
	})
	own, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	inside(t, node, func(rtnl *netlink.Handle) error {
		eth1, err := rtnl.LinkByName("eth1")
		if err != nil {
			return err
		}
		return own.With(func(fd int) error {
			return rtnl.LinkAdd(&netlink.Macvlan{Mode: netlink.MACVLAN_MODE_BRIDGE, LinkAttrs: netlink.LinkAttrs{
				Name: "net1", ParentIndex: eth1.Attrs().Index, Namespace: netlink.NsFd(fd), TxQLen: -1,
			}})
		})
	})
	configure(t, own, "net1", "10.0.1.33")
	routeBySource(t, own, "net1", "10.0.1.33", "10.0.1.1")
	eventually(t, "a MAC that is not the ENI's is dropped", func() bool {
		_ = ping(own, "10.0.1.33", "10.0.2.20", 10, time.Millisecond)
		return dropped(t, n, e.ID, DropMAC) > 0
	})
}
