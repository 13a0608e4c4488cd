package controlplane

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// reservedPort keeps a TCP port of loopback for a server that shares it
// (SO_REUSEPORT). The socket is bound but does not listen, so it gets no connection;
// and the kernel gives a shared port to nobody who asks for any free one.
type reservedPort struct {
	socket *os.File
	number int
}

func reservePort() (*reservedPort, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reserving a port: %w", err)
	}
	port := &reservedPort{socket: os.NewFile(uintptr(fd), "reserved port")}
	shared := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	bound := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	address, named := unix.Getsockname(fd)
	if err := errors.Join(shared, bound, named); err != nil {
		port.release()
		return nil, fmt.Errorf("reserving a port: %w", err)
	}
	port.number = address.(*unix.SockaddrInet4).Port
	return port, nil
}

// release gives the port back. Releasing none, or twice, is fine.
func (p *reservedPort) release() {
	if p != nil {
		_ = p.socket.Close()
	}
}
