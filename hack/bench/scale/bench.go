package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
	"github.com/aws-multi-eni/aws-multi-eni/internal/fleet"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

const (
	// settle is how long after a phase the last reports and the status of the
	// NodeENIs, which is written every 5 s, may take.
	settle = 12 * time.Second
	// startAtOnce is how many agents of a process connect side by side, unmeasured.
	startAtOnce = 20
	// idleHour stands for an hour.
	idleHour = time.Minute
)

// coordinatorProgram is where make puts it.
const coordinatorProgram = "bin/eni-coordinator"

// bench is a fleet under measurement.
type bench struct {
	*result.Bench
	*figures
	workers workers
	cluster *fleet.Cluster
	leader  *fleet.Coordinator
	nodes   []string
	next    int // number of the next node
}

// figures is what was found at one size.
type figures struct {
	size
	outcomes    map[phase]*outcome // of the phases that were not left out
	agents      fleet.Stats        // before there is anything to do
	agentsReady fleet.Stats        // with all ENIs
	reports     *fleet.Reports
	coordinator fleet.Process // since its first start
	restarts    int           // of the coordinator
}

// outcome is what a phase has come to.
type outcome struct {
	done  time.Duration   // until everything was as it should be
	times []time.Duration // each node's until it was ready
	begun time.Duration   // until the last node was labelled, or the last agent started
	left  int             // ENIs more than wanted, in the end

	took  time.Duration // for which was counted
	calls fleet.Calls
	api   fleet.APIServer
	cpu   time.Duration // of the coordinator
}

func measure(t *result.Bench, p plan) *figures {
	b := &bench{Bench: t, figures: &figures{size: p.size, outcomes: map[phase]*outcome{}}}
	b.start()
	run := map[phase]func(){phaseLabel: b.label, phaseIdle: b.idle, phaseRoll: b.roll, phaseDelete: b.delete, phaseCold: b.cold}
	for _, phase := range p.phases {
		b.Say("%v nodes: %s ...", b.size, phase)
		run[phase]()
	}
	return b.figures
}

// start starts everything up to agents without anything to do.
func (b *bench) start() {
	dir := b.TempDir()
	var err error
	b.workers, err = startWorkers(dir, b.size.nodes)
	b.Must(err)
	var limits []string // as control planes of that size have them
	if b.size.nodes >= 1000 {
		limits = []string{"--max-requests-inflight=1600", "--max-mutating-requests-inflight=800"}
	}
	b.cluster, err = fleet.StartCluster(b.Context(), fleet.ClusterConfig{Dir: dir, Hosts: b.workers, Timing: sim.RealisticTiming(), APIServerArgs: limits})
	b.Must(err)
	b.Cleanup(func() { b.Check(b.cluster.Stop()) })
	b.leader, err = b.cluster.KeepCoordinator(b.Context(), coordinatorProgram)
	b.Must(err)
	b.Cleanup(b.leader.Stop)
	b.Cleanup(func() { b.Check(b.workers.stop()) })
	b.reports, err = b.cluster.Follow(b.Context())
	b.Must(err)
	b.nodes = b.newNames(b.size.nodes)
	b.Must(b.cluster.AddNodes(b.Context(), b.nodes, nil))
	b.Must(b.cluster.WantENIs(b.Context(), b.enis))
	b.Say("%v nodes are registered; their agents start", b.size)
	b.startAnswered(0)
	b.agents = b.stats()
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
	servers := b.cluster.Servers()
	servers.AtOnce, servers.VerifyEvery = atOnce, verifyEvery
	b.Must(b.workers.each(names, func(part []string) (Order, error) {
		nodes, err := b.cluster.Nodes(b.Context(), part)
		return Order{Config: servers, Start: nodes}, err
	}))
}

// startAnswered starts all agents, and waits until each has heard from EC2.
func (b *bench) startAnswered(verifyEvery time.Duration) {
	b.startAgents(b.nodes, startAtOnce, verifyEvery)
	for b.stats().Unready > 0 {
		b.Sleep(time.Second)
	}
	b.Sleep(settle)
}

// endAgents ends nodes' agents as SIGTERM does.
func (b *bench) endAgents(names []string) {
	b.Must(b.workers.each(names, func(part []string) (Order, error) { return Order{Stop: part}, nil }))
}

// stats are what all agents cost together.
func (b *bench) stats() (sum fleet.Stats) {
	for _, child := range b.workers {
		stats, err := child.do(Order{Stats: true})
		b.Must(err)
		sum = sum.Add(stats)
	}
	return sum
}

