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

// minSweepGap is the least time between the beginnings of two sweeps that events ask for.
const minSweepGap = 500 * time.Millisecond

// sweeper collects left-over ENIs. One goroutine runs it; only the calls of a
// sweep run side by side.
type sweeper struct {
	caches    *caches
	queue     *describeQueue // what events ask for
	ec2       describer      // what EC2 shows
	verifier  verifier       // what contradicts that
	tracks    tracks         // the ENIs that are left over
	executor  executor
	deletions deletions // the NodeENIs that wait until their ENIs are gone
	backoff   ec2Backoff
	recorder  *recorder
	metrics   *Metrics
	times     timing
	heartbeat *program.Heartbeat
}

func newSweeper(cfg Config, caches *caches, queue *describeQueue, statuses *statusQueue, found *contradictions) *sweeper {
	s := &sweeper{
		caches: caches, queue: queue, tracks: tracks{}, metrics: cfg.Metrics,
		recorder:  &recorder{cfg.Events, cfg.Log},
		heartbeat: program.NewHeartbeat("sweep loop", stepLimit),
		times:     timing{cfg.SweepInterval, cfg.ReleaseGrace, cfg.NodeGrace, cfg.OrphanAge, cfg.PollInterval},
	}
	s.ec2 = describer{
		ec2: cfg.EC2, cluster: cfg.Cluster, heartbeat: s.heartbeat,
		limit: tokenBucket{burst: describeBurst, perSecond: describesPerSecond},
	}
	s.verifier = verifier{
		caches: caches, ec2: &s.ec2, contradictions: found, recorder: s.recorder, statuses: statuses,
		here: location{Region: cfg.Region}, listed: map[string]bool{},
	}
	s.executor = executor{ec2: cfg.EC2, cluster: cfg.Cluster, caches: caches, recorder: s.recorder, concurrency: cfg.Concurrency}
	s.deletions = deletions{caches: caches, contradictions: found, recorder: s.recorder, heartbeat: s.heartbeat, times: s.times}
	return s
}

// run sweeps until ctx ends: at once, after events, when an ENI or a NodeENI is due, and
// every interval through all ENIs.
func (s *sweeper) run(ctx context.Context) {
	var nextFull time.Time // zero: now
	defer s.heartbeat.Rest()
	for ctx.Err() == nil {
		s.heartbeat.Beat()
		began := time.Now()
		full := !began.Before(nextFull)
		err := s.sweep(ctx, full)
		s.metrics.swept(began, full, err, s.tracks)
		s.metrics.blocked(s.verifier.contradictions.counts(len(s.caches.nodeENIs.list())))
		s.backoff.swept(err)
		switch {
		case full && err == nil:
			nextFull = began.Add(jitter(s.times.Sweep))
		case full, errors.Is(err, errWrongLocation): // a sweep for events comes first
			nextFull = s.backoff.until.Add(time.Until(s.backoff.until))
		}
		s.heartbeat.Rest()
		s.sleep(ctx, began, earliest(nextFull, earliest(s.tracks.next(), s.deletions.next(s.tracks))))
	}
}

// sleep waits until due, or until shortly after an event, but at least until EC2 may be
// asked again.
func (s *sweeper) sleep(ctx context.Context, began, due time.Time) {
	timer := time.NewTimer(time.Until(latest(s.backoff.until, s.ec2.limit.next(), due)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-timer.C:
		return
	case <-s.queue.wake:
	}
	timer.Reset(time.Until(s.afterEvent(began, time.Now())))
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	select { // the next sweep takes what has come meanwhile, too
	case <-s.queue.wake:
	default:
	}
}

// afterEvent is when a sweep begins for which an event asks now.
func (s *sweeper) afterEvent(began, now time.Time) time.Time {
	return latest(s.backoff.until, s.ec2.limit.next(), now.Add(settleTime), began.Add(minSweepGap))
}

// sweep has EC2 asked for what is due, or for every ENI of the cluster, and takes the steps
// that are due. After an error it goes on with what EC2 has answered, and the next sweep asks
// for the rest.
func (s *sweeper) sweep(ctx context.Context, full bool) error {
	now := time.Now()
	s.caches.history.prune(now)
	// Before the describe: a finalizer is removed because of what EC2 shows after the
	// deletion of the NodeENI was seen.
	s.deletions.refresh(now)
	defer s.verifier.repeat(s.deletions.nodeENIs())
	if !s.verifier.region() {
		return errWrongLocation
	}

	queued := s.queue.take()
	seen, err := s.describe(ctx, s.filters(full, queued, now), full)
	if err != nil {
		s.queue.merge(queued.without(seen.filters))
	}
	reported := reportedENIs(s.caches.states.list(), s.caches.nodes.get)
	if wrong := s.verifier.account(ctx, seen, reported); wrong != nil {
		if !errors.Is(wrong, errWrongLocation) {
			s.queue.merge(queued) // nothing has been done about it
		}
		return cmp.Or(err, wrong)
	}

	jobs := s.plan(seen, full)
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
		s.recorder.notListed(err, s.deletions.nodeENIs())
	}
	return seen, err
}

