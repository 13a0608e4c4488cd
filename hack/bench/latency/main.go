// Command latency measures how fast an agent is: from a node's label to Ready, from
// a link's appearance to its configuration, from a deleted rule to its return, from
// the loss of the label to the report that the link is down. Agents, coordinator and
// API server are real processes, the links are the kernel's; EC2 is simulated. Run it
// with `make bench-latency`.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

func main() {
	short := flag.Bool("short", false, "take a few samples and save nothing: to see whether it works")
	flag.Parse()
	if err := netns.Elevate(netns.Elevation{PrivateNetwork: true}); err != nil {
		fmt.Fprintln(os.Stderr, "latency:", err)
		os.Exit(1)
	}
	m := newMeasurement(100, 13, 8, 10)
	if *short {
		m = newMeasurement(6, 1, 6, 2)
	}
	result.Main("latency", *short, func(b *result.Bench, r *result.Result) {
		bed := newBed(b)
		lateness := watchLateness(b.Context())
		for _, s := range m.series {
			b.Say("%s ...", s.plug)
			bed.run(s)
		}
		bed.measureRepairs(m)
		m.late = lateness()
		m.report(r)
	})
}

// watchLateness takes the machine's own part: how much later than asked for a process
// of it gets to run.
func watchLateness(ctx context.Context) (stop func() sample) {
	ctx, cancel := context.WithCancel(ctx)
	taken := make(chan sample, 1)
	go func() {
		var late sample
		for ctx.Err() == nil {
			asked := time.Now().Add(pollEvery)
			time.Sleep(pollEvery)
			late.add(time.Since(asked))
		}
		taken <- late
	}()
	return func() sample {
		cancel()
		return <-taken
	}
}

// spec is what a label of this benchmark selects.
type spec struct {
	label      string
	enis       int
	addressing v1alpha1.Addressing
	name       string // of the link; "": any
}

var (
	hostSpec    = spec{"host", 1, v1alpha1.AddressingHost, ""}
	noneSpec    = spec{"none", 1, v1alpha1.AddressingNone, ""}
	renamedSpec = spec{"renamed", 1, v1alpha1.AddressingHost, "data0"}
	manySpec    = spec{"many", 15, v1alpha1.AddressingHost, ""}
)

// measurement is what is measured, and all that was seen.
type measurement struct {
	series  []*series
	repairs int // of each object
	back    [3]sample
	late    sample
}

// series are laps under the same conditions.
type series struct {
	ready, plug string // names in the tables from label to Ready, and from hot-plug to configured
	spec        spec
	times       int
	atOnce      int  // nodes
	slow        bool // EC2 is as slow as it is
	crowded     bool // others change the node, too

	own, ec2, whole sample   // from the label to Ready
	steps           []sample // of that, with one ENI
	configured      sample   // from hot-plug
	patched, writes sample   // the Node, of the NodeENIState
	down, released  sample   // from the label's end
}

// add adds what was seen in a lap.
func (s *series) add(l *lap) error {
	spans, err := busy(l)
	if err != nil {
		return err
	}
	whole, ec2 := l.ready.Sub(l.labelled), within(spans, l.labelled, l.ready)
	s.own.add(whole - ec2)
	s.ec2.add(ec2)
	s.whole.add(whole)
	for _, e := range l.enis {
		appeared, configured := follow(l.events, e, l.spec)
		s.configured.add(configured.Sub(appeared))
	}
	s.patched.add(l.answered.Sub(l.labelled))
	s.writes = append(s.writes, float64(l.writes))
	s.down.add(l.down.Sub(l.unlabelled))
	s.released.add(l.released.Sub(l.unlabelled))
	if l.spec.enis > 1 {
		return nil
	}
	way, err := wayOf(l)
	if s.steps == nil {
		s.steps = make([]sample, len(steps))
	}
	for i, took := range way {
		s.steps[i].add(took)
	}
	return err
}

