package coordinator

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/cache"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// eventHandlers handle the informers' events: a change that can leave ENIs over has EC2
// asked for them, and one that can change a status has it written. Other changes, such as a
// kubelet's heartbeat, end here.
type eventHandlers struct {
	caches    *caches
	describes *describeQueue
	statuses  *statusQueue
	limiter   *reportLimiter
	lost      *lostNodes
}

func (h *eventHandlers) register() error {
	history := h.caches.history
	return errors.Join(
		h.caches.handle(h.caches.nodeENIs, handlerOf(h.nodeENIChanged, func(n *v1alpha1.NodeENI) { history.nodeENIDeleted(n.UID, time.Now()) })),
		h.caches.handle(h.caches.nodes, handlerOf(h.nodeChanged, func(n *kube.Node) { history.nodeDeleted(n, time.Now()) })),
		h.caches.handle(h.caches.states, handlerOf(h.stateChanged, func(*v1alpha1.NodeENIState) {})),
	)
}

// handlerOf calls changed for each event: old is nil for an object that is new, now is nil
// for one that is gone. Before that it calls deleted if there was a delete event. An object
// that a new list lacks may have been deleted, or the list is wrong: an etcd that was
// restored to an older state shows no object that was created later.
func handlerOf[T any](changed func(old, now *T), deleted func(last *T)) cache.ResourceEventHandler {
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

func (h *eventHandlers) nodeENIChanged(old, now *v1alpha1.NodeENI) {
	if old != nil && now != nil && now.UID != old.UID { // deleted, and another one has its name
		h.caches.history.nodeENIDeleted(old.UID, time.Now())
	}
	if needsSweep(old, now) {
		for _, n := range []*v1alpha1.NodeENI{old, now} {
			if n != nil {
				h.describes.add(eni.ByNodeENI, string(n.UID))
			}
		}
	}
	h.statuses.add(cmp.Or(now, old).Name) // the writer forgets one that is gone
}

// needsSweep says whether the change of a NodeENI can leave ENIs over.
func needsSweep(old, now *v1alpha1.NodeENI) bool {
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

func (h *eventHandlers) nodeChanged(old, now *kube.Node) {
	h.lost.nodeChanged(old, now, time.Now())
	switch {
	case old == nil:
	case now == nil:
		h.describes.add(eni.ByNode, old.Name)
	case nodeUnchanged(old, now):
		return
	case instanceReplaced(old, now), old.Spec.ProviderID != now.Spec.ProviderID && h.caches.history.sawNodeDeleted(now.Name):
		// It may be another instance than the deleted Node of its name, too: some cloud
		// controllers set the providerID after the Node has been registered.
		h.describes.add(eni.ByNode, old.Name)
	}
	h.selectionChanged(old, now)
}

// selectionChanged begins the grace periods of the ENIs whose NodeENIs no longer select the
// Node.
func (h *eventHandlers) selectionChanged(old, now *kube.Node) {
	selects := func(n *v1alpha1.NodeENI, node *kube.Node) bool { return node != nil && n.Selects(node.Labels) }
	for _, n := range h.caches.nodeENIs.list() {
		before, after := selects(n, old), selects(n, now)
		if before && !after {
			h.caches.history.nodeUnselected(n.UID, old.Name, time.Now())
			h.describes.add(eni.ByNode, old.Name)
		}
		if before || after {
			h.statuses.add(n.Name)
		}
	}
}

func nodeUnchanged(old, now *kube.Node) bool {
	return old.UID == now.UID && old.Spec.ProviderID == now.Spec.ProviderID && maps.Equal(old.Labels, now.Labels)
}

// instanceReplaced says whether the Node was one instance, and now is another one or none.
func instanceReplaced(old, now *kube.Node) bool {
	before, after := kube.InstanceID(old.Spec.ProviderID), kube.InstanceID(now.Spec.ProviderID)
	return before != "" && before != after
}

func (h *eventHandlers) stateChanged(old, now *v1alpha1.NodeENIState) {
	if ids := newlyReleased(old, now); len(ids) > 0 && h.limiter.allow(now.Name, func() { h.describeReleased(now.Name) }) {
		h.describes.add(eni.ByID, ids...)
	}
	for _, state := range []*v1alpha1.NodeENIState{old, now} {
		if state != nil {
			for _, entry := range state.Status.ENIs {
				h.statuses.add(entry.NodeENI)
			}
		}
	}
	name := cmp.Or(now, old).Name
	if problemOf(old) != problemOf(now) {
		h.updateSelecting(h.caches.nodes.get(name))
	}
	if now == nil {
		h.limiter.forget(name)
	} else {
		h.lost.agentReported(name, time.Now())
	}
}

// updateSelecting has the status of all NodeENIs written that select the Node: an agent
// that does nothing may have no ENI to report.
func (h *eventHandlers) updateSelecting(node *kube.Node) {
	for _, n := range h.caches.nodeENIs.list() {
		if node != nil && n.Selects(node.Labels) {
			h.statuses.add(n.Name)
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

// describeReleased has EC2 asked for all ENIs that the node releases by now.
func (h *eventHandlers) describeReleased(node string) {
	h.describes.add(eni.ByID, newlyReleased(nil, h.caches.states.get(node))...)
}

// newlyReleased are the ENIs whose phase has become Releasing or Released.
func newlyReleased(old, now *v1alpha1.NodeENIState) (ids []string) {
	if now == nil {
		return nil
	}
	for _, entry := range now.Status.ENIs {
		if entry.ENIID == "" || !isReleasing(entry.Phase) {
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