// filters are what a sweep asks EC2 for: what events have queued, the ENIs whose next step
// is due, and the NodeENIs without a left-over ENI that wait for EC2 to show none. If all
// ENIs take no more calls, it asks for all.
func (s *sweeper) filters(full bool, queued filters, now time.Time) filters {
	if full || queued.all {
		return filters{all: true}
	}
	var want filters
	want.merge(queued)
	want.add(eni.ByID, s.tracks.due(now)...)
	want.add(eni.ByNodeENI, s.deletions.due(s.tracks, now)...)
	if calls := len(want.calls()); calls > 1 && calls >= s.ec2.pages && s.ec2.pages > 0 {
		return filters{all: true}
	}
	return want
}

// plan decides about every ENI that EC2 has shown, and returns the steps that are due. Those
// that EC2 has refused before come last, and keep no other one waiting.
func (s *sweeper) plan(seen listing, full bool) (jobs []job) {
	for _, e := range seen.enis {
		t := s.update(e, full)
		if t == nil {
			continue
		}
		if act := t.plan(e, s.times, time.Now()); act != actWait {
			jobs = append(jobs, job{eni: e, decision: t.Decision, act: act})
		} else if e.Removal() == actWait { // for EC2, not for its grace period
			s.recorder.stuck(e, t, nil)
		}
	}
	s.tracks.forgetGone(seen)
	sort.SliceStable(jobs, func(i, j int) bool {
		return s.tracks[jobs[i].eni.ID].Refused < s.tracks[jobs[j].eni.ID].Refused
	})
	return jobs
}

// update decides about an ENI, and returns its track; nil if it is not left over.
func (s *sweeper) update(e eni.ENI, full bool) *track {
	d := leftOver(s.ec2.cluster, e, s.caches.evidence(e))
	t := s.tracks[e.ID]
	if !d.collect() {
		if t != nil {
			s.recorder.info("ENI is no longer a leftover", e)
			delete(s.tracks, e.ID)
		}
		return nil
	}
	if t == nil {
		t = &track{FoundAt: time.Now(), NodeENI: e.Owner.NodeENIUID}
		s.tracks[e.ID] = t
		s.metrics.foundLeftOver(d.Reason)
	}
	if t.Decision != d {
		s.recorder.info("found a leftover ENI", e, "reason", d.Reason, "gracePeriod", d.GracePeriod)
	}
	if t.observe(e, d, full, time.Now()) {
		s.metrics.reattached()
		s.recorder.attachedAgain(e, t)
	}
	t.unselected(s.caches.history.lastUnselected(e.Owner.NodeENIUID, s.caches.nodeOf(e)))
	return t
}

// settle notes the results of the jobs, and writes logs and Events.
func (s *sweeper) settle(results []result) {
	for _, r := range results {
		now := time.Now()
		t := s.tracks[r.eni.ID]
		s.metrics.stepped(r, t.FoundAt, now)
		s.recorder.settled(r, t)
		if t.settle(r, s.times, now); t.Deleted {
			s.deletions.eniDeleted(t.NodeENI, now)
		}
	}
	s.backoff.note(results, s.recorder.log)
}
