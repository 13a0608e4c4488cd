package testbed

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// stopTimeout is how long a process may take to end after SIGTERM.
const stopTimeout = 10 * time.Second

// Process is a running agent or coordinator. What it writes goes to a log file
// that outlives it, to which a restarted process appends.
type Process struct {
	Name string
	Log  string // path
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// StartProcess starts a program in this network namespace. dir takes its log.
func StartProcess(name, dir string, env []string, program string, args ...string) (*Process, error) {
	return start(name, dir, nil, env, program, args...)
}

// start starts a program in a node's namespace, with the one capability that
// agents have, or in this one when ns is nil.
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
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		Setpgid:   true, // a Ctrl-C is for the caller, which ends its processes itself
	}
	if err := p.run(ns); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return p, nil
}

// run starts the process and waits for it in the background.
func (p *Process) run(ns *netns.Namespace) error {
	start := p.cmd.Start
	if ns != nil {
		start = func() error { return ns.StartConfined(p.cmd, unix.CAP_NET_ADMIN) }
	}
	started := make(chan error, 1)
	go func() {
		// The kernel sends Pdeathsig when the thread that forked ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.done)
		}
	}()
	return <-started
}

// Pid is the process's id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Kill ends the process as a crash does, and waits for its end.
func (p *Process) Kill() {
	p.cmd.Process.Signal(syscall.SIGKILL) //nolint:errcheck // it may have ended already
	<-p.done
}

// Stop ends the process as Kubernetes does, with SIGTERM, and waits for its end.
// One that does not end within 10 s is killed, which is an error.
func (p *Process) Stop() error {
	p.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended already
	select {
	case <-p.done:
		return p.err
	case <-time.After(stopTimeout):
		p.Kill()
		return fmt.Errorf("%s has not ended within %v of SIGTERM and was killed", p.Name, stopTimeout)
	}
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

// Check is an error if the process has ended.
func (p *Process) Check() error {
	if !p.Exited() {
		return nil
	}
	return fmt.Errorf("%s has ended:\n%s", p.Name, p.Tail(20))
}

// ExitCode is that of a process which has ended by itself or by SIGTERM; -1 when
// it was killed or still runs.
func (p *Process) ExitCode() int {
	if !p.Exited() || p.cmd.ProcessState == nil {
		return -1
	}
	return p.cmd.ProcessState.ExitCode()
}

// Tail is the end of the process's log: at most n lines.
func (p *Process) Tail(n int) string {
	data, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
