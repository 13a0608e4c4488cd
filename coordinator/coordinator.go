// Package coordinator does what one process in the cluster has to do: it
// collects the ENIs that are left over when nodes depart and NodeENIs go, and
// it sums the agents' reports up in the status of each NodeENI. Nothing here
// stands in the way of a node that comes up.
//
// One leader works, the others watch. Two that both believe they lead do no
// harm: every action rests on what EC2 and the API server show, says the same
// when said twice, and is refused by EC2 when the facts have moved on.
//
// Each part of the state has one owner; docs/architecture.md has the order of a sweep.
package coordinator

import (
	"context"
	"errors"
	"sync"

	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

// coordinator is the parts put together.
type coordinator struct {
	cfg     Config
	caches  *caches
	sweeper *sweeper
	status  *statusWriter
}

// Run waits for leadership and coordinates until ctx ends, and then returns nil.
// A leader that loses the Lease stops and returns ErrLeaseLost, and is meant to
// be started again by whatever runs it: a fresh process has fresh caches and no
// call under way, which is simpler to trust than one that demotes itself.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	c, err := newCoordinator(cfg)
	if err != nil {
		return err
	}
	c.register()
	stop, filled := c.caches.run(ctx)
	defer stop()
	if !filled {
		return nil
	}
	return elect(ctx, cfg, c.lead)
}

func newCoordinator(cfg Config) (*coordinator, error) {
	caches := newCaches(cfg.Kube, cfg.Log, newHistory(max(cfg.ReleaseGrace, cfg.NodeGrace)))
	queue, marks, contradictions := newQueue(), newMarks(), newContradictions()
	c := &coordinator{
		cfg: cfg, caches: caches,
		sweeper: newSweeper(cfg, caches, queue, marks, contradictions),
		status: &statusWriter{
			caches: caches, marks: marks, contradictions: contradictions, schedule: newSchedule(cfg.StatusInterval),
			fanOut: tokenBucket{burst: fanOutBurst, perSecond: fanOutPerSecond},
			log:    cfg.Log, metrics: cfg.Metrics, heartbeat: program.NewHeartbeat("status loop", stepLimit),
		},
	}
	t := &triggers{caches: caches, queue: queue, marks: marks, limiter: newReportLimiter()}
	return c, t.watch()
}

// register adds the coordinator's checks; the one of the Lease is added with the
// election. One that waits for leadership is as ready as the leader.
func (c *coordinator) register() {
	health := c.cfg.Health
	health.Ready("caches", c.caches.filled)
	health.Ready("region", c.inRegion)
	health.Live("sweep", c.sweeper.heartbeat.Check)
	health.Live("status", c.status.heartbeat.Check)
}

// inRegion fails in a Region that none of the Nodes is in, so that the roll-out of a
// wrong setting stops.
func (c *coordinator) inRegion() error {
	if wrong := wrongPlace(c.cfg.Region, c.caches.nodes.list()); wrong != (contradiction{}) {
		return errors.New(wrong.Message)
	}
	return nil
}

// lead does the leader's work.
func (c *coordinator) lead(ctx context.Context, mayAct func() bool) {
	c.cfg.Log.Info("leading", "identity", c.cfg.Identity)
	c.cfg.Metrics.leads(true)
	defer c.cfg.Metrics.leads(false)
	c.sweeper.executor.mayAct = mayAct
	var loops sync.WaitGroup
	loops.Go(func() { c.sweeper.run(ctx) })
	loops.Go(func() { c.status.run(ctx) })
	loops.Wait()
}
