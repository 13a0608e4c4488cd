package hostnet

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// longestDatagram is more than the kernel puts into one: 32 KiB of a dump, one
// message of anything else.
const longestDatagram = 64 << 10

// socket is a netlink socket. nl has them too, but takes 64 KiB of new
// memory for every datagram; on a node whose pods come and go, these are many.
type socket struct {
	file   *os.File
	conn   syscall.RawConn
	pid    uint32 // the kernel names it when it announces what was changed by this socket
	buffer []byte

	// The last datagram. It is kept here, and receiveNow made once, so that
	// receiving takes no memory.
	length, flags int
	from          unix.Sockaddr
	err           error
	receiveNow    func(fd uintptr) bool
}

func openSocket(protocol int) (*socket, error) {
	s, err := newSocket(protocol)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	return s, nil
}

func newSocket(protocol int) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "netlink")
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	s := &socket{file: file, conn: conn, pid: name.(*unix.SockaddrNetlink).Pid, buffer: make([]byte, longestDatagram)}
	s.receiveNow = func(fd uintptr) bool {
		s.length, _, s.flags, s.from, s.err = unix.Recvmsg(int(fd), s.buffer, nil, 0)
		return !errors.Is(s.err, unix.EAGAIN)
	}
	return s, nil
}

func (s *socket) close() { s.file.Close() }

// set sets an option of netlink.
func (s *socket) set(option, value int) (err error) {
	if failed := s.conn.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_NETLINK, option, value) }); failed != nil {
		return failed
	}
	return err
}

func (s *socket) send(data []byte) (err error) {
	failed := s.conn.Write(func(fd uintptr) bool {
		for {
			err = unix.Sendto(int(fd), data, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
			if !errors.Is(err, unix.EINTR) {
				return !errors.Is(err, unix.EAGAIN)
			}
		}
	})
	if failed != nil {
		return failed
	}
	return err
}

// receive waits for a datagram of the kernel, until the deadline, or for ever when
// there is none. The datagram is valid until the next call.
func (s *socket) receive(deadline time.Time) ([]byte, error) {
	if err := s.file.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	for {
		err := s.conn.Read(s.receiveNow)
		switch {
		case err != nil:
			return nil, err
		case errors.Is(s.err, unix.EINTR):
		case s.err != nil:
			return nil, s.err
		case !isKernel(s.from):
		case s.flags&unix.MSG_TRUNC != 0:
			return nil, fmt.Errorf("the kernel's message is longer than %d bytes", len(s.buffer))
		default:
			return s.buffer[:s.length], nil
		}
	}
}

// isKernel tells the kernel from other processes, which may send too.
func isKernel(from unix.Sockaddr) bool {
	sender, ok := from.(*unix.SockaddrNetlink)
	return ok && sender.Pid == nl.PidKernel
}
