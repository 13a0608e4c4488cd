package agent

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// linkPatience is how long a link may take to appear after the attach before
// people are told.
const linkPatience = time.Minute

// tellRepairEvery is how often people are told that a link was configured.
const tellRepairEvery = 10 * time.Second

// linkRetry is when a link is configured again that could not be. Most of what
// mends it shows in the host's changes; this is for the rest.
const linkRetry = 30 * time.Second

// configure makes the links what they shall be, and takes down those of ENIs
// that nothing wants.
func (a *Agent) configure(p plan, now time.Time) {
	a.configureAsReported()
	if !a.certain {
		return // a restart changes nothing before EC2 has told what is ours
	}
	byID := map[string]tracked{}
	for _, e := range a.enis {
		byID[e.ID] = e
	}
	var keep []hostnet.Wanted
	var links []link
	unsure := false // what EC2 does not tell now must not be taken for unwanted
	for _, w := range a.desired.wants {
		e, ok := byID[p.assigned[w.slot]]
		if !ok {
			continue
		}
		index, known := p.indexes[e.ID]
		known = known && index != eni.UnknownIndex
		wanted := wantedLink(w, e, index)
		if !known || !wanted.Complete() || !a.hasLink(e) && a.linkHere(e) {
			unsure = true
		}
		if !known || wanted.MAC == nil {
			continue
		}
		keep = append(keep, wanted)
		if a.hasLink(e) {
			a.configureLink(e, wanted, now)
			links = append(links, link{e, wanted})
		} else {
			delete(a.links, e.ID) // the wait for a link begins with the next attach
		}
	}
	var released []tracked
	for _, id := range p.release {
		a.releaseLink(byID[id])
		a.seeLeave(byID[id], now)
		released = append(released, byID[id])
	}
	a.untangle(links, released, now)
	if !unsure {
		a.sweep(keep)
	}
}

// hasLink says whether the ENI's link may be here: it is attached, or an attach
// call is under way, for the link may come before the call's answer.
func (a *Agent) hasLink(e tracked) bool {
	return a.attaching(e.ID) || e.Attachment != nil && e.Attachment.InstanceID == a.Identity.InstanceID
}

func wantedLink(w want, e tracked, index int32) hostnet.Wanted {
	subnet, _ := netip.ParsePrefix(w.cidr)
	wanted := hostnet.Wanted{
		MAC: hardwareAddr(e.MAC), InterfaceName: w.interfaceName, MTU: int(w.mtu),
		Host: w.host, Addresses: e.Addresses, Subnet: subnet, DeviceIndex: int(index),
	}
	if e.Attachment != nil { // by hand also to another card, with indexes of its own
		wanted.Card = int(e.Attachment.Card)
	}
	return wanted
}

func (a *Agent) configureLink(e tracked, wanted hostnet.Wanted, now time.Time) {
	before := a.links[e.ID]
	var state linkState
	state.Status, state.err = a.Links.Configure(wanted)
	switch {
	case state.Present:
		a.seeLink(e.ID)
		a.arrivals.linked(e.ID, now)
	case state.err != nil: // that does not say that there is no link
		state = before.unknown(state.err)
	default:
		var ask time.Time
		state.wait, ask = before.missing(e.Attachment != nil && e.attached.IsZero(), now)
		if !ask.IsZero() {
			a.Log.Info("an ENI that is attached has no link; EC2 is asked", "eni", e.ID, "link", before.Name)
			state.wait.ask = ask
			if a.nextObserve.Before(ask) {
				ask = a.nextObserve
			}
			a.distrust(e.ID)
			a.doubt()
			a.nextObserve = ask
		}
	}
	state.told, state.wanted = before.told, wanted
	if before.Present && reflect.DeepEqual(before.wanted, wanted) {
		a.Metrics.repaired(repairLink, state.Repaired)
	}
	if state.Repaired > 0 {
		log := a.Log.Debug // something on the host may undo it all the while
		if now.Sub(before.told) >= tellRepairEvery {
			log, state.told = a.Log.Info, now
		}
		log("configured a link", "eni", e.ID, "link", state.Name, "deviceIndex", wanted.DeviceIndex, "changes", state.Repaired)
	}
	a.links[e.ID] = state
}

// unknown is the state when the link could not be looked for: what was known of it
// stays, and no link is taken for gone.
func (before linkState) unknown(err error) linkState {
	after := before
	after.err, after.Repaired = err, 0
	return after
}

// missing is the wait for a link that is not here. ask says when EC2 is to be
// asked whether the ENI is attached at all, zero when not: a link that was here
// was detached, or moved into a pod's namespace; and an ENI that a describe alone
// says to be attached may have been detached since: that is asked once, when no
// describe lags any more and a link that was on its way is here. A link that does
// not come after our own attach is no reason to ask: EC2 has answered, and the
// hourly verification asks again.
func (before linkState) missing(hearsay bool, now time.Time) (after wait, ask time.Time) {
	after = before.wait
	switch {
	case before.Present:
		after.waiting, after.lost, ask = now, true, now
	case before.waiting.IsZero():
		after.waiting = now
		if hearsay {
			ask = now.Add(pluggedWindow)
		}
	}
	after.overdue = now.Sub(after.waiting) >= linkPatience
	return after, ask
}

