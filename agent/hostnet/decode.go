package hostnet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Attribute numbers that golang.org/x/sys/unix and nl lack; linux/if_link.h,
// linux/rtnetlink.h and linux/if_addr.h.
const (
	iflaMinMTU = 50
	rtaNHID    = 30
	ifaProto   = 11
)

// Places in IFLA_INET6_CONF; linux/ipv6.h.
const (
	confForwarding  = 0
	confAcceptRA    = 3
	confDisableIPv6 = 26
)

var errShort = errors.New("netlink message is too short")

// attrs are the attributes behind the header of a message.
type attrs struct {
	rest  []byte
	typ   uint16
	value []byte
	err   error
}

func attributes(msg []byte, header int) attrs {
	if len(msg) < header {
		return attrs{err: errShort}
	}
	return attrs{rest: msg[header:]}
}

// next moves on; false behind the last attribute, and at one that is none.
func (a *attrs) next() bool {
	if a.err != nil || len(a.rest) < unix.SizeofRtAttr {
		return false
	}
	length := int(binary.NativeEndian.Uint16(a.rest))
	if length < unix.SizeofRtAttr || length > len(a.rest) {
		a.err = errShort
		return false
	}
	a.typ = binary.NativeEndian.Uint16(a.rest[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	a.value = a.rest[unix.SizeofRtAttr:length]
	a.rest = a.rest[min(aligned(length), len(a.rest)):]
	return true
}

func u32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

func text(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}

func ip(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a
}

// operStates are the words of ip(8) for IFLA_OPERSTATE, RFC 2863.
var operStates = []string{"UNKNOWN", "NOTPRESENT", "DOWN", "LOWERLAYERDOWN", "TESTING", "DORMANT", "UP"}

func decodeLink(msg []byte) (link, error) {
	if len(msg) < unix.SizeofIfInfomsg {
		return link{}, errShort
	}
	header := nl.DeserializeIfInfomsg(msg)
	l := link{index: int(header.Index), up: header.Flags&unix.IFF_UP != 0, loopback: header.Flags&unix.IFF_LOOPBACK != 0}
	a := attributes(msg, unix.SizeofIfInfomsg)
	for a.next() {
		switch v := a.value; a.typ {
		case unix.IFLA_IFNAME:
			l.name = text(v)
		case unix.IFLA_ADDRESS:
			l.mac = hardwareAddr(v)
		case unix.IFLA_PERM_ADDRESS:
			l.permanent = hardwareAddr(v)
		case unix.IFLA_MTU:
			l.mtu = int(u32(v))
		case iflaMinMTU:
			l.minMTU = int(u32(v))
		case unix.IFLA_MAX_MTU:
			l.maxMTU = int(u32(v))
		case unix.IFLA_LINK:
			l.parent = int(u32(v))
		case unix.IFLA_MASTER:
			l.master = int(u32(v))
		case unix.IFLA_LINK_NETNSID:
			l.abroad = true
		case unix.IFLA_OPERSTATE:
			if len(v) == 1 && int(v[0]) < len(operStates) {
				l.state = operStates[v[0]]
			}
		case unix.IFLA_LINKINFO:
			for info := attributes(v, 0); info.next(); {
				if info.typ == nl.IFLA_INFO_KIND {
					l.kind = text(info.value)
				}
			}
		case unix.IFLA_AF_SPEC:
			for of := attributes(v, 0); of.next(); {
				if of.typ == unix.AF_INET6 {
					l.ipv6 = decodeIPv6(of.value)
				}
			}
		case unix.IFLA_PROP_LIST:
			for names := attributes(v, 0); names.next(); {
				if names.typ == unix.IFLA_ALT_IFNAME {
					l.altNames = append(l.altNames, text(names.value))
				}
			}
		}
	}
	return l, a.err
}

// decodeIPv6 reads the settings of a link for IPv6.
func decodeIPv6(msg []byte) (s ipv6Settings) {
	for a := attributes(msg, 0); a.next(); {
		if a.typ != unix.IFLA_INET6_CONF || len(a.value) < 4*(confDisableIPv6+1) {
			continue
		}
		conf := func(n int) uint32 { return u32(a.value[4*n:]) }
		s.on = conf(confDisableIPv6) == 0
		// A host that forwards takes no advertisement by 1, but by 2.
		s.advertised = s.on && (conf(confAcceptRA) == 2 || conf(confAcceptRA) == 1 && conf(confForwarding) == 0)
	}
	return s
}

// address is an address on a link.
type address struct {
	dev    int // 0 in what is wanted
	prefix netip.Prefix
	flags  uint32
	peer   bool  // point-to-point
	maker  uint8 // IFAPROT_…; Linux before 5.18 does not tell
}

func decodeAddress(msg []byte) (address, error) {
	if len(msg) < unix.SizeofIfAddrmsg {
		return address{}, errShort
	}
	header := nl.DeserializeIfAddrmsg(msg)
	a := address{dev: int(header.Index), flags: uint32(header.Flags)}
	var local, remote netip.Addr
	attrs := attributes(msg, unix.SizeofIfAddrmsg)
	for attrs.next() {
		switch v := attrs.value; attrs.typ {
		case unix.IFA_LOCAL:
			local = ip(v)
		case unix.IFA_ADDRESS:
			remote = ip(v)
		case unix.IFA_FLAGS:
			a.flags = u32(v)
		case ifaProto:
			if len(v) == 1 {
				a.maker = v[0]
			}
		}
	}
	if !local.IsValid() { // IPv6, and no peer
		local = remote
	}
	a.prefix = netip.PrefixFrom(local, int(header.Prefixlen))
	a.peer = local != remote
	return a, attrs.err
}

// rule is a policy routing rule. Rules are compared with ==.
type rule struct {
	family   uint8
	priority int
	table    int
	from, to netip.Prefix // not valid: all
	mark     uint32
	markMask uint32
	iif, oif string
	tos      uint8
	not      bool
	action   uint8
	protocol uint8
	// more is set when the rule selects or does what is not read here.
	more bool
}

const actionLookup = nl.FR_ACT_TO_TBL

// invert is FIB_RULE_INVERT of linux/fib_rules.h.
const invert = 2

func decodeRule(msg []byte) (rule, error) {
	if len(msg) < unix.SizeofRtMsg {
		return rule{}, errShort
	}
	// struct fib_rule_hdr is laid out like struct rtmsg.
	header := nl.DeserializeRtMsg(msg)
	r := rule{
		family: header.Family,
		table:  int(header.Table),
		tos:    header.Tos,
		action: header.Type,
		not:    header.Flags&invert != 0,
	}
	a := attributes(msg, unix.SizeofRtMsg)
	for a.next() {
		switch v := a.value; a.typ {
		case nl.FRA_PRIORITY:
			r.priority = int(u32(v))
		case nl.FRA_TABLE:
			r.table = int(u32(v))
		case nl.FRA_SRC:
			r.from = netip.PrefixFrom(ip(v), int(header.Src_len))
		case nl.FRA_DST:
			r.to = netip.PrefixFrom(ip(v), int(header.Dst_len))
		case nl.FRA_FWMARK:
			r.mark = u32(v)
		case nl.FRA_FWMASK:
			r.markMask = u32(v)
		case nl.FRA_IIFNAME:
			r.iif = text(v)
		case nl.FRA_OIFNAME:
			r.oif = text(v)
		case nl.FRA_PROTOCOL:
			if len(v) == 1 {
				r.protocol = v[0]
			}
		case nl.FRA_SUPPRESS_PREFIXLEN, nl.FRA_SUPPRESS_IFGROUP:
			r.more = r.more || u32(v) != ^uint32(0) // all ones: none
		case nl.FRA_UNSPEC, nl.FRA_PAD:
		default:
			r.more = true
		}
	}
	return r, a.err
}

// route is a route with at most one next hop. Routes are compared with ==.
type route struct {
	table    int
	dst      netip.Prefix
	gateway  netip.Addr
	dev      int
	source   netip.Addr // preferred source
	metric   uint32
	tos      uint8
	kind     uint8 // RTN_…
	scope    uint8
	protocol uint8
}

func decodeRoute(msg []byte) (route, error) {
	if len(msg) < unix.SizeofRtMsg {
		return route{}, errShort
	}
	header := nl.DeserializeRtMsg(msg)
	r := route{
		table:    int(header.Table),
		dst:      everywhere(header.Family),
		tos:      header.Tos,
		kind:     header.Type,
		scope:    header.Scope,
		protocol: header.Protocol,
	}
	a := attributes(msg, unix.SizeofRtMsg)
	for a.next() {
		switch v := a.value; a.typ {
		case unix.RTA_TABLE:
			r.table = int(u32(v))
		case unix.RTA_DST:
			r.dst = netip.PrefixFrom(ip(v), int(header.Dst_len))
		case unix.RTA_GATEWAY:
			r.gateway = ip(v)
		case unix.RTA_OIF:
			r.dev = int(u32(v))
		case unix.RTA_PREFSRC:
			r.source = ip(v)
		case unix.RTA_PRIORITY:
			r.metric = u32(v)
		}
	}
	return r, a.err
}
