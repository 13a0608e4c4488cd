package coordinator

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// timing holds the times that the steps of a collection depend on.
type timing struct {
	Sweep        time.Duration // between full sweeps
	ReleaseGrace time.Duration
	NodeGrace    time.Duration
	OrphanAge    time.Duration
	Poll         time.Duration
}

// track is what the sweeper remembers of an ENI that is left over. It is lost with the
// process, which costs time and nothing else.
type track struct {
	NodeENI  types.UID // in its tag
	Decision decision
	FoundAt  time.Time
	// ProvenSince is when the grace period began: since then something proves that the ENI
	// is left over.
	ProvenSince time.Time
	// OrphanSweeps counts the full sweeps in a row that found it an orphan.
	OrphanSweeps int
	// State is that of the ENI and its attachment, since StateSince.
	State      string
	StateSince time.Time
	// NotBefore is when the next step may be taken. A change of the state or of the
	// decision ends the wait.
	NotBefore time.Time
	// Due is when EC2 is asked for the ENI next; zero means with the next full sweep.
	Due time.Time
	// Deleted says that EC2 has deleted it. Some describes may still show it.
	Deleted bool
	// Detached is the attachment that EC2 was last asked to detach. Reattached counts how
	// often the ENI was attached again after that, and it is not detached again before
	// DetachAfter.
	Detached    string
	Reattached  int
	DetachAfter time.Time
	// Refused counts EC2's refusals since the last change of the decision.
	Refused int
}

// observe notes what a sweep has found. It returns whether the ENI has been attached again
// after a Detach.
func (t *track) observe(e eni.ENI, d decision, full bool, now time.Time) (reattached bool) {
	t.Deleted = false
	t.decided(d, full, now)
	if a := e.Attachment; a != nil && !a.Detaching() && t.Detached != "" && a.ID != t.Detached {
		reattached, t.Detached = true, ""
		t.Reattached++
		if t.Reattached > 1 { // the first time may have crossed the Detach
			t.DetachAfter = now.Add(reattachedBackoff.Delay(t.Reattached - 2))
		}
	}
	if state := stateOf(e); state != t.State {
		t.State, t.StateSince, t.NotBefore = state, now, time.Time{}
	}
	return reattached
}

func (t *track) decided(d decision, full bool, now time.Time) {
	if d.GracePeriod == graceOrphan {
		t.ProvenSince = time.Time{}
		if full {
			t.OrphanSweeps++
		}
	} else {
		t.OrphanSweeps = 0
		if t.ProvenSince.IsZero() || d.GracePeriod != t.Decision.GracePeriod {
			t.ProvenSince = now
		}
	}
	if d != t.Decision {
		t.Decision, t.NotBefore, t.Refused = d, time.Time{}, 0
		if soon := now.Add(reattachedRetry); t.DetachAfter.After(soon) { // its agent may be back
			t.DetachAfter = soon
		}
	}
}

// unselected begins the grace period again when the Node came back and was lost again
// between two sweeps.
func (t *track) unselected(last time.Time) {
	if t.Decision.Reason == reasonNotSelected || t.Decision.Reason == reasonNodeDeleted {
		t.ProvenSince = latest(t.ProvenSince, last)
	}
}

// settle notes the result of a job, and when EC2 is asked for the ENI next.
func (t *track) settle(r result, times timing, now time.Time) {
	t.NotBefore = now.Add(t.wait(r, times, now))
	t.Due = t.NotBefore
	switch {
	case r.outcome == outcomeRefused:
		t.Refused++
	case r.outcome != outcomeDone:
	case r.act == actDelete:
		t.Refused, t.Deleted, t.Due = 0, true, time.Time{}
	default:
		t.Refused, t.Detached = 0, r.eni.Attachment.ID
	}
}

// wait is how long to wait for the next step after a job.
func (t *track) wait(r result, times timing, now time.Time) time.Duration {
	switch r.outcome {
	case outcomeDone:
		return times.Poll
	case outcomeRefused:
		if r.act == actRefuse {
			return times.Sweep
		}
		return refusedBackoff.Delay(t.Refused)
	case outcomeSkipped:
		return refusedBackoff.Delay(0)
	case outcomeLater, outcomeDropped:
		return pollDelay(t.StateSince, times.Poll, now)
	}
	return 0 // throttled or postponed: the next sweep, which waits for EC2's backoff
}

func stateOf(e eni.ENI) string {
	if e.Attachment == nil {
		return e.Status
	}
	return e.Status + "/" + e.Attachment.ID + "/" + e.Attachment.Status
}

// tracks are those of the ENIs that are left over, by id.
type tracks map[string]*track

// due are the ENIs that EC2 is to be asked for now, as many as one describe takes: the
// steps of a batch take longer than another describe. Those found first come first.
func (t tracks) due(now time.Time) []string {
	var ids []string
	for id, of := range t {
		if !of.Due.IsZero() && !now.Before(of.Due) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b string) int {
		return cmp.Or(t[a].FoundAt.Compare(t[b].FoundAt), cmp.Compare(a, b))
	})
	return ids[:min(len(ids), eni.SelectorLimit)]
}

// next is when the next one is due; zero means with the next full sweep.
func (t tracks) next() (next time.Time) {
	for _, of := range t {
		next = earliest(next, of.Due)
	}
	return next
}

// has says whether the NodeENI has an ENI that is left over.
func (t tracks) has(nodeENI types.UID) bool {
	for _, of := range t {
		if of.NodeENI == nodeENI && !of.Deleted {
			return true
		}
	}
	return false
}

// forgetGone drops the ENIs that EC2 was asked for and does not show any more.
func (t tracks) forgetGone(seen listing) {
	exists := map[string]bool{}
	for _, e := range seen.enis {
		exists[e.ID] = true
	}
	maps.DeleteFunc(t, func(id string, _ *track) bool { return seen.cover(eni.ByID, id) && !exists[id] })
}
