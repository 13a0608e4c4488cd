package vpc

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// plugUp plugs a secondary ENI of subnet-b in and sets its link up, as an operating
// system does that leaves IPv6 to the kernel.
func plugUp(t *testing.T, n *Network, ns *netns.Namespace) {
	t.Helper()
	plug(t, n, "i-1", dualStack("10.0.2.11", "2001:db8:0:2::11", 1))
	inside(t, ns, func(rtnl *netlink.Handle) error {
		link, err := rtnl.LinkByName("eth1")
		if err != nil {
			return err
		}
		return rtnl.LinkSetUp(link)
	})
}

// learned are the routes and the global addresses of a link.
func learned(t *testing.T, ns *netns.Namespace, name string) (routes []netlink.Route, addresses []netip.Addr) {
	t.Helper()
	inside(t, ns, func(rtnl *netlink.Handle) error {
		link, err := rtnl.LinkByName(name)
		if err != nil {
			return err
		}
		if routes, err = rtnl.RouteList(link, netlink.FAMILY_V6); err != nil {
			return err
		}
		list, err := rtnl.AddrList(link, netlink.FAMILY_V6)
		for _, a := range list {
			if ip, _ := netip.AddrFromSlice(a.IP); !ip.IsLinkLocalUnicast() {
				addresses = append(addresses, ip)
			}
		}
		return err
	})
	return routes, addresses
}

func TestRouterAdvertisements(t *testing.T) {
	for _, test := range []struct {
		name       string
		advertised RouterAdvertisements
	}{
		{"to those who ask", RouterAdvertisements{Interval: "1h"}},
		{"at an interval", RouterAdvertisements{Interval: "50ms"}},
		{"autonomous", RouterAdvertisements{Interval: "50ms", Autonomous: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newDualStack(t, test.advertised)
			ns := addNode(t, n, "i-1", "10.0.1.10")
			plugUp(t, n, ns)
			inRange := func(a netip.Addr) bool { return netip.MustParsePrefix("2001:db8:0:2::/64").Contains(a) }
			eventually(t, "the kernel has a default route and the subnet's", func() bool {
				routes, addresses := learned(t, ns, "eth1")
				byDefault := slices.ContainsFunc(routes, func(r netlink.Route) bool {
					return r.Protocol == unix.RTPROT_RA && r.Gw.Equal(net.IP(gateway6.AsSlice()))
				})
				subnet := slices.ContainsFunc(routes, func(r netlink.Route) bool {
					return r.Dst != nil && r.Dst.String() == "2001:db8:0:2::/64"
				})
				return byDefault && subnet && slices.ContainsFunc(addresses, inRange) == test.advertised.Autonomous
			})
		})
	}
}

// listenOn opens a socket for the IPv6 frames that a node's link receives.
func listenOn(t *testing.T, ns *netns.Namespace, name string) *os.File {
	t.Helper()
	var socket *os.File
	err := ns.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		socket = os.NewFile(uintptr(fd), name)
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_IPV6), Ifindex: link.Attrs().Index})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	return socket
}

// receive waits for an ICMPv6 message and checks what RFC 4861 wants of each message
// of neighbour discovery. It returns who sent it and the message.
func receive(t *testing.T, socket *os.File, kind byte) (mac net.HardwareAddr, source netip.Addr, message []byte) {
	t.Helper()
	if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, mtu)
	for {
		size, err := socket.Read(frame)
		if err != nil {
			t.Fatalf("waiting for ICMPv6 %d: %v", kind, err)
		}
		packet := frame[etherHeader:size]
		if len(packet) <= ip6Header || packet[6] != icmpv6 || packet[ip6Header] != kind {
			continue
		}
		message = packet[ip6Header:]
		if packet[7] != 255 || int(binary.BigEndian.Uint16(packet[4:])) != len(message) {
			t.Errorf("hop limit %d, payload length %d of %d bytes", packet[7], binary.BigEndian.Uint16(packet[4:]), len(message))
		}
		// With its checksum, everything that is summed up comes to all ones.
		pseudo := slices.Concat(packet[8:40], []byte{0, 0, 0, byte(len(message)), 0, 0, 0, icmpv6}, message)
		if sum := checksum(pseudo); sum != 0 {
			t.Errorf("the checksum of ICMPv6 %d is wrong by %#x", kind, sum)
		}
		return frame[6:12], netip.AddrFrom16([16]byte(packet[8:24])), message
	}
}

