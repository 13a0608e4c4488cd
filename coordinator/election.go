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
	// leaseTolerance is how long a leader may go on whose Lease has run out: it is
	// about to end.
	leaseTolerance = 20 * time.Second
)

// LeaseClient is a client for nothing but the Lease: a burst of other calls must
// not keep a leader from renewing. A renewal that gets no answer leaves time for
// another one, on another connection: HTTP/1.1 gives up the one that does not
// answer, HTTP/2 would keep it.
func LeaseClient(cfg *rest.Config, renewDeadline time.Duration) (coordinationv1.LeasesGetter, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.Timeout = renewDeadline / 2
	cfg.NextProtos = []string{"http/1.1"}
	return coordinationv1.NewForConfig(cfg)
}

// ErrLeaseLost is returned by a leader that could not renew its Lease in time.
var ErrLeaseLost = errors.New("the Lease was lost: the API server could not be reached in time, or another coordinator took it")

// elect calls lead while the Lease is held, and returns ErrLeaseLost unless ctx has ended.
// mayAct says whether the Lease is still good, which a process that was frozen does not
// know. When ctx ends, the work is stopped first and the Lease is given back then, so that
// the next leader takes over at once and never beside this one.
func elect(ctx context.Context, cfg Config, lead func(ctx context.Context, mayAct func() bool)) error {
	candidacy, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	// Either the work begins or it never will; and as whoever comes second to a
	// Once waits for the first, "never" also waits for work that has begun.
	var once sync.Once
	never := func() {}
	var elector *leaderelection.LeaderElector
	mayAct := func() bool { return elector.IsLeader() && elector.Check(0) == nil }
	elector, err := leaderelection.NewLeaderElector(cfg.election(func(leading context.Context) {
		once.Do(func() {
			defer giveUp()
			work, stop := context.WithCancel(leading)
			defer context.AfterFunc(ctx, stop)()
			defer stop()
			lead(work, mayAct)
		})
	}))
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	cfg.Health.Live("leader election", func() error { return elector.Check(leaseTolerance) })

	defer context.AfterFunc(ctx, func() {
		once.Do(never)
		giveUp()
	})()
	elector.Run(candidacy)
	once.Do(never)
	giveBack(cfg)
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
					cfg.Log.Info("standing by", "leader", identity)
				}
			},
		},
	}
}

// giveBack makes sure that the Lease is not held any longer by this candidate. The
// elector does not know of one that it got in an answer which it did not wait for, and
// tries only once.
func giveBack(cfg Config) {
	ctx, cancel := context.WithTimeout(context.Background(), cfg.RenewDeadline)
	defer cancel()
	tries := wait.Backoff{Duration: cfg.RetryPeriod, Steps: 3}
	_ = wait.ExponentialBackoffWithContext(ctx, tries, func(ctx context.Context) (done bool, err error) {
		err = giveUpLease(ctx, cfg)
		return err == nil || apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err), nil
	}) // whoever comes next waits until the Lease runs out
}

func giveUpLease(ctx context.Context, cfg Config) error {
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
