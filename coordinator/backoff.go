package coordinator

import (
	"math/rand/v2"
	"time"
)

// backoff is how long to leave EC2 or the API server alone: a second, doubling
// to half a minute, with jitter so that many callers spread.
type backoff struct {
	failures int
}

func (b *backoff) next() time.Duration {
	d := min(time.Second<<min(b.failures, 5), 30*time.Second)
	b.failures++
	return jitter(d)
}

func (b *backoff) reset() { b.failures = 0 }

// jitter spreads a duration by a fifth around itself.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*rand.Float64()))
}
