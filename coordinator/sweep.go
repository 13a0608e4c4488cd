package coordinator

import (
	"cmp"
	"context"
	"errors"
	"sort"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

// sweepGap keeps a stream of events from becoming a stream of describes.
const sweepGap = 500 * time.Millisecond

// sweeper collects left-over ENIs. One goroutine runs it; only the calls of a
// sweep run side by side.
type sweeper struct {
	caches    *caches
	queue     *queue    // what events ask to be described
	ec2       describer // what EC2 shows
	verifier  verifier  // what contradicts that
	tracks    tracks    // the ENIs that are left over
	executor  executor
	deletions deletions // the NodeENIs that wait for their ENIs to go
	pause     pause
	report    *reporter
	metrics   *Metrics
	times     timing
	heartbeat *program.Heartbeat
}

func newSweeper(cfg Config, caches *caches, queue *queue, changed *marks, found *contradictions) *sweeper {
	s := &sweeper{
		caches: caches, queue: queue, tracks: tracks{}, metrics: cfg.Metrics,
		report:    &reporter{cfg.Events, cfg.Log},
		heartbeat: program.NewHeartbeat("sweep loop", stepLimit),
		times:     timing{cfg.SweepInterval, cfg.ReleaseGrace, cfg.NodeGrace, cfg.OrphanAge, cfg.PollInterval},
	}
	s.ec2 = describer{
		ec2: cfg.EC2, cluster: cfg.Cluster, heartbeat: s.heartbeat,
		limit: tokenBucket{burst: describeBurst, perSecond: describesPerSecond},
	}
	s.verifier = verifier{
		caches: caches, ec2: &s.ec2, found: found, report: s.report, changed: changed,
		here: place{Region: cfg.Region}, shown: map[string]bool{},
	}
	s.executor = executor{ec2: cfg.EC2, cluster: cfg.Cluster, caches: caches, report: s.report, concurrency: cfg.Concurrency}
	s.deletions = deletions{caches: caches, found: found, report: s.report, heartbeat: s.heartbeat, times: s.times}
	return s
}

// run sweeps until ctx ends: at once, when woken, when something in progress
// asks for another look, and every interval all ENIs.
func (s *sweeper) run(ctx context.Context) {
	var nextFull time.Time // zero: now
	defer s.heartbeat.Rest()
	for ctx.Err() == nil {
		s.heartbeat.Beat()
		began := time.Now()
		full := !began.Before(nextFull)
		err := s.sweep(ctx, full)
		s.metrics.swept(began, full, err, s.tracks)
		s.metrics.blocked(s.verifier.found.counts(len(s.caches.nodeENIs.list())))
		s.pause.swept(err)
		switch {
		case full && err == nil:
			nextFull = began.Add(jitter(s.times.Sweep))
		case full, errors.Is(err, errWrongPlace): // what events name has its turn before the next try
			nextFull = s.pause.until.Add(time.Until(s.pause.until))
		}
		s.heartbeat.Rest()
		s.sleep(ctx, began, earliest(nextFull, earliest(s.tracks.next(), s.deletions.next(s.tracks))))
	}
}

// sleep waits until look, or until shortly after being woken, but never ends
// before EC2 has had its rest.
func (s *sweeper) sleep(ctx context.Context, began, look time.Time) {
	timer := time.NewTimer(time.Until(latest(s.pause.until, s.ec2.limit.next(), look)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-timer.C:
		return
	case <-s.queue.wake:
	}
	timer.Reset(time.Until(s.afterWake(began, time.Now())))
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	select { // what has come meanwhile is covered
	case <-s.queue.wake:
	default:
	}
}

// afterWake is when a sweep begins for which an event asks now.
func (s *sweeper) afterWake(began, now time.Time) time.Time {
	return latest(s.pause.until, s.ec2.limit.next(), now.Add(settleTime), began.Add(sweepGap))
}

// sweep looks once at what is due, or at every ENI of the cluster, and takes the
// steps that are due. After an error what EC2 has answered before counts, and the
// rest is asked for again.
func (s *sweeper) sweep(ctx context.Context, full bool) error {
	now := time.Now()
	s.caches.history.forget(now)
	// Before the describe: only what EC2 showed after a deletion was seen may
	// free a NodeENI of its finalizer.
	s.deletions.refresh(now)
	defer s.verifier.repeat(s.deletions.nodeENIs())
	if !s.verifier.region() {
		return errWrongPlace
	}

	named := s.queue.take()
	seen, err := s.describe(ctx, s.filters(full, named, now), full)
	if err != nil {
		s.queue.merge(named.without(seen.filters))
	}
	reported := reportedENIs(s.caches.states.list(), s.caches.nodes.get)
	if wrong := s.verifier.place(ctx, seen, reported); wrong != nil {
		if !errors.Is(wrong, errWrongPlace) {
			s.queue.merge(named) // nothing has been done about it
		}
		return cmp.Or(err, wrong)
	}

	jobs := s.decide(seen, full)
	s.heartbeat.Beat()
	s.settle(s.executor.execute(ctx, jobs))

	empty := s.deletions.empty(seen, time.Now())
	if unknown := s.verifier.reports(ctx, full && err == nil, empty, reported); unknown != nil {
		return cmp.Or(err, unknown)
	}
	s.deletions.release(ctx, empty, s.verifier.unseen(reported))
	return err
}

func (s *sweeper) describe(ctx context.Context, want filters, full bool) (listing, error) {
	seen, err := s.ec2.describe(ctx, want, full)
	if err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
		s.report.notListed(err, s.deletions.nodeENIs())
	}
	return seen, err
}

// filters are what a sweep asks EC2 for: what events have named, the ENIs whose next
// step is due, and NodeENIs that wait for nothing but EC2's word that no ENI of
// theirs is left. When a list of all ENIs takes no more calls, it is taken.
func (s *sweeper) filters(full bool, named filters, now time.Time) filters {
	if full || named.all {
		return filters{all: true}
	}
	var want filters
	want.merge(named)
	want.add(eni.ByID, s.tracks.due(now)...)
	want.add(eni.ByNodeENI, s.deletions.due(s.tracks, now)...)
	if calls := len(want.calls()); calls > 1 && calls >= s.ec2.pages && s.ec2.pages > 0 {
		return filters{all: true}
	}
	return want
}

// decide judges every ENI that EC2 has shown, and returns the steps that are due. What
// is known to be refused comes last: it keeps nothing else waiting.
func (s *sweeper) decide(seen listing, full bool) (jobs []job) {
	for _, e := range seen.enis {
		t := s.judge(e, full)
		if t == nil {
			continue
		}
		if act := t.plan(e, s.times, time.Now()); act != actWait {
			jobs = append(jobs, job{eni: e, verdict: t.Verdict, act: act})
		} else if e.Removal() == actWait { // for EC2, not for an agent or a person
			s.report.stuck(e, t, nil)
		}
	}
	s.tracks.forgetGone(seen)
	sort.SliceStable(jobs, func(i, j int) bool {
		return s.tracks[jobs[i].eni.ID].Refused < s.tracks[jobs[j].eni.ID].Refused
	})
	return jobs
}

// judge decides about an ENI and keeps its track; nil means that it stays.
func (s *sweeper) judge(e eni.ENI, full bool) *track {
	v := leftOver(s.ec2.cluster, e, s.caches.evidence(e))
	t := s.tracks[e.ID]
	if !v.collect() {
		if t != nil {
			s.report.info("ENI is wanted again", e)
			delete(s.tracks, e.ID)
		}
		return nil
	}
	if t == nil {
		t = &track{FoundAt: time.Now(), NodeENI: e.Owner.NodeENIUID}
		s.tracks[e.ID] = t
		s.metrics.foundLeftOver(v.Reason)
	}
	if t.Verdict != v {
		s.report.info("ENI is left over", e, "reason", v.Reason, "grace", v.Grace)
	}
	if t.observe(e, v, full, time.Now()) {
		s.metrics.undone()
		s.report.attachedAgain(e, t)
	}
	t.unselected(s.caches.history.lastUnselected(e.Owner.NodeENIUID, s.caches.nodeOf(e)))
	return t
}

// settle notes what became of the jobs, and tells the user.
func (s *sweeper) settle(results []result) {
	for _, r := range results {
		now := time.Now()
		t := s.tracks[r.eni.ID]
		s.metrics.stepped(r, t.FoundAt, now)
		s.report.settled(r, t)
		if t.settle(r, s.times, now); t.Deleted {
			s.deletions.eniDeleted(t.NodeENI, now)
		}
	}
	s.pause.note(results, s.report.log)
}
