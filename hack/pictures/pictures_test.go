package main

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

func TestTerminal(t *testing.T) {
	var term terminal
	term.write("\x1b[1m3. Label\x1b[0m\r\n\ta < b\r\none\r\ntwo, long\r\n")
	term.write("\x1b[2A\rONE\x1b[K\r\n\rTWO\x1b[K\r\n")
	want := []string{`<tspan class="b">3. Label</tspan>`, "        a &lt; b", "ONE", "TWO", ""}
	if got := term.screen(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A line that is drawn over costs no reading time; waits are cut; the poster is the frame
// before chapter 4.
func TestFrames(t *testing.T) {
	at := time.Unix(0, 0)
	chunks := []chunk{
		{at, "Attaching\r\n"}, {at.Add(time.Minute), "\x1b[1AReady\x1b[K\r\n"}, {at.Add(time.Minute + 400*time.Millisecond), "\x1b[1m4. Next\x1b[0m\r\n"},
	}
	got := frames(chunks)
	var holds []time.Duration
	for _, f := range got {
		holds = append(holds, f.hold)
	}
	if len(got) != 3 || holds[0] != mostHold || holds[1] != 400*time.Millisecond || holds[2] != lastHold {
		t.Fatalf("holds: %v", holds)
	}
	if n := posterOf(got); n != 1 || got[n].lines[0] != "Ready" {
		t.Errorf("the poster is frame %d: %q", n, got[n].lines)
	}
}

func TestAxes(t *testing.T) {
	for _, test := range []struct {
		top, step float64
		unit      string
		label     string // of the first step
	}{
		{0, 1, "none", "1"}, {6, 2, "none", "2"}, {2.4, .5, "s", "0.5 s"}, {.25, .05, "s", "50 ms"}, {28, 10, "ops", "10 ops/s"},
	} {
		step := tick(test.top)
		if label := units[test.unit](step, step); step != test.step || label != test.label {
			t.Errorf("an axis to %g: steps of %g, %q", test.top, step, label)
		}
	}
}

// A missing value cuts a line, and so does a time without one.
func TestRuns(t *testing.T) {
	nan := tick(0) - 1
	nan /= nan
	got := runs([]point{{0, 1}, {1, 2}, {2, nan}, {3, 3}, {9, 4}}, 1.5)
	if len(got) != 3 || len(got[0]) != 2 || len(got[1]) != 1 || len(got[2]) != 1 {
		t.Errorf("got %v", got)
	}
}

func TestLegend(t *testing.T) {
	if got := legend("{{nodeeni}} {{ state }}", labels.FromStrings("nodeeni", "data", "state", "free")); got != "data free" {
		t.Errorf("got %q", got)
	}
}
