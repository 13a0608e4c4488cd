package hostnet

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// forPods is what the tests want of an ENI in a dual-stack subnet that is for pods.
func forPods(t testing.TB) Wanted {
	w := dual(t)
	w.Host, w.MTU, w.Addresses = false, 0, addrs("10.0.1.10", "2001:db8:1::10")
	w.PodRanges = cidrs("10.0.1.16/28", "10.0.1.40/32", "2001:db8:1:0:1::/80")
	return w
}

func TestConfigurePods(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.1.5/24")
	w := forPods(t)
	n.plug("eth1", w.MAC)
	bare := n.describe()
	if status := n.configure(w); status.Repaired != 11 {
		t.Errorf("configured with %d changes, want 11", status.Repaired)
	}
	const configured = `
# ip -br addr
lo               UNKNOWN  mtu 65536 127.0.0.1/8
eth0             UP       mtu 1500 02:00:00:00:00:00 10.0.1.5/24
eth1             UP       mtu 1500 02:00:00:00:00:01
# ip rule
0:	from all lookup local proto kernel
20000:	from 10.0.1.16/28 lookup 20000 proto kernel
20000:	from 10.0.1.40 lookup 20000 proto kernel
20001:	from 10.0.1.16/28 lookup 20001 proto kernel
20001:	from 10.0.1.40 lookup 20001 proto kernel
32766:	from all lookup main proto kernel
32767:	from all lookup default proto kernel
# ip route show table main
default via 10.0.1.1 dev eth0 proto dhcp
10.0.1.0/24 dev eth0 proto kernel scope link src 10.0.1.5
# ip route show table 20000
throw 10.0.1.0/24 proto kernel
# ip route show table 20001
default via 10.0.1.1 dev eth1 proto kernel
10.0.1.0/24 dev eth1 proto kernel scope link
# ip -6 rule
0:	from all lookup local proto kernel
20000:	from 2001:db8:1:0:1::/80 lookup 20000 proto kernel
20001:	from 2001:db8:1:0:1::/80 lookup 20001 proto kernel
32766:	from all lookup main proto kernel
# ip -6 route show table 20000
throw 2001:db8:1::/64 dev lo proto kernel metric 1
# ip -6 route show table 20001
2001:db8:1::/64 dev eth1 proto kernel metric 1024
default via fe80:ec2::1 dev eth1 proto kernel metric 1024
`
	n.see("configured,", configured)
	if status := n.configure(w); status.Repaired != 0 {
		t.Errorf("a second Configure made %d changes", status.Repaired)
	}
	if removed, err := n.host.Sweep([]Wanted{w}); removed != 0 || err != nil {
		t.Errorf("Sweep = %d, %v", removed, err)
	}
	n.see("swept,", configured)

	// Host, and back.
	w.Host = true
	n.configure(w)
	for _, want := range []string{"10.0.1.10/24 noprefixroute 2001:db8:1::10/128", "from 10.0.1.10 lookup 20001", "from 10.0.1.16/28 lookup 20001", "fwmark 0x4/0xfff lookup 20001"} {
		if text := n.describe(); !strings.Contains(text, want) {
			t.Errorf("with Host there is no %q in\n%s", want, text)
		}
	}
	w.Host = false
	if events := n.record(func() { n.configure(w) }); slices.Contains(events, "del rule 10.0.1.16/28 lookup 20001") {
		t.Errorf("with None again, rules of pods were gone: %q", events)
	}
	n.see("with None again,", configured)

	// The same with what an agent may know that was killed.
	down := strings.Replace("\n"+bare, "eth1             UP  ", "eth1             DOWN", 1)
	n.must(n.host.Release(w))
	n.see("released,", down)
	n.configure(w)
	known := w
	known.PodRanges = nil
	n.must(n.host.Release(known))
	_, err := n.host.Sweep(nil)
	n.must(err)
	n.see("released with less knowledge, and swept,", down)
	n.configure(w)
	n.must(n.nl.LinkDel(n.link("eth1")))
	if removed, err := n.host.Sweep(nil); err != nil || removed != 8 || strings.Contains(n.describe(), "2000") {
		t.Errorf("Sweep = %d, %v, and there is still\n%s", removed, err, n.describe())
	}
}

