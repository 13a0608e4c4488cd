package cni

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// delegation is the configuration of the plugin that makes the pod's interface.
type delegation struct {
	CNIVersion string          `json:"cniVersion"`
	Name       string          `json:"name"`
	Type       string          `json:"type"`
	Master     string          `json:"master,omitempty"` // ipvlan
	Mode       string          `json:"mode,omitempty"`   // ipvlan
	Device     string          `json:"device,omitempty"` // host-device
	MTU        int             `json:"mtu,omitempty"`
	DNS        json.RawMessage `json:"dns,omitempty"`
	IPAM       static          `json:"ipam"`
}

// static is the configuration of the IPAM plugin that hands on what it is told. The
// addresses are reserved already, with the attachment; host-local would do that later.
type static struct {
	Type      string         `json:"type"`
	Addresses []address      `json:"addresses"`
	Routes    []*types.Route `json:"routes"`
}

const ipam = "static"

type address struct {
	Address netip.Prefix `json:"address"`
	Gateway netip.Addr   `json:"gateway"`
}

// ptpGateway6 is the gateway of IPv6 with ptp.
var ptpGateway6 = netip.MustParseAddr("fe80::1")

// ptpGateway is the gateway of a pod's address with ptp, which gives it to the host's end
// of the pod's link. The address of the subnet's router must not become one of the host's,
// or the host would not reach it. So it is the ENI's own, which no pod gets. An address outside
// of the subnet would not do: ptp of older reference plugins fails to add routes by it.
// For IPv6 a link-local address does, and the ENI may have no address of its own.
func ptpGateway(e podnetwork.ENI, pod netip.Addr) netip.Addr {
	for _, own := range e.Addresses {
		if own.Is4() && pod.Is4() {
			return own
		}
	}
	return ptpGateway6
}

// delegate makes the delegate's configuration for a pod with these addresses of the ENI,
// whose link has this name now.
func (c Config) delegate(e podnetwork.ENI, link string, pod []netip.Addr) ([]byte, error) {
	d := delegation{CNIVersion: c.CNIVersion, Name: c.Name, Type: c.Mode, DNS: c.DNS, MTU: e.MTU}
	if c.MTU > e.MTU && e.MTU != 0 {
		return nil, types.NewError(types.ErrInvalidNetworkConfig,
			fmt.Sprintf("network %q: mtu: %d is more than the %d of ENI %s", c.Name, c.MTU, e.MTU, e.ID), "")
	}
	if c.MTU != 0 {
		d.MTU = c.MTU
	}
	switch c.Mode {
	case IPVLAN:
		d.Master, d.Mode = link, "l2"
	case HostDevice:
		d.Device, d.MTU = link, 0
	}
	routes, err := c.routes(e, pod)
	if err != nil {
		return nil, err
	}
	d.IPAM = static{Type: ipam, Routes: routes}
	for _, a := range pod {
		gateway := e.Gateway(a)
		if c.Mode == PTP {
			gateway = ptpGateway(e, a)
		}
		d.IPAM.Addresses = append(d.IPAM.Addresses, address{netip.PrefixFrom(a, e.Subnet(a).Bits()), gateway})
		for _, r := range routes {
			// Delegates take the gateway by themselves, but CHECK of older ones does not.
			if network, _ := prefixOf(r.Dst); r.GW == nil && network.Addr().Is4() == a.Is4() {
				r.GW = gateway.AsSlice()
			}
		}
	}
	return json.Marshal(d)
}

// routes are the user's, and those to the NodeENI's other subnets and to the VPC by the
// gateway. The ENI's own subnet needs none. There is no default route but the user's.
func (c Config) routes(e podnetwork.ENI, pod []netip.Addr) ([]*types.Route, error) {
	has := func(network netip.Addr) bool {
		return slices.ContainsFunc(pod, func(a netip.Addr) bool { return a.Is4() == network.Is4() })
	}
	routed := slices.Clone(e.Subnets)
	for i, r := range c.Routes {
		dst, ok := prefixOf(r.Dst)
		if !ok || !has(dst.Addr()) {
			return nil, types.NewError(types.ErrInvalidNetworkConfig,
				fmt.Sprintf("network %q: routes[%[2]d]: pods get no address of the same family as %[3]s from NodeENI %[4]s", c.Name, i, r.Dst.String(), c.NodeENI), "")
		}
		routed = append(routed, dst)
	}
	routes := append([]*types.Route{}, c.Routes...)
	networks := e.OtherSubnets
	if c.RouteVPC {
		networks = slices.Concat(networks, e.VPC)
	}
	for _, network := range networks {
		if network = network.Masked(); has(network.Addr()) && !slices.Contains(routed, network) {
			routed = append(routed, network)
			routes = append(routes, &types.Route{Dst: ipNet(network)})
		}
	}
	return routes, nil
}

func ipNet(p netip.Prefix) net.IPNet {
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefixOf(n net.IPNet) (netip.Prefix, bool) {
	a, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits).Masked(), ok
}
