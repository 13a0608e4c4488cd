package coordinator

import (
	"math/rand/v2"
	"slices"
	"time"
)

// pace is the time between tries: it doubles from first to most.
type pace struct{ first, most time.Duration }

var (
	// EC2 that throttles or fails, and the API server.
	briskPace = pace{time.Second, 30 * time.Second}
	// What EC2 refuses until somebody changes something. Whoever has changed it
	// watches, and an uninstall waits for it.
	refusedPace = pace{10 * time.Second, time.Minute}
	// Detaching an ENI that somebody attaches again each time.
	undonePace = pace{30 * time.Second, 5 * time.Minute}
)

// undoneSoon is the wait instead, once something else is known of the ENI.
const undoneSoon = 10 * time.Second

// delay is how long to wait after the n-th time in a row, from 0, with jitter so
// that many callers spread.
func (p pace) delay(n int) time.Duration {
	return jitter(min(p.first<<min(n, 20), p.most))
}

// backoff is how long to leave EC2 or the API server alone.
type backoff struct{ failures int }

func (b *backoff) next() time.Duration {
	b.failures++
	return briskPace.delay(b.failures - 1)
}

// tokenBucket is how much may be spent at once, and in the long run a second. It may
// be overdrawn: what something costs may be known only afterwards.
type tokenBucket struct {
	burst, perSecond float64

	spent float64
	at    time.Time
}

func (b *tokenBucket) spend(cost int, now time.Time) {
	b.spent = max(b.spent-now.Sub(b.at).Seconds()*b.perSecond, 0) + float64(cost)
	b.at = now
}

// next is when there is something left to spend: a whole unit of it.
func (b *tokenBucket) next() time.Time {
	return b.at.Add(time.Duration((b.spent + 1 - b.burst) / b.perSecond * float64(time.Second)))
}

// jitter spreads a duration by a fifth around itself.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*rand.Float64()))
}

// earliest of two times; zero is no time.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }
