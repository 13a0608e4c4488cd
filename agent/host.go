package agent

import (
	"errors"
	"net/netip"
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// linkPatience is how long a link may take to appear after the attach before
// people are told.
const linkPatience = time.Minute

// logRepairEvery is how often it is logged that a link was configured.
const logRepairEvery = 10 * time.Second

// linkRetry is when a link is configured again that could not be. Most of what
// ends the trouble shows in the host's changes; this is for the rest.
const linkRetry = 30 * time.Second

// host configures the links of ENIs, and remembers how they are.
type host struct {
	*shared
	links      map[string]linkState // by ENI
	sweepError string               // that was logged last
	pods       *pods
	claims     *onDemand
}

// linkState is what the host shows of an ENI's link.
type linkState struct {
	hostnet.Status
	err error
	wait
	logged time.Time      // when a repair was last logged
	wanted hostnet.Wanted // the link was configured so
	// pod, unless empty, has the link in its network namespace, by the CNI plugin eni or, for
	// the claim, eni-dra. Name and MTU are those that the link had here.
	pod   string
	claim types.UID
}

// wait is how long a link that EC2 says to be attached has not been here.
type wait struct {
	waiting time.Time // since when
	overdue bool      // for longer than linkPatience
}

// linkEvent is a change of an ENI's link.
type linkEvent struct {
	eni    string
	change inventory.LinkChange
}

// link is an ENI that may have a link here, and what the link is to be.
type link struct {
	eni    inventory.ENI
	wanted hostnet.Wanted
}

// applyLinks makes the links what they have to be, and takes down those of ENIs that
// nothing wants. A restart changes nothing before EC2 has shown what is ours.
func (a *Agent) applyLinks(p plan, now time.Time) (events []linkEvent) {
	a.configureAsReported()
	if !a.inventory.Synced() {
		return nil
	}
	links, keep, unsure := a.wantedLinks(p)
	for _, l := range links {
		events = append(events, a.host.configure(l, now)...)
	}
	var released []inventory.ENI
	for _, id := range p.release {
		e, _ := a.inventory.Get(id)
		events = append(events, a.release(e)...)
		released = append(released, e)
	}
	events = append(events, a.host.swapNames(links, released, now)...)
	if !unsure && a.maySweep() {
		a.host.sweep(keep)
	}
	return events
}

// noteLinks takes in what the links show of their ENIs.
func (a *Agent) noteLinks(events []linkEvent, now time.Time) {
	for _, e := range events {
		a.inventory.NoteLink(e.eni, e.change, now)
		if e.change == inventory.LinkHere {
			a.provisioning.linked(e.eni, now)
		}
	}
}

// wantedLinks are the links of wanted ENIs that may be here, and of all wanted ENIs what
// must not be swept. unsure says that not all of that is known.
func (a *Agent) wantedLinks(p plan) (links []link, keep []hostnet.Wanted, unsure bool) {
	for _, w := range a.desired.wants {
		e, ok := a.inventory.Get(p.assigned[w.Slot])
		if !ok {
			continue
		}
		at, known := p.places[w.Slot]
		known = known && at.DeviceIndex != eni.UnknownIndex
		wanted := a.offered(wantedLink(w, e, at))
		mayHaveLink := a.mayHaveLink(e)
		if !known || !wanted.Complete() || !mayHaveLink && a.linkMayBeHere(e.MAC) {
			unsure = true // what EC2 does not tell now must not be taken for unwanted
		}
		if !known || wanted.MAC == nil {
			continue
		}
		keep = append(keep, wanted)
		if mayHaveLink {
			links = append(links, link{e, wanted})
		} else {
			a.host.forget(e.ID) // the wait for a link begins with the next attach
		}
	}
	return links, keep, unsure
}

// linkMayBeHere says whether a link may be here, also one that is not managed because
// this agent has only just started.
func (a *Agent) linkMayBeHere(mac string) bool {
	addr := hardwareAddr(mac)
	if addr == nil {
		return false
	}
	here, err := a.Links.Present(addr)
	return here || err != nil
}

// mayHaveLink says whether the ENI's link may be here: it is attached, or an attach
// call is under way, for the link may come before the call's answer.
func (a *Agent) mayHaveLink(e inventory.ENI) bool {
	_, attaching := a.calls.attaching()[e.ID]
	return attaching || e.AttachedTo(a.Identity.InstanceID)
}

func wantedLink(w want, e inventory.ENI, at inventory.Place) hostnet.Wanted {
	wanted := hostnet.Wanted{
		MAC: hardwareAddr(e.MAC), InterfaceName: w.interfaceName, MTU: int(w.mtu), Host: w.host,
		Addresses: e.Addresses, Subnets: prefixes(append([]string{w.cidr}, w.ipv6CIDRs...)...), Card: int(at.Card), DeviceIndex: int(at.DeviceIndex),
	}
	if w.pods {
		wanted.Addresses, wanted.PodRanges = forPods(e.Addresses, e.Prefixes)
	}
	return wanted
}

// prefixes are the CIDRs among texts, of which some may be empty.
func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		if p, err := netip.ParsePrefix(text); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// configure configures one link.
func (h *host) configure(l link, now time.Time) (events []linkEvent) {
	before := h.links[l.eni.ID]
	var state linkState
	state.Status, state.err = h.Links.Configure(l.wanted)
	switch {
	case state.Present:
		events = append(events, linkEvent{l.eni.ID, inventory.LinkHere})
	case state.err != nil: // that does not say that there is no link
		state = before.unknown(state.err)
	default:
		state.pod, state.claim = h.holder(l.eni.ID)
		state.Name, state.MTU = before.Name, before.MTU
		if state.pod != "" && l.eni.Link == inventory.LinkLost { // and it is in a pod again
			events = append(events, linkEvent{l.eni.ID, inventory.LinkHere})
		}
		describedOnly := l.eni.Attachment != nil && l.eni.AttachedAt.IsZero()
		var change inventory.LinkChange
		if state.wait, change = before.missing(state.pod != "", describedOnly, now); change != inventory.LinkUnchanged {
			h.Log.Info("an attached ENI has no link; checking in EC2", "eni", l.eni.ID, "link", before.Name)
			events = append(events, linkEvent{l.eni.ID, change})
		}
	}
	state.logged, state.wanted = before.logged, l.wanted
	if before.Present && reflect.DeepEqual(before.wanted, l.wanted) {
		h.Metrics.repaired(repairLink, state.Repaired)
	}
	if state.Repaired > 0 {
		log := h.Log.Debug // something on the host may undo it all the while
		if now.Sub(before.logged) >= logRepairEvery {
			log, state.logged = h.Log.Info, now
		}
		log("configured a link", "eni", l.eni.ID, "link", state.Name, "deviceIndex", l.wanted.DeviceIndex, "changes", state.Repaired)
	}
	h.links[l.eni.ID] = state
	return events
}

// holder is the pod that has the ENI's link, "" when none is known to, and the claim by
// which it has the link.
func (h *host) holder(eniID string) (pod string, claim types.UID) {
	if pod := h.pods.holder(eniID); pod != "" {
		return pod, ""
	}
	holder := h.claims.files.attachments().holder(eniID)
	return holder.pod, holder.claim
}

// unknown is the state when the link could not be looked for: what was known of it
// stays, and no link is taken for gone.
func (before linkState) unknown(err error) linkState {
	after := before
	after.err, after.Repaired = err, 0
	return after
}

// missing is the wait for a link that is not here. A link that was here was detached, or
// moved into a pod's namespace; and an ENI that a describe alone says to be attached may
// have been detached since. Both are noted once, for EC2 to be asked. A link that does not
// come after our own attach is no reason to ask: EC2 has answered, and the hourly
// describe asks again. About a link that the CNI plugin eni has moved into a pod nothing
// is asked.
func (before linkState) missing(inPod, describedOnly bool, now time.Time) (after wait, change inventory.LinkChange) {
	after = before.wait
	switch {
	case inPod:
		return wait{}, inventory.LinkUnchanged
	case before.Present, before.pod != "":
		after.waiting, change = now, inventory.LinkVanished
	case before.waiting.IsZero():
		after.waiting = now
		if describedOnly {
			change = inventory.LinkAbsent
		}
	}
	after.overdue = now.Sub(after.waiting) >= linkPatience
	return after, change
}

// forget drops what is known of an ENI's link.
func (h *host) forget(eniID string) { delete(h.links, eniID) }

// awaitsLink says whether a link may appear at any moment.
func (h *host) awaitsLink() bool {
	for _, l := range h.links {
		if !l.waiting.IsZero() && !l.overdue {
			return true
		}
	}
	return false
}

// times are when links are to be looked at though the kernel tells of no change.
func (h *host) times(now time.Time) (times []time.Time) {
	for _, l := range h.links {
		if l.err != nil {
			times = append(times, now.Add(linkRetry))
		}
		if !l.waiting.IsZero() {
			times = append(times, l.waiting.Add(linkPatience))
		}
	}
	return times
}

// Reasons that the host gives.
const (
	// EC2 is being asked to create, attach, or change the ENI.
	reasonCreating          = "Creating"
	reasonAttaching         = "Attaching"
	reasonSettingAttributes = "SettingAttributes"
	// reasonVerifying: EC2 is asked whether the ENI is there.
	reasonVerifying = "Verifying"
	// reasonLinkMissing: the link has not been here yet.
	reasonLinkMissing = "LinkMissing"
	// reasonLinkGone: the link has been here, and is not any more.
	reasonLinkGone = "LinkGone"
	// reasonLinkOverdue: people were told that a link does not come.
	reasonLinkOverdue = "LinkOverdue"
	// reasonLinkHasMaster: the link is a port of a bridge, or the like.
	reasonLinkHasMaster = "LinkHasMaster"
	// reasonIPv6Disabled: the host has switched IPv6 off on the link.
	reasonIPv6Disabled = "IPv6Disabled"
	// reasonRouterAdvertisements: the kernel may take routes from them.
	reasonRouterAdvertisements = "RouterAdvertisements"
	// reasonLinkFailed: not all has been done to a link, be it released.
	reasonLinkFailed = "LinkFailed"
)

// linkReason is the reason, in one word, of an error of the host.
func linkReason(err error) string {
	var taken *hostnet.NameTakenError
	var mtu *hostnet.MTUError
	var master *hostnet.MasterError
	var ipv6 *hostnet.IPv6Error
	var advertisements *hostnet.AdvertisementError
	switch {
	case errors.As(err, &taken):
		return "InterfaceNameTaken"
	case errors.As(err, &mtu):
		return "MTURefused"
	case errors.As(err, &master):
		return reasonLinkHasMaster
	case errors.As(err, &ipv6):
		return reasonIPv6Disabled
	case errors.As(err, &advertisements):
		return reasonRouterAdvertisements
	default:
		return reasonLinkFailed
	}
}
