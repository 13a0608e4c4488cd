package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// hostState is what the kernel of a node shows, read with a library of its own
// and put into the words of ip(8).
type hostState struct {
	links     []netlink.Link
	addresses []hostFact
	rules     []netlink.Rule
	routes    []netlink.Route
	names     map[int]string
}

// hostFact is a line about a link.
type hostFact struct {
	link int
	text string
}

// host reads a node's configuration of both IP families.
func (c *cluster) host(node string) hostState {
	c.t.Helper()
	var s hostState
	c.onHost(node, func(h *netlink.Handle) (err error) {
		for {
			// A list during which the kernel's own has changed is read again.
			if s, err = readHost(h); !errors.Is(err, netlink.ErrDumpInterrupted) {
				return err
			}
		}
	})
	return s
}

func readHost(h *netlink.Handle) (s hostState, err error) {
	if s.links, err = h.LinkList(); err != nil {
		return s, err
	}
	s.names = map[int]string{}
	for _, l := range s.links {
		s.names[l.Attrs().Index] = l.Attrs().Name
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		addresses, err := h.AddrList(nil, family)
		if err != nil {
			return s, err
		}
		for _, a := range addresses {
			text := a.IPNet.String()
			if a.Flags&unix.IFA_F_NOPREFIXROUTE != 0 {
				text += " noprefixroute"
			}
			if !onEveryLink(a.IPNet) {
				s.addresses = append(s.addresses, hostFact{a.LinkIndex, text})
			}
		}
		rules, err := h.RuleList(family)
		if err != nil {
			return s, err
		}
		s.rules = append(s.rules, rules...)
		routes, err := h.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return s, err
		}
		s.routes = append(s.routes, slices.DeleteFunc(routes, func(r netlink.Route) bool { return onEveryLink(r.Dst) })...)
	}
	return s, nil
}

// onEveryLink: IPv6 has such addresses, and routes to them, on each link that is up.
func onEveryLink(n *net.IPNet) bool {
	return n != nil && n.IP.To4() == nil && (n.IP.IsLinkLocalUnicast() || n.IP.IsMulticast())
}

// onHost hands out a netlink handle of the node.
func (c *cluster) onHost(node string, f func(*netlink.Handle) error) {
	c.t.Helper()
	n, err := c.Sim.Node(node)
	c.must(err)
	h, err := n.Namespace.Netlink()
	c.must(err)
	defer h.Close()
	c.must(f(h))
}

func ruleText(r netlink.Rule) string {
	from := "all"
	if r.Src != nil {
		from = r.Src.String()
	}
	return fmt.Sprintf("rule %d: from %s lookup %d proto %d", r.Priority, from, r.Table, r.Protocol)
}

func (s hostState) routeText(r netlink.Route) string {
	to := "default"
	if r.Dst != nil && r.Dst.String() != "0.0.0.0/0" && r.Dst.String() != "::/0" {
		to = r.Dst.String()
	}
	text := fmt.Sprintf("route table %d %s", r.Table, to)
	if r.Gw != nil {
		text += " via " + r.Gw.String()
	}
	text += fmt.Sprintf(" dev %s proto %d", s.names[r.LinkIndex], r.Protocol)
	if r.Priority != 0 {
		text += fmt.Sprintf(" metric %d", r.Priority)
	}
	return text
}

func (s hostState) linkOf(mac string) (netlink.Link, bool) {
	for _, l := range s.links {
		// A macvlan or a VLAN may share the MAC; an ENI's link is its own.
		if l.Attrs().HardwareAddr.String() == mac && l.Type() == "veth" {
			return l, true
		}
	}
	return nil, false
}

// copyTable is where packets from ENIs' addresses look first, for what main reaches by
// links that are no ENIs.
const copyTable = 20000

func inBand(n int) bool { return n >= 20000 && n < 24000 }

// routing are the lines about an ENI: addresses of its link, all rules from its
// addresses, all routes over its link but the kernel's own of the table local.
func (s hostState) routing(e cloud.Interface) []string {
	var lines []string
	l, ok := s.linkOf(e.MAC)
	for _, a := range s.addresses {
		if ok && a.link == l.Attrs().Index {
			lines = append(lines, "addr "+a.text)
		}
	}
	for _, r := range s.rules {
		if r.Src == nil {
			continue
		}
		from, _ := netip.AddrFromSlice(r.Src.IP)
		if slices.Contains(addressesOf(e), from.Unmap()) {
			lines = append(lines, ruleText(r))
		}
	}
	for _, r := range s.routes {
		if ok && r.LinkIndex == l.Attrs().Index && r.Table != unix.RT_TABLE_LOCAL {
			lines = append(lines, s.routeText(r))
		}
	}
	slices.Sort(lines)
	return lines
}

// addressesOf are the ENI's addresses of both families.
func addressesOf(e cloud.Interface) []netip.Addr { return slices.Concat(e.PrivateIPs, e.IPv6Addresses) }

// planned are the lines that addressing Host gives an ENI in a subnet with these ranges.
func planned(e cloud.Interface, ranges []netip.Prefix, link string) []string {
	table := 20000 + 100*int(e.Attachment.NetworkCardIndex) + int(e.Attachment.DeviceIndex)
	var lines []string
	for _, subnet := range ranges {
		router, length, metric, addresses := subnet.Masked().Addr().Next(), subnet.Bits(), "", e.PrivateIPs
		if subnet.Addr().Is6() {
			router, length, metric, addresses = netip.MustParseAddr("fe80:ec2::1"), 128, " metric 1024", e.IPv6Addresses
		}
		for i, a := range addresses {
			if i == 0 {
				lines = append(lines,
					fmt.Sprintf("route table %d %s dev %s proto 2%s", table, subnet.Masked(), link, metric),
					fmt.Sprintf("route table %d default via %s dev %s proto 2%s", table, router, link, metric))
			}
			lines = append(lines,
				fmt.Sprintf("addr %s noprefixroute", netip.PrefixFrom(a, length)),
				fmt.Sprintf("rule %d: from %s/%d lookup %[1]d proto 2", copyTable, a, a.BitLen()),
				fmt.Sprintf("rule %d: from %s/%d lookup %d proto 2", table, a, a.BitLen(), table))
		}
	}
	slices.Sort(lines)
	return lines
}

