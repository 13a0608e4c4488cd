package vpc

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

const short = 600 * time.Millisecond // for what must not arrive

// The routing mistake that the VPC has to show: the reply of a secondary
// address leaves by the primary ENI.
func TestWrongSourceIsDropped(t *testing.T) {
	for _, test := range []struct{ name, secondary, gateway string }{
		{"another subnet", "10.0.2.11", "10.0.2.1"},
		{"the primary's subnet", "10.0.1.11", "10.0.1.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNetwork(t, Links{})
			node := addNode(t, n, "i-1", "10.0.1.10")
			client := addNode(t, n, "i-2", "10.0.3.30")
			plug(t, n, "i-1", eni(test.secondary, 1))
			configure(t, node, "eth1", test.secondary)
			echo(t, node, test.secondary)

			eventually(t, "the reply is dropped at the primary ENI", func() bool {
				if err := ping(client, "10.0.3.30", test.secondary, 10, time.Millisecond); err == nil {
					t.Fatal("the reply came through without policy routing")
				}
				return dropped(t, n, "eni-10.0.1.10", DropSource) > 0
			})
			routeBySource(t, node, "eth1", test.secondary, test.gateway)
			if err := ping(client, "10.0.3.30", test.secondary, 10, patience); err != nil {
				t.Errorf("with policy routing: %v", err)
			}
			if got := dropped(t, n, "eni-"+test.secondary, DropSource); got != 0 {
				t.Errorf("%d packets of the secondary ENI dropped", got)
			}
		})
	}
}

// Linux answers ARP for every address it has on every link; in a VPC an
// address belongs to one ENI.
func TestOwnerAnswersARP(t *testing.T) {
	n := newNetwork(t, Links{})
	node := addNode(t, n, "i-1", "10.0.1.10")
	client := addNode(t, n, "i-2", "10.0.1.20")
	secondary := eni("10.0.1.11", 1)
	plug(t, n, "i-1", secondary)
	configure(t, node, "eth1", "10.0.1.11")
	routeBySource(t, node, "eth1", "10.0.1.11", "10.0.1.1")
	echo(t, node, "10.0.1.10")
	echo(t, node, "10.0.1.11")
	for to, want := range map[string]string{"10.0.1.10": eni("10.0.1.10", 0).MAC, "10.0.1.11": secondary.MAC} {
		if err := ping(client, "10.0.1.20", to, 10, patience); err != nil {
			t.Fatal(err)
		}
		inside(t, client, func(rtnl *netlink.Handle) error {
			neighbours, err := rtnl.NeighList(0, netlink.FAMILY_V4)
			for _, n := range neighbours {
				if n.IP.String() == to && n.HardwareAddr.String() != want {
					t.Errorf("%s is at %s, want %s", to, n.HardwareAddr, want)
				}
			}
			return err
		})
	}
	wantNoDrops(t, n)
}

func TestUpdate(t *testing.T) {
	n := newNetwork(t, Links{})
	node := addNode(t, n, "i-1", "10.0.1.10")
	client := addNode(t, n, "i-2", "10.0.3.30")
	inside(t, node, func(rtnl *netlink.Handle) error {
		link, err := rtnl.LinkByName("eth0")
		if err != nil {
			return err
		}
		return rtnl.AddrAdd(link, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("10.0.1.99/32"))})
	})
	echo(t, node, "10.0.1.99")
	e := eni("10.0.1.10", 0)
	try := func(step string, reachable bool) {
		t.Helper()
		timeout := short
		if reachable {
			timeout = patience
		}
		if err := ping(client, "10.0.3.30", "10.0.1.99", 10, timeout); (err == nil) != reachable {
			t.Errorf("%s: ping ended with %v", step, err)
		}
	}
	update := func() {
		t.Helper()
		if err := n.Update(e); err != nil {
			t.Fatal(err)
		}
	}
	try("an address that EC2 does not know", false)

	e.PrivateIPs = append(e.PrivateIPs, netip.MustParseAddr("10.0.1.99"))
	update()
	try("assigned", true)

	e.PrivateIPs = e.PrivateIPs[:1]
	update()
	try("unassigned", false)
}

func TestSourceDestCheckOff(t *testing.T) {
	n := newNetwork(t, Links{})
	node := addNode(t, n, "i-1", "10.0.1.10")
	receiver := addNode(t, n, "i-2", "10.0.3.30")
	e := eni("10.0.1.10", 0)
	inside(t, node, func(rtnl *netlink.Handle) error {
		lo, err := rtnl.LinkByName("lo")
		if err != nil {
			return err
		}
		return rtnl.AddrAdd(lo, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("172.16.0.1/32"))})
	})
	conn, err := receiver.ListenPacket(context.Background(), "udp4", "10.0.3.30:7")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	eventually(t, "a foreign source is dropped", func() bool {
		_ = ping(node, "172.16.0.1", "10.0.3.30", 10, time.Millisecond)
		return dropped(t, n, e.ID, DropSource) > 0
	})
	before := dropped(t, n, e.ID, DropSource)
	_ = conn.SetReadDeadline(time.Now())
	if _, from, err := conn.ReadFrom(make([]byte, 10)); err == nil {
		t.Errorf("a packet from %s arrived", from)
	}

	e.SourceDestCheck = false
	if err := n.Update(e); err != nil {
		t.Fatal(err)
	}
	_ = ping(node, "172.16.0.1", "10.0.3.30", 10, time.Millisecond)
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if _, from, err := conn.ReadFrom(make([]byte, 10)); err != nil || from.(*net.UDPAddr).IP.String() != "172.16.0.1" {
		t.Errorf("without SourceDestCheck: packet from %v, %v", from, err)
	}
	// The counters survive the ENI.
	if err := n.Unplug("i-1", e.ID); err != nil {
		t.Fatal(err)
	}
	if after := dropped(t, n, e.ID, DropSource); after != before {
		t.Errorf("%d drops, then %d after Unplug", before, after)
	}
}

func TestForeignMACIsDropped(t *testing.T) {
	n := newNetwork(t, Links{})
	node := addNode(t, n, "i-1", "10.0.1.10")
	inside(t, node, func(rtnl *netlink.Handle) error {
		link, err := rtnl.LinkByName("eth0")
		if err != nil {
			return err
		}
		return rtnl.LinkSetHardwareAddr(link, net.HardwareAddr{2, 0, 0, 0, 0, 1})
	})
	eventually(t, "a foreign MAC is dropped", func() bool {
		_ = ping(node, "10.0.1.10", "10.0.1.20", 10, time.Millisecond)
		return dropped(t, n, "eni-10.0.1.10", DropMAC) > 0
	})
}
