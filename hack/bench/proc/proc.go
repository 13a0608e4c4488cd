// Package proc reads from /proc what a process uses.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process uses at one moment, and has used since its start.
type Usage struct {
	RSS, PSS int64 // bytes
	Threads  int
	Files    int // open file descriptors, sockets among them
	Sockets  []Socket

	CPU      time.Duration // of all threads that live
	Switches int64         // times that a thread that lives fell asleep by itself, and so was woken
}

// Read reads the usage of a process, which must be of this user.
func Read(pid int) (Usage, error) {
	u := Usage{}
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	for _, read := range []func(string) error{u.memory, u.threads, u.descriptors} {
		if err := read(dir); err != nil {
			return Usage{}, fmt.Errorf("usage of process %d: %w", pid, err)
		}
	}
	return u, nil
}

func (u *Usage) memory(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "smaps_rollup"))
	if err != nil {
		return err
	}
	if u.RSS, err = kibibytes(text, "Rss"); err != nil {
		return err
	}
	u.PSS, err = kibibytes(text, "Pss")
	return err
}

func kibibytes(text []byte, name string) (int64, error) {
	value, err := field(text, name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(value, " kB"), 10, 64)
	return n << 10, err
}

// field is the value of the line "name: value".
func field(text []byte, name string) (string, error) {
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && key == name {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("there is no %s in it", name)
}

func (u *Usage) threads(dir string) error {
	tasks, err := os.ReadDir(filepath.Join(dir, "task"))
	if err != nil {
		return err
	}
	for _, task := range tasks {
		err := u.thread(filepath.Join(dir, "task", task.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has ended
		}
		if err != nil {
			return err
		}
		u.Threads++
	}
	return nil
}

func (u *Usage) thread(dir string) error {
	// In nanoseconds, while utime and stime are in hundredths of a second.
	schedstat, err := os.ReadFile(filepath.Join(dir, "schedstat"))
	if err != nil {
		return err
	}
	ran, _, _ := bytes.Cut(schedstat, []byte(" "))
	ns, err := strconv.ParseInt(string(ran), 10, 64)
	if err != nil {
		return fmt.Errorf("schedstat: %w", err)
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return err
	}
	text, err := field(status, "voluntary_ctxt_switches")
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	u.CPU += time.Duration(ns)
	u.Switches += n
	return err
}

// Connections are the TCP connections to a port elsewhere, or all with 0.
func (u Usage) Connections(port uint16) int {
	n := 0
	for _, s := range u.Sockets {
		if s.Kind == TCP && s.Established && (port == 0 || s.Remote.Port() == port) {
			n++
		}
	}
	return n
}

// Count is the number of sockets of a kind.
func (u Usage) Count(kind Kind) int {
	n := 0
	for _, s := range u.Sockets {
		if s.Kind == kind {
			n++
		}
	}
	return n
}
