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
	pid     uint32  // of changes: the kernel announces with it who has made one
	queries *queries
}

// sockets is how the nl package is told which socket to use.
type sockets map[int]*nl.SocketHandle

func dial() (*conn, error) {
	changes, err := dialSocket()
	if err != nil {
		return nil, err
	}
	queries, err := dialQueries(unix.NETLINK_ROUTE)
	if err != nil {
		changes.close()
		return nil, err
	}
	c := &conn{changes: changes, queries: queries}
	c.pid, err = changes.socket().GetPid()
	if err := errors.Join(err, changes.socket().SetExtAck(true)); err != nil {
		c.close()
		return nil, fmt.Errorf("set up a netlink socket: %w", err)
	}
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
