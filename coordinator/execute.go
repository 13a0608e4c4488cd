package coordinator

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// batchTime bounds the steps of one sweep, so that a sweep never acts for long
// on one describe; the next one goes on.
const batchTime = 3 * time.Second

// throttleTellEvery is the least time between two log lines about throttling:
// a deletion of many ENIs is throttled all the time.
const throttleTellEvery = time.Minute

// job is one step to carry out.
type job struct {
	eni     eni.ENI
	verdict verdict
	act     act
}

// outcome is what became of a job.
type outcome string

const (
	outcomeDone      outcome = "done"      // EC2 did it, or had done it before
	outcomeLater     outcome = "later"     // not yet, or nobody knows: the next describe tells
	outcomeThrottled outcome = "throttled" // too many calls
	outcomeRefused   outcome = "refused"   // until somebody changes something
	outcomeHeld      outcome = "held"      // EC2 refuses the same for other ENIs
	outcomePostponed outcome = "postponed" // not reached in this sweep
	outcomeDropped   outcome = "dropped"   // something changed since the decision
)

// result is a job carried out.
type result struct {
	job
	outcome outcome
	err     error // EC2's answer, unless done
}

// execute carries out jobs, a few of each act side by side: EC2 has a bucket for
// each action, and neither is to wait for the other.
func (s *sweeper) execute(ctx context.Context, jobs []job) []result {
	// What is known to be refused keeps nothing else waiting.
	slices.SortStableFunc(jobs, func(a, b job) int { return cmp.Compare(s.refused(a), s.refused(b)) })
	results := make([]result, len(jobs))
	var acts sync.WaitGroup
	for _, a := range []act{actDetach, actDelete, actRefuse} {
		acts.Go(func() { s.executeAll(ctx, a, jobs, results) })
	}
	acts.Wait()
	return results
}

// maxRefusals is how many refusals of an act a sweep takes: what IAM refuses for one
// ENI it refuses for all, and EC2's bucket is the account's.
const maxRefusals = 3

func (s *sweeper) refused(j job) int {
	if t := s.tracks[j.eni.ID]; t != nil {
		return t.Refused
	}
	return 0
}

// lane is where the calls of one act run.
type lane struct {
	slots     chan struct{} // as many as calls may run side by side
	deadline  time.Time
	throttled atomic.Bool // the rest waits for another sweep
	refusals  atomic.Int32
}

func (s *sweeper) newLane() *lane {
	return &lane{slots: make(chan struct{}, s.concurrency), deadline: time.Now().Add(batchTime)}
}

// shut is what becomes of a job when EC2 is to get no more calls; "" when it is.
func (l *lane) shut() outcome {
	switch {
	case l.throttled.Load():
		return outcomePostponed
	case l.refusals.Load() >= maxRefusals:
		return outcomeHeld
	}
	return ""
}

func (l *lane) late() bool { return !time.Now().Before(l.deadline) }

func (l *lane) note(o outcome) {
	switch o {
	case outcomeThrottled:
		l.throttled.Store(true)
	case outcomeRefused:
		l.refusals.Add(1)
	}
}

// executeAll carries out the jobs of one act. While some are at EC2, as many
// others are confirmed.
func (s *sweeper) executeAll(ctx context.Context, which act, jobs []job, results []result) {
	l := s.newLane()
	var group errgroup.Group
	group.SetLimit(2 * s.concurrency)
	for i, j := range jobs {
		if j.act != which {
			continue
		}
		group.Go(func() error {
			results[i] = s.carryOut(ctx, j, l)
			return nil
		})
	}
	_ = group.Wait() // jobs return results, no errors
}

// carryOut makes the one call of a job, if all still speaks for it.
func (s *sweeper) carryOut(ctx context.Context, j job, l *lane) result {
	if o := l.shut(); o != "" {
		return result{job: j, outcome: o}
	}
	if ctx.Err() != nil || l.late() {
		return result{job: j, outcome: outcomePostponed}
	}
	if !s.ours(j.eni) || !s.confirmed(ctx, j) {
		return result{job: j, outcome: outcomeDropped}
	}
	l.slots <- struct{}{}
	defer func() { <-l.slots }()
	if o := l.shut(); o != "" { // the deadline is for those that have not begun
		return result{job: j, outcome: o}
	}
	if !s.mayAct() {
		return result{job: j, outcome: outcomeDropped}
	}
	r := s.call(ctx, j)
	if j.act != actRefuse {
		l.note(r.outcome)
	}
	return r
}

