package coordinator

import (
	"sync"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

const (
	// maxQueued is how many values a describeQueue holds before it is replaced by a
	// describe of all ENIs, which then costs less. It also bounds what a coordinator that
	// does not lead keeps.
	maxQueued = 5 * eni.SelectorLimit
	// settleTime is how long a loop waits for more events after the first one: a change of
	// a NodeENI's selector concerns many nodes at once.
	settleTime = 200 * time.Millisecond
)

// describeQueue is what events ask EC2 for, until the next sweep.
type describeQueue struct {
	wake signal

	mu      sync.Mutex
	filters filters
}

func newDescribeQueue() *describeQueue { return &describeQueue{wake: newSignal()} }

// add has the next sweep, which begins soon, describe the ENIs with one of the values.
func (q *describeQueue) add(by eni.Selector, values ...string) {
	var added filters
	added.add(by, values...)
	q.merge(added)
}

func (q *describeQueue) merge(added filters) {
	if !added.all && len(added.values) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.filters.merge(added); len(q.filters.values) > maxQueued {
		q.filters = filters{all: true}
	}
	q.wake.set()
}

func (q *describeQueue) take() filters {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.filters
	q.filters = filters{}
	return taken
}

// statusQueue is the names of NodeENIs whose status may have changed. It takes none before
// the first take: a coordinator that does not lead would keep them all, and a new leader
// begins with every NodeENI.
type statusQueue struct {
	wake signal

	mu    sync.Mutex
	names map[string]bool
}

func newStatusQueue() *statusQueue { return &statusQueue{wake: newSignal()} }

func (q *statusQueue) add(name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.names != nil {
		q.names[name] = true
		q.wake.set()
	}
}

func (q *statusQueue) take() map[string]bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.names
	q.names = map[string]bool{}
	return taken
}

// signal wakes one loop. Until the loop wakes, further calls of set change nothing.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) set() {
	select {
	case s <- struct{}{}:
	default:
	}
}
