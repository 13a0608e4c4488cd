package hostnet

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const testDev = 7

func addrs(list ...string) []netip.Addr {
	var all []netip.Addr
	for _, s := range list {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

func cidrs(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func hostWanted(addresses ...string) Wanted {
	return Wanted{
		Host:        true,
		Addresses:   addrs(addresses...),
		Subnets:     cidrs("10.0.1.0/24"),
		DeviceIndex: 2,
	}
}

// dualStack is w with an IPv6 address.
func dualStack(w Wanted) Wanted {
	w.Addresses = append(slices.Clone(w.Addresses), addrs("2001:db8:1::10")...)
	w.Subnets = append(slices.Clone(w.Subnets), cidrs("2001:db8:1::/64")...)
	return w
}

// configured is what the kernel has once w is carried out.
func configured(w Wanted) state {
	s := wanted(w, testDev)
	for i := range s.addresses {
		s.addresses[i].dev = testDev
	}
	return s
}

func commands(changes []change) string {
	var b strings.Builder
	for _, c := range changes {
		fmt.Fprintln(&b, c)
	}
	return b.String()
}

func foreignRule(r rule, edit func(*rule)) rule { edit(&r); return r }

func ruleOf(table int, from string) rule { return newRule(table, prefixOf(netip.MustParseAddr(from))) }

// manual is an address as NetworkManager makes it.
func manual(prefix string) address {
	return address{dev: testDev, prefix: netip.MustParsePrefix(prefix), flags: unix.IFA_F_PERMANENT | unix.IFA_F_NOPREFIXROUTE}
}

// planCase is what a kernel has, and the plan that leads from there to what is wanted.
type planCase struct {
	name string
	want Wanted
	have state
	plan string
}

func (tt planCase) run(t *testing.T) {
	t.Run(tt.name, func(t *testing.T) {
		got := commands(plan(tt.want, testDev, tt.have))
		if want := strings.TrimPrefix(tt.plan, "\n"); got != want {
			t.Errorf("plan is\n%swant\n%s", got, want)
		}
	})
}

func TestPlan(t *testing.T) {
	leased := address{dev: testDev, prefix: netip.MustParsePrefix("10.0.1.10/24"), flags: unix.IFA_F_NOPREFIXROUTE}
	connected := address{dev: testDev, prefix: netip.MustParsePrefix("10.0.1.10/24"), flags: unix.IFA_F_PERMANENT}
	elsewhere := address{dev: testDev, prefix: netip.MustParsePrefix("192.168.7.1/24"),
		flags: unix.IFA_F_PERMANENT | unix.IFA_F_NOPREFIXROUTE}

	// What the kernel makes of an advertisement, on Linux before 5.18 and later, and what
	// people and DHCP clients add.
	slaac := address{dev: testDev, prefix: netip.MustParsePrefix("2001:db8:1::ff:fe00:1/64"), flags: unix.IFA_F_MANAGETEMPADDR}
	temporary := address{dev: testDev, prefix: netip.MustParsePrefix("2001:db8:1::7777/64"), flags: unix.IFA_F_TEMPORARY, maker: madeOfAdvertisement}
	static6 := address{dev: testDev, prefix: netip.MustParsePrefix("2001:db8:7::7/64"), flags: unix.IFA_F_PERMANENT}
	leased6 := address{dev: testDev, prefix: netip.MustParsePrefix("2001:db8:1::20/128")}
	onLink := func(dst string) route {
		return newRoute(unix.RT_TABLE_MAIN, netip.MustParsePrefix(dst), netip.Addr{}, testDev)
	}
	ra := newRoute(unix.RT_TABLE_MAIN, everywhere(unix.AF_INET6), netip.MustParseAddr("fe80::1"), testDev)
	ra.protocol = unix.RTPROT_RA

	none := hostWanted("10.0.1.10")
	none.Host = false
	moved := hostWanted("10.0.1.10")
	moved.DeviceIndex = 3
	card := hostWanted("10.0.1.10")
	card.Card, card.DeviceIndex = 3, 1

	for _, tt := range []planCase{
		{name: "fresh link", want: hostWanted("10.0.1.10", "10.0.1.11"), plan: `
ip route add 10.0.1.0/24 dev if7 proto kernel scope link table 20002
ip route add default via 10.0.1.1 dev if7 proto kernel table 20002
ip rule add priority 20002 from all fwmark 0x8/0xfff lookup 20002 proto kernel
ip rule add priority 20000 from all fwmark 0x8/0xfff lookup 20000 proto kernel
ip rule add priority 20002 from 10.0.1.10 lookup 20002 proto kernel
ip rule add priority 20000 from 10.0.1.10 lookup 20000 proto kernel
ip rule add priority 20002 from 10.0.1.11 lookup 20002 proto kernel
ip rule add priority 20000 from 10.0.1.11 lookup 20000 proto kernel
ip addr add 10.0.1.10/24 noprefixroute
ip addr add 10.0.1.11/24 noprefixroute
`},
		{name: "card", want: card, plan: `
ip route add 10.0.1.0/24 dev if7 proto kernel scope link table 20301
ip route add default via 10.0.1.1 dev if7 proto kernel table 20301
ip rule add priority 20301 from 10.0.1.10 lookup 20301 proto kernel
ip rule add priority 20000 from 10.0.1.10 lookup 20000 proto kernel
ip addr add 10.0.1.10/24 noprefixroute
`},
		{name: "dual stack", want: dualStack(hostWanted("10.0.1.10")), plan: `
ip route add 10.0.1.0/24 dev if7 proto kernel scope link table 20002
ip route add default via 10.0.1.1 dev if7 proto kernel table 20002
ip -6 route add 2001:db8:1::/64 dev if7 proto kernel metric 1024 table 20002
ip -6 route add default via fe80:ec2::1 dev if7 proto kernel metric 1024 table 20002
ip rule add priority 20002 from all fwmark 0x8/0xfff lookup 20002 proto kernel
ip rule add priority 20000 from all fwmark 0x8/0xfff lookup 20000 proto kernel
ip -6 rule add priority 20002 from all fwmark 0x8/0xfff lookup 20002 proto kernel
ip -6 rule add priority 20000 from all fwmark 0x8/0xfff lookup 20000 proto kernel
ip rule add priority 20002 from 10.0.1.10 lookup 20002 proto kernel
ip rule add priority 20000 from 10.0.1.10 lookup 20000 proto kernel
ip -6 rule add priority 20002 from 2001:db8:1::10 lookup 20002 proto kernel
ip -6 rule add priority 20000 from 2001:db8:1::10 lookup 20000 proto kernel
ip addr add 10.0.1.10/24 noprefixroute
ip addr add 2001:db8:1::10/128 nodad noprefixroute
`},
		{name: "IPv6 added", want: dualStack(hostWanted("10.0.1.10")), have: configured(hostWanted("10.0.1.10")), plan: `
ip -6 route add 2001:db8:1::/64 dev if7 proto kernel metric 1024 table 20002
ip -6 route add default via fe80:ec2::1 dev if7 proto kernel metric 1024 table 20002
ip -6 rule add priority 20002 from all fwmark 0x8/0xfff lookup 20002 proto kernel
ip -6 rule add priority 20000 from all fwmark 0x8/0xfff lookup 20000 proto kernel
ip -6 rule add priority 20002 from 2001:db8:1::10 lookup 20002 proto kernel
ip -6 rule add priority 20000 from 2001:db8:1::10 lookup 20000 proto kernel
ip addr add 2001:db8:1::10/128 nodad noprefixroute
`},
		{name: "IPv4 taken off", want: dualStack(hostWanted("10.0.1.10")).only(unix.AF_INET6), have: configured(dualStack(hostWanted("10.0.1.10"))), plan: `
ip addr del 10.0.1.10/24 noprefixroute
ip rule del priority 20002 from all fwmark 0x8/0xfff lookup 20002 proto kernel
ip rule del priority 20000 from all fwmark 0x8/0xfff lookup 20000 proto kernel
ip rule del priority 20002 from 10.0.1.10 lookup 20002 proto kernel
ip rule del priority 20000 from 10.0.1.10 lookup 20000 proto kernel
ip route del 10.0.1.0/24 dev if7 proto kernel scope link table 20002
ip route del default via 10.0.1.1 dev if7 proto kernel table 20002
`},
		{name: "IPv6 address with the subnet's prefix", want: dualStack(hostWanted()).only(unix.AF_INET6), have: func() state {
			s := configured(dualStack(hostWanted()).only(unix.AF_INET6))
			s.addresses = []address{manual("2001:db8:1::10/64")}
			return s
		}(), plan: `
ip addr del 2001:db8:1::10/64 noprefixroute
ip -6 route add 2001:db8:1::/64 dev if7 proto kernel metric 1024 table 20002
ip -6 route add default via fe80:ec2::1 dev if7 proto kernel metric 1024 table 20002
ip addr add 2001:db8:1::10/128 nodad noprefixroute
`},
		{name: "None, and a router has advertised itself", want: none, have: state{
			addresses: []address{slaac, temporary, static6, leased6},
			routes:    []route{ra, onLink("2001:db8:1::/64"), onLink("2001:db8:7::/64"), onLink("fe80::/64"), newRoute(101, netip.MustParsePrefix("2001:db8:1::/64"), netip.Addr{}, testDev)},
		}, plan: `
ip -6 route del default via fe80::1 dev if7 proto ra metric 1024 table main
ip -6 route del 2001:db8:1::/64 dev if7 proto kernel metric 1024 table main
ip addr del 2001:db8:1::ff:fe00:1/64
ip addr del 2001:db8:1::7777/64
`},
		{name: "same address twice", want: hostWanted("10.0.1.10", "10.0.1.10"), have: configured(hostWanted("10.0.1.10"))},
		{name: "all there", want: hostWanted("10.0.1.10"), have: configured(hostWanted("10.0.1.10"))},
		{name: "the kernel adds flags", want: hostWanted("10.0.1.10"), have: func() state {
			s := configured(hostWanted("10.0.1.10"))
			s.addresses[0].flags |= unix.IFA_F_SECONDARY
			return s
		}()},
		{name: "addressing None on a fresh link", want: none},
		{name: "Host became None", want: none, have: configured(hostWanted("10.0.1.10")), plan: `
ip addr del 10.0.1.10/24 noprefixroute
ip rule del priority 20002 from all fwmark 0x8/0xfff lookup 20002 proto kernel
ip rule del priority 20000 from all fwmark 0x8/0xfff lookup 20000 proto kernel
ip rule del priority 20002 from 10.0.1.10 lookup 20002 proto kernel
ip rule del priority 20000 from 10.0.1.10 lookup 20000 proto kernel
ip route del 10.0.1.0/24 dev if7 proto kernel scope link table 20002
ip route del default via 10.0.1.1 dev if7 proto kernel table 20002
`},
		{name: "address added", want: hostWanted("10.0.1.10", "10.0.1.11"), have: configured(hostWanted("10.0.1.10")), plan: `
ip rule add priority 20002 from 10.0.1.11 lookup 20002 proto kernel
ip rule add priority 20000 from 10.0.1.11 lookup 20000 proto kernel
ip addr add 10.0.1.11/24 noprefixroute
`},
		{name: "address taken off", want: hostWanted("10.0.1.11"), have: configured(hostWanted("10.0.1.10", "10.0.1.11")), plan: `
ip addr del 10.0.1.10/24 noprefixroute
ip rule del priority 20002 from 10.0.1.10 lookup 20002 proto kernel
ip rule del priority 20000 from 10.0.1.10 lookup 20000 proto kernel
`},
		{name: "only address changed", want: hostWanted("10.0.1.11"), have: configured(hostWanted("10.0.1.10")), plan: `
ip rule add priority 20002 from 10.0.1.11 lookup 20002 proto kernel
ip rule add priority 20000 from 10.0.1.11 lookup 20000 proto kernel
ip addr add 10.0.1.11/24 noprefixroute
ip addr del 10.0.1.10/24 noprefixroute
ip rule del priority 20002 from 10.0.1.10 lookup 20002 proto kernel
ip rule del priority 20000 from 10.0.1.10 lookup 20000 proto kernel
`},
		{name: "device index changed", want: moved, have: configured(hostWanted("10.0.1.10")), plan: `
ip route add 10.0.1.0/24 dev if7 proto kernel scope link table 20003
ip route add default via 10.0.1.1 dev if7 proto kernel table 20003
ip rule add priority 20003 from all fwmark 0xc/0xfff lookup 20003 proto kernel
ip rule add priority 20000 from all fwmark 0xc/0xfff lookup 20000 proto kernel
ip rule add priority 20003 from 10.0.1.10 lookup 20003 proto kernel
ip rule del priority 20002 from all fwmark 0x8/0xfff lookup 20002 proto kernel
ip rule del priority 20000 from all fwmark 0x8/0xfff lookup 20000 proto kernel
ip rule del priority 20002 from 10.0.1.10 lookup 20002 proto kernel
ip route del 10.0.1.0/24 dev if7 proto kernel scope link table 20002
ip route del default via 10.0.1.1 dev if7 proto kernel table 20002
`},
		{name: "rule and route gone", want: hostWanted("10.0.1.10"), have: func() state {
			s := configured(hostWanted("10.0.1.10"))
			s.rules, s.routes = nil, s.routes[:1]
			return s
		}(), plan: `
ip route add default via 10.0.1.1 dev if7 proto kernel table 20002
ip rule add priority 20002 from all fwmark 0x8/0xfff lookup 20002 proto kernel
ip rule add priority 20000 from all fwmark 0x8/0xfff lookup 20000 proto kernel
ip rule add priority 20002 from 10.0.1.10 lookup 20002 proto kernel
ip rule add priority 20000 from 10.0.1.10 lookup 20000 proto kernel
`},
		{name: "table left by another link", want: hostWanted("10.0.1.10"), have: func() state {
			s := configured(hostWanted("10.0.1.10"))
			s.rules = append(s.rules, ruleOf(20002, "10.0.9.9"))
			s.routes = append(s.routes, newRoute(20002, netip.MustParsePrefix("10.0.9.0/24"), netip.Addr{}, 5))
			return s
		}(), plan: `
ip rule del priority 20002 from 10.0.9.9 lookup 20002 proto kernel
ip route del 10.0.9.0/24 dev if5 proto kernel scope link table 20002
`},
		{name: "another ENI's table", want: hostWanted("10.0.1.10"), have: func() state {
			s := configured(hostWanted("10.0.1.10"))
			s.rules = append(s.rules, ruleOf(20003, "10.0.1.20"))
			s.routes = append(s.routes, newRoute(20003, netip.MustParsePrefix("10.0.1.0/24"), netip.Addr{}, 5))
			return s
		}()},
		{name: "address of a DHCP client serves", want: hostWanted("10.0.1.10"), have: func() state {
			s := configured(hostWanted("10.0.1.10"))
			s.addresses = []address{leased}
			return s
		}()},
		{name: "address with a connected route", want: hostWanted("10.0.1.10"), have: state{addresses: []address{connected, elsewhere}}, plan: `
ip route add 10.0.1.0/24 dev if7 proto kernel scope link table 20002
ip route add default via 10.0.1.1 dev if7 proto kernel table 20002
ip rule add priority 20002 from all fwmark 0x8/0xfff lookup 20002 proto kernel
ip rule add priority 20000 from all fwmark 0x8/0xfff lookup 20000 proto kernel
ip rule add priority 20002 from 10.0.1.10 lookup 20002 proto kernel
ip rule add priority 20000 from 10.0.1.10 lookup 20000 proto kernel
ip addr del 10.0.1.10/24
ip route add 10.0.1.0/24 dev if7 proto kernel scope link table 20002
ip route add default via 10.0.1.1 dev if7 proto kernel table 20002
ip addr add 10.0.1.10/24 noprefixroute
`},
		{name: "None leaves foreign addresses", want: none, have: state{addresses: []address{leased, connected, elsewhere}}},
		{name: "None leaves what is like ours in another subnet", want: none, have: state{addresses: []address{elsewhere}}},
		{name: "None leaves what is like ours but has no rule", want: none, have: state{addresses: []address{manual("10.0.1.10/24"), manual("10.0.1.99/24")}}},
		{name: "and so does Host", want: hostWanted("10.0.1.10"), have: func() state {
			s := configured(hostWanted("10.0.1.10"))
			s.addresses = append(s.addresses, manual("10.0.1.99/24"))
			return s
		}()},
		{name: "Host became None, and the rule has been deleted", want: none, have: func() state {
			s := configured(hostWanted("10.0.1.10"))
			s.addresses, s.rules = append(s.addresses, manual("10.0.1.99/24")), nil
			return s
		}(), plan: `
ip addr del 10.0.1.10/24 noprefixroute
ip route del 10.0.1.0/24 dev if7 proto kernel scope link table 20002
ip route del default via 10.0.1.1 dev if7 proto kernel table 20002
`},
		{name: "Host became None, and the rule is not ours", want: none, have: func() state {
			s := configured(hostWanted("10.0.1.10"))
			s.rules[2].protocol, s.routes = unix.RTPROT_BOOT, nil
			return s
		}(), plan: `
ip addr del 10.0.1.10/24 noprefixroute
ip rule del priority 20002 from all fwmark 0x8/0xfff lookup 20002 proto kernel
ip rule del priority 20000 from all fwmark 0x8/0xfff lookup 20000 proto kernel
ip rule del priority 20000 from 10.0.1.10 lookup 20000 proto kernel
`},
		{name: "foreign rules in the band", want: none, have: state{rules: []rule{
			foreignRule(ruleOf(20002, "10.0.1.10"), func(r *rule) { r.protocol = unix.RTPROT_BOOT }),
			foreignRule(ruleOf(20002, "10.0.1.10"), func(r *rule) { r.table = 100 }),
			foreignRule(ruleOf(20002, "10.0.1.10"), func(r *rule) { r.mark, r.markMask = 1, 1 }),
			foreignRule(ruleOf(20002, "10.0.1.10"), func(r *rule) { r.more = true }),
			foreignRule(ruleOf(20002, "10.0.1.10"), func(r *rule) { r.not = true }),
			foreignRule(ruleOf(20002, "10.0.1.10"), func(r *rule) { r.from = netip.MustParsePrefix("10.0.1.0/24") }),
			foreignRule(ruleOf(20002, "10.0.1.10"), func(r *rule) { r.to = netip.MustParsePrefix("10.0.1.0/24") }),
			foreignRule(ruleOf(20002, "10.0.1.10"), func(r *rule) { r.iif = "eth1" }),
			ruleOf(101, "10.0.1.10"),
			ruleOf(19999, "10.0.1.10"),
			ruleOf(23132, "10.0.1.10"),
		}}},
		{name: "foreign rule that does the same", want: hostWanted("10.0.1.10"), have: func() state {
			s := configured(hostWanted("10.0.1.10"))
			s.rules[2].protocol = unix.RTPROT_BOOT
			return s
		}()},
		{name: "foreign routes", want: none, have: func() state {
			static := newRoute(20002, netip.MustParsePrefix("10.9.0.0/16"), netip.MustParseAddr("10.0.1.7"), testDev)
			static.protocol = unix.RTPROT_STATIC
			main := newRoute(unix.RT_TABLE_MAIN, netip.MustParsePrefix("10.0.1.0/24"), netip.Addr{}, testDev)
			return state{routes: []route{static, main}}
		}()},
	} {
		tt.run(t)
	}
}

func TestPlanRelease(t *testing.T) {
	w := hostWanted("10.0.1.10")
	have := configured(w)
	// Another ENI has the device index by now.
	have.rules = append(have.rules, newRule(20002, netip.MustParsePrefix("10.0.1.20/32")))
	have.routes = append(have.routes, newRoute(20002, netip.MustParsePrefix("10.0.7.0/24"), netip.Addr{}, 9))

	const want = `ip addr del 10.0.1.10/24 noprefixroute
ip rule del priority 20002 from 10.0.1.10 lookup 20002 proto kernel
ip rule del priority 20000 from 10.0.1.10 lookup 20000 proto kernel
ip route del 10.0.1.0/24 dev if7 proto kernel scope link table 20002
ip route del default via 10.0.1.1 dev if7 proto kernel table 20002
`
	if got := commands(planRelease(w, testDev, have)); got != want {
		t.Errorf("with the link:\n%swant\n%s", got, want)
	}
	for n := range planRelease(w, testDev, have) { // killed after so many of them
		after := have
		for _, ch := range planRelease(w, testDev, have)[:n] {
			after = after.made(ch)
		}
		for _, ch := range planRelease(w, testDev, after) {
			after = after.made(ch)
		}
		if len(after.addresses) > 0 || len(after.rules) != 3 || len(after.routes) != 1 {
			t.Errorf("killed after %d steps, the next release leaves %+v", n, after)
		}
	}
	pods := podWanted("10.0.1.16/28", "10.0.1.40/32")
	const ofPods = `ip rule del priority 20002 from 10.0.1.16/28 lookup 20002 proto kernel
ip rule del priority 20000 from 10.0.1.16/28 lookup 20000 proto kernel
ip rule del priority 20002 from 10.0.1.40 lookup 20002 proto kernel
ip rule del priority 20000 from 10.0.1.40 lookup 20000 proto kernel
ip route del 10.0.1.0/24 dev if7 proto kernel scope link table 20002
ip route del default via 10.0.1.1 dev if7 proto kernel table 20002
`
	if got := commands(planRelease(pods, testDev, configured(pods))); got != ofPods {
		t.Errorf("of pods:\n%swant\n%s", got, ofPods)
	}
	have.addresses, have.routes = nil, have.routes[2:]
	const gone = `ip rule del priority 20002 from 10.0.1.10 lookup 20002 proto kernel
ip rule del priority 20000 from 10.0.1.10 lookup 20000 proto kernel
`
	if got := commands(planRelease(w, 0, have)); got != gone {
		t.Errorf("without the link:\n%swant\n%s", got, gone)
	}
}

func TestSweepPlan(t *testing.T) {
	kept, none := hostWanted("10.0.1.10"), hostWanted("10.0.1.30")
	none.Host, none.DeviceIndex = false, 4
	have := configured(kept)
	have.addresses = nil
	have.rules = append(have.rules,
		newRule(20002, netip.MustParsePrefix("10.0.1.20/32")), // kept table, lost address
		newRule(20003, netip.MustParsePrefix("10.0.1.10/32")), // kept address, lost table
		newRule(20004, netip.MustParsePrefix("10.0.1.30/32")), // no longer Host
		newRule(19999, netip.MustParsePrefix("10.0.1.40/32")),
	)
	have.routes = append(have.routes,
		newRoute(20004, netip.MustParsePrefix("10.0.1.0/24"), netip.Addr{}, 9),
		newRoute(unix.RT_TABLE_MAIN, netip.MustParsePrefix("10.0.1.0/24"), netip.Addr{}, 9),
	)
	pods, gone := podWanted("10.0.1.16/28", "2001:db8:1:0:1::/80"), podWanted("10.0.1.32/28")
	pods.DeviceIndex, gone.DeviceIndex = 5, 6
	have.rules = append(have.rules, configured(pods).rules...)
	have.rules = append(have.rules, newRule(20005, netip.MustParsePrefix("10.0.1.48/28"))) // kept table, lost range
	have.rules = append(have.rules, configured(gone).rules...)
	have.routes = append(have.routes, configured(pods).routes...)
	have.routes = append(have.routes, configured(gone).routes...)
	const want = `ip rule del priority 20002 from 10.0.1.20 lookup 20002 proto kernel
ip rule del priority 20003 from 10.0.1.10 lookup 20003 proto kernel
ip rule del priority 20004 from 10.0.1.30 lookup 20004 proto kernel
ip rule del priority 20005 from 10.0.1.48/28 lookup 20005 proto kernel
ip rule del priority 20006 from 10.0.1.32/28 lookup 20006 proto kernel
ip rule del priority 20000 from 10.0.1.32/28 lookup 20000 proto kernel
ip route del 10.0.1.0/24 dev if9 proto kernel scope link table 20004
ip route del 10.0.1.0/24 dev if7 proto kernel scope link table 20006
ip route del default via 10.0.1.1 dev if7 proto kernel table 20006
`
	if got := commands(sweep([]Wanted{kept, none, pods}, have)); got != want {
		t.Errorf("sweep is\n%swant\n%s", got, want)
	}
}
