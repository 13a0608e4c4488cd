package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

// Config is what a coordinator needs. There are no defaults here: the flags of
// eni-coordinator have them.
type Config struct {
	Kube   *kube.Client
	Leases coordinationv1.LeasesGetter
	EC2    *eni.Client
	Events *kube.Recorder
	Log    *slog.Logger
	// Health, when set, is told how to check the coordinator.
	Health *program.Health
	// Metrics counts nothing when it is nil.
	Metrics *Metrics

	// Cluster is the value of the tag networking.k8s.aws/cluster; ENIs with
	// another one do not exist for the coordinator.
	Cluster string
	// Region is the one that EC2 is asked in; "" is not known.
	Region string
	// Namespace is where the Lease is.
	Namespace string
	// Identity tells candidates for the Lease apart.
	Identity string

	// Concurrency is how many Detach calls run side by side, and as many Delete
	// calls.
	Concurrency int
	// SweepInterval is the time between two full sweeps, with a little jitter.
	SweepInterval time.Duration
	// ReleaseGrace is how long the agent of a living node has for taking a link
	// down before its ENI is detached.
	ReleaseGrace time.Duration
	// NodeGrace is how long a Node that was deleted has for coming back while its
	// instance runs, before that instance's ENIs are detached.
	NodeGrace time.Duration
	// OrphanAge is the age that an ENI has to have when no event explains it.
	OrphanAge time.Duration
	// StatusInterval is the least time between two status updates of a NodeENI.
	StatusInterval time.Duration
	// PollInterval is the least time between two looks at an ENI on its way out.
	PollInterval time.Duration

	// LeaseDuration is how long a leader that is gone keeps others waiting,
	// RenewDeadline how long a leader tries to renew before it gives up, and
	// RetryPeriod the time between tries.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
}

func (cfg *Config) validate() error {
	err := cfg.Check()
	if cfg.Cluster == "" {
		err = errors.Join(errors.New("the cluster has no name: without it no ENI can be told to be its own"), err)
	}
	return err
}

// Check says what is wrong with the namespace, the number of cleanups, or a time.
func (cfg *Config) Check() error {
	var errs []error
	if cfg.Namespace == "" {
		errs = append(errs, errors.New("--namespace is empty; name the namespace of the Lease"))
	}
	if cfg.Concurrency < 1 {
		errs = append(errs, fmt.Errorf("--max-concurrent-eni-cleanup %d: at least 1 is needed", cfg.Concurrency))
	}
	for _, d := range []struct {
		what  string
		value time.Duration
	}{
		{"--sweep-interval", cfg.SweepInterval},
		{"--release-grace", cfg.ReleaseGrace},
		{"--node-grace", cfg.NodeGrace},
		{"--orphan-age", cfg.OrphanAge},
		{"--status-interval", cfg.StatusInterval},
		{"--poll-interval", cfg.PollInterval},
		{"--lease-retry-period", cfg.RetryPeriod},
	} {
		if d.value <= 0 {
			errs = append(errs, fmt.Errorf("%s %v: it must be above 0", d.what, d.value))
		}
	}
	// As client-go's election wants it, which ends the process otherwise.
	if cfg.LeaseDuration <= cfg.RenewDeadline {
		errs = append(errs, fmt.Errorf("--lease-duration %v must be longer than --lease-renew-deadline %v", cfg.LeaseDuration, cfg.RenewDeadline))
	}
	if float64(cfg.RenewDeadline) <= leaderelection.JitterFactor*float64(cfg.RetryPeriod) {
		errs = append(errs, fmt.Errorf("--lease-renew-deadline %v must be longer than %.1f times --lease-retry-period %v", cfg.RenewDeadline, leaderelection.JitterFactor, cfg.RetryPeriod))
	}
	if cfg.LeaseDuration > 0 && cfg.LeaseDuration < time.Second {
		errs = append(errs, fmt.Errorf("--lease-duration %v: a Lease counts in seconds, so at least 1s is needed", cfg.LeaseDuration))
	}
	return errors.Join(errs...)
}

// coordinator is the parts put together.
type coordinator struct {
	cfg     Config
	caches  *caches
	sweeper *sweeper
	status  *statusWriter
	stale   bool // why it no longer leads
	limiter reportLimiter
}

// ErrLeaseLost is returned by a leader that could not renew its Lease in time.
var ErrLeaseLost = errors.New("the Lease was lost: the API server could not be reached in time, or another coordinator took it")

