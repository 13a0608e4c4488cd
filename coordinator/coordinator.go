// Package coordinator does the work that one process does for the cluster: it collects the
// ENIs that are left over when Nodes and NodeENIs go, and sums up the agents' reports in the
// status of each NodeENI. No node needs it to come up.
//
// One coordinator leads, and the others watch. Two that both believe they lead do no harm:
// each action depends on what EC2 and the API server show, may be repeated, and is refused by
// EC2 if that has changed.
//
// Each part of the state has one owner. docs/architecture.md describes the steps of a sweep,
// and where to find each.
package coordinator

import (
	"context"
	"errors"
	"sync"

	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

// coordinator is all parts together.
type coordinator struct {
	cfg     Config
	caches  *caches
	sweeper *sweeper
	status  *statusWriter
	claims  *claimFailer // nil without ENIs on demand
}

// Run waits until it leads, and works until ctx ends; then it returns nil. A leader that
// loses the Lease stops and returns ErrLeaseLost. The process should then end and be started
// again: a new one has fresh caches and no call under way.
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
	describes, statuses, contradictions := newDescribeQueue(), newStatusQueue(), newContradictions()
	c := &coordinator{
		cfg: cfg, caches: caches,
		sweeper: newSweeper(cfg, caches, describes, statuses, contradictions),
		status: &statusWriter{
			caches: caches, queue: statuses, contradictions: contradictions, schedule: newSchedule(cfg.StatusInterval),
			fanOut: tokenBucket{burst: fanOutBurst, perSecond: fanOutPerSecond},
			log:    cfg.Log, metrics: cfg.Metrics, heartbeat: program.NewHeartbeat("status loop", stepLimit),
		},
	}
	h := &eventHandlers{caches: caches, describes: describes, statuses: statuses, limiter: newReportLimiter()}
	if cfg.OnDemand {
		h.lost = newLostNodes()
		c.claims = &claimFailer{caches: caches, nodes: h.lost, log: cfg.Log, heartbeat: program.NewHeartbeat("claims of lost nodes", stepLimit)}
	}
	return c, h.register()
}

// register adds the coordinator's health checks; elect adds the one of the Lease. A
// coordinator that does not lead is as ready as the leader.
func (c *coordinator) register() {
	health := c.cfg.Health
	health.Ready("caches", c.caches.filled)
	health.Ready("region", c.inRegion)
	health.Live("sweep", c.sweeper.heartbeat.Check)
	health.Live("status", c.status.heartbeat.Check)
	if c.claims != nil {
		health.Live("claims", c.claims.heartbeat.Check)
	}
}

// inRegion returns an error if none of the Nodes is in the coordinator's Region, so that the
// roll-out of a wrong setting stops.
func (c *coordinator) inRegion() error {
	if wrong := regionMismatch(c.cfg.Region, c.caches.nodes.list()); wrong != (contradiction{}) {
		return errors.New(wrong.Message)
	}
	return nil
}

// lead does the leader's work.
func (c *coordinator) lead(ctx context.Context, holdsLease func() bool) {
	c.cfg.Log.Info("leading", "identity", c.cfg.Identity)
	c.cfg.Metrics.leads(true)
	defer c.cfg.Metrics.leads(false)
	c.sweeper.executor.holdsLease = holdsLease
	var loops sync.WaitGroup
	loops.Go(func() { c.sweeper.run(ctx) })
	loops.Go(func() { c.status.run(ctx) })
	if c.claims != nil {
		loops.Go(func() { c.claims.run(ctx) })
	}
	loops.Wait()
}
