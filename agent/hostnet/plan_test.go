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

// podWanted is what pods have addresses out of, and nothing for the host.
func podWanted(ranges ...string) Wanted {
	w := hostWanted("10.0.1.10")
	w.Host, w.PodRanges, w.Subnets = false, cidrs(ranges...), append(w.Subnets, cidrs("2001:db8:1::/64")...)
	return w
}

// withPods is w with what pods have addresses out of.
func withPods(w Wanted, ranges ...string) Wanted {
	w.PodRanges = cidrs(ranges...)
	return w
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

func TestPlan(t *testing.T) {
	foreignRule := func(r rule, edit func(*rule)) rule { edit(&r); return r }
	ruleOf := func(table int, from string) rule { return newRule(table, prefixOf(netip.MustParseAddr(from))) }
	leased := address{dev: testDev, prefix: netip.MustParsePrefix("10.0.1.10/24"), flags: unix.IFA_F_NOPREFIXROUTE}
	connected := address{dev: testDev, prefix: netip.MustParsePrefix("10.0.1.10/24"), flags: unix.IFA_F_PERMANENT}
	manual := func(prefix string) address { // as NetworkManager makes it
		return address{dev: testDev, prefix: netip.MustParsePrefix(prefix), flags: unix.IFA_F_PERMANENT | unix.IFA_F_NOPREFIXROUTE}
	}
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
	rangeMoved := podWanted("10.0.1.16/28")
	rangeMoved.DeviceIndex = 3
	cardPods := podWanted("10.0.1.16/28")
	cardPods.Card = 1
	moved := hostWanted("10.0.1.10")
	moved.DeviceIndex = 3
	card := hostWanted("10.0.1.10")
	card.Card, card.DeviceIndex = 3, 1

	tests := []struct {
		name string
		want Wanted
		have state
		plan string
	}{
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
		{name: "pods", want: podWanted("10.0.1.16/28", "10.0.1.40/32", "2001:db8:1:0:1::/80"), plan: `
ip route add 10.0.1.0/24 dev if7 proto kernel scope link table 20002
ip route add default via 10.0.1.1 dev if7 proto kernel table 20002
ip -6 route add 2001:db8:1::/64 dev if7 proto kernel metric 1024 table 20002
ip -6 route add default via fe80:ec2::1 dev if7 proto kernel metric 1024 table 20002
ip rule add priority 20002 from 10.0.1.16/28 lookup 20002 proto kernel
ip rule add priority 20000 from 10.0.1.16/28 lookup 20000 proto kernel
ip rule add priority 20002 from 10.0.1.40 lookup 20002 proto kernel
ip rule add priority 20000 from 10.0.1.40 lookup 20000 proto kernel
ip -6 rule add priority 20002 from 2001:db8:1:0:1::/80 lookup 20002 proto kernel
ip -6 rule add priority 20000 from 2001:db8:1:0:1::/80 lookup 20000 proto kernel
`},
		{name: "pods, of IPv6 only", want: podWanted("2001:db8:1:0:1::/80"), plan: `
ip -6 route add 2001:db8:1::/64 dev if7 proto kernel metric 1024 table 20002
ip -6 route add default via fe80:ec2::1 dev if7 proto kernel metric 1024 table 20002
ip -6 rule add priority 20002 from 2001:db8:1:0:1::/80 lookup 20002 proto kernel
ip -6 rule add priority 20000 from 2001:db8:1:0:1::/80 lookup 20000 proto kernel
`},
		{name: "pods, by another network card", want: cardPods, plan: `
ip route add 10.0.1.0/24 dev if7 proto kernel scope link table 20102
ip route add default via 10.0.1.1 dev if7 proto kernel table 20102
ip rule add priority 20102 from 10.0.1.16/28 lookup 20102 proto kernel
ip rule add priority 20000 from 10.0.1.16/28 lookup 20000 proto kernel
`},
		{name: "Host with pods", want: withPods(dualStack(hostWanted("10.0.1.10")).only(unix.AF_INET), "10.0.1.16/28"), plan: `
ip route add 10.0.1.0/24 dev if7 proto kernel scope link table 20002
ip route add default via 10.0.1.1 dev if7 proto kernel table 20002
ip rule add priority 20002 from all fwmark 0x8/0xfff lookup 20002 proto kernel
ip rule add priority 20000 from all fwmark 0x8/0xfff lookup 20000 proto kernel
ip rule add priority 20002 from 10.0.1.10 lookup 20002 proto kernel
ip rule add priority 20000 from 10.0.1.10 lookup 20000 proto kernel
ip rule add priority 20002 from 10.0.1.16/28 lookup 20002 proto kernel
ip rule add priority 20000 from 10.0.1.16/28 lookup 20000 proto kernel
ip addr add 10.0.1.10/24 noprefixroute
`},
		{name: "all there for pods", want: podWanted("10.0.1.16/28", "10.0.1.16/28"), have: configured(podWanted("10.0.1.16/28"))},
		{name: "more pods", want: podWanted("10.0.1.16/28", "10.0.1.32/28"), have: configured(podWanted("10.0.1.16/28")), plan: `
ip rule add priority 20002 from 10.0.1.32/28 lookup 20002 proto kernel
ip rule add priority 20000 from 10.0.1.32/28 lookup 20000 proto kernel
`},
		{name: "an ENI with other ranges in the place of one", want: podWanted("10.0.1.32/28"), have: configured(podWanted("10.0.1.16/28")), plan: `
ip rule add priority 20002 from 10.0.1.32/28 lookup 20002 proto kernel
ip rule add priority 20000 from 10.0.1.32/28 lookup 20000 proto kernel
ip rule del priority 20002 from 10.0.1.16/28 lookup 20002 proto kernel
ip rule del priority 20000 from 10.0.1.16/28 lookup 20000 proto kernel
`},
		{name: "another ENI has the range already", want: podWanted("10.0.1.32/28"), have: func() state {
			s := configured(podWanted("10.0.1.16/28", "10.0.1.32/28"))
			s.rules = append(s.rules, rangeMoved.rules(rangeMoved.PodRanges[0])[0])
			return s
		}(), plan: `
ip rule del priority 20002 from 10.0.1.16/28 lookup 20002 proto kernel
`},
		{name: "another ENI had the range", want: rangeMoved, have: func() state {
			s := configured(podWanted("10.0.1.16/28", "10.0.1.32/28"))
			for i := range s.routes {
				s.routes[i].dev = otherDev
			}
			return s
		}(), plan: `
ip route add 10.0.1.0/24 dev if7 proto kernel scope link table 20003
ip route add default via 10.0.1.1 dev if7 proto kernel table 20003
ip rule add priority 20003 from 10.0.1.16/28 lookup 20003 proto kernel
ip rule del priority 20002 from 10.0.1.16/28 lookup 20002 proto kernel
`},
		{name: "device index changed, with pods", want: rangeMoved, have: configured(podWanted("10.0.1.16/28")), plan: `
ip route add 10.0.1.0/24 dev if7 proto kernel scope link table 20003
ip route add default via 10.0.1.1 dev if7 proto kernel table 20003
ip rule add priority 20003 from 10.0.1.16/28 lookup 20003 proto kernel
ip rule del priority 20002 from 10.0.1.16/28 lookup 20002 proto kernel
ip route del 10.0.1.0/24 dev if7 proto kernel scope link table 20002
ip route del default via 10.0.1.1 dev if7 proto kernel table 20002
`},
		{name: "no pods any more", want: podWanted(), have: configured(podWanted("10.0.1.16/28")), plan: `
ip rule del priority 20002 from 10.0.1.16/28 lookup 20002 proto kernel
ip rule del priority 20000 from 10.0.1.16/28 lookup 20000 proto kernel
ip route del 10.0.1.0/24 dev if7 proto kernel scope link table 20002
ip route del default via 10.0.1.1 dev if7 proto kernel table 20002
`},
		{name: "an address of Host becomes one of pods", want: withPods(hostWanted("10.0.1.10"), "10.0.1.11/32"), have: configured(hostWanted("10.0.1.10", "10.0.1.11")), plan: `
ip addr del 10.0.1.11/24 noprefixroute
`},
		{name: "an address of pods is on the link, and has no rule", want: podWanted("10.0.1.11/32"), have: func() state {
			s := configured(podWanted("10.0.1.11/32"))
			s.addresses, s.rules = []address{manual("10.0.1.11/24"), manual("10.0.1.12/24")}, nil
			return s
		}(), plan: `
ip rule add priority 20002 from 10.0.1.11 lookup 20002 proto kernel
ip rule add priority 20000 from 10.0.1.11 lookup 20000 proto kernel
ip addr del 10.0.1.11/24 noprefixroute
`},
		{name: "an address of pods becomes one of Host", want: hostWanted("10.0.1.10", "10.0.1.11"), have: configured(withPods(hostWanted("10.0.1.10"), "10.0.1.11/32")), plan: `
ip addr add 10.0.1.11/24 noprefixroute
`},
		{name: "Host became None with pods", want: podWanted("10.0.1.16/28"), have: configured(withPods(hostWanted("10.0.1.10"), "10.0.1.16/28")), plan: `
ip addr del 10.0.1.10/24 noprefixroute
ip route add 10.0.1.0/24 dev if7 proto kernel scope link table 20002
ip route add default via 10.0.1.1 dev if7 proto kernel table 20002
ip rule del priority 20002 from all fwmark 0x8/0xfff lookup 20002 proto kernel
ip rule del priority 20000 from all fwmark 0x8/0xfff lookup 20000 proto kernel
ip rule del priority 20002 from 10.0.1.10 lookup 20002 proto kernel
ip rule del priority 20000 from 10.0.1.10 lookup 20000 proto kernel
`},
		{name: "None with pods leaves what is like ours but has no rule", want: podWanted("10.0.1.16/28"), have: func() state {
			s := configured(podWanted("10.0.1.16/28"))
			s.addresses = []address{manual("10.0.1.10/24"), manual("10.0.1.17/24")}
			return s
		}()},
		{name: "also when there are no pods any more", want: podWanted(), have: func() state {
			s := configured(podWanted("10.0.1.16/28"))
			s.addresses = []address{manual("10.0.1.10/24")}
			return s
		}(), plan: `
ip rule del priority 20002 from 10.0.1.16/28 lookup 20002 proto kernel
ip rule del priority 20000 from 10.0.1.16/28 lookup 20000 proto kernel
ip route del 10.0.1.0/24 dev if7 proto kernel scope link table 20002
ip route del default via 10.0.1.1 dev if7 proto kernel table 20002
`},
		{name: "foreign rules of ranges in the band", want: podWanted(), have: state{rules: []rule{
			foreignRule(ruleOf(20002, "10.0.1.10"), func(r *rule) { r.from, r.protocol = netip.MustParsePrefix("10.0.1.16/28"), unix.RTPROT_BOOT }),
			foreignRule(ruleOf(20002, "10.0.1.10"), func(r *rule) { r.from = netip.MustParsePrefix("10.0.1.17/28") }),
			foreignRule(ruleOf(20002, "10.0.1.10"), func(r *rule) { r.from = netip.MustParsePrefix("10.0.1.0/27") }),
			foreignRule(ruleOf(20002, "10.0.1.10"), func(r *rule) { r.from, r.iif = netip.MustParsePrefix("10.0.1.16/28"), "eth1" }),
			foreignRule(ruleOf(20002, "2001:db8:1::10"), func(r *rule) { r.from = netip.MustParsePrefix("2001:db8:1::/64") }),
		}}},
		{name: "foreign routes", want: none, have: func() state {
			static := newRoute(20002, netip.MustParsePrefix("10.9.0.0/16"), netip.MustParseAddr("10.0.1.7"), testDev)
			static.protocol = unix.RTPROT_STATIC
			main := newRoute(unix.RT_TABLE_MAIN, netip.MustParsePrefix("10.0.1.0/24"), netip.Addr{}, testDev)
			return state{routes: []route{static, main}}
		}()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := commands(plan(tt.want, testDev, tt.have))
			if want := strings.TrimPrefix(tt.plan, "\n"); got != want {
				t.Errorf("plan is\n%swant\n%s", got, want)
			}
		})
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

func TestValidate(t *testing.T) {
	good := hostWanted("10.0.1.10")
	good.MAC = mac(t, "02:00:00:00:00:01")
	pods := func(ranges ...string) Wanted {
		w := podWanted(ranges...)
		w.MAC = good.MAC
		return w
	}
	tests := []struct {
		name string
		edit func(*Wanted)
		err  string // "" for none
	}{
		{"good", func(*Wanted) {}, ""},
		{"no MAC", func(w *Wanted) { w.MAC = nil }, "six bytes"},
		{"primary", func(w *Wanted) { w.DeviceIndex = 0 }, "primary ENI"},
		{"first of the second card", func(w *Wanted) { w.Card, w.DeviceIndex = 1, 0 }, ""},
		{"device index", func(w *Wanted) { w.DeviceIndex = 32 }, "0–31"},
		{"card", func(w *Wanted) { w.Card = -1 }, "network card -1"},
		{"MTU", func(w *Wanted) { w.MTU = -1 }, "negative"},
		{"no subnet", func(w *Wanted) { w.Subnets = nil }, "has the address 10.0.1.10, but its subnet has no IPv4 CIDR"},
		{"IPv6 subnet", func(w *Wanted) { w.Subnets = cidrs("2001:db8::/64") }, "no IPv4 CIDR"},
		{"no addresses", func(w *Wanted) { w.Addresses = nil }, "the ENI has no address"},
		{"address of another subnet", func(w *Wanted) { w.Addresses = addrs("10.0.2.10") }, "not within the subnet"},
		{"IPv6 address", func(w *Wanted) { w.Addresses = addrs("2001:db8::1") }, "has the address 2001:db8::1, but its subnet has no IPv6 CIDR"},
		{"dual stack", func(w *Wanted) { *w = dualStack(*w) }, ""},
		{"dual stack, without an IPv6 address", func(w *Wanted) { *w = dualStack(*w); w.Addresses = w.Addresses[:1] }, ""},
		{"IPv6 only", func(w *Wanted) { *w = dualStack(*w).only(unix.AF_INET6) }, ""},
		{"IPv6 address of another subnet", func(w *Wanted) {
			*w = dualStack(*w)
			w.Addresses = addrs("10.0.1.10", "2001:db8:2::10")
		}, "2001:db8:2::10 is not within the subnet 2001:db8:1::/64"},
		{"two subnets of a family", func(w *Wanted) { w.Subnets = cidrs("10.0.1.0/24", "10.0.2.0/24") }, "more than one IPv4 CIDR"},
		{"pods", func(w *Wanted) {
			*w = pods("10.0.1.16/28", "10.0.1.40/32", "2001:db8:1:0:1::/80", "2001:db8:1::7/128")
		}, ""},
		{"pods without an address", func(w *Wanted) { *w = pods("10.0.1.16/28"); w.Addresses = nil }, ""},
		{"pods, and Host without an address", func(w *Wanted) { *w = pods("10.0.1.16/28"); w.Host, w.Addresses = true, nil }, "the ENI has no address"},
		{"pods with no range", func(w *Wanted) { w.PodRanges = make([]netip.Prefix, 1) }, "invalid Prefix is not what pods can have"},
		{"pods with a range of another length", func(w *Wanted) { w.PodRanges = cidrs("10.0.1.0/24") }, "10.0.1.0/24 is not what pods can have addresses out of"},
		{"pods with another length of IPv6", func(w *Wanted) { w.PodRanges = cidrs("2001:db8:1::/64") }, "/80 with IPv6"},
		{"pods with an address for a range", func(w *Wanted) { w.PodRanges = cidrs("10.0.1.17/28") }, "10.0.1.17/28 is not what"},
		{"pods without a subnet", func(w *Wanted) { *w = pods("10.0.1.16/28"); w.Subnets = w.Subnets[1:] }, "pods have addresses out of 10.0.1.16/28, but the ENI's subnet has no IPv4 CIDR"},
		{"pods without an IPv6 subnet", func(w *Wanted) { *w = pods("2001:db8:1:0:1::/80"); w.Subnets = w.Subnets[:1] }, "no IPv6 CIDR: associate one"},
		{"pods of another subnet", func(w *Wanted) { w.PodRanges = cidrs("10.0.2.16/28") }, "10.0.2.16/28, which pods have addresses out of, is not within the subnet 10.0.1.0/24"},
		{"pods with two subnets of a family", func(w *Wanted) { *w = pods("10.0.1.16/28"); w.Subnets = append(w.Subnets, w.Subnets[0]) }, "more than one IPv4 CIDR"},
		{"pods with the host's address", func(w *Wanted) { w.PodRanges = cidrs("10.0.1.0/28") }, "the address 10.0.1.10 cannot be the host's: pods have addresses out of 10.0.1.0/28"},
		{"None needs neither", func(w *Wanted) { w.Host, w.Subnets, w.Addresses = false, nil, nil }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := good
			tt.edit(&w)
			if strings.HasPrefix(tt.name, "pods") && w.Complete() != (tt.err == "") {
				t.Errorf("complete: %v", w.Complete())
			}
			err := w.validate()
			switch {
			case tt.err == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("error is %v, want one with %q", err, tt.err)
			}
		})
	}
}
