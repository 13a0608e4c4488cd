package agent

import "time"

// The least time between two passes that the host's own changes start; the first
// change starts one at once. Whoever undoes the agent's work, or starts pods all the
// while, costs that much at most. One of the changes may be a link that is awaited,
// and it shall not wait because of others, the agent's own among them.
const (
	hostInterval         = 100 * time.Millisecond
	awaitingHostInterval = 10 * time.Millisecond
)

// hostPace keeps the passes that the host's changes start apart.
type hostPace struct {
	last    time.Time // the end of the last one
	waiting bool      // there are changes that no pass has looked at
}

// wait takes a change in, and says how long it waits for a pass.
func (p *hostPace) wait(now time.Time, interval time.Duration) time.Duration {
	p.waiting = true
	return p.last.Add(interval).Sub(now)
}

// passed: a pass looks at everything, whatever has started it.
func (p *hostPace) passed(now time.Time, why cause) {
	p.waiting = false
	if why == causeHost {
		p.last = now
	}
}

// hostInterval is short as long as a link may appear at any moment.
func (a *Agent) hostInterval() time.Duration {
	for _, c := range a.running {
		if c.verb == attach {
			return awaitingHostInterval
		}
	}
	for _, l := range a.links {
		if !l.waiting.IsZero() && !l.overdue {
			return awaitingHostInterval
		}
	}
	return hostInterval
}
