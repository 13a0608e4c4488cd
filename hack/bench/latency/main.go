// Command latency measures how fast an agent is: from a node's label to Ready, from
// a link's appearance to its configuration, from a deleted rule to its return, from
// the loss of the label to the report that the link is down. Agents, coordinator and
// API server are real processes, the links are the kernel's; EC2 is simulated. Run it
// with `make bench-latency`.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

func main() {
	programs := flag.String("programs", "", "directory with eni-agent and eni-coordinator; by default they are built")
	short := flag.Bool("short", false, "take a tenth of the samples and save nothing: to see whether it works")
	flag.Parse()
	if err := netns.Elevate(netns.Elevation{PrivateNetwork: true}); err != nil {
		fmt.Fprintln(os.Stderr, "latency:", err)
		os.Exit(1)
	}
	m := newMeasurement(100, 13, 8, 10)
	if *short {
		m = newMeasurement(6, 1, 6, 2)
	}
	result.Main("latency", func(t result.Bench, r *result.Result) bool {
		m.measure(newBed(t, *programs))
		m.report(t, r)
		return !*short
	})
}

// measurement is what is measured, and all that was seen.
type measurement struct {
	series  []*series
	repairs int // of each kind of object
	back    map[kind]sample
	late    sample
}

// series are laps under the same conditions.
type series struct {
	ready, plug string // names in the tables from label to Ready, and from hot-plug to configured
	spec        spec
	laps        int
	atOnce      int  // nodes; at least one
	slow        bool // EC2 is as slow as it is
	crowded     bool // others change the node, too

	seen []*lap
}

func newMeasurement(samples, batches, atOnce, many int) *measurement {
	together, crowd := fmt.Sprintf("%d nodes at once", atOnce), fmt.Sprintf("%d ENIs on one node", manySpec.enis)
	return &measurement{repairs: samples, back: map[kind]sample{}, series: []*series{
		{ready: "one node after the other", plug: "addressing Host, EC2 as slow as it is", spec: hostSpec, laps: samples, slow: true},
		{ready: together, plug: "the same, " + together, spec: hostSpec, laps: batches * atOnce, atOnce: atOnce, slow: true},
		{ready: "EC2 in no time", plug: "addressing Host", spec: hostSpec, laps: samples},
		{plug: "addressing None", spec: noneSpec, laps: samples},
		{plug: "addressing Host, renamed", spec: renamedSpec, laps: samples},
		{plug: "addressing Host, others change the node 200 times a second", spec: hostSpec, laps: samples, crowded: true},
		{ready: "EC2 in no time, " + crowd, plug: "addressing Host, " + crowd, spec: manySpec, laps: many},
	}}
}

func (m *measurement) measure(b *bed) {
	lateness := watchLateness()
	for _, s := range m.series {
		began := time.Now()
		b.run(s)
		fmt.Fprintf(os.Stderr, "%s: measured, which took %v\n", s.plug, time.Since(began).Round(time.Second))
	}
	b.measureRepairs(m)
	m.late = lateness()
}

// watchLateness takes the machine's own part: how much later than asked for a process
// of it gets to run.
func watchLateness() (stop func() sample) {
	const every = 5 * time.Millisecond
	done, taken := make(chan struct{}), make(chan sample)
	go func() {
		var late sample
		for {
			select {
			case <-done:
				taken <- late
				return
			default:
			}
			asked := time.Now().Add(every)
			time.Sleep(every)
			late = append(late, time.Since(asked))
		}
	}()
	return func() sample {
		close(done)
		return <-taken
	}
}
