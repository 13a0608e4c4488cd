package agent

import (
	"context"
	"slices"
	"time"

	"github.com/aws/smithy-go"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// Collector takes ENIs out of EC2; an eni.Client does. Only an agent that stands
// alone has one: in a cluster the coordinator collects, and the agent can not.
type Collector interface {
	Detach(ctx context.Context, attachmentID string) error
	Delete(ctx context.Context, eniID string) error
}

const (
	detach verb = "DetachNetworkInterface"
	remove verb = "DeleteNetworkInterface"
)

// collectPoll is the longest time between two looks at an ENI that EC2 is
// detaching: it takes seconds as a rule, and minutes have been seen.
const collectPoll = 30 * time.Second

// collect adds the calls that take released ENIs out of EC2.
func (p *plan) collect(v view, byID map[string]tracked) {
	for _, id := range p.release {
		if c, ok := v.collectCall(byID[id]); ok {
			p.calls = append(p.calls, c)
		}
	}
}

// collectCall is the next step of an ENI that nothing wants. Its link has been
// taken down before.
func (v view) collectCall(e tracked) (call, bool) {
	if !v.collects || !e.released || e.doubtful() || !v.mayCollect(e) {
		return call{}, false
	}
	if _, ok := v.attaching[e.ID]; ok {
		return call{}, false
	}
	c := call{slot: e.slot(), eni: e.ID}
	switch e.Removal() {
	case eni.RemovalDetach:
		c.verb, c.attachment = detach, e.Attachment.ID
	case eni.RemovalDelete:
		c.verb = remove
	default:
		return call{}, false
	}
	return c, true
}

// mayCollect: only what bears this cluster's and this instance's tag, and is not
// attached to another instance.
func (v view) mayCollect(e tracked) bool {
	return e.Owner.Cluster == v.cluster && e.Owner.Instance == v.instanceARN &&
		(e.Attachment == nil || e.Attachment.InstanceID == v.instanceID)
}

// lookingFor says whether an ENI may come of a decision that nothing stands for
// any more: EC2 is being asked, or has been, nobody has heard its answer, and
// describes may lag.
func (v view) lookingFor(s slot, now time.Time) bool {
	rec := v.records[s]
	return v.collects && !rec.createdAt.IsZero() && (v.creating[s] || now.Sub(rec.unheard) < consistencyWindow) &&
		!slices.ContainsFunc(v.enis, func(e tracked) bool { return e.slot() == s })
}

// returns says whether a record outlives its NodeENI. In a cluster a UID never
// comes back; that of a file does with the file.
func (a *Agent) returns(s slot, now time.Time) bool {
	if a.Collector == nil {
		return false
	}
	rec := a.records[s]
	return rec.replaces != "" && rec.createdAt.IsZero() || a.view(now).lookingFor(s, now)
}

// unheard notes that an ENI may have been created though EC2 has not said so.
func (a *Agent) unheard(s slot, now time.Time) {
	if rec, ok := a.records[s]; ok {
		rec.unheard = now
		a.records[s] = rec
		a.lookForUnwanted(map[slot]bool{s: true}, now)
	}
}

// lookForUnwanted has EC2 asked soon when an ENI may come of a decision about
// one of these places, and nothing wants it there any more.
func (a *Agent) lookForUnwanted(places map[slot]bool, now time.Time) {
	v, wanted := a.view(now), a.desired.slots()
	for s := range places {
		if !wanted[s] && v.lookingFor(s, now) {
			a.lookSoon(now)
			return
		}
	}
}

// answered says whether an error is EC2's answer that it created nothing.
func answered(err error) bool {
	return eni.IsTerminal(err) || eni.IsRefusal(err) || eni.IsThrottled(err) || eni.IsSubnetFull(err)
}

// recallUnheard takes from the last report the decisions of which nobody knows
// whether EC2 has been asked since: for all but those that it had refused.
func (a *Agent) recallUnheard(last v1alpha1.NodeENIStateStatus, now time.Time) {
	for _, entry := range last.ENIs {
		refusal := &smithy.GenericAPIError{Code: entry.Reason, Message: entry.Message}
		if entry.ENIID == "" && entry.Phase != v1alpha1.PhaseFailed && !answered(refusal) {
			a.unheard(slot{entry.NodeENIUID, entry.SubnetID}, now)
		}
	}
}

// collecting says whether an ENI that nothing wants is on its way out of EC2,
// and not held up by what only people can mend.
func (a *Agent) collecting(e tracked) bool {
	switch {
	case a.Collector == nil:
		return false
	case e.reported: // a describe tells whose it is
		return true
	case !a.view(time.Time{}).mayCollect(e), e.Removal() == eni.RemovalRefuse:
		return false
	}
	for _, v := range []verb{detach, remove} {
		if a.failures.Terminal(call{verb: v, slot: e.slot(), eni: e.ID}.key()) {
			return false
		}
	}
	return true
}

// lookSoon has EC2 asked in a moment.
func (a *Agent) lookSoon(now time.Time) {
	a.doubts = 0
	if at := now.Add(doubtSteps[0]); at.Before(a.nextObserve) {
		a.nextObserve = at
	}
}

// detached takes in that EC2 has begun to detach.
func (a *Agent) detached(c call, now time.Time) {
	a.Log.Info("detaching an ENI", "eni", c.eni)
	a.change(c.eni, now, func(t *tracked) {
		if t.Attachment != nil && t.Attachment.ID == c.attachment {
			leaving := *t.Attachment
			leaving.Status = "detaching"
			t.Attachment = &leaving
		}
		t.attached = time.Time{} // a describe may soon show it as free
	})
	a.lookSoon(now)
}

// removed takes in that EC2 has deleted an ENI. Describes may show it for a
// while yet, and what waits for a free place on the instance may try again.
func (a *Agent) removed(id string, now time.Time) {
	i := slices.IndexFunc(a.enis, func(t tracked) bool { return t.ID == id })
	if i < 0 {
		return
	}
	e := a.enis[i]
	a.Log.Info("deleted an ENI", "eni", e.ID, "nodeENI", e.Owner.NodeENI, "subnet", e.SubnetID)
	a.deleted[e.ID] = now
	a.enis = slices.Delete(slices.Clone(a.enis), i, i+1)
	a.forget(e)
	if a.nextObserve.After(now) {
		a.schedule(now) // it was to be asked about this one
	}
}

// withoutDeleted drops from a describe's list what this agent has deleted.
func (a *Agent) withoutDeleted(list []eni.ENI, now time.Time) []eni.ENI {
	for id, at := range a.deleted {
		if now.Sub(at) >= consistencyWindow {
			delete(a.deleted, id)
		}
	}
	return slices.DeleteFunc(list, func(e eni.ENI) bool {
		_, ok := a.deleted[e.ID]
		return ok
	})
}

// failedCollect notes why an ENI could not be detached or deleted.
func (a *Agent) failedCollect(c call, err error, now time.Time) {
	known := slices.ContainsFunc(a.enis, func(t tracked) bool { return t.ID == c.eni && t.listed })
	if c.verb == remove && eni.IsNotFound(err) && known {
		a.removed(c.eni, now) // by a call whose answer was lost, or by somebody else
		return
	}
	a.distrust(c.eni)
	if c.verb == remove && eni.IsInUse(err) {
		// As a rule for a moment after the detach.
		a.failures.Failed(c.key(), err, now)
		a.lookSoon(now)
		return
	}
	if !answered(err) {
		a.doubt()
	}
	a.fail(c.key(), err, now)
}

// empty says whether this instance has no ENI of ours, none is on its way, and
// nothing of them is left on the host.
func (a *Agent) empty() bool {
	return a.certain && !a.observing && len(a.running) == 0 && !a.saving &&
		len(a.enis) == 0 && len(a.current.ENIs) == 0 && a.sweepTold == ""
}
