package coordinator

import (
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/backoff"
)

var (
	// For EC2 when it throttles or fails, and for the API server.
	retryBackoff = backoff.Exponential{First: 2 * time.Second, Max: 30 * time.Second}
	// For what EC2 refuses until permissions, or the ENI, are changed. Whether that has
	// helped should be seen soon, and an uninstall waits for it.
	refusedBackoff = backoff.Exponential{First: 20 * time.Second, Max: time.Minute}
	// For the next Detach of an ENI that is attached again each time.
	reattachedBackoff = backoff.Exponential{First: time.Minute, Max: 5 * time.Minute}
)

const (
	// reattachedRetry is how long that Detach waits at most once the decision about the
	// ENI has changed.
	reattachedRetry = 10 * time.Second
	// maxPollDelay is the most between two looks at an ENI whose state does not change.
	maxPollDelay = 30 * time.Second
	// throttleLogInterval is the least between two log lines about throttling: while many
	// ENIs are deleted, EC2 throttles all the time.
	throttleLogInterval = time.Minute
)

// pollDelay is how long to wait for something that has not changed since then: a quarter of
// that time, between the poll interval and half a minute.
func pollDelay(since time.Time, poll time.Duration, now time.Time) time.Duration {
	return max(poll, min(now.Sub(since)/4, maxPollDelay))
}

// ec2Backoff is for how long no sweep begins, because EC2 throttles or fails.
type ec2Backoff struct {
	failures  int // in a row
	until     time.Time
	throttled bool      // in the last sweep, a Detach or a Delete
	logged    time.Time // when throttling was logged last
}

func (b *ec2Backoff) extend() {
	b.until = time.Now().Add(retryBackoff.Delay(b.failures))
	b.failures++
}

// note notes the results of a sweep's Detach and Delete calls. One that succeeds shows
// that EC2's token bucket fills again, so the waits begin with the shortest.
func (b *ec2Backoff) note(results []result, log *slog.Logger) {
	b.throttled = false
	for _, r := range results {
		b.throttled = b.throttled || r.outcome == outcomeThrottled
		if r.outcome == outcomeDone {
			b.failures = 0
		}
	}
	if !b.throttled {
		return
	}
	b.extend()
	if time.Since(b.logged) > throttleLogInterval {
		b.logged = time.Now()
		log.Warn("EC2 is throttling Detach or Delete calls; reducing their rate")
	}
}

// swept notes the end of a sweep, with its error.
func (b *ec2Backoff) swept(err error) {
	switch {
	case err != nil:
		b.extend()
	case !b.throttled:
		b.failures = 0
	}
}

// jitter spreads a duration by a tenth to either side.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*rand.Float64()))
}

// earliest is the earlier of two times; a zero time is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }
