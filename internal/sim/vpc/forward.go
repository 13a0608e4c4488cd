package vpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
)

// Forward offers a service of the simulator's own network inside the VPC:
// instances reach the service address through their primary ENI's default
// route, and their connections are carried on to target (host:port), until
// Close.
func (n *Network) Forward(service netip.AddrPort, target string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed() {
		return errors.New("the network is closed")
	}
	if _, _, err := net.SplitHostPort(target); err != nil {
		return fmt.Errorf("forward %s: target %q is not HOST:PORT: %w", service, target, err)
	}
	own := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(service.Addr(), service.Addr().BitLen()))}
	lo := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 1}}
	if err := n.rtnl.AddrAdd(lo, own); err != nil && !errors.Is(err, syscall.EEXIST) {
		return fmt.Errorf("add the service address %s: %w", service.Addr(), err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	listener, err := n.router.Listen(ctx, "tcp", service.String())
	if err != nil {
		cancel()
		return fmt.Errorf("listen in the VPC's namespace: %w", err)
	}
	n.closers = append(n.closers, func() error {
		cancel()
		return listener.Close()
	})
	n.background.Go(func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // out of descriptors, say
				time.Sleep(50 * time.Millisecond)
				continue
			}
			n.background.Go(func() { carry(ctx, conn, target) })
		}
	})
	return nil
}

// carry connects a client with the target until both have ended or ctx has.
func carry(ctx context.Context, client net.Conn, target string) {
	defer client.Close()
	server, err := new(net.Dialer).DialContext(ctx, "tcp", target)
	if err != nil {
		return // the client sees its connection end
	}
	defer server.Close()
	stop := context.AfterFunc(ctx, func() {
		_ = client.Close()
		_ = server.Close()
	})
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		pipe(server, client)
	}()
	pipe(client, server)
	<-done
}

// pipe copies one direction and passes its end on, so that the other
// direction can go on.
func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
