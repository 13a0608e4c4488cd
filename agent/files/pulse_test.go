package files

import (
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Whoever looks at a state file learns whether its agent does its work, however old
// the report is.
func TestLook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	expect := func(when string, running bool, problem string) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			life, err := Look(path, time.Now())
			if err == nil && life.Running == running && strings.Contains(life.Problem, problem) && (problem != "" || life.Problem == "") {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %+v, %v; want %q", when, life, err, problem)
			}
		}
	}
	expect("before the first start", false, "not running")
	f, err := Lock(path)
	if err != nil {
		t.Fatal(err)
	}
	expect("at its start", true, "is starting")
	var ready atomic.Bool
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		f.Beat(done, func() error {
			if ready.Load() {
				return nil
			}
			return errors.New("EC2 has not told")
		})
	}()
	expect("before it is ready", true, "not ready: EC2 has not told")
	ready.Store(true)
	expect("ready", true, "")
	if life, err := Look(path, time.Now().Add(pulseLost+pulseEvery)); err != nil || !strings.Contains(life.Problem, "not responded since") {
		t.Errorf("stuck: %+v, %v", life, err)
	}
	close(done)
	<-ended
	f.Unlock()
	expect("ended", false, "not running")
	if f, err = Lock(path); err != nil {
		t.Fatal(err)
	}
	defer f.Unlock()
	expect("started again", true, "is starting")
}
