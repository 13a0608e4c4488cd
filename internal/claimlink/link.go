package claimlink

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// onTop are links that have the MAC of the one that they are made on.
var onTop = []string{"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "bridge", "bond", "team"}

// Find returns the ENI's link in a namespace, nil if it is not there, and the names of all
// links there.
func Find(ns *netns.Namespace, mac string) (found netlink.Link, names []string, err error) {
	handle, err := ns.Netlink()
	if err != nil {
		return nil, nil, err
	}
	defer handle.Close()
	links, err := handle.LinkList()
	for try := 0; try < 3 && errors.Is(err, netlink.ErrDumpInterrupted); try++ {
		links, err = handle.LinkList()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list links: %w", err)
	}
	for _, link := range links {
		names = append(names, link.Attrs().Name)
		if sameMAC(link.Attrs().HardwareAddr, mac) && !slices.Contains(onTop, link.Type()) {
			found = link
		}
	}
	return found, names, nil
}

func sameMAC(hardware net.HardwareAddr, mac string) bool {
	wanted, err := net.ParseMAC(mac)
	return err == nil && slices.Equal(hardware, wanted)
}

// Move moves a link from one namespace to another and renames it in the same step, so that
// its former name cannot be in the way there.
func Move(link netlink.Link, from, to *netns.Namespace, name string) error {
	return from.Do(func() error {
		return to.With(func(fd int) error {
			request := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
			message := nl.NewIfInfomsg(unix.AF_UNSPEC)
			message.Index = int32(link.Attrs().Index) //nolint:gosec // the kernel's indexes are int32
			request.AddData(message)
			request.AddData(nl.NewRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(fd)))) //nolint:gosec // a descriptor
			request.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
			if _, err := request.Execute(unix.NETLINK_ROUTE, 0); err != nil {
				return fmt.Errorf("move link %s: %w", link.Attrs().Name, err)
			}
			return nil
		})
	})
}

// Configure gives the link of a device in a pod its MTU, addresses, routes, and rules. It
// is idempotent.
func Configure(ns *netns.Namespace, sysctls string, device claimnetwork.Device) error {
	wanted := inPod(device)
	link, _, err := Find(ns, device.ENI.MAC)
	if err != nil {
		return err
	}
	if link == nil {
		return fmt.Errorf("the pod has no link with the MAC %s", device.ENI.MAC)
	}
	if err := ns.Do(func() error { return setSysctls(sysctls, link.Attrs().Name, wanted.has6()) }); err != nil {
		return err
	}
	handle, err := ns.Netlink()
	if err != nil {
		return err
	}
	defer handle.Close()
	p := podHandle{handle, link}
	if mtu := wanted.mtu; mtu > 0 && mtu != link.Attrs().MTU {
		if err := handle.LinkSetMTU(link, mtu); err != nil {
			return fmt.Errorf("set the MTU of %s to %d: %w", link.Attrs().Name, mtu, err)
		}
	}
	if err := handle.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", link.Attrs().Name, err)
	}
	return p.add(wanted)
}

// setSysctls keeps what the VPC's router advertises out of the pod's main table: netlink
// cannot. And it has IPv6 on the link, if the ENI has, where the runtime switches it off
// for the pods of an IPv4 cluster. It must run before the link is up, in the pod's
// namespace.
func setSysctls(dir, link string, has6 bool) error {
	conf := filepath.Join(dir, "ipv6", "conf", link)
	if _, err := os.Stat(conf); errors.Is(err, os.ErrNotExist) && !has6 {
		return nil // a kernel without IPv6
	}
	err := setSysctl(filepath.Join(conf, "accept_ra"))
	if has6 {
		err = errors.Join(err, setSysctl(filepath.Join(conf, "disable_ipv6")))
	} else if err != nil {
		err = nil // no router advertises itself in a subnet without IPv6
	}
	return err
}

// setSysctl sets a sysctl to 0.
func setSysctl(path string) error {
	if is, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(is)) == "0" {
		return nil
	}
	if err := os.WriteFile(path, []byte("0"), 0); err != nil {
		return fmt.Errorf("set a sysctl of the pod: %w; mount the host's /proc/sys/net writable into the container of eni-dra, and name it with --sysctl-dir", err)
	}
	return nil
}

// podHandle configures one link of a pod.
type podHandle struct {
	*netlink.Handle
	link netlink.Link
}

func (p podHandle) add(wanted podLink) error {
	name := p.link.Attrs().Name
	for _, address := range wanted.addresses {
		a := &netlink.Addr{IPNet: ipNet(address), Flags: unix.IFA_F_NOPREFIXROUTE}
		if address.Addr().Is6() {
			a.Flags |= unix.IFA_F_NODAD // EC2 has detected duplicates
		}
		if err := p.AddrReplace(p.link, a); err != nil {
			return fmt.Errorf("add address %s to %s: %w", address, name, err)
		}
	}
	for _, r := range wanted.routes {
		if err := p.addRoute(r); err != nil {
			return fmt.Errorf("add the route to %s by %s: %w", r.dst, name, err)
		}
	}
	for _, source := range wanted.sources {
		if err := p.addRule(source); err != nil {
			return fmt.Errorf("add the rule for packets from %s: %w", source, err)
		}
	}
	return nil
}

func (p podHandle) table() int { return firstTable + p.link.Attrs().Index }

func (p podHandle) addRoute(r route) error {
	wanted := netlink.Route{LinkIndex: p.link.Attrs().Index, Dst: ipNet(r.dst), Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_STATIC}
	if r.own {
		wanted.Table = p.table()
	}
	if r.source.Is4() {
		wanted.Src = r.source.AsSlice() // IPv6 would wait until the address is not tentative
	}
	if r.gateway.IsValid() {
		wanted.Gw = r.gateway.AsSlice()
	} else if r.dst.Addr().Is4() {
		wanted.Scope = netlink.SCOPE_LINK
	}
	return p.RouteReplace(&wanted)
}

// addRule adds the rule for a source, unless it is there, and removes one that an attempt
// before this one has left, to another table.
func (p podHandle) addRule(source netip.Addr) error {
	is, err := p.RuleListFiltered(family(source), &netlink.Rule{Priority: rulePriority}, netlink.RT_FILTER_PRIORITY)
	if err != nil {
		return err
	}
	from := ipNet(netip.PrefixFrom(source, source.BitLen()))
	for _, r := range is {
		if r.Src == nil || r.Src.String() != from.String() {
			continue
		}
		if r.Table == p.table() {
			return nil
		}
		if err := p.RuleDel(&r); err != nil {
			return err
		}
	}
	rule := netlink.NewRule()
	rule.Family, rule.Src, rule.Table, rule.Priority = family(source), from, p.table(), rulePriority
	return p.RuleAdd(rule)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
