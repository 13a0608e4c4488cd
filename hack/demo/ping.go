package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// Types of ICMP messages, RFC 792.
const (
	echoReply   = 0
	echoRequest = 8
)

const echoTimeout = 2 * time.Second

// ping sends echo requests from one address to another, the next one when the
// last is answered, and returns how long each answer took. Being bound to the
// address from, the socket follows that address's routing rule.
func ping(ns *netns.Namespace, from, to netip.Addr, count int) ([]time.Duration, error) {
	var conn net.PacketConn
	err := ns.Do(func() (err error) {
		conn, err = net.ListenPacket("ip4:icmp", from.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open an ICMP socket at %v: %w", from, err)
	}
	defer conn.Close()
	id := uint16(os.Getpid())
	var took []time.Duration
	for i := range count {
		sent := time.Now()
		if _, err := conn.WriteTo(echoMessage(echoRequest, id, uint16(i)), &net.IPAddr{IP: to.AsSlice()}); err != nil {
			return took, fmt.Errorf("send an echo request from %v to %v: %w", from, to, err)
		}
		if err := awaitEcho(conn, to, id, uint16(i), sent.Add(echoTimeout)); err != nil {
			return took, fmt.Errorf("echo request %d from %v to %v: %w", i+1, from, to, err)
		}
		took = append(took, time.Since(sent))
	}
	return took, nil
}

func awaitEcho(conn net.PacketConn, from netip.Addr, id, sequence uint16, deadline time.Time) error {
	if err := conn.SetReadDeadline(deadline); err != nil {
		return err
	}
	buf := make([]byte, 1500)
	for {
		n, sender, err := conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("no answer within %v", echoTimeout)
		}
		if err != nil {
			return err
		}
		// A raw socket hears every ICMP message that comes to the address.
		message := buf[:n]
		if n >= 8 && message[0] == echoReply && sender.String() == from.String() &&
			binary.BigEndian.Uint16(message[4:]) == id && binary.BigEndian.Uint16(message[6:]) == sequence {
			return nil
		}
	}
}

// echoMessage is an echo message with 56 bytes of data, as ping(8) sends it.
func echoMessage(kind byte, id, sequence uint16) []byte {
	m := make([]byte, 8+56)
	m[0] = kind
	binary.BigEndian.PutUint16(m[4:], id)
	binary.BigEndian.PutUint16(m[6:], sequence)
	binary.BigEndian.PutUint16(m[2:], checksum(m))
	return m
}

// checksum is the Internet checksum of RFC 1071.
func checksum(data []byte) uint16 {
	var sum uint32
	for i := 0; i < len(data); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(data[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
