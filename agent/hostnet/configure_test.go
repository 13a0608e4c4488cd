package hostnet

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestConfigureHost(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.1.5/24") // the ENI is in the same subnet
	w := eni(t)

	if status := n.configure(w); status.Present || status.Repaired != 0 {
		t.Fatalf("without a link: %+v", status)
	}
	link := n.plug("ens6", w.MAC)
	status := n.configure(w)
	want := Status{Present: true, Index: link.Attrs().Index, Name: "ens6", MTU: 9001, Repaired: 12}
	if status != want {
		t.Errorf("configured: %+v, want %+v", status, want)
	}
	const configured = `
# ip -br addr
lo               UNKNOWN  mtu 65536 127.0.0.1/8
eth0             UP       mtu 1500 02:00:00:00:00:00 10.0.1.5/24
ens6             UP       mtu 9001 02:00:00:00:00:01 10.0.1.10/24 noprefixroute 10.0.1.11/24 noprefixroute
# ip rule
0:	from all lookup local proto kernel
20000:	from all fwmark 0x4/0xfff lookup 20000 proto kernel
20000:	from 10.0.1.10 lookup 20000 proto kernel
20000:	from 10.0.1.11 lookup 20000 proto kernel
20001:	from all fwmark 0x4/0xfff lookup 20001 proto kernel
20001:	from 10.0.1.10 lookup 20001 proto kernel
20001:	from 10.0.1.11 lookup 20001 proto kernel
32766:	from all lookup main proto kernel
32767:	from all lookup default proto kernel
# ip route show table main
default via 10.0.1.1 dev eth0 proto dhcp
10.0.1.0/24 dev eth0 proto kernel scope link src 10.0.1.5
# ip route show table 20000
throw 10.0.1.0/24 proto kernel
# ip route show table 20001
default via 10.0.1.1 dev ens6 proto kernel
10.0.1.0/24 dev ens6 proto kernel scope link
`
	n.see("configured,", configured)

	if status := n.configure(w); status.Repaired != 0 {
		t.Errorf("a second Configure made %d changes", status.Repaired)
	}
	n.see("configured twice,", configured)

	if err := n.host.Release(w); err != nil {
		t.Fatal(err)
	}
	const released = `
# ip -br addr
lo               UNKNOWN  mtu 65536 127.0.0.1/8
eth0             UP       mtu 1500 02:00:00:00:00:00 10.0.1.5/24
ens6             DOWN     mtu 9001 02:00:00:00:00:01
# ip rule
0:	from all lookup local proto kernel
32766:	from all lookup main proto kernel
32767:	from all lookup default proto kernel
# ip route show table main
default via 10.0.1.1 dev eth0 proto dhcp
10.0.1.0/24 dev eth0 proto kernel scope link src 10.0.1.5
`
	n.see("released,", released)
	if err := n.host.Release(w); err != nil {
		t.Errorf("a second Release: %v", err)
	}
	n.see("released twice,", released)

	// An agent that was killed may not know all of it any more.
	for _, known := range []Wanted{{MAC: w.MAC, Addresses: w.Addresses}, {MAC: w.MAC, Subnets: w.Subnets}} {
		n.configure(w)
		n.must(n.host.Release(known))
		n.see("released with less knowledge,", released)
	}
}

func TestConfigureNone(t *testing.T) {
	n := newNode(t)
	w := eni(t)
	n.plug("eth1", w.MAC)
	w.Host = false
	w.InterfaceName = "multus0"
	if status := n.configure(w); status.Name != "multus0" || status.Repaired != 3 {
		t.Errorf("configured: %+v", status)
	}
	const none = `
# ip -br addr
lo               UNKNOWN  mtu 65536 127.0.0.1/8
multus0          UP       mtu 9001 02:00:00:00:00:01
# ip rule
0:	from all lookup local proto kernel
32766:	from all lookup main proto kernel
32767:	from all lookup default proto kernel
`
	n.see("with None,", none)

	w.Host = true
	n.configure(w)
	w.Host = false
	if status := n.configure(w); status.Repaired != 10 {
		t.Errorf("Host became None with %d changes, want 10", status.Repaired)
	}
	n.see("when Host became None,", none)
}

func TestAddressesChange(t *testing.T) {
	n := newNode(t)
	w := eni(t)
	n.plug("eth1", w.MAC)
	n.configure(w)
	if events := n.record(func() {
		// The first one is what the kernel calls the primary address.
		w.Addresses = addrs("10.0.1.11", "10.0.1.12")
		n.configure(w)
	}); slices.Contains(events, "del address 10.0.1.11/24") {
		t.Errorf("an address that stays was gone for a moment: %q", events)
	}
	n.see("with another address,", `
# ip -br addr
lo               UNKNOWN  mtu 65536 127.0.0.1/8
eth1             UP       mtu 9001 02:00:00:00:00:01 10.0.1.11/24 noprefixroute 10.0.1.12/24 noprefixroute
# ip rule
0:	from all lookup local proto kernel
20000:	from all fwmark 0x4/0xfff lookup 20000 proto kernel
20000:	from 10.0.1.11 lookup 20000 proto kernel
20000:	from 10.0.1.12 lookup 20000 proto kernel
20001:	from all fwmark 0x4/0xfff lookup 20001 proto kernel
20001:	from 10.0.1.11 lookup 20001 proto kernel
20001:	from 10.0.1.12 lookup 20001 proto kernel
32766:	from all lookup main proto kernel
32767:	from all lookup default proto kernel
# ip route show table 20000
throw 10.0.1.0/24 proto kernel
# ip route show table 20001
default via 10.0.1.1 dev eth1 proto kernel
10.0.1.0/24 dev eth1 proto kernel scope link
`)
}

