package coordinator

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

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
	Sweep        time.Duration // between full sweeps
	ReleaseGrace time.Duration
	NodeGrace    time.Duration
	OrphanAge    time.Duration
	Poll         time.Duration
}

// job is one step to carry out.
type job struct {
	eni     eni.ENI
	verdict verdict
	act     act
}

// outcome is what became of a job.
type outcome string

const (
	outcomeDone      outcome = "done"      // EC2 did it, or had done it before
	outcomeLater     outcome = "later"     // not yet, or nobody knows: the next describe tells
	outcomeThrottled outcome = "throttled" // too many calls
	outcomeRefused   outcome = "refused"   // until somebody changes something
	outcomeHeld      outcome = "held"      // EC2 refuses the same for other ENIs
	outcomePostponed outcome = "postponed" // not reached in this sweep
	outcomeDropped   outcome = "dropped"   // something changed since the decision
)

// outcomeOf reads EC2's answer to a Detach or a Delete.
func outcomeOf(err error) outcome {
	switch {
	case err == nil, eni.IsNotFound(err), eni.IsAttachmentGone(err):
		return outcomeDone
	case eni.IsThrottled(err):
		return outcomeThrottled
	case eni.IsTerminal(err):
		return outcomeRefused
	default:
		return outcomeLater
	}
}

// result is a job carried out.
type result struct {
	job
	outcome outcome
	err     error // EC2's answer, unless done
}

const (
	// orphanSweeps is how many full sweeps in a row have to find an orphan.
	orphanSweeps = 2
	// clockSkew is how far in the future a created-at tag may lie before it is
	// taken for garbage; an agent's clock may be a little ahead.
	clockSkew = time.Hour
	// maxPollDelay bounds the time between two looks at an ENI that does not move.
	maxPollDelay = 30 * time.Second
)

// pollDelay is how long to wait for what has not moved since then: the longer, the
// longer, between the poll interval and half a minute.
func pollDelay(since time.Time, poll time.Duration, now time.Time) time.Duration {
	return max(poll, min(now.Sub(since)/4, maxPollDelay))
}

// track is what the sweeper remembers of an ENI that is left over. It is lost
// with the process, which costs time and nothing else.
type track struct {
	NodeENI types.UID // in its tag
	Verdict verdict
	FoundAt time.Time
	// ProvenSince is when it was first found left over for more than absence, with the
	// present grace.
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
	// Deleted: EC2 has taken the Delete. Some describes may still show it.
	Deleted bool
	// Detached is the attachment that EC2 was asked to detach, Undone how often the ENI was
	// attached again after that, and DetachAfter when it may be detached again.
	Detached    string
	Undone      int
	DetachAfter time.Time
	// Refused counts EC2's refusals since the verdict last changed.
	Refused int
}

// observe takes in what a sweep found. It returns whether a Detach was undone.
func (t *track) observe(e eni.ENI, v verdict, full bool, now time.Time) (undone bool) {
	t.Deleted = false
	t.judged(v, full, now)
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

func (t *track) judged(v verdict, full bool, now time.Time) {
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
}

// unselected begins the grace period again when the Node was lost again since.
func (t *track) unselected(last time.Time) {
	if t.Verdict.Reason == reasonNotSelected || t.Verdict.Reason == reasonNodeDeleted {
		t.ProvenSince = latest(t.ProvenSince, last)
	}
}

// settle notes what became of a job, and when to look again.
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
		return refusedPace.delay(t.Refused)
	case outcomeHeld:
		return refusedPace.delay(0)
	case outcomeLater, outcomeDropped:
		return pollDelay(t.StateSince, times.Poll, now)
	}
	return 0 // throttled or postponed: as soon as EC2 has had its rest
}

func stateOf(e eni.ENI) string {
	if e.Attachment == nil {
		return e.Status
	}
	return e.Status + "/" + e.Attachment.ID + "/" + e.Attachment.Status
}

// plan returns what to do now, and notes when to look again.
func (t *track) plan(e eni.ENI, times timing, now time.Time) act {
	next := nextStep(e, t, times, now)
	t.Due = next.Until
	return next.Act
}

// nextStep decides what to do with an ENI that is left over.
func nextStep(e eni.ENI, t *track, times timing, now time.Time) step {
	if t.Verdict.Grace == graceOrphan && (t.Sightings < orphanSweeps || age(e, now) < times.OrphanAge) {
		return step{Act: actWait}
	}
	next := step{Act: e.Removal()}
	for _, until := range t.waits(next.Act, times) {
		if now.Before(until) {
			return step{actWait, until}
		}
	}
	if next.Act == actDetach && usedByOthers(e, t.Verdict) {
		next.Act = actRefuse
	}
	if next.Act == actWait {
		next.Until = now.Add(pollDelay(t.StateSince, times.Poll, now))
	}
	return next
}

// waits are the times until which the step is put off, each for its own reason. The ENI
// is looked at again when the first of those to come is over.
func (t *track) waits(a act, times timing) (until []time.Time) {
	if t.Verdict.Grace == graceAgent {
		until = append(until, t.ProvenSince.Add(times.ReleaseGrace))
	}
	until = append(until, t.NotBefore)
	switch {
	case a != actDetach:
	case t.Verdict.Grace == graceNode:
		until = append(until, latest(t.DetachAfter, t.ProvenSince.Add(times.NodeGrace)))
	default:
		until = append(until, t.DetachAfter)
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

// tracks are those of the ENIs that are left over, by id.
type tracks map[string]*track

// due are the ENIs that are to be looked at now, as many as one describe takes: each
// step of a batch takes EC2 long enough. Those that were found first come first.
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

// next is when one of them is due; zero means with the next full sweep.
func (t tracks) next() (next time.Time) {
	for _, of := range t {
		next = earliest(next, of.Due)
	}
	return next
}

// has says whether there is an ENI of the NodeENI.
func (t tracks) has(nodeENI types.UID) bool {
	for _, of := range t {
		if of.NodeENI == nodeENI && !of.Deleted {
			return true
		}
	}
	return false
}

// forgetGone drops the ENIs that EC2, asked for them, no longer shows.
func (t tracks) forgetGone(seen listing) {
	exists := map[string]bool{}
	for _, e := range seen.enis {
		exists[e.ID] = true
	}
	maps.DeleteFunc(t, func(id string, _ *track) bool { return seen.cover(eni.ByID, id) && !exists[id] })
}
