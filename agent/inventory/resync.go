package inventory

import (
	"math/rand/v2"
	"slices"
	"time"
)

// steps are the waits between describes while one leaves something open: an ENI is
// being detached, was not shown, is attached to another instance, or is said to be
// attached although its link has vanished.
var steps = []time.Duration{2 * time.Second, 5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute}

// removalPoll is the longest time between two looks at an ENI that this agent takes out
// of EC2: that takes seconds as a rule, and minutes have been seen.
const removalPoll = 30 * time.Second

// Resync is when EC2 is asked about this instance's ENIs next, and why. The zero value
// asks now.
type Resync struct {
	every time.Duration // when nothing happens

	next time.Time // zero is now
	why  string

	open     int       // describes in a row that left something open
	linkLost int       // and those because a link has vanished
	again    time.Time // when another describe tells more about what the last did not show
	// afterLag is when describes must show every ENI that was asked for until now.
	afterLag       time.Time
	mayHaveCreated map[Slot]bool // by the last plan
	detaching      string        // by the last plan
	// unscheduled: the next plan tells when EC2 is asked, unless it is asked before.
	unscheduled bool
}

// Now has EC2 asked in the next reconcile.
func (r *Resync) Now(why string) {
	r.next, r.why = time.Time{}, why
	r.open, r.linkLost = 0, 0
}

// Soon has EC2 asked in a moment.
func (r *Resync) Soon(why string, now time.Time) {
	r.open = 0
	r.before(why, now.Add(steps[0]))
}

// At has EC2 asked at that time, or before it for another reason.
func (r *Resync) At(why string, at time.Time) {
	r.open, r.linkLost = 0, 0
	r.before(why, at)
}

// before has EC2 asked at that time, unless it is asked sooner anyway.
func (r *Resync) before(why string, at time.Time) bool {
	sooner := at.Before(r.next)
	if sooner {
		r.next, r.why = at, why
	}
	return sooner
}

// left has EC2 asked when an ENI whose link has gone should be gone, too.
func (r *Resync) left(now time.Time) {
	const step = 1
	if r.before("the link of a released ENI has disappeared", now.Add(steps[step]+rand.N(steps[step]))) {
		r.linkLost = step + 1
	}
}

// VerifyAfterLag has EC2 asked when describes must show all ENIs asked for until now: also one
// that was made for an agent before this one, of which no report is left, and one whose
// answer was lost before it was no longer wanted.
func (r *Resync) VerifyAfterLag(now time.Time) {
	r.afterLag = now.Add(ConsistencyWindow + rand.N(ConsistencyWindow/5))
	r.before("EC2 must show all ENIs by now", r.afterLag)
}

// reschedule has the next plan work out when EC2 is asked.
func (r *Resync) reschedule(now time.Time) {
	r.next, r.unscheduled = now.Add(2*r.every), true
}

// Next is when EC2 is asked next, the zero time when at once, and why.
func (r *Resync) Next() (at time.Time, why string) { return r.next, r.why }

// Due says whether EC2 is to be asked now.
func (r *Resync) Due(now time.Time) bool { return !now.Before(r.next) }

// Open is what only a plan tells of an inventory.
type Open struct {
	// Removing are the ENIs that nothing wants and that this agent takes out of EC2,
	// unless only people can help.
	Removing map[string]bool
	// MayHaveCreated are the slots that nothing wants and in which an ENI may have been created.
	MayHaveCreated map[Slot]bool
	// Counting are the ENIs that lack addresses or prefixes, as far as describes can show.
	Counting []string
	// Detaching, unless empty, is an ENI whose link has left, and that has to be detached
	// before another one can be attached.
	Detaching string
}

// Schedule works out when EC2 is asked next, after a describe and a plan.
func (i *Inventory) Schedule(o Open, now time.Time) {
	r := &i.Resync
	for s := range o.MayHaveCreated {
		if !r.mayHaveCreated[s] {
			r.Soon("EC2 may have created an ENI that is no longer needed", now)
		}
	}
	r.mayHaveCreated = o.MayHaveCreated
	if o.Detaching != "" && o.Detaching != r.detaching {
		r.Soon("another ENI can be attached when one is detached", now)
	}
	r.detaching = o.Detaching
	for _, id := range o.Counting {
		if e, ok := i.Get(id); ok && e.CountsFrom.After(i.described) { // or the last one has not shown it
			r.before("EC2 must show the addresses of an ENI by now", e.CountsFrom)
		}
	}
	if !r.unscheduled {
		return
	}
	open, linkLost := i.unsettled(o)
	if !open {
		r.open = 0
	}
	if !linkLost {
		r.linkLost = 0
	}
	r.unscheduled = false
	switch {
	case open:
		if r.before("the last listing was not conclusive", now.Add(steps[min(r.open, len(steps)-1)])) {
			r.open++
		}
	case linkLost && r.linkLost < len(steps):
		if r.before("a link has disappeared, but its ENI is still attached", now.Add(steps[r.linkLost])) {
			r.linkLost++
		}
	default:
		r.before("regular verification", i.periodic(now))
		return
	}
	if !r.again.IsZero() {
		r.before("the last listing did not show an ENI", latest(r.again, now.Add(steps[0])))
	}
	if slices.ContainsFunc(i.enis, func(e ENI) bool { return e.TakenDown() && o.Removing[e.ID] }) {
		r.before("an ENI is being deleted", now.Add(removalPoll))
	}
}

// periodic is when EC2 is asked though nothing happens, or up to a fifth later, so that a
// fleet that started together spreads.
func (i *Inventory) periodic(now time.Time) time.Time {
	at := now.Add(i.Resync.every + rand.N(i.Resync.every/5))
	times := []time.Time{i.Resync.afterLag}
	for _, e := range i.enis {
		times = append(times, e.describeAt)
	}
	for _, other := range times {
		if other.After(now) && other.Before(at) {
			at = other
		}
	}
	return at
}

// unsettled says whether the last listing was not conclusive about an ENI that is
// wanted, or may be, and whether one is said to be there although its link has vanished:
// then a pod may have taken the link, or the coordinator may be away, for as long as they
// like, and EC2 is not asked all the while.
func (i *Inventory) unsettled(o Open) (open, linkLost bool) {
	open = len(o.MayHaveCreated) > 0 || o.Detaching != "" || slices.ContainsFunc(i.enis, func(e ENI) bool { return i.open(e, o.Removing[e.ID]) })
	linkLost = slices.ContainsFunc(i.enis, func(e ENI) bool {
		return e.Use == Left || e.Link == LinkLost && e.Attachment != nil && !i.released[e.ID]
	})
	return open, linkLost
}

func (i *Inventory) open(e ENI, removing bool) bool {
	if i.released[e.ID] {
		return e.ReportedOnly() || removing
	}
	elsewhere := e.Attachment != nil && !e.AttachedTo(i.identity.InstanceID)
	return elsewhere || e.Uncertain() || e.Attachment.Detaching()
}
