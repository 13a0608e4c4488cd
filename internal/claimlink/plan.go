package claimlink

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
)

// What an ENI has in a pod, apart from routes in main. The pod's namespace is its own, so
// nothing else has numbers there that these could collide with, unless the pod itself
// picks the same.
const (
	// firstTable plus the link's index is the routing table of the ENI.
	firstTable = 20000
	// rulePriority is that of the rules that lead to it.
	rulePriority = 20000
)

// podLink is the configuration of a link in a pod.
type podLink struct {
	mtu       int
	addresses []netip.Prefix
	routes    []route
	// sources are the addresses whose packets must leave by the ENI: EC2 drops them
	// elsewhere. A rule leads from each to the table of the ENI.
	sources []netip.Addr
}

// route is one by the link: without a gateway to what is on the link, and own when it is in
// the table of the ENI rather than in main.
type route struct {
	dst     netip.Prefix
	gateway netip.Addr
	source  netip.Addr
	own     bool
}

// inPod returns the configuration of a device's link in a pod. Main gets what the pod reaches by the
// ENI: its subnet, the NodeENI's others, and what the parameters ask for. Everything else
// stays with the pod's first interface.
func inPod(d claimnetwork.Device) podLink {
	l := podLink{mtu: d.ENI.MTU}
	for _, address := range d.ENI.Addresses {
		subnet, gateway := d.ENI.Subnet(address), d.ENI.Gateway(address)
		l.addresses = append(l.addresses, netip.PrefixFrom(address, subnet.Bits()))
		l.sources = append(l.sources, address)
		for _, own := range []bool{false, true} {
			l.routes = append(l.routes, route{dst: subnet.Masked(), source: address, own: own})
		}
		others := d.ENI.OtherSubnets
		if d.Parameters.RouteVPC {
			others = slices.Concat(others, d.ENI.VPC)
		}
		for _, other := range others {
			if other.Addr().Is4() == address.Is4() && other.Masked() != subnet.Masked() {
				l.route(route{dst: other.Masked(), gateway: gateway, source: address})
			}
		}
		for _, r := range d.Parameters.Routes {
			if r.Dst.Addr().Is4() == address.Is4() {
				via := gateway
				if r.GW.IsValid() {
					via = r.GW
				}
				l.route(route{dst: r.Dst, gateway: via, source: address})
			}
		}
		everything := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		if address.Is4() {
			everything = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		}
		l.route(route{dst: everything, gateway: gateway, source: address, own: true})
	}
	return l
}

// route adds a route. A later one to the same destination replaces the one before, as the
// user's does.
func (l *podLink) route(r route) {
	l.routes = slices.DeleteFunc(l.routes, func(o route) bool { return o.dst == r.dst && o.own == r.own })
	l.routes = append(l.routes, r)
}

// has6 reports whether the link has addresses of IPv6.
func (l podLink) has6() bool { return slices.ContainsFunc(l.sources, netip.Addr.Is6) }

func family(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
