package coordinator

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// losses remembers when Nodes last stopped being selected. Between two sweeps a label,
// or a Node, may come back and go again: the grace counts from the last time.
type losses struct {
	mu     sync.Mutex
	keep   time.Duration // as long as the longest grace
	at     map[loss]time.Time
	pruned time.Time
}

type loss struct {
	nodeENI types.UID
	node    string
}

func (l *losses) note(nodeENI types.UID, node string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.pruned) > l.keep {
		maps.DeleteFunc(l.at, func(_ loss, t time.Time) bool { return now.Sub(t) > l.keep })
		l.pruned = now
	}
	if l.at == nil {
		l.at = map[loss]time.Time{}
	}
	l.at[loss{nodeENI, node}] = now
}

// last is when the Node last stopped being selected; zero when that is unknown or long ago.
func (l *losses) last(nodeENI types.UID, node string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at[loss{nodeENI, node}]
}
