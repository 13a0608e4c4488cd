package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// stream sends a numbered packet every two milliseconds from an address of one node to one
// of another, which sends it back, until stop: it returns how many were sent, and how many
// of them did not come back.
func (c *cluster) stream(from string, source netip.Addr, to string, target netip.Addr) (stop func() (sent, lost int)) {
	c.t.Helper()
	listen := func(node string, at netip.Addr) *net.UDPConn {
		var conn *net.UDPConn
		c.must(c.instance(node).Namespace.Do(func() (err error) {
			conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 7007)))
			return err
		}))
		return conn
	}
	sender, echo := listen(from, source), listen(to, target)
	var came sync.Map
	var running sync.WaitGroup
	running.Go(func() {
		buffer := make([]byte, 64)
		for {
			n, peer, err := echo.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			_, _ = echo.WriteToUDPAddrPort(buffer[:n], peer)
		}
	})
	running.Go(func() {
		buffer := make([]byte, 64)
		for {
			if n, _, err := sender.ReadFromUDPAddrPort(buffer); err != nil {
				return
			} else if n == 8 {
				came.Store(binary.BigEndian.Uint64(buffer), true)
			}
		}
	})
	done := make(chan struct{})
	var number atomic.Uint64
	var sending sync.WaitGroup
	sending.Go(func() {
		for tick := time.NewTicker(2 * time.Millisecond); ; {
			select {
			case <-done:
				tick.Stop()
				return
			case <-tick.C:
				_, _ = sender.WriteToUDPAddrPort(binary.BigEndian.AppendUint64(nil, number.Add(1)), netip.AddrPortFrom(target, 7007))
			}
		}
	})
	return func() (sent, lost int) {
		close(done)
		sending.Wait()
		time.Sleep(300 * time.Millisecond) // what is on its way
		sender.Close()
		echo.Close()
		running.Wait()
		for n := uint64(1); n <= number.Load(); n++ {
			if _, ok := came.Load(n); !ok {
				lost++
			}
		}
		return int(number.Load()), lost
	}
}

// watchLink notes when a link of a node is down, is renamed, or loses an address.
func (c *cluster) watchLink(node string, e cloud.Interface) (problems func() []string) {
	c.t.Helper()
	l, ok := c.host(node).linkOf(e.MAC)
	if !ok {
		c.t.Fatalf("%s has no link with MAC %s", node, e.MAC)
	}
	index, name := l.Attrs().Index, l.Attrs().Name
	var mu sync.Mutex
	var all []string
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, fmt.Sprintf(format, args...))
	}
	subscribe(c, node, netlink.LinkSubscribe, func(u netlink.LinkUpdate) {
		switch a := u.Link.Attrs(); {
		case a.Index != index:
		case u.Header.Type == unix.RTM_DELLINK:
			note("link %s of %s is gone", name, node)
		case a.RawFlags&unix.IFF_UP == 0 || a.OperState != netlink.OperUp:
			note("link %s of %s is %v", name, node, a.OperState)
		case a.Name != name:
			note("link %s of %s is now %s", name, node, a.Name)
		}
	})
	subscribe(c, node, netlink.AddrSubscribe, func(u netlink.AddrUpdate) {
		if u.LinkIndex == index && !u.NewAddr {
			note("link %s of %s has lost %s", name, node, &u.LinkAddress)
		}
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}
