package coordinator

import (
	"cmp"
	"slices"
	"time"
)

// schedule says when the finalizer and the status of each NodeENI are due.
type schedule struct {
	interval time.Duration
	due      map[string]time.Time
	written  map[string]time.Time // when its status was written last
	failures map[string]int       // in a row
}

func newSchedule(interval time.Duration) schedule {
	return schedule{interval: interval, due: map[string]time.Time{}, written: map[string]time.Time{}, failures: map[string]int{}}
}

// add makes a NodeENI due: after a short time in which more changes gather, and not before
// its interval is over.
func (s *schedule) add(name string, now time.Time) {
	if _, ok := s.due[name]; !ok {
		s.due[name] = latest(now.Add(min(settleTime, s.interval)), s.written[name].Add(s.interval))
	}
}

// addNow makes a NodeENI due now, unless it waits after an error. The interval may be that
// of a NodeENI that had the name before.
func (s *schedule) addNow(name string, now time.Time) {
	if s.failures[name] == 0 {
		s.due[name] = now
	}
}

// dueNow are the names that are due, the one that has waited longest first.
func (s *schedule) dueNow(now time.Time) []string {
	var names []string
	for name, due := range s.due {
		if !now.Before(due) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(s.due[a].Compare(s.due[b]), cmp.Compare(a, b)) })
	return names
}

func (s *schedule) retryLater(name string, now time.Time) {
	s.due[name] = now.Add(retryBackoff.Delay(s.failures[name]))
	s.failures[name]++
}

// done notes that the status is what it should be, and whether that took a write.
func (s *schedule) done(name string, written bool, now time.Time) {
	delete(s.due, name)
	delete(s.failures, name)
	if written {
		s.written[name] = now
	}
}

func (s *schedule) forget(name string) {
	delete(s.due, name)
	delete(s.written, name)
	delete(s.failures, name)
}
