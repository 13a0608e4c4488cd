package vpc

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

const (
	kernelNames = "eth%d"
	// udevDelay is how long a link has its first name where it is renamed.
	udevDelay = 100 * time.Millisecond
	// primaryMetric is that of systemd-networkd on Amazon Linux 2023.
	primaryMetric = 512
)

// port is the VPC's end of a plugged ENI.
type port struct {
	name       string // of the link in the router's namespace
	number     int    // in the name
	link       int    // its ifindex there
	subnet     *subnet
	instanceID string
	mac        net.HardwareAddr
	addresses  []netip.Addr   // of both families
	prefixes   []netip.Prefix // of both families
	check      bool           // source and destination
	attachment cloud.Attachment
}

// follow takes over what can change of an ENI that is plugged in.
func (p *port) follow(eni cloud.Interface) {
	p.addresses = slices.Concat(eni.PrivateIPs, eni.IPv6Addresses)
	p.prefixes = slices.Concat(eni.IPv4Prefixes, eni.IPv6Prefixes)
	p.check = eni.SourceDestCheck
}

// ranges are the addresses, as prefixes of one, and the prefixes.
func (p *port) ranges() []netip.Prefix {
	var ranges []netip.Prefix
	for _, a := range p.addresses {
		ranges = append(ranges, netip.PrefixFrom(a, a.BitLen()))
	}
	return append(ranges, p.prefixes...)
}

// has says whether an address is the ENI's, by itself or in a prefix.
func (p *port) has(a netip.Addr) bool {
	return slices.ContainsFunc(p.ranges(), func(own netip.Prefix) bool { return own.Contains(a) })
}

// Plug makes the ENI appear on its instance: as a link that is down and has
// no address, or, at device index 0 of card 0, as the one that the instance has
// booted with.
func (n *Network) Plug(instanceID string, eni cloud.Interface) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.plug(instanceID, eni); err != nil {
		return fmt.Errorf("plug %s into %s: %w", eni.ID, instanceID, err)
	}
	return nil
}

func (n *Network) plug(instanceID string, eni cloud.Interface) error {
	node, subnet := n.nodes[instanceID], n.subnets[eni.SubnetID]
	switch {
	case n.closed():
		return errors.New("the network is closed")
	case node == nil:
		return errors.New("the instance has no namespace")
	case subnet == nil:
		return fmt.Errorf("subnet %s has no bridge", eni.SubnetID)
	case n.ports[eni.ID] != nil:
		return errors.New("it is plugged in already")
	case eni.Attachment == nil || len(eni.PrivateIPs)+len(eni.IPv6Addresses)+len(eni.IPv6Prefixes) == 0:
		return errors.New("it has no attachment or no address")
	case eni.Attachment.Primary() && len(eni.PrivateIPs) == 0:
		return errors.New("a primary ENI needs an IPv4 address here, to reach EC2's endpoint")
	}
	mac, err := net.ParseMAC(eni.MAC)
	if err != nil {
		return err
	}
	n.lastPort++
	p := &port{name: fmt.Sprintf("port%d", n.lastPort), number: n.lastPort, subnet: subnet, instanceID: instanceID, mac: mac, attachment: *eni.Attachment}
	p.follow(eni)
	// The rules are there before the first packet is.
	if err := n.filter(func(f *filter) { f.addPort(eni.ID, p) }); err != nil {
		return err
	}
	n.ports[eni.ID] = p
	name, err := n.connect(node.ns, p, eni.Attachment)
	if err == nil {
		err = n.openPort(p, eni.ID)
	}
	if err == nil && eni.Attachment.Primary() {
		err = node.ns.Do(func() error { return configurePrimary(name, eni, subnet) })
	}
	if err != nil {
		return errors.Join(err, n.unplug(eni.ID))
	}
	return nil
}

// connect makes the veth pair and returns the name of its end on the node.
// That end is created right there, with its MAC, so that it appears in one
// piece, as a PCI device does.
func (n *Network) connect(ns *netns.Namespace, p *port, at *cloud.Attachment) (string, error) {
	const attempts = 64
	names, number := n.links.Names, n.links.First+int(at.DeviceIndex)
	rename := n.links.Rename && !at.Primary() && names != kernelNames
	if rename {
		names, number = kernelNames, int(at.DeviceIndex)
	}
	for range attempts {
		name := fmt.Sprintf(names, number)
		number++
		veth := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{
				Name: p.name, MTU: mtu, TxQLen: -1, MasterIndex: p.subnet.bridge, Flags: net.FlagUp,
			},
			PeerName:         name,
			PeerMTU:          uint32(n.links.MTU),
			PeerHardwareAddr: p.mac,
		}
		err := ns.With(func(fd int) error {
			veth.PeerNamespace = netlink.NsFd(fd)
			return n.rtnl.LinkAdd(veth)
		})
		if errors.Is(err, syscall.EEXIST) {
			continue // the node has a link of that name
		}
		if err != nil {
			return "", fmt.Errorf("make the link %s: %w", name, err)
		}
		p.link = veth.Attrs().Index
		if rename {
			n.renameSoon(ns, p.mac, name, fmt.Sprintf(n.links.Names, n.links.First+int(at.DeviceIndex)))
		}
		return name, nil
	}
	return "", fmt.Errorf("the instance has links of all names up to "+names, number-1)
}

