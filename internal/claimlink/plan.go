package claimlink

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// The routing tables and rules in a pod. The routes of ENIs are not in main, so main stays
// as the container runtime has made it, and packets from the pod's other addresses, such
// as the answers to the kubelet's probes, never leave by an ENI: EC2 would drop them.
const (
	// sharedTable has the routes by all ENIs of the pod.
	sharedTable = 20000
	// firstTable plus the index of a link is the table for packets from its ENI's addresses.
	firstTable = 20000

	ruleFromENI    = 20000 // from an ENI's address to the ENI's table
	ruleFromOthers = 20001 // from any other address of the pod to main
	ruleShared     = 20002 // packets that have no source address yet to sharedTable
)

// podLink is the configuration of an ENI's link in a pod.
type podLink struct {
	mtu       int
	addresses []netip.Prefix // each with the length of its subnet
	// sources are the ENI's addresses and prefixes. EC2 drops packets from them that leave
	// by any other ENI.
	sources []netip.Prefix
	// routes are for both sharedTable and the table of the ENI, defaults for the latter.
	routes, defaults []route
}

// route is a route by the link; the destination is on the link if there is no gateway.
type route struct {
	dst     netip.Prefix
	gateway netip.Addr
	source  netip.Addr
}

// inPod returns the configuration of a device's link in a pod.
func inPod(d claimnetwork.Device) podLink {
	l := podLink{mtu: d.ENI.MTU}
	for _, family := range podnetwork.Families {
		l.add(d, family)
	}
	return l
}

// add adds the addresses and routes of one family. The pod reaches by the ENI its subnet,
// the NodeENI's other subnets, and what the parameters ask for.
func (l *podLink) add(d claimnetwork.Device, family func(netip.Addr) bool) {
	var own []netip.Prefix
	for _, address := range d.ENI.Addresses {
		if family(address) {
			own = append(own, netip.PrefixFrom(address, address.BitLen()))
		}
	}
	own = append(own, d.ENI.RangesOf(family)...)
	if len(own) == 0 {
		return
	}
	subnet, gateway := d.ENI.Subnet(own[0].Addr()), d.ENI.Gateway(own[0].Addr())
	var source netip.Addr // what the pod sends from unless a program chooses
	for _, p := range own {
		if p.IsSingleIP() { // of a prefix, the pod assigns addresses itself
			l.addresses = append(l.addresses, netip.PrefixFrom(p.Addr(), subnet.Bits()))
			if !source.IsValid() {
				source = p.Addr()
			}
		}
	}
	l.sources = append(l.sources, own...)

	l.route(route{dst: subnet.Masked(), source: source})
	others := d.ENI.OtherSubnets
	if d.Parameters.RouteVPC {
		others = slices.Concat(others, d.ENI.VPC)
	}
	for _, other := range others {
		if family(other.Addr()) && other.Masked() != subnet.Masked() {
			l.route(route{dst: other.Masked(), gateway: gateway, source: source})
		}
	}
	for _, r := range d.Parameters.Routes {
		via := gateway
		if r.GW.IsValid() {
			via = r.GW
		}
		if family(r.Dst.Addr()) {
			l.route(route{dst: r.Dst, gateway: via, source: source})
		}
	}
	everything := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	if subnet.Addr().Is4() {
		everything = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	if !slices.ContainsFunc(l.routes, func(r route) bool { return r.dst == everything }) {
		l.defaults = append(l.defaults, route{dst: everything, gateway: gateway, source: source})
	}
}

// route adds a route, in place of a former one to the same destination: a route of the
// parameters replaces those that the driver adds.
func (l *podLink) route(r route) {
	l.routes = slices.DeleteFunc(l.routes, func(o route) bool { return o.dst == r.dst })
	l.routes = append(l.routes, r)
}

// has6 reports whether the ENI has IPv6 addresses or prefixes.
func (l podLink) has6() bool {
	return slices.ContainsFunc(l.sources, func(p netip.Prefix) bool { return p.Addr().Is6() })
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
