package netns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// Listen listens in the namespace. Address is a literal IP address and port:
// a name would have to be resolved outside of the namespace.
func (ns *Namespace) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	var listener net.Listener
	err := ns.onSocket(address, func() (err error) {
		listener, err = new(net.ListenConfig).Listen(ctx, network, address)
		return err
	})
	return listener, err
}

// ListenPacket is [Namespace.Listen] for packet-oriented networks.
func (ns *Namespace) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	var conn net.PacketConn
	err := ns.onSocket(address, func() (err error) {
		conn, err = new(net.ListenConfig).ListenPacket(ctx, network, address)
		return err
	})
	return conn, err
}

// DialContext connects from within the namespace to a literal IP address and
// port. It has the signature of http.Transport's DialContext.
func (ns *Namespace) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := ns.onSocket(address, func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

func (ns *Namespace) onSocket(address string, fn func() error) error {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return fmt.Errorf("%q is not a literal IP address and port: %w", address, err)
	}
	return ns.Do(fn)
}
