package cloud

import (
	"sync"
	"time"
)

// scheduler runs what happens later, and can be stopped as a whole.
type scheduler struct {
	mu      sync.Mutex
	timers  map[*time.Timer]struct{}
	running sync.WaitGroup
	done    chan struct{} // closed when stopped
}

func newScheduler() *scheduler {
	return &scheduler{timers: make(map[*time.Timer]struct{}), done: make(chan struct{})}
}

// after runs f in d, or right now in the caller's goroutine if d is zero.
func (s *scheduler) after(d time.Duration, f func()) {
	if d <= 0 {
		f()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped() {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		s.mu.Lock()
		if s.stopped() {
			s.mu.Unlock()
			return
		}
		delete(s.timers, timer)
		s.running.Add(1)
		s.mu.Unlock()
		defer s.running.Done()
		f()
	})
	s.timers[timer] = struct{}{}
}

// sleep waits for d or until the scheduler is stopped.
func (s *scheduler) sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.done:
	}
}

// stopped wants mu held, or an answer that may be outdated at once.
func (s *scheduler) stopped() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// stop drops what was to happen and waits for what is happening.
func (s *scheduler) stop() {
	s.mu.Lock()
	if !s.stopped() {
		close(s.done)
	}
	for timer := range s.timers {
		timer.Stop()
	}
	clear(s.timers)
	s.mu.Unlock()
	s.running.Wait()
}
