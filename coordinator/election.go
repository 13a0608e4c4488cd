package coordinator

import (
	"context"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// leaseName is the name of the Lease that the leader holds.
const leaseName = "eni-coordinator"

// leaseTolerance is how long a leader may go on whose Lease has run out: it is
// about to notice and to end.
const leaseTolerance = 20 * time.Second

// elect leads whenever the Lease is held. When ctx ends it stops the work first
// and gives the Lease back then, so that the next leader takes over at once and
// never beside this one.
func (c *coordinator) elect(ctx context.Context) error {
	candidacy, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	var mayAct func() bool
	// Either the work begins or it never will; and as whoever comes second to a
	// Once waits for the first, "never" also waits for work that has begun.
	var once sync.Once
	never := func() {}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Name: leaseName,
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Name: leaseName, Namespace: c.cfg.Namespace},
			Client:     c.cfg.Leases,
			LockConfig: resourcelock.ResourceLockConfig{Identity: c.cfg.Identity},
		},
		LeaseDuration:   c.cfg.LeaseDuration,
		RenewDeadline:   c.cfg.RenewDeadline,
		RetryPeriod:     c.cfg.RetryPeriod,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(leading context.Context) {
				once.Do(func() {
					defer giveUp()
					work, stop := context.WithCancel(leading)
					defer context.AfterFunc(ctx, stop)()
					defer stop()
					c.cfg.Log.Info("leading", "identity", c.cfg.Identity)
					c.cfg.Metrics.leads(true)
					defer c.cfg.Metrics.leads(false)
					c.lead(work, mayAct)
				})
			},
			OnStoppedLeading: func() {},
			OnNewLeader: func(identity string) {
				if identity != c.cfg.Identity {
					c.cfg.Log.Info("standing by", "leader", identity)
				}
			},
		},
	})
	if err != nil {
		return fmt.Errorf("leader election: %w", err)
	}
	c.cfg.Health.Live("leader election", func() error { return elector.Check(leaseTolerance) })
	mayAct = func() bool { return elector.IsLeader() && elector.Check(0) == nil }

	defer context.AfterFunc(ctx, func() {
		once.Do(never)
		giveUp()
	})()
	elector.Run(candidacy)
	once.Do(never)
	if c.giveBack(); ctx.Err() != nil {
		return nil
	}
	if c.stale {
		return errStale
	}
	return ErrLeaseLost
}

// giveBack makes sure that the Lease is not held any longer by this candidate. The
// elector does not know of one that it got in an answer which it did not wait for, and
// tries only once.
func (c *coordinator) giveBack() {
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.RenewDeadline)
	defer cancel()
	leases := c.cfg.Leases.Leases(c.cfg.Namespace)
	for range 3 {
		lease, err := leases.Get(ctx, leaseName, metav1.GetOptions{})
		if err == nil {
			if holder := lease.Spec.HolderIdentity; holder == nil || *holder != c.cfg.Identity {
				return
			}
			lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = new(""), new(int32(1))
			_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		}
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(c.cfg.RetryPeriod):
		}
	}
}