func newMeasurement(samples, batches, atOnce, many int) *measurement {
	together, crowd := fmt.Sprintf("%d nodes at once", atOnce), fmt.Sprintf("%d ENIs on one node", manySpec.enis)
	return &measurement{repairs: samples, series: []*series{
		{ready: "one node after the other", plug: "addressing Host, EC2 as slow as it is", spec: hostSpec, times: samples, atOnce: 1, slow: true},
		{ready: together, plug: "the same, " + together, spec: hostSpec, times: batches, atOnce: atOnce, slow: true},
		{ready: "EC2 in no time", plug: "addressing Host", spec: hostSpec, times: samples, atOnce: 1},
		{plug: "addressing None", spec: noneSpec, times: samples, atOnce: 1},
		{plug: "addressing Host, renamed", spec: renamedSpec, times: samples, atOnce: 1},
		{plug: "addressing Host, others change the node 200 times a second", spec: hostSpec, times: samples, atOnce: 1, crowded: true},
		{ready: "EC2 in no time, " + crowd, plug: "addressing Host, " + crowd, spec: manySpec, times: many, atOnce: 1},
	}}
}

// The goals, in milliseconds.
const (
	readyMedian = 300.0
	readyWorst  = 1000.0
	plugGoal    = 100.0
)

func (m *measurement) report(r *result.Result) {
	ready := result.Table{Title: "From label to Ready", Columns: []string{"situation", "samples", "own time p50", "p99", "most", "EC2's time p50", "whole p50", "p99"}}
	way := result.Table{Title: "The parts of the way", Columns: []string{"step", "by"}}
	for _, step := range steps {
		way.Rows = append(way.Rows, []string{step.name, step.by})
	}
	plugs := table("From hot-plug to configured")
	for _, s := range m.series {
		name := "hot-plug to configured, " + s.plug
		r.Figures = append(r.Figures, figure(name, s.configured, .5, new(plugGoal)), figure(name, s.configured, .99, new(plugGoal)))
		plugs.Rows = append(plugs.Rows, quantiles(s.plug, s.configured))
		if s.ready == "" {
			continue
		}
		ready.Rows = append(ready.Rows, append(quantiles(s.ready, s.own), quantile(s.ec2, .5), quantile(s.whole, .5), quantile(s.whole, .99)))
		if s.spec.enis > 1 {
			continue // the goals, and the steps, are for one ENI
		}
		name = "label to Ready, own time, " + s.ready
		r.Figures = append(r.Figures, figure(name, s.own, .5, new(readyMedian)), figure(name, s.own, .99, new(readyWorst)))
		way.Columns = append(way.Columns, s.ready)
		for i, took := range s.steps {
			way.Rows[i] = append(way.Rows[i], result.Number(took.mean()))
		}
	}
	slow, quick, many := m.series[0], m.series[2], m.series[len(m.series)-1]
	changes := table("After changes on the host and of the label")
	for i, object := range repaired {
		name := "a deleted " + object.what + " is back"
		changes.Rows = append(changes.Rows, quantiles(name, m.back[i]))
		r.Figures = append(r.Figures, figure(name, m.back[i], .99, nil))
	}
	changes.Rows = append(changes.Rows, quantiles("the label is gone: the link is down", quick.down), quantiles("the label is gone: that is reported", quick.released))
	r.Figures = append(r.Figures, figure("label gone to link down and reported", quick.released, .99, nil))
	r.Tables = []result.Table{ready, way, plugs, changes, table("API server and machine",
		quantiles("a patch of a Node, there and back, ms", quick.patched),
		quantiles("writes of a NodeENIState from label to Ready", slow.writes),
		quantiles(fmt.Sprintf("the same with %d ENIs", many.spec.enis), many.writes),
		quantiles("a process that wants to sleep for 5 ms sleeps longer by, ms", m.late))}
}

// sample is many measurements of one thing: milliseconds, or a count.
type sample []float64

func (s *sample) add(d time.Duration) { *s = append(*s, ms(d)) }

func (s sample) mean() float64 {
	sum := 0.0
	for _, v := range s {
		sum += v
	}
	return sum / float64(max(1, len(s)))
}

func figure(name string, s sample, q float64, goal *float64) result.Figure {
	return result.Figure{
		Name: fmt.Sprintf("%s, p%.0f", name, 100*q), Value: result.Quantile(s, q), Unit: "ms", Goal: goal,
		Note: strconv.Itoa(len(s)) + " samples",
	}
}

func table(title string, rows ...[]string) result.Table {
	return result.Table{Title: title, Columns: []string{"situation", "samples", "p50", "p99", "most"}, Rows: rows}
}

func quantiles(name string, s sample) []string {
	return []string{name, strconv.Itoa(len(s)), quantile(s, .5), quantile(s, .99), quantile(s, 1)}
}

func quantile(s sample, q float64) string { return result.Number(result.Quantile(s, q)) }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
