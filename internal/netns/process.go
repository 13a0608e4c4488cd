package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"

	"golang.org/x/sys/unix"
)

// Start starts cmd in the namespace; wait for it with cmd.Wait as usual.
func (ns *Namespace) Start(cmd *exec.Cmd) error {
	return ns.start(cmd, func() error { return nil })
}

// StartConfined is Start for a child that has only these of root's capabilities
// and can get no others, as a container's process.
func (ns *Namespace) StartConfined(cmd *exec.Cmd, capabilities ...int) error {
	return ns.start(cmd, func() error { return confine(capabilities) })
}

// confine confines what this thread starts from now on.
func confine(capabilities []int) error {
	for c := range unix.CAP_LAST_CAP + 1 {
		if slices.Contains(capabilities, c) {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
		if err != nil && !errors.Is(err, unix.EINVAL) { // one that this kernel does not know
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid new privileges: %w", err)
	}
	return nil
}

// start calls prepare on the thread that then starts the child.
func (ns *Namespace) start(cmd *exec.Cmd, prepare func() error) error {
	begin := func() error {
		if err := prepare(); err != nil {
			return err
		}
		return cmd.Start()
	}
	if cmd.SysProcAttr == nil || cmd.SysProcAttr.Pdeathsig == 0 {
		return ns.Do(begin)
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
			if err := begin(); err != nil {
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
