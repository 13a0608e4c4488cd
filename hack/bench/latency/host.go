package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// kind is what a host event is about.
type kind string

const (
	linkEvent    kind = "link"
	addressEvent kind = "address"
	ruleEvent    kind = "rule"
	routeEvent   kind = "route"
)

// hostEvent is a change on a node that the kernel has told of.
type hostEvent struct {
	at    time.Time
	kind  kind
	gone  bool // deleted
	index int  // of the link; 0 for rules

	mac  string // of a link
	name string
	mtu  int
	up   bool

	address netip.Addr   // of an address, or that a rule is for
	table   int          // of a rule or a route
	to      netip.Prefix // of a route; not valid: everywhere
}

func (e hostEvent) when() time.Time { return e.at }

// recorder keeps all changes of a node's links, addresses, rules and routes, with
// the time at which it was told. The kernel tells each listener when it tells the
// agent.
type recorder struct {
	*history[hostEvent]
	socket *nl.NetlinkSocket
}

// bufferSize holds what the kernel tells while this program does not get to run.
const bufferSize = 8 << 20

func record(ns *netns.Namespace) (*recorder, error) {
	r := &recorder{history: newHistory[hostEvent]()}
	err := ns.Do(func() (err error) {
		r.socket, err = nl.Subscribe(unix.NETLINK_ROUTE,
			unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV4_ROUTE)
		return err
	})
	// Only the host's root may have more than the system's limit.
	if err == nil && r.socket.SetReceiveBufferSize(bufferSize, true) != nil {
		err = r.socket.SetReceiveBufferSize(bufferSize, false)
	}
	if err != nil {
		return nil, fmt.Errorf("listen to a node's changes: %w", err)
	}
	go r.run()
	return r, nil
}

func (r *recorder) run() {
	for {
		msgs, _, err := r.socket.Receive()
		now := time.Now()
		var events []hostEvent
		for _, m := range msgs {
			if e, ok := decode(m); ok {
				e.at = now
				events = append(events, e)
			}
		}
		if err != nil {
			err = fmt.Errorf("the kernel's events are lost: %w", err)
		}
		if r.add(err, events...); err != nil {
			return
		}
	}
}

// decode reads a message; not ok is one of another kind.
func decode(m syscall.NetlinkMessage) (e hostEvent, ok bool) {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		header := nl.DeserializeIfInfomsg(m.Data)
		e = hostEvent{kind: linkEvent, gone: m.Header.Type == unix.RTM_DELLINK, index: int(header.Index), up: header.Flags&unix.IFF_UP != 0}
		ok = attributes(m.Data[unix.SizeofIfInfomsg:], func(attribute uint16, v []byte) {
			switch attribute {
			case unix.IFLA_ADDRESS:
				e.mac = net.HardwareAddr(v).String()
			case unix.IFLA_IFNAME:
				e.name = nl.BytesToString(v)
			case unix.IFLA_MTU:
				e.mtu = number(v)
			}
		})
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		e = hostEvent{kind: addressEvent, gone: m.Header.Type == unix.RTM_DELADDR, index: int(nl.DeserializeIfAddrmsg(m.Data).Index)}
		ok = attributes(m.Data[unix.SizeofIfAddrmsg:], func(attribute uint16, v []byte) {
			if attribute == unix.IFA_LOCAL {
				e.address, _ = netip.AddrFromSlice(v)
			}
		})
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		e = hostEvent{kind: ruleEvent, gone: m.Header.Type == unix.RTM_DELRULE}
		ok = attributes(m.Data[unix.SizeofRtMsg:], func(attribute uint16, v []byte) {
			switch attribute {
			case nl.FRA_SRC:
				e.address, _ = netip.AddrFromSlice(v)
			case nl.FRA_TABLE:
				e.table = number(v)
			}
		})
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		e = hostEvent{kind: routeEvent, gone: m.Header.Type == unix.RTM_DELROUTE}
		ok = attributes(m.Data[unix.SizeofRtMsg:], func(attribute uint16, v []byte) {
			switch attribute {
			case unix.RTA_OIF:
				e.index = number(v)
			case unix.RTA_TABLE:
				e.table = number(v)
			case unix.RTA_DST:
				to, _ := netip.AddrFromSlice(v)
				e.to = netip.PrefixFrom(to, int(m.Data[1])) // rtm_dst_len
			}
		})
	}
	return e, ok
}

func attributes(data []byte, f func(attribute uint16, value []byte)) bool {
	attrs, err := nl.ParseRouteAttr(data)
	for _, a := range attrs {
		f(a.Attr.Type&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), a.Value)
	}
	return err == nil
}

func number(v []byte) int {
	if len(v) < 4 {
		return 0
	}
	return int(binary.NativeEndian.Uint32(v))
}
