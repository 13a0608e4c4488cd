package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if err := Elevate(Elevation{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func newNamespace(t *testing.T) *Namespace {
	t.Helper()
	ns, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	return ns
}

// identity is the namespace that the calling thread is in.
func identity(t *testing.T) string {
	t.Helper()
	id, err := os.Readlink(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestDoRunsInTheNamespace(t *testing.T) {
	outside := identity(t)
	a, b := newNamespace(t), newNamespace(t)
	seen := map[string]string{outside: "outside"}
	for name, ns := range map[string]*Namespace{"a": a, "b": b} {
		var inside string
		if err := ns.Do(func() error { inside = identity(t); return nil }); err != nil {
			t.Fatal(err)
		}
		if other, taken := seen[inside]; taken {
			t.Errorf("%s is the same namespace as %s", name, other)
		}
		seen[inside] = name
		viaPath, err := os.Readlink(ns.Path())
		if err != nil || viaPath != inside {
			t.Errorf("Path leads to %q (%v), want %q", viaPath, err, inside)
		}
	}
	if now := identity(t); now != outside {
		t.Errorf("the caller ended up in %s, came from %s", now, outside)
	}
	process, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", os.Getpid()))
	if err != nil || process != outside {
		t.Errorf("the process ended up in %s (%v), came from %s", process, err, outside)
	}
}

// Many calls at once, so that some start out on the main thread, which must
// not be left in a foreign namespace.
func TestDoLeavesTheMainThreadAlone(t *testing.T) {
	outside, ns := identity(t), newNamespace(t)
	done := make(chan error)
	for range 64 {
		go func() { done <- ns.Do(func() error { return nil }) }()
	}
	for range 64 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if process, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", os.Getpid())); process != outside {
		t.Errorf("the process ended up in %s, came from %s", process, outside)
	}
}

func TestDoErrors(t *testing.T) {
	ns := newNamespace(t)
	want := errors.New("told you")
	if err := ns.Do(func() error { return want }); !errors.Is(err, want) {
		t.Errorf("Do = %v, want %v", err, want)
	}
	if err := ns.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ns.Do(func() error { return nil }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Do on a closed namespace = %v, want %v", err, os.ErrClosed)
	}
	if path := ns.Path(); path != "" {
		t.Errorf("Path of a closed namespace = %q", path)
	}
	if err := ns.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
}

func TestOpen(t *testing.T) {
	ns := newNamespace(t)
	again, err := Open(ns.Path())
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Close(); err != nil {
		t.Fatal(err)
	}
	if err := again.Do(func() error { return nil }); err != nil {
		t.Errorf("the second descriptor does not hold the namespace: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/proc/self/ns/uts", "/dev/null", "/proc/self/ns/nothing"} {
		if ns, err := Open(path); err == nil {
			t.Errorf("Open(%s) = %v, want an error", path, ns)
		}
	}
}

func TestLoopbackIsUpAndPrivate(t *testing.T) {
	ctx := context.Background()
	a, b := newNamespace(t), newNamespace(t)
	listener, err := a.Listen(ctx, "tcp", "127.0.0.1:7")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(conn, conn)
		_ = conn.Close()
	}()
	if conn, err := b.DialContext(ctx, "tcp", "127.0.0.1:7"); err == nil {
		_ = conn.Close()
		t.Error("namespace b reaches a's loopback")
	}
	conn, err := a.DialContext(ctx, "tcp", "127.0.0.1:7")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(conn, buf); err != nil || string(buf) != "hello" {
		t.Errorf("echo = %q, %v", buf, err)
	}
	if _, err := a.Listen(ctx, "tcp", "localhost:8"); err == nil || !strings.Contains(err.Error(), "literal") {
		t.Errorf("Listen on a name = %v, want a refusal", err)
	}
}

func TestNetlink(t *testing.T) {
	ns := newNamespace(t)
	handle, err := ns.Netlink()
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br-only-here"}}
	if err := handle.LinkAdd(bridge); err != nil {
		t.Fatal(err)
	}
	if _, err := netlink.LinkByName("br-only-here"); err == nil {
		t.Error("the bridge is outside of the namespace")
	}
}

func TestStart(t *testing.T) {
	ns := newNamespace(t)
	want, err := os.Readlink(ns.Path())
	if err != nil {
		t.Fatal(err)
	}
	for _, deathsig := range []syscall.Signal{0, syscall.SIGKILL} {
		cmd := exec.Command("sh", "-c", "read line && readlink /proc/self/ns/net")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: deathsig}
		cmd.Stdin = strings.NewReader("go\n") // read by a thread that comes and goes
		var out strings.Builder
		cmd.Stdout = &out
		if err := ns.Start(cmd); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("Pdeathsig %v: child ended with %v", deathsig, err)
		}
		if got := strings.TrimSpace(out.String()); got != want {
			t.Errorf("Pdeathsig %v: child was in %s, want %s", deathsig, got, want)
		}
	}
	if err := ns.Start(exec.Command("/nonexistent")); err == nil {
		t.Error("Start of nothing succeeded")
	}
	missing := exec.Command("/nonexistent")
	missing.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := ns.Start(missing); err == nil {
		t.Error("Start of nothing with Pdeathsig succeeded")
	}
}

func TestCloseDoesNotWaitForProcesses(t *testing.T) {
	ns := newNamespace(t)
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Start(cmd); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error)
	go func() { closed <- ns.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Close waits for a process in the namespace")
	}
	if err := stdin.Close(); err != nil { // ends cat
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestStartConfined(t *testing.T) {
	ns := newNamespace(t)
	var out strings.Builder
	cmd := exec.Command("cat", "/proc/self/status")
	cmd.Stdout = &out
	if err := ns.StartConfined(cmd, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"CapInh:\t0000000000000000\n", "CapPrm:\t0000000000003000\n", "CapEff:\t0000000000003000\n", "CapBnd:\t0000000000003000\n", "NoNewPrivs:\t1\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the child has not %q:\n%s", want, out.String())
		}
	}
	// It was the thread's matter alone.
	if err := ns.Do(func() error { return unix.Unshare(unix.CLONE_NEWUTS) }); err != nil {
		t.Errorf("the test has lost its own capabilities: %v", err)
	}
}
