package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// An agent may hear EC2 and not the API server: a partition, a token that is no longer
// accepted, a watch that hangs. It keeps what it has. But whoever has detached or
// deleted an ENI meanwhile, as the coordinator does, may know what the agent does not,
// so it undoes that only after the API server has confirmed what is wanted, as the
// coordinator asks before it detaches. In the steady state nothing is asked.

// Confirmer asks the API server itself, past what its watches tell. A Source without an
// API server is none.
type Confirmer interface {
	// Confirm fails unless the NodeENI selects the node now.
	Confirm(ctx context.Context, uid types.UID, name string) error
}

// confirmKey is the question's place among the failures.
var confirmKey = retry.Key{Action: "confirm"}

// reasonOutOfTouch: others have taken an ENI, and the API server does not say whether
// it is still wanted.
const reasonOutOfTouch = "OutOfTouch"

// unconfirmed are the places from which others have taken an ENI.
type unconfirmed struct {
	taken  map[slot]string // the ENI
	asking bool
	since  time.Time // of the first answer that failed to come
}

// noticeTaken compares what was there before a describe with what is there now.
func (a *Agent) noticeTaken(before []tracked) {
	if _, ok := a.Source.(Confirmer); !ok {
		return
	}
	for _, e := range before {
		if e.released || e.reported {
			continue // that is expected; or the API server has just been heard
		}
		i := slices.IndexFunc(a.enis, func(t tracked) bool { return t.ID == e.ID })
		gone := i < 0
		attached := e.Attachment != nil && e.Attachment.InstanceID == a.Identity.InstanceID && !e.Attachment.Detaching()
		if gone || attached && (a.enis[i].Attachment == nil || a.enis[i].Attachment.Detaching()) {
			a.unconfirmed.taken[e.slot()] = e.ID
		}
	}
}

// confirm asks for what has been taken by others and is still wanted.
func (a *Agent) confirm(ctx context.Context, now time.Time) {
	names := map[types.UID]string{}
	wanted := a.desired.slots()
	for s := range a.unconfirmed.taken {
		if !wanted[s] {
			delete(a.unconfirmed.taken, s)
		}
	}
	asked := map[slot]string{}
	for _, w := range a.desired.wants {
		if id, ok := a.unconfirmed.taken[w.slot]; ok && !a.desired.held[w.uid] {
			asked[w.slot], names[w.uid] = id, w.nodeENI
		}
	}
	if len(a.unconfirmed.taken) == 0 {
		a.inTouchAgain(now)
	}
	if len(asked) == 0 || a.unconfirmed.asking || a.failures.Blocks(confirmKey, now) {
		return
	}
	a.unconfirmed.asking = true
	go func() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		var failed error // one that is wanted no more, of which no watch tells, holds up no other
		for uid, name := range names {
			if err := a.Source.(Confirmer).Confirm(ctx, uid, name); err != nil {
				failed = err
				maps.DeleteFunc(asked, func(s slot, _ string) bool { return s.uid == uid })
			}
		}
		a.results <- func() { a.confirmed(asked, failed, time.Now()) }
	}()
}

// confirmed takes in which of the places are wanted, and why others are not known to be.
func (a *Agent) confirmed(wanted map[slot]string, err error, now time.Time) {
	a.unconfirmed.asking = false
	for s, id := range wanted {
		if a.unconfirmed.taken[s] == id {
			delete(a.unconfirmed.taken, s)
		}
	}
	if err != nil {
		if a.unconfirmed.since.IsZero() {
			a.unconfirmed.since = now
			a.Log.Warn("others have taken ENIs of this node; none is attached or created in their place before the API server confirms that it is wanted", "error", err)
		}
		a.failures.Failed(confirmKey, err, now)
		return
	}
	a.inTouchAgain(now)
}

// inTouchAgain tells, once, why ENIs were not attached for a while.
func (a *Agent) inTouchAgain(now time.Time) {
	failed, ok := a.failures.Get(confirmKey)
	if !ok {
		return
	}
	a.failures.Reset(confirmKey)
	waited := now.Sub(a.unconfirmed.since).Round(time.Second)
	a.unconfirmed.since = time.Time{}
	a.Log.Info("what is wanted here is known again", "waited", waited)
	a.Recorder.Event(kube.NodeRef(a.Node), kube.EventWarning, reasonOutOfTouch,
		"for %v the agent attached and created no ENI in the place of those that others had taken, because the API server did not confirm that they are wanted: %v", waited, failed.Err)
}

// outOfTouch says why an ENI is not attached, or created, again.
func (s situation) outOfTouch(w want) (reason, message string) {
	id, taken := s.view.unconfirmed[w.slot]
	failed, ok := s.failures.Get(confirmKey)
	if !taken || !ok {
		return "", ""
	}
	return reasonOutOfTouch, fmt.Sprintf("others have detached or deleted %s; it is replaced or attached again once the API server confirms that it is wanted: %v", id, failed.Err)
}
