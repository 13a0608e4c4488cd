package coordinator

import (
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// step is an act. A wait ends at Until; with a zero Until it ends with the next full sweep.
type step struct {
	Act   act
	Until time.Time
}

const (
	// minOrphanSweeps is how many full sweeps in a row have to find an orphan.
	minOrphanSweeps = 2
	// clockSkew is how far in the future a created-at tag may be; an agent's clock may be a
	// little ahead. One further ahead was not written by an agent.
	clockSkew = time.Hour
)

// plan returns what to do now, and notes when EC2 is asked for the ENI next.
func (t *track) plan(e eni.ENI, times timing, now time.Time) act {
	next := nextStep(e, t, times, now)
	t.Due = next.Until
	return next.Act
}

// nextStep decides what to do with an ENI that is left over.
func nextStep(e eni.ENI, t *track, times timing, now time.Time) step {
	if t.Decision.GracePeriod == graceOrphan && (t.OrphanSweeps < minOrphanSweeps || age(e, now) < times.OrphanAge) {
		return step{Act: actWait}
	}
	next := step{Act: e.Removal()}
	for _, until := range t.waits(next.Act, times) {
		if now.Before(until) {
			return step{actWait, until}
		}
	}
	if next.Act == actDetach && usedByOthers(e, t.Decision) {
		next.Act = actRefuse
	}
	if next.Act == actWait {
		next.Until = now.Add(pollDelay(t.StateSince, times.Poll, now))
	}
	return next
}

// waits are the times until which the step has to wait, each for its own reason. EC2 is
// asked for the ENI again at the first of them that is not over.
func (t *track) waits(a act, times timing) (until []time.Time) {
	if t.Decision.GracePeriod == graceAgent {
		until = append(until, t.ProvenSince.Add(times.ReleaseGrace))
	}
	until = append(until, t.NotBefore)
	switch {
	case a != actDetach:
	case t.Decision.GracePeriod == graceNode:
		until = append(until, latest(t.DetachAfter, t.ProvenSince.Add(times.NodeGrace)))
	default:
		until = append(until, t.DetachAfter)
	}
	return until
}

// usedByOthers says whether the ENI must not be taken from the instance that it is attached
// to. Either nothing of the ENI is known here, and it may belong to another cluster with the
// same --cluster-name; or it was attached by hand to an instance that it was not made for.
func usedByOthers(e eni.ENI, d decision) bool {
	made := e.Owner.InstanceID()
	return d.Reason == reasonBothUnknown || made != "" && e.Attachment.InstanceID != made
}

// age is the ENI's age by its tag. Every agent writes the tag with the create call, so one
// that cannot be read does not protect the ENI.
func age(e eni.ENI, now time.Time) time.Duration {
	created := e.Owner.CreatedAt
	if created.IsZero() || created.Sub(now) > clockSkew {
		return 1<<63 - 1
	}
	return now.Sub(created)
}
