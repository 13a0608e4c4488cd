package agent_test

import (
	"maps"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// coordinate collects as the coordinator does.
func (w *world) coordinate() {
	found := map[string]time.Time{}
	for {
		pause := 20 * time.Second
		if len(found) > 0 {
			pause = 2 * time.Second
		}
		select {
		case <-w.over:
			return
		case <-time.After(pause):
		}
		w.sweep(found)
	}
}

// sweep looks at each ENI once; found is since when it has been left over.
func (w *world) sweep(found map[string]time.Time) {
	s, wanted, living := w.memory.truth(), w.wanted(), w.living()
	maps.DeleteFunc(found, func(id string, _ time.Time) bool {
		return !slices.ContainsFunc(living, func(e cloud.Interface) bool { return e.ID == id })
	})
	phases := map[string]v1alpha1.Phase{}
	for _, entry := range w.memory.saved().ENIs {
		phases[entry.ENIID] = entry.Phase
	}
	for _, e := range living {
		phase := phases[e.ID]
		_, is := wanted[placeOf(e)]
		is = is || e.Tags[eni.TagPlace] != "" && w.onDemand(s, e) // it knows no claims
		given := phase == v1alpha1.PhaseReleased || phase == v1alpha1.PhaseReleasing
		if is && !given {
			delete(found, e.ID)
			continue
		}
		if found[e.ID].IsZero() {
			found[e.ID] = time.Now()
		}
		if phase != v1alpha1.PhaseReleased && s.NodeExists && time.Since(found[e.ID]) < 15*time.Second {
			continue
		}
		if e.Attachment == nil {
			_ = w.cloud.DeleteByHand(e.ID)
		} else {
			_ = w.cloud.DetachByHand(e.ID)
		}
	}
}

// onDemand says whether the ENI's NodeENI selects the node.
func (w *world) onDemand(s agent.Snapshot, e cloud.Interface) bool {
	return s.NodeExists && slices.ContainsFunc(s.NodeENIs, func(n v1alpha1.NodeENI) bool { return n.UID == placeOf(e).uid && n.Selects(s.Labels) })
}

// withoutCoordinator ends it.
func (w *world) withoutCoordinator() {
	close(w.over)
	w.parallel.Wait()
	w.over = make(chan struct{})
}
