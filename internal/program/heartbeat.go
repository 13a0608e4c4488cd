package program

import (
	"fmt"
	"sync"
	"time"
)

// Heartbeat tells whether a loop still turns. The loop calls Beat before each of
// its steps, and either Rest before it waits for something to do, which may take
// any time, or Beat again and again while it waits. A loop that has not begun is
// fine: what a program waits for at its start is no reason to restart it. A
// nil Heartbeat takes beats and keeps none.
type Heartbeat struct {
	loop  string
	limit time.Duration
	now   func() time.Time

	mu   sync.Mutex
	last time.Time // beat; zero while the loop rests
}

// NewHeartbeat makes the heartbeat of a loop that takes at most limit from one
// beat to the next.
func NewHeartbeat(loop string, limit time.Duration) *Heartbeat {
	return &Heartbeat{loop: loop, limit: limit, now: time.Now}
}

// Beat says that the loop begins a step.
func (h *Heartbeat) Beat() {
	if h != nil {
		h.set(h.now())
	}
}

// Rest says that the loop waits for something to do, or has ended.
func (h *Heartbeat) Rest() {
	if h != nil {
		h.set(time.Time{})
	}
}

func (h *Heartbeat) set(last time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = last
}

// Check fails while the loop is stuck.
func (h *Heartbeat) Check() error {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last.IsZero() {
		return nil
	}
	if d := h.now().Sub(h.last); d > h.limit {
		return fmt.Errorf("the %s is stuck: no progress for %v, and a step may take at most %v", h.loop, d.Round(time.Second), h.limit)
	}
	return nil
}
