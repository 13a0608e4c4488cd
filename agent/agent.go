// Package agent gives the node it runs on the ENIs that NodeENIs ask for.
//
// One goroutine owns all state and reconciles: look at what is desired and at what is
// observed, plan, configure links, start the calls that the plan asks for, report. Calls
// to EC2 and to the API server run beside it and bring their results back as functions
// that the loop runs, so that a link that appears in the middle of a slow call is
// configured at once.
package agent

import (
	"cmp"
	"context"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
)

// shared is what all parts of an agent work with.
type shared struct {
	Config
	calls    calls          // what is under way
	failures retry.Failures // what has failed, and when it may be tried again
}

// Agent runs the loop. Each of its parts is changed by its own methods only, and all of
// them belong to the goroutine of Run.
type Agent struct {
	*shared
	selection     selection             // the NodeENIs, and which of them select this node
	catalog       catalog               // what the names in them stand for
	desired       desired               // the ENIs that follow from both
	inventory     *inventory.Inventory  // the ENIs that there are
	intents       intents               // decisions to create one
	host          host                  // the ENIs' links
	capacity      capacity              // what tells that an ENI leaves a full instance
	metadata      metadata              // what IMDS is asked beside
	confirmations confirmations         // ENIs that others have taken
	reporter      reporter              // the NodeENIState
	pods          *pods                 // what pods are offered
	onDemand      *onDemand             // what claims are given
	node          nodeStatus            // what the Node shows
	provisioning  provisioning          // how long ENIs take, for the metrics
	ready         atomic.Pointer[error] // what /readyz answers
}

// New makes an agent.
func New(cfg Config) *Agent {
	cfg.VerifyEvery = cmp.Or(cfg.VerifyEvery, verifyEvery)
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(prometheus.NewRegistry())
	}
	s := &shared{Config: cfg, calls: newCalls()}
	offers := &pods{shared: s, files: map[string]podFile{}}
	claims := newOnDemand(s, offers)
	a := &Agent{
		shared:        s,
		selection:     selection{shared: s},
		catalog:       catalog{},
		inventory:     inventory.New(cfg.Cluster, cfg.Identity, cfg.Collector != nil, cfg.VerifyEvery, cfg.Log),
		intents:       intents{},
		host:          host{shared: s, links: map[string]linkState{}, pods: offers, claims: claims},
		confirmations: confirmations{shared: s, taken: map[inventory.Slot]string{}},
		reporter:      reporter{shared: s},
		pods:          offers,
		onDemand:      claims,
		node:          nodeStatus{shared: s},
		provisioning:  provisioning{},
	}
	a.noteReady()
	return a
}

// Run works until ctx ends. It then leaves everything in place, unless the node
// no longer matches: then the links are taken down and reported as released.
func (a *Agent) Run(ctx context.Context) error {
	hostChanged, err := a.start(ctx)
	if err != nil {
		return err
	}
	// Calls under way when the agent is told to stop still get their answer:
	// what they did is then known and reported.
	calls, stopCalls := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCalls()

	go a.watchMetadata(ctx)
	var pace hostPace
	due := time.Now() // the timer
	timer := time.NewTimer(0)
	defer timer.Stop()
	heartbeat, stopHeartbeat := a.heartbeat()
	defer stopHeartbeat()
	podFiles, stopPodFiles := a.pods.checks()
	defer stopPodFiles()
	claimFiles, stopClaimFiles := a.onDemand.files.checks()
	defer stopClaimFiles()
	for {
		why := causeTimer
		select {
		case <-ctx.Done():
			a.shutDown(calls)
			return nil
		case <-a.Source.Changed():
			why = causeWanted
		case apply := <-a.calls.results:
			why = causeResult
			apply()
		case _, open := <-hostChanged:
			if !open && ctx.Err() == nil {
				return errors.New("the kernel no longer reports changes of links, addresses, rules, and routes; restart the agent")
			}
			if !open {
				hostChanged = nil
				continue
			}
			if at := pace.changed(a.hostInterval()); at.Before(due) {
				due = at
				timer.Reset(time.Until(due))
			}
			continue
		case <-heartbeat:
			a.Beat()
			continue
		case <-podFiles:
			a.pods.check(calls, time.Now())
			continue
		case <-claimFiles:
			if !a.onDemand.files.changed() {
				continue
			}
			why = causeHost
		case <-timer.C:
			if pace.waiting {
				why = causeHost
			}
		}
		now := time.Now()
		a.Metrics.reconciled(why)
		a.reconcile(calls, now)
		pace.reconciled(time.Now(), why)
		a.noteReady()
		due = a.next(now)
		timer.Reset(time.Until(due))
	}
}

// start takes in what there is before the first reconcile.
func (a *Agent) start(ctx context.Context) (hostChanged <-chan struct{}, err error) {
	if hostChanged, err = a.Links.Watch(ctx); err != nil {
		return nil, err
	}
	if err := a.restore(ctx, time.Now()); err != nil {
		return nil, err
	}
	a.pods.restore()
	macs := []net.HardwareAddr{a.Identity.MAC}
	for _, e := range a.inventory.All() {
		macs = append(macs, hardwareAddr(e.MAC))
	}
	return hostChanged, a.Links.Know(macs...)
}

