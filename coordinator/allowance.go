package coordinator

import "time"

// allowance is how much may be spent at once, and in the long run a second. It may
// be overdrawn: what something costs may be known only afterwards.
type allowance struct {
	atOnce, perSecond float64

	spent float64
	at    time.Time
}

func (a *allowance) spend(cost int, now time.Time) {
	a.spent = max(a.spent-now.Sub(a.at).Seconds()*a.perSecond, 0) + float64(cost)
	a.at = now
}

// next is when there is something left to spend: a whole unit of it.
func (a *allowance) next() time.Time {
	return a.at.Add(time.Duration((a.spent + 1 - a.atOnce) / a.perSecond * float64(time.Second)))
}
