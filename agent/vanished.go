package agent

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

// vanishPatience is how long an object that a new list does not show any more is
// neither believed to be there nor to be gone. Somebody may have deleted it while
// the watch was broken; or the list is wrong, and then the links of a whole fleet
// must not go down within a second. After that the API server is asked for the
// object itself.
const vanishPatience = time.Minute

// goneFor is how long a deletion is remembered.
const goneFor = time.Hour

// vanished tells objects that are gone from those that only are not shown.
type vanished struct {
	mu    sync.Mutex
	shown map[types.UID]thing     // by the last look
	since map[types.UID]time.Time // of those that are missing
	gone  map[types.UID]time.Time // proven
	// reported are those that only the last report names, which a process that
	// has just started has not seen yet.
	reported map[types.UID]bool
	ask      func(context.Context, thing) (types.UID, error)
	signal   func() // something has been found out
	wait     time.Duration
	log      *slog.Logger
}

// thing is an object that was there.
type thing struct{ resource, name string }

func newVanished(client *kube.Client, signal func(), log *slog.Logger) *vanished {
	return &vanished{
		shown: map[types.UID]thing{}, since: map[types.UID]time.Time{}, gone: map[types.UID]time.Time{}, reported: map[types.UID]bool{},
		ask:    func(ctx context.Context, t thing) (types.UID, error) { return client.UID(ctx, t.resource, t.name) },
		signal: signal, wait: vanishPatience, log: log,
	}
}

// remember takes in the NodeENIs that the last report names. One that the first list
// of a process lacks may have been deleted meanwhile, or the list is wrong: the API
// server is asked for it by name, at once, before its ENIs are released.
func (v *vanished) remember(last v1alpha1.NodeENIStateStatus) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, e := range last.ENIs {
		if e.Phase == v1alpha1.PhaseReleased || e.NodeENI == "" || len(content.IsPathSegmentName(e.NodeENI)) > 0 {
			continue // nothing is left to protect, or it is no name that could be asked for
		}
		v.shown[e.NodeENIUID] = thing{kube.NodeENIs, e.NodeENI}
		v.reported[e.NodeENIUID] = true
	}
}

// onDelete is for the delete events of an informer.
func (v *vanished) onDelete(o any) {
	_, missed := o.(cache.DeletedFinalStateUnknown)
	if object, ok := o.(metav1.Object); ok && !missed {
		v.prove(object.GetUID())
	}
}

func (v *vanished) prove(uid types.UID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(v.gone, func(_ types.UID, at time.Time) bool { return now.Sub(at) > goneFor })
	v.gone[uid] = now
}

// look takes in what is there now. It returns whether anything is missing of
// which nobody has told that it was deleted, and what is known to be gone. What
// is being deleted may go unseen.
func (v *vanished) look(there map[types.UID]thing, leaving map[types.UID]bool) (missing bool, gone map[types.UID]bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	gone = map[types.UID]bool{}
	for uid := range v.gone {
		gone[uid] = true
	}
	names := map[thing]bool{}
	for uid, t := range there {
		names[t] = true
		delete(v.since, uid)
		delete(v.reported, uid)
		if leaving[uid] {
			delete(v.shown, uid)
		} else {
			v.shown[uid] = t
		}
	}
	for uid, t := range v.shown {
		_, here := there[uid]
		switch {
		case here:
		case gone[uid], names[t]: // or another has its name
			gone[uid], v.gone[uid] = true, time.Now()
			delete(v.shown, uid)
			delete(v.since, uid)
		default:
			missing = true
			if v.since[uid].IsZero() {
				v.since[uid] = time.Now()
				wait := v.wait
				if v.reported[uid] {
					wait = 0
				}
				time.AfterFunc(wait, func() { v.confirm(uid, t) })
			}
		}
	}
	return missing, gone
}

// confirm asks the API server whether the object is really gone.
func (v *vanished) confirm(uid types.UID, t thing) {
	v.mu.Lock()
	still := !v.since[uid].IsZero()
	v.mu.Unlock()
	if !still {
		return
	}
	now, err := v.ask(context.Background(), t)
	if err != nil || now == uid {
		v.log.Warn("an object is not listed, but nobody has said that it was deleted; all ENIs of it stay", "resource", t.resource, "name", t.name, "error", err)
		time.AfterFunc(v.wait, func() { v.confirm(uid, t) })
		return
	}
	v.prove(uid)
	v.signal()
}
