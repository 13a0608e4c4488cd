package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/fleet"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// patience bounds a phase: a few times what its buckets allow.
func (b *bench) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 5*time.Minute+4*seconds(attachBound(b.total())))
}

// label measures from the label to Ready.
func (b *bench) label(ctx context.Context) error {
	b.limitEC2(true)
	arrival, err := b.arrive(ctx, func() error { return b.cluster.Label(ctx, b.nodes) })
	if err != nil {
		return err
	}
	b.figures.Label = arrival
	b.figures.AgentsReady, err = b.workers.stats()
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
	var err error
	b.figures.Cold, err = b.arrive(ctx, func() error { return b.startAgents(ctx, b.nodes, 0, 0) })
	return err
}

// arrive does what makes agents want ENIs, and measures until all are ready.
func (b *bench) arrive(ctx context.Context, begin func() error) (*arrival, error) {
	wait, cancel := b.patience(ctx)
	defer cancel()
	m, err := b.meter(ctx)
	if err != nil {
		return nil, err
	}
	b.reports.Begin(b.enis)
	go b.watchSize(wait)
	if err := begin(); err != nil {
		return nil, err
	}
	begun := time.Since(m.began)
	if err := b.reports.Await(wait, b.nodes); err != nil {
		return nil, err
	}
	a := &arrival{Times: b.reports.Ready(), Begun: begun}
	b.say("all are ready after %.1f s, by the buckets %.1f s", a.last(), attachBound(b.total()))
	if err := sleep(ctx, settle); err != nil {
		return nil, err
	}
	a.counts, err = m.read(ctx)
	b.figures.LargestState = max(b.figures.LargestState, b.reports.Largest())
	return a, errors.Join(err, b.noLeak())
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
	if err := b.startAgents(ctx, b.nodes, startAtOnce, idleHour); err != nil {
		return err
	}
	if err := b.workers.awaitAnswered(ctx); err != nil {
		return err
	}
	if err := sleep(ctx, settle); err != nil {
		return err
	}
	m, err := b.meter(ctx)
	if err != nil {
		return err
	}
	if err := sleep(ctx, idleHour); err != nil {
		return err
	}
	c, err := m.read(ctx)
	b.figures.Idle = &c
	return errors.Join(err, b.noLeak())
}

// idleHour stands for an hour.
const idleHour = time.Minute

// roll replaces all nodes, a tenth at a time: new ones come, and when their ENIs
// are ready, as many old ones go.
func (b *bench) roll(ctx context.Context) error {
	if err := b.ready(ctx); err != nil {
		return err
	}
	b.limitEC2(true)
	m, err := b.meter(ctx)
	if err != nil {
		return err
	}
	wait, cancel := b.patience(ctx)
	defer cancel()
	b.reports.Begin(b.enis)
	old := b.nodes
	for len(old) > 0 {
		step := min(len(old), max(1, b.size.nodes/10))
		names := b.newNames(step)
		if err := b.replace(wait, old[:step], names); err != nil {
			return err
		}
		b.nodes = append(b.nodes[step:], names...)
		old = old[step:]
	}
	r := &rolling{}
	r.counts, err = m.read(ctx)
	b.figures.Roll = r
	b.say("all nodes are replaced after %.1f s, by the buckets %.1f s", r.Took.Seconds(), attachBound(b.total()))
	if err != nil {
		return err
	}
	// The last instances end, and with them their ENIs.
	if err := sleep(ctx, settle); err != nil {
		return err
	}
	r.Leaks = len(b.cluster.ENIs()) - b.total()
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
	m, err := b.meter(ctx)
	if err != nil {
		return err
	}
	if err := b.empty(ctx); err != nil {
		return err
	}
	r := &removal{Gone: time.Since(m.began)}
	b.say("all ENIs and NodeENIs are gone after %.1f s, by the buckets %.1f s", r.Gone.Seconds(), attachBound(b.total()))
	if err := sleep(ctx, settle); err != nil {
		return err
	}
	r.counts, err = m.read(ctx)
	b.figures.Delete = r
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
