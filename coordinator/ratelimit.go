package coordinator

import (
	"sync"
	"time"
)

// tokenBucket is how much may be spent at once, and per second in the long run. It may be
// overdrawn: some costs are known only afterwards.
type tokenBucket struct {
	burst, perSecond float64

	spent float64
	at    time.Time
}

func (b *tokenBucket) spend(cost int, now time.Time) {
	b.spent = max(b.spent-now.Sub(b.at).Seconds()*b.perSecond, 0) + float64(cost)
	b.at = now
}

// next is when there is a whole token left to spend.
func (b *tokenBucket) next() time.Time {
	return b.at.Add(time.Duration((b.spent + 1 - b.burst) / b.perSecond * float64(time.Second)))
}

// The reports of one node may have EC2 asked so often at once, and so often per second in
// the long run. A compromised agent may write any report at any rate.
const (
	reportBurst     = 10
	reportPerSecond = 0.1
)

// reportLimiter limits how often the reports of each node have EC2 asked.
type reportLimiter struct {
	mu    sync.Mutex
	nodes map[string]*reportLimit
}

func newReportLimiter() *reportLimiter { return &reportLimiter{nodes: map[string]*reportLimit{}} }

type reportLimit struct {
	tokenBucket
	waiting bool // later will be called
}

// allow says whether the node's report may have EC2 asked now. If not, later is called when
// it may.
func (l *reportLimiter) allow(node string, later func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.nodes[node]
	if of == nil {
		of = &reportLimit{tokenBucket: tokenBucket{burst: reportBurst, perSecond: reportPerSecond}}
		l.nodes[node] = of
	}
	wait := time.Until(of.next())
	switch {
	case wait <= 0:
		of.spend(1, time.Now())
		return true
	case !of.waiting:
		of.waiting = true
		time.AfterFunc(wait, func() {
			l.mu.Lock()
			of.waiting = false
			of.spend(1, time.Now())
			l.mu.Unlock()
			later()
		})
	}
	return false
}

// forget is called when the node's report is deleted, as it is after its Node.
func (l *reportLimiter) forget(node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if of := l.nodes[node]; of != nil && !of.waiting {
		delete(l.nodes, node)
	}
}
