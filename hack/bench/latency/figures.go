package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

// The goals, in milliseconds.
const (
	readyMedian = 300
	readyWorst  = 1000
	plugGoal    = 100
)

// write puts what was seen into figures, tables and plots.
func (m *measured) write(r *result.Result) error {
	r.How = how()
	ways := []struct {
		name string
		laps []*lap
	}{
		{"one node after the other", m.alone},
		{fmt.Sprintf("%d nodes at once", m.amount.together), m.batches},
		{"EC2 in no time", m.quick},
	}
	var groups []group
	for _, w := range ways {
		g, err := groupOf(w.name, w.laps)
		if err != nil {
			return err
		}
		groups = append(groups, g)
	}
	many, err := wholeOf(fmt.Sprintf("EC2 in no time, %d ENIs on one node", enisPerNode), m.many)
	if err != nil {
		return err
	}
	writeReady(r, append(slices.Clone(groups), many))
	writeSteps(r, groups)
	if err := m.writePlugs(r); err != nil {
		return err
	}
	m.writeRepairs(r)
	m.writeReleases(r)
	m.writeAPI(r)
	m.writeMachine(r)
	return nil
}

// group is what laps under the same conditions have in common.
type group struct {
	name            string
	whole, own, ec2 sample
	ways            []way
}

func groupOf(name string, laps []*lap) (group, error) {
	g := group{name: name}
	for _, l := range laps {
		w, err := wayOf(l)
		if err != nil {
			return group{}, fmt.Errorf("%s: %w", name, err)
		}
		own, ec2 := w.sum()
		g.ways = append(g.ways, w)
		g.own, g.ec2, g.whole = append(g.own, own), append(g.ec2, ec2), append(g.whole, l.ready.Sub(l.labelled))
	}
	return g, nil
}

// wholeOf is a group of laps with several ENIs each, whose ways overlap.
func wholeOf(name string, laps []*lap) (group, error) {
	g := group{name: name}
	for _, l := range laps {
		spans, err := busy(l)
		if err != nil {
			return group{}, fmt.Errorf("%s: %w", name, err)
		}
		whole, ec2 := l.ready.Sub(l.labelled), within(spans, l.labelled, l.ready)
		g.own, g.ec2, g.whole = append(g.own, whole-ec2), append(g.ec2, ec2), append(g.whole, whole)
	}
	return g, nil
}

func writeReady(r *result.Result, groups []group) {
	t := result.Table{
		Title:   "From label to Ready",
		Columns: []string{"", "samples", "own time p50", "p99", "most", "EC2's time p50", "whole p50", "p99"},
		Note:    "Own time is all of the time in which neither a call to EC2 was under way nor EC2 had a link to bring. Times in ms.",
	}
	for _, g := range groups {
		note := fmt.Sprintf("%d samples; EC2's own time subtracted", len(g.own))
		if g.ways != nil { // the goals are for one ENI
			r.Figures = append(r.Figures,
				figure("label to Ready, own time, "+g.name+", p50", g.own.quantile(0.5), readyMedian, note),
				figure("label to Ready, own time, "+g.name+", p99", g.own.quantile(0.99), readyWorst, note))
		}
		t.Rows = append(t.Rows, []string{
			g.name, count(g.own), text(g.own.quantile(0.5)), text(g.own.quantile(0.99)), text(g.own.quantile(1)),
			text(g.ec2.quantile(0.5)), text(g.whole.quantile(0.5)), text(g.whole.quantile(0.99)),
		})
	}
	r.Tables = append(r.Tables, t)
}

// writeSteps draws a bar per group: own time alone, and the whole way.
func writeSteps(r *result.Result, groups []group) {
	own := result.Plot{
		File: "latency-own.svg", Title: "From label to Ready: own time", YLabel: "ms, mean", Kind: result.Stack,
		Note: "EC2's own time is left out.",
	}
	whole := result.Plot{
		File: "latency-whole.svg", Title: "From label to Ready: the whole way", YLabel: "ms, mean", Kind: result.Stack,
		Note: "Modify (deleteOnTermination) runs beside the wait for the link; only what is left of it afterwards shows.",
	}
	table := result.Table{
		Title: "The parts of the way", Columns: []string{"step", "by"},
		Note: "Means in ms. The label is noticed when the first call reaches EC2: it has gone to the API server and come to the agent by then. " +
			"The decision is recorded in the NodeENIState before EC2 is asked to create. Ready is reported when somebody who watches NodeENIStates has seen it.",
	}
	for _, g := range groups {
		own.Categories = append(own.Categories, g.name)
		table.Columns = append(table.Columns, g.name)
	}
	whole.Categories = own.Categories[:2]
	add := func(name, by string, means []float64) {
		row := []string{name, by}
		for _, v := range means {
			row = append(row, result.Number(v))
		}
		table.Rows = append(table.Rows, row)
		whole.Series = append(whole.Series, result.Series{Name: name + " (" + by + ")", Y: means[:2]})
		if by == "agent" {
			own.Series = append(own.Series, result.Series{Name: name, Y: means})
		}
	}
	for i, s := range steps {
		if s.ec2 != "" && i < len(steps)-1 {
			add(s.ec2, "EC2", means(groups, func(w way) time.Duration { return w.ec2[i] }))
		}
		if i == len(steps)-1 {
			add(s.ec2, "EC2", means(groups, func(w way) time.Duration { return w.ec2[i] }))
		}
		add(s.own, "agent", means(groups, func(w way) time.Duration { return w.own[i] }))
	}
	r.Tables = append(r.Tables, table)
	r.Plots = append(r.Plots, own, whole)
}

