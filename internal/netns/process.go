package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// Start starts cmd in the namespace; wait for it with cmd.Wait as usual.
func (ns *Namespace) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil || cmd.SysProcAttr.Pdeathsig == 0 {
		return ns.Do(cmd.Start)
	}
	// Held on its own, so that Close does not wait for the child.
	held, err := ns.duplicate()
	if err != nil {
		return err
	}
	// The kernel sends Pdeathsig when the *thread* that started the child
	// ends, so that thread has to live as long as the child.
	started := make(chan error, 1)
	go func() {
		defer held.Close()
		err := held.Do(func() error {
			if err := cmd.Start(); err != nil {
				return err
			}
			started <- nil
			waitUntilExited(cmd.Process.Pid)
			return nil
		})
		if err != nil {
			started <- err
		}
	}()
	return <-started
}

// duplicate holds the namespace a second time.
func (ns *Namespace) duplicate() (*Namespace, error) {
	held := new(Namespace)
	err := ns.With(func(fd int) error {
		second, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("duplicate the namespace's descriptor: %w", err)
		}
		held.file = os.NewFile(uintptr(second), "netns")
		return nil
	})
	if err != nil {
		return nil, err
	}
	return held, nil
}

// waitUntilExited blocks until the child has exited and leaves reaping it to
// others.
func waitUntilExited(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