// Ranges come and go in place: no rule leads to a table without routes, and what stays is
// never gone.
func TestOrderPods(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.1.5/24")
	w := forPods(t).only(unix.AF_INET)
	w.PodRanges = w.PodRanges[:1]
	n.plug("eth1", w.MAC)
	check := func(what string, f func(), want []string) {
		t.Helper()
		if got := n.record(f); !slices.Equal(got, want) {
			t.Errorf("%s happened as\n%q, want\n%q", what, got, want)
		}
	}
	check("Configure", func() { n.configure(w) }, []string{
		"link up: true",
		"add route 10.0.1.0/24 table 20000",
		"add route 10.0.1.0/24 table 20001",
		"add route 0.0.0.0/0 table 20001",
		"add rule 10.0.1.16/28 lookup 20001",
		"add rule 10.0.1.16/28 lookup 20000",
	})
	check("another range", func() { w.PodRanges = cidrs("10.0.1.16/28", "10.0.1.32/28"); n.configure(w) }, []string{
		"add rule 10.0.1.32/28 lookup 20001",
		"add rule 10.0.1.32/28 lookup 20000",
	})
	check("a range less", func() { w.PodRanges = cidrs("10.0.1.32/28"); n.configure(w) }, []string{
		"del rule 10.0.1.16/28 lookup 20000",
		"del rule 10.0.1.16/28 lookup 20001",
	})
	check("another device index", func() { w.DeviceIndex = 2; n.configure(w) }, []string{
		"add route 10.0.1.0/24 table 20002",
		"add route 0.0.0.0/0 table 20002",
		"add rule 10.0.1.32/28 lookup 20002",
		"del rule 10.0.1.32/28 lookup 20001",
		"del route 0.0.0.0/0 table 20001",
		"del route 10.0.1.0/24 table 20001",
	})
	check("Release", func() { n.must(n.host.Release(w)) }, []string{
		"del rule 10.0.1.32/28 lookup 20000",
		"del rule 10.0.1.32/28 lookup 20002",
		"del route 0.0.0.0/0 table 20002",
		"del route 10.0.1.0/24 table 20002",
		"del route 10.0.1.0/24 table 20000",
		"link up: false",
	})
}

// What others delete is announced, and comes back.
func TestPodRulesAreGuarded(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.0.5/24")
	w := forPods(t)
	n.plug("eth1", w.MAC)
	n.configure(w)
	want := n.describe()
	changed, err := n.host.Watch(t.Context())
	n.must(err)
	for _, r := range wanted(w, n.link("eth1").Attrs().Index).rules {
		n.must(n.host.conn.apply(0, change{del, r}))
		await(t, changed, "the end of a rule")
		if status := n.configure(w); status.Repaired != 1 {
			t.Errorf("%d changes after the end of %v", status.Repaired, r)
		}
	}
	n.see("in the end", "\n"+want)
}

// EC2 gives a range that is free to the next ENI, a device index as well. Whichever ENI is
// configured first, both are right then.
func TestRangesMove(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.0.5/24")
	random := rand.New(rand.NewPCG(7, 7))
	all := cidrs("10.0.1.16/28", "10.0.1.32/28", "10.0.1.40/32", "10.0.1.41/32", "2001:db8:1:0:1::/80", "2001:db8:1:0:2::/80", "2001:db8:1::77/128")
	enis := make([]Wanted, 3)
	for i := range enis {
		enis[i] = forPods(t)
		enis[i].MAC = net.HardwareAddr{2, 0, 0, 0, 0, byte(i + 1)}
		enis[i].Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 1, byte(10 + i)})}
		n.plug(fmt.Sprintf("eth%d", i+1), enis[i].MAC)
	}
	for round := range 60 {
		for i, at := range random.Perm(len(enis)) {
			enis[i].DeviceIndex, enis[i].Host, enis[i].PodRanges = at+1, random.IntN(3) == 0, nil
		}
		for _, p := range all {
			if at := random.IntN(len(enis) + 1); at < len(enis) {
				enis[at].PodRanges = append(enis[at].PodRanges, p)
			}
		}
		order := random.Perm(len(enis))
		for range 2 { // its own changes make an agent look again
			for _, i := range order {
				n.configure(enis[i])
			}
		}
		left, want := 0, map[rule]bool{}
		for i, w := range enis {
			have, err := n.host.conn.ofENI(n.link(fmt.Sprintf("eth%d", i+1)).Attrs().Index, w.Table())
			n.must(err)
			s := wanted(w, n.link(fmt.Sprintf("eth%d", i+1)).Attrs().Index)
			for _, r := range s.rules {
				want[r] = true
				if !slices.Contains(have.rules, r) {
					t.Errorf("round %d: %v is missing", round, r)
				}
			}
			for _, r := range s.routes {
				if !slices.Contains(have.routes, r) {
					t.Errorf("round %d: %v is missing", round, r)
				}
			}
			left = len(have.rules)
		}
		if left != len(want) {
			t.Errorf("round %d, in the order %v: there are %d rules, want %d:\n%s", round, order, left, len(want), n.describe())
		}
		if removed, err := n.host.Sweep(enis); removed != 0 || err != nil {
			t.Errorf("round %d: Sweep = %d, %v", round, removed, err)
		}
	}
}

// Neither a port of a bridge nor a link without IPv6 can be used for pods.
func TestLinkNotForPods(t *testing.T) {
	n := newNode(t)
	w := forPods(t)
	link := n.plug("eth1", w.MAC)
	sysctlOf(t, n.ns, "ipv6", map[string]string{"conf/eth1/disable_ipv6": "1"})
	_, err := n.host.Configure(w)
	if off := (*IPv6Error)(nil); !errors.As(err, &off) {
		t.Errorf("without IPv6 the error is %v", err)
	}
	if text := n.describe(); !strings.Contains(text, "from 10.0.1.16/28 lookup 20001") || strings.Contains(text, "2001:db8") {
		t.Errorf("without IPv6 there is\n%s", text)
	}
	n.must(n.nl.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}))
	n.must(n.nl.LinkSetMaster(link, n.link("br0")))
	_, err = n.host.Configure(w)
	if master := (*MasterError)(nil); !errors.As(err, &master) {
		t.Errorf("as a port of a bridge the error is %v", err)
	}
}