func TestDeviceIndexChanges(t *testing.T) {
	n := newNode(t)
	w := eni(t)
	w.Addresses = addrs("10.0.1.10")
	n.plug("eth1", w.MAC)
	n.configure(w)
	w.DeviceIndex = 3
	n.configure(w)
	n.see("with another device index,", `
# ip -br addr
lo               UNKNOWN  mtu 65536 127.0.0.1/8
eth1             UP       mtu 9001 02:00:00:00:00:01 10.0.1.10/24 noprefixroute
# ip rule
0:	from all lookup local proto kernel
20000:	from 10.0.1.10 lookup 20000 proto kernel
20000:	from all fwmark 0xc/0xfff lookup 20000 proto kernel
20003:	from all fwmark 0xc/0xfff lookup 20003 proto kernel
20003:	from 10.0.1.10 lookup 20003 proto kernel
32766:	from all lookup main proto kernel
32767:	from all lookup default proto kernel
# ip route show table 20000
throw 10.0.1.0/24 proto kernel
# ip route show table 20003
default via 10.0.1.1 dev eth1 proto kernel
10.0.1.0/24 dev eth1 proto kernel scope link
`)
}

// A connected route of a secondary ENI in the primary's subnet would draw the
// primary's traffic away, as a DHCP client's address does.
func TestConnectedRouteIsTakenOut(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.1.5/24")
	w := eni(t)
	link := n.plug("eth1", w.MAC)
	n.must(n.nl.LinkSetUp(link))
	n.must(n.nl.AddrAdd(link, parseAddr(t, "10.0.1.10/24")))
	if !strings.Contains(n.describe(), "10.0.1.0/24 dev eth1 proto kernel scope link src 10.0.1.10") {
		t.Fatalf("no connected route to begin with:\n%s", n.describe())
	}
	n.configure(w)
	if text := n.describe(); strings.Contains(text, "dev eth1 proto kernel scope link src") {
		t.Errorf("the connected route is still there:\n%s", text)
	}
}

func TestMTUTooHigh(t *testing.T) {
	n := newNode(t)
	w := eni(t)
	link := n.plug("eth1", w.MAC)
	w.MTU = 70000
	status, err := n.host.Configure(w)
	var refused *MTUError
	if !errors.As(err, &refused) || refused.Max != 65535 || refused.MTU != 70000 {
		t.Fatalf("error is %v, want an MTUError with the maximum", err)
	}
	if !strings.Contains(err.Error(), "its maximum is 65535; set mtu to 65535 or less") {
		t.Errorf("error does not say what to do: %v", err)
	}
	if status.MTU != 1500 || status.Index != link.Attrs().Index {
		t.Errorf("status is %+v", status)
	}
	if text := n.describe(); !strings.Contains(text, "10.0.1.11/24 noprefixroute") || !strings.Contains(text, "from 10.0.1.11 lookup 20001") {
		t.Errorf("the rest was not carried out:\n%s", text)
	}

	w.MTU = 67
	if _, err := n.host.Configure(w); !errors.As(err, &refused) || !strings.Contains(err.Error(), "its minimum is 68") {
		t.Errorf("error is %v, want an MTUError with the minimum", err)
	}
}