// call makes the one call of a job.
func (s *sweeper) call(ctx context.Context, j job) result {
	ctx, cancel := context.WithTimeout(ctx, eni.CallTimeout)
	defer cancel()
	switch j.act {
	case actDetach:
		err := s.ec2.Detach(ctx, j.eni.Attachment.ID)
		return result{j, outcomeOf(err), err}
	case actDelete:
		err := s.ec2.Delete(ctx, j.eni.ID)
		return result{j, outcomeOf(err), err}
	}
	return result{job: j, outcome: outcomeRefused}
}

// confirmed says whether the API server gives the same reason as the caches did.
// The describe and the jobs before this one took a while, and caches can be stale.
// Any change is for the next sweep to judge.
func (s *sweeper) confirmed(ctx context.Context, j job) bool {
	ev, err := s.liveEvidence(ctx, j.eni)
	if err != nil {
		if ctx.Err() == nil {
			s.log.Warn("ENI stays until the API server confirms that it is left over", append(ownerAttrs(j.eni), "error", err)...)
			s.event(j.eni, kube.EventWarning, "NotConfirmed",
				"%s of node %s is left over (%s), but it stays until the API server confirms that, which it is asked again and again: %v. The coordinator needs the right to get nodeenis, nodeenistates and nodes",
				j.eni.ID, j.eni.Owner.Node, j.verdict.Reason.text(), err)
		}
		return false
	}
	if now := leftOver(s.cluster, j.eni, ev); now != j.verdict {
		s.log.Info("ENI is judged anew: by the API server it is no longer what it was", append(ownerAttrs(j.eni), "was", j.verdict.Reason, "is", now.Reason)...)
		return false
	}
	return true
}

// outcomeOf reads EC2's answer to a Detach or a Delete.
func outcomeOf(err error) outcome {
	switch {
	case err == nil, eni.IsNotFound(err), eni.IsAttachmentGone(err):
		return outcomeDone
	case eni.IsThrottled(err):
		return outcomeThrottled
	case eni.IsTerminal(err):
		return outcomeRefused
	default:
		return outcomeLater
	}
}

// keepPace slows down when EC2 throttled; a call that went through shows that
// the bucket is filling, so the pace starts anew.
func (s *sweeper) keepPace(results []result) {
	throttled, answered := false, len(results) == 0
	for _, r := range results {
		throttled = throttled || r.outcome == outcomeThrottled
		answered = answered || r.outcome == outcomeDone
	}
	if answered || !throttled {
		s.pace.reset()
	}
	if !throttled {
		return
	}
	s.slowDown()
	if time.Since(s.throttleTold) > throttleTellEvery {
		s.throttleTold = time.Now()
		s.log.Warn("EC2 throttles; going slower")
	}
}

// settleResult notes what became of a job, and when to look again, and tells the
// user.
func (s *sweeper) settleResult(r result) {
	now := time.Now()
	t := s.tracks[r.eni.ID]
	s.metrics.stepped(r, t.FoundAt, now)
	switch r.outcome {
	case outcomeDone:
		s.reportDone(r)
		t.Refused, t.NotBefore = 0, now.Add(s.times.Poll)
		if r.act == actDetach {
			t.Detached = r.eni.Attachment.ID
		}
		if r.act == actDelete {
			s.deleted(t, now)
			return
		}
	case outcomeRefused:
		s.reportRefused(r)
		t.NotBefore = now.Add(s.interval)
		if r.act != actRefuse {
			t.NotBefore = now.Add(refusedPace.delay(t.Refused))
		}
		t.Refused++
	case outcomeHeld:
		t.NotBefore = now.Add(refusedPace.delay(0))
	case outcomeLater:
		s.log.Info("EC2 cannot yet "+string(r.act)+" the ENI; it is tried again", append(ownerAttrs(r.eni), "error", eni.Advice(actionOf(r.act), r.err))...)
		s.reportStuck(r.eni, t, r.err)
		t.NotBefore = now.Add(t.patience(s.times.Poll, now))
	case outcomeDropped:
		t.NotBefore = now.Add(t.patience(s.times.Poll, now))
	default: // throttled or postponed: as soon as EC2 has had its rest
		t.NotBefore = now
	}
	t.Due = t.NotBefore
}

// deleted notes that EC2 has taken a Delete. Only a NodeENI that waits for it needs
// to be shown that the ENI is gone, which EC2 does at once as a rule.
func (s *sweeper) deleted(t *track, now time.Time) {
	t.Deleted, t.Due = true, time.Time{}
	if waits := s.leaving[t.NodeENI]; waits != nil {
		waits.ask = now
	}
}
