package agent

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// observeKey is the describe's place among the failures.
var observeKey = retry.Key{Action: "DescribeNetworkInterfaces"}

// verifyEvery is how often EC2 is asked when nothing happens, or up to a fifth
// later, so that a fleet that started together spreads: never twice in an hour.
const verifyEvery = time.Hour

// doubtSteps are the waits between observations while one leaves something
// open: an ENI is being detached, was not shown, is attached to another instance,
// or is said to be attached although its link has vanished.
var doubtSteps = []time.Duration{2 * time.Second, 5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute}

// observe asks EC2 for this instance's ENIs when it is time. No mutating call is
// under way then: a list that was made before a change would undo it here.
func (a *Agent) observe(ctx context.Context, now time.Time) {
	if a.observing || len(a.running) > 0 || now.Before(a.nextObserve) || a.failures.Blocks(observeKey, now) {
		return
	}
	a.observing = true
	a.askHints(ctx, now)
	proven := a.proven()
	go func() {
		ctx, cancel := context.WithTimeout(ctx, eni.CallTimeout)
		defer cancel()
		list, err := ofInstance(ctx, a.EC2, a.Cluster, a.Identity, proven)
		a.results <- func() { a.observed(list, err, time.Now()) }
	}()
}

func (a *Agent) observed(list []eni.ENI, err error, now time.Time) {
	a.observing = false
	if err != nil {
		a.fail(observeKey, err, now)
		return
	}
	a.failures.Reset(observeKey)
	var gone []string
	before := a.enis
	a.enis, gone = merge(a.enis, a.withoutPrimary(a.withoutDeleted(list, now)), a.linkHere, now)
	a.certain, a.described = true, now
	a.noticeTaken(before)
	assigned := a.assigned()
	for i := range a.enis {
		e := &a.enis[i]
		// A report alone does not tell: an ENI of somebody else holds its device index.
		a.known[e.ID] = a.known[e.ID] || !e.reported
		e.released = e.released && !assigned[e.ID]
		e.left = e.left && e.released
	}
	for _, e := range before {
		if slices.Contains(gone, e.ID) {
			a.Log.Info("an ENI is gone from EC2", "eni", e.ID, "nodeENI", e.Owner.NodeENI, "subnet", e.SubnetID)
			a.forget(e)
		}
	}
	a.schedule(now)
}

// withoutPrimary drops the ENI that the instance was born with: a tag editor can
// give it the tags of one of ours, and its link would be taken down.
func (a *Agent) withoutPrimary(list []eni.ENI) []eni.ENI {
	return slices.DeleteFunc(list, func(e eni.ENI) bool {
		if !a.isPrimary(e) {
			return false
		}
		if !a.known[e.ID] {
			a.known[e.ID] = true // told, and its index is nobody's
			a.Log.Warn("the primary ENI has the tags of an ENI that was made for a NodeENI; it is left alone; remove the tags", "eni", e.ID, "tags", eni.TagCluster+" and its like")
		}
		return true
	})
}

// isPrimary: by its MAC, which IMDS tells, or by its place.
func (a *Agent) isPrimary(e eni.ENI) bool {
	mac, at := hardwareAddr(e.MAC), e.Attachment
	return mac != nil && bytes.Equal(mac, a.Identity.MAC) ||
		at != nil && at.InstanceID == a.Identity.InstanceID && at.DeviceIndex == 0 && at.Card == 0
}

// linkHere says whether an ENI's link may be here, also one that is not managed
// because this agent has only just started.
func (a *Agent) linkHere(e tracked) bool {
	mac := hardwareAddr(e.MAC)
	return mac != nil && a.present(mac)
}

// present says whether a link may be here.
func (a *Agent) present(mac net.HardwareAddr) bool {
	here, err := a.Links.Present(mac)
	return here || err != nil
}

// forget drops an ENI that EC2 no longer has. The one that takes its place
// says so.
func (a *Agent) forget(e tracked) {
	a.failures.Gone(e.ID, e.SubnetID)
	delete(a.links, e.ID)
	for _, other := range a.enis {
		if other.slot() == e.slot() {
			return // a younger one is already here
		}
	}
	a.records[e.slot()] = record{nodeENI: e.Owner.NodeENI, replaces: e.ID}
	a.arrivals.again(e.slot(), time.Now())
}