// What arrives at the port of a bridge goes to the bridge: addresses on it would not
// work. They come when the link is free again, and None needs none.
func TestLinkHasMaster(t *testing.T) {
	n := newNode(t)
	w := eni(t)
	link := n.plug("eth1", w.MAC)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br0"
	n.must(n.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
	n.must(n.nl.LinkSetMaster(link, n.link("br0")))
	status, err := n.host.Configure(w)
	var master *MasterError
	if !errors.As(err, &master) || master.Master != "br0" || master.Kind != "bridge" || !strings.Contains(err.Error(), "ip link set eth1 nomaster") {
		t.Fatalf("error is %v, want a MasterError", err)
	}
	if !status.Present || status.MTU != 9001 || strings.Contains(n.describe(), "10.0.1.10") {
		t.Errorf("status is %+v of\n%s", status, n.describe())
	}
	none := w
	none.Host = false
	n.configure(none)
	n.must(n.nl.LinkSetNoMaster(link))
	n.configure(w)
	before := n.describe()
	n.must(n.nl.LinkSetMaster(link, n.link("br0")))
	if _, err := n.host.Configure(w); !errors.As(err, &master) {
		t.Errorf("error is %v when the link becomes a port later", err)
	}
	n.must(n.nl.LinkSetNoMaster(link))
	n.configure(w)
	n.see("free again,", "\n"+before)
}

func TestLinkGone(t *testing.T) {
	n := newNode(t)
	w := eni(t)
	link := n.plug("eth1", w.MAC)
	n.configure(w)
	n.must(n.nl.LinkDel(link))
	if status := n.configure(w); status.Present {
		t.Errorf("status of a link that is gone: %+v", status)
	}
	if !strings.Contains(n.describe(), "lookup 20001") {
		t.Fatal("there are no rules left over to release")
	}
	n.must(n.host.Release(w))
	n.see("released without a link,", `
# ip -br addr
lo               UNKNOWN  mtu 65536 127.0.0.1/8
# ip rule
0:	from all lookup local proto kernel
32766:	from all lookup main proto kernel
32767:	from all lookup default proto kernel
`)
	// The same ENI comes back as another link.
	again := n.plug("eth2", w.MAC)
	if status := n.configure(w); status.Index != again.Attrs().Index {
		t.Errorf("status is %+v, want link %d", status, again.Attrs().Index)
	}
}

func TestPresent(t *testing.T) {
	n := newNode(t)
	w := eni(t)
	expect := func(want bool) {
		t.Helper()
		if got, err := n.host.Present(w.MAC); got != want || err != nil {
			t.Errorf("present: %v, %v; want %v", got, err, want)
		}
	}
	expect(false)
	link := n.plug("eth1", w.MAC)
	expect(true)
	n.must(n.nl.LinkDel(link))
	expect(false)
}

func TestSweep(t *testing.T) {
	n := newNode(t)
	kept, lost := eni(t), eni(t)
	lost.MAC = mac(t, "02:00:00:00:00:02")
	lost.DeviceIndex, lost.Addresses = 2, addrs("10.0.1.20")
	n.plug("eth1", kept.MAC)
	gone := n.plug("eth2", lost.MAC)
	n.configure(kept)
	before := n.describe()

	n.must(n.nl.LinkDel(gone))
	n.plug("eth2", lost.MAC)
	n.configure(lost)
	if n.describe() == before {
		t.Fatal("there is nothing to sweep")
	}
	removed, err := n.host.Sweep([]Wanted{kept})
	if err != nil || removed != 6 {
		t.Errorf("Sweep = %d, %v; want 4 rules and 2 routes", removed, err)
	}
	if text := n.describe(); strings.Contains(text, "20002") || !strings.Contains(text, "from 10.0.1.11 lookup 20001") {
		t.Errorf("swept:\n%s", text)
	}
	if removed, err := n.host.Sweep([]Wanted{kept}); err != nil || removed != 0 {
		t.Errorf("a second Sweep = %d, %v; want 0", removed, err)
	}
}

// The kernel's own decisions: replies of the ENI leave by the ENI, to its
// subnet and beyond; everything else stays with the primary.
func TestRoutingDecisions(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.1.5/24")
	w := eni(t)
	n.plug("eth1", w.MAC)
	n.configure(w)
	tests := []struct{ from, to, dev, via string }{
		{"10.0.1.10", "10.0.1.77", "eth1", "<nil>"},
		{"10.0.1.11", "10.0.2.77", "eth1", "10.0.1.1"},
		{"10.0.1.5", "10.0.1.77", "eth0", "<nil>"},
		{"10.0.1.5", "10.0.2.77", "eth0", "10.0.1.1"},
		{"", "10.0.1.77", "eth0", "<nil>"},
		{"", "10.0.2.77", "eth0", "10.0.1.1"},
	}
	for _, tt := range tests {
		routes, err := n.nl.RouteGetWithOptions(net.ParseIP(tt.to), &netlink.RouteGetOptions{SrcAddr: net.ParseIP(tt.from)})
		n.must(err)
		if dev := n.link(tt.dev).Attrs().Index; routes[0].LinkIndex != dev || routes[0].Gw.String() != tt.via {
			t.Errorf("from %q to %s: link %d via %v, want %s (link %d) via %s",
				tt.from, tt.to, routes[0].LinkIndex, routes[0].Gw, tt.dev, dev, tt.via)
		}
	}
}

func TestPersist(t *testing.T) {
	broken := errors.New("broken")
	tests := []struct {
		name    string
		results []error // of one attempt after the other
		want    int     // attempts
		err     error
	}{
		{"settled", []error{nil}, 1, nil},
		{"gone, then there", []error{unix.ENODEV, nil}, 2, nil},
		{"taken down twice", []error{fmt.Errorf("add route: %w", unix.ENETDOWN), unix.ENETUNREACH, nil}, 3, nil},
		{"another error", []error{broken}, 1, broken},
		{"never settled", slices.Repeat([]error{unix.ENETDOWN}, attempts), attempts, unix.ENETDOWN},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			made := 0
			status, err := persist(func() (Status, error) {
				made++
				return Status{Present: true, Repaired: 2}, tt.results[made-1]
			})
			if made != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%d attempts, %v; want %d, %v", made, err, tt.want, tt.err)
			}
			if status.Repaired != 2*tt.want {
				t.Errorf("counted %d changes, want %d", status.Repaired, 2*tt.want)
			}
		})
	}
}
