package coordinator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

const (
	leaseName = "eni-coordinator"
	// leaseTolerance is how long a leader whose Lease has run out has to end by itself.
	leaseTolerance = 20 * time.Second
)

// LeaseClient makes a client for the Lease alone: a burst of other calls must not keep a
// leader from renewing it. A renewal without an answer ends in time for another one, which
// takes another connection: HTTP/1.1 closes the one without an answer, HTTP/2 would keep it.
func LeaseClient(cfg *rest.Config, renewDeadline time.Duration) (coordinationv1.LeasesGetter, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.Timeout = renewDeadline / 2
	cfg.NextProtos = []string{"http/1.1"}
	return coordinationv1.NewForConfig(cfg)
}

// ErrLeaseLost is returned by a leader that could not renew its Lease in time.
var ErrLeaseLost = errors.New("lost the Lease: the API server did not respond in time, or another coordinator acquired the Lease")

// elect calls lead while the Lease is held, and returns ErrLeaseLost unless ctx has ended.
// holdsLease says whether the Lease has not run out, as it may have while the process was
// frozen. When ctx ends, the work is stopped before the Lease is released: the next leader
// takes over at once, but never beside this one.
func elect(ctx context.Context, cfg Config, lead func(ctx context.Context, holdsLease func() bool)) error {
	candidacy, withdraw := context.WithCancel(context.WithoutCancel(ctx))
	defer withdraw()
	// Either the work begins or it never will. The second call of once.Do waits for the
	// first, so never also waits until work that has begun has ended.
	var once sync.Once
	never := func() {}
	var elector *leaderelection.LeaderElector
	holdsLease := func() bool { return elector.IsLeader() && elector.Check(0) == nil }
	elector, err := leaderelection.NewLeaderElector(cfg.election(func(leading context.Context) {
		once.Do(func() {
			defer withdraw()
			work, stop := context.WithCancel(leading)
			defer context.AfterFunc(ctx, stop)()
			defer stop()
			lead(work, holdsLease)
		})
	}))
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	cfg.Health.Live("leader election", func() error { return elector.Check(leaseTolerance) })

	defer context.AfterFunc(ctx, func() {
		once.Do(never)
		withdraw()
	})()
	elector.Run(candidacy)
	once.Do(never)
	releaseLease(cfg)
	if ctx.Err() != nil {
		return nil
	}
	return ErrLeaseLost
}

func (cfg *Config) election(started func(leading context.Context)) leaderelection.LeaderElectionConfig {
	return leaderelection.LeaderElectionConfig{
		Name: leaseName,
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Name: leaseName, Namespace: cfg.Namespace},
			Client:     cfg.Leases,
			LockConfig: resourcelock.ResourceLockConfig{Identity: cfg.Identity},
		},
		LeaseDuration:   cfg.LeaseDuration,
		RenewDeadline:   cfg.RenewDeadline,
		RetryPeriod:     cfg.RetryPeriod,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: started,
			OnStoppedLeading: func() {},
			OnNewLeader: func(identity string) {
				if identity != cfg.Identity {
					cfg.Log.Info("another coordinator is the leader", "leader", identity)
				}
			},
		},
	}
}

// releaseLease makes sure that this candidate does not hold the Lease any longer. The elector
// tries that only once, and does not know that it got the Lease if it did not wait for the
// API server's answer.
func releaseLease(cfg Config) {
	ctx, cancel := context.WithTimeout(context.Background(), cfg.RenewDeadline)
	defer cancel()
	tries := wait.Backoff{Duration: cfg.RetryPeriod, Steps: 3}
	_ = wait.ExponentialBackoffWithContext(ctx, tries, func(ctx context.Context) (done bool, err error) {
		err = clearHolder(ctx, cfg)
		return err == nil || apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err), nil
	}) // on an error the next leader waits until the Lease runs out
}

func clearHolder(ctx context.Context, cfg Config) error {
	leases := cfg.Leases.Leases(cfg.Namespace)
	lease, err := leases.Get(ctx, leaseName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if holder := lease.Spec.HolderIdentity; holder == nil || *holder != cfg.Identity {
		return nil
	}
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = new(""), new(int32(1))
	_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
	return err
}
