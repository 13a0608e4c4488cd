package main

import (
	"slices"
	"strconv"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

// What is reported can be saved, and says what was seen.
func TestReport(t *testing.T) {
	l := sampleLap()
	l.answered, l.writes = at(3), 5
	l.unlabelled, l.down, l.released = at(300), at(304), at(311)
	m := newMeasurement(1, 1, 2, 1)
	for _, s := range m.series {
		if err := s.add(l); err != nil {
			t.Fatal(err)
		}
	}
	for i := range m.back {
		m.back[i] = sample{7}
	}
	m.late = sample{.5}
	r := &result.Result{Name: "latency"}
	m.report(r)
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
	// The steps add up to the whole way.
	i := slices.IndexFunc(r.Tables, func(t result.Table) bool { return t.Title == "The parts of the way" })
	sum := 0.0
	for _, row := range r.Tables[i].Rows {
		v, err := strconv.ParseFloat(row[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += v
	}
	if whole := ms(l.ready.Sub(l.labelled)); sum != whole {
		t.Errorf("the steps are %v ms together, want %v", sum, whole)
	}
}
