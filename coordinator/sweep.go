package coordinator

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

const (
	// settle is how long a sweep waits for more events after the first: a
	// NodeENI's selector change unselects many nodes at once.
	settle = 200 * time.Millisecond
	// sweepGap keeps a stream of events from becoming a stream of describes.
	sweepGap = 500 * time.Millisecond
)

// sweeper collects left-over ENIs. One goroutine runs it; only the calls of a
// sweep run side by side.
type sweeper struct {
	cluster      string
	ec2          *eni.Client
	kube         *kube.Client
	caches       *caches
	events       *kube.Recorder
	log          *slog.Logger
	metrics      *Metrics
	times        timing
	interval     time.Duration // between full sweeps
	concurrency  int
	mayAct       func() bool // false once the lease has run out
	concerns     *concerns
	doubts       *doubts
	mark         func(nodeENI string) // has its status written
	stale        func()               // the caches show what the API server no longer has
	heartbeat    *program.Heartbeat
	tracks       map[string]*track // by ENI id
	leaving      map[types.UID]*leaving
	pages        int // that a list of all ENIs had last
	describes    tokenBucket
	pace         backoff   // towards an EC2 that throttles or fails
	quietUntil   time.Time // no call before
	throttleTold time.Time // when the log said last that EC2 throttles
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
		s.metrics.blocked(s.doubts.counts(len(s.caches.allNodeENIs())))
		if err != nil {
			s.slowDown()
		}
		switch {
		case full && err == nil:
			nextFull = began.Add(jitter(s.interval))
		case full, errors.Is(err, errWrongPlace): // what events name has its turn before the next try
			nextFull = s.quietUntil.Add(time.Until(s.quietUntil))
		}
		s.heartbeat.Rest()
		s.sleep(ctx, began, earliest(s.nextLook(), nextFull))
	}
}

// sleep waits until look, or until shortly after being woken, but never ends
// before EC2 has had its rest.
func (s *sweeper) sleep(ctx context.Context, began, look time.Time) {
	timer := time.NewTimer(time.Until(latest(s.quietUntil, s.describes.next(), look)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-timer.C:
		return
	case <-s.concerns.wake:
	}
	timer.Reset(time.Until(s.afterWake(began, time.Now())))
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	select { // what has come meanwhile is covered
	case <-s.concerns.wake:
	default:
	}
}

// afterWake is when a sweep begins for which an event asks now.
func (s *sweeper) afterWake(began, now time.Time) time.Time {
	return latest(s.quietUntil, s.describes.next(), now.Add(settle), began.Add(sweepGap))
}

// slowDown leaves EC2 alone for a while, longer each time in a row.
func (s *sweeper) slowDown() {
	s.quietUntil = time.Now().Add(s.pace.next())
}

// sweep looks once at what is due, or at every ENI of the cluster, and takes the
// steps that are due. After an error what EC2 has answered before counts, and the
// rest is asked for again.
func (s *sweeper) sweep(ctx context.Context, full bool) error {
	now := time.Now()
	if full && s.cachesAreAhead(ctx) {
		s.stale()
		return errStale
	}
	s.caches.history.forget(now)
	s.doubts.forgetGone(s.caches.nodeENIByUID)
	// Before the describe: only what EC2 showed after a deletion was seen may
	// free a NodeENI of its finalizer.
	deleting := s.noteDeleting(now)
	defer s.tellBlocked(deleting)
	if !s.checkRegion() {
		return errWrongPlace
	}
	named := s.concerns.take()
	seen, err := s.look(ctx, s.scope(full, named, now))
	if err != nil {
		s.describeFailed(ctx, err, deleting)
		s.concerns.merge(named.without(seen.scope))
	}
	if seen.all && !full {
		s.describes.spend(s.pages, now)
	}
	claims := claimsOf(s.caches.allStates(), s.caches.node)
	if doubt := s.checkPlace(ctx, seen, claims); doubt != nil {
		s.concerns.merge(named) // nothing has been done about it
		return cmp.Or(err, doubt)
	}
	if s.doubts.of("") != (contradiction{}) {
		return cmp.Or(err, errWrongPlace)
	}
	jobs, left := s.judgeAll(seen, full)
	s.heartbeat.Beat()
	results := s.execute(ctx, jobs)
	for _, r := range results {
		s.settleResult(r)
	}
	s.keepPace(results)
	waiting := s.withoutENIs(deleting, seen, left)
	if doubt := s.checkClaims(ctx, full && err == nil, waiting, claims); doubt != nil {
		return cmp.Or(err, doubt)
	}
	s.freeNodeENIs(ctx, deleting, waiting, claims)
	return err
}

// cachesAreAhead is asked with each full sweep. An API server that does not answer is
// no reason not to sweep: it is asked again before anything is deleted.
func (s *sweeper) cachesAreAhead(ctx context.Context) bool {
	ahead, err := s.caches.ahead(ctx, s.kube)
	if err != nil && ctx.Err() == nil {
		s.log.Warn("the API server does not say how new its state is", "error", err)
	}
	return ahead
}

// errWrongPlace is the error of a sweep that has done nothing. Why is told elsewhere.
var errWrongPlace = errors.New("EC2 is asked in the wrong place")

// scope is what a sweep asks EC2 for: what events have named, the ENIs whose next
// step is due, and NodeENIs that wait for nothing but EC2's word that no ENI of
// theirs is left. When a list of all ENIs takes no more calls, it is taken.
func (s *sweeper) scope(full bool, named scope, now time.Time) scope {
	if full || named.all {
		return scope{all: true}
	}
	var want scope
	want.merge(named)
	want.add(eni.ByID, s.dueENIs(now)...)
	for uid := range s.leaving {
		if due := s.dueNodeENI(uid); !due.IsZero() && !now.Before(due) {
			want.add(eni.ByNodeENI, string(uid))
		}
	}
	if calls := len(want.questions()); calls > 1 && calls >= s.pages && s.pages > 0 {
		return scope{all: true}
	}
	return want
}

// dueENIs are those that are to be looked at now, as many as one question takes:
// each step of a batch takes EC2 long enough. Those that were found first come first.
func (s *sweeper) dueENIs(now time.Time) []string {
	var ids []string
	for id, t := range s.tracks {
		if !t.Due.IsZero() && !now.Before(t.Due) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b string) int {
		return cmp.Or(s.tracks[a].FoundAt.Compare(s.tracks[b].FoundAt), cmp.Compare(a, b))
	})
	return ids[:min(len(ids), eni.SelectorLimit)]
}

