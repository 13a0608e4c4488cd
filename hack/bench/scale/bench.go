package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/fleet"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
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

// figures is what was found at one size.
type figures struct {
	size
	outcomes       map[phase]*outcome // of the phases that were not left out
	agents         fleet.Stats        // before there is anything to do
	agentsReady    fleet.Stats        // with all ENIs
	largestState   int                // bytes
	largestNodeENI atomic.Int64       // bytes
}

// outcome is what a phase has come to.
type outcome struct {
	done  time.Duration   // until everything was as it should be
	times []time.Duration // each node's until it was ready, in order
	begun time.Duration   // until the last node was labelled, or the last agent started
	left  int             // ENIs more than wanted, in the end

	took        time.Duration // for which was counted
	calls       fleet.Calls
	api         fleet.APIServer
	gets        int           // of NodeENIs, by this program
	coordinator fleet.Process // CPU of the phase; memory at most since the start
	restarts    int           // of the coordinator, since the start
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
		workers: newWorkers(dir), figures: &figures{size: p.size, outcomes: map[phase]*outcome{}},
	}
	err = b.play(ctx)
	if err != nil && b.coordinator != nil {
		err = fmt.Errorf("%w\nThe coordinator says:\n%s\nLogs are in %s", err, b.coordinator.process.Load().Tail(20), dir)
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
	run := map[phase]func(context.Context) error{
		phaseLabel: b.label, phaseIdle: b.idle, phaseRoll: b.roll, phaseDelete: b.delete, phaseCold: b.cold,
	}
	for _, p := range phases {
		if !slices.Contains(b.phases, p) {
			continue
		}
		b.say("%s ...", p)
		if err := run[p](ctx); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	return nil
}

// say tells what is going on.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%7.1fs  %-7s %s\n", time.Since(b.began).Seconds(), b.size, fmt.Sprintf(format, args...))
}

// start starts everything up to agents without anything to do.
func (b *bench) start(ctx context.Context) (err error) {
	if err := b.workers.grow(b.size.nodes); err != nil {
		return err
	}
	var limits []string // as control planes of that size have them
	if b.size.nodes >= 1000 {
		limits = []string{"--max-requests-inflight=1600", "--max-mutating-requests-inflight=800"}
	}
	b.cluster, err = fleet.StartCluster(ctx, fleet.ClusterConfig{Dir: b.dir, Hosts: b.workers, Timing: sim.RealisticTiming(), APIServerArgs: limits})
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
	if err := b.startAnswered(ctx, 0); err != nil {
		return err
	}
	if err := sleep(ctx, settle/2); err != nil {
		return err
	}
	b.say("the agents have started")
	b.figures.agents, err = b.workers.stats()
	return err
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

// startAnswered starts all agents, and waits until each has heard from EC2.
func (b *bench) startAnswered(ctx context.Context, verifyEvery time.Duration) error {
	if err := b.startAgents(ctx, b.nodes, startAtOnce, verifyEvery); err != nil {
		return err
	}
	return b.workers.awaitAnswered(ctx)
}

// count carries out a phase, and counts until it has ended.
func (b *bench) count(ctx context.Context, p phase, do func(o *outcome, began time.Time) error) (*outcome, error) {
	api, err := b.cluster.Requests(ctx)
	if err != nil {
		return nil, err
	}
	o := &outcome{}
	before, _ := b.coordinator.usage()
	began, calls, gets := time.Now(), b.cluster.Calls(), b.gets.Load()
	if err := do(o, began); err != nil {
		return nil, err
	}
	if o.api, err = b.cluster.Requests(ctx); err != nil {
		return nil, err
	}
	o.took, o.calls, o.api, o.gets = time.Since(began), b.cluster.Calls().Since(calls), o.api.Since(api), int(b.gets.Load()-gets)
	o.coordinator, o.restarts = b.coordinator.usage()
	o.coordinator.CPU -= before.CPU
	b.figures.outcomes[p] = o
	return o, nil
}

// watchSize keeps the size of the largest NodeENI up to date, until ctx ends.
func (b *bench) watchSize(ctx context.Context) {
	for {
		for _, name := range fleet.NodeENIs(b.enis) {
			b.gets.Add(1)
			object, err := b.cluster.Client.API.Get().Resource(kube.NodeENIs).Name(name).Do(ctx).Raw()
			if bytes := int64(len(object)); err == nil && bytes > b.figures.largestNodeENI.Load() {
				b.figures.largestNodeENI.Store(bytes)
			}
		}
		if sleep(ctx, 5*time.Second) != nil {
			return
		}
	}
}

// stop ends everything.
func (b *bench) stop() error {
	errs := []error{b.workers.stop()}
	if b.coordinator != nil {
		b.coordinator.process.Load().Kill()
	}
	if b.cluster != nil {
		errs = append(errs, b.cluster.Stop())
	}
	return errors.Join(errs...)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
