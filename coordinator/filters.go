package coordinator

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// filters are what EC2 is asked for: all ENIs of the cluster, or those with one of the
// values. They are also what an answer speaks of.
type filters struct {
	all    bool
	values map[eni.Selector]map[string]bool
}

func (f *filters) add(by eni.Selector, values ...string) {
	if f.values == nil {
		f.values = map[eni.Selector]map[string]bool{}
	}
	if f.values[by] == nil {
		f.values[by] = map[string]bool{}
	}
	for _, value := range values {
		f.values[by][value] = true
	}
}

func (f *filters) merge(other filters) {
	f.all = f.all || other.all
	for by, values := range other.values {
		f.add(by, slices.Collect(maps.Keys(values))...)
	}
}

// without is what others leave of these.
func (f *filters) without(other filters) (rest filters) {
	rest.all = f.all && !other.all
	for by, values := range f.values {
		for value := range values {
			if !other.cover(by, value) {
				rest.add(by, value)
			}
		}
	}
	return rest
}

// cover says whether they let all ENIs with the value through.
func (f *filters) cover(by eni.Selector, value string) bool { return f.all || f.values[by][value] }

func (f *filters) size() (n int) {
	for _, values := range f.values {
		n += len(values)
	}
	return n
}

// filter is that of one call.
type filter struct {
	by     eni.Selector
	values []string
}

// calls are the filters of the calls that they come to, ids first: the answers are
// short and bring ENIs on their way.
func (f *filters) calls() (all []filter) {
	for _, by := range []eni.Selector{eni.ByID, eni.ByNode, eni.ByNodeENI} {
		for values := range slices.Chunk(slices.Sorted(maps.Keys(f.values[by])), eni.SelectorLimit) {
			all = append(all, filter{by, values})
		}
	}
	return all
}

// maxQueued is how much events may name before everything is listed instead,
// which is cheaper then. It also bounds what a coordinator that stands by keeps.
const maxQueued = 5 * eni.SelectorLimit

// queue gathers what events name until the next sweep.
type queue struct {
	wake signal

	mu    sync.Mutex
	named filters
}

func newQueue() *queue { return &queue{wake: newSignal()} }

// add has the next sweep, which begins soon, describe the ENIs with one of the values.
func (q *queue) add(by eni.Selector, values ...string) {
	var named filters
	named.add(by, values...)
	q.merge(named)
}

func (q *queue) merge(named filters) {
	if !named.all && named.size() == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.named.merge(named); q.named.size() > maxQueued {
		q.named = filters{all: true}
	}
	q.wake.set()
}

func (q *queue) take() filters {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.named
	q.named = filters{}
	return taken
}

// settleTime is how long a loop waits for more events after the first: a NodeENI's
// selector change unselects many nodes at once.
const settleTime = 200 * time.Millisecond

// signal wakes one loop; many settings before it wakes count as one.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) set() {
	select {
	case s <- struct{}{}:
	default:
	}
}
