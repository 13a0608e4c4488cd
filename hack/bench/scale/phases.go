package main

import (
	"context"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/fleet"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// patience bounds a phase: a few times what its buckets allow.
func (b *bench) patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(b.Context(), 5*time.Minute+4*time.Duration(b.bound()*float64(time.Second)))
}

// limitEC2 turns EC2's limits on, with full buckets, or off.
func (b *bench) limitEC2(on bool) { b.cluster.Cloud.SetThrottle(on) }

// label measures from the label to Ready.
func (b *bench) label() {
	b.limitEC2(true)
	b.arrive(phaseLabel, func() { b.Must(b.cluster.Label(b.Context(), b.nodes)) })
	b.figures.agentsReady = b.ask(Order{Stats: true}).Stats
}

// cold measures the same for agents that start where everything waits for them.
func (b *bench) cold() {
	b.limitEC2(false)
	b.empty()
	b.Must(b.workers.end(b.nodes))
	b.Must(b.cluster.Label(b.Context(), b.nodes))
	b.Must(b.cluster.WantENIs(b.Context(), b.enis))
	b.limitEC2(true)
	b.arrive(phaseCold, func() { b.startAgents(b.nodes, 0, 0) })
}

// arrive does what makes agents want ENIs, and measures until all are ready.
func (b *bench) arrive(p phase, begin func()) {
	wait, cancel := b.patience()
	defer cancel()
	b.count(p, func(o *outcome, began time.Time) {
		b.reports.Begin(b.enis)
		go b.watchSize(wait)
		begin()
		o.begun = time.Since(began)
		b.Must(b.reports.Await(wait, b.nodes))
		o.times = b.reports.Ready()
		b.done(o, o.times[len(o.times)-1])
		b.Sleep(settle)
	})
	b.figures.largestState = max(b.figures.largestState, b.reports.Largest())
	b.noLeak()
}

func (b *bench) done(o *outcome, after time.Duration) {
	o.done = after
	b.say("done after %.1f s, by the buckets %.1f s", after.Seconds(), b.bound())
}

// ready gets every node its ENIs, unmeasured.
func (b *bench) ready() {
	if len(b.cluster.ENIs()) == b.total() {
		return
	}
	b.limitEC2(false)
	b.reports.Begin(b.enis)
	b.Must(b.cluster.Label(b.Context(), b.nodes))
	wait, cancel := b.patience()
	defer cancel()
	b.Must(b.reports.Await(wait, b.nodes))
	b.Sleep(settle)
}

// idleHour stands for an hour.
const idleHour = time.Minute

// idle measures an hour without events. The agents' own interval of an hour is a
// minute here: nothing else that an agent does by itself concerns EC2, or writes.
func (b *bench) idle() {
	b.ready()
	b.limitEC2(false)
	b.Must(b.workers.end(b.nodes))
	b.startAnswered(idleHour)
	b.Sleep(settle)
	b.count(phaseIdle, func(*outcome, time.Time) { b.Sleep(idleHour) })
	b.noLeak()
}

// roll replaces all nodes, a tenth at a time: new ones come, and when their ENIs
// are ready, as many old ones go.
func (b *bench) roll() {
	b.ready()
	b.limitEC2(true)
	wait, cancel := b.patience()
	defer cancel()
	o := b.count(phaseRoll, func(o *outcome, began time.Time) {
		b.reports.Begin(b.enis)
		for old := b.nodes; len(old) > 0; {
			step := min(len(old), max(1, b.size.nodes/10))
			names := b.newNames(step)
			b.replace(wait, old[:step], names)
			old, b.nodes = old[step:], append(b.nodes[step:], names...)
		}
		b.done(o, time.Since(began))
	})
	b.Sleep(settle) // the last instances end, and with them their ENIs
	o.left = len(b.cluster.ENIs()) - b.total()
	b.noLeak()
}

func (b *bench) replace(wait context.Context, old, names []string) {
	b.Must(b.cluster.AddNodes(wait, names, fleet.Labels()))
	b.startAgents(names, startAtOnce, 0)
	b.Must(b.reports.Await(wait, names))
	b.Must(b.workers.end(old))
	b.Must(b.cluster.Remove(wait, old))
	b.Must(b.workers.forget(old))
}

// delete measures until every ENI and every NodeENI is gone.
func (b *bench) delete() {
	b.ready()
	b.limitEC2(true)
	b.count(phaseDelete, func(o *outcome, began time.Time) {
		b.empty()
		b.done(o, time.Since(began))
		b.Sleep(settle)
	})
}

// empty takes all ENIs away.
func (b *bench) empty() {
	wait, cancel := b.patience()
	defer cancel()
	b.Must(b.cluster.Empty(wait, b.enis))
}

// noLeak: there are as many ENIs as are wanted, and all are attached.
func (b *bench) noLeak() {
	enis := b.cluster.ENIs()
	attached := 0
	for _, e := range enis {
		if e.Attachment != nil && e.Attachment.Status == cloud.AttachmentAttached {
			attached++
		}
	}
	if len(enis) != b.total() || attached != b.total() {
		b.Fatalf("EC2 has %d ENIs, %d of them attached; want %d", len(enis), attached, b.total())
	}
}
