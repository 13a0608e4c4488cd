package controlplane

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// tailBytes is how much of a log an error quotes at most.
const tailBytes = 4 << 10

// script tells its process id, which envtest keeps to itself. Of --help, where envtest
// looks for flags of old versions, it shows nothing.
const script = `#!/bin/sh
[ "$1" = --help ] && exit
echo $$ >"$0.pid"
exec '%s' "$@" >>"$0.log" 2>&1
`

// process is etcd or kube-apiserver. envtest starts it, waits for it and ends it gently;
// to kill it at once and to freeze it are ours.
type process struct {
	path   string // of the script; the files .pid and .log are beside it
	server server
}

type server interface {
	Start() error // and wait until it answers
	Stop() error
}

// newProcess writes the script at a path, which the server must start.
func newProcess(path, executable string, server server) (*process, error) {
	// A child that another goroutine starts meanwhile would hold the script open for
	// writing, and then it cannot be executed (golang/go#22315).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, fmt.Appendf(nil, script, executable), 0o700); err != nil {
		return nil, err
	}
	return &process{path: path, server: server}, nil
}

func (p *process) start() error {
	if _, err := p.id(); err == nil {
		return fmt.Errorf("%s is running already", filepath.Base(p.path))
	}
	if err := p.server.Start(); err != nil {
		p.kill()
		return p.failure(err)
	}
	return nil
}

// id is the process id, which is also that of its process group.
func (p *process) id() (int, error) {
	id, err := os.ReadFile(p.path + ".pid")
	if errors.Is(err, os.ErrNotExist) {
		return 0, fmt.Errorf("%s is not running", filepath.Base(p.path))
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(bytes.TrimSpace(id)))
}

func (p *process) signal(sig unix.Signal) (id int, err error) {
	if id, err = p.id(); err != nil {
		return 0, err
	}
	return id, unix.Kill(-id, sig)
}

// kill ends the process at once, also when it is frozen: its state is on disk or
// worthless. Killing no process is fine.
func (p *process) kill() {
	if p == nil {
		return
	}
	_, _ = p.signal(unix.SIGKILL) // fails only when it has ended
	_ = p.server.Stop()           // waits for it
	_ = os.Remove(p.path + ".pid")
}

// freeze returns when no thread runs any more: the signal alone is answered
// before all of them have stopped.
func (p *process) freeze() error {
	id, err := p.signal(unix.SIGSTOP)
	if err != nil {
		return err
	}
	return unix.Waitid(unix.P_PID, id, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
}

func (p *process) thaw() error {
	_, err := p.signal(unix.SIGCONT)
	return err
}

// failure quotes the end of the process's log.
func (p *process) failure(err error) error {
	log, unreadable := os.ReadFile(p.path + ".log")
	if unreadable != nil {
		return errors.Join(err, unreadable)
	}
	if len(log) > tailBytes {
		log = log[len(log)-tailBytes:]
		_, log, _ = bytes.Cut(log, []byte("\n"))
	}
	return fmt.Errorf("%w; its log ends with:\n%s", err, bytes.TrimSpace(log))
}

// guard is a child that kills the processes of a directory when this process has
// ended without doing so, in whatever way.
type guard struct {
	cmd  *exec.Cmd
	hold io.Closer // the guard waits for the end of its input
}

func startGuard(dir string) (*guard, error) {
	cmd := exec.Command("/bin/sh", "-c", "cat; kill -9 $(cat *.pid)")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for its parent
	hold, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	return &guard{cmd: cmd, hold: hold}, cmd.Start()
}

// dismiss ends a guard that has nothing left to kill. Dismissing none, or twice, is
// fine.
func (g *guard) dismiss() {
	if g == nil {
		return
	}
	_ = g.hold.Close()
	_ = g.cmd.Wait() // it fails, for want of a process
}
