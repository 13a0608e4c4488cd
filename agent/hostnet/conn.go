package hostnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// answerTimeout bounds what is a bug: the kernel answers within microseconds.
const answerTimeout = 10 * time.Second

// nl works its byte order out with the first message that it is asked for, and has no lock.
var _ = nl.NativeEndian()

// conn is a netlink socket for questions and changes.
type conn struct {
	mu     sync.Mutex
	socket *socket
	seq    uint32
}

func dial(protocol int) (*conn, error) {
	s, err := openSocket(protocol)
	if err != nil {
		return nil, err
	}
	// Before Linux 4.20 there is no strict checking, and the kernel ignores
	// the filter of a dump; readers filter what they get anyway.
	_ = s.set(unix.NETLINK_GET_STRICT_CHK, 1)
	_ = s.set(unix.NETLINK_EXT_ACK, 1) // errors come with the kernel's reason
	return &conn{socket: s}, nil
}

func (c *conn) close() { c.socket.close() }

// do makes a change.
func (c *conn) do(typ, flags int, header nl.NetlinkRequestData, attrs ...*nl.RtAttr) error {
	err := c.ask(typ, flags|unix.NLM_F_ACK, header, attrs, func([]byte) error { return nil })
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (CAP_NET_ADMIN is needed)", err)
	}
	return err
}

// ask sends a question and hands each message of the answer to read, which must not
// keep it. After an error of read the rest is skipped.
func (c *conn) ask(typ, flags int, header nl.NetlinkRequestData, attrs []*nl.RtAttr, read func(msg []byte) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	req := nl.NewNetlinkRequest(typ, flags)
	req.Seq = c.seq
	req.AddData(header)
	for _, a := range attrs {
		req.AddData(a)
	}
	if err := c.socket.send(req.Serialize()); err != nil {
		return err
	}
	var failed error
	for interrupted := false; ; {
		datagram, err := c.socket.receive(time.Now().Add(answerTimeout))
		if err != nil {
			return err
		}
		for m := (messages{rest: datagram}); m.next(); {
			if m.seq != c.seq {
				continue // of a question that was given up
			}
			interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
			if m.typ == unix.NLMSG_DONE || m.typ == unix.NLMSG_ERROR {
				return errors.Join(failed, m.errno(), interruption(interrupted))
			}
			if failed == nil {
				failed = read(m.data)
			}
			if m.flags&unix.NLM_F_MULTI == 0 {
				return failed
			}
		}
	}
}

func interruption(yes bool) error {
	if yes {
		return nl.ErrDumpInterrupted
	}
	return nil
}

// message is one of the kernel's.
type message struct {
	typ   uint16
	flags uint16
	seq   uint32
	pid   uint32
	data  []byte
}

// messages are those of one datagram.
type messages struct {
	rest []byte
	message
}

// next moves on; false behind the last one, or when what is left is none.
func (m *messages) next() bool {
	if len(m.rest) < unix.SizeofNlMsghdr {
		return false
	}
	length := int(binary.NativeEndian.Uint32(m.rest))
	if length < unix.SizeofNlMsghdr || length > len(m.rest) {
		return false
	}
	m.typ = binary.NativeEndian.Uint16(m.rest[4:])
	m.flags = binary.NativeEndian.Uint16(m.rest[6:])
	m.seq = binary.NativeEndian.Uint32(m.rest[8:])
	m.pid = binary.NativeEndian.Uint32(m.rest[12:])
	m.data = m.rest[unix.SizeofNlMsghdr:length]
	m.rest = m.rest[min(aligned(length), len(m.rest)):]
	return true
}

// errno is what NLMSG_DONE or NLMSG_ERROR says: nil for success.
func (m message) errno() error {
	if len(m.data) < 4 {
		return nil
	}
	n := int32(binary.NativeEndian.Uint32(m.data))
	if n == 0 {
		return nil
	}
	if reason := m.reason(); reason != "" {
		return fmt.Errorf("%w: %s", unix.Errno(-n), reason)
	}
	return unix.Errno(-n)
}

// reason is the text that the kernel adds to an error, behind the request that it
// repeats; "" when it adds none.
func (m message) reason() string {
	const request = 4
	if m.typ != unix.NLMSG_ERROR || m.flags&unix.NLM_F_ACK_TLVS == 0 || len(m.data) < request+unix.SizeofNlMsghdr {
		return ""
	}
	length := int(binary.NativeEndian.Uint32(m.data[request:]))
	for a := attributes(m.data, request+aligned(length)); a.next(); {
		if a.typ == nl.NLMSGERR_ATTR_MSG {
			return text(a.value)
		}
	}
	return ""
}

// aligned is the place of what follows something of this length.
func aligned(length int) int { return (length + 3) &^ 3 }

// get asks for one object.
func get[T any](c *conn, typ int, decode func([]byte) (T, error), header nl.NetlinkRequestData, attrs ...*nl.RtAttr) (T, error) {
	var all []T
	err := c.ask(typ, 0, header, attrs, func(msg []byte) error {
		v, err := decode(msg)
		all = append(all, v)
		return err
	})
	if err == nil && len(all) != 1 {
		err = fmt.Errorf("got %d answers for one object", len(all))
	}
	if err != nil {
		var none T
		return none, err
	}
	return all[0], nil
}

// dumpAttempts bounds how often a dump is asked for while others change what
// is being dumped.
const dumpAttempts = 20

// dump asks for all objects that pass the filter in header and attrs, and keeps those
// that pass keep. While a dump is under way, changes by others can make it
// inconsistent (NLM_F_DUMP_INTR); it is asked for again then, here for all of them.
func dump[T any](c *conn, typ int, decode func([]byte) (T, error), keep func(T) bool, header nl.NetlinkRequestData, attrs ...*nl.RtAttr) ([]T, error) {
	var all []T
	read := func(msg []byte) error {
		if len(msg) > 0 && msg[0] != unix.AF_UNSPEC && !slices.Contains(families, msg[0]) {
			return nil // multicast routing has rules and routes of its own
		}
		v, err := decode(msg)
		if err != nil {
			return fmt.Errorf("read an answer from the kernel: %w", err)
		}
		if keep(v) {
			all = append(all, v)
		}
		return nil
	}
	var err error
	for range dumpAttempts {
		all = all[:0]
		err = c.ask(typ, unix.NLM_F_DUMP, header, attrs, read)
		if err == nil {
			return all, nil
		}
		if !errors.Is(err, nl.ErrDumpInterrupted) && !errors.Is(err, unix.EINTR) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("the network configuration changes faster than it can be read: %w", err)
}

func every[T any](T) bool { return true }