// What a node sees on the wire: router advertisements at their interval, and an answer
// for the router and for each neighbour that it asks for.
func TestDiscoveryOnTheWire(t *testing.T) {
	n := newDualStack(t, RouterAdvertisements{Interval: "20ms"})
	addDualStackNode(t, n, "i-2", "10.0.2.20", "2001:db8:0:2::20")
	ns := addNode(t, n, "i-1", "10.0.1.10")
	plugUp(t, n, ns)
	socket := listenOn(t, ns, "eth1")
	router := n.subnets["subnet-b"].mac

	for range 3 {
		mac, source, message := receive(t, socket, routerAdvertisement)
		if source != gateway6 || mac.String() != router.String() {
			t.Errorf("an advertisement of %s at %s, want %s at %s", source, mac, gateway6, router)
		}
		const flags, lifetime = 5, 6
		if message[flags] != 0x80 || binary.BigEndian.Uint16(message[lifetime:]) != 1800 {
			t.Errorf("flags %#x, lifetime %d", message[flags], binary.BigEndian.Uint16(message[lifetime:]))
		}
		options := message[16:]
		if link := options[:8]; link[0] != 1 || !bytes.Equal(link[2:8], router) {
			t.Errorf("option %x, want the router's MAC", link)
		}
		// On the link, and no node is to make up an address in it.
		if p := options[8:]; p[0] != 3 || p[2] != 64 || p[3] != 0x80 || netip.AddrFrom16([16]byte(p[16:32])).String() != "2001:db8:0:2::" {
			t.Errorf("option %x, want the subnet's range", p)
		}
	}

	own := dualStack("10.0.2.11", "2001:db8:0:2::11", 1)
	mac, err := net.ParseMAC(own.MAC)
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]struct {
		mac    string
		router bool
	}{
		"fe80:ec2::1":      {router.String(), true},
		"2001:db8:0:2::20": {eni("10.0.2.20", 0).MAC, false},
	} {
		to := netip.MustParseAddr(target).As16()
		group := netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: to[13], 14: to[14], 15: to[15]})
		solicitation := slices.Concat([]byte{neighbourSolicitation, 0, 0, 0, 0, 0, 0, 0}, to[:], []byte{1, 1}, mac)
		frame := etherFrame(net.HardwareAddr{0x33, 0x33, 0xff, to[13], to[14], to[15]}, mac, own.IPv6Addresses[0], group, solicitation)
		if _, err := socket.Write(frame); err != nil {
			t.Fatal(err)
		}
		_, _, message := receive(t, socket, neighbourAdvertisement)
		const isRouter, solicited = 0x80, 0x40
		if got := netip.AddrFrom16([16]byte(message[8:24])).String(); got != target || net.HardwareAddr(message[26:32]).String() != want.mac ||
			message[4]&solicited == 0 || (message[4]&isRouter != 0) != want.router {
			t.Errorf("%s is said to be at %s, flags %#x, want %s at %s", got, net.HardwareAddr(message[26:32]), message[4], target, want.mac)
		}
	}
}

func TestDuplicateAddresses(t *testing.T) {
	n := newDualStack(t, RouterAdvertisements{Interval: "1h"})
	addDualStackNode(t, n, "i-2", "10.0.2.20", "2001:db8:0:2::20")
	ns := addNode(t, n, "i-1", "10.0.1.10")
	plugUp(t, n, ns)
	for address, duplicate := range map[string]bool{"2001:db8:0:2::11": false, "2001:db8:0:2::20": true} {
		addAddress(t, ns, "eth1", address, 0)
		flags := func() int {
			var flags int
			inside(t, ns, func(rtnl *netlink.Handle) error {
				list, err := rtnl.AddrList(nil, netlink.FAMILY_V6)
				for _, a := range list {
					if a.IP.String() == address {
						flags = a.Flags
					}
				}
				return err
			})
			return flags
		}
		eventually(t, "the kernel has looked for duplicates of "+address, func() bool {
			f := flags()
			return f&unix.IFA_F_DADFAILED != 0 || f&unix.IFA_F_TENTATIVE == 0
		})
		if failed := flags()&unix.IFA_F_DADFAILED != 0; failed != duplicate {
			t.Errorf("%s: found to be a duplicate: %v, want %v", address, failed, duplicate)
		}
	}
}

// Whatever a node sends, parsing it and answering it does no harm.
func FuzzSolicitation(f *testing.F) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	target := netip.MustParseAddr("2001:db8::1")
	f.Add(etherFrame(mac, mac, netip.IPv6Unspecified(), allNodes, append([]byte{neighbourSolicitation, 0, 0, 0, 0, 0, 0, 0}, target.AsSlice()...)))
	f.Add(etherFrame(mac, mac, target, allNodes, []byte{routerSolicitation, 0, 0, 0, 0, 0, 0, 0}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, frame []byte) {
		s, ok := parseSolicitation(frame)
		if !ok {
			return
		}
		if s.kind == neighbourSolicitation && len(s.answerTo(mac, mac)) != etherHeader+ip6Header+32 {
			t.Errorf("the answer to %x is not a neighbour advertisement", frame)
		}
	})
}
