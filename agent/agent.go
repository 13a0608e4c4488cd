// Package agent gives the node it runs on the ENIs that NodeENIs ask for.
//
// One goroutine owns all state and runs passes: look at what is wanted and at
// what is there, plan, start the calls that the plan asks for, configure links,
// report. Calls to EC2 and to the API server run beside it and bring their
// results back as functions that the loop runs, so that a link that appears in
// the middle of a slow call is configured at once.
package agent

import (
	"cmp"
	"context"
	"errors"
	"net"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// Agent runs the loop. All its fields belong to the goroutine of Run.
type Agent struct {
	Config
	results chan func() // what calls bring back

	// What is wanted.
	snapshot Snapshot
	started  bool // there has been a snapshot
	catalog  catalog
	desired  desired
	// Of the NodeENIs in the snapshot: their generation, and whether they
	// select this node.
	seen      map[types.UID]int64
	selecting map[types.UID]bool
	losses    losses // selected the node a moment ago

	// What is there.
	enis    []tracked
	known   map[string]bool      // every ENI that ever was this instance's
	deleted map[string]time.Time // by this agent; describes may lag
	taken   map[int32]string
	certain bool
	links   map[string]linkState
	limit   int
	// MACs of the interfaces that IMDS shows; and, while the instance is full, the
	// links that are here, by MAC.
	interfaces    []string
	attachedLinks map[string]bool
	records       map[slot]record

	// What is under way, by key, and what failed.
	running   map[retry.Key]call
	lookingUp map[retry.Key]bool
	failures  retry.Failures
	counting  bool // how many nodes wait, see turn.go

	// What IMDS is asked beside.
	hints indexHints
	peek  peek

	// When EC2 is asked next for this instance's ENIs.
	observing   bool
	nextObserve time.Time
	described   time.Time // when EC2 last told of them
	reckoning   time.Time // the verification after the last create
	doubts      int       // observations in a row that left something open
	moves       int       // and those because a link has vanished

	arrivals arrivals

	unconfirmed unconfirmed

	// The report.
	saved   v1alpha1.NodeENIStateStatus
	current v1alpha1.NodeENIStateStatus
	saving  bool

	// What the Node shows.
	standings map[types.UID]standing
	patching  bool

	// What was told last, and is not told again.
	problemTold Problem
	nodeMissing bool   // told
	nodeSeen    bool   // the Node has been here, and was this instance
	sweepTold   string // error of a sweep

	readiness readiness
}

// New makes an agent.
func New(cfg Config) *Agent {
	a := &Agent{
		Config:        cfg,
		results:       make(chan func(), 16),
		catalog:       newCatalog(),
		seen:          map[types.UID]int64{},
		known:         map[string]bool{},
		deleted:       map[string]time.Time{},
		taken:         map[int32]string{},
		links:         map[string]linkState{},
		attachedLinks: map[string]bool{},
		records:       map[slot]record{},
		running:       map[retry.Key]call{},
		lookingUp:     map[retry.Key]bool{},
		arrivals:      newArrivals(),
		unconfirmed:   unconfirmed{taken: map[slot]string{}},
	}
	a.VerifyEvery = cmp.Or(cfg.VerifyEvery, verifyEvery)
	a.readiness.set(a.unready())
	return a
}

// Run works until ctx ends. It then leaves everything in place, unless the node
// no longer matches: then the links are taken down and reported as released.
func (a *Agent) Run(ctx context.Context) error {
	hostChanged, err := a.Links.Watch(ctx)
	if err != nil {
		return err
	}
	if err := a.load(ctx); err != nil {
		return err
	}
	macs := []net.HardwareAddr{a.Identity.MAC}
	for _, e := range a.enis {
		macs = append(macs, hardwareAddr(e.MAC))
	}
	if err := a.Links.Know(macs...); err != nil {
		return err
	}
	// Calls under way when the agent is told to stop still get their answer:
	// what they did is then known and reported.
	calls, stopCalls := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCalls()

	go a.watchMetadata(ctx)
	var host hostPace
	due := time.Now() // the timer
	timer := time.NewTimer(0)
	defer timer.Stop()
	beat, stopBeat := a.beat()
	defer stopBeat()
	for {
		why := causeTimer
		select {
		case <-ctx.Done():
			a.leave(calls)
			return nil
		case <-a.Source.Changed():
			why = causeWanted
		case apply := <-a.results:
			why = causeResult
			apply()
		case _, open := <-hostChanged:
			if !open && ctx.Err() == nil {
				return errors.New("the kernel no longer tells of changes of links, addresses, rules and routes; the agent has to start again")
			}
			if !open {
				hostChanged = nil
				continue
			}
			if wait := host.wait(time.Now(), a.hostInterval()); wait > 0 {
				if sooner := time.Now().Add(wait); sooner.Before(due) {
					due = sooner
					timer.Reset(wait)
				}
				continue
			}
			why = causeHost
		case <-beat:
			a.Beat()
			continue
		case <-timer.C:
			if host.waiting {
				why = causeHost
			}
		}
		now := time.Now()
		a.Metrics.passed(why)
		a.pass(calls, now)
		host.passed(time.Now(), why)
		a.readiness.set(a.unready())
		due = a.nextPass(now)
		timer.Reset(time.Until(due))
	}
}

// beat starts the loop's heartbeat. Without one it never ticks.
func (a *Agent) beat() (ticks <-chan time.Time, stop func()) {
	if a.Beat == nil {
		return nil, func() {}
	}
	a.Beat()
	ticker := time.NewTicker(a.BeatEvery)
	return ticker.C, ticker.Stop
}

// pass looks, plans, acts and reports once.
func (a *Agent) pass(ctx context.Context, now time.Time) {
	snapshot, ok := a.Source.Snapshot()
	if !ok && !a.started {
		return
	}
	if ok {
		a.notice(snapshot, now)
		a.started = true
	}
	if a.tellNodeProblem() {
		a.reportProblem(ctx, now)
		return
	}
	before := a.desired.slots()
	a.resolve()
	a.dropRecords(now)
	a.lookForUnwanted(before, now)
	a.doubtReturning()
	a.lookForRoom()
	a.confirm(ctx, now)
	a.forgetFailures(now)
	p := next(a.view(now))
	a.arrivals.ask(a.selecting, a.seen, now)
	a.arrivals.follow(a.desired.wants, p.assigned, now)
	if len(p.decide) > 0 {
		a.decide(p.decide, now)
	}
	a.configure(p, now)
	a.findTurns(ctx, now)
	a.lookUp(ctx, now)
	a.observe(ctx, now)
	if !a.observing {
		for _, c := range p.calls {
			a.start(ctx, c, now)
		}
	}
	a.report(ctx, p, now)
	a.showOnNode(ctx, ok, now)
	a.peek.expect(a.enis, a.Identity.InstanceID)
	if a.Emptied != nil && a.empty() {
		a.Emptied()
	}
}

// resolve works out what is wanted. When a name stands for other groups than
// before, what failed with those may be tried again.
func (a *Agent) resolve() {
	before := a.desired.wants
	a.desired = desire(a.snapshot.NodeENIs, a.snapshot.Labels, a.Identity.Zone, a.catalog, before)
	a.desired.told = a.snapshot.told()
	for _, lost := range a.losses {
		a.desired.linger(lost.nodeENI, before)
	}
	for i := range a.desired.wants {
		w := &a.desired.wants[i]
		w.mtu = cmp.Or(w.mtu, a.DefaultMTU)
	}
	a.catalog.keep(a.desired.named)
	a.failures.Changed(regrouped(before, a.desired.wants))
}

// view is the state in the form that a plan takes.
func (a *Agent) view(now time.Time) view {
	attaching, creating := map[string]int32{}, map[slot]bool{}
	for _, c := range a.running {
		switch c.verb {
		case attach:
			attaching[c.eni] = c.index
		case create:
			creating[c.slot] = true
		}
	}
	return view{
		cluster: a.Cluster, node: a.Node, instanceARN: a.Identity.InstanceARN(), instanceID: a.Identity.InstanceID,
		collects: a.Collector != nil,
		desired:  a.desired, enis: a.enis, certain: a.certain,
		limit: a.limit, records: a.records, saved: savedRecords(a.saved),
		taken: a.taken, attaching: attaching, creating: creating, blocked: a.failures.Blocked(now), refused: a.failures.Refused(),
		unconfirmed: a.unconfirmed.taken,
	}
}

// notice takes a new snapshot in.
func (a *Agent) notice(s Snapshot, now time.Time) {
	lost := a.losses.next(a.snapshot, s, a.selecting, !a.nodeSeen, a.ReleaseDelay, now)
	seen, selecting := map[types.UID]int64{}, map[types.UID]bool{}
	for _, n := range s.NodeENIs {
		seen[n.UID] = n.Generation
		_, lingers := lost[n.UID]
		_, lingered := a.losses[n.UID]
		selecting[n.UID] = lingers || s.NodeExists && n.Selects(s.Labels)
		switch {
		case !a.nodeSeen:
		case lingers && !lingered:
			a.Log.Info("a NodeENI no longer selects this node; its ENIs are released unless it does again", "nodeENI", n.Name, "until", lost[n.UID].until.UTC().Format(time.RFC3339))
		case lingered && !lingers && selecting[n.UID]:
			a.Log.Info("the NodeENI selects this node again; its ENIs have stayed as they were", "nodeENI", n.Name)
		}
	}
	if changed := changedNodeENIs(a.seen, seen, a.selecting, selecting); len(changed) > 0 {
		a.retryChanged(changed, s.NodeENIs)
	}
	a.seen, a.selecting, a.losses = seen, selecting, lost
	a.snapshot = s
	if !s.NodeExists {
		a.snapshot.NodeENIs = nil
	}
	if s.ReportLost {
		// It may have been edited, and then it is written again also when there is
		// nothing to report.
		a.saved = v1alpha1.NodeENIStateStatus{InstanceID: a.saved.InstanceID}
	}
}

// decide makes the records of ENIs to be created. The next report holds them,
// and only then EC2 is asked. What it said of an earlier decision does not count.
func (a *Agent) decide(slots []slot, now time.Time) {
	for _, s := range slots {
		rec := a.records[s]
		rec.createdAt = now.UTC().Truncate(time.Second)
		for _, w := range a.desired.wants {
			if w.slot == s {
				rec.nodeENI = w.nodeENI
			}
		}
		a.records[s] = rec
		a.failures.Reset(call{verb: create, slot: s}.key())
	}
}

// dropRecords forgets decisions about NodeENIs that no longer exist.
func (a *Agent) dropRecords(now time.Time) {
	for s := range a.records {
		if _, ok := a.seen[s.uid]; !ok && a.snapshot.NodeExists && !a.desired.leaves(s.uid) && !a.returns(s, now) {
			delete(a.records, s)
		}
	}
}

// doubtReturning asks EC2 again before an ENI that was given up is used again:
// the coordinator may be deleting it at this moment. All else goes on.
func (a *Agent) doubtReturning() {
	assigned := a.assigned()
	for i := range a.enis {
		e := &a.enis[i]
		if a.certain && e.released && assigned[e.ID] {
			e.returning, e.released = true, false
			a.distrust(e.ID)
			a.doubt()
		}
	}
}

// distrust forgets that this agent knows better than a describe.
func (a *Agent) distrust(id string) {
	for i := range a.enis {
		if a.enis[i].ID == id {
			a.enis[i].changed, a.enis[i].attached = time.Time{}, time.Time{}
		}
	}
}

// hardwareAddr parses EC2's MAC; nil when there is none.
func hardwareAddr(mac string) net.HardwareAddr {
	addr, err := net.ParseMAC(mac)
	if err != nil {
		return nil
	}
	return addr
}
