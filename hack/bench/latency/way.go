package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
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

// steps are the parts of the way from label to Ready, in their order. What EC2 does
// in each has a name of its own.
var steps = []struct{ own, ec2 string }{
	{"label noticed", ""},
	{"decision recorded", "names looked up"},
	{"attach begun", "Create"},
	{"link configured", "Attach and hot-plug"},
	{"Ready reported", "rest of Modify"},
}

// way is how long a node's only ENI took from label to Ready.
type way struct {
	own, ec2 []time.Duration // by step
}

func (w way) sum() (own, ec2 time.Duration) {
	for i := range steps {
		own, ec2 = own+w.own[i], ec2+w.ec2[i]
	}
	return own, ec2
}

// wayOf tells the agent's own time from EC2's. EC2 is at work while one of the node's
// calls is under way, and from the attach until the link appears.
func wayOf(l *lap) (way, error) {
	if len(l.enis) != 1 {
		return way{}, fmt.Errorf("%s has %d ENIs, want 1", l.node, len(l.enis))
	}
	appeared, configured := follow(l.events, l.enis[0], l.spec)
	create, created := firstCall(l.calls, "CreateNetworkInterface")
	attach, attached := firstCall(l.calls, "AttachNetworkInterface")
	if !created || !attached || configured.IsZero() {
		return way{}, fmt.Errorf("%s was ready without a create, an attach or a configured link: %v, %+v", l.node, cloud.CountCalls(l.calls), l.events)
	}
	spans := []span{{attach.Time, appeared}}
	for _, c := range l.calls {
		if c.Code != "" {
			return way{}, fmt.Errorf("%s: %s failed: %s", l.node, c.Action, c.Message)
		}
		spans = append(spans, span{c.Time, c.Time.Add(c.Latency)})
	}
	w := way{}
	from := l.labelled
	for _, to := range []time.Time{l.calls[0].Time, create.Time, attach.Time, configured, l.ready} {
		if to.Before(from) {
			to = from // Ready was seen before this program got to read the kernel's last event
		}
		busy := within(spans, from, to)
		w.own, w.ec2 = append(w.own, to.Sub(from)-busy), append(w.ec2, busy)
		from = to
	}
	return w, nil
}

func firstCall(calls []cloud.Call, action string) (cloud.Call, bool) {
	i := slices.IndexFunc(calls, func(c cloud.Call) bool { return c.Action == action })
	if i < 0 {
		return cloud.Call{}, false
	}
	return calls[i], true
}

// took is how long calls of an action took, all together.
func took(calls []cloud.Call, action string) time.Duration {
	var sum time.Duration
	for _, c := range calls {
		if strings.HasPrefix(c.Action, action) {
			sum += c.Latency
		}
	}
	return sum
}

// sample is many measurements of one thing.
type sample []time.Duration

// quantile is the least value that at least this part of the sample does not exceed.
func (s sample) quantile(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.SortedFunc(slices.Values(s), cmp.Compare[time.Duration])
	return sorted[max(0, min(len(s)-1, ceil(q*float64(len(s)))-1))]
}

func ceil(v float64) int {
	n := int(v)
	if float64(n) < v {
		n++
	}
	return n
}

func (s sample) mean() time.Duration {
	var sum time.Duration
	for _, d := range s {
		sum += d
	}
	return sum / time.Duration(max(1, len(s)))
}
