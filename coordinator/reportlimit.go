package coordinator

import (
	"sync"
	"time"
)

// A node's reports that it releases ENIs have EC2 asked so often at once, and in the
// long run so often a second. An agent says what it likes, and may say it often.
const (
	reportBurst     = 10
	reportPerSecond = 0.1
)

// reportLimiter is how often each node's reports have had EC2 asked.
type reportLimiter struct {
	mu    sync.Mutex
	nodes map[string]*reportLimit
}

type reportLimit struct {
	tokenBucket
	waiting bool // a report waits for its turn
}

// allow says whether the node's report may have EC2 asked at once. If not, later is
// called when it may.
func (l *reportLimiter) allow(node string, later func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.nodes[node]
	if of == nil {
		of = &reportLimit{tokenBucket: tokenBucket{burst: reportBurst, perSecond: reportPerSecond}}
		if l.nodes == nil {
			l.nodes = map[string]*reportLimit{}
		}
		l.nodes[node] = of
	}
	wait := time.Until(of.next())
	if wait <= 0 {
		of.spend(1, time.Now())
		return true
	}
	if !of.waiting {
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

func (l *reportLimiter) forget(node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if of := l.nodes[node]; of != nil && !of.waiting {
		delete(l.nodes, node)
	}
}
