package coordinator

import (
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/cache"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// watch connects changes of objects to the loops: a look at the ENIs that a change
// can leave over, a fresh status for what can change it. What neither needs, such as a
// kubelet's heartbeat, ends here.
func (c *coordinator) watch() error {
	for _, h := range []struct {
		informer cache.SharedIndexInformer
		handler  cache.ResourceEventHandler
	}{
		{c.caches.nodeENIs, handler(c.nodeENIChanged, func(n *v1alpha1.NodeENI) { c.caches.history.nodeENIDeleted(n.UID, time.Now()) })},
		{c.caches.nodes, handler(c.nodeChanged, func(n *kube.Node) { c.caches.history.nodeDeleted(n, time.Now()) })},
		{c.caches.states, handler(c.stateChanged, func(*v1alpha1.NodeENIState) {})},
	} {
		if err := c.caches.handle(h.informer, h.handler); err != nil {
			return err
		}
	}
	return nil
}

// handler makes one function of client-go's three: old is nil for an object
// that is new, now is nil for one that is gone. deleted is called before that for
// an object of which the API server has told that it was deleted. One that a new
// list does not show any more may have been, or the list is wrong: an API server
// whose etcd has been restored to an older state shows none of what is younger.
// Of those absence is all that is known.
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

func (c *coordinator) nodeENIChanged(old, now *v1alpha1.NodeENI) {
	if old != nil && now != nil && now.UID != old.UID { // its name is another's now
		c.caches.history.nodeENIDeleted(old.UID, time.Now())
	}
	if nodeENILeavesOver(old, now) {
		for _, n := range []*v1alpha1.NodeENI{old, now} {
			if n != nil {
				c.sweeper.concerns.add(eni.ByNodeENI, string(n.UID))
			}
		}
	}
	if now != nil {
		c.status.mark(now.Name)
	}
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

func (c *coordinator) nodeChanged(old, now *kube.Node) {
	if sameToUs(old, now) {
		return
	}
	if now == nil {
		c.limiter.forget(old.Name)
	}
	if old != nil && (now == nil || instanceReplaced(old, now)) {
		c.sweeper.concerns.add(eni.ByNode, old.Name)
	}
	for _, n := range c.caches.allNodeENIs() {
		before, after := old != nil && n.Selects(old.Labels), now != nil && n.Selects(now.Labels)
		if before && !after {
			c.caches.history.nodeUnselected(n.UID, old.Name, time.Now())
			c.sweeper.concerns.add(eni.ByNode, old.Name)
		}
		if before || after {
			c.status.mark(n.Name)
		}
	}
}

func sameToUs(old, now *kube.Node) bool {
	return old != nil && now != nil && old.UID == now.UID &&
		old.Spec.ProviderID == now.Spec.ProviderID && maps.Equal(old.Labels, now.Labels)
}

func instanceReplaced(old, now *kube.Node) bool {
	before, after := kube.InstanceID(old.Spec.ProviderID), kube.InstanceID(now.Spec.ProviderID)
	return before != "" && before != after
}

func (c *coordinator) stateChanged(old, now *v1alpha1.NodeENIState) {
	if ids := released(old, now); len(ids) > 0 && c.limiter.allow(now.Name, func() { c.describeReleased(now.Name) }) {
		c.sweeper.concerns.add(eni.ByID, ids...)
	}
	for _, state := range []*v1alpha1.NodeENIState{old, now} {
		if state == nil {
			continue
		}
		for _, entry := range state.Status.ENIs {
			c.status.mark(entry.NodeENI)
		}
	}
}

// describeReleased looks at all ENIs that the node releases by now.
func (c *coordinator) describeReleased(node string) {
	if ids := released(nil, c.caches.state(node)); len(ids) > 0 {
		c.sweeper.concerns.add(eni.ByID, ids...)
	}
}

// released are the ENIs of which the report says for the first time that the node
// lets go of them.
func released(old, now *v1alpha1.NodeENIState) (ids []string) {
	if now == nil {
		return nil
	}
	for _, entry := range now.Status.ENIs {
		if entry.ENIID == "" || entry.Phase != v1alpha1.PhaseReleasing && entry.Phase != v1alpha1.PhaseReleased {
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

// signal wakes one loop; many settings before it wakes count as one.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) set() {
	select {
	case s <- struct{}{}:
	default:
	}
}
