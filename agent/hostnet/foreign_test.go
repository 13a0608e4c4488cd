package hostnet

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

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
		{"address in the subnet, as NetworkManager makes it", func(n *node) {
			a := parseAddr(t, "10.0.1.96/24")
			a.Flags = unix.IFA_F_NOPREFIXROUTE
			n.must(n.nl.AddrAdd(n.link("eth1"), a))
		}, "10.0.1.96/24 noprefixroute"},
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
		{"rule in the band, for a range, of another protocol", func(n *node) {
			ruleFrom(n, "10.0.1.64/28", 20001, 20001, func(r *netlink.Rule) { r.Protocol = unix.RTPROT_STATIC })
		}, "20001:\tfrom 10.0.1.64/28 lookup 20001 proto static"},
		{"rule in the band, for a range of another length", func(n *node) {
			ruleFrom(n, "10.0.1.64/27", 20001, 20001, func(r *netlink.Rule) { r.Protocol = unix.RTPROT_KERNEL })
		}, "20001:\tfrom 10.0.1.64/27 lookup 20001 proto kernel"},
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
			w.PodRanges = cidrs("10.0.1.32/28", "10.0.1.13/32")
			n.configure(w)
			see("with pods")
			w.Host = false
			n.configure(w)
			see("with None and pods")
			w.PodRanges = nil
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
