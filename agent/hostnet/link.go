package hostnet

import (
	"bytes"
	"fmt"
	"net"
	"slices"
)

// link is what this package needs to know of a link.
type link struct {
	index     int
	name      string
	altNames  []string
	mac       net.HardwareAddr
	permanent net.HardwareAddr // nil when the driver has none
	kind      string           // "" for hardware
	parent    int              // index of the lower link or of the peer
	master    int              // index of the bridge or bond that has it as a port
	loopback  bool
	abroad    bool // the parent is in another network namespace
	up        bool
	state     string // as ip -br shows it
	mtu       int
	minMTU    int // 0 when the kernel does not tell
	maxMTU    int // 0 when the kernel does not tell
	ipv6      ipv6Settings
}

// ipv6Settings are those of a link, which netlink shows but does not change.
type ipv6Settings struct {
	// on is false when IPv6 is disabled, or the MTU below 1280.
	on bool
	// advertised: the kernel takes addresses and routes from a router's advertisements.
	advertised bool
}

// is reports whether l is the link of the ENI with this MAC.
//
// An ENI is hardware: a link without a kind. VLAN, macvlan and ipvlan
// children, bridges and bonds bear the same MAC but have a kind, and so do
// tunnels and tap devices. The permanent MAC decides where there is one: a
// bond gives its members another.
//
// The simulator plugs a veth end instead, which has no permanent MAC. Its
// peer is in another network namespace and it has the MAC of an ENI, which
// EC2 gives out once; a pod's veth has a random or a fixed one. A link whose
// parent is in this namespace is a child or one of two local veth ends.
func (l link) is(mac net.HardwareAddr) bool {
	if l.parent != 0 && !l.abroad {
		return false
	}
	switch l.kind {
	case "":
		if len(l.permanent) > 0 {
			return bytes.Equal(l.permanent, mac)
		}
		return bytes.Equal(l.mac, mac)
	case "veth":
		return l.abroad && bytes.Equal(l.mac, mac)
	}
	return false
}

// hardware reports whether l is a device and not made by software. On EC2, all are ENIs.
func (l link) hardware() bool { return l.kind == "" && !l.loopback }

// match finds the link of the ENI with this MAC. Hardware goes before veth.
// It returns nil when there is none, and an [AmbiguousError] when there are
// several.
func match(links []link, mac net.HardwareAddr) (*link, error) {
	var hardware, virtual []link
	for _, l := range links {
		switch {
		case !l.is(mac):
		case l.kind == "":
			hardware = append(hardware, l)
		default:
			virtual = append(virtual, l)
		}
	}
	found := hardware
	if len(found) == 0 {
		found = virtual
	}
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return &found[0], nil
	}
	err := &AmbiguousError{MAC: mac}
	for _, l := range found {
		err.Links = append(err.Links, l.name)
	}
	return nil, err
}

// Present reports whether the link of the ENI with this MAC is here. It changes
// nothing.
func (h *Host) Present(mac net.HardwareAddr) (bool, error) {
	links, err := h.conn.links()
	if err != nil {
		return false, fmt.Errorf("find the link of ENI %v: %w", mac, err)
	}
	return slices.ContainsFunc(links, func(l link) bool { return l.is(mac) }), nil
}
