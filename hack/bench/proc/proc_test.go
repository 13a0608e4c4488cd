package proc

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// This process knows about itself what it should read.
func TestRead(t *testing.T) {
	before := read(t)
	memory := make([]byte, 32<<20)
	for i := range memory {
		memory[i] = byte(i)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		time.Sleep(time.Millisecond)
	}
	after := read(t)
	runtime.KeepAlive(memory)

	if grown := after.RSS - before.RSS; grown < 30<<20 {
		t.Errorf("RSS has grown by %d bytes, want 32 MiB", grown)
	}
	if after.PSS <= 0 || after.PSS > after.RSS {
		t.Errorf("PSS is %d, RSS %d", after.PSS, after.RSS)
	}
	if after.CPU <= before.CPU || after.Switches < before.Switches+5 || after.Threads < 2 {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	// The listener, which is not connected, and the connection's near end.
	if n := after.Count(TCP) - before.Count(TCP); n != 2 {
		t.Errorf("%d more TCP sockets, want 2", n)
	}
	port := netip.MustParseAddrPort(listener.Addr().String()).Port()
	if n := after.Connections(port); n != 1 {
		t.Errorf("%d connections to port %d, want 1", n, port)
	}
	if n := after.Count(Netlink) - before.Count(Netlink); n != 1 {
		t.Errorf("%d more netlink sockets, want 1", n)
	}
	if after.Files < before.Files+3 {
		t.Errorf("%d files, were %d; want 3 more at least", after.Files, before.Files)
	}
}

func read(t *testing.T) Usage {
	t.Helper()
	u, err := Read(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestNoProcess(t *testing.T) {
	if _, err := Read(1 << 30); err == nil {
		t.Error("no error for a process that does not exist")
	}
}

func TestAddress(t *testing.T) {
	for text, want := range map[string]string{
		"0100007F:1F90":                         "127.0.0.1:8080",
		"020200C0:01BB":                         "192.0.2.2:443",
		"0000000000000000FFFF00000100007F:0050": "127.0.0.1:80",
		"B80D0120000000000000000001000000:0016": "[2001:db8::1]:22",
	} {
		if got, err := address(text); err != nil || got.String() != want {
			t.Errorf("%s: %v, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "xx:1", "00:1", "0100007F:xxxx"} {
		if got, err := address(text); err == nil {
			t.Errorf("%q: %v, want an error", text, got)
		}
	}
}
