package hostnet

import (
	"errors"
	"fmt"
	"net"

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
	msgs, err := c.dump(unix.RTM_GETLINK, nl.NewIfInfomsg(unix.AF_UNSPEC), skipStatistics())
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return decodeAll(msgs, decodeLink)
}

// link reads the link with this index. The error is ENODEV when there is
// none.
func (c *conn) link(index int) (link, error) {
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Index = int32(index)
	msg, err := c.get(unix.RTM_GETLINK, header, skipStatistics())
	if err != nil {
		return link{}, fmt.Errorf("read link %d: %w", index, err)
	}
	return decodeLink(msg)
}

// linkByName reads the link that has name as its name or as an alternative
// one. The error is ENODEV when there is none.
func (c *conn) linkByName(name string) (link, error) {
	// IFLA_ALT_IFNAME finds both kinds of names. Linux before 5.5 has only
	// one kind, and another attribute for it.
	for _, attr := range []int{unix.IFLA_ALT_IFNAME, unix.IFLA_IFNAME} {
		msg, err := c.get(unix.RTM_GETLINK, nl.NewIfInfomsg(unix.AF_UNSPEC),
			nl.NewRtAttr(attr, nl.ZeroTerminated(name)), skipStatistics())
		if attr == unix.IFLA_ALT_IFNAME && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP)) {
			continue
		}
		if err != nil {
			return link{}, fmt.Errorf("look for a link named %s: %w", name, err)
		}
		return decodeLink(msg)
	}
	return link{}, fmt.Errorf("look for a link named %s: %w", name, unix.ENODEV)
}

// addresses lists the IPv4 addresses of a link, or of all links when dev is 0.
func (c *conn) addresses(dev int) ([]address, error) {
	header := nl.NewIfAddrmsg(unix.AF_INET)
	header.Index = uint32(dev)
	msgs, err := c.dump(unix.RTM_GETADDR, header)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	all, err := decodeAll(msgs, decodeAddress)
	return filter(all, func(a address) bool { return dev == 0 || a.dev == dev }), err
}

// rules lists all IPv4 rules; the kernel has no filter for them.
func (c *conn) rules() ([]rule, error) {
	msgs, err := c.dump(unix.RTM_GETRULE, &nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET}})
	if err != nil {
		return nil, fmt.Errorf("list rules: %w", err)
	}
	return decodeAll(msgs, decodeRule)
}

// routeFilter selects IPv4 routes; zero fields select all.
type routeFilter struct {
	table    int
	dev      int
	protocol uint8
}

func (f routeFilter) passes(r route) bool {
	return (f.table == 0 || r.table == f.table) &&
		(f.dev == 0 || r.dev == f.dev) &&
		(f.protocol == 0 || r.protocol == f.protocol)
}

func (c *conn) routes(f routeFilter) ([]route, error) {
	header := &nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Protocol: f.protocol}}
	var attrs []*nl.RtAttr
	if f.table != 0 {
		attrs = append(attrs, nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(uint32(f.table))))
	}
	if f.dev != 0 {
		attrs = append(attrs, nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(f.dev))))
	}
	msgs, err := c.dump(unix.RTM_GETROUTE, header, attrs...)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil // a table exists from its first route on
	}
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	all, err := decodeAll(msgs, decodeRoute)
	return filter(all, f.passes), err
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

// ofLink reads all rules, and the addresses and routes of one link, whatever
// tables they are in. When there is no link, dev is 0.
func (c *conn) ofLink(dev int) (s state, err error) {
	if s.rules, err = c.rules(); err != nil || dev == 0 {
		return s, err
	}
	if s.addresses, err = c.addresses(dev); err != nil {
		return state{}, err
	}
	s.routes, err = c.routes(routeFilter{dev: dev, protocol: unix.RTPROT_KERNEL})
	return s, err
}

func decodeAll[T any](msgs [][]byte, decode func([]byte) (T, error)) ([]T, error) {
	all := make([]T, 0, len(msgs))
	for _, m := range msgs {
		v, err := decode(m)
		if err != nil {
			return nil, fmt.Errorf("read an answer of the kernel: %w", err)
		}
		all = append(all, v)
	}
	return all, nil
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

func hardwareAddr(b []byte) net.HardwareAddr {
	for _, v := range b {
		if v != 0 {
			return net.HardwareAddr(b)
		}
	}
	return nil
}

// CheckRules says whether the kernel has policy routing. It changes nothing and
// needs no privilege.
func CheckRules() error {
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	rules, err := c.rules()
	if err == nil && len(rules) == 0 {
		return errors.New("the kernel has no routing rules, not even its own three")
	}
	return err
}
