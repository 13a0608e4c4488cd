package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

// The goals, in milliseconds.
const (
	readyMedian = 300
	readyWorst  = 1000
	plugGoal    = 100
)

// report fills in the result.
func (m *measurement) report(t result.Bench, r *result.Result) {
	m.reportReady(t, r)
	m.reportSteps(t, r)
	m.reportPlugs(t, r)
	quick, many := m.series[2].seen, m.series[len(m.series)-1].seen
	changes := table("After changes on the host and of the label")
	add := func(name string, s sample) { changes.Rows = append(changes.Rows, times(name, s)) }
	for _, object := range []kind{ruleEvent, routeEvent, addressEvent} {
		name := "a deleted " + string(object) + " is back"
		add(name, m.back[object])
		r.Figures = append(r.Figures, figure(name+", p99", m.back[object].quantile(.99), 0, len(m.back[object])))
	}
	released := of(quick, func(l *lap) time.Duration { return l.released.Sub(l.unlabelled) })
	add("the label is gone: the link is down", of(quick, func(l *lap) time.Duration { return l.down.Sub(l.unlabelled) }))
	add("the label is gone: that is reported", released)
	r.Figures = append(r.Figures, figure("label gone to link down and reported, p99", released.quantile(.99), 0, len(released)))
	writes := func(l *lap) time.Duration { return time.Duration(l.writes) }
	r.Tables = append(r.Tables, changes, table("API server and machine",
		times("a patch of a Node, there and back, ms", of(quick, func(l *lap) time.Duration { return l.answered.Sub(l.labelled) })),
		quantiles("writes of a NodeENIState from label to Ready", of(m.series[0].seen, writes), count),
		quantiles(fmt.Sprintf("the same with %d ENIs", manySpec.enis), of(many, writes), count),
		times("a process that wants to sleep for 5 ms sleeps longer by, ms", m.late)))
}

func (m *measurement) reportReady(t result.Bench, r *result.Result) {
	all := result.Table{
		Title:   "From label to Ready",
		Columns: []string{"", "samples", "own time p50", "p99", "most", "EC2's time p50", "whole p50", "p99"},
	}
	for _, s := range m.series {
		if s.ready == "" {
			continue
		}
		var own, ec2, whole sample
		for _, l := range s.seen {
			spans, err := busy(l)
			t.Must(err)
			took, busy := l.ready.Sub(l.labelled), within(spans, l.labelled, l.ready)
			own, ec2, whole = append(own, took-busy), append(ec2, busy), append(whole, took)
		}
		if s.spec.enis == 1 { // the goals are for one ENI
			r.Figures = append(r.Figures,
				figure("label to Ready, own time, "+s.ready+", p50", own.quantile(.5), readyMedian, len(own)),
				figure("label to Ready, own time, "+s.ready+", p99", own.quantile(.99), readyWorst, len(own)))
		}
		all.Rows = append(all.Rows, append(times(s.ready, own), text(ec2.quantile(.5)), text(whole.quantile(.5)), text(whole.quantile(.99))))
	}
	r.Tables = append(r.Tables, all)
}

// reportSteps has the means of all steps.
func (m *measurement) reportSteps(t result.Bench, r *result.Result) {
	all := result.Table{Title: "The parts of the way", Columns: []string{"step", "by"}}
	for _, s := range steps {
		all.Rows = append(all.Rows, []string{s.name, s.by})
	}
	for _, s := range m.series[:3] {
		all.Columns = append(all.Columns, s.ready)
		took := make([]sample, len(steps))
		for _, l := range s.seen {
			way, err := wayOf(l)
			t.Must(err)
			for i, d := range way {
				took[i] = append(took[i], d)
			}
		}
		for i := range steps {
			all.Rows[i] = append(all.Rows[i], text(took[i].mean()))
		}
	}
	r.Tables = append(r.Tables, all)
}

func (m *measurement) reportPlugs(t result.Bench, r *result.Result) {
	all := table("From hot-plug to configured")
	for _, s := range m.series {
		var took sample
		for _, l := range s.seen {
			for _, e := range l.enis {
				appeared, configured := follow(l.events, e, l.spec)
				if configured.IsZero() {
					t.Fatalf("%s: %s on %s was Ready and not configured", s.plug, e.ENIID, l.node)
				}
				took = append(took, configured.Sub(appeared))
			}
		}
		r.Figures = append(r.Figures,
			figure("hot-plug to configured, "+s.plug+", p50", took.quantile(.5), plugGoal, len(took)),
			figure("hot-plug to configured, "+s.plug+", p99", took.quantile(.99), plugGoal, len(took)))
		all.Rows = append(all.Rows, times(s.plug, took))
	}
	r.Tables = append(r.Tables, all)
}

// of is a sample of what laps have in common.
func of(laps []*lap, part func(*lap) time.Duration) sample {
	var s sample
	for _, l := range laps {
		s = append(s, part(l))
	}
	return s
}

// figure is a time; 0 is no goal.
func figure(name string, value time.Duration, goal float64, samples int) result.Figure {
	f := result.Figure{Name: name, Value: ms(value), Unit: "ms", Note: count(time.Duration(samples)) + " samples"}
	if goal != 0 {
		f.Goal = &goal
	}
	return f
}

func table(title string, rows ...[]string) result.Table {
	return result.Table{Title: title, Columns: []string{"", "samples", "p50", "p99", "most"}, Rows: rows}
}

func times(name string, s sample) []string { return quantiles(name, s, text) }

func quantiles(name string, s sample, text func(time.Duration) string) []string {
	return []string{name, strconv.Itoa(len(s)), text(s.quantile(.5)), text(s.quantile(.99)), text(s.quantile(1))}
}

func count(n time.Duration) string { return strconv.Itoa(int(n)) }
func ms(d time.Duration) float64   { return float64(d) / float64(time.Millisecond) }
func text(d time.Duration) string  { return result.Number(ms(d)) }
