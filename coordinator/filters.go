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
	values map[filterValue]bool
}

type filterValue struct {
	by    eni.Selector
	value string
}

func (f *filters) add(by eni.Selector, values ...string) {
	if f.values == nil {
		f.values = map[filterValue]bool{}
	}
	for _, value := range values {
		f.values[filterValue{by, value}] = true
	}
}

func (f *filters) merge(other filters) {
	f.all = f.all || other.all
	for v := range other.values {
		f.add(v.by, v.value)
	}
}

// without is what others leave of these.
func (f *filters) without(other filters) filters {
	rest := filters{all: f.all && !other.all, values: maps.Clone(f.values)}
	maps.DeleteFunc(rest.values, func(v filterValue, _ bool) bool { return other.cover(v.by, v.value) })
	return rest
}

// cover says whether they let all ENIs with the value through.
func (f *filters) cover(by eni.Selector, value string) bool {
	return f.all || f.values[filterValue{by, value}]
}

// filter is that of one call.
type filter struct {
	by     eni.Selector
	values []string
}

// calls are the filters of the calls that they come to, ids first: the answers are
// short and bring ENIs on their way.
func (f *filters) calls() (all []filter) {
	values := map[eni.Selector][]string{}
	for v := range f.values {
		values[v.by] = append(values[v.by], v.value)
	}
	for _, by := range []eni.Selector{eni.ByID, eni.ByNode, eni.ByNodeENI} {
		slices.Sort(values[by])
		for part := range slices.Chunk(values[by], eni.SelectorLimit) {
			all = append(all, filter{by, part})
		}
	}
	return all
}

const (
	// maxQueued is how much events may name before everything is listed instead,
	// which is cheaper then. It also bounds what a coordinator that stands by keeps.
	maxQueued = 5 * eni.SelectorLimit
	// settleTime is how long a loop waits for more events after the first: a NodeENI's
	// selector change unselects many nodes at once.
	settleTime = 200 * time.Millisecond
)

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
	if !named.all && len(named.values) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.named.merge(named); len(q.named.values) > maxQueued {
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

// signal wakes one loop; many settings before it wakes count as one.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) set() {
	select {
	case s <- struct{}{}:
	default:
	}
}
