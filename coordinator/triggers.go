package coordinator

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/cache"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// triggers connect changes of objects to the loops: a look at the ENIs that a change
// can leave over, a fresh status for what can change it. What neither needs, such as a
// kubelet's heartbeat, ends here.
type triggers struct {
	caches  *caches
	queue   *queue // for the sweeper
	marks   *marks // for the status writer
	limiter *reportLimiter
}

func (t *triggers) watch() error {
	history := t.caches.history
	return errors.Join(
		t.caches.handle(t.caches.nodeENIs, handler(t.nodeENIChanged, func(n *v1alpha1.NodeENI) { history.nodeENIDeleted(n.UID, time.Now()) })),
		t.caches.handle(t.caches.nodes, handler(t.nodeChanged, func(n *kube.Node) { history.nodeDeleted(n, time.Now()) })),
		t.caches.handle(t.caches.states, handler(t.stateChanged, func(*v1alpha1.NodeENIState) {})),
	)
}

// handler makes one function of client-go's three: old is nil for an object that is
// new, now is nil for one that is gone. deleted is called before that for an object
// with a delete event. One that a new list lacks may have been deleted, or the list is
// wrong: an etcd that was restored to an older state shows none of what is younger.
func handler[T any](changed func(old, now *T), deleted func(last *T)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { changed(nil, obj.(*T)) },
		UpdateFunc: func(old, obj any) { changed(old.(*T), obj.(*T)) },
		DeleteFunc: func(obj any) {
			unseen, missed := obj.(cache.DeletedFinalStateUnknown)
			if missed {
				obj = unseen.Obj
			}
			last, ok := obj.(*T)
			if !ok {
				return
			}
			if m, err := meta.Accessor(last); !missed || err == nil && m.GetDeletionTimestamp() != nil {
				deleted(last)
			}
			changed(last, nil)
		},
	}
}

func (t *triggers) nodeENIChanged(old, now *v1alpha1.NodeENI) {
	if old != nil && now != nil && now.UID != old.UID { // its name is another's now
		t.caches.history.nodeENIDeleted(old.UID, time.Now())
	}
	if nodeENILeavesOver(old, now) {
		for _, n := range []*v1alpha1.NodeENI{old, now} {
			if n != nil {
				t.queue.add(eni.ByNodeENI, string(n.UID))
			}
		}
	}
	t.marks.add(cmp.Or(now, old).Name) // of one that is gone the writer forgets what it wrote
}

// nodeENILeavesOver says whether the change can leave ENIs over.
func nodeENILeavesOver(old, now *v1alpha1.NodeENI) bool {
	switch {
	case now == nil:
		return true
	case now.DeletionTimestamp != nil:
		return old == nil || old.DeletionTimestamp == nil
	case old == nil:
		return false
	}
	return old.UID != now.UID ||
		!maps.Equal(old.Spec.NodeSelector, now.Spec.NodeSelector) ||
		old.Spec.SubnetID != now.Spec.SubnetID || old.Spec.SubnetName != now.Spec.SubnetName ||
		!slices.Equal(old.Spec.SubnetIDs, now.Spec.SubnetIDs) ||
		!slices.Equal(old.Spec.SubnetNames, now.Spec.SubnetNames)
}

func (t *triggers) nodeChanged(old, now *kube.Node) {
	switch {
	case old == nil:
	case now == nil:
		t.queue.add(eni.ByNode, old.Name)
	case sameToUs(old, now):
		return
	case instanceReplaced(old, now), old.Spec.ProviderID != now.Spec.ProviderID && t.caches.history.sawNodeDeleted(now.Name):
		t.queue.add(eni.ByNode, old.Name)
	}
	t.selectionChanged(old, now)
}

// selectionChanged begins grace periods of NodeENIs that no longer select the Node.
func (t *triggers) selectionChanged(old, now *kube.Node) {
	selects := func(n *v1alpha1.NodeENI, node *kube.Node) bool { return node != nil && n.Selects(node.Labels) }
	for _, n := range t.caches.nodeENIs.list() {
		before, after := selects(n, old), selects(n, now)
		if before && !after {
			t.caches.history.nodeUnselected(n.UID, old.Name, time.Now())
			t.queue.add(eni.ByNode, old.Name)
		}
		if before || after {
			t.marks.add(n.Name)
		}
	}
}

func sameToUs(old, now *kube.Node) bool {
	return old.UID == now.UID && old.Spec.ProviderID == now.Spec.ProviderID && maps.Equal(old.Labels, now.Labels)
}

// instanceReplaced says whether the Node is another instance now. One without providerID,
// as a new one may be for a moment, was none: only if a Node of that name was deleted
// before, the ENIs may be of another instance.
func instanceReplaced(old, now *kube.Node) bool {
	before, after := kube.InstanceID(old.Spec.ProviderID), kube.InstanceID(now.Spec.ProviderID)
	return before != "" && before != after
}

func (t *triggers) stateChanged(old, now *v1alpha1.NodeENIState) {
	if ids := released(old, now); len(ids) > 0 && t.limiter.allow(now.Name, func() { t.describeReleased(now.Name) }) {
		t.queue.add(eni.ByID, ids...)
	}
	for _, state := range []*v1alpha1.NodeENIState{old, now} {
		if state != nil {
			for _, entry := range state.Status.ENIs {
				t.marks.add(entry.NodeENI)
			}
		}
	}
	name := cmp.Or(now, old).Name
	if problemOf(old) != problemOf(now) {
		t.markSelecting(t.caches.nodes.get(name))
	}
	if now == nil {
		t.limiter.forget(name)
	}
}

// markSelecting marks all NodeENIs that select the Node: an agent that does nothing may
// have no ENI to report.
func (t *triggers) markSelecting(node *kube.Node) {
	for _, n := range t.caches.nodeENIs.list() {
		if node != nil && n.Selects(node.Labels) {
			t.marks.add(n.Name)
		}
	}
}

// problemOf is why the agent does nothing, as far as it reports that.
func problemOf(report *v1alpha1.NodeENIState) string {
	if report == nil {
		return ""
	}
	return report.Status.Reason + report.Status.Message
}

// describeReleased looks at all ENIs that the node releases by now.
func (t *triggers) describeReleased(node string) {
	t.queue.add(eni.ByID, released(nil, t.caches.states.get(node))...)
}

// released are the ENIs of which the report says for the first time that the node
// releases them.
func released(old, now *v1alpha1.NodeENIState) (ids []string) {
	if now == nil {
		return nil
	}
	for _, entry := range now.Status.ENIs {
		if entry.ENIID == "" || !releases(entry.Phase) {
			continue
		}
		if old == nil || !slices.ContainsFunc(old.Status.ENIs, func(before v1alpha1.ENIState) bool {
			return before.ENIID == entry.ENIID && before.Phase == entry.Phase
		}) {
			ids = append(ids, entry.ENIID)
		}
	}
	return ids
}

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

func newReportLimiter() *reportLimiter { return &reportLimiter{nodes: map[string]*reportLimit{}} }

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

// forget is for a report that is gone, as it goes after its Node.
func (l *reportLimiter) forget(node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if of := l.nodes[node]; of != nil && !of.waiting {
		delete(l.nodes, node)
	}
}
