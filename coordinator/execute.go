package coordinator

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

const (
	// batchTimeout bounds the time in which jobs of one sweep begin, because what EC2 showed
	// before them gets old. The next sweep goes on.
	batchTimeout = 3 * time.Second
	// maxRefusals is the number of refusals of an act after which a sweep skips the rest:
	// what IAM refuses for one ENI, it refuses for all, and the calls count against the
	// account's rate limit.
	maxRefusals = 3
)

// executor makes the Detach and Delete calls of a sweep.
type executor struct {
	ec2         *eni.Client
	cluster     string
	caches      *caches
	recorder    *recorder
	concurrency int
	holdsLease  func() bool // false once the Lease has run out
}

// execute carries out jobs, a few of each act side by side: EC2 limits the rate of each
// action by itself, so that neither waits for the other.
func (x *executor) execute(ctx context.Context, jobs []job) []result {
	results := make([]result, len(jobs))
	var acts sync.WaitGroup
	for _, a := range []act{actDetach, actDelete, actRefuse} {
		acts.Go(func() { x.executeAll(ctx, a, jobs, results) })
	}
	acts.Wait()
	return results
}

// executeAll carries out the jobs of one act. While some wait for EC2, as many others are
// confirmed by the API server.
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
	_ = group.Wait() // errors are in the results
}

// batch is the calls of one act in a sweep.
type batch struct {
	slots     chan struct{} // as many as calls may run side by side
	deadline  time.Time
	throttled atomic.Bool
	refusals  atomic.Int32
}

func (x *executor) newBatch() *batch {
	return &batch{slots: make(chan struct{}, x.concurrency), deadline: time.Now().Add(batchTimeout)}
}

// over is the outcome of a job when EC2 is to get no more calls; "" when it gets this one.
func (b *batch) over() outcome {
	switch {
	case b.throttled.Load():
		return outcomePostponed
	case b.refusals.Load() >= maxRefusals:
		return outcomeSkipped
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

// carryOut makes the call of a job if the API server confirms the decision.
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
	if o := b.over(); o != "" { // this job has begun, so the deadline is not its concern
		return result{job: j, outcome: o}
	}
	if !x.holdsLease() {
		return result{job: j, outcome: outcomeDropped}
	}
	r := x.call(ctx, j)
	if j.act != actRefuse {
		b.note(r.outcome)
	}
	return r
}

// call makes the call of a job.
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

// confirmed says whether the decision is the same by what the API server shows now: the
// describe and the jobs before this one took a while, and caches can be stale. After any
// change the next sweep decides again.
func (x *executor) confirmed(ctx context.Context, j job) bool {
	ev, err := x.caches.liveEvidence(ctx, j.eni)
	if err != nil {
		if ctx.Err() == nil {
			x.recorder.notConfirmed(j, err)
		}
		return false
	}
	now := leftOver(x.cluster, j.eni, ev)
	if now != j.decision {
		x.recorder.info("skipped an ENI, because the API server and the caches differ", j.eni, "reason", j.decision.Reason, "newReason", now.Reason)
	}
	return now == j.decision
}
