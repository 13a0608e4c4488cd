package coordinator

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// marks are the names of NodeENIs whose status may have changed. It takes none before the
// first take: a coordinator that stands by would keep them all, and a new leader begins
// with every NodeENI.
type marks struct {
	wake signal

	mu    sync.Mutex
	names map[string]bool
}

func newMarks() *marks { return &marks{wake: newSignal()} }

func (m *marks) add(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names != nil {
		m.names[name] = true
		m.wake.set()
	}
}

func (m *marks) take() map[string]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	taken := m.names
	m.names = map[string]bool{}
	return taken
}

// schedule says when each marked NodeENI is due.
type schedule struct {
	interval time.Duration
	due      map[string]time.Time
	written  map[string]time.Time // when its status was written last
	retry    map[string]*backoff
}

func newSchedule(interval time.Duration) schedule {
	return schedule{interval: interval, due: map[string]time.Time{}, written: map[string]time.Time{}, retry: map[string]*backoff{}}
}

// add makes a NodeENI due: after a moment in which more changes gather, and not
// before its interval is over.
func (s *schedule) add(name string, now time.Time) {
	if _, ok := s.due[name]; !ok {
		s.due[name] = latest(now.Add(min(settleTime, s.interval)), s.written[name].Add(s.interval))
	}
}

// addAtOnce makes a NodeENI due now, unless an error has put it off. Its status
// may have been written a moment ago, when its name was another one's.
func (s *schedule) addAtOnce(name string, now time.Time) {
	if s.retry[name] == nil {
		s.due[name] = now
	}
}

// whatIsDue are the names that are due, the one that has waited longest first.
func (s *schedule) whatIsDue(now time.Time) []string {
	var names []string
	for name, due := range s.due {
		if !now.Before(due) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(s.due[a].Compare(s.due[b]), cmp.Compare(a, b)) })
	return names
}

func (s *schedule) tryAgain(name string, now time.Time) {
	if s.retry[name] == nil {
		s.retry[name] = &backoff{}
	}
	s.due[name] = now.Add(s.retry[name].next())
}

// done notes that the status is what it should be, and whether that took a write.
func (s *schedule) done(name string, written bool, now time.Time) {
	delete(s.due, name)
	delete(s.retry, name)
	if written {
		s.written[name] = now
	}
}

func (s *schedule) forget(name string) {
	delete(s.due, name)
	delete(s.written, name)
	delete(s.retry, name)
}
