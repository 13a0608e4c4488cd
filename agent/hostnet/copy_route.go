package hostnet

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// routeKey is what the kernel has one route for in a table.
type routeKey struct {
	dst    netip.Prefix
	tos    uint8
	metric uint32
}

// rawRoute is a route in the kernel's own words, so that one with several next hops,
// an encapsulation or metrics is copied as it is.
type rawRoute struct {
	key      routeKey
	table    int
	kind     uint8 // RTN_…
	protocol uint8
	devs     []int      // of all next hops; none when they are not known
	source   netip.Addr // preferred
	// header and attrs are the route without what is of one table, and of one moment.
	header unix.RtMsg
	attrs  []byte
}

func (r rawRoute) equal(o rawRoute) bool {
	return r.header == o.header && bytes.Equal(r.attrs, o.attrs)
}

// copyOf is what the copy holds for a route of main, if anything. What is not known to
// leave by another link is left to the ENI.
func (c *copier) copyOf(r rawRoute) (rawRoute, bool) {
	switch {
	case r.kind != unix.RTN_UNICAST, isDefault(r.key.dst), linkLocal(r.key.dst.Addr()), !c.copies(r.header.Family):
		return rawRoute{}, false
	case r.header.Src_len > 0: // of other addresses
		return rawRoute{}, false
	case len(r.devs) == 0, slices.ContainsFunc(r.devs, c.links.isENI), c.subnets[r.key.dst] && r.key == bestKey(r.key.dst):
		return throw(r.key), true
	}
	return r, true
}

// throw is the route that ends the lookup in the copy.
func throw(key routeKey) rawRoute {
	r := rawRoute{key: key, table: copyTable, kind: unix.RTN_THROW, protocol: unix.RTPROT_KERNEL}
	r.header = unix.RtMsg{
		Family: family(key.dst.Addr()), Dst_len: uint8(key.dst.Bits()), Tos: key.tos,
		Protocol: unix.RTPROT_KERNEL, Type: unix.RTN_THROW,
	}
	r.attrs = nl.NewRtAttr(unix.RTA_DST, key.dst.Addr().AsSlice()).Serialize()
	if key.metric != 0 {
		r.attrs = append(r.attrs, nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(key.metric)).Serialize()...)
	}
	return r
}

// request is the message that adds the route to a table or deletes it there.
func (r rawRoute) request(table int) nl.NetlinkRequestData {
	header := nl.RtMsg{RtMsg: r.header}
	attr := nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(uint32(table)))
	return rawMessage(slices.Concat(header.Serialize(), r.attrs, attr.Serialize()))
}

type rawMessage []byte

func (m rawMessage) Len() int          { return len(m) }
func (m rawMessage) Serialize() []byte { return m }

// decodeRaw reads a route and keeps what a copy of it needs.
func decodeRaw(msg []byte) (rawRoute, error) {
	if len(msg) < unix.SizeofRtMsg {
		return rawRoute{}, errShort
	}
	h := nl.DeserializeRtMsg(msg)
	r := rawRoute{
		key:   routeKey{dst: everywhere(h.Family), tos: h.Tos},
		table: int(h.Table), kind: h.Type, protocol: h.Protocol,
	}
	r.header = unix.RtMsg{
		Family: h.Family, Dst_len: h.Dst_len, Src_len: h.Src_len, Tos: h.Tos, Protocol: unix.RTPROT_KERNEL,
		Scope: h.Scope, Type: h.Type, Flags: h.Flags & unix.RTNH_F_ONLINK,
	}
	nexthop := false // the route's is an object of its own
	a := attributes(msg, unix.SizeofRtMsg)
	for a.next() {
		v := a.value
		switch a.typ {
		case unix.RTA_TABLE:
			r.table = int(u32(v))
			continue
		case unix.RTA_PREFSRC:
			r.source = ip(v)
			continue // the ENI's address is chosen already
		case unix.RTA_CACHEINFO, unix.RTA_PAD:
			continue
		case unix.RTA_DST:
			r.key.dst = netip.PrefixFrom(ip(v), int(h.Dst_len))
		case unix.RTA_PRIORITY:
			r.key.metric = u32(v)
		case rtaNHID:
			nexthop = true // what the kernel shows behind it is the object's
		case unix.RTA_OIF:
			r.devs = append(r.devs, int(u32(v)))
		case unix.RTA_MULTIPATH:
			v = r.hops(v)
		}
		if nexthop && a.typ != rtaNHID && a.typ != unix.RTA_METRICS && a.typ != unix.RTA_PRIORITY {
			continue
		}
		r.attrs = append(r.attrs, nl.NewRtAttr(int(a.typ), slices.Clone(v)).Serialize()...)
	}
	if r.kind == unix.RTN_THROW { // with IPv6, the kernel shows more of it than it was told
		same := throw(r.key)
		r.header, r.attrs, r.devs = same.header, same.attrs, nil
	}
	return r, a.err
}

// hops notes the links of several next hops, and drops their flags of the moment.
func (r *rawRoute) hops(list []byte) []byte {
	list = slices.Clone(list)
	for rest := list; len(rest) >= unix.SizeofRtNexthop; {
		length := int(binary.NativeEndian.Uint16(rest))
		if length < unix.SizeofRtNexthop || length > len(rest) {
			r.devs = nil
			break
		}
		rest[2] &= unix.RTNH_F_ONLINK
		r.devs = append(r.devs, int(binary.NativeEndian.Uint32(rest[4:])))
		rest = rest[min(aligned(length), len(rest)):]
	}
	return list
}
