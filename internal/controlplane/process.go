package controlplane

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// tailBytes is how much of a log an error quotes at most.
const tailBytes = 4 << 10

// process is a running child, or one that has ended.
type process struct {
	name    string
	logPath string
	cmd     *exec.Cmd
	done    chan struct{} // closed once the child has been waited for
	killed  atomic.Bool
}

// startProcess starts an executable in a directory and appends its output to
// NAME.log there. The child is killed when this process ends, however it does.
func startProcess(dir, name, path string, args []string, log *slog.Logger) (*process, error) {
	p := &process{
		name:    name,
		logPath: filepath.Join(dir, name+".log"),
		cmd:     exec.Command(path, args...),
		done:    make(chan struct{}),
	}
	out, err := os.OpenFile(p.logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		Setpgid:   true, // a Ctrl-C is for the parent, which may still need the API server to clean up
	}

	started := make(chan error)
	go func() {
		// The kernel sends Pdeathsig when the *thread* that forked ends, so that
		// thread belongs to this goroutine until the child has ended (golang/go#27505).
		runtime.LockOSThread()
		defer close(p.done)
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		err = p.cmd.Wait()
		if !p.killed.Load() {
			log.Error("a process of the control plane ended unasked", "process", name, "err", err, "log", p.logPath)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	log.Debug("started a process of the control plane", "process", name, "pid", p.cmd.Process.Pid, "log", p.logPath)
	return p, nil
}

// kill ends the process at once, also when it is frozen: its state is on disk or
// worthless. Killing no process is fine.
func (p *process) kill() {
	if p == nil {
		return
	}
	p.killed.Store(true)
	_ = p.cmd.Process.Kill() // fails only when it has ended
	<-p.done
}

// freeze returns when no thread runs any more: the signal alone is answered
// before all of them have stopped.
func (p *process) freeze() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if stopped, err := p.stopped(); stopped || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not stop", p.name)
		}
	}
}

// stopped says whether all threads are stopped; see proc_pid_stat(5).
func (p *process) stopped() (bool, error) {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	if err != nil {
		return false, err
	}
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		if _, state, ok := bytes.Cut(data, []byte(") ")); ok && state[0] != 'T' {
			return false, nil
		}
	}
	return true, nil
}

func (p *process) thaw() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// failure is an error that quotes the end of the process's log.
func (p *process) failure(what string) error {
	tail, err := logTail(p.logPath)
	if err != nil {
		return fmt.Errorf("%s %s (its log is unreadable: %w)", p.name, what, err)
	}
	return fmt.Errorf("%s %s; its log ends with:\n%s", p.name, what, tail)
}

func logTail(path string) ([]byte, error) {
	log, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(log) > tailBytes {
		log = log[len(log)-tailBytes:]
		if _, rest, ok := bytes.Cut(log, []byte("\n")); ok {
			log = rest
		}
	}
	return bytes.TrimSpace(log), nil
}
