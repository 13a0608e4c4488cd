package inventory

import (
	"maps"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// Describe takes in which ENIs a describe shows. here says whether a link may be here,
// also one that is not managed because the agent has only just started. It returns the
// ENIs that are gone, and of those in use the ones that others have detached or deleted.
func (i *Inventory) Describe(list []eni.ENI, here func(mac string) bool, now time.Time) (gone, taken []ENI) {
	before := i.enis
	var again time.Time
	list = i.withoutPrimary(i.withoutDeleted(list, now))
	i.enis, gone, again = merge(before, list, here, now)
	for n := range i.enis {
		e := &i.enis[n]
		switch {
		case e.TakenDown() && i.assigned[e.ID] && e.Evidence == Shown: // after a restart
			e.returned()
		case e.TakenDown() && i.assigned[e.ID]:
			e.Use = Returning
		case e.Use == Assigned && e.Link == LinkLost && !e.AttachedTo(i.identity.InstanceID):
			e.Link = LinkSeen // the wait for a link begins with the next attach
		}
		e.collects = i.collects
		// A report alone does not tell: an ENI that is not ours holds its device index.
		i.known[e.ID] = i.known[e.ID] || !e.ReportedOnly()
	}
	for _, e := range gone {
		i.log.Info("an ENI no longer exists in EC2", "eni", e.ID, "nodeENI", e.Owner.NodeENI, "subnet", e.SubnetID)
	}
	i.described = now
	i.Resync.reschedule(now)
	i.Resync.again = again
	return gone, i.taken(before)
}

// taken are those that others have detached or deleted, by comparison with what was
// known before.
func (i *Inventory) taken(before []ENI) []ENI {
	var taken []ENI
	for _, e := range before {
		if e.TakenDown() || e.ReportedOnly() {
			continue // that is expected; or the agent has only just started
		}
		now, exists := i.Get(e.ID)
		attached := e.AttachedTo(i.identity.InstanceID) && !e.Attachment.Detaching()
		if !exists || attached && (now.Attachment == nil || now.Attachment.Detaching()) {
			taken = append(taken, e)
		}
	}
	return taken
}

// withoutDeleted drops from a describe's list what this agent has deleted.
func (i *Inventory) withoutDeleted(list []eni.ENI, now time.Time) []eni.ENI {
	maps.DeleteFunc(i.deleted, func(_ string, at time.Time) bool { return now.Sub(at) >= ConsistencyWindow })
	return slices.DeleteFunc(list, func(e eni.ENI) bool {
		_, ok := i.deleted[e.ID]
		return ok
	})
}

// withoutPrimary drops the ENI that the instance was born with: a tag editor can
// give it the tags of one of ours, and its link would be taken down.
func (i *Inventory) withoutPrimary(list []eni.ENI) []eni.ENI {
	return slices.DeleteFunc(list, func(e eni.ENI) bool {
		if !i.isPrimary(e) {
			return false
		}
		if !i.known[e.ID] {
			i.known[e.ID] = true // logged, and its index is not another's
			i.log.Warn("the primary ENI has the tags of an ENI that was created for a NodeENI; the agent does not touch it; remove the tags", "eni", e.ID, "tags", eni.TagCluster+" and the like")
		}
		return true
	})
}

// merge takes a describe's list into what was known before. It returns the ENIs known
// now, sorted by id, those that are gone, and when another describe tells more about
// those that this one did not show; zero when it showed all.
//
// A describe lags: it may not show yet what was just created or attached. So an
// ENI is gone only when its link is not here, when it had been there to see or is
// older than any lag, and when two describes in a row do not show it. A link that
// is here proves nothing for an ENI that only a report names once no lag can be
// hiding it.
func merge(before []ENI, list []eni.ENI, here func(mac string) bool, now time.Time) (after, gone []ENI, again time.Time) {
	shown := map[string]eni.ENI{}
	for _, e := range list {
		shown[e.ID] = e
	}
	soon := now.Add(steps[0])
	lookAgain := func(at time.Time) {
		if again.IsZero() || at.Before(again) {
			again = at
		}
	}
	for _, e := range before {
		as, ok := shown[e.ID]
		delete(shown, e.ID)
		mustShow := e.MustShowFrom()
		switch {
		case ok:
			after = append(after, e.shownAs(as, now))
		case e.leaving():
			gone = append(gone, e)
		case here(e.MAC) && !e.disproved(now):
			after = append(after, e.linkIsHere())
		case now.Before(mustShow):
			lookAgain(latest(soon, mustShow))
			after = append(after, e)
		case e.Evidence == Missed, e.Evidence == Disputed:
			gone = append(gone, e)
		default:
			lookAgain(soon)
			after = append(after, e.missed())
		}
	}
	for _, e := range shown {
		after = append(after, ENI{ENI: e, Evidence: Shown, CountsFrom: now.Add(ConsistencyWindow)})
	}
	sortByID(after)
	return after, gone, again
}

// missed is the ENI after a describe has lacked it that had to show it.
func (e ENI) missed() ENI {
	if e.Evidence == Reported {
		e.Evidence = Disputed
	} else {
		e.Evidence = Missed
	}
	return e
}

// linkIsHere is the ENI after a describe has lacked it while its link is here, which
// counts for more.
func (e ENI) linkIsHere() ENI {
	switch e.Evidence {
	case Disputed:
		e.Evidence = Reported
	case Missed:
		e.Evidence = Expected
		if e.WasShown() {
			e.Evidence = Shown
		}
	}
	return e
}
