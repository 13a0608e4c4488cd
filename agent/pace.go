package agent

import "time"

// The least time between two reconciles that the host's own changes start; the first
// change starts one at once. Whoever undoes the agent's work, or starts pods all the
// while, costs that much at most. One of the changes may be a link that is awaited,
// and it must not wait because of others, the agent's own among them.
const (
	hostInterval         = 100 * time.Millisecond
	awaitingHostInterval = 10 * time.Millisecond
)

// hostPace keeps the reconciles that the host's changes start apart.
type hostPace struct {
	last    time.Time // the end of the last one
	waiting bool      // there are changes that no reconcile has looked at
}

// changed takes a change in, and says when it is looked at.
func (p *hostPace) changed(interval time.Duration) time.Time {
	p.waiting = true
	return p.last.Add(interval)
}

// reconciled: a reconcile looks at everything, whatever has started it.
func (p *hostPace) reconciled(now time.Time, why cause) {
	p.waiting = false
	if why == causeHost {
		p.last = now
	}
}

// hostInterval is short as long as a link may appear at any moment.
func (a *Agent) hostInterval() time.Duration {
	if len(a.calls.attaching()) > 0 || a.host.awaitsLink() {
		return awaitingHostInterval
	}
	return hostInterval
}
