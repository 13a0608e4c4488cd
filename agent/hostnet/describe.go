package hostnet

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Describe shows links with their addresses, all rules, and the routes of the table
// main and of every table of the band, in the notation of ip(8). What every host has of
// IPv6 is left out: link-local addresses and their routes, ::1, and the rules where no
// other is there. It is for people, and for machines without the ip command.
func (h *Host) Describe() (string, error) {
	links, err := h.conn.links()
	if err != nil {
		return "", err
	}
	addresses, err := h.conn.addresses(0)
	if err != nil {
		return "", err
	}
	rules, err := h.conn.rules(every)
	if err != nil {
		return "", err
	}
	routes, err := h.conn.routes(routeFilter{})
	if err != nil {
		return "", err
	}
	return describe(links, addresses, rules, routes), nil
}

func describe(links []link, addresses []address, rules []rule, routes []route) string {
	var b strings.Builder
	names := make(map[int]string)
	b.WriteString("# ip -br addr\n")
	for _, l := range links {
		names[l.index] = l.name
		b.WriteString(describeLink(l, addresses))
	}
	for _, f := range families {
		b.WriteString(describeRouting(f, rules, routes, names))
	}
	return b.String()
}

// describeRouting shows the rules and routes of a family.
func describeRouting(f uint8, rules []rule, routes []route, names map[int]string) string {
	var b strings.Builder
	ip, used := command(f), f == unix.AF_INET
	fmt.Fprintf(&b, "# %s rule\n", ip)
	for _, r := range rules {
		if r.family == f {
			fmt.Fprintf(&b, "%d:\t%v\n", r.priority, r)
			used = used || inBand(r.priority)
		}
	}
	byTable := make(map[int][]route)
	for _, r := range routes {
		shown := r.table == unix.RT_TABLE_MAIN || inBand(r.table)
		if shown && family(r.dst.Addr()) == f && !linkLocal(r.dst.Addr()) {
			byTable[r.table] = append(byTable[r.table], r)
		}
	}
	if !used && len(byTable) == 0 {
		return ""
	}
	for _, table := range slices.Sorted(maps.Keys(byTable)) {
		fmt.Fprintf(&b, "# %s route show table %s\n", ip, tableName(table))
		for _, r := range byTable[table] {
			fmt.Fprintln(&b, r.text(names))
		}
	}
	return b.String()
}

func describeLink(l link, addresses []address) string {
	columns := []string{
		fmt.Sprintf("%-16s %-8s", l.name, l.state),
		"mtu " + strconv.Itoa(l.mtu),
	}
	if len(l.mac) > 0 {
		columns = append(columns, l.mac.String())
	}
	for _, a := range addresses {
		if addr := a.prefix.Addr(); a.dev == l.index && !linkLocal(addr) && addr != netip.IPv6Loopback() {
			columns = append(columns, a.String())
		}
	}
	return strings.Join(columns, " ") + "\n"
}

func (a address) String() string {
	s := a.prefix.String()
	if a.flags&unix.IFA_F_NODAD != 0 {
		s += " nodad"
	}
	if a.flags&unix.IFA_F_NOPREFIXROUTE != 0 {
		s += " noprefixroute"
	}
	return s
}

func (r rule) String() string {
	var words []string
	word := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if r.not {
		word("not")
	}
	word("from %s", selector(r.from))
	if r.to.IsValid() {
		word("to %s", selector(r.to))
	}
	if r.tos != 0 {
		word("tos %#x", r.tos)
	}
	if r.mark != 0 || r.markMask != 0 {
		word("fwmark %#x/%#x", r.mark, r.markMask)
	}
	if r.iif != "" {
		word("iif %s", r.iif)
	}
	if r.oif != "" {
		word("oif %s", r.oif)
	}
	if r.more {
		word("[…]")
	}
	switch r.action {
	case nl.FR_ACT_TO_TBL:
		word("lookup %s", tableName(r.table))
	case nl.FR_ACT_BLACKHOLE:
		word("blackhole")
	case nl.FR_ACT_UNREACHABLE:
		word("unreachable")
	case nl.FR_ACT_PROHIBIT:
		word("prohibit")
	default:
		word("action %d", r.action)
	}
	if r.protocol != unix.RTPROT_UNSPEC {
		word("proto %s", protocolName(r.protocol))
	}
	return strings.Join(words, " ")
}

