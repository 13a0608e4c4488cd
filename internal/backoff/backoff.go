// Package backoff is how long to wait until something that failed is tried again.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Exponential doubles the wait from First to Max. Each wait is drawn from its upper
// half, so that a fleet does not march in step.
type Exponential struct{ First, Max time.Duration }

// Delay is how long the wait after the n-th failure in a row is, from 0.
func (e Exponential) Delay(n int) time.Duration {
	d := min(e.First<<min(n, 20), e.Max)
	return d/2 + rand.N(d/2)
}

// Wait waits that long, or until ctx ends, which is an error.
func (e Exponential) Wait(ctx context.Context, n int) error { return Sleep(ctx, e.Delay(n)) }

// Sleep waits that long, or until ctx ends, which is an error.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
