package agent

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// consistencyWindow is how long EC2's describes may lag behind its own answers:
// AWS asks for retries over about five minutes before a NotFound is believed.
const consistencyWindow = 5 * time.Minute

// pluggedWindow is the same for an ENI whose link has been here and is not any
// more: something has happened to it.
const pluggedWindow = 15 * time.Second

// settledAfter is how long what this agent itself has changed in EC2 counts for
// more than a describe.
const settledAfter = time.Minute

// tracked is one of this instance's ENIs, as EC2's answers and describes taken
// together show it.
type tracked struct {
	eni.ENI
	// made is when it was made, at the latest. The tag's time is that of the
	// decision; with a full subnet, hours may lie between them.
	made time.Time
	// known is since when this process knows of it; zero is for ever.
	known time.Time
	// listed: a describe has shown it, so its absence from another means
	// something.
	listed bool
	// plugged: its link has been here, so EC2 has it and will soon show it.
	plugged bool
	// absent counts the describes in a row that did not show it though they
	// had to.
	absent int
	// hidden: the last describe did not show it, and may not have had to.
	hidden bool
	// released: given up and taken down; its absence is what is expected.
	released bool
	// left: its link has gone since it was released: it is being detached.
	left bool
	// returning: had been released and is wanted again; EC2 has to tell
	// whether it is still there.
	returning bool
	// collected: it was released, and this agent itself takes it out of EC2. So
	// its absence is not expected before that, and is proven without haste: what
	// is taken for gone too soon nobody else would delete.
	collected bool
	// reported: known from this node's own report only; its attributes are not
	// known.
	reported bool
	// changed is when this agent last changed an attribute, attached when it
	// attached the ENI; both are zero once somebody else must have changed it
	// since.
	changed, attached time.Time
}

func (t tracked) slot() slot { return slotOfENI(t.ENI) }

func slotOfENI(e eni.ENI) slot { return slot{e.Owner.NodeENIUID, e.SubnetID} }

// leaving: given up, and somebody else takes it out of EC2. One that is wanted
// again may still be stopped as long as its link is here.
func (t tracked) leaving() bool { return (t.released || t.returning && t.left) && !t.collected }

// doubtful: not known well enough to act upon.
func (t tracked) doubtful() bool { return t.reported || t.returning || t.absent > 0 }

// shownFrom is the time from which describes must show the ENI. What one has shown
// is no matter of time: the clock by which its tag was written may have been ahead.
// One that seems to come from the future is as old as the time since when it is
// known, or its loss would not be noticed for years.
func (t tracked) shownFrom(now time.Time) time.Time {
	made := maxTime(t.Owner.CreatedAt, t.made)
	if made.After(now) {
		made = t.known
	}
	switch {
	case t.listed:
		return time.Time{}
	case t.plugged && !t.collected:
		return made.Add(pluggedWindow)
	default:
		return made.Add(consistencyWindow)
	}
}

// disproved: only a report names it, and describes must have shown it by now.
func (t tracked) disproved(now time.Time) bool {
	return t.reported && !now.Before(maxTime(t.known, t.shownFrom(now)).Add(consistencyWindow))
}

// lookAgain is when another describe tells more about an ENI that the last one
// did not show; zero when the last one did.
func (t tracked) lookAgain(now time.Time) time.Time {
	soon := now.Add(doubtSteps[0])
	switch {
	case t.hidden:
		return maxTime(soon, t.shownFrom(now))
	case t.absent > 0:
		return soon
	default:
		return time.Time{}
	}
}

// rank orders the candidates for one place: attached here, then what was when it was
// last reported and EC2 does not show yet, then free, which one that is deleted may
// still seem to be, then on the way out, then elsewhere.
func (t tracked) rank(instanceID string) int {
	switch a := t.Attachment; {
	case a == nil && t.reported && t.plugged:
		return 1
	case a == nil:
		return 2
	case a.InstanceID != instanceID:
		return 4
	case a.Detaching():
		return 3
	default:
		return 0
	}
}

// merge takes a describe's list into what was known before. It returns the ENIs
// known now, sorted by id, and the ids of those that are gone.
//
// A describe lags: it may not show yet what was just created or attached. So an
// ENI is gone only when its link is not here, when it had been there to see or is
// older than any lag, and when two describes in a row do not show it. A link that
// is here proves nothing for an ENI that only a report names once no lag can be
// hiding it.
func merge(before []tracked, list []eni.ENI, here func(tracked) bool, now time.Time) (after []tracked, gone []string) {
	shown := map[string]eni.ENI{}
	for _, e := range list {
		shown[e.ID] = e
	}
	for _, t := range before {
		e, ok := shown[t.ID]
		delete(shown, t.ID)
		switch {
		case ok:
			after = append(after, t.refreshed(e, now))
		case !t.leaving() && here(t) && !t.disproved(now):
			t.absent, t.hidden = 0, false
			after = append(after, t)
		case !t.leaving() && now.Before(t.shownFrom(now)):
			t.hidden = true
			after = append(after, t)
		case t.absent == 0 && !t.leaving():
			t.absent, t.hidden = t.absent+1, false
			after = append(after, t)
		default:
			gone = append(gone, t.ID)
		}
	}
	for _, e := range shown {
		after = append(after, tracked{ENI: e, listed: true})
	}
	slices.SortFunc(after, func(a, b tracked) int { return strings.Compare(a.ID, b.ID) })
	slices.Sort(gone)
	return after, gone
}

// refreshed is the ENI after a describe has shown it as e.
func (t tracked) refreshed(e eni.ENI, now time.Time) tracked {
	if now.Sub(t.changed) < settledAfter {
		// What this agent has done is newer than what the describe shows.
		e.Groups, e.Description, e.SourceDestCheck = t.Groups, t.Description, t.SourceDestCheck
	}
	if e.Owner.NodeENIUID == "" { // somebody has removed the tag
		e.Owner.NodeENIUID, e.Owner.NodeENI = t.Owner.NodeENIUID, t.Owner.NodeENI
	}
	// An ENI keeps its MAC, and has an address at all times: a describe that shows
	// none has left it out.
	e.MAC = cmp.Or(e.MAC, t.MAC)
	if len(e.Addresses) == 0 {
		e.Addresses = t.Addresses
	}
	e.Attachment = t.attachment(e.Attachment, now)
	return tracked{ENI: e, listed: true, plugged: t.plugged, known: t.known, released: t.released, left: t.left, collected: t.collected, changed: t.changed, attached: t.attached}
}

// attachment is the one that is believed after a describe has shown another, or
// none. A change of an attribute does not prove that the ENI is still attached.
func (t tracked) attachment(shown *eni.Attachment, now time.Time) *eni.Attachment {
	own := t.Attachment
	if own != nil && shown != nil && own.ID == shown.ID && (own.InstanceID != shown.InstanceID || own.DeviceIndex != shown.DeviceIndex || own.Card != shown.Card) {
		// An attachment is of one place: a describe that shows another has left it out.
		still := *shown
		still.InstanceID, still.DeviceIndex, still.Card = own.InstanceID, own.DeviceIndex, own.Card
		shown = &still
	}
	switch {
	case own == nil:
		return shown
	case shown == nil || shown.ID != own.ID:
		if now.Sub(t.attached) < settledAfter {
			return own
		}
	case !shown.Detaching() && now.Sub(t.changed) < settledAfter:
		return own
	}
	return shown
}