// heartbeat starts the loop's heartbeat. Without one it never ticks.
func (a *Agent) heartbeat() (ticks <-chan time.Time, stop func()) {
	if a.Beat == nil {
		return nil, func() {}
	}
	a.Beat()
	ticker := time.NewTicker(a.BeatEvery)
	return ticker.C, ticker.Stop
}

// reconcile looks, plans, acts and reports once.
func (a *Agent) reconcile(ctx context.Context, now time.Time) {
	complete := a.setDesired(now)
	if !a.selection.read {
		return
	}
	if a.selection.logNodeProblem(); a.selection.idle() {
		a.reporter.reportProblem(ctx, a.selection.problem(), now)
		a.inventory.Schedule(inventory.Open{}, now)
		return
	}
	a.pods.withdraw(&a.desired, now)
	a.capacity.look(&a.failures, a.inventory.All(), a.linkMayBeHere)
	a.forgetFailures(now)
	a.confirmations.confirm(ctx, a.desired, now)

	v := a.view(now)
	a.intents.expire(v, a.selection)
	p := next(v)
	a.inventory.Assign(p.assigned, p.release)
	a.intents.record(p.decide, a.desired, &a.failures, now)
	a.provisioning.follow(a.selection, a.desired, p.assigned, now)

	a.noteLinks(a.applyLinks(p, now), now)

	a.findTurns(ctx, now)
	a.lookUp(ctx, now)
	a.inventory.Schedule(p.open, now)
	if !a.describe(ctx, now) {
		a.startCalls(ctx, p.calls, now)
	}

	a.publish(ctx, p, complete, now)
	a.metadata.poll.expect(a.inventory.All(), a.Identity.InstanceID)
	if a.Emptied != nil && a.empty() {
		a.Emptied()
	}
}

// publish reports, and makes the Node show what is reported, and /metrics the links.
func (a *Agent) publish(ctx context.Context, p plan, complete bool, now time.Time) {
	a.publishLinks(p)
	a.reporter.report(ctx, a.view(now), p, a.host.links, now)
	entries := a.reporter.current.ENIs
	a.provisioning.ready(entries, func(v provision) { a.Metrics.provisioned(v, time.Now()) })
	a.pods.publish(ctx, &a.desired, entries, a.inventory.Synced(), now)
	a.onDemand.publish(ctx, offering{a.view(now), p, entries, a.Identity.Zone}, a.selection.snapshot, now)
	a.node.offer(a.pods.networks)
	a.node.take(a.desired, entries, a.inventory.Synced(), now)
	a.node.update(ctx, a.selection.snapshot, complete, now)
}

// view is the state in the form that a plan takes.
func (a *Agent) view(now time.Time) view {
	return view{
		now: now, cluster: a.Cluster, node: a.Node, instanceARN: a.Identity.InstanceARN(), instanceID: a.Identity.InstanceID,
		collects: a.Collector != nil, pods: a.Pods != nil,
		desired: a.desired, enis: a.inventory.All(), synced: a.inventory.Synced(),
		indexes: a.inventory.Indexes, intents: a.intents, saved: intentsIn(a.reporter.saved),
		attaching: a.calls.attaching(), creating: a.calls.creating(),
		failures: a.failures, unconfirmed: a.confirmations.taken,
	}
}

// next is when something is due without anything happening: the earliest of what is
// desired, the inventory, the failures, the links and the Node have to say.
func (a *Agent) next(now time.Time) time.Time {
	at := now.Add(a.VerifyEvery)
	if !a.selection.read || a.selection.idle() {
		// A reconcile would do nothing before the Source has news, but save why.
		failed, _ := a.failures.Get(saveKey)
		return earliest(now, at, []time.Time{failed.Until})
	}
	at = earliest(now, at, a.selection.grace.times(), a.failures.Times(), a.host.times(now), a.node.times(), a.onDemand.times(), []time.Time{a.metadata.holdsUntil})
	if failed, _ := a.failures.Get(describeKey); !a.calls.busy(describeKey) && !a.calls.changing() && !failed.AwaitsTurn() {
		due, _ := a.inventory.Resync.Next()
		if failed.Until.After(due) {
			due = failed.Until
		}
		if due.Before(at) {
			at = due
		}
	}
	// Never a busy loop: what is due and cannot start yet starts with the
	// result that it waits for.
	return slices.MaxFunc([]time.Time{at, now.Add(50 * time.Millisecond)}, time.Time.Compare)
}

// earliest is the first of the times that are still to come.
func earliest(now, at time.Time, others ...[]time.Time) time.Time {
	for _, other := range slices.Concat(others...) {
		if other.After(now) && other.Before(at) {
			at = other
		}
	}
	return at
}

// hardwareAddr parses EC2's MAC; nil when there is none.
func hardwareAddr(mac string) net.HardwareAddr {
	addr, _ := net.ParseMAC(mac)
	return addr
}