// patience bounds a phase: a few times what its buckets allow.
func (b *bench) patience() context.Context {
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute+4*time.Duration(b.bound()*float64(time.Second)))
	b.Cleanup(cancel)
	return ctx
}

// count carries out a phase, and counts until it has ended.
func (b *bench) count(p phase, do func(o *outcome, began time.Time)) *outcome {
	api, err := b.cluster.Requests(b.Context())
	b.Must(err)
	o := &outcome{}
	before, _ := b.leader.Usage()
	began, calls := time.Now(), b.cluster.Calls()
	do(o, began)
	o.api, err = b.cluster.Requests(b.Context())
	b.Must(err)
	o.took, o.calls, o.api = time.Since(began), b.cluster.Calls().Since(calls), o.api.Since(api)
	b.coordinator, b.restarts = b.leader.Usage()
	o.cpu = b.coordinator.CPU - before.CPU
	b.outcomes[p] = o
	b.Say("%v nodes: %s took %.1f s, by the buckets %.1f s", b.size, p, o.done.Seconds(), b.bound())
	return o
}

// label measures from the label to Ready.
func (b *bench) label() {
	b.cluster.Cloud.SetThrottle(true)
	b.arrive(phaseLabel, func() { b.Must(b.cluster.Label(b.Context(), b.nodes)) })
	b.agentsReady = b.stats()
}

// cold measures the same for agents that start where everything waits for them.
func (b *bench) cold() {
	b.endAgents(b.nodes)
	b.Must(b.cluster.WantENIs(b.Context(), b.enis))
	b.cluster.Cloud.SetThrottle(true)
	b.arrive(phaseCold, func() { b.startAgents(b.nodes, 0, 0) })
}

// arrive does what makes agents want ENIs, and measures until all are ready.
func (b *bench) arrive(p phase, begin func()) {
	wait := b.patience()
	b.count(p, func(o *outcome, began time.Time) {
		b.reports.Begin(b.enis)
		begin()
		o.begun = time.Since(began)
		b.Must(b.reports.Await(wait, b.nodes))
		o.times = b.reports.Ready()
		o.done = o.times[len(o.times)-1]
		b.Sleep(settle)
	})
	b.noLeak()
}

// idle measures an hour without events. The agents' own interval of an hour is a
// minute here: nothing else that an agent does by itself concerns EC2, or writes.
func (b *bench) idle() {
	b.cluster.Cloud.SetThrottle(false)
	b.endAgents(b.nodes)
	b.startAnswered(idleHour)
	b.count(phaseIdle, func(o *outcome, _ time.Time) {
		b.Sleep(idleHour)
		o.done = idleHour
	})
	b.noLeak()
}

// roll replaces all nodes, a tenth at a time: new ones come, and when their ENIs
// are ready, as many old ones go.
func (b *bench) roll() {
	b.cluster.Cloud.SetThrottle(true)
	wait := b.patience()
	o := b.count(phaseRoll, func(o *outcome, began time.Time) {
		b.reports.Begin(b.enis)
		for old := b.nodes; len(old) > 0; {
			tenth := old[:min(len(old), max(1, b.size.nodes/10))]
			names := b.newNames(len(tenth))
			b.Must(b.cluster.AddNodes(wait, names, fleet.Labels()))
			b.startAgents(names, startAtOnce, 0)
			b.Must(b.reports.Await(wait, names))
			b.endAgents(tenth)
			b.Must(b.cluster.Remove(wait, tenth))
			old, b.nodes = old[len(tenth):], append(b.nodes[len(tenth):], names...)
		}
		o.done = time.Since(began)
	})
	b.Sleep(settle) // the last instances end, and with them their ENIs
	o.left = len(b.cluster.ENIs()) - b.total()
	b.noLeak()
}

// delete measures until every ENI and every NodeENI is gone.
func (b *bench) delete() {
	b.cluster.Cloud.SetThrottle(true)
	wait := b.patience()
	b.count(phaseDelete, func(o *outcome, began time.Time) {
		b.Must(b.cluster.Empty(wait, b.enis))
		o.done = time.Since(began)
		b.Sleep(settle)
	})
}

// noLeak: there are as many ENIs as are wanted, and all are attached.
func (b *bench) noLeak() {
	enis := b.cluster.ENIs()
	attached := slices.DeleteFunc(slices.Clone(enis), func(e cloud.Interface) bool {
		return e.Attachment == nil || e.Attachment.Status != cloud.AttachmentAttached
	})
	if len(enis) != b.total() || len(attached) != b.total() {
		b.Must(fmt.Errorf("EC2 has %d ENIs, %d of them attached; want %d", len(enis), len(attached), b.total()))
	}
}
