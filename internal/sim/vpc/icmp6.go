package vpc

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// gateway6 is the router of every subnet with IPv6.
// https://github.com/aws/amazon-vpc-cni-k8s/blob/master/pkg/networkutils/network.go
var gateway6 = netip.MustParseAddr("fe80:ec2::1")

var allNodes = netip.MustParseAddr("ff02::1")

// The messages of neighbour discovery (RFC 4861).
const (
	routerSolicitation     = 133
	routerAdvertisement    = 134
	neighbourSolicitation  = 135
	neighbourAdvertisement = 136
	redirect               = 137
)

const (
	etherHeader = 14
	ip6Header   = 40
	icmpv6      = 58 // as the next header
	maxHops     = 255
)

// solicitation is what a node asks its neighbours for.
type solicitation struct {
	kind   byte
	mac    net.HardwareAddr // of the node
	source netip.Addr       // unspecified while it looks for a duplicate
	target netip.Addr       // of a neighbour solicitation
}

// parseSolicitation reads an Ethernet frame.
func parseSolicitation(frame []byte) (solicitation, bool) {
	const header = etherHeader + ip6Header
	if len(frame) < header+8 || binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_IPV6 ||
		frame[etherHeader+6] != icmpv6 || frame[etherHeader+7] != maxHops {
		return solicitation{}, false
	}
	s := solicitation{
		kind:   frame[header],
		mac:    slices.Clone(frame[6:12]),
		source: netip.AddrFrom16([16]byte(frame[etherHeader+8 : etherHeader+24])),
	}
	switch s.kind {
	case routerSolicitation:
		return s, true
	case neighbourSolicitation:
		if len(frame) < header+24 {
			return solicitation{}, false
		}
		s.target = netip.AddrFrom16([16]byte(frame[header+8 : header+24]))
		return s, true
	}
	return solicitation{}, false
}

// answerTo advertises that the target is at a MAC.
func (s solicitation) answerTo(router, owner net.HardwareAddr) []byte {
	const solicited, override = 0x40, 0x20
	to, flags := s.source, byte(solicited|override)
	if s.source.IsUnspecified() {
		to, flags = allNodes, override
	}
	message := []byte{neighbourAdvertisement, 0, 0, 0, flags, 0, 0, 0}
	message = append(message, s.target.AsSlice()...)
	message = append(message, 2, 1) // option target link-layer address
	message = append(message, owner...)
	return etherFrame(s.mac, router, s.target, to, message)
}

// advertisement makes a router advertisement for all nodes, or for one of them, as EC2's
// routers send it: the range is on the link, its addresses come by DHCP.
func (s *subnet) advertisement(to net.HardwareAddr, autonomous bool) []byte {
	const (
		hopLimit, managed        = 64, 0x80
		lifetime                 = 1800 // seconds, of the default route
		onLink, autoconfigured   = 0x80, 0x40
		validFor, preferredFor   = 30 * 24 * 3600, 7 * 24 * 3600 // seconds
		linkLayerAddress, range6 = 1, 3                          // options
	)
	message := []byte{routerAdvertisement, 0, 0, 0, hopLimit, managed}
	message = binary.BigEndian.AppendUint16(message, lifetime)
	message = append(message, make([]byte, 8)...) // reachable time and retransmission timer: unspecified
	message = append(message, linkLayerAddress, 1)
	message = append(message, s.mac...)
	flags := byte(onLink)
	if autonomous {
		flags |= autoconfigured
	}
	message = append(message, range6, 4, byte(s.ipv6.Bits()), flags)
	message = binary.BigEndian.AppendUint32(message, validFor)
	message = binary.BigEndian.AppendUint32(message, preferredFor)
	message = append(message, make([]byte, 4)...)
	message = append(message, s.ipv6.Addr().AsSlice()...)
	return etherFrame(to, s.mac, gateway6, allNodes, message)
}

// etherFrame puts an ICMPv6 message into a frame, with its checksum.
func etherFrame(toMAC, fromMAC net.HardwareAddr, from, to netip.Addr, message []byte) []byte {
	frame := slices.Concat[[]byte](toMAC, fromMAC, []byte{0x86, 0xdd, 0x60, 0, 0, 0})
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(message)))
	frame = append(frame, icmpv6, maxHops)
	frame = append(frame, from.AsSlice()...)
	frame = append(frame, to.AsSlice()...)

	pseudo := slices.Concat(from.AsSlice(), to.AsSlice())
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(message)))
	pseudo = append(pseudo, 0, 0, 0, icmpv6)
	binary.BigEndian.PutUint16(message[2:], checksum(append(pseudo, message...)))
	return append(frame, message...)
}

// checksum is the Internet checksum (RFC 1071) of data of even length.
func checksum(data []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(data); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(data[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
