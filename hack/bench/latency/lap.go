package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// lap is what was seen of a node that had nothing, from its label to Ready and back.
type lap struct {
	node string
	spec spec

	labelled time.Time // when the label was sent
	answered time.Time // when the API server had it
	ready    time.Time // when somebody who watches has seen that all are Ready
	writes   int       // of the node's report until then
	enis     []v1alpha1.ENIState
	calls    []cloud.Call // until Ready
	events   []hostEvent

	unlabelled time.Time
	down       time.Time // when the last link was down
	released   time.Time // when somebody who watches has seen that
}

// take waits for a node that has nothing.
func (b *bed) take(ctx context.Context) (string, error) {
	select {
	case node := <-b.cold:
		return node, nil
	case err := <-b.failed:
		return "", err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// run labels a node, waits until its n ENIs are Ready, and takes the label off again.
// The node's return to nothing goes on in the background.
func (b *bed) run(ctx context.Context, node string, s spec, n int) (*lap, error) {
	l := &lap{node: node, spec: s}
	if err := b.arrive(ctx, l, n); err != nil {
		return nil, err
	}
	if err := b.leave(ctx, l); err != nil {
		return nil, err
	}
	go func() { b.cool(ctx, node) }()
	return l, nil
}

func (b *bed) arrive(ctx context.Context, l *lap, n int) error {
	l.labelled = time.Now()
	if err := b.Label(ctx, l.node, labelKey, l.spec.nodeENI); err != nil {
		return fmt.Errorf("label %s: %w", l.node, err)
	}
	l.answered = time.Now()
	ready, err := b.reports.await(ctx, l.node, l.labelled, "Ready", in(v1alpha1.PhaseReady, n))
	if err != nil {
		return err
	}
	l.ready, l.enis = ready.at, slices.DeleteFunc(slices.Clone(ready.enis), func(e v1alpha1.ENIState) bool { return e.ENIID == "" })
	l.calls = b.calls(l.node, l.labelled, l.ready)
	for _, seen := range b.reports.since(l.node, l.labelled) {
		if !seen.at.After(l.ready) {
			l.writes++
		}
	}
	return nil
}

func (b *bed) leave(ctx context.Context, l *lap) error {
	l.unlabelled = time.Now()
	if err := b.Unlabel(ctx, l.node, labelKey); err != nil {
		return fmt.Errorf("unlabel %s: %w", l.node, err)
	}
	released, err := b.reports.await(ctx, l.node, l.unlabelled, "Released", in(v1alpha1.PhaseReleased, len(l.enis)))
	if err != nil {
		return err
	}
	l.released = released.at
	for _, e := range l.enis {
		down, err := b.hosts[l.node].await(l.unlabelled, l.node+"'s link goes down", func(event hostEvent) bool {
			return event.kind == linkEvent && event.mac == e.MAC && (event.gone || !event.up)
		})
		if err != nil {
			return err
		}
		if down.at.After(l.down) {
			l.down = down.at
		}
	}
	events := b.hosts[l.node].since(l.labelled)
	l.events = slices.DeleteFunc(events, func(e hostEvent) bool { return e.at.After(l.unlabelled) })
	return nil
}

// calm waits until no link of an earlier lap is left: the kernel takes links away
// under a lock that all namespaces share, and nodes have a kernel each.
func (b *bed) calm(ctx context.Context) error {
	return b.await(ctx, "EC2 has nothing of earlier laps", func() bool { return len(b.ENIs()) == 0 })
}

// cool gives a node back when neither EC2 nor its agent has anything of the lap.
func (b *bed) cool(ctx context.Context, node string) {
	n, err := b.Sim.Node(node)
	if err == nil {
		err = b.await(ctx, node+" has nothing any more", func() bool {
			for _, e := range b.ENIs() {
				if e.Attachment != nil && e.Attachment.InstanceID == n.ID {
					return false
				}
			}
			return in(v1alpha1.PhaseReleased, 0)(b.reports.last(node).enis) // what else it has names no ENI
		})
	}
	if err != nil {
		b.failed <- err
		return
	}
	b.cold <- node
}
