package vpc

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// newDualStack makes a network of two dual-stack subnets, and subnet-c without IPv4.
func newDualStack(t *testing.T, advertised RouterAdvertisements) *Network {
	t.Helper()
	n, err := New(Config{RouterAdvertisements: advertised, Subnets: []cloud.Subnet{
		{ID: "subnet-a", CIDR: netip.MustParsePrefix("10.0.1.0/24"), IPv6CIDR: netip.MustParsePrefix("2001:db8:0:1::/64")},
		{ID: "subnet-b", CIDR: netip.MustParsePrefix("10.0.2.0/24"), IPv6CIDR: netip.MustParsePrefix("2001:db8:0:2::/64")},
		{ID: "subnet-c", IPv6CIDR: netip.MustParsePrefix("2001:db8:0:3::/64"), IPv6Native: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// dualStack gives an ENI of eni an IPv6 address as well.
func dualStack(address, ipv6 string, index int32) cloud.Interface {
	e := eni(address, index)
	e.IPv6Addresses = []netip.Addr{netip.MustParseAddr(ipv6)}
	return e
}

func addDualStackNode(t *testing.T, n *Network, id, address, ipv6 string) *netns.Namespace {
	t.Helper()
	if err := n.AddInstance(cloud.Instance{ID: id, Name: id}); err != nil {
		t.Fatal(err)
	}
	plug(t, n, id, dualStack(address, ipv6, 0))
	ns, _ := n.Namespace(id)
	return ns
}

// configureIPv6 sets a secondary link up, with an address and routes for what comes
// from it.
func configureIPv6(t *testing.T, ns *netns.Namespace, name, address, subnet string) {
	t.Helper()
	const table = 20001
	own := ipNet(netip.PrefixFrom(netip.MustParseAddr(address), 128))
	inside(t, ns, func(rtnl *netlink.Handle) error {
		link, err := rtnl.LinkByName(name)
		if err != nil {
			return err
		}
		rule := netlink.NewRule()
		rule.Family, rule.Src, rule.Table, rule.Priority = unix.AF_INET6, own, table, table
		return errors.Join(
			rtnl.LinkSetUp(link),
			rtnl.AddrReplace(link, &netlink.Addr{IPNet: own, Flags: unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE}),
			rtnl.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Table: table, Dst: ipNet(netip.MustParsePrefix(subnet))}),
			rtnl.RouteReplace(&netlink.Route{
				LinkIndex: link.Attrs().Index, Table: table, Dst: ipNet(netip.MustParsePrefix("::/0")), Gw: gateway6.AsSlice(),
			}),
			rtnl.RuleAdd(rule),
		)
	})
}

func addAddress(t *testing.T, ns *netns.Namespace, name, address string, flags int) {
	t.Helper()
	inside(t, ns, func(rtnl *netlink.Handle) error {
		link, err := rtnl.LinkByName(name)
		if err != nil {
			return err
		}
		a := netip.MustParseAddr(address)
		return rtnl.AddrAdd(link, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(a, a.BitLen())), Flags: flags})
	})
}

func TestDualStackNodes(t *testing.T) {
	n := newDualStack(t, RouterAdvertisements{})
	one := addDualStackNode(t, n, "i-1", "10.0.1.10", "2001:db8:0:1::10")
	two := addDualStackNode(t, n, "i-2", "10.0.1.20", "2001:db8:0:1::20")   // same subnet
	three := addDualStackNode(t, n, "i-3", "10.0.2.30", "2001:db8:0:2::30") // another one
	echo(t, two, "2001:db8:0:1::20")
	echo(t, three, "2001:db8:0:2::30")
	for _, to := range []string{"2001:db8:0:1::20", "2001:db8:0:2::30"} {
		for _, size := range []int{10, mtu - 48} {
			if err := ping(one, "2001:db8:0:1::10", to, size, patience); err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
	}
	echo(t, two, "10.0.1.20")
	if err := ping(three, "10.0.2.30", "10.0.1.20", 10, patience); err != nil {
		t.Error(err)
	}
	wantNoDrops(t, n)

	// The owner's MAC is advertised, not the router's.
	inside(t, one, func(rtnl *netlink.Handle) error {
		neighbours, err := rtnl.NeighList(0, netlink.FAMILY_V6)
		found := slices.ContainsFunc(neighbours, func(n netlink.Neigh) bool {
			return n.IP.String() == "2001:db8:0:1::20" && n.HardwareAddr.String() == eni("10.0.1.20", 0).MAC
		})
		if !found {
			t.Errorf("neighbours: %v", neighbours)
		}
		return err
	})
}

func TestIPv6OnlyENI(t *testing.T) {
	n := newDualStack(t, RouterAdvertisements{})
	node := addNode(t, n, "i-1", "10.0.1.10")
	client := addDualStackNode(t, n, "i-2", "10.0.2.20", "2001:db8:0:2::20")
	e := cloud.Interface{
		ID: "eni-6", MAC: "0a:00:00:00:00:06", SubnetID: "subnet-c", SourceDestCheck: true,
		IPv6Addresses: []netip.Addr{netip.MustParseAddr("2001:db8:0:3::11")},
		Attachment:    &cloud.Attachment{DeviceIndex: 1},
	}
	plug(t, n, "i-1", e)
	configureIPv6(t, node, "eth1", "2001:db8:0:3::11", "2001:db8:0:3::/64")
	echo(t, node, "2001:db8:0:3::11")
	if err := ping(client, "2001:db8:0:2::20", "2001:db8:0:3::11", 10, patience); err != nil {
		t.Error(err)
	}
	wantNoDrops(t, n)

	if err := n.AddInstance(cloud.Instance{ID: "i-3"}); err != nil {
		t.Fatal(err)
	}
	e.ID, e.Attachment = "eni-7", &cloud.Attachment{}
	if err := n.Plug("i-3", e); err == nil {
		t.Error("a primary ENI without IPv4 was plugged in")
	}
}

// Packets from and to every address of a prefix pass, for neighbours in the subnet
// and for others.
func TestPrefixes(t *testing.T) {
	n := newDualStack(t, RouterAdvertisements{})
	node := addDualStackNode(t, n, "i-1", "10.0.1.10", "2001:db8:0:1::10")
	near := addDualStackNode(t, n, "i-2", "10.0.1.20", "2001:db8:0:1::20")
	far := addDualStackNode(t, n, "i-3", "10.0.2.30", "2001:db8:0:2::30")
	const inIPv4, inIPv6 = "10.0.1.39", "2001:db8:0:1:7::99"
	for _, address := range []string{inIPv4, inIPv6} {
		addAddress(t, node, "eth0", address, unix.IFA_F_NOPREFIXROUTE|unix.IFA_F_NODAD)
		echo(t, node, address)
	}
	try := func(step string, reachable bool) {
		t.Helper()
		timeout := short
		if reachable {
			timeout = patience
		}
		for _, p := range []struct {
			ns       *netns.Namespace
			from, to string
		}{
			{near, "10.0.1.20", inIPv4}, {far, "10.0.2.30", inIPv4}, {near, "2001:db8:0:1::20", inIPv6}, {far, "2001:db8:0:2::30", inIPv6},
		} {
			if err := ping(p.ns, p.from, p.to, 10, timeout); (err == nil) != reachable {
				t.Errorf("%s: ping from %s to %s ended with %v", step, p.from, p.to, err)
			}
		}
	}
	e := dualStack("10.0.1.10", "2001:db8:0:1::10", 0)
	update := func() {
		t.Helper()
		if err := n.Update(e); err != nil {
			t.Fatal(err)
		}
	}
	e.IPv4Prefixes, e.IPv6Prefixes = []netip.Prefix{netip.MustParsePrefix("10.0.1.32/28")}, []netip.Prefix{netip.MustParsePrefix("2001:db8:0:1:7::/80")}
	update()
	try("assigned", true)
	wantNoDrops(t, n)
	e.IPv4Prefixes, e.IPv6Prefixes = nil, nil
	update()
	try("unassigned", false)
}

func TestForeignIPv6SourceIsDropped(t *testing.T) {
	n := newDualStack(t, RouterAdvertisements{})
	node := addDualStackNode(t, n, "i-1", "10.0.1.10", "2001:db8:0:1::10")
	receiver := addDualStackNode(t, n, "i-2", "10.0.2.30", "2001:db8:0:2::30")
	addAddress(t, node, "eth0", "2001:db8:0:1::99", unix.IFA_F_NODAD|unix.IFA_F_NOPREFIXROUTE)
	conn, err := receiver.ListenPacket(context.Background(), "udp6", "[2001:db8:0:2::30]:7")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	e := dualStack("10.0.1.10", "2001:db8:0:1::10", 0)
	send := func() { _ = ping(node, "2001:db8:0:1::99", "2001:db8:0:2::30", 10, time.Millisecond) }
	eventually(t, "a source that EC2 does not know is dropped", func() bool {
		send()
		return dropped(t, n, e.ID, DropSource) > 0
	})
	e.IPv6Addresses = append(e.IPv6Addresses, netip.MustParseAddr("2001:db8:0:1::99"))
	if err := n.Update(e); err != nil {
		t.Fatal(err)
	}
	got := make(chan net.Addr, 1)
	go func() {
		_, from, err := conn.ReadFrom(make([]byte, 10))
		if err == nil {
			got <- from
		}
	}()
	eventually(t, "it arrives once it is assigned", func() bool {
		send()
		return len(got) > 0
	})
	if from := <-got; from.(*net.UDPAddr).IP.String() != "2001:db8:0:1::99" {
		t.Errorf("a packet from %s arrived", from)
	}
}