// means are those of one part, by group.
func means(groups []group, part func(way) time.Duration) []float64 {
	var all []float64
	for _, g := range groups {
		var s sample
		for _, w := range g.ways {
			s = append(s, part(w))
		}
		all = append(all, ms(s.mean()))
	}
	return all
}

func (m *measured) writePlugs(r *result.Result) error {
	t := result.Table{
		Title:   "From hot-plug to configured",
		Columns: []string{"", "samples", "p50", "p99", "most"},
		Note:    "From RTM_NEWLINK to the last of name, MTU, up, addresses, rules and routes, both as the kernel tells a listener in the node's namespace. Times in ms.",
	}
	rows := append([]plugs{
		{"addressing Host, EC2 as slow as it is", m.alone},
		{fmt.Sprintf("the same, %d nodes at once", m.amount.together), m.batches},
	}, m.plugs...)
	for _, p := range rows {
		var s sample
		for _, l := range p.laps {
			for _, e := range l.enis {
				appeared, configured := follow(l.events, e, l.spec)
				if configured.IsZero() {
					return fmt.Errorf("%s: %s on %s was Ready and not configured", p.name, e.ENIID, l.node)
				}
				s = append(s, configured.Sub(appeared))
			}
		}
		note := count(s) + " samples"
		r.Figures = append(r.Figures,
			figure("hot-plug to configured, "+p.name+", p50", s.quantile(0.5), plugGoal, note),
			figure("hot-plug to configured, "+p.name+", p99", s.quantile(0.99), plugGoal, note))
		t.Rows = append(t.Rows, append([]string{p.name}, quantiles(s)...))
	}
	r.Tables = append(r.Tables, t)
	return nil
}

func (m *measured) writeRepairs(r *result.Result) {
	t := result.Table{
		Title:   "From the deletion by others of what an agent has made until it is back",
		Columns: []string{"", "samples", "p50", "p99", "most"},
		Note:    "Deletions lie 250 to 350 ms apart; after a repair the agent looks again at most every 100 ms. Times in ms.",
	}
	for _, p := range m.repairs {
		t.Rows = append(t.Rows, append([]string{p.name}, quantiles(p.took)...))
		r.Figures = append(r.Figures, result.Figure{Name: "a deleted " + p.name + " is back, p99", Value: ms(p.took.quantile(0.99)), Unit: "ms", Note: count(p.took) + " samples"})
	}
	r.Tables = append(r.Tables, t)
}

func (m *measured) writeReleases(r *result.Result) {
	var down, released sample
	for _, l := range m.quick {
		down = append(down, l.down.Sub(l.unlabelled))
		released = append(released, l.released.Sub(l.unlabelled))
	}
	r.Tables = append(r.Tables, result.Table{
		Title:   "From the loss of the label",
		Columns: []string{"until", "samples", "p50", "p99", "most"},
		Rows: [][]string{
			append([]string{"the link is down"}, quantiles(down)...),
			append([]string{"that is reported"}, quantiles(released)...),
		},
		Note: "The coordinator then detaches and deletes. Times in ms.",
	})
	r.Figures = append(r.Figures, result.Figure{Name: "label gone to link down and reported, p99", Value: ms(released.quantile(0.99)), Unit: "ms", Note: count(released) + " samples"})
}

// writeAPI tells how much of it all is the API server's.
func (m *measured) writeAPI(r *result.Result) {
	var writes, label sample
	for _, l := range m.quick {
		label = append(label, l.answered.Sub(l.labelled))
	}
	for _, l := range m.alone {
		writes = append(writes, time.Duration(l.writes))
	}
	var many sample
	for _, l := range m.many {
		many = append(many, time.Duration(l.writes))
	}
	r.Tables = append(r.Tables, result.Table{
		Title:   "The API server's part",
		Columns: []string{"", "samples", "p50", "p99", "most"},
		Rows: [][]string{
			append([]string{"a patch of a Node, there and back, ms"}, quantiles(label)...),
			append([]string{"writes of a NodeENIState from label to Ready"}, counts(writes)...),
			append([]string{fmt.Sprintf("the same with %d ENIs", enisPerNode)}, counts(many)...),
		},
	})
}

func (m *measured) writeMachine(r *result.Result) {
	r.Tables = append(r.Tables, result.Table{
		Title:   "The machine's own part",
		Columns: []string{"", "samples", "p50", "p99", "most"},
		Rows:    [][]string{append([]string{"a process that wants to sleep for 5 ms sleeps longer by, ms"}, quantiles(m.late)...)},
		Note:    "All processes of the benchmark share the machine's cores; each step from one to another may be late by that much.",
	})
}

// counts are quantiles of numbers.
func counts(s sample) []string {
	return []string{count(s), fmt.Sprint(int(s.quantile(0.5))), fmt.Sprint(int(s.quantile(0.99))), fmt.Sprint(int(s.quantile(1)))}
}

func figure(name string, value time.Duration, goal float64, note string) result.Figure {
	return result.Figure{Name: name, Value: ms(value), Unit: "ms", Goal: result.Goal(goal), Note: note}
}

func quantiles(s sample) []string {
	return []string{count(s), text(s.quantile(0.5)), text(s.quantile(0.99)), text(s.quantile(1))}
}

func count(s sample) string       { return fmt.Sprint(len(s)) }
func ms(d time.Duration) float64  { return float64(d) / float64(time.Millisecond) }
func text(d time.Duration) string { return result.Number(ms(d)) }
