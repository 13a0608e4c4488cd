package coordinator

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// rememberDeletion is how long a deletion that was seen counts. What is still there
// after that is an orphan, and old enough.
const rememberDeletion = time.Hour

// history is which objects this process saw go, and which Nodes it saw lose their
// selection: between two sweeps a label, or a Node, may come back and go again, and the
// grace period counts from the last time.
type history struct {
	keepUnselected time.Duration // as long as the longest grace period

	mu         sync.Mutex
	nodeENIs   map[types.UID]time.Time
	nodes      map[string]nodeDeletion
	unselected map[selection]time.Time
	pruned     time.Time
}

// nodeDeletion has the instance, too: a Node may come back under its name as
// another instance, and the cache may learn of that after EC2 has.
type nodeDeletion struct {
	instanceID string // "" is not known
	at         time.Time
}

type selection struct {
	nodeENI types.UID
	node    string
}

func newHistory(keepUnselected time.Duration) *history {
	return &history{
		keepUnselected: keepUnselected,
		nodeENIs:       map[types.UID]time.Time{}, nodes: map[string]nodeDeletion{}, unselected: map[selection]time.Time{},
	}
}

func (h *history) nodeENIDeleted(uid types.UID, now time.Time) {
	h.record(now, func() { h.nodeENIs[uid] = now })
}

func (h *history) nodeDeleted(node *kube.Node, now time.Time) {
	h.record(now, func() { h.nodes[node.Name] = nodeDeletion{kube.InstanceID(node.Spec.ProviderID), now} })
}

func (h *history) nodeUnselected(nodeENI types.UID, node string, now time.Time) {
	h.record(now, func() { h.unselected[selection{nodeENI, node}] = now })
}

// record also drops what no longer counts: on a coordinator that stands by, nobody else
// would.
func (h *history) record(now time.Time, what func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.pruned) > time.Minute {
		h.prune(now)
	}
	what()
}

func (h *history) forget(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.prune(now)
}

func (h *history) prune(now time.Time) {
	h.pruned = now
	maps.DeleteFunc(h.nodeENIs, func(_ types.UID, at time.Time) bool { return now.Sub(at) > rememberDeletion })
	maps.DeleteFunc(h.nodes, func(_ string, gone nodeDeletion) bool { return now.Sub(gone.at) > rememberDeletion })
	maps.DeleteFunc(h.unselected, func(_ selection, at time.Time) bool { return now.Sub(at) > h.keepUnselected })
}

// explains says whether a deletion that was seen accounts for the lack of the ENI's
// NodeENI or Node. That of a Node accounts for ENIs made for that instance
// before: one made after was made for a Node that is back.
func (h *history) explains(o eni.Owner) (nodeENI, node bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, nodeENI = h.nodeENIs[o.NodeENIUID]
	gone, node := h.nodes[o.Node]
	if gone.instanceID != "" && gone.instanceID != o.InstanceID() || o.CreatedAt.After(gone.at) {
		node = false
	}
	return nodeENI, node
}

// sawNodeDeleted says whether a Node of that name was deleted before.
func (h *history) sawNodeDeleted(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.nodes[name].at.IsZero()
}

// lastUnselected is when the Node last stopped being selected; zero when that is not
// known or long ago.
func (h *history) lastUnselected(nodeENI types.UID, node string) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.unselected[selection{nodeENI, node}]
}
