package vpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

func TestMain(m *testing.M) {
	if err := netns.Elevate(netns.Elevation{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const patience = 10 * time.Second

func newNetwork(t *testing.T, links Links) *Network {
	t.Helper()
	n, err := New(Config{Links: links, Subnets: []cloud.Subnet{
		{ID: "subnet-a", CIDR: netip.MustParsePrefix("10.0.1.0/24")},
		{ID: "subnet-b", CIDR: netip.MustParsePrefix("10.0.2.0/24")},
		{ID: "subnet-c", CIDR: netip.MustParsePrefix("10.0.3.0/24")},
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

// eni makes an ENI of the subnet that its address is in. Its id and MAC
// follow from the address.
func eni(address string, index int32) cloud.Interface {
	a := netip.MustParseAddr(address)
	b := a.As4()
	return cloud.Interface{
		ID:              "eni-" + address,
		MAC:             fmt.Sprintf("0a:00:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3]),
		SubnetID:        "subnet-" + string('a'+rune(b[2]-1)),
		PrivateIPs:      []netip.Addr{a},
		SourceDestCheck: true,
		Attachment:      &cloud.Attachment{ID: "eni-attach-" + address, DeviceIndex: index},
	}
}

// addNode makes an instance with a primary ENI.
func addNode(t *testing.T, n *Network, id, address string) *netns.Namespace {
	t.Helper()
	if err := n.AddInstance(cloud.Instance{ID: id, Name: id}); err != nil {
		t.Fatal(err)
	}
	plug(t, n, id, eni(address, 0))
	ns, ok := n.Namespace(id)
	if !ok {
		t.Fatalf("%s has no namespace", id)
	}
	return ns
}

func plug(t *testing.T, n *Network, id string, e cloud.Interface) {
	t.Helper()
	if err := n.Plug(id, e); err != nil {
		t.Fatal(err)
	}
}

// inside runs fn with a netlink handle in the namespace.
func inside(t *testing.T, ns *netns.Namespace, fn func(*netlink.Handle) error) {
	t.Helper()
	rtnl, err := ns.Netlink()
	if err != nil {
		t.Fatal(err)
	}
	defer rtnl.Close()
	if err := fn(rtnl); err != nil {
		t.Fatal(err)
	}
}

// configure puts an address on a link of a node, without routes.
func configure(t *testing.T, ns *netns.Namespace, name, address string) {
	t.Helper()
	inside(t, ns, func(rtnl *netlink.Handle) error {
		link, err := rtnl.LinkByName(name)
		if err != nil {
			return err
		}
		addr := &netlink.Addr{
			IPNet: ipNet(netip.PrefixFrom(netip.MustParseAddr(address), 24)), Flags: unix.IFA_F_NOPREFIXROUTE,
		}
		return errors.Join(rtnl.LinkSetUp(link), rtnl.AddrAdd(link, addr))
	})
}

// routeBySource lets packets from the address leave through the link.
func routeBySource(t *testing.T, ns *netns.Namespace, name, address, gateway string) {
	t.Helper()
	const table = 20001
	inside(t, ns, func(rtnl *netlink.Handle) error {
		link, err := rtnl.LinkByName(name)
		if err != nil {
			return err
		}
		gw := netip.MustParseAddr(gateway)
		rule := netlink.NewRule()
		rule.Src, rule.Table, rule.Priority = ipNet(netip.PrefixFrom(netip.MustParseAddr(address), 32)), table, table
		return errors.Join(
			rtnl.RouteAdd(&netlink.Route{
				LinkIndex: link.Attrs().Index, Table: table,
				Dst: ipNet(netip.PrefixFrom(gw, 24).Masked()), Scope: netlink.SCOPE_LINK,
			}),
			rtnl.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Table: table, Gw: gw.AsSlice()}),
			rtnl.RuleAdd(rule),
		)
	})
}

// echo answers UDP packets to address in the namespace.
func echo(t *testing.T, ns *netns.Namespace, address string) {
	t.Helper()
	conn, err := ns.ListenPacket(context.Background(), "udp", net.JoinHostPort(address, "7"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 10000)
		for {
			size, from, err := conn.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = conn.WriteTo(buf[:size], from)
			}
		}
	}()
}

// ping sends packets from an address to an echo until one is answered.
func ping(ns *netns.Namespace, from, to string, size int, timeout time.Duration) error {
	var conn net.Conn
	err := ns.Do(func() (err error) {
		conn, err = net.DialUDP("udp",
			net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0)),
			net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(to), 7)))
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	packet := make([]byte, size)
	for end := time.Now().Add(timeout); time.Now().Before(end); {
		if _, err = conn.Write(packet); err != nil {
			time.Sleep(10 * time.Millisecond) // unreachable, reported by ICMP
			continue
		}
		_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err = conn.Read(packet); err == nil {
			return nil
		}
	}
	return fmt.Errorf("no answer from %s to %s: %w", to, from, err)
}

// dropped returns the number of packets of an ENI dropped for a reason.
func dropped(t *testing.T, n *Network, eniID string, reason DropReason) uint64 {
	t.Helper()
	drops, err := n.Drops()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range drops {
		if d.ENI == eniID && d.Reason == reason {
			return d.Packets
		}
	}
	return 0
}

func wantNoDrops(t *testing.T, n *Network) {
	t.Helper()
	drops, err := n.Drops()
	if err != nil || len(drops) != 0 {
		t.Errorf("dropped: %v, %v", drops, err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not the case after %v: %s", patience, what)
		}
	}
}
