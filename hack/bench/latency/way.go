package main

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// span is a time during which EC2 was at work for a node.
type span struct{ from, to time.Time }

// within is how much of the time between two moments the spans cover together.
func within(spans []span, from, to time.Time) time.Duration {
	sorted := slices.SortedFunc(slices.Values(spans), func(a, b span) int { return a.from.Compare(b.from) })
	var sum time.Duration
	for _, s := range sorted {
		if s.from.Before(from) {
			s.from = from
		}
		if s.to.After(to) {
			s.to = to
		}
		if s.to.After(s.from) {
			sum += s.to.Sub(s.from)
			from = s.to
		}
	}
	return sum
}

// steps are the parts of the way from label to Ready, in their order.
var steps = []struct{ name, by string }{
	{"label noticed", "agent"},
	{"names looked up", "EC2"}, {"decision recorded", "agent"},
	{"Create", "EC2"}, {"attach begun", "agent"},
	{"Attach and hot-plug", "EC2"}, {"link configured", "agent"},
	{"rest of Modify", "EC2"}, {"Ready reported", "agent"},
}

// busy is when EC2 was at work for a node: while one of its calls was under way, and
// from each attach until that ENI's link appeared.
func busy(l *lap) ([]span, error) {
	var spans []span
	attached := map[string]time.Time{} // by ENI
	for _, c := range l.calls {
		if c.Code != "" {
			return nil, fmt.Errorf("%s: %s failed: %s", l.node, c.Action, c.Message)
		}
		spans = append(spans, span{c.Time, c.Time.Add(c.Latency)})
		if c.Action == "AttachNetworkInterface" {
			attached[c.Params["NetworkInterfaceId"]] = c.Time
		}
	}
	for _, e := range l.enis {
		appeared, configured := follow(l.events, e, l.spec)
		if attached[e.ENIID].IsZero() || configured.IsZero() {
			return nil, fmt.Errorf("%s: %s was ready without an attach or a configured link: %v, %+v", l.node, e.ENIID, cloud.CountCalls(l.calls), l.events)
		}
		spans = append(spans, span{attached[e.ENIID], appeared})
	}
	return spans, nil
}

// wayOf is how long each step of a node's only ENI took.
func wayOf(l *lap) ([]time.Duration, error) {
	if len(l.enis) != 1 {
		return nil, fmt.Errorf("%s has %d ENIs, want 1", l.node, len(l.enis))
	}
	spans, err := busy(l)
	if err != nil {
		return nil, err
	}
	first := map[string]time.Time{}
	for _, c := range slices.Backward(l.calls) {
		first[c.Action] = c.Time
	}
	create, attach := first["CreateNetworkInterface"], first["AttachNetworkInterface"]
	if create.IsZero() {
		return nil, fmt.Errorf("%s was ready without a create: %v", l.node, cloud.CountCalls(l.calls))
	}
	_, configured := follow(l.events, l.enis[0], l.spec)
	var way []time.Duration
	from := l.labelled
	for _, to := range []time.Time{l.calls[0].Time, create, attach, configured, l.ready} {
		if to.Before(from) {
			to = from // Ready was seen before this program got to read the kernel's last event
		}
		busy := within(spans, from, to)
		way = append(way, busy, to.Sub(from)-busy)
		from = to
	}
	return way[1:], nil // EC2 has no part before the first call
}

// sample is many measurements of one thing.
type sample []time.Duration

// quantile is the least value that at least this part of the sample does not exceed.
func (s sample) quantile(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	i := int(math.Ceil(q*float64(len(s)))) - 1
	return slices.Sorted(slices.Values(s))[max(0, i)]
}

func (s sample) mean() time.Duration {
	var sum time.Duration
	for _, d := range s {
		sum += d
	}
	return sum / time.Duration(max(1, len(s)))
}
