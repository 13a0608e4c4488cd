package coordinator

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// deletionTTL is how long a deletion that was seen counts after the longest grace period.
// What is still there then is an orphan, and old enough.
const deletionTTL = time.Hour

// history is which objects this process saw being deleted, and which Nodes it saw stop being
// selected: between two sweeps a label, or a Node, may come back and go again, and the grace
// period counts from the last time.
type history struct {
	gracePeriod time.Duration // the longest one

	mu         sync.Mutex
	nodeENIs   map[types.UID]time.Time
	nodes      map[string]nodeDeletion
	unselected map[selection]time.Time
	pruned     time.Time
}

// nodeDeletion has the instance, too: another instance may get the Node's name, and may
// have an ENI before the cache shows its Node.
type nodeDeletion struct {
	instanceID string // "" if it is not known
	at         time.Time
}

type selection struct {
	nodeENI types.UID
	node    string
}

func newHistory(gracePeriod time.Duration) *history {
	return &history{
		gracePeriod: gracePeriod,
		nodeENIs:    map[types.UID]time.Time{}, nodes: map[string]nodeDeletion{}, unselected: map[selection]time.Time{},
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

// record also drops what no longer counts: a coordinator that does not lead makes no sweeps,
// which would.
func (h *history) record(now time.Time, what func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.pruned) > time.Minute {
		h.pruneLocked(now)
	}
	what()
}

func (h *history) prune(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pruneLocked(now)
}

func (h *history) pruneLocked(now time.Time) {
	h.pruned = now
	maps.DeleteFunc(h.nodeENIs, func(_ types.UID, at time.Time) bool { return now.Sub(at) > deletionTTL+h.gracePeriod })
	maps.DeleteFunc(h.nodes, func(_ string, gone nodeDeletion) bool { return now.Sub(gone.at) > deletionTTL+h.gracePeriod })
	maps.DeleteFunc(h.unselected, func(_ selection, at time.Time) bool { return now.Sub(at) > h.gracePeriod })
}

// seenDeletions says whether the deletion of the ENI's NodeENI, or of its Node, was seen. That
// of a Node counts for ENIs that were created for its instance before: a later one was
// created for a Node that has come back.
func (h *history) seenDeletions(o eni.Owner) (nodeENI, node bool) {
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

// lastUnselected is when the Node last stopped being selected; zero if that was not seen, or
// was longer ago than any grace period.
func (h *history) lastUnselected(nodeENI types.UID, node string) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.unselected[selection{nodeENI, node}]
}
