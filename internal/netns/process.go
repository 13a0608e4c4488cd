package netns

import (
	"errors"
	"os/exec"

	"golang.org/x/sys/unix"
)

// Start starts cmd in the namespace; wait for it with cmd.Wait as usual.
func (ns *Namespace) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil || cmd.SysProcAttr.Pdeathsig == 0 {
		return ns.Do(cmd.Start)
	}
	// The kernel sends Pdeathsig when the *thread* that started the child
	// ends, so that thread has to live as long as the child.
	started := make(chan error, 1)
	go func() {
		err := ns.Do(func() error {
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
