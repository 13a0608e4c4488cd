package coordinator

import (
	"sync"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// A node's reports that it lets go of ENIs have EC2 asked so often at once, and in the
// long run so often a second. An agent says what it likes, and may say it often.
const (
	heedAtOnce    = 10
	heedPerSecond = 0.1
)

// heeded is how often each node's reports have had EC2 asked.
type heeded struct {
	mu    sync.Mutex
	nodes map[string]*heed
}

type heed struct {
	allowance
	later bool // one is waiting for its turn
}

// now says whether the node's report may have EC2 asked at once. If not, later is
// called when it may.
func (h *heeded) now(node string, later func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	of := h.nodes[node]
	if of == nil {
		of = &heed{allowance: allowance{atOnce: heedAtOnce, perSecond: heedPerSecond}}
		if h.nodes == nil {
			h.nodes = map[string]*heed{}
		}
		h.nodes[node] = of
	}
	wait := time.Until(of.next())
	if wait <= 0 {
		of.spend(1, time.Now())
		return true
	}
	if !of.later {
		of.later = true
		time.AfterFunc(wait, func() {
			h.mu.Lock()
			of.later = false
			of.spend(1, time.Now())
			h.mu.Unlock()
			later()
		})
	}
	return false
}

func (h *heeded) forget(node string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if of := h.nodes[node]; of != nil && !of.later {
		delete(h.nodes, node)
	}
}

// heedLater looks at all ENIs that the node lets go of by then.
func (c *coordinator) heedLater(node string) {
	if ids := released(nil, c.caches.state(node)); len(ids) > 0 {
		c.sweeper.concerns.add(eni.ByID, ids...)
	}
}
