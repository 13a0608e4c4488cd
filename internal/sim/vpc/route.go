package vpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
)

// route makes the subnet's bridge find the port at its addresses and prefixes.
func (n *Network) route(p *port) error {
	for _, a := range p.neighbours() {
		if err := n.rtnl.NeighSet(p.neighbour(a)); err != nil {
			return fmt.Errorf("tell the bridge about %s: %w", a, err)
		}
	}
	for _, prefix := range p.routed() {
		if err := n.rtnl.RouteReplace(p.routeTo(prefix)); err != nil {
			return fmt.Errorf("add the route to %s: %w", prefix, err)
		}
	}
	return nil
}

// unroute makes the bridge forget what a port has had and does not have any more; nil
// has nothing.
func (n *Network) unroute(old, now *port) error {
	var keep port
	if now != nil {
		keep = *now
	}
	var errs []error
	for _, prefix := range without(old.routed(), keep.routed()) {
		if err := n.rtnl.RouteDel(old.routeTo(prefix)); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("remove the route to %s: %w", prefix, err))
		}
	}
	for _, a := range without(old.neighbours(), keep.neighbours()) {
		if err := n.rtnl.NeighDel(old.neighbour(a)); err != nil && !errors.Is(err, syscall.ENOENT) {
			errs = append(errs, fmt.Errorf("make the bridge forget %s: %w", a, err))
		}
	}
	return errors.Join(errs...)
}

func without[T comparable](list, drop []T) []T {
	return slices.DeleteFunc(list, func(item T) bool { return slices.Contains(drop, item) })
}

// neighbours are the addresses that the bridge is told about: the ENI's, those of its
// IPv4 prefixes, and the one by which its IPv6 prefixes are routed, which are too
// large to be listed.
func (p *port) neighbours() []netip.Addr {
	all := slices.Clone(p.addresses)
	for _, prefix := range p.prefixes {
		if prefix.Addr().Is6() {
			continue
		}
		for a := prefix.Addr(); prefix.Contains(a); a = a.Next() {
			all = append(all, a)
		}
	}
	if len(p.routed()) > 0 {
		all = append(all, p.nextHop())
	}
	return all
}

// routed are the IPv6 prefixes.
func (p *port) routed() []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(p.prefixes), func(prefix netip.Prefix) bool { return prefix.Addr().Is4() })
}

// nextHop is a link-local address that only the router's routes use.
func (p *port) nextHop() netip.Addr {
	raw := [16]byte{0: 0xfe, 1: 0x80, 8: 0x0e, 9: 0xc2}
	binary.BigEndian.PutUint32(raw[12:], uint32(p.number))
	return netip.AddrFrom16(raw)
}

func (p *port) neighbour(a netip.Addr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: p.subnet.bridge, IP: a.AsSlice(), HardwareAddr: p.mac, State: netlink.NUD_PERMANENT}
}

func (p *port) routeTo(prefix netip.Prefix) *netlink.Route {
	return &netlink.Route{LinkIndex: p.subnet.bridge, Dst: ipNet(prefix), Gw: p.nextHop().AsSlice()}
}
