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

// messages are those that are recorded, with the size of their headers.
var messages = map[uint16]struct {
	kind   kind
	gone   bool
	header int
}{
	unix.RTM_NEWLINK: {linkEvent, false, unix.SizeofIfInfomsg}, unix.RTM_DELLINK: {linkEvent, true, unix.SizeofIfInfomsg},
	unix.RTM_NEWADDR: {addressEvent, false, unix.SizeofIfAddrmsg}, unix.RTM_DELADDR: {addressEvent, true, unix.SizeofIfAddrmsg},
	unix.RTM_NEWRULE: {ruleEvent, false, unix.SizeofRtMsg}, unix.RTM_DELRULE: {ruleEvent, true, unix.SizeofRtMsg},
	unix.RTM_NEWROUTE: {routeEvent, false, unix.SizeofRtMsg}, unix.RTM_DELROUTE: {routeEvent, true, unix.SizeofRtMsg},
}

func decode(m syscall.NetlinkMessage) (e hostEvent, ok bool) {
	message, ok := messages[m.Header.Type]
	if !ok {
		return e, false
	}
	e.kind, e.gone = message.kind, message.gone
	switch e.kind {
	case linkEvent:
		header := nl.DeserializeIfInfomsg(m.Data)
		e.index, e.up = int(header.Index), header.Flags&unix.IFF_UP != 0
	case addressEvent:
		e.index = int(nl.DeserializeIfAddrmsg(m.Data).Index)
	}
	attributes, err := nl.ParseRouteAttr(m.Data[message.header:])
	for _, a := range attributes {
		type of struct {
			kind      kind
			attribute uint16
		}
		switch (of{e.kind, a.Attr.Type &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)}) {
		case of{linkEvent, unix.IFLA_ADDRESS}:
			e.mac = net.HardwareAddr(a.Value).String()
		case of{linkEvent, unix.IFLA_IFNAME}:
			e.name = nl.BytesToString(a.Value)
		case of{linkEvent, unix.IFLA_MTU}:
			e.mtu = number(a.Value)
		case of{addressEvent, unix.IFA_LOCAL}, of{ruleEvent, nl.FRA_SRC}:
			e.address, _ = netip.AddrFromSlice(a.Value)
		case of{ruleEvent, nl.FRA_TABLE}, of{routeEvent, unix.RTA_TABLE}:
			e.table = number(a.Value)
		case of{routeEvent, unix.RTA_OIF}:
			e.index = number(a.Value)
		case of{routeEvent, unix.RTA_DST}:
			to, _ := netip.AddrFromSlice(a.Value)
			e.to = netip.PrefixFrom(to, int(m.Data[1])) // rtm_dst_len
		}
	}
	return e, err == nil
}

func number(v []byte) int {
	if len(v) < 4 {
		return 0
	}
	return int(binary.NativeEndian.Uint32(v))
}