// reasonVerifying: EC2 is asked whether the ENI is there.
const reasonVerifying = "Verifying"

// reasonLinkGone: the link has been here, and is not any more.
const reasonLinkGone = "LinkGone"

// reasonLinkOverdue: people were told that a link does not come.
const reasonLinkOverdue = "LinkOverdue"

// longMissing are the links that the report says to be overdue: a pod has them,
// or nobody. EC2 was asked about them, and a restart is no reason to ask again.
func longMissing(r v1alpha1.NodeENIStateStatus) map[string]linkState {
	links := map[string]linkState{}
	for _, entry := range r.ENIs {
		if entry.ENIID != "" && entry.Reason == reasonLinkOverdue {
			links[entry.ENIID] = linkState{wait: wait{waiting: entry.LastTransitionTime.Add(-linkPatience), overdue: true}}
		}
	}
	return links
}

// seeLink: EC2 has attached an ENI whose link is here.
func (a *Agent) seeLink(id string) {
	for i := range a.enis {
		if a.enis[i].ID == id {
			a.enis[i].plugged = true
		}
	}
}

// releaseLink takes a link down, once. Whose link it is tells EC2, not a report,
// which somebody may have edited.
func (a *Agent) releaseLink(e tracked) {
	if e.released || e.reported {
		return
	}
	wanted := hostnet.Wanted{MAC: hardwareAddr(e.MAC), Addresses: e.Addresses, Subnet: a.subnetOf(e)}
	if e.Attachment != nil {
		wanted.DeviceIndex = int(e.Attachment.DeviceIndex)
	}
	var err error
	if wanted.MAC != nil {
		err = a.Links.Release(wanted)
	}
	a.links[e.ID] = linkState{err: err}
	if err == nil {
		a.change(e.ID, e.changed, func(t *tracked) { t.released, t.collected = true, a.Collector != nil })
		a.Log.Info("released an ENI: nothing wants it on this node", "eni", e.ID, "nodeENI", e.Owner.NodeENI)
	}
}

// seeLeave notes that a released ENI's link has gone. EC2 is asked when the ENI
// should be gone too, or it would be reported until the hourly verification.
func (a *Agent) seeLeave(e tracked, now time.Time) {
	if !e.released || e.left || a.linkHere(e) {
		return
	}
	a.change(e.ID, e.changed, func(t *tracked) { t.left = true })
	const step = 1
	if at := now.Add(doubtSteps[step] + rand.N(doubtSteps[step])); at.Before(a.nextObserve) {
		a.nextObserve, a.moves = at, step+1
	}
}

// subnetOf is the CIDR of the ENI's subnet as the last report had it: the want
// that knew it is gone.
func (a *Agent) subnetOf(e tracked) netip.Prefix {
	for _, entry := range a.current.ENIs {
		if entry.ENIID == e.ID {
			subnet, _ := netip.ParsePrefix(entry.SubnetCIDR)
			return subnet
		}
	}
	return netip.Prefix{}
}

// sweep removes the rules and routes of ENIs that are no more. While a NodeENI
// cannot be resolved its ENIs' rules cannot be told from leftovers.
func (a *Agent) sweep(keep []hostnet.Wanted) {
	if len(a.desired.held)+len(a.desired.partly) > 0 || a.desired.told != nil {
		return
	}
	if slices.ContainsFunc(a.enis, func(e tracked) bool { return e.reported }) {
		return // its addresses are not known, and a restart must not take its rules
	}
	for _, l := range a.links {
		if l.err != nil && linkReason(l.err) == reasonLinkFailed {
			return // by its rules, hostnet tells which addresses it has still to delete
		}
	}
	n, err := a.Links.Sweep(keep)
	if err == nil {
		a.sweepTold = ""
	} else if text := err.Error(); text != a.sweepTold {
		a.Log.Warn("leftover rules or routes could not be removed", "error", err)
		a.sweepTold = text
	}
	a.Metrics.repaired(repairLeftover, n)
	if n > 0 {
		a.Log.Info("removed leftover rules and routes", "count", n)
	}
}

// reasonLinkHasMaster: the link is a port of a bridge, or the like.
const reasonLinkHasMaster = "LinkHasMaster"

// reasonLinkFailed: not all has been done to a link, be it released.
const reasonLinkFailed = "LinkFailed"

// linkReason is the reason, in one word, of an error of the host.
func linkReason(err error) string {
	var taken *hostnet.NameTakenError
	var mtu *hostnet.MTUError
	var master *hostnet.MasterError
	switch {
	case errors.As(err, &taken):
		return "InterfaceNameTaken"
	case errors.As(err, &mtu):
		return "MTURefused"
	case errors.As(err, &master):
		return reasonLinkHasMaster
	default:
		return reasonLinkFailed
	}
}
