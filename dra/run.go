package dra

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aws-multi-eni/aws-multi-eni/internal/backoff"
	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
)

// drainLimit is how long the runtime is served after the end for pods that the kubelet is
// about to start.
const drainLimit = 10 * time.Second

// Run is both plugins until ctx ends. A pod whose claims are prepared gets its links even
// then: first the kubelet is not served any more, then the runtime.
func (d *Driver) Run(ctx context.Context) error {
	whole, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var group errgroup.Group
	group.Go(func() error {
		defer stop()
		err := d.serveKubelet(ctx)
		d.drain(drainLimit)
		return err
	})
	group.Go(func() error { return d.serveRuntime(whole) })
	return group.Wait()
}

// Ready fails while no pod can get its ENIs.
func (d *Driver) Ready() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.offline != nil {
		return d.offline
	}
	if !d.registered {
		return errors.New("the kubelet has not registered the plugin")
	}
	return nil
}

// drain waits until no claim was just prepared whose pod is not there yet.
func (d *Driver) drain(limit time.Duration) {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline) && d.pending(limit); {
		_ = backoff.Sleep(context.Background(), 100*time.Millisecond)
	}
}

func (d *Driver) pending(limit time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	attachments, _ := claimnetwork.Attachments(d.DataDir)
	for _, a := range attachments {
		if a.Pod == nil && time.Since(a.Created) < limit {
			return true
		}
	}
	return false
}
