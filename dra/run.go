package dra

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aws-multi-eni/aws-multi-eni/internal/backoff"
	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
)

const (
	// drainLimit is how long Run serves the runtime, after it has stopped serving the
	// kubelet, for prepared claims whose pods have not started.
	drainLimit = 10 * time.Second
	// drainPoll is how often Run checks that. It is also the time that the last answer
	// to the runtime has to leave.
	drainPoll = 200 * time.Millisecond
)

// Run serves the kubelet and the container runtime until ctx ends. Then it stops serving
// the kubelet first, so that each pod whose claims are prepared still gets its ENIs. It also
// keeps checking that pods still have them.
func (d *Driver) Run(ctx context.Context) error {
	whole, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var group errgroup.Group
	group.Go(func() error {
		defer stop()
		err := d.serveKubelet(ctx)
		d.drain()
		return err
	})
	group.Go(func() error { return d.serveRuntime(whole) })
	group.Go(func() error {
		d.keepRepairing(whole)
		return nil
	})
	return group.Wait()
}

// drain waits until all claims that were just prepared are in their pods.
func (d *Driver) drain() {
	for deadline := time.Now().Add(drainLimit); ; {
		pending := d.pending()
		_ = backoff.Sleep(context.Background(), drainPoll)
		if !pending || time.Now().After(deadline) {
			return
		}
	}
}

func (d *Driver) pending() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	attachments, _ := claimnetwork.Attachments(d.DataDir)
	return slices.ContainsFunc(attachments, func(a claimnetwork.Attachment) bool {
		return a.Pod == nil && time.Since(a.Created) < drainLimit
	})
}
