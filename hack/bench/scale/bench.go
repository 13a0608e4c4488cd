package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/fleet"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
)

const (
	pollEvery = 200 * time.Millisecond
	// settle is how long after a phase the last reports and the status of the
	// NodeENIs, which is written every 5 s, may take.
	settle = 12 * time.Second
	// startAtOnce is how many agents of a process connect side by side where
	// their start is not what is measured.
	startAtOnce = 20
)

// bench is a fleet under measurement.
type bench struct {
	plan
	dir         string
	began       time.Time
	workers     *workers
	cluster     *fleet.Cluster
	reports     *fleet.Reports
	coordinator *coordinator
	nodes       []string
	next        int          // number of the next node
	gets        atomic.Int64 // of NodeENIs, for their size
	figures     *figures
}

// measure carries out a plan.
func measure(ctx context.Context, p plan) (*figures, error) {
	dir, err := os.MkdirTemp("", "eni-scale-")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b := &bench{
		plan: p, dir: dir, began: time.Now(),
		workers: newWorkers(dir), figures: &figures{size: p.size},
	}
	err = b.play(ctx)
	if err != nil && b.coordinator != nil {
		err = fmt.Errorf("%w\nThe coordinator says:\n%s\nLogs are in %s", err, b.coordinator.tail(), dir)
	}
	cancel()
	err = errors.Join(err, b.stop())
	if err == nil {
		err = os.RemoveAll(dir)
	}
	return b.figures, err
}

func (b *bench) play(ctx context.Context) error {
	if err := b.start(ctx); err != nil {
		return err
	}
	for _, step := range []struct {
		phase
		run func(context.Context) error
	}{
		{phaseLabel, b.label},
		{phaseIdle, b.idle},
		{phaseRoll, b.roll},
		{phaseDelete, b.delete},
		{phaseCold, b.cold},
	} {
		if !b.has(step.phase) {
			continue
		}
		b.say("%s ...", step.phase)
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.phase, err)
		}
	}
	return nil
}

// say tells what is going on.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%7.1fs  %-7s %s\n", time.Since(b.began).Seconds(), b.size, fmt.Sprintf(format, args...))
}

// start starts everything up to agents without anything to do.
func (b *bench) start(ctx context.Context) error {
	if err := b.workers.grow(b.size.nodes); err != nil {
		return err
	}
	var err error
	b.cluster, err = fleet.StartCluster(ctx, fleet.ClusterConfig{
		Dir: b.dir, Hosts: b.workers, Timing: sim.RealisticTiming(), APIServerArgs: apiServerArgs(b.size.nodes),
	})
	if err != nil {
		return err
	}
	if b.coordinator, err = startCoordinator(ctx, b.cluster); err != nil {
		return err
	}
	if b.reports, err = b.cluster.Follow(ctx); err != nil {
		return err
	}
	b.nodes = b.newNames(b.size.nodes)
	if err := b.cluster.AddNodes(ctx, b.nodes, nil); err != nil {
		return err
	}
	if err := b.cluster.WantENIs(ctx, b.enis); err != nil {
		return err
	}
	b.say("%d nodes are registered; their agents start", len(b.nodes))
	if err := b.startAgents(ctx, b.nodes, startAtOnce, 0); err != nil {
		return err
	}
	if err := b.workers.awaitAnswered(ctx); err != nil {
		return err
	}
	if err := sleep(ctx, settle/2); err != nil {
		return err
	}
	if b.figures.Agents, err = b.workers.stats(); err != nil {
		return err
	}
	b.say("the agents have started")
	return nil
}

// apiServerArgs are limits as control planes of that size have them.
func apiServerArgs(nodes int) []string {
	if nodes < 1000 {
		return nil
	}
	return []string{"--max-requests-inflight=1600", "--max-mutating-requests-inflight=800"}
}

func (b *bench) newNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		b.next++
		names[i] = fmt.Sprintf("node-%d", b.next)
	}
	return names
}

// startAgents gives nodes' agents their tokens and starts them, so many of a
// process side by side; 0 is all at once.
func (b *bench) startAgents(ctx context.Context, names []string, atOnce int, verifyEvery time.Duration) error {
	nodes, err := b.cluster.Nodes(ctx, names)
	if err != nil {
		return err
	}
	servers := b.cluster.Servers()
	servers.AtOnce, servers.VerifyEvery = atOnce, verifyEvery
	return b.workers.start(servers, nodes)
}

// stop ends everything.
func (b *bench) stop() error {
	errs := []error{b.workers.stop()}
	if b.coordinator != nil {
		b.coordinator.stop()
	}
	if b.cluster != nil {
		errs = append(errs, b.cluster.Stop())
	}
	return errors.Join(errs...)
}

// limitEC2 turns EC2's limits on, with full buckets, or off.
func (b *bench) limitEC2(on bool) { b.cluster.Cloud.SetThrottle(on) }

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
