package fleet

import (
	"context"
	"net"
	"sync/atomic"
	"time"
)

// Traffic is what went over the agents' connections to one server.
type Traffic struct {
	Open           int64 // connections
	Sent, Received int64 // bytes, TLS included
}

// wire counts connections and what goes over them.
type wire struct{ open, sent, received atomic.Int64 }

func (w *wire) traffic() Traffic {
	return Traffic{Open: w.open.Load(), Sent: w.sent.Load(), Received: w.received.Load()}
}

// dial is what http.Transport dials with by default, counted.
func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w.open.Add(1)
	return &countedConn{Conn: c, wire: w}, nil
}

type countedConn struct {
	net.Conn
	wire   *wire
	closed atomic.Bool
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.wire.received.Add(int64(n))
	return n, err
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.wire.sent.Add(int64(n))
	return n, err
}

func (c *countedConn) Close() error {
	if !c.closed.Swap(true) {
		c.wire.open.Add(-1)
	}
	return c.Conn.Close()
}
