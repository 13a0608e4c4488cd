package main

import (
	"context"
	"fmt"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/fleet"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// patience bounds a phase: a few times what its buckets allow.
func (b *bench) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 5*time.Minute+4*time.Duration(b.bound()*float64(time.Second)))
}

// limitEC2 turns EC2's limits on, with full buckets, or off.
func (b *bench) limitEC2(on bool) { b.cluster.Cloud.SetThrottle(on) }

// label measures from the label to Ready.
func (b *bench) label(ctx context.Context) (err error) {
	b.limitEC2(true)
	if err := b.arrive(ctx, phaseLabel, func() error { return b.cluster.Label(ctx, b.nodes) }); err != nil {
		return err
	}
	b.figures.agentsReady, err = b.workers.stats()
	return err
}

// cold measures the same for agents that start where everything waits for them.
func (b *bench) cold(ctx context.Context) error {
	b.limitEC2(false)
	if err := b.empty(ctx); err != nil {
		return err
	}
	if err := b.workers.end(b.nodes); err != nil {
		return err
	}
	if err := b.cluster.Label(ctx, b.nodes); err != nil {
		return err
	}
	if err := b.cluster.WantENIs(ctx, b.enis); err != nil {
		return err
	}
	b.limitEC2(true)
	return b.arrive(ctx, phaseCold, func() error { return b.startAgents(ctx, b.nodes, 0, 0) })
}

// arrive does what makes agents want ENIs, and measures until all are ready.
func (b *bench) arrive(ctx context.Context, p phase, begin func() error) error {
	wait, cancel := b.patience(ctx)
	defer cancel()
	_, err := b.count(ctx, p, func(o *outcome, began time.Time) error {
		b.reports.Begin(b.enis)
		go b.watchSize(wait)
		if err := begin(); err != nil {
			return err
		}
		o.begun = time.Since(began)
		if err := b.reports.Await(wait, b.nodes); err != nil {
			return err
		}
		o.times = b.reports.Ready()
		o.done = o.times[len(o.times)-1]
		b.sayDone(o)
		return sleep(ctx, settle)
	})
	b.figures.largestState = max(b.figures.largestState, b.reports.Largest())
	if err != nil {
		return err
	}
	return b.noLeak()
}

func (b *bench) sayDone(o *outcome) {
	b.say("done after %.1f s, by the buckets %.1f s", o.done.Seconds(), b.bound())
}

// ready gets every node its ENIs, unmeasured.
func (b *bench) ready(ctx context.Context) error {
	if len(b.cluster.ENIs()) == b.total() {
		return nil
	}
	b.limitEC2(false)
	b.reports.Begin(b.enis)
	if err := b.cluster.Label(ctx, b.nodes); err != nil {
		return err
	}
	wait, cancel := b.patience(ctx)
	defer cancel()
	if err := b.reports.Await(wait, b.nodes); err != nil {
		return err
	}
	return sleep(ctx, settle)
}

// idleHour stands for an hour.
const idleHour = time.Minute

// idle measures an hour without events. The agents' own interval of an hour is a
// minute here: nothing else that an agent does by itself concerns EC2, or writes.
func (b *bench) idle(ctx context.Context) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	b.limitEC2(false)
	if err := b.workers.end(b.nodes); err != nil {
		return err
	}
	if err := b.startAnswered(ctx, idleHour); err != nil {
		return err
	}
	if err := sleep(ctx, settle); err != nil {
		return err
	}
	if _, err := b.count(ctx, phaseIdle, func(*outcome, time.Time) error { return sleep(ctx, idleHour) }); err != nil {
		return err
	}
	return b.noLeak()
}

// roll replaces all nodes, a tenth at a time: new ones come, and when their ENIs
// are ready, as many old ones go.
func (b *bench) roll(ctx context.Context) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	b.limitEC2(true)
	wait, cancel := b.patience(ctx)
	defer cancel()
	o, err := b.count(ctx, phaseRoll, func(o *outcome, began time.Time) error {
		b.reports.Begin(b.enis)
		for old := b.nodes; len(old) > 0; {
			step := min(len(old), max(1, b.size.nodes/10))
			names := b.newNames(step)
			if err := b.replace(wait, old[:step], names); err != nil {
				return err
			}
			old, b.nodes = old[step:], append(b.nodes[step:], names...)
		}
		o.done = time.Since(began)
		b.sayDone(o)
		return nil
	})
	if err != nil {
		return err
	}
	// The last instances end, and with them their ENIs.
	if err := sleep(ctx, settle); err != nil {
		return err
	}
	o.left = len(b.cluster.ENIs()) - b.total()
	return b.noLeak()
}

func (b *bench) replace(ctx context.Context, old, names []string) error {
	if err := b.cluster.AddNodes(ctx, names, fleet.Labels()); err != nil {
		return err
	}
	if err := b.startAgents(ctx, names, startAtOnce, 0); err != nil {
		return err
	}
	if err := b.reports.Await(ctx, names); err != nil {
		return err
	}
	if err := b.workers.end(old); err != nil {
		return err
	}
	if err := b.cluster.Remove(ctx, old); err != nil {
		return err
	}
	return b.workers.forget(old)
}

// delete measures until every ENI and every NodeENI is gone.
func (b *bench) delete(ctx context.Context) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	b.limitEC2(true)
	_, err := b.count(ctx, phaseDelete, func(o *outcome, began time.Time) error {
		if err := b.empty(ctx); err != nil {
			return err
		}
		o.done = time.Since(began)
		b.sayDone(o)
		return sleep(ctx, settle)
	})
	return err
}

// empty takes all ENIs away.
func (b *bench) empty(ctx context.Context) error {
	wait, cancel := b.patience(ctx)
	defer cancel()
	return b.cluster.Empty(wait, b.enis)
}

// noLeak: there are as many ENIs as are wanted, and all are attached.
func (b *bench) noLeak() error {
	enis := b.cluster.ENIs()
	attached := 0
	for _, e := range enis {
		if e.Attachment != nil && e.Attachment.Status == cloud.AttachmentAttached {
			attached++
		}
	}
	if len(enis) != b.total() || attached != b.total() {
		return fmt.Errorf("EC2 has %d ENIs, %d of them attached; want %d", len(enis), attached, b.total())
	}
	return nil
}
