package hostnet

import (
	"errors"
	"fmt"
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
	want := Status{Present: true, Index: link.Attrs().Index, Name: "ens6", MTU: 9001, Repaired: 8}
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
20001:	from 10.0.1.10 lookup 20001 proto kernel
20001:	from 10.0.1.11 lookup 20001 proto kernel
32766:	from all lookup main proto kernel
32767:	from all lookup default proto kernel
# ip route show table main
default via 10.0.1.1 dev eth0 proto dhcp
10.0.1.0/24 dev eth0 proto kernel scope link src 10.0.1.5
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
	if status := n.configure(w); status.Repaired != 6 {
		t.Errorf("Host became None with %d changes, want 6", status.Repaired)
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
20001:	from 10.0.1.11 lookup 20001 proto kernel
20001:	from 10.0.1.12 lookup 20001 proto kernel
32766:	from all lookup main proto kernel
32767:	from all lookup default proto kernel
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
20003:	from 10.0.1.10 lookup 20003 proto kernel
32766:	from all lookup main proto kernel
32767:	from all lookup default proto kernel
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
	if err != nil || removed != 3 {
		t.Errorf("Sweep = %d, %v; want 1 rule and 2 routes", removed, err)
	}
	if text := n.describe(); strings.Contains(text, "20002") || !strings.Contains(text, "from 10.0.1.11 lookup 20001") {
		t.Errorf("swept:\n%s", text)
	}
	if removed, err := n.host.Sweep([]Wanted{kept}); err != nil || removed != 0 {
		t.Errorf("a second Sweep = %d, %v; want 0", removed, err)
	}
}

// What others made stays through everything a Host does.
func TestForeignStays(t *testing.T) {
	static := func(n *node, dst string, table int) *netlink.Route {
		return &netlink.Route{LinkIndex: n.link("eth1").Attrs().Index, Dst: ipNet(dst), Table: table,
			Protocol: unix.RTPROT_STATIC, Scope: netlink.SCOPE_LINK}
	}
	ruleFrom := func(n *node, src string, priority, table int, edit func(*netlink.Rule)) {
		r := netlink.NewRule()
		r.Src = ipNet(src)
		r.Priority, r.Table = priority, table
		edit(r)
		n.must(n.nl.RuleAdd(r))
	}
	tests := []struct {
		name string
		make func(n *node)
		want string // a line, or the end of one
	}{
		{"address in another subnet", func(n *node) {
			n.must(n.nl.AddrAdd(n.link("eth1"), parseAddr(t, "192.168.7.1/24")))
		}, "192.168.7.1/24"},
		{"address in the subnet, with a connected route", func(n *node) {
			n.must(n.nl.AddrAdd(n.link("eth1"), parseAddr(t, "10.0.1.99/24")))
		}, "10.0.1.99/24"},
		{"leased address", func(n *node) {
			a := parseAddr(t, "10.0.1.98/24")
			a.Flags, a.ValidLft, a.PreferedLft = unix.IFA_F_NOPREFIXROUTE, 3600, 3600
			n.must(n.nl.AddrAdd(n.link("eth1"), a))
		}, "10.0.1.98/24 noprefixroute"},
		{"host route in the subnet", func(n *node) {
			a := parseAddr(t, "10.0.1.97/32")
			a.Flags = unix.IFA_F_NOPREFIXROUTE
			n.must(n.nl.AddrAdd(n.link("eth1"), a))
		}, "10.0.1.97/32 noprefixroute"},
		{"address on another link", func(n *node) {
			n.must(n.nl.AddrAdd(n.link("lo"), parseAddr(t, "10.0.1.10/32")))
		}, "127.0.0.1/8 10.0.1.10/32"},
		{"route in another table", func(n *node) {
			r := static(n, "10.0.1.0/24", 101)
			n.must(n.nl.RouteAdd(r))
			ruleFrom(n, "10.0.1.10/32", 101, 101, func(*netlink.Rule) {})
		}, "101:\tfrom 10.0.1.10 lookup 101"},
		{"rule before the band", func(n *node) {
			ruleFrom(n, "10.0.1.10/32", 19999, 19999, func(r *netlink.Rule) { r.Protocol = unix.RTPROT_KERNEL })
		}, "19999:\tfrom 10.0.1.10 lookup 19999 proto kernel"},
		{"rule behind the band", func(n *node) {
			ruleFrom(n, "10.0.1.10/32", 23132, 23132, func(r *netlink.Rule) { r.Protocol = unix.RTPROT_KERNEL })
		}, "23132:\tfrom 10.0.1.10 lookup 23132 proto kernel"},
		{"rule in the band, of another protocol", func(n *node) {
			ruleFrom(n, "10.0.1.77/32", 20001, 20001, func(r *netlink.Rule) { r.Protocol = unix.RTPROT_STATIC })
		}, "20001:\tfrom 10.0.1.77 lookup 20001 proto static"},
		{"rule in the band, with a mark", func(n *node) {
			ruleFrom(n, "10.0.1.10/32", 20001, 20001, func(r *netlink.Rule) {
				r.Mark, r.Protocol = 7, unix.RTPROT_STATIC
			})
		}, "20001:\tfrom 10.0.1.10 fwmark 0x7/0xffffffff lookup 20001 proto static"},
		{"rule in the band, with a port", func(n *node) {
			ruleFrom(n, "10.0.1.10/32", 20001, 20001, func(r *netlink.Rule) {
				r.IPProto, r.Dport, r.Protocol = 6, netlink.NewRulePortRange(80, 80), unix.RTPROT_STATIC
			})
		}, "20001:\tfrom 10.0.1.10 […] lookup 20001 proto static"},
		{"rule in the band, for a network", func(n *node) {
			ruleFrom(n, "10.0.1.0/24", 20001, 20001, func(r *netlink.Rule) { r.Protocol = unix.RTPROT_KERNEL })
		}, "20001:\tfrom 10.0.1.0/24 lookup 20001 proto kernel"},
		{"rule in the band, to another table", func(n *node) {
			ruleFrom(n, "10.0.1.10/32", 20001, 100, func(r *netlink.Rule) { r.Protocol = unix.RTPROT_KERNEL })
		}, "20001:\tfrom 10.0.1.10 lookup 100 proto kernel"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			w := eni(t)
			n.must(n.nl.LinkSetUp(n.plug("eth1", w.MAC)))
			tt.make(n)
			see := func(when string) {
				t.Helper()
				if text := n.describe(); !strings.Contains(text, tt.want) {
					t.Errorf("%s, %q is gone:\n%s", when, tt.want, text)
				}
			}
			see("at first")
			n.configure(w)
			see("configured")
			w.Addresses = addrs("10.0.1.12")
			n.configure(w)
			see("with another address")
			w.Host = false
			n.configure(w)
			see("with None")
			n.must(n.host.Release(w))
			see("released")
			if _, err := n.host.Sweep(nil); err != nil {
				t.Fatal(err)
			}
			see("swept")
		})
	}
}

