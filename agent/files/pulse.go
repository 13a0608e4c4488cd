package files

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// A report that is old may be current, since it is written when something changes; and
// an agent that runs may be unable to start. So the lock file, which the kernel ties to
// the process, also says how that process is.

const (
	// pulseEvery is how often an agent says that it lives.
	pulseEvery = 10 * time.Second
	// pulseLost is the age from which an agent counts as stuck.
	pulseLost = time.Minute
	// pulseLook is how soon a change shows.
	pulseLook = time.Second
	maxPulse  = 4 << 10
)

// Pulse is what an agent last said of itself.
type Pulse struct {
	At time.Time `json:"at"`
	// Problem says why it does not do its work; "" when it does.
	Problem string `json:"problem,omitempty"`
}

// Beat writes how the agent is, beside its loop, until done is closed.
func (f *StateFile) Beat(done <-chan struct{}, check func() error) {
	var last Pulse
	ticker := time.NewTicker(pulseLook)
	defer ticker.Stop()
	for {
		p := Pulse{At: time.Now().UTC().Truncate(time.Second)}
		if err := check(); err != nil {
			p.Problem = err.Error()
		}
		if p.Problem != last.Problem || p.At.Sub(last.At) >= pulseEvery {
			last = p
			f.say(&p)
		}
		select {
		case <-done:
			return
		case <-ticker.C:
		}
	}
}

// say writes how the agent is, or that nothing is known yet. It is not synced: after a
// crash of the host there is no such process. A failure is read as "starting".
func (f *StateFile) say(p *Pulse) {
	if f.quiet || f.lock.Truncate(0) != nil || p == nil {
		return
	}
	said := *p
	said.Problem = said.Problem[:min(len(said.Problem), maxPulse/2)]
	if data, err := json.Marshal(said); err == nil {
		_, _ = f.lock.WriteAt(data, 0)
	}
}

// Life is how the agent of a state file is.
type Life struct {
	// Running: a process holds the state file.
	Running bool
	// Problem says why what it reported may not be how things are; "" when it does
	// its work.
	Problem string
}

// Look says how the agent is that holds the state file.
func Look(path string, now time.Time) (Life, error) {
	lock, err := openIn(path, lockName(path))
	if errors.Is(err, fs.ErrNotExist) {
		return Life{Problem: notRunning}, nil
	}
	if err != nil {
		return Life{}, err
	}
	defer lock.Close() // and with it what is held of the lock
	err = unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	switch {
	case err == nil:
		return Life{Problem: notRunning}, nil
	case !errors.Is(err, unix.EWOULDBLOCK):
		return Life{}, err
	}
	data, err := io.ReadAll(io.LimitReader(lock, maxPulse))
	if err != nil {
		return Life{}, err
	}
	return Life{Running: true, Problem: problemOf(data, now)}, nil
}

const notRunning = "the agent is not running"

// problemOf reads the lock file of an agent that runs.
func problemOf(data []byte, now time.Time) string {
	var p Pulse
	if json.Unmarshal(data, &p) != nil || p.At.IsZero() {
		return "the agent is starting; its log shows what it is waiting for"
	}
	switch age := now.Sub(p.At); {
	case age >= pulseLost:
		return "the agent has not responded since " + p.At.Format(time.RFC3339)
	case p.Problem != "":
		return "the agent is not ready: " + v1alpha1.Printable(p.Problem)
	}
	return ""
}

// Age says how long ago the state file was last written, which is when the report last
// changed.
func Age(path string, now time.Time) (time.Duration, error) {
	file, err := openIn(path, filepath.Base(path))
	if err != nil {
		return 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	return now.Sub(info.ModTime()), nil
}