// Run waits for leadership and coordinates until ctx ends, and then returns nil.
// A leader that loses the Lease stops and returns ErrLeaseLost, and is meant to
// be started anew by whatever runs it: a fresh process has fresh caches and no
// call under way, which is simpler to trust than one that demotes itself.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	for {
		err := run(ctx, cfg)
		if !errors.Is(err, errStale) || ctx.Err() != nil {
			return err
		}
		cfg.Log.Warn("the API server shows an older state than before, as after a restore of etcd; everything is read again")
	}
}

// errStale is returned when the caches show what the API server no longer has. Watches
// go on where they were, so that only new caches help.
var errStale = errors.New("the caches are newer than the API server")

func run(ctx context.Context, cfg Config) error {
	c, err := newCoordinator(cfg)
	if err != nil {
		return err
	}
	c.register(cfg.Health)
	cachesCtx, stop := context.WithCancel(ctx)
	join, err := c.caches.run(cachesCtx, cfg.Log)
	if err != nil {
		stop()
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer join()
	defer stop()
	return c.elect(ctx)
}

func newCoordinator(cfg Config) (*coordinator, error) {
	caches, err := newCaches(cfg.Kube, newHistory(max(cfg.ReleaseGrace, cfg.NodeGrace)))
	if err != nil {
		return nil, err
	}
	doubts := &doubts{here: place{Region: cfg.Region}, shown: map[string]bool{}, ofNodeENI: map[types.UID]contradiction{}}
	c := &coordinator{
		cfg:    cfg,
		caches: caches,
		sweeper: &sweeper{
			cluster: cfg.Cluster, ec2: cfg.EC2, kube: cfg.Kube, caches: caches, events: cfg.Events, log: cfg.Log, metrics: cfg.Metrics,
			times:    timing{ReleaseGrace: cfg.ReleaseGrace, NodeGrace: cfg.NodeGrace, OrphanAge: cfg.OrphanAge, Poll: cfg.PollInterval},
			interval: cfg.SweepInterval, concurrency: cfg.Concurrency,
			concerns: &concerns{wake: newSignal()}, describes: tokenBucket{burst: describeBurst, perSecond: describesPerSecond}, tracks: map[string]*track{}, leaving: map[types.UID]*leaving{},
			heartbeat: program.NewHeartbeat("sweep loop", stepLimit), doubts: doubts,
		},
		status: &statusWriter{
			kube: cfg.Kube, caches: caches, log: cfg.Log, metrics: cfg.Metrics, interval: cfg.StatusInterval,
			fanOut: tokenBucket{burst: fanOutBurst, perSecond: fanOutPerSecond},
			marked: map[string]bool{}, wake: newSignal(),
			heartbeat: program.NewHeartbeat("status loop", stepLimit), doubts: doubts,
		},
	}
	c.sweeper.mark = c.status.mark
	return c, c.watch()
}

// stepLimit is what the steps of the leader's loops take at most, each being a
// few calls with timeouts of their own.
const stepLimit = 3 * time.Minute

// register adds the coordinator's checks; the one of the Lease is added with the
// election. One that waits for leadership is as ready as the leader.
func (c *coordinator) register(health *program.Health) {
	health.Ready("caches", c.caches.filled)
	health.Ready("region", c.inRegion)
	health.Live("sweep", c.sweeper.heartbeat.Check)
	health.Live("status", c.status.heartbeat.Check)
}

// inRegion fails in a Region that none of the Nodes is in, so that the roll-out of a
// wrong setting stops.
func (c *coordinator) inRegion() error {
	if wrong := wrongPlace(c.cfg.Region, c.caches.allNodes()); wrong != (contradiction{}) {
		return errors.New(wrong.Message)
	}
	return nil
}

// lead does the leader's work until ctx ends. mayAct says whether the Lease is
// still good: a process that was frozen may not have noticed yet that it is not.
func (c *coordinator) lead(ctx context.Context, mayAct func() bool) {
	c.sweeper.mayAct = mayAct
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	c.status.stale = func() { stop(errStale) }
	c.sweeper.stale = c.status.stale
	defer func() { c.stale = context.Cause(ctx) == errStale }() //nolint:errorlint // what was given above
	var work sync.WaitGroup
	work.Go(func() { c.sweeper.run(ctx) })
	work.Go(func() { c.status.run(ctx) })
	work.Wait()
}
