package hostnet

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

func TestMain(m *testing.M) {
	if err := netns.Elevate(netns.Elevation{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// node is a network namespace with a Host, and a fabric namespace in which
// the other ends of its ENIs are.
type node struct {
	t      testing.TB
	ns     *netns.Namespace
	nl     *netlink.Handle // in the node
	fabric *netlink.Handle

	fabricNS *netns.Namespace
	host     *Host
	ends     int
}

func newNode(t testing.TB) *node {
	t.Helper()
	n := &node{t: t, ns: newNamespace(t)}
	n.nl = handle(t, n.ns)
	n.fabricNS = newNamespace(t)
	n.fabric = handle(t, n.fabricNS)
	err := n.ns.Do(func() (err error) {
		n.host, err = Open()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.host.Close)
	return n
}

func newNamespace(t testing.TB) *netns.Namespace {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	return ns
}

func handle(t testing.TB, ns *netns.Namespace) *netlink.Handle {
	t.Helper()
	h, err := ns.Netlink()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// plug gives the node a veth end, as an attached ENI appears: down, with the
// ENI's MAC and the name that the driver chose.
func (n *node) plug(name string, hw net.HardwareAddr) netlink.Link {
	n.t.Helper()
	n.ends++
	end := fmt.Sprintf("end%d", n.ends)
	n.must(n.ns.With(func(fd int) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = end, 1500
		return n.fabric.LinkAdd(&netlink.Veth{
			LinkAttrs: attrs, PeerName: name, PeerHardwareAddr: hw, PeerMTU: 1500, PeerNamespace: netlink.NsFd(fd),
		})
	}))
	other, err := n.fabric.LinkByName(end)
	n.must(err)
	n.must(n.fabric.LinkSetUp(other))
	return n.link(name)
}

// primary gives the node a primary ENI in the subnet, as a DHCP client
// configures it: with a connected route and a default route in main.
func (n *node) primary(address string) {
	n.t.Helper()
	l := n.plug("eth0", mac(n.t, "02:00:00:00:00:00"))
	n.must(n.host.Know(mac(n.t, "02:00:00:00:00:00")))
	n.must(n.nl.LinkSetUp(l))
	prefix := netip.MustParsePrefix(address)
	n.must(n.nl.AddrAdd(l, parseAddr(n.t, address)))
	n.must(n.nl.RouteAdd(&netlink.Route{
		LinkIndex: l.Attrs().Index, Gw: prefix.Masked().Addr().Next().AsSlice(), Protocol: unix.RTPROT_DHCP,
	}))
	n.comesUp("eth0")
}

// comesUp waits for the kernel, which lets some time pass until it shows and announces that
// a link is up.
func (n *node) comesUp(name string) {
	n.t.Helper()
	if !eventually(func() bool { return n.link(name).Attrs().OperState == netlink.OperUp }) {
		n.t.Fatalf("%s does not come up", name)
	}
}

// primary6 gives the primary ENI IPv6 as well, as systemd-networkd configures it when it
// has received a router's advertisement and a lease.
func (n *node) primary6(address string) {
	n.t.Helper()
	l, addr := n.link("eth0"), netip.MustParseAddr(address)
	n.must(n.nl.AddrAdd(l, parseAddr(n.t, address+"/128")))
	subnet := netip.PrefixFrom(addr, 64).Masked().String()
	n.must(n.nl.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(subnet), Protocol: unix.RTPROT_RA}))
	n.must(n.nl.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: router6.AsSlice(), Protocol: unix.RTPROT_RA}))
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) link(name string) netlink.Link {
	n.t.Helper()
	l, err := n.nl.LinkByName(name)
	n.must(err)
	return l
}

func (n *node) configure(w Wanted) Status {
	n.t.Helper()
	status, err := n.host.Configure(w)
	n.must(err)
	return status
}

func (n *node) describe() string {
	n.t.Helper()
	text, err := n.host.Describe()
	n.must(err)
	return text
}

// see fails the test when the node is not as text says.
func (n *node) see(when, text string) {
	n.t.Helper()
	if !eventually(func() bool { return n.describe() == text[1:] }) {
		n.t.Errorf("%s the node has\n%swant\n%s", when, n.describe(), text[1:])
	}
}

// eventually waits for what the kernel does a little later, such as showing a
// link as UP.
func eventually(is func() bool) bool {
	for end := time.Now().Add(deadline); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

func parseAddr(t testing.TB, s string) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	if a.IP.To4() == nil {
		a.Flags = unix.IFA_F_NODAD // works at once
	}
	return a
}

// eni is what the tests want of their first ENI.
func eni(t testing.TB) Wanted {
	return Wanted{
		MAC:         mac(t, "02:00:00:00:00:01"),
		MTU:         9001,
		Host:        true,
		Addresses:   addrs("10.0.1.10", "10.0.1.11"),
		Subnets:     cidrs("10.0.1.0/24"),
		DeviceIndex: 1,
	}
}

// dual is what the tests want of an ENI in a dual-stack subnet.
func dual(t testing.TB) Wanted {
	w := eni(t)
	w.Addresses = append(w.Addresses, addrs("2001:db8:1::10", "2001:db8:1::11")...)
	w.Subnets = append(w.Subnets, cidrs("2001:db8:1::/64")...)
	return w
}

// deadline bounds what is awaited; nothing takes that long.
const deadline = 10 * time.Second

// await fails the test when nothing comes.
func await[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	v, open := receive(t, ch, what)
	if !open {
		t.Fatalf("%s: the channel was closed instead", what)
	}
	return v
}

// awaitEnd fails the test when the channel is not closed.
func awaitEnd[T any](t testing.TB, ch <-chan T) {
	t.Helper()
	for open := true; open; {
		_, open = receive(t, ch, "the end")
	}
}

func receive[T any](t testing.TB, ch <-chan T, what string) (v T, open bool) {
	t.Helper()
	select {
	case v, open = <-ch:
	case <-time.After(deadline):
		t.Fatalf("%s did not come within %v", what, deadline)
	}
	return v, open
}

func ipNet(s string) *net.IPNet {
	prefix := netip.MustParsePrefix(s)
	return &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}
}
