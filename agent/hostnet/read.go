package hostnet

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// noStatistics (RTEXT_FILTER_SKIP_STATS) makes the kernel leave out counters,
// which are most of what it has to say about a link.
const noStatistics = 1 << 3

func skipStatistics() *nl.RtAttr {
	return nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(noStatistics))
}

// links lists all links.
func (c *conn) links() ([]link, error) {
	links, err := dump(c, unix.RTM_GETLINK, decodeLink, every, nl.NewIfInfomsg(unix.AF_UNSPEC), skipStatistics())
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return links, nil
}

// link reads the link with this index. The error is ENODEV when there is
// none.
func (c *conn) link(index int) (link, error) {
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Index = int32(index)
	l, err := get(c, unix.RTM_GETLINK, decodeLink, header, skipStatistics())
	if err != nil {
		return link{}, fmt.Errorf("read link %d: %w", index, err)
	}
	return l, nil
}

// linkByName reads the link that has name as its name or as an alternative
// one. The error is ENODEV when there is none.
func (c *conn) linkByName(name string) (link, error) {
	// IFLA_ALT_IFNAME finds both kinds of names. Linux before 5.5 has only
	// one kind, and another attribute for it.
	for _, attr := range []int{unix.IFLA_ALT_IFNAME, unix.IFLA_IFNAME} {
		l, err := get(c, unix.RTM_GETLINK, decodeLink, nl.NewIfInfomsg(unix.AF_UNSPEC),
			nl.NewRtAttr(attr, nl.ZeroTerminated(name)), skipStatistics())
		if attr == unix.IFLA_ALT_IFNAME && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP)) {
			continue
		}
		if err != nil {
			return link{}, fmt.Errorf("find a link named %s: %w", name, err)
		}
		return l, nil
	}
	return link{}, fmt.Errorf("find a link named %s: %w", name, unix.ENODEV)
}

// addresses lists the addresses of a link, or of all links when dev is 0.
func (c *conn) addresses(dev int) ([]address, error) {
	header := nl.NewIfAddrmsg(unix.AF_UNSPEC)
	header.Index = uint32(dev)
	onLink := func(a address) bool { return dev == 0 || a.dev == dev }
	addresses, err := dump(c, unix.RTM_GETADDR, decodeAddress, onLink, header)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return addresses, nil
}

// rules lists rules. The kernel has no filter for them, and always tells all.
func (c *conn) rules(keep func(rule) bool) ([]rule, error) {
	rules, err := dump(c, unix.RTM_GETRULE, decodeRule, keep, &nl.RtMsg{})
	if err != nil {
		return nil, fmt.Errorf("list rules: %w", err)
	}
	return rules, nil
}

// rulesOfBand lists the rules of the band: no others are ever compared or
// changed, and a node with hundreds of pods has a thousand.
func (c *conn) rulesOfBand() ([]rule, error) {
	return c.rules(func(r rule) bool { return inBand(r.priority) })
}

// routeFilter selects routes; zero fields select all, but for those of the table local,
// of which the kernel has one for each address and each link.
type routeFilter struct {
	table    int
	dev      int
	protocol uint8
	except   int // a table
}

func (f routeFilter) passes(r route) bool {
	return r.table != unix.RT_TABLE_LOCAL &&
		(f.table == 0 || r.table == f.table) &&
		(f.except == 0 || r.table != f.except) &&
		(f.dev == 0 || r.dev == f.dev) &&
		(f.protocol == 0 || r.protocol == f.protocol)
}

func (c *conn) routes(f routeFilter) ([]route, error) {
	header := &nl.RtMsg{RtMsg: unix.RtMsg{Protocol: f.protocol}}
	var attrs []*nl.RtAttr
	if f.table != 0 {
		attrs = append(attrs, nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(uint32(f.table))))
	}
	if f.dev != 0 {
		attrs = append(attrs, nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(f.dev))))
	}
	routes, err := dump(c, unix.RTM_GETROUTE, decodeRoute, f.passes, header, attrs...)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil // a table exists from its first route on
	}
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return routes, nil
}

// ofENI reads what concerns the ENI with this link and table.
func (c *conn) ofENI(dev, table int) (state, error) {
	s, err := c.ofLink(dev)
	if err != nil {
		return state{}, err
	}
	// On another link, these are leftovers of an ENI that had the table.
	inTable, err := c.routes(routeFilter{table: table, protocol: unix.RTPROT_KERNEL})
	if err != nil {
		return state{}, err
	}
	s.routes = append(s.routes, filter(inTable, func(r route) bool { return r.dev != dev })...)
	return s, nil
}

// ofLink reads the rules of the band, and the addresses and routes of one link,
// whatever tables they are in. When there is no link, dev is 0.
func (c *conn) ofLink(dev int) (s state, err error) {
	if s.rules, err = c.rulesOfBand(); err != nil || dev == 0 {
		return s, err
	}
	if s.addresses, err = c.addresses(dev); err != nil {
		return state{}, err
	}
	s.routes, err = c.routes(routeFilter{dev: dev})
	return s, err
}

func filter[T any](all []T, keep func(T) bool) []T {
	kept := all[:0]
	for _, v := range all {
		if keep(v) {
			kept = append(kept, v)
		}
	}
	return kept
}

// hardwareAddr is nil for zeros.
func hardwareAddr(b []byte) net.HardwareAddr {
	for _, v := range b {
		if v != 0 {
			return net.HardwareAddr(slices.Clone(b))
		}
	}
	return nil
}

// CheckRules says whether the kernel has policy routing. It changes nothing and
// needs no privilege.
func CheckRules() error {
	c, err := dial(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer c.close()
	rules, err := c.rules(every)
	if err == nil && len(rules) == 0 {
		return errors.New("the kernel returned no routing rules, not even its three default rules")
	}
	return err
}

// CheckNFTables says whether the kernel has nf_tables. It changes nothing and needs
// CAP_NET_ADMIN.
func CheckNFTables() error {
	c, err := dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = (&tables{reading: c}).notes(nftables.TableFamilyIPv6, guardTable)
	return err
}
