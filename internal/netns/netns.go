// Package netns works with network namespaces that are held by a file
// descriptor instead of a name: nothing is mounted below /run/netns, so
// nothing is left behind when the process dies, however it dies. Other
// processes reach such a namespace as [Namespace.Path], for example with
// nsenter --net=/proc/PID/fd/N.
//
// [Elevate] makes all of it available without root, in a user namespace.
package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace held by a file descriptor. It lives until
// it is closed and the last process and socket in it are gone.
// A Namespace is safe for concurrent use.
type Namespace struct {
	mu   sync.RWMutex // held for reading while the descriptor is in use
	file *os.File     // nil once closed
}

// New makes a network namespace whose loopback link is up. It needs
// CAP_SYS_ADMIN; see [Elevate].
func New() (*Namespace, error) {
	ns := new(Namespace)
	err := onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("create a network namespace (needs CAP_SYS_ADMIN): %w", err)
		}
		if err := loopbackUp(); err != nil {
			return err
		}
		var err error
		ns.file, err = openCurrent()
		return err
	})
	if err != nil {
		return nil, err
	}
	return ns, nil
}

// Open holds the namespace behind path, for example /proc/PID/ns/net or
// another process's [Namespace.Path].
func Open(path string) (*Namespace, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	kind, err := unix.IoctlRetInt(int(file.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return nil, errors.Join(fmt.Errorf("%s is not a network namespace", path), file.Close())
	}
	return &Namespace{file: file}, nil
}

// Close lets go of the namespace. It waits for calls of the other methods to
// end; processes and sockets in the namespace keep it alive.
func (ns *Namespace) Close() error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if ns.file == nil {
		return nil
	}
	err := ns.file.Close()
	ns.file = nil
	return err
}

// Path names the namespace for other processes of the same user, as long as
// this process lives and the namespace is not closed. Afterwards it is "".
func (ns *Namespace) Path() string {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	if ns.file == nil {
		return ""
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.file.Fd())
}

// Do runs fn on an operating system thread that is in the namespace, and
// returns its error. Goroutines that fn starts do not inherit the namespace.
func (ns *Namespace) Do(fn func() error) error {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	if ns.file == nil {
		return fmt.Errorf("enter network namespace: %w", os.ErrClosed)
	}
	return onOwnThread(func() error {
		if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace (needs CAP_SYS_ADMIN): %w", err)
		}
		return fn()
	})
}

// With hands fn the namespace's file descriptor, for example to put a link
// into it. The descriptor is valid until fn returns.
func (ns *Namespace) With(fn func(fd int) error) error {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	if ns.file == nil {
		return fmt.Errorf("use network namespace: %w", os.ErrClosed)
	}
	return fn(int(ns.file.Fd()))
}

// Netlink opens a netlink handle in the namespace. Use it instead of
// netlink.NewHandleAt, which has to switch a thread back to the namespace it
// came from, and may not do that inside a user namespace.
func (ns *Namespace) Netlink() (*netlink.Handle, error) {
	var handle *netlink.Handle
	err := ns.Do(func() error {
		var err error
		handle, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	return handle, err
}

// onOwnThread runs fn on a thread that the runtime ends afterwards, so that
// whatever namespace fn leaves it in stays without consequence. Switching
// back instead would need privileges over the namespace of origin.
func onOwnThread(fn func() error) error {
	err := errors.New("the function ended its goroutine instead of returning")
	done := make(chan struct{})
	go func() {
		// Never unlocked: the thread ends with this goroutine.
		runtime.LockOSThread()
		defer close(done)
		// The main thread stands for the process in /proc/PID, and it cannot
		// end. While it is locked here, another thread has to do the work.
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			err = onOwnThread(fn)
			return
		}
		err = fn()
	}()
	<-done
	return err
}

func openCurrent() (*os.File, error) {
	return os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
}

func loopbackUp() error {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer handle.Close()
	lo, err := handle.LinkByIndex(1) // lo is the first link of every namespace
	if err != nil {
		return fmt.Errorf("find the loopback link: %w", err)
	}
	if err := handle.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set the loopback link up (needs CAP_NET_ADMIN): %w", err)
	}
	return nil
}
