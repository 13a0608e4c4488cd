package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// event is a change on a node that the kernel has announced, or a NodeENIState that a
// watch has shown.
type event struct {
	at      time.Time
	message uint16 // RTM_NEWLINK, RTM_NEWADDR, RTM_NEWRULE, RTM_NEWROUTE; 0 is a NodeENIState
	gone    bool   // it was RTM_DELLINK and so on
	index   int    // of the link; 0 for rules

	mac  string // of a link
	name string
	mtu  int
	up   bool

	address netip.Addr   // of an address, or that a rule is for
	table   int          // of a rule or a route
	to      netip.Prefix // of a route; not valid: everywhere

	enis []v1alpha1.ENIState // of a NodeENIState
}

// reported says whether an event is a report of n ENIs in this phase.
func reported(phase v1alpha1.Phase, n int) func(event) bool {
	return func(e event) bool {
		others := func(eni v1alpha1.ENIState) bool { return eni.Phase != phase || eni.ENIID == "" }
		return e.message == 0 && len(slices.DeleteFunc(slices.Clone(e.enis), others)) == n
	}
}

// history is what was seen of a node, in order.
type history struct {
	mu     sync.Mutex
	events []event
	err    error // some are lost
}

func (h *history) add(err error, events ...event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for _, e := range events {
		e.at = now
		h.events = append(h.events, e)
	}
	h.err = cmp.Or(h.err, err)
}

// since is what was seen from a moment on.
func (h *history) since(from time.Time) ([]event, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, _ := slices.BinarySearchFunc(h.events, from, func(e event, t time.Time) int { return e.at.Compare(t) })
	return slices.Clone(h.events[i:]), h.err
}

// await waits for the first event since a moment that is so.
func (h *history) await(ctx context.Context, from time.Time, what string, is func(event) bool) (event, error) {
	var seen []event
	i := -1
	err := wait.PollUntilContextTimeout(ctx, pollEvery, patience, true, func(context.Context) (_ bool, err error) {
		seen, err = h.since(from)
		i = slices.IndexFunc(seen, is)
		return i >= 0, err
	})
	if err != nil {
		return event{}, fmt.Errorf("%s: %w; there was %+v", what, err, seen)
	}
	return seen[i], nil
}

// record adds all changes of the links, addresses, rules and routes of a namespace, until
// stop. The kernel tells each listener when it tells the agent.
func (h *history) record(ns *netns.Namespace) (stop func(), err error) {
	var socket *nl.NetlinkSocket
	err = ns.Do(func() (err error) {
		socket, err = nl.Subscribe(unix.NETLINK_ROUTE,
			unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV4_ROUTE)
		return err
	})
	const buffer = 8 << 20 // for what is announced while this program does not get to run
	// Only the host's root may have more than the system's limit.
	if err == nil && socket.SetReceiveBufferSize(buffer, true) != nil {
		err = socket.SetReceiveBufferSize(buffer, false)
	}
	if err != nil {
		return nil, fmt.Errorf("listen to a node's changes: %w", err)
	}
	go func() {
		for {
			msgs, _, err := socket.Receive()
			var events []event
			for _, m := range msgs {
				if e, ok := decode(m); ok {
					events = append(events, e)
				}
			}
			if h.add(err, events...); err != nil {
				return
			}
		}
	}()
	return socket.Close, nil
}

// headers are the sizes of what comes before the attributes of a message.
var headers = map[uint16]int{
	unix.RTM_NEWLINK: unix.SizeofIfInfomsg, unix.RTM_NEWADDR: unix.SizeofIfAddrmsg,
	unix.RTM_NEWRULE: unix.SizeofRtMsg, unix.RTM_NEWROUTE: unix.SizeofRtMsg,
}

// decode reads a message. What happens on lo does not concern an ENI.
func decode(m syscall.NetlinkMessage) (e event, ok bool) {
	const lo = 1 // its index in every namespace
	e.message, e.gone = m.Header.Type&^1, m.Header.Type&1 == 1
	attributes, err := nl.ParseRouteAttrAsMap(m.Data[headers[e.message]:])
	address := func(attribute uint16) netip.Addr {
		a, _ := netip.AddrFromSlice(attributes[attribute].Value)
		return a
	}
	number := func(attribute uint16) int {
		if v := attributes[attribute].Value; len(v) == 4 {
			return int(binary.NativeEndian.Uint32(v))
		}
		return 0
	}
	switch e.message {
	case unix.RTM_NEWLINK:
		header := nl.DeserializeIfInfomsg(m.Data)
		e.index, e.up = int(header.Index), header.Flags&unix.IFF_UP != 0
		e.mac = net.HardwareAddr(attributes[unix.IFLA_ADDRESS].Value).String()
		e.name = unix.ByteSliceToString(attributes[unix.IFLA_IFNAME].Value)
		e.mtu = number(unix.IFLA_MTU)
	case unix.RTM_NEWADDR:
		e.index, e.address = int(nl.DeserializeIfAddrmsg(m.Data).Index), address(unix.IFA_LOCAL)
	case unix.RTM_NEWRULE:
		e.table, e.address = number(nl.FRA_TABLE), address(nl.FRA_SRC)
	case unix.RTM_NEWROUTE:
		e.table, e.index = number(unix.RTA_TABLE), number(unix.RTA_OIF)
		e.to = netip.PrefixFrom(address(unix.RTA_DST), int(m.Data[1])) // rtm_dst_len
	}
	return e, err == nil && e.index != lo
}
