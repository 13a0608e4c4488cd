package coordinator

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// orphanSweeps is how many full sweeps in a row have to find an orphan.
const orphanSweeps = 2

// clockSkew is how far in the future a created-at tag may lie before it is
// taken for garbage; an agent's clock may be a little ahead.
const clockSkew = time.Hour

// maxPatience bounds the time between two looks at an ENI that does not move.
const maxPatience = 30 * time.Second

// track is what the sweeper remembers of an ENI that is left over. It is lost
// with the process, which costs time and nothing else.
type track struct {
	Verdict verdict
	FoundAt time.Time
	// ProvenSince is when it was first found left over on somebody's word, with
	// the present grace.
	ProvenSince time.Time
	// Sightings counts the full sweeps in a row that found it an orphan.
	Sightings int
	// State is the ENI's and its attachment's state, since StateSince.
	State      string
	StateSince time.Time
	// NotBefore is when the next step may be taken; a change of state or of the
	// verdict overrules it.
	NotBefore time.Time
	// Due is when to look at it next; zero means with the next full sweep.
	Due time.Time
	// NodeENI is the UID in its tag.
	NodeENI types.UID
	// Deleted: EC2 has taken the Delete. Some describes may still show it.
	Deleted bool
	// Detached is the attachment that EC2 was asked to detach, Undone how often
	// the ENI was attached again after that, and DetachAfter when the next Detach
	// is due because of it.
	Detached    string
	Undone      int
	DetachAfter time.Time
	// Refused counts EC2's refusals since the verdict last changed.
	Refused int
}

// observe takes in what a sweep found. It returns whether a Detach was undone.
func (t *track) observe(e eni.ENI, v verdict, full bool, now time.Time) (undone bool) {
	t.Deleted = false
	if v.Grace == graceOrphan {
		t.ProvenSince = time.Time{}
		if full {
			t.Sightings++
		}
	} else {
		t.Sightings = 0
		if t.ProvenSince.IsZero() || v.Grace != t.Verdict.Grace {
			t.ProvenSince = now
		}
	}
	if v != t.Verdict {
		t.Verdict, t.NotBefore, t.Refused = v, time.Time{}, 0
		if soon := now.Add(undoneSoon); t.DetachAfter.After(soon) { // its agent may be back
			t.DetachAfter = soon
		}
	}
	if a := e.Attachment; a != nil && !a.Detaching() && t.Detached != "" && a.ID != t.Detached {
		undone, t.Detached = true, ""
		t.Undone++
		if t.Undone > 1 { // whoever did it once may not have known better
			t.DetachAfter = now.Add(undonePace.delay(t.Undone - 2))
		}
	}
	if state := stateOf(e); state != t.State {
		t.State, t.StateSince, t.NotBefore = state, now, time.Time{}
	}
	return undone
}

func stateOf(e eni.ENI) string {
	if e.Attachment == nil {
		return e.Status
	}
	return e.Status + "/" + e.Attachment.ID + "/" + e.Attachment.Status
}

// patience is how long to leave an ENI alone: the longer it has not moved, the
// longer, between the poll interval and half a minute.
func (t *track) patience(poll time.Duration, now time.Time) time.Duration {
	return max(poll, min(now.Sub(t.StateSince)/4, maxPatience))
}

// act is what to do with a left-over ENI.
type act = eni.Removal

const (
	actWait   = eni.RemovalWait
	actDetach = eni.RemovalDetach
	actDelete = eni.RemovalDelete
	actRefuse = eni.RemovalRefuse
)

// step is an act. A wait ends at Until; with a zero Until the next full sweep
// is soon enough.
type step struct {
	Act   act
	Until time.Time
}

// timing holds the times that decisions depend on.
type timing struct {
	ReleaseGrace time.Duration
	NodeGrace    time.Duration
	OrphanAge    time.Duration
	Poll         time.Duration
}

// nextStep decides what to do with an ENI that is left over.
func nextStep(e eni.ENI, t *track, times timing, now time.Time) step {
	switch t.Verdict.Grace {
	case graceOrphan:
		if t.Sightings < orphanSweeps || age(e, now) < times.OrphanAge {
			return step{Act: actWait}
		}
	case graceAgent:
		if until := t.ProvenSince.Add(times.ReleaseGrace); now.Before(until) {
			return step{actWait, until}
		}
	}
	if now.Before(t.NotBefore) {
		return step{actWait, t.NotBefore}
	}
	next := step{Act: e.Removal()}
	if until := t.attachedUntil(times); next.Act == actDetach && now.Before(until) {
		return step{actWait, until}
	}
	if next.Act == actDetach && usedByOthers(e, t.Verdict) {
		next.Act = actRefuse
	}
	if next.Act == actWait {
		next.Until = now.Add(t.patience(times.Poll, now))
	}
	return next
}

// attachedUntil is until when the ENI, attached to an instance, is left there.
func (t *track) attachedUntil(times timing) time.Time {
	until := t.DetachAfter
	if t.Verdict.Grace == graceNode {
		if back := t.ProvenSince.Add(times.NodeGrace); back.After(until) {
			until = back
		}
	}
	return until
}

// usedByOthers says whether the instance that the ENI is attached to is none that
// this cluster may take it from: nothing of the ENI is known here, and it may be
// another cluster's with the same --cluster-name, or somebody has attached it to an
// instance that it was not made for.
func usedByOthers(e eni.ENI, v verdict) bool {
	made := e.Owner.InstanceID()
	return v.Reason == reasonBothUnknown || made != "" && e.Attachment.InstanceID != made
}

// age of the ENI by its tag. One without a readable tag is as old as can be:
// every agent writes the tag with the create call.
func age(e eni.ENI, now time.Time) time.Duration {
	created := e.Owner.CreatedAt
	if created.IsZero() || created.Sub(now) > clockSkew {
		return 1<<63 - 1
	}
	return now.Sub(created)
}
