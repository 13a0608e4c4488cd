package hostnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// events is a netlink socket for notifications.
type events struct{ socket *nl.NetlinkSocket }

func openEvents() (*events, error) {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	return &events{socket}, nil
}

func (e *events) close() { e.socket.Close() }

func (e *events) join() error {
	for _, group := range []int{
		unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV4_ROUTE,
	} {
		err := unix.SetsockoptInt(e.socket.GetFd(), unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group)
		if err != nil {
			return fmt.Errorf("join netlink group %d: %w", group, err)
		}
	}
	return nil
}

// Watch signals when a link or an IPv4 address has changed, or a rule or a
// route of the band: reason to call [Host.Configure], [Host.Release] or
// [Host.Sweep] again, which find out what it was. Signals that are not
// received are merged into one, and the Host's own changes are signalled too.
//
// Nothing is lost when the kernel has more to tell than the socket holds: it
// signals then as well. The channel is closed when ctx ends or the Host is
// closed. Call Watch once, before the first Configure.
func (h *Host) Watch(ctx context.Context) (<-chan struct{}, error) {
	if err := h.events.join(); err != nil {
		return nil, fmt.Errorf("watch links, addresses, rules and routes: %w", err)
	}
	stop := context.AfterFunc(ctx, h.events.close)
	changed := make(chan struct{}, 1)
	go func() {
		defer close(changed)
		defer stop()
		for h.events.next() {
			select {
			case changed <- struct{}{}:
			default: // one is waiting already
			}
		}
	}()
	return changed, nil
}

// next waits for an event that matters. It returns false when the socket is
// closed.
func (e *events) next() bool {
	for {
		msgs, from, err := e.socket.Receive()
		switch {
		case errors.Is(err, os.ErrClosed), errors.Is(err, unix.EBADF):
			return false
		case err != nil:
			// ENOBUFS: the kernel had more to tell than the socket holds. The
			// socket goes on, but what was lost may have mattered. Whatever
			// else it can be, looking once more is right.
			return true
		case from.Pid != nl.PidKernel:
		default:
			for _, m := range msgs {
				if matters(m) {
					return true
				}
			}
		}
	}
}

// matters reports whether a notification can concern the link of an ENI.
func matters(m syscall.NetlinkMessage) bool {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		// Bridges tell of their ports with a family of their own.
		return len(m.Data) > 0 && m.Data[0] == unix.AF_UNSPEC
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return true
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		r, err := decodeRule(m.Data)
		return err == nil && inBand(r.priority)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		r, err := decodeRoute(m.Data)
		return err == nil && inBand(r.table)
	}
	return false
}
