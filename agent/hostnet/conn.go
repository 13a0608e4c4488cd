package hostnet

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// conn holds the netlink sockets for requests.
type conn struct {
	changes sockets // errors come with the kernel's reason
	queries sockets // dumps are filtered by the kernel
}

// sockets is how the nl package is told which socket to use.
type sockets map[int]*nl.SocketHandle

func dial() (*conn, error) {
	changes, err := dialSocket()
	if err != nil {
		return nil, err
	}
	queries, err := dialSocket()
	if err != nil {
		changes.close()
		return nil, err
	}
	c := &conn{changes, queries}
	// Not for queries: nl v1.3.1 panics when a dump fails with a reason.
	if err := changes.socket().SetExtAck(true); err != nil {
		c.close()
		return nil, fmt.Errorf("set up a netlink socket: %w", err)
	}
	// Before Linux 4.20 there is no strict checking, and the kernel ignores
	// the filter of a dump; readers filter what they get anyway.
	_ = unix.SetsockoptInt(queries.socket().GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	return c, nil
}

func (c *conn) close() {
	c.changes.close()
	c.queries.close()
}

func dialSocket() (sockets, error) {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	// The kernel answers within microseconds; this bounds what is a bug.
	timeout := unix.NsecToTimeval(int64(10 * time.Second))
	if err := errors.Join(socket.SetSendTimeout(&timeout), socket.SetReceiveTimeout(&timeout)); err != nil {
		socket.Close()
		return nil, fmt.Errorf("set up a netlink socket: %w", err)
	}
	return sockets{unix.NETLINK_ROUTE: {Socket: socket}}, nil
}

func (s sockets) socket() *nl.NetlinkSocket { return s[unix.NETLINK_ROUTE].Socket }

func (s sockets) close() { s.socket().Close() }

func (s sockets) request(typ, flags int, header nl.NetlinkRequestData, attrs []*nl.RtAttr) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(typ, flags)
	req.Sockets = s
	req.AddData(header)
	for _, a := range attrs {
		req.AddData(a)
	}
	return req
}

// do carries out a change.
func (c *conn) do(typ, flags int, header nl.NetlinkRequestData, attrs ...*nl.RtAttr) error {
	_, err := c.changes.request(typ, flags|unix.NLM_F_ACK, header, attrs).Execute(unix.NETLINK_ROUTE, 0)
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (CAP_NET_ADMIN is needed)", err)
	}
	return err
}

// get asks for one object.
func (c *conn) get(typ int, header nl.NetlinkRequestData, attrs ...*nl.RtAttr) ([]byte, error) {
	msgs, err := c.queries.request(typ, 0, header, attrs).Execute(unix.NETLINK_ROUTE, 0)
	if err != nil {
		return nil, err
	}
	if len(msgs) != 1 {
		return nil, fmt.Errorf("%d answers to a question for one object", len(msgs))
	}
	return msgs[0], nil
}

// dumpAttempts bounds how often a dump is asked for while others change what
// is being dumped.
const dumpAttempts = 20

// dump asks for all objects that pass the filter in header and attrs. While a
// dump is under way, changes by others can make it inconsistent
// (NLM_F_DUMP_INTR); it is asked for again then, here for all of them.
func (c *conn) dump(typ int, header nl.NetlinkRequestData, attrs ...*nl.RtAttr) ([][]byte, error) {
	var msgs [][]byte
	var err error
	for range dumpAttempts {
		msgs, err = c.queries.request(typ, unix.NLM_F_DUMP, header, attrs).Execute(unix.NETLINK_ROUTE, 0)
		if !errors.Is(err, nl.ErrDumpInterrupted) && !errors.Is(err, unix.EINTR) {
			return msgs, err
		}
	}
	return nil, fmt.Errorf("others change the network configuration faster than it can be read: %w", err)
}
