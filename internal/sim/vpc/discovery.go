package vpc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// RouterAdvertisements says what the routers of subnets with IPv6 advertise, at
// intervals and to each node that asks.
type RouterAdvertisements struct {
	// Interval is the time between two, such as "100ms" (default "10s").
	Interval string `json:"interval,omitempty"`
	// Autonomous lets nodes make up addresses in the subnet's range. EC2 does not:
	// it would not know them.
	Autonomous bool `json:"autonomous,omitempty"`
}

func (r RouterAdvertisements) interval() (time.Duration, error) {
	if r.Interval == "" {
		return 10 * time.Second, nil
	}
	interval, err := time.ParseDuration(r.Interval)
	if err != nil || interval < time.Millisecond {
		return 0, fmt.Errorf("interval of router advertisements %q: must be a duration of 1ms or more, such as \"10s\"", r.Interval)
	}
	return interval, nil
}

// discovery is how the routers take part in neighbour discovery.
type discovery struct {
	interval   time.Duration
	autonomous bool
}

// discover makes a subnet's router take part in neighbour discovery until Close. As
// in EC2, the VPC answers for all addresses that it knows, whatever the nodes say.
// The kernel answers for the router's own address.
func (n *Network) discover(s *subnet) error {
	var socket *os.File
	err := n.router.Do(func() (err error) {
		socket, err = listenSolicitations(s.bridge)
		return err
	})
	if err != nil {
		return fmt.Errorf("listen for neighbor discovery: %w", err)
	}
	n.closers = append(n.closers, socket.Close)
	n.background.Go(func() { n.answerSolicitations(s, socket) })
	n.background.Go(func() {
		ticker := time.NewTicker(n.discovery.interval)
		defer ticker.Stop()
		frame := s.advertisement(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, n.discovery.autonomous)
		for {
			select {
			case <-n.done:
				return
			case <-ticker.C:
				n.advertise(s, socket, frame)
			}
		}
	})
	return nil
}

// advertise sends a frame to all nodes of a subnet. It hands it to each port, because
// the bridge floods nothing to ports for which it answers ARP.
func (n *Network) advertise(s *subnet, socket *os.File, frame []byte) {
	conn, err := socket.SyscallConn()
	if err != nil {
		return // closed
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.ports {
		if p.subnet != s {
			continue
		}
		to := &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_IPV6), Ifindex: p.link}
		// A link that is down gets the next one.
		_ = conn.Control(func(fd uintptr) { _ = unix.Sendto(int(fd), frame, 0, to) })
	}
}

// listenSolicitations opens a socket for the frames that a bridge takes in, of which
// it hands over what nodes ask for.
func listenSolicitations(bridge int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	const (
		load   = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
		equals = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		result = unix.BPF_RET | unix.BPF_K
	)
	filter := []unix.SockFilter{
		{Code: load, K: etherHeader + 6},
		{Code: equals, K: icmpv6, Jf: 3},
		{Code: load, K: etherHeader + ip6Header},
		{Code: equals, K: routerSolicitation, Jt: 2},
		{Code: equals, K: neighbourSolicitation, Jt: 1},
		{Code: result, K: 0},
		{Code: result, K: 0xffff},
	}
	program := &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, program)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_IPV6), Ifindex: bridge})
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "neighbor discovery"), nil
}

func networkOrder(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

func (n *Network) answerSolicitations(s *subnet, socket *os.File) {
	frame := make([]byte, mtu+etherHeader)
	for {
		size, err := socket.Read(frame)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil { // the bridge was down, say
			time.Sleep(10 * time.Millisecond)
			continue
		}
		asked, ok := parseSolicitation(frame[:size])
		if !ok {
			continue
		}
		if asked.kind == routerSolicitation {
			_, _ = socket.Write(s.advertisement(asked.mac, n.discovery.autonomous))
			continue
		}
		// A node that looks for a duplicate of its own address gets no answer.
		if owner := n.owner(s, asked.target); owner != nil && !bytes.Equal(owner, asked.mac) {
			_, _ = socket.Write(asked.answerTo(s.mac, owner))
		}
	}
}

// owner is the MAC of the ENI in the subnet that has an address, by itself or in a
// prefix.
func (n *Network) owner(s *subnet, a netip.Addr) net.HardwareAddr {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.ports {
		if p.subnet == s && p.has(a) {
			return p.mac
		}
	}
	return nil
}
