package coordinator

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

const (
	// batchTime bounds the steps of one sweep, so that a sweep never acts for long
	// on one describe; the next one goes on.
	batchTime = 3 * time.Second
	// maxRefusals is how many refusals of an act a sweep takes: what IAM refuses for one
	// ENI it refuses for all, and EC2's bucket is the account's.
	maxRefusals = 3
	// throttleLogEvery is the least time between two log lines about throttling:
	// a deletion of many ENIs is throttled all the time.
	throttleLogEvery = time.Minute
)

// executor makes the Detach and Delete calls of a sweep.
type executor struct {
	ec2         *eni.Client
	cluster     string
	caches      *caches
	report      *reporter
	concurrency int
	mayAct      func() bool // false once the Lease has run out
}

// execute carries out jobs, a few of each act side by side: EC2 has a bucket for
// each action, and neither is to wait for the other.
func (x *executor) execute(ctx context.Context, jobs []job) []result {
	results := make([]result, len(jobs))
	var acts sync.WaitGroup
	for _, a := range []act{actDetach, actDelete, actRefuse} {
		acts.Go(func() { x.executeAll(ctx, a, jobs, results) })
	}
	acts.Wait()
	return results
}

// executeAll carries out the jobs of one act. While some are at EC2, as many
// others are confirmed.
func (x *executor) executeAll(ctx context.Context, which act, jobs []job, results []result) {
	b := x.newBatch()
	var group errgroup.Group
	group.SetLimit(2 * x.concurrency)
	for i, j := range jobs {
		if j.act != which {
			continue
		}
		group.Go(func() error {
			results[i] = x.carryOut(ctx, j, b)
			return nil
		})
	}
	_ = group.Wait() // jobs return results, no errors
}

// batch is the calls of one act in a sweep.
type batch struct {
	slots     chan struct{} // as many as calls may run side by side
	deadline  time.Time
	throttled atomic.Bool // the rest waits for another sweep
	refusals  atomic.Int32
}

func (x *executor) newBatch() *batch {
	return &batch{slots: make(chan struct{}, x.concurrency), deadline: time.Now().Add(batchTime)}
}

// over is what becomes of a job when EC2 is to get no more calls; "" when it is.
func (b *batch) over() outcome {
	switch {
	case b.throttled.Load():
		return outcomePostponed
	case b.refusals.Load() >= maxRefusals:
		return outcomeHeld
	}
	return ""
}

func (b *batch) note(o outcome) {
	switch o {
	case outcomeThrottled:
		b.throttled.Store(true)
	case outcomeRefused:
		b.refusals.Add(1)
	}
}

// carryOut makes the one call of a job, if its reason still holds.
func (x *executor) carryOut(ctx context.Context, j job, b *batch) result {
	if o := b.over(); o != "" {
		return result{job: j, outcome: o}
	}
	if ctx.Err() != nil || !time.Now().Before(b.deadline) {
		return result{job: j, outcome: outcomePostponed}
	}
	if !x.confirmed(ctx, j) {
		return result{job: j, outcome: outcomeDropped}
	}
	b.slots <- struct{}{}
	defer func() { <-b.slots }()
	if o := b.over(); o != "" { // the deadline is for those that have not begun
		return result{job: j, outcome: o}
	}
	if !x.mayAct() {
		return result{job: j, outcome: outcomeDropped}
	}
	r := x.call(ctx, j)
	if j.act != actRefuse {
		b.note(r.outcome)
	}
	return r
}

// call makes the one call of a job.
func (x *executor) call(ctx context.Context, j job) result {
	ctx, cancel := context.WithTimeout(ctx, eni.CallTimeout)
	defer cancel()
	switch j.act {
	case actDetach:
		err := x.ec2.Detach(ctx, j.eni.Attachment.ID)
		return result{j, outcomeOf(err), err}
	case actDelete:
		err := x.ec2.Delete(ctx, j.eni.ID)
		return result{j, outcomeOf(err), err}
	}
	return result{job: j, outcome: outcomeRefused}
}

// confirmed says whether the API server gives the same reason as the caches did.
// The describe and the jobs before this one took a while, and caches can be stale.
// Any change is for the next sweep to judge.
func (x *executor) confirmed(ctx context.Context, j job) bool {
	ev, err := x.caches.liveEvidence(ctx, j.eni)
	if err != nil {
		if ctx.Err() == nil {
			x.report.notConfirmed(j, err)
		}
		return false
	}
	now := leftOver(x.cluster, j.eni, ev)
	if now != j.verdict {
		x.report.info("ENI is judged again: by the API server it is no longer what it was", j.eni, "was", j.verdict.Reason, "is", now.Reason)
	}
	return now == j.verdict
}

// pause leaves an EC2 alone that throttles or fails.
type pause struct {
	backoff   backoff
	until     time.Time // no call before
	throttled bool      // in the last sweep, a Detach or a Delete
	logged    time.Time // when throttling was logged last
}

// extend leaves EC2 alone for a while, longer each time in a row.
func (p *pause) extend() { p.until = time.Now().Add(p.backoff.next()) }

// note slows down when EC2 throttles. A call that goes through shows that EC2's bucket
// fills again, so the waits begin with the shortest.
func (p *pause) note(results []result, log *slog.Logger) {
	p.throttled = false
	for _, r := range results {
		p.throttled = p.throttled || r.outcome == outcomeThrottled
		if r.outcome == outcomeDone {
			p.backoff = backoff{}
		}
	}
	if !p.throttled {
		return
	}
	p.extend()
	if time.Since(p.logged) > throttleLogEvery {
		p.logged = time.Now()
		log.Warn("EC2 throttles; going slower")
	}
}

// swept notes how a sweep ended: in a row of failures each pause is longer.
func (p *pause) swept(err error) {
	switch {
	case err != nil:
		p.extend()
	case !p.throttled:
		p.backoff = backoff{}
	}
}