// nextLook is when EC2 is to be asked next without an event; zero means with the
// next full sweep.
func (s *sweeper) nextLook() (look time.Time) {
	for _, t := range s.tracks {
		look = earliest(look, t.Due)
	}
	for uid := range s.leaving {
		look = earliest(look, s.dueNodeENI(uid))
	}
	return look
}

// judgeAll decides about every ENI that EC2 has shown. It returns the steps that
// are due, and how many ENIs each NodeENI has left.
func (s *sweeper) judgeAll(seen sight, full bool) (jobs []job, left map[types.UID]int) {
	left = map[types.UID]int{}
	exist := map[string]bool{}
	for _, e := range seen.enis {
		if !s.ours(e) {
			continue
		}
		left[e.Owner.NodeENIUID]++
		exist[e.ID] = true
		t := s.judge(e, full)
		if t == nil {
			continue
		}
		next := nextStep(e, t, s.times, time.Now())
		t.Due = next.Until
		if next.Act != actWait {
			jobs = append(jobs, job{eni: e, verdict: t.Verdict, act: next.Act})
		} else if e.Removal() == actWait { // for EC2, not for an agent or a person
			s.reportStuck(e, t, nil)
		}
	}
	maps.DeleteFunc(s.tracks, func(id string, _ *track) bool { return seen.covers(eni.ByID, id) && !exist[id] })
	return jobs, left
}

// ours says whether the ENI bears this cluster's tag. EC2's filter said so too,
// but in a filter * and ? match anything.
func (s *sweeper) ours(e eni.ENI) bool {
	return s.cluster != "" && e.Owner.Cluster == s.cluster
}

// judge decides about an ENI and keeps its track; nil means that it stays.
func (s *sweeper) judge(e eni.ENI, full bool) *track {
	v := leftOver(s.cluster, e, s.caches.evidence(e))
	t := s.tracks[e.ID]
	if !v.collect() {
		if t != nil {
			s.log.Info("ENI is wanted again", ownerAttrs(e)...)
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
		s.log.Info("ENI is left over", append(ownerAttrs(e), "reason", v.Reason, "grace", v.Grace)...)
	}
	if t.observe(e, v, full, time.Now()) {
		s.reportUndone(e, t)
	}
	if v.Reason == reasonNotSelected || v.Reason == reasonNodeDeleted {
		t.ProvenSince = latest(t.ProvenSince, s.caches.history.lastUnselected(e.Owner.NodeENIUID, s.caches.nodeOf(e)))
	}
	return t
}

func ownerAttrs(e eni.ENI) []any {
	return []any{"eni", e.ID, "node", e.Owner.Node, "instance", e.Owner.InstanceID(), "nodeENI", e.Owner.NodeENI, "subnet", e.SubnetID}
}
