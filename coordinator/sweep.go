package coordinator

import (
	"context"
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
	cluster       string
	ec2           *eni.Client
	kube          *kube.Client
	caches        *caches
	events        *kube.Recorder
	log           *slog.Logger
	metrics       *Metrics
	times         timing
	interval      time.Duration // between full sweeps
	concurrency   int
	mayAct        func() bool // false once the lease has run out
	wake          signal
	heartbeat     *program.Heartbeat
	tracks        map[string]*track       // by ENI id
	deletingSince map[types.UID]time.Time // NodeENIs, as first noticed
	pace          backoff                 // towards an EC2 that throttles or fails
	quietUntil    time.Time               // no call before
	throttleTold  time.Time               // when the log said last that EC2 throttles
}

// run sweeps until ctx ends: at once, when woken, when something in progress
// asks for another look, and every interval.
func (s *sweeper) run(ctx context.Context) {
	var nextFull time.Time // zero: now
	defer s.heartbeat.Rest()
	for ctx.Err() == nil {
		s.heartbeat.Beat()
		began := time.Now()
		full := !began.Before(nextFull)
		look, err := s.sweep(ctx, full)
		s.metrics.swept(began, err, s.tracks)
		if err != nil {
			s.slowDown()
			look = s.quietUntil
		} else {
			if full {
				nextFull = began.Add(jitter(s.interval))
			}
			look = earliest(look, nextFull)
		}
		s.heartbeat.Rest()
		s.sleep(ctx, began, look)
	}
}

// sleep waits until look, or until shortly after being woken, but never ends
// before EC2 has had its rest.
func (s *sweeper) sleep(ctx context.Context, began, look time.Time) {
	timer := time.NewTimer(max(time.Until(s.quietUntil), time.Until(look)))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-timer.C:
		return
	case <-s.wake:
	}
	timer.Reset(time.Until(s.afterWake(began, time.Now())))
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	select { // what has come meanwhile is covered
	case <-s.wake:
	default:
	}
}

// afterWake is when a sweep begins for which an event asks now.
func (s *sweeper) afterWake(began, now time.Time) time.Time {
	return slices.MaxFunc([]time.Time{s.quietUntil, now.Add(settle), began.Add(sweepGap)}, time.Time.Compare)
}

// slowDown leaves EC2 alone for a while, longer each time in a row.
func (s *sweeper) slowDown() {
	s.quietUntil = time.Now().Add(s.pace.next())
}

// sweep looks at every ENI of the cluster once and takes the steps that are
// due. It returns when the next look is due; zero means with the next full one.
func (s *sweeper) sweep(ctx context.Context, full bool) (look time.Time, err error) {
	now := time.Now()
	s.caches.deleted.forgetOld(now)
	// Before the describe: only what EC2 showed after a deletion was seen may
	// free a NodeENI of its finalizer.
	deleting := s.noteDeleting(now)

	enis, err := s.ec2.OfCluster(ctx, s.cluster)
	if err != nil {
		s.describeFailed(ctx, err, deleting)
		return time.Time{}, err
	}

	left := map[types.UID]int{}
	exist := map[string]bool{}
	var jobs []job
	for _, e := range enis {
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
		if next.Act == actWait {
			if e.Removal() == actWait { // for EC2, not for an agent or a person
				s.reportStuck(e, t)
			}
			look = earliest(look, next.Until)
			continue
		}
		jobs = append(jobs, job{eni: e, verdict: t.Verdict, act: next.Act})
	}
	maps.DeleteFunc(s.tracks, func(id string, _ *track) bool { return !exist[id] })

	s.heartbeat.Beat()
	results := s.execute(ctx, jobs)
	for _, r := range results {
		look = earliest(look, s.settleResult(r))
	}
	s.keepPace(results)
	return earliest(look, s.freeNodeENIs(ctx, deleting, left)), nil
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
		t = &track{FoundAt: time.Now()}
		s.tracks[e.ID] = t
		s.metrics.foundLeftOver(v.Reason)
	}
	if t.Verdict != v {
		s.log.Info("ENI is left over", append(ownerAttrs(e), "reason", v.Reason, "grace", v.Grace)...)
	}
	t.observe(e, v, full, time.Now())
	return t
}

// earliest of two times; zero is no time.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func ownerAttrs(e eni.ENI) []any {
	return []any{"eni", e.ID, "node", e.Owner.Node, "instance", e.Owner.InstanceID(), "nodeENI", e.Owner.NodeENI, "subnet", e.SubnetID}
}
