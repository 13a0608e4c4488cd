package cloud

import "time"

// history remembers what a resource was, for as long as describes lag behind.
type history[T any] struct {
	versions  []version[T]
	shortened bool // the first version is not the resource's birth
}

type version[T any] struct {
	since time.Time
	value T
	gone  bool
}

// put records what the resource is from now on, and forgets what is
// no longer visible with a lag of keep.
func (h *history[T]) put(now time.Time, keep time.Duration, value T) {
	h.add(now, keep, version[T]{since: now, value: value})
}

// end records that the resource is gone; its last value stays readable.
func (h *history[T]) end(now time.Time, keep time.Duration) {
	h.add(now, keep, version[T]{since: now, value: h.latest(), gone: true})
}

func (h *history[T]) add(now time.Time, keep time.Duration, v version[T]) {
	h.versions = append(h.versions, v)
	old := 0
	for old+1 < len(h.versions) && !h.versions[old+1].since.After(now.Add(-keep)) {
		old++
	}
	if old > 0 {
		h.versions = append([]version[T](nil), h.versions[old:]...)
		h.shortened = true
	}
}

// latest is what the resource is, or was when it went.
func (h *history[T]) latest() T { return h.versions[len(h.versions)-1].value }

func (h *history[T]) gone() bool { return h.versions[len(h.versions)-1].gone }

// at is what the resource was at a moment, if it existed then. Of a moment
// before everything it remembers, it says the oldest that it knows.
func (h *history[T]) at(t time.Time) (T, bool) {
	for i := len(h.versions) - 1; i >= 0; i-- {
		if v := h.versions[i]; !v.since.After(t) || (i == 0 && h.shortened) {
			return v.value, !v.gone
		}
	}
	var none T
	return none, false
}
