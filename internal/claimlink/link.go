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

// onTop are the types of links that have the MAC address of the link below them.
var onTop = []string{"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "bridge", "bond", "team"}

// Find returns the link of an ENI in a namespace, or nil, and the names of all links there.
func Find(ns *netns.Namespace, mac string) (found netlink.Link, names []string, err error) {
	links, err := list(ns)
	for _, link := range links {
		names = append(names, link.Attrs().Name)
		if isOf(link, mac) {
			found = link
		}
	}
	return found, names, err
}

func list(ns *netns.Namespace) ([]netlink.Link, error) {
	handle, err := ns.Netlink()
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	links, err := handle.LinkList()
	for try := 0; try < 3 && errors.Is(err, netlink.ErrDumpInterrupted); try++ {
		links, err = handle.LinkList()
	}
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return links, nil
}

// isOf reports whether a link is that of the ENI with the MAC.
func isOf(link netlink.Link, mac string) bool {
	return sameMAC(link.Attrs().HardwareAddr, mac) && !slices.Contains(onTop, link.Type())
}

func sameMAC(hardware net.HardwareAddr, mac string) bool {
	wanted, err := net.ParseMAC(mac)
	return err == nil && slices.Equal(hardware, wanted)
}

// Move moves a link to another namespace and renames it in the same request, so that its
// former name cannot collide with one there.
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

// setSysctls keeps the routes that the VPC's router advertises out of the pod's main table,
// which netlink cannot do. It also enables IPv6 on the link of an ENI with IPv6, because
// runtimes disable it in the pods of an IPv4 cluster. It must run in the pod's namespace,
// before the link is up.
func setSysctls(dir, link string, has6 bool) error {
	conf := filepath.Join(dir, "ipv6", "conf", link)
	if _, err := os.Stat(conf); errors.Is(err, os.ErrNotExist) && !has6 {
		return nil // a kernel without IPv6
	}
	err := setSysctl(filepath.Join(conf, "accept_ra"))
	if has6 {
		err = errors.Join(err, setSysctl(filepath.Join(conf, "disable_ipv6")))
	} else if err != nil {
		err = nil // in a subnet without IPv6, no router sends advertisements
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
	for table, routes := range map[int][]route{sharedTable: wanted.routes, p.table(): slices.Concat(wanted.routes, wanted.defaults)} {
		for _, r := range routes {
			if err := p.addRoute(r, table); err != nil {
				return fmt.Errorf("add the route to %s by %s: %w", r.dst, name, err)
			}
		}
	}
	return p.addRules(wanted.sources)
}

// table is the one for packets from the ENI's addresses.
func (p podHandle) table() int { return firstTable + p.link.Attrs().Index }

func (p podHandle) addRoute(r route, table int) error {
	wanted := netlink.Route{LinkIndex: p.link.Attrs().Index, Dst: ipNet(r.dst), Table: table, Protocol: unix.RTPROT_STATIC}
	if r.source.IsValid() {
		wanted.Src = r.source.AsSlice()
	}
	if r.gateway.IsValid() {
		wanted.Gw = r.gateway.AsSlice()
	} else if r.dst.Addr().Is4() {
		wanted.Scope = netlink.SCOPE_LINK
	}
	return p.RouteReplace(&wanted)
}

// addRules adds the rules for the ENI's addresses and, in each of their families, for the
// other addresses of the pod and for packets without a source address.
func (p podHandle) addRules(sources []netip.Prefix) error {
	families := map[int]bool{}
	for _, source := range sources {
		families[familyOf(source.Addr())] = true
		if err := p.addRule(ruleFromENI, familyOf(source.Addr()), ipNet(source), p.table()); err != nil {
			return err
		}
	}
	for family := range families {
		others, err := p.otherAddresses(family)
		if err != nil {
			return err
		}
		for _, other := range others {
			if err := p.addRule(ruleFromOthers, family, other, unix.RT_TABLE_MAIN); err != nil {
				return err
			}
		}
		if err := p.addRule(ruleShared, family, nil, sharedTable); err != nil {
			return err
		}
	}
	return nil
}

// otherAddresses are the addresses of the pod's links that are not ENIs.
func (p podHandle) otherAddresses(family int) (others []*net.IPNet, err error) {
	addresses, err := p.AddrList(nil, family)
	if err != nil {
		return nil, fmt.Errorf("list the addresses of the pod: %w", err)
	}
	ofENIs, err := p.rules(ruleFromENI, family)
	if err != nil {
		return nil, err
	}
	for _, a := range addresses {
		ofENI := slices.ContainsFunc(ofENIs, func(r netlink.Rule) bool { return r.Src != nil && r.Src.Contains(a.IP) })
		if !ofENI && a.Scope == int(netlink.SCOPE_UNIVERSE) {
			bits := 8 * len(a.IPNet.Mask)
			others = append(others, &net.IPNet{IP: a.IP, Mask: net.CIDRMask(bits, bits)})
		}
	}
	return others, nil
}

func (p podHandle) rules(priority, family int) ([]netlink.Rule, error) {
	rules, err := p.RuleListFiltered(family, &netlink.Rule{Priority: priority}, netlink.RT_FILTER_PRIORITY)
	if err != nil {
		return nil, fmt.Errorf("list the rules of the pod: %w", err)
	}
	return rules, nil
}

// addRule adds a rule for packets from a source, or for all packets if from is nil, unless
// it exists. It deletes one that leads to another table, which an interrupted attempt has
// left.
func (p podHandle) addRule(priority, family int, from *net.IPNet, table int) error {
	rules, err := p.rules(priority, family)
	if err != nil {
		return err
	}
	for _, r := range rules {
		switch {
		case r.Src.String() != from.String(): // <nil> for all packets
		case r.Table == table:
			return nil
		default:
			if err := p.RuleDel(&r); err != nil {
				return fmt.Errorf("delete the rule %s: %w", r, err)
			}
		}
	}
	rule := netlink.NewRule()
	rule.Family, rule.Src, rule.Table, rule.Priority = family, from, table, priority
	if err := p.RuleAdd(rule); err != nil {
		return fmt.Errorf("add the rule %s: %w", rule, err)
	}
	return nil
}

// deleteRules deletes the rules for the addresses of an ENI that a pod has lost. The kernel has
// removed the addresses and routes with the link.
func deleteRules(ns *netns.Namespace, device claimnetwork.Device) error {
	handle, err := ns.Netlink()
	if err != nil {
		return err
	}
	defer handle.Close()
	p := podHandle{Handle: handle}
	for _, source := range inPod(device).sources {
		rules, err := p.rules(ruleFromENI, familyOf(source.Addr()))
		if err != nil {
			return err
		}
		for _, r := range rules {
			if r.Src.String() != ipNet(source).String() {
				continue
			}
			if err := p.RuleDel(&r); err != nil {
				return fmt.Errorf("delete the rule %s: %w", r, err)
			}
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