// configured says what is not as it must be of a Ready ENI; mtu 0 is any.
func (c *cluster) configured(node string, e cloud.Interface, host bool, mtu int32) string {
	s := c.host(node)
	l, ok := s.linkOf(e.MAC)
	if !ok {
		return fmt.Sprintf("%s has no link with MAC %s", node, e.MAC)
	}
	a := l.Attrs()
	if a.RawFlags&unix.IFF_UP == 0 {
		return fmt.Sprintf("link %s of %s on %s is down", a.Name, e.ID, node)
	}
	if mtu != 0 && a.MTU != int(mtu) {
		return fmt.Sprintf("link %s of %s on %s has MTU %d, want %d", a.Name, e.ID, node, a.MTU, mtu)
	}
	var want []string
	if host {
		ranges := c.ranges(e.SubnetID)
		want = planned(e, ranges, a.Name)
		if slices.ContainsFunc(ranges, func(subnet netip.Prefix) bool { return !s.excepts(subnet) }) {
			return fmt.Sprintf("on %s the subnet of %s is not the ENIs' in table %d", node, e.ID, copyTable)
		}
	}
	if got := s.routing(e); !slices.Equal(got, want) {
		return fmt.Sprintf("%s on %s has\n\t%s\nwant\n\t%s", e.ID, node, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
	return ""
}

// excepts: the copy of main ends for a subnet, so that it is the ENI's.
func (s hostState) excepts(subnet netip.Prefix) bool {
	return slices.ContainsFunc(s.routes, func(r netlink.Route) bool {
		return r.Table == copyTable && r.Type == unix.RTN_THROW && r.Dst != nil && r.Dst.String() == subnet.String()
	})
}

// released says what is left on the host of an ENI that has been released.
func (c *cluster) released(node string, e cloud.Interface) string {
	s := c.host(node)
	if l, ok := s.linkOf(e.MAC); ok && l.Attrs().RawFlags&unix.IFF_UP != 0 {
		return fmt.Sprintf("link %s of %s on %s is up", l.Attrs().Name, e.ID, node)
	}
	if left := s.routing(e); len(left) > 0 {
		return fmt.Sprintf("%s on %s left\n\t%s", e.ID, node, strings.Join(left, "\n\t"))
	}
	return ""
}

// foreign are the lines about everything that is not ours: other links, rules
// and routes of another form than ours. ours are the MACs of our ENIs.
func (s hostState) foreign(ours map[string]bool) []string {
	var lines []string
	mine := map[int]bool{}
	for _, l := range s.links {
		a := l.Attrs()
		if mine[a.Index] = l.Type() == "veth" && ours[a.HardwareAddr.String()]; !mine[a.Index] {
			lines = append(lines, fmt.Sprintf("link %s %s %s mtu %d up %v", a.Name, l.Type(), a.HardwareAddr, a.MTU, a.RawFlags&unix.IFF_UP != 0))
		}
	}
	for _, a := range s.addresses {
		if !mine[a.link] {
			lines = append(lines, "addr "+s.names[a.link]+" "+a.text)
		}
	}
	for _, r := range s.rules {
		ofOurForm := inBand(r.Priority) && r.Table == r.Priority && r.Protocol == unix.RTPROT_KERNEL && (r.Src != nil && isHost(r.Src) || r.Mark != 0)
		if !ofOurForm {
			lines = append(lines, ruleText(r))
		}
	}
	for _, r := range s.routes {
		if !mine[r.LinkIndex] && !(inBand(r.Table) && r.Protocol == unix.RTPROT_KERNEL) {
			lines = append(lines, s.routeText(r))
		}
	}
	slices.Sort(lines)
	return lines
}

// isHost: the range is one address.
func isHost(n *net.IPNet) bool {
	ones, bits := n.Mask.Size()
	return ones == bits
}

// band are the lines about rules and routes of ours, whatever ENI they are of.
func (s hostState) band() []string {
	var lines []string
	for _, r := range s.rules {
		if inBand(r.Priority) && r.Protocol == unix.RTPROT_KERNEL {
			lines = append(lines, ruleText(r))
		}
	}
	for _, r := range s.routes {
		if inBand(r.Table) && r.Protocol == unix.RTPROT_KERNEL {
			lines = append(lines, s.routeText(r))
		}
	}
	slices.Sort(lines)
	return lines
}

// ranges are those of a subnet, that of IPv4 first.
func (c *cluster) ranges(subnet string) []netip.Prefix {
	for _, s := range c.Sim.Topology().Subnets {
		if s.ID == subnet {
			return slices.DeleteFunc([]netip.Prefix{s.CIDR, s.IPv6CIDR}, func(p netip.Prefix) bool { return !p.IsValid() })
		}
	}
	c.t.Fatalf("no subnet %s", subnet)
	return nil
}

// eni is the ENI of a report's entry as EC2 has it.
func (c *cluster) eni(id string) cloud.Interface {
	c.t.Helper()
	e, ok := c.Sim.Cloud().Interface(id)
	if !ok {
		c.t.Fatalf("EC2 has no %s", id)
	}
	return e
}
