package hostnet

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

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

func TestPlanPods(t *testing.T) {
	rangeMoved := podWanted("10.0.1.16/28")
	rangeMoved.DeviceIndex = 3
	cardPods := podWanted("10.0.1.16/28")
	cardPods.Card = 1
	for _, tt := range []planCase{
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
	} {
		tt.run(t)
	}
}
