package hostnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// events is a netlink socket for notifications.
type events struct{ socket *socket }

func openEvents() (*events, error) {
	s, err := openSocket(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	return &events{s}, nil
}

func (e *events) close() { e.socket.close() }

func (e *events) join() error {
	for _, group := range []int{
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV4_ROUTE,
		unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_IPV6_ROUTE,
	} {
		if err := e.socket.set(unix.NETLINK_ADD_MEMBERSHIP, group); err != nil {
			return fmt.Errorf("join netlink group %d: %w", group, err)
		}
	}
	return nil
}

// tablesEvery is how often our nftables tables are looked at.
const tablesEvery = 30 * time.Second

// watchTables signals when they are not as they must be.
func (h *Host) watchTables(ticks <-chan time.Time, over <-chan struct{}, signal func()) {
	kept := func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		marked, guarded := h.marker.kept(), h.guard.kept()
		return marked && guarded
	}
	for {
		select {
		case <-over:
			return
		case <-ticks:
		}
		if !kept() {
			signal()
		}
	}
}

// Watch signals when a link or an address has changed, or a rule or a route of the
// band, when the kernel may have taken a route from a router's advertisement, or
// within half a minute when our nftables tables have changed: reason to call
// [Host.Configure], [Host.Release] or [Host.Sweep] again, which find out what it was.
// Signals that are not received are merged into one, and the Host's own changes are
// signalled too.
//
// When the kernel has more to tell than the socket holds, that is a signal as
// well: nothing is missed. The channel is closed when ctx ends, when the Host
// is closed, or, which is not expected, when the socket fails. Call Watch
// once, before the first Configure.
func (h *Host) Watch(ctx context.Context) (<-chan struct{}, error) {
	if err := h.events.join(); err != nil {
		return nil, fmt.Errorf("watch links, addresses, rules and routes: %w", err)
	}
	stop := context.AfterFunc(ctx, h.events.close)
	changed := make(chan struct{}, 1)
	signal := func() {
		select {
		case changed <- struct{}{}:
		default: // one is waiting already
		}
	}
	over, ticker := make(chan struct{}), time.NewTicker(tablesEvery)
	var tables sync.WaitGroup
	tables.Go(func() { h.watchTables(ticker.C, over, signal) })
	go func() {
		defer close(changed)
		defer tables.Wait()
		defer close(over)
		defer ticker.Stop()
		defer stop()
		for h.events.next(h.copier) {
			signal()
		}
	}()
	return changed, nil
}

// next waits for an event that matters. It returns false when the socket is
// closed.
func (e *events) next(c *copier) bool {
	for {
		datagram, err := e.socket.receive(time.Time{})
		switch {
		case errors.Is(err, unix.ENOBUFS):
			defer c.lost()
			return e.drain()
		case err != nil:
			return false
		}
		signal := false
		for m := (messages{rest: datagram}); m.next(); {
			c.see(m.message)
			signal = signal || matters(m.message)
		}
		if signal {
			return true
		}
	}
}

// drain empties the socket after the kernel had more to tell than it holds.
// What was lost may have mattered. The signal has to wait until the socket
// was empty once: until then the kernel goes on dropping, and says so no more
// (NETLINK_S_CONGESTED in net/netlink/af_netlink.c).
func (e *events) drain() bool {
	for {
		_, err := e.socket.receive(time.Now().Add(time.Millisecond))
		switch {
		case err == nil, errors.Is(err, unix.ENOBUFS):
		default:
			return errors.Is(err, os.ErrDeadlineExceeded)
		}
	}
}

// matters reports whether a notification can concern the link of an ENI.
func matters(m message) bool {
	switch m.typ {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		// Bridges tell of their ports with a family of their own.
		return len(m.data) > 0 && m.data[0] == unix.AF_UNSPEC
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		a, err := decodeAddress(m.data)
		return err != nil || !linkLocal(a.prefix.Addr()) // each pod's link has one
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		r, err := decodeRule(m.data)
		return err == nil && inBand(r.priority)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		r, err := decodeRoute(m.data)
		return err == nil && (inBand(r.table) && r.table != copyTable || // the copier sees to that
			m.typ == unix.RTM_NEWROUTE && r.mayBeAdvertised())
	}
	return false
}
