package controlplane

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// script tells its process id, which envtest keeps to itself. Of --help, where envtest
// looks for flags of old versions, it shows nothing.
const script = `#!/bin/sh
[ "$1" = --help ] && exit
echo $$ >"$0.pid"
exec '%s' "$@" >>"$0.log" 2>&1
`

// Process is etcd or kube-apiserver. envtest starts it and waits for it.
type Process struct {
	server interface {
		Start() error // and wait until it answers
		Stop() error  // and wait until it has ended
	}
	executable string
	path       string // of the script, which the server starts; the files .pid and .log are beside it
}

func (p *Process) start() error {
	if _, err := p.id(); err == nil {
		return fmt.Errorf("%s is running already", filepath.Base(p.path))
	}
	// A child that another goroutine starts meanwhile would hold the script open for
	// writing, and then it cannot be executed (golang/go#22315).
	syscall.ForkLock.RLock()
	err := os.WriteFile(p.path, fmt.Appendf(nil, script, p.executable), 0o700)
	syscall.ForkLock.RUnlock()
	if err != nil {
		return err
	}
	if err := p.server.Start(); err != nil {
		return p.failure(err)
	}
	return nil
}

// id is the process id, which is also that of its process group.
func (p *Process) id() (int, error) {
	id, err := os.ReadFile(p.path + ".pid")
	if err != nil {
		return 0, fmt.Errorf("%s is not running: %w", filepath.Base(p.path), err)
	}
	return strconv.Atoi(string(bytes.TrimSpace(id)))
}

func (p *Process) signal(sig unix.Signal) (id int, err error) {
	if id, err = p.id(); err != nil {
		return 0, err
	}
	return id, unix.Kill(-id, sig)
}

// Kill ends the process at once, also when it is paused: its clients find their
// connections broken and new ones refused. Killing no process is fine.
func (p *Process) Kill() {
	_, _ = p.signal(unix.SIGKILL) // fails only when it has ended
	_ = p.server.Stop()           // waits for it
	_ = os.Remove(p.path + ".pid")
}

// Pause freezes the process until Resume. It returns when no thread runs any more: the
// signal alone is answered before all of them have stopped.
func (p *Process) Pause() error {
	id, err := p.signal(unix.SIGSTOP)
	if err != nil {
		return err
	}
	return unix.Waitid(unix.P_PID, id, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
}

// Resume lets a paused process go on. An API server that is starting waits for etcd.
func (p *Process) Resume() error {
	_, err := p.signal(unix.SIGCONT)
	return err
}

// failure ends a process that does not work and quotes the end of its log.
func (p *Process) failure(err error) error {
	p.Kill()
	log, _ := exec.Command("tail", "-n", "30", p.path+".log").CombinedOutput() // or why there is none
	return fmt.Errorf("%w; its log ends with:\n%s", err, bytes.TrimSpace(log))
}

// startGuard starts a child that kills the processes of a directory when its input
// ends, which the end of this process brings about, in whatever way.
func startGuard(dir string) (stop func(), err error) {
	cmd := exec.Command("/bin/sh", "-c", "cat; kill -9 $(cat *.pid)")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for its parent
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stop = func() {
		_ = input.Close()
		_ = cmd.Wait() // it fails, for want of a process
	}
	return stop, cmd.Start()
}