// openPort tells the bridge about the ENI's MAC and addresses. As in EC2,
// nothing is learned from packets, frames go to the MAC they are meant for or
// nowhere, and ARP requests of an ENI are answered by the VPC, so that an
// address is always found at the ENI it belongs to.
func (n *Network) openPort(p *port, eniID string) error {
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Index: p.link}}
	if err := n.rtnl.LinkSetAlias(link, eniID); err != nil {
		return fmt.Errorf("name the port: %w", err)
	}
	if err := n.rtnl.LinkSetLearning(link, false); err != nil {
		return fmt.Errorf("turn learning off: %w", err)
	}
	if err := n.rtnl.LinkSetFlood(link, false); err != nil {
		return fmt.Errorf("turn flooding off: %w", err)
	}
	if err := n.rtnl.LinkSetBrProxyArp(link, true); err != nil {
		return fmt.Errorf("turn answering ARP on: %w", err)
	}
	err := n.rtnl.NeighSet(&netlink.Neigh{
		LinkIndex: p.link, HardwareAddr: p.mac,
		Family: unix.AF_BRIDGE, State: netlink.NUD_NOARP, Flags: netlink.NTF_MASTER,
	})
	if err != nil {
		return fmt.Errorf("tell the bridge about %s: %w", p.mac, err)
	}
	return n.route(p)
}

// configurePrimary does on the calling thread's namespace what the operating
// system of an instance has done when it is up.
func configurePrimary(name string, eni cloud.Interface, s *subnet) error {
	rtnl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer rtnl.Close()
	link, err := rtnl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find the primary link %s: %w", name, err)
	}
	if err := rtnl.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	own := ipNet(netip.PrefixFrom(eni.PrivateIPs[0], s.gateway.Bits()))
	addresses := []netlink.Addr{{IPNet: own, Flags: unix.IFA_F_NOPREFIXROUTE}}
	routes := []netlink.Route{
		{Dst: ipNet(s.gateway.Masked()), Src: own.IP, Scope: netlink.SCOPE_LINK, Protocol: unix.RTPROT_KERNEL},
		{Dst: ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0)), Src: own.IP, Gw: s.gateway.Addr().AsSlice(), Protocol: unix.RTPROT_DHCP},
	}
	if len(eni.IPv6Addresses) > 0 {
		own := ipNet(netip.PrefixFrom(eni.IPv6Addresses[0], 128))
		addresses = append(addresses, netlink.Addr{IPNet: own, Flags: unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_NODAD})
		routes = append(routes,
			netlink.Route{Dst: ipNet(s.ipv6), Protocol: unix.RTPROT_RA},
			netlink.Route{Dst: ipNet(netip.PrefixFrom(netip.IPv6Unspecified(), 0)), Gw: gateway6.AsSlice(), Protocol: unix.RTPROT_RA})
	}
	for _, a := range addresses {
		if err := rtnl.AddrAdd(link, &a); err != nil {
			return fmt.Errorf("add %s to %s: %w", a.IPNet, name, err)
		}
	}
	for _, r := range routes {
		r.LinkIndex, r.Priority = link.Attrs().Index, primaryMetric
		if err := rtnl.RouteAdd(&r); err != nil {
			return fmt.Errorf("add the route %s: %w", r, err)
		}
	}
	return nil
}

// renameSoon renames a link as udev does: late, and only if it still has the name
// that it came with.
func (n *Network) renameSoon(ns *netns.Namespace, mac net.HardwareAddr, from, to string) {
	n.background.Go(func() {
		select {
		case <-n.done:
			return
		case <-time.After(udevDelay):
		}
		// A link that is gone, renamed already or in the way of the new name
		// stays as it is; udev does no more than log it.
		_ = ns.Do(func() error {
			link, err := netlink.LinkByName(from)
			if err != nil || link.Attrs().HardwareAddr.String() != mac.String() {
				return err
			}
			return netlink.LinkSetName(link, to)
		})
	})
}

// Unplug makes the ENI's link disappear. An ENI that is not plugged in is no
// error.
func (n *Network) Unplug(instanceID, eniID string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.ports[eniID]; n.closed() || p == nil || p.instanceID != instanceID {
		return nil
	}
	if err := n.unplug(eniID); err != nil {
		return fmt.Errorf("unplug %s from %s: %w", eniID, instanceID, err)
	}
	return nil
}

func (n *Network) unplug(eniID string) error {
	p := n.ports[eniID]
	delete(n.ports, eniID)
	var errs []error
	if p.link != 0 {
		err := n.rtnl.LinkDel(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Index: p.link}})
		if err != nil && !errors.Is(err, syscall.ENODEV) { // the node may delete its end, and so both
			errs = append(errs, fmt.Errorf("delete the link: %w", err))
		}
	}
	if err := n.unroute(p, nil); err != nil {
		errs = append(errs, err)
	}
	if err := n.keepDrops(eniID); err != nil {
		errs = append(errs, err)
	}
	if err := n.filter(func(f *filter) { f.deletePort(eniID, p) }); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Update makes the VPC follow new addresses or another SourceDestCheck. An
// ENI that is not plugged in is no error.
func (n *Network) Update(eni cloud.Interface) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.ports[eni.ID]
	if n.closed() || p == nil {
		return nil
	}
	old := *p
	p.follow(eni)
	errs := []error{n.filter(func(f *filter) { f.replacePort(eni.ID, p) }), n.unroute(&old, p), n.route(p)}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("update %s: %w", eni.ID, err)
	}
	return nil
}
