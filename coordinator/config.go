package coordinator

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

// stepLimit is how long a step of one of the leader's loops may take: a few calls, each with
// a timeout.
const stepLimit = 3 * time.Minute

// Config is what a coordinator needs. The defaults are those of eni-coordinator's flags.
type Config struct {
	Kube   *kube.Client
	Leases coordinationv1.LeasesGetter
	EC2    *eni.Client
	Events *kube.Recorder
	Log    *slog.Logger
	// Health, when set, gets the checks of the coordinator.
	Health *program.Health
	// Metrics counts nothing when it is nil.
	Metrics *Metrics

	// Cluster is the value of the tag networking.k8s.aws/cluster. The coordinator never
	// touches ENIs with another one.
	Cluster string
	// Region is the one that EC2 is asked in; "" if it is not known.
	Region string
	// Namespace is where the Lease is.
	Namespace string
	// Identity is unique among the candidates for the Lease.
	Identity string

	// OnDemand has pods not wait for ENIs on demand of nodes that are lost.
	OnDemand bool

	// Concurrency is how many Detach calls run side by side, and how many Delete calls.
	Concurrency int
	// SweepInterval is the time between two full sweeps, with a little jitter.
	SweepInterval time.Duration
	// ReleaseGrace is how long the agent of an existing Node has for taking a link down
	// before its ENI is detached.
	ReleaseGrace time.Duration
	// NodeGrace is how long a Node that was deleted has for coming back while its instance
	// runs, before that instance's ENIs are detached.
	NodeGrace time.Duration
	// OrphanAge is the least age of an ENI that is collected although no deletion was seen.
	OrphanAge time.Duration
	// StatusInterval is the least time between two status updates of a NodeENI.
	StatusInterval time.Duration
	// PollInterval is the least time between two describes of an ENI that is being
	// collected.
	PollInterval time.Duration

	// LeaseDuration is how long the other candidates wait for a leader that does not renew
	// the Lease, RenewDeadline how long a leader tries to renew it before it ends, and
	// RetryPeriod the time between tries.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
}

func (cfg *Config) validate() error {
	err := cfg.Check()
	if cfg.Cluster == "" {
		err = errors.Join(errors.New("the cluster name, with which ENIs are tagged, is empty"), err)
	}
	return err
}

// Check says what is wrong with the namespace, the number of cleanups, or a time.
func (cfg *Config) Check() error {
	var errs []error
	if cfg.Namespace == "" {
		errs = append(errs, errors.New("--namespace is empty; set it to the namespace of the Lease"))
	}
	if cfg.Concurrency < 1 {
		errs = append(errs, fmt.Errorf("--max-concurrent-eni-cleanup %d must be at least 1", cfg.Concurrency))
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
			errs = append(errs, fmt.Errorf("%s %v must be greater than 0", d.what, d.value))
		}
	}
	// client-go's election ends the process otherwise.
	if cfg.LeaseDuration <= cfg.RenewDeadline {
		errs = append(errs, fmt.Errorf("--lease-duration %v must be longer than --lease-renew-deadline %v", cfg.LeaseDuration, cfg.RenewDeadline))
	}
	if float64(cfg.RenewDeadline) <= leaderelection.JitterFactor*float64(cfg.RetryPeriod) {
		errs = append(errs, fmt.Errorf("--lease-renew-deadline %v must be longer than %.1f times --lease-retry-period %v", cfg.RenewDeadline, leaderelection.JitterFactor, cfg.RetryPeriod))
	}
	if cfg.LeaseDuration > 0 && cfg.LeaseDuration < time.Second {
		errs = append(errs, fmt.Errorf("--lease-duration %v must be at least 1s, because a Lease counts in seconds", cfg.LeaseDuration))
	}
	return errors.Join(errs...)
}
