package controlplane

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// reservedPort keeps a TCP port for a server that shares it (SO_REUSEPORT). The
// socket is bound but does not listen, so it gets no connection; and the kernel
// gives a shared port to nobody who asks for any free one.
type reservedPort struct {
	fd     int
	number int
}

func reservePort(ip net.IP) (*reservedPort, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reserving a port: %w", err)
	}
	port := &reservedPort{fd: fd}
	if err := port.bind(ip); err != nil {
		port.release()
		return nil, fmt.Errorf("reserving a port on %s: %w", ip, err)
	}
	return port, nil
}

func (p *reservedPort) bind(ip net.IP) error {
	if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return err
	}
	if err := unix.Bind(p.fd, &unix.SockaddrInet4{Addr: [4]byte(ip.To4())}); err != nil {
		return err
	}
	bound, err := unix.Getsockname(p.fd)
	if err != nil {
		return err
	}
	addr, ok := bound.(*unix.SockaddrInet4)
	if !ok {
		return fmt.Errorf("the kernel names it %T", bound)
	}
	p.number = addr.Port
	return nil
}

// release gives the port back. Releasing none, or twice, is fine.
func (p *reservedPort) release() {
	if p == nil || p.fd < 0 {
		return
	}
	_ = unix.Close(p.fd)
	p.fd = -1
}
