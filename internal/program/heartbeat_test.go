package program

import (
	"strings"
	"testing"
	"time"
)

func TestHeartbeat(t *testing.T) {
	now := time.Unix(10_000, 0)
	h := NewHeartbeat("agent's loop", time.Minute)
	h.now = func() time.Time { return now }
	for _, step := range []struct {
		what  string
		do    func()
		after time.Duration
		stuck bool
	}{
		{"it has not begun", func() {}, time.Hour, false},
		{"a step within the limit", h.Beat, time.Minute, false},
		{"a step beyond it", func() {}, time.Second, true},
		{"the next step", h.Beat, time.Second, false},
		{"a long rest", h.Rest, 10 * time.Hour, false},
		{"a step after it", h.Beat, 2 * time.Minute, true},
		{"the end", h.Rest, time.Hour, false},
	} {
		step.do()
		now = now.Add(step.after)
		if err := h.Check(); (err != nil) != step.stuck {
			t.Errorf("%s: %v", step.what, err)
		}
	}
	h.Beat()
	now = now.Add(125 * time.Second)
	const want = "the agent's loop is stuck: no progress for 2m5s, and a step may take at most 1m0s"
	if err := h.Check(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("it says %v, want %q", err, want)
	}
}

func TestNilHeartbeat(t *testing.T) {
	var h *Heartbeat
	h.Beat()
	h.Rest()
	if err := h.Check(); err != nil {
		t.Error(err)
	}
}
