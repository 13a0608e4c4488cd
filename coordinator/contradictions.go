package coordinator

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// contradictions keeps what speaks against the conclusion that an ENI does not exist
// because EC2 does not show it. The verifier finds it, the status writer shows it.
type contradictions struct {
	mu        sync.Mutex
	place     contradiction // of all that EC2 shows
	ofNodeENI map[types.UID]contradiction
}

func newContradictions() *contradictions {
	return &contradictions{ofNodeENI: map[types.UID]contradiction{}}
}

// of is what is to be said of a NodeENI.
func (c *contradictions) of(uid types.UID) contradiction {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.place != (contradiction{}) {
		return c.place
	}
	return c.ofNodeENI[uid]
}

// ofAll is what is to be said of every NodeENI.
func (c *contradictions) ofAll() contradiction { return c.of("") }

// setPlace and set return whether that is news.
func (c *contradictions) setPlace(is contradiction) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	news := c.place != is
	c.place = is
	return news
}

func (c *contradictions) set(uid types.UID, is contradiction) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	news := c.ofNodeENI[uid] != is
	if c.ofNodeENI[uid] = is; is == (contradiction{}) {
		delete(c.ofNodeENI, uid)
	}
	return news
}

// forgetGone drops what was said of NodeENIs that are gone: somebody may have taken the
// finalizer off one that was blocked.
func (c *contradictions) forgetGone(find func(types.UID) *v1alpha1.NodeENI) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.ofNodeENI, func(uid types.UID, _ contradiction) bool { return find(uid) == nil })
}

// counts are how many of so many NodeENIs each reason concerns.
func (c *contradictions) counts(nodeENIs int) map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := map[string]int{}
	if c.place != (contradiction{}) {
		n[c.place.Reason] = max(nodeENIs, 1)
		return n
	}
	for _, is := range c.ofNodeENI {
		n[is.Reason]++
	}
	return n
}

// condition sets the condition CleanupBlocked, which is there as long as it holds.
func (c *contradictions) condition(n *v1alpha1.NodeENI, status *v1alpha1.NodeENIStatus, now time.Time) {
	is := c.of(n.UID)
	if is == (contradiction{}) {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionCleanupBlocked)
		return
	}
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionCleanupBlocked, Status: metav1.ConditionTrue, Reason: is.Reason, Message: is.Message,
		ObservedGeneration: n.Generation, LastTransitionTime: metav1.NewTime(now),
	})
	if ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady); n.DeletionTimestamp != nil && ready != nil {
		ready.Message = is.Message // nothing is detached or deleted, whatever Deleting says
	}
}
