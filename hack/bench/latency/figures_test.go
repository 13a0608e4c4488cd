package main

import (
	"slices"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

// What is written can be saved and drawn, and says what was seen.
func TestWrite(t *testing.T) {
	l := sampleLap()
	l.answered, l.writes = at(3), 5
	l.unlabelled, l.down, l.released = at(300), at(304), at(311)
	laps := []*lap{l}
	m := &measured{
		amount: amounts(true), alone: laps, batches: laps, quick: laps, many: laps,
		plugs:   []plugs{{"addressing None", laps}},
		repairs: []repairs{{"rule", millis(7)}},
		late:    millis(1),
	}
	r := &result.Result{Name: "latency"}
	if err := m.write(r); err != nil {
		t.Fatal(err)
	}
	if err := r.Save(t.TempDir()); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]float64{
		"label to Ready, own time, one node after the other, p50": 13,
		"hot-plug to configured, addressing None, p99":            2,
		"a deleted rule is back, p99":                             7,
		"label gone to link down and reported, p99":               11,
	} {
		i := slices.IndexFunc(r.Figures, func(f result.Figure) bool { return f.Name == name })
		if i < 0 || r.Figures[i].Value != want {
			t.Errorf("%s: want %v; there are %+v", name, want, r.Figures)
		}
	}
	// The parts of each bar add up to the whole.
	sum := 0.0
	for _, s := range r.Plots[1].Series {
		sum += s.Y[0]
	}
	if whole := ms(l.ready.Sub(l.labelled)); sum != whole {
		t.Errorf("the bar is %v ms high, want %v", sum, whole)
	}
}
