package apiserver

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// absenceTimeout is how long an object that a new list does not show any more counts
// neither as present nor as deleted. It may have been deleted while the watch was
// broken; or the list is wrong, and then the links of a whole fleet must not go down
// within a second. After that the API server is asked for the object itself.
const absenceTimeout = time.Minute

// deletedTTL is how long a deletion is remembered.
const deletedTTL = time.Hour

// Absences tells objects that were deleted from those that a list only lacks.
type Absences struct {
	mu      sync.Mutex
	present map[types.UID]sighting  // that were, and of which no deletion is known
	deleted map[types.UID]time.Time // proven
	get     func(context.Context, Object) (types.UID, error)
	changed func()
	timeout time.Duration
	log     *slog.Logger
}

// Object is an object that was present.
type Object struct{ Resource, Name string }

// sighting is an object that was present.
type sighting struct {
	Object
	absent   bool // at the last observation
	reported bool // only the last report names it: a process that has just started has not seen it yet
}

// NewAbsences makes Absences. get asks the API server for the UID of the object that
// has a name now, which is empty when none has it; changed is called when it has proven
// a deletion.
func NewAbsences(get func(context.Context, Object) (types.UID, error), changed func(), log *slog.Logger) *Absences {
	return &Absences{
		present: map[types.UID]sighting{}, deleted: map[types.UID]time.Time{},
		get: get, changed: changed, timeout: absenceTimeout, log: log,
	}
}

// Seed takes in the NodeENIs that the last report names. One that the first list of a
// process lacks may have been deleted meanwhile, or the list is wrong: the API server is
// asked for it by name, at once, before its ENIs are released.
func (a *Absences) Seed(last v1alpha1.NodeENIStateStatus) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range last.ENIs {
		if e.Phase == v1alpha1.PhaseReleased || e.NodeENI == "" || len(content.IsPathSegmentName(e.NodeENI)) > 0 {
			continue // nothing is left to protect, or it is no name that could be asked for
		}
		a.present[e.NodeENIUID] = sighting{Object: Object{kube.NodeENIs, e.NodeENI}, reported: true}
	}
}

// onDelete is for the delete events of an informer.
func (a *Absences) onDelete(o any) {
	_, missed := o.(cache.DeletedFinalStateUnknown)
	if object, ok := o.(metav1.Object); ok && !missed {
		a.Delete(object.GetUID())
	}
}

// Delete notes that an object was deleted.
func (a *Absences) Delete(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(a.deleted, func(_ types.UID, at time.Time) bool { return now.Sub(at) > deletedTTL })
	a.deleted[uid] = now
}

// Observe takes in which objects are present now. It returns whether any is absent
// without a known deletion, and which are known to be deleted. Those that are
// terminating may go unseen.
func (a *Absences) Observe(present map[types.UID]Object, terminating map[types.UID]bool) (incomplete bool, deleted map[types.UID]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	deleted = map[types.UID]bool{}
	for uid := range a.deleted {
		deleted[uid] = true
	}
	names := map[Object]bool{}
	for uid, object := range present {
		names[object] = true
		if terminating[uid] {
			delete(a.present, uid)
		} else {
			a.present[uid] = sighting{Object: object}
		}
	}
	for uid, last := range a.present {
		_, here := present[uid]
		switch {
		case here:
		case deleted[uid], names[last.Object]: // or another has its name
			deleted[uid], a.deleted[uid] = true, time.Now()
			delete(a.present, uid)
		default:
			incomplete = true
			a.await(uid, last)
		}
	}
	return incomplete, deleted
}

// await has the API server asked for an absent object in time; a.mu is held.
func (a *Absences) await(uid types.UID, last sighting) {
	if last.absent {
		return
	}
	wait := a.timeout
	if last.reported {
		wait = 0
	}
	last.absent = true
	a.present[uid] = last
	time.AfterFunc(wait, func() { a.confirm(uid, last.Object) })
}

// confirm asks the API server whether the object was deleted.
func (a *Absences) confirm(uid types.UID, object Object) {
	a.mu.Lock()
	absent := a.present[uid].absent
	a.mu.Unlock()
	if !absent {
		return
	}
	now, err := a.get(context.Background(), object)
	if err != nil || now == uid {
		a.log.Warn("an object is missing from the list, but its deletion is not confirmed; keeping its ENIs", "resource", object.Resource, "name", object.Name, "error", err)
		time.AfterFunc(a.timeout, func() { a.confirm(uid, object) })
		return
	}
	a.Delete(uid)
	a.changed()
}
