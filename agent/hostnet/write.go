package hostnet

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// setName renames a link. The error is EEXIST when the name is taken, EBUSY
// when the link is up and the kernel is older than Linux 6.2.
func (c *conn) setName(index int, name string) error {
	return c.setLink(index, nil, nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
}

// delAltName takes an alternative name from a link.
func (c *conn) delAltName(index int, name string) error {
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Index = int32(index)
	names := nl.NewRtAttr(unix.IFLA_PROP_LIST|unix.NLA_F_NESTED, nil)
	names.AddRtAttr(unix.IFLA_ALT_IFNAME, nl.ZeroTerminated(name))
	return c.do(unix.RTM_DELLINKPROP, 0, header, names)
}

func (c *conn) setMTU(index, mtu int) error {
	return c.setLink(index, nil, nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(mtu))))
}

func (c *conn) setUp(index int, up bool) error { return c.setLink(index, &up) }

// promoteSecondaries makes the kernel keep the other IPv4 addresses of a subnet
// when the first of them is deleted; without, they all go.
func (c *conn) promoteSecondaries(index int) error {
	const promote = 20 // IPV4_DEVCONF_PROMOTE_SECONDARIES of linux/ip.h
	families := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	settings := families.AddRtAttr(unix.AF_INET, nil).AddRtAttr(unix.IFLA_INET_CONF, nil)
	settings.AddRtAttr(promote, nl.Uint32Attr(1))
	return c.setLink(index, nil, families)
}

func (c *conn) setLink(index int, up *bool, attrs ...*nl.RtAttr) error {
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Index = int32(index)
	if up != nil {
		header.Change = unix.IFF_UP
		if *up {
			header.Flags = unix.IFF_UP
		}
	}
	return c.do(unix.RTM_SETLINK, 0, header, attrs...)
}

// apply carries out one change on the link dev. That it has been made already
// is not an error: others may be as quick.
func (c *conn) apply(dev int, ch change) error {
	var err error
	switch o := ch.object.(type) {
	case address:
		err = c.changeAddress(ch.verb, dev, o)
	case rule:
		err = c.changeRule(ch.verb, o)
	case route:
		err = c.changeRoute(ch.verb, o)
	default:
		err = fmt.Errorf("unknown change %T", o)
	}
	if err == nil || ch.verb == add && errors.Is(err, unix.EEXIST) || ch.verb == del && isGone(err) {
		return nil
	}
	return fmt.Errorf("%v: %w", ch, err)
}

// isGone reports whether err says that what was to be deleted is not there.
func isGone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) ||
		errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.ENODEV)
}

func (c *conn) changeAddress(v verb, dev int, a address) error {
	header := nl.NewIfAddrmsg(int(family(a.prefix.Addr())))
	header.Index = uint32(dev)
	header.Prefixlen = uint8(a.prefix.Bits())
	ip := a.prefix.Addr().AsSlice()
	attrs := []*nl.RtAttr{nl.NewRtAttr(unix.IFA_LOCAL, ip)}
	if v == del {
		return c.do(unix.RTM_DELADDR, 0, header, attrs...)
	}
	attrs = append(attrs,
		nl.NewRtAttr(unix.IFA_ADDRESS, ip),
		nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(a.flags)))
	return c.do(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, header, attrs...)
}

func (c *conn) changeRule(v verb, r rule) error {
	// struct fib_rule_hdr is laid out like struct rtmsg; the table does not
	// fit in its one byte.
	header := &nl.RtMsg{RtMsg: unix.RtMsg{
		Family: r.family,
		Type:   r.action,
	}}
	attrs := []*nl.RtAttr{
		nl.NewRtAttr(nl.FRA_PRIORITY, nl.Uint32Attr(uint32(r.priority))),
		nl.NewRtAttr(nl.FRA_TABLE, nl.Uint32Attr(uint32(r.table))),
		nl.NewRtAttr(nl.FRA_PROTOCOL, []byte{r.protocol}),
	}
	if r.from.IsValid() {
		header.Src_len = uint8(r.from.Bits())
		attrs = append(attrs, nl.NewRtAttr(nl.FRA_SRC, r.from.Addr().AsSlice()))
	}
	if r.mark != 0 {
		attrs = append(attrs, nl.NewRtAttr(nl.FRA_FWMARK, nl.Uint32Attr(r.mark)), nl.NewRtAttr(nl.FRA_FWMASK, nl.Uint32Attr(r.markMask)))
	}
	if v == del {
		return c.do(unix.RTM_DELRULE, 0, header, attrs...)
	}
	return c.do(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, header, attrs...)
}

func (c *conn) changeRoute(v verb, r route) error {
	header := &nl.RtMsg{RtMsg: unix.RtMsg{
		Family:   family(r.dst.Addr()),
		Dst_len:  uint8(r.dst.Bits()),
		Tos:      r.tos,
		Protocol: r.protocol,
		Scope:    r.scope,
		Type:     r.kind,
	}}
	attrs := []*nl.RtAttr{
		nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(uint32(r.table))),
		nl.NewRtAttr(unix.RTA_DST, r.dst.Addr().AsSlice()),
	}
	optional := func(attr int, a netip.Addr) {
		if a.IsValid() {
			attrs = append(attrs, nl.NewRtAttr(attr, a.AsSlice()))
		}
	}
	optional(unix.RTA_GATEWAY, r.gateway)
	optional(unix.RTA_PREFSRC, r.source)
	if r.dev != 0 {
		attrs = append(attrs, nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(r.dev))))
	}
	if r.metric != 0 {
		attrs = append(attrs, nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(r.metric)))
	}
	if v == del {
		return c.do(unix.RTM_DELROUTE, 0, header, attrs...)
	}
	// One to the same destination, in a table that is the ENI's own, would
	// stand in the way.
	return c.do(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, header, attrs...)
}
