package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
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
	result.Bench
	plan
	dir         string
	began       time.Time
	workers     workers
	cluster     *fleet.Cluster
	reports     *fleet.Reports
	coordinator *coordinator
	nodes       []string
	next        int          // number of the next node
	gets        atomic.Int64 // of NodeENIs, for their size
	figures     *figures
	ended       bool // as it should
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
func measure(t result.Bench, p plan, into *figures) {
	dir, err := os.MkdirTemp("", "eni-scale-")
	t.Must(err)
	b := &bench{Bench: t, plan: p, dir: dir, began: time.Now(), figures: into}
	b.Cleanup(b.stop)
	b.start()
	run := map[phase]func(){phaseLabel: b.label, phaseIdle: b.idle, phaseRoll: b.roll, phaseDelete: b.delete, phaseCold: b.cold}
	for _, p := range phases {
		if slices.Contains(b.phases, p) {
			b.say("%s ...", p)
			run[p]()
		}
	}
	b.ended = true
}

// stop ends everything, and says what can be known if it ends early.
func (b *bench) stop() {
	errs := []error{b.workers.stop()}
	if b.coordinator != nil {
		process := b.coordinator.process.Load()
		if process.Kill(); !b.ended {
			errs = append(errs, fmt.Errorf("the coordinator says:\n%s", process.Tail(20)))
		}
	}
	if b.cluster != nil {
		errs = append(errs, b.cluster.Stop())
	}
	if b.ended {
		errs = append(errs, os.RemoveAll(b.dir))
	} else {
		errs = append(errs, fmt.Errorf("logs are in %s", b.dir))
	}
	if err := errors.Join(errs...); err != nil {
		b.Errorf("%v", err)
	}
}

// say tells what is going on.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%7.1fs  %-7s %s\n", time.Since(b.began).Seconds(), b.size, fmt.Sprintf(format, args...))
}

// start starts everything up to agents without anything to do.
func (b *bench) start() {
	var err error
	b.workers, err = startWorkers(b.dir, b.size.nodes)
	b.Must(err)
	var limits []string // as control planes of that size have them
	if b.size.nodes >= 1000 {
		limits = []string{"--max-requests-inflight=1600", "--max-mutating-requests-inflight=800"}
	}
	b.cluster, err = fleet.StartCluster(b.Context(), fleet.ClusterConfig{Dir: b.dir, Hosts: b.workers, Timing: sim.RealisticTiming(), APIServerArgs: limits})
	b.Must(err)
	b.coordinator, err = startCoordinator(b.Context(), b.cluster)
	b.Must(err)
	b.reports, err = b.cluster.Follow(b.Context())
	b.Must(err)
	b.nodes = b.newNames(b.size.nodes)
	b.Must(b.cluster.AddNodes(b.Context(), b.nodes, nil))
	b.Must(b.cluster.WantENIs(b.Context(), b.enis))
	b.say("%d nodes are registered; their agents start", len(b.nodes))
	b.startAnswered(0)
	b.Sleep(settle / 2)
	b.figures.agents = b.ask(Order{Stats: true}).Stats
	b.say("the agents have started")
}

func (b *bench) newNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		b.next++
		names[i] = nodePrefix + strconv.Itoa(b.next)
	}
	return names
}

// startAgents gives nodes' agents their tokens and starts them, so many of a
// process side by side; 0 is all at once.
func (b *bench) startAgents(names []string, atOnce int, verifyEvery time.Duration) {
	nodes, err := b.cluster.Nodes(b.Context(), names)
	b.Must(err)
	servers := b.cluster.Servers()
	servers.AtOnce, servers.VerifyEvery = atOnce, verifyEvery
	b.Must(b.workers.start(servers, nodes))
}

// startAnswered starts all agents, and waits until each has heard from EC2.
func (b *bench) startAnswered(verifyEvery time.Duration) {
	b.startAgents(b.nodes, startAtOnce, verifyEvery)
	for b.ask(Order{Unready: true}).Unready > 0 {
		b.Sleep(pollEvery)
	}
}

// count carries out a phase, and counts until it has ended.
func (b *bench) count(p phase, do func(o *outcome, began time.Time)) *outcome {
	api, err := b.cluster.Requests(b.Context())
	b.Must(err)
	o := &outcome{}
	before, _ := b.coordinator.usage()
	began, calls, gets := time.Now(), b.cluster.Calls(), b.gets.Load()
	do(o, began)
	o.api, err = b.cluster.Requests(b.Context())
	b.Must(err)
	o.took, o.calls, o.api, o.gets = time.Since(began), b.cluster.Calls().Since(calls), o.api.Since(api), int(b.gets.Load()-gets)
	o.coordinator, o.restarts = b.coordinator.usage()
	o.coordinator.CPU -= before.CPU
	b.figures.outcomes[p] = o
	return o
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

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