func (r route) String() string {
	return fmt.Sprintf("%s table %s", r.text(nil), tableName(r.table))
}

// text shows the route as ip route does for one table. A link without a name
// is shown by its index.
func (r route) text(names map[int]string) string {
	var words []string
	word := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if r.kind != unix.RTN_UNICAST {
		word("%s", name(kindNames, r.kind))
	}
	if r.dst.Bits() == 0 {
		word("default")
	} else {
		word("%s", selector(r.dst))
	}
	if r.tos != 0 {
		word("tos %#x", r.tos)
	}
	if r.gateway.IsValid() {
		word("via %v", r.gateway)
	}
	if r.dev != 0 {
		dev, ok := names[r.dev]
		if !ok {
			dev = fmt.Sprintf("if%d", r.dev)
		}
		word("dev %s", dev)
	}
	word("proto %s", protocolName(r.protocol))
	if r.scope != unix.RT_SCOPE_UNIVERSE {
		word("scope %s", name(scopeNames, r.scope))
	}
	if r.source.IsValid() {
		word("src %v", r.source)
	}
	if r.metric != 0 {
		word("metric %d", r.metric)
	}
	return strings.Join(words, " ")
}

// String shows the change as the ip command that makes it.
func (c change) String() string {
	switch o := c.object.(type) {
	case address:
		return fmt.Sprintf("ip addr %s %v", c.verb, o)
	case rule:
		return fmt.Sprintf("%s rule %s priority %d %v", command(o.family), c.verb, o.priority, o)
	case route:
		return fmt.Sprintf("%s route %s %v", command(family(o.dst.Addr())), c.verb, o)
	}
	return fmt.Sprintf("%s %v", c.verb, c.object)
}

// command is the ip command for a family.
func command(family uint8) string {
	if family == unix.AF_INET {
		return "ip"
	}
	return "ip -6"
}

func selector(p netip.Prefix) string {
	switch {
	case !p.IsValid() || p.Bits() == 0:
		return "all"
	case p.IsSingleIP():
		return p.Addr().String()
	}
	return p.String()
}

func tableName(table int) string {
	switch table {
	case unix.RT_TABLE_LOCAL:
		return "local"
	case unix.RT_TABLE_MAIN:
		return "main"
	case unix.RT_TABLE_DEFAULT:
		return "default"
	}
	return strconv.Itoa(table)
}

func protocolName(protocol uint8) string { return name(protocolNames, protocol) }

func name(names map[uint8]string, n uint8) string {
	if s, ok := names[n]; ok {
		return s
	}
	return strconv.Itoa(int(n))
}

var protocolNames = map[uint8]string{
	unix.RTPROT_REDIRECT: "redirect", unix.RTPROT_KERNEL: "kernel", unix.RTPROT_BOOT: "boot",
	unix.RTPROT_STATIC: "static", unix.RTPROT_RA: "ra", unix.RTPROT_DHCP: "dhcp", unix.RTPROT_BIRD: "bird",
}

var kindNames = map[uint8]string{
	unix.RTN_LOCAL: "local", unix.RTN_BROADCAST: "broadcast", unix.RTN_MULTICAST: "multicast",
	unix.RTN_BLACKHOLE: "blackhole", unix.RTN_UNREACHABLE: "unreachable", unix.RTN_PROHIBIT: "prohibit",
	unix.RTN_THROW: "throw",
}

var scopeNames = map[uint8]string{
	unix.RT_SCOPE_SITE: "site", unix.RT_SCOPE_LINK: "link", unix.RT_SCOPE_HOST: "host",
}
