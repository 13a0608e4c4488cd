package testbed

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// Process is a running agent or coordinator. What it writes goes to a log file
// that outlives it, to which a restarted process appends.
type Process struct {
	Name string
	Log  string // path
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// start starts a program in a namespace, or in this one when ns is nil.
func start(name, dir string, ns *netns.Namespace, env []string, program string, args ...string) (*Process, error) {
	p := &Process{Name: name, Log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process holds its own copy
	p.cmd = exec.Command(program, args...)
	p.cmd.Env = env
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if ns != nil {
		err = ns.Start(p.cmd)
	} else {
		err = p.cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Pid is the process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Kill ends the process as a crash does, and waits for its end.
func (p *Process) Kill() {
	p.cmd.Process.Signal(syscall.SIGKILL) //nolint:errcheck // it may have ended already
	<-p.done
}

// Stop ends the process as Kubernetes does, with SIGTERM, and waits for its end.
func (p *Process) Stop() error {
	p.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended already
	<-p.done
	return p.err
}

// Pause and Resume freeze the process and let it go on.
func (p *Process) Pause() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused process go on.
func (p *Process) Resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// Exited says whether the process has ended.
func (p *Process) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}