// Routes of others in an ENI's own table stay as well, as long as the link has
// an address: static ones to a peered network, for example.
func TestForeignRouteInTheTableStays(t *testing.T) {
	n := newNode(t)
	w := eni(t)
	n.plug("eth1", w.MAC)
	n.configure(w)
	n.must(n.nl.RouteAdd(&netlink.Route{LinkIndex: n.link("eth1").Attrs().Index, Dst: ipNet("10.9.0.0/16"), Table: 20001,
		Protocol: unix.RTPROT_STATIC, Scope: netlink.SCOPE_LINK}))
	const foreign = "10.9.0.0/16 dev eth1 proto static scope link"
	n.configure(w)
	w.Addresses = addrs("10.0.1.12")
	n.configure(w)
	if _, err := n.host.Sweep(nil); err != nil {
		t.Fatal(err)
	}
	if text := n.describe(); !strings.Contains(text, foreign) || strings.Contains(text, "default via") {
		t.Errorf("want %q and no other route:\n%s", foreign, text)
	}
}

// Links that bear the ENI's MAC or look like it are not the ENI.
func TestOtherLinksStay(t *testing.T) {
	n := newNode(t)
	w := eni(t)
	w.InterfaceName = "data0"
	attrs := func(name string) netlink.LinkAttrs {
		a := netlink.NewLinkAttrs()
		a.Name, a.HardwareAddr = name, w.MAC
		return a
	}
	n.must(n.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs("br0")}))
	n.must(n.nl.LinkAdd(&netlink.Veth{LinkAttrs: attrs("pod0"), PeerName: "pod1"}))
	if status := n.configure(w); status.Present {
		t.Fatalf("took a link that is not the ENI: %+v", status)
	}
	n.plug("eth1", w.MAC)
	n.plug("veth5", mac(t, "02:00:00:00:00:77"))
	child := attrs("mv0")
	child.ParentIndex = n.link("eth1").Attrs().Index
	n.must(n.nl.LinkAdd(&netlink.Macvlan{LinkAttrs: child, Mode: netlink.MACVLAN_MODE_BRIDGE}))

	others := []string{"br0", "pod0", "pod1", "veth5", "mv0"}
	lines := func() []string {
		return slices.DeleteFunc(strings.Split(n.describe(), "\n"), func(line string) bool {
			name, _, _ := strings.Cut(line, " ")
			return !slices.Contains(others, name)
		})
	}
	before := lines()
	if len(before) != len(others) {
		t.Fatalf("links to leave alone: %q", before)
	}
	if status := n.configure(w); status.Name != "data0" {
		t.Errorf("status is %+v", status)
	}
	n.must(n.host.Release(w))
	if after := lines(); !slices.Equal(before, after) {
		t.Errorf("other links were %q, are now %q", before, after)
	}
}

func TestTwoLinksWithTheMAC(t *testing.T) {
	n := newNode(t)
	w := eni(t)
	n.plug("eth1", w.MAC)
	n.plug("eth2", w.MAC)
	_, err := n.host.Configure(w)
	var ambiguous *AmbiguousError
	if !errors.As(err, &ambiguous) || !slices.Equal(ambiguous.Links, []string{"eth1", "eth2"}) {
		t.Errorf("error is %v, want an AmbiguousError with both links", err)
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
