package main

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// lap is what was seen of a node that had nothing, from its label to Ready and back.
type lap struct {
	node string
	spec spec

	labelled time.Time // when the label was sent
	answered time.Time // when the API server had it
	ready    time.Time // when a watch has shown that all are Ready
	writes   int       // of the node's report until then
	enis     []v1alpha1.ENIState
	calls    []cloud.Call // until Ready
	events   []hostEvent

	unlabelled time.Time
	down       time.Time // when the last link was down
	released   time.Time // when a watch has shown that
}

// run runs the laps of a series.
func (b *bed) run(s *series) {
	timing := quick
	if s.slow {
		timing = realistic()
	}
	b.Must(b.Sim.Cloud().SetTiming(timing))
	if s.crowded {
		defer b.disturb()()
	}
	for len(s.seen) < s.laps {
		laps := b.take(s.spec, max(1, s.atOnce))
		var group errgroup.Group
		for _, l := range laps {
			group.Go(func() error {
				if err := b.arrive(l); err != nil {
					return err
				}
				return b.leave(l)
			})
		}
		b.Must(group.Wait())
		s.seen = append(s.seen, laps...)
	}
}

// take begins laps of the nodes whose turn it is, once neither EC2 nor their agents
// have anything of earlier ones: the kernel takes links away under a lock that all
// namespaces share, and real nodes have a kernel each.
func (b *bed) take(s spec, n int) []*lap {
	b.await("EC2 has nothing of earlier laps", func() bool { return len(b.ENIs()) == 0 })
	var laps []*lap
	for range n {
		name := nodeName(b.turn)
		b.turn++
		b.await(name+" reports nothing of earlier laps", func() bool {
			seen := b.nodes[name].reports.since(time.Time{})
			return len(seen) == 0 || in(v1alpha1.PhaseReleased, 0)(seen[len(seen)-1]) // what else it has names no ENI
		})
		laps = append(laps, &lap{node: name, spec: s})
	}
	return laps
}

// arrive labels a node and waits until its ENIs are Ready.
func (b *bed) arrive(l *lap) error {
	node := b.nodes[l.node]
	l.labelled = time.Now()
	if err := b.Label(b.Context(), l.node, labelKey, l.spec.label); err != nil {
		return fmt.Errorf("label %s: %w", l.node, err)
	}
	l.answered = time.Now()
	ready, err := node.reports.await(b.Context(), l.labelled, l.node+" is Ready", in(v1alpha1.PhaseReady, l.spec.enis))
	if err != nil {
		return err
	}
	l.ready, l.enis = ready.at, slices.DeleteFunc(slices.Clone(ready.enis), func(e v1alpha1.ENIState) bool { return e.ENIID == "" })
	l.calls = b.calls(node, l.labelled, l.ready)
	for _, seen := range node.reports.since(l.labelled) {
		if !seen.at.After(l.ready) {
			l.writes++
		}
	}
	return nil
}

// leave takes the label off again and waits until the links are down.
func (b *bed) leave(l *lap) error {
	node := b.nodes[l.node]
	l.unlabelled = time.Now()
	if err := b.Unlabel(b.Context(), l.node, labelKey); err != nil {
		return fmt.Errorf("unlabel %s: %w", l.node, err)
	}
	released, err := node.reports.await(b.Context(), l.unlabelled, l.node+" is Released", in(v1alpha1.PhaseReleased, len(l.enis)))
	if err != nil {
		return err
	}
	l.released = released.at
	for _, e := range l.enis {
		down, err := node.host.await(b.Context(), l.unlabelled, l.node+"'s link goes down", func(event hostEvent) bool {
			return event.kind == linkEvent && event.mac == e.MAC && (event.gone || !event.up)
		})
		if err != nil {
			return err
		}
		if down.at.After(l.down) {
			l.down = down.at
		}
	}
	events := node.host.since(l.labelled)
	l.events = slices.DeleteFunc(events, func(e hostEvent) bool { return e.at.After(l.unlabelled) })
	return nil
}
