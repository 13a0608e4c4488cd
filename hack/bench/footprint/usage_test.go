package main

import (
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// This process knows about itself what it should read.
func TestUsage(t *testing.T) {
	debug.FreeOSMemory() // or the memory below is in part what another test has left
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
		t.Errorf("RSS has grown by %v bytes, want 32 MiB", grown)
	}
	if after.PSS <= 0 || after.PSS > after.RSS {
		t.Errorf("PSS is %v, RSS %v", after.PSS, after.RSS)
	}
	if after.CPU <= before.CPU || after.WakeUps < before.WakeUps+5 || after.Threads < 2 {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	// The connection's near end; the listener is not connected.
	added := slices.DeleteFunc(after.Connections, func(port uint16) bool { return slices.Contains(before.Connections, port) })
	if want := []uint16{uint16(listener.Addr().(*net.TCPAddr).Port)}; !slices.Equal(added, want) {
		t.Errorf("connections to the ports %v, want %v", added, want)
	}
	if n := after.Netlink - before.Netlink; n != 1 {
		t.Errorf("%d more netlink sockets, want 1", n)
	}
	// What tests before this one have opened may be closed at any moment.
	for attempt := 1; ; attempt++ {
		open, err := os.ReadDir("/proc/self/fd") // and that itself
		if err != nil {
			t.Fatal(err)
		}
		files := read(t).Files
		if files >= len(open)-1 && files <= len(open)+1 {
			break
		}
		if attempt == 20 {
			t.Fatalf("%d files, want %d", files, len(open)-1)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func read(t *testing.T) usage {
	t.Helper()
	u, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestNoProcess(t *testing.T) {
	if _, err := usageOf(1 << 30); err == nil {
		t.Error("no error for a process that does not exist")
	}
}
