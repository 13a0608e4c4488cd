package hostnet

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// What the kernel, and EC2, do otherwise for IPv6 than for IPv4 is in this file.

// families are the address families, in the order in which they are shown.
var families = []uint8{unix.AF_INET, unix.AF_INET6}

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func familyName(family uint8) string {
	if family == unix.AF_INET {
		return "IPv4"
	}
	return "IPv6"
}

// everywhere is the destination of a default route.
func everywhere(family uint8) netip.Prefix {
	if family == unix.AF_INET {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// router6 is the VPC's router in every subnet with IPv6.
var router6 = netip.MustParseAddr("fe80:ec2::1")

// Router is the VPC's router in this subnet. With IPv4, it has the subnet's second
// address.
func Router(subnet netip.Prefix) netip.Addr {
	if subnet.Addr().Is4() {
		return subnet.Masked().Addr().Next()
	}
	return router6
}

// prefixOf is the prefix that has only this address.
func prefixOf(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// isSource reports whether a rule of ours may lead from p: one address, or a prefix of the
// length that EC2 gives to ENIs.
func isSource(p netip.Prefix) bool {
	prefix := 28
	if p.Addr().Is6() {
		prefix = 80
	}
	return p.IsSingleIP() || p.Bits() == prefix && p == p.Masked()
}

// newAddress is one address of an ENI in this subnet. It makes no connected
// route: that one would be in main, and could beat the primary's. EC2 gives each
// address out once, so the kernel does not have to look for duplicates of IPv6
// addresses, which would take a second.
func newAddress(a netip.Addr, subnet netip.Prefix) address {
	if a.Is4() {
		return address{prefix: netip.PrefixFrom(a, subnet.Bits()), flags: unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_PERMANENT}
	}
	return address{prefix: netip.PrefixFrom(a, a.BitLen()), flags: unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_PERMANENT | unix.IFA_F_NODAD}
}

// displaces: the kernel does not have both on one link. IPv6 does not look at the length
// of the prefix.
func (a address) displaces(o address) bool {
	return a.prefix == o.prefix || a.prefix.Addr().Is6() && a.prefix.Addr() == o.prefix.Addr()
}

// newRoute is a route of the ENI with this table. Without a gateway, dst is
// on the link. Routes of IPv6 have no scope, and the metric 1024 when none is given.
func newRoute(table int, dst netip.Prefix, gateway netip.Addr, dev int) route {
	r := route{
		table:    table,
		dst:      dst,
		gateway:  gateway,
		dev:      dev,
		kind:     unix.RTN_UNICAST,
		scope:    unix.RT_SCOPE_UNIVERSE,
		protocol: unix.RTPROT_KERNEL,
	}
	switch {
	case dst.Addr().Is6():
		r.metric = 1024 // IP6_RT_PRIO_USER of linux/ipv6_route.h
	case !gateway.IsValid():
		r.scope = unix.RT_SCOPE_LINK
	}
	return r
}

// bestKey is the key of the route to dst that goes before all others. With IPv6, the
// metric 0 stands for 1024.
func bestKey(dst netip.Prefix) routeKey {
	if dst.Addr().Is6() {
		return routeKey{dst: dst, metric: 1}
	}
	return routeKey{dst: dst}
}

// isDefault: the route stands for a default route. VPNs put 0.0.0.0/1 and 128.0.0.0/1
// before the one that is there, and for IPv6, OpenVPN, ::/3, 2000::/4 and 3000::/4.
func isDefault(dst netip.Prefix) bool {
	if dst.Addr().Is4() {
		return dst.Bits() <= 1
	}
	return dst.Bits() <= 4
}

// linkLocal: every link has such an IPv6 address and a route to fe80::/64. They are
// always used together with the link's name, so they concern no other link.
func linkLocal(a netip.Addr) bool { return a.Is6() && a.IsLinkLocalUnicast() }