// schedule says when EC2 is asked next.
func (a *Agent) schedule(now time.Time) {
	open, moved := a.inDoubt(now)
	if !open {
		a.doubts = 0
	}
	if !moved {
		a.moves = 0
	}
	var step time.Duration
	switch {
	case open:
		step = doubtSteps[min(a.doubts, len(doubtSteps)-1)]
		a.doubts++
	case moved && a.moves < len(doubtSteps):
		step = doubtSteps[a.moves]
		a.moves++
	default:
		a.nextObserve = a.verifyAt(now)
		return
	}
	a.nextObserve = now.Add(step)
	for _, e := range a.enis {
		if at := e.lookAgain(now); !at.IsZero() && at.Before(a.nextObserve) {
			a.nextObserve = at
		}
		if at := now.Add(collectPoll); at.Before(a.nextObserve) && e.released && a.collecting(e) {
			a.nextObserve = at
		}
	}
}

// verifyAt is when EC2 is asked though nothing happens.
func (a *Agent) verifyAt(now time.Time) time.Time {
	at := now.Add(a.VerifyEvery + rand.N(a.VerifyEvery/5))
	if a.reckoning.After(now) && a.reckoning.Before(at) {
		at = a.reckoning
	}
	for _, l := range a.links {
		if l.ask.After(now) && l.ask.Before(at) {
			at = l.ask
		}
	}
	return at
}

// reckon has EC2 asked when describes must show all ENIs asked for until now:
// also one that was made for an agent before this one, of which no report is
// left, and one whose answer was lost before it was no longer wanted.
func (a *Agent) reckon(now time.Time) {
	a.reckoning = now.Add(consistencyWindow + rand.N(consistencyWindow/5))
	if a.reckoning.Before(a.nextObserve) {
		a.nextObserve = a.reckoning
	}
}

// inDoubt says whether the last observation left something open about an ENI
// that is wanted, or may be, and whether one is said to be there although its
// link has vanished: then a pod may have taken the link, or the coordinator may
// be away, for as long as they like, and EC2 is not asked all the while.
func (a *Agent) inDoubt(now time.Time) (open, moved bool) {
	v, assigned := a.view(now), a.assigned()
	for s := range a.records {
		open = open || !a.desired.slots()[s] && v.lookingFor(s, now)
	}
	for _, e := range a.enis {
		if !assigned[e.ID] && !a.desired.leaves(e.Owner.NodeENIUID) {
			moved = moved || e.left
			open = open || e.reported || a.collecting(e)
			continue
		}
		elsewhere := e.Attachment != nil && e.Attachment.InstanceID != a.Identity.InstanceID
		open = open || elsewhere || e.doubtful() || e.Attachment.Detaching()
		moved = moved || a.links[e.ID].lost && e.Attachment != nil
	}
	return open, moved
}

// doubt makes the next pass ask EC2.
func (a *Agent) doubt() {
	a.nextObserve = time.Time{}
	a.doubts, a.moves = 0, 0
}

// nextPass is when something is due without anything happening.
func (a *Agent) nextPass(now time.Time) time.Time {
	at := now.Add(a.VerifyEvery)
	if !a.started || a.idle() {
		// A pass would do nothing before the Source has news, but save why.
		if failed, _ := a.failures.Get(saveKey); failed.Until.After(now) && failed.Until.Before(at) {
			return failed.Until
		}
		return at
	}
	if failed, _ := a.failures.Get(observeKey); !a.observing && len(a.running) == 0 && !failed.AwaitsTurn() { // findTurns brings a result
		if due := maxTime(a.nextObserve, failed.Until); due.Before(at) {
			at = due
		}
	}
	if a.hints.until.After(now) && a.hints.until.Before(at) {
		at = a.hints.until
	}
	if next := a.failures.Next(now); !next.IsZero() && next.Before(at) {
		at = next
	}
	for _, l := range a.links {
		if retry := now.Add(linkRetry); l.err != nil && retry.Before(at) {
			at = retry
		}
		if due := l.waiting.Add(linkPatience); !l.waiting.IsZero() && due.After(now) && due.Before(at) {
			at = due
		}
	}
	for _, lost := range a.losses {
		if lost.until.After(now) && lost.until.Before(at) {
			at = lost.until
		}
	}
	for _, s := range a.standings {
		if due := s.fadesAt(); due.After(now) && due.Before(at) {
			at = due
		}
	}
	// Never a busy loop: what is due and cannot start yet starts with the
	// result that it waits for.
	return maxTime(at, now.Add(50*time.Millisecond))
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
