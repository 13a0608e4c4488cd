package agent

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// linkState is what the host shows of an ENI's link.
type linkState struct {
	hostnet.Status
	err error
	wait
	told   time.Time      // when a repair was last told
	wanted hostnet.Wanted // the link was configured so
}

// wait is how long a link that EC2 says to be attached has not been here.
type wait struct {
	waiting time.Time // since when
	overdue bool      // for longer than linkPatience
	lost    bool      // EC2 may be wrong, or lag: it is asked again
	ask     time.Time // when EC2 is asked about it, whatever is asked before
}

// situation is all that a report rests on.
type situation struct {
	view     view
	plan     plan
	failures retry.Failures
	links    map[string]linkState // by ENI
	identity imds.Identity
	now      time.Time
	// limit is the number of ENIs that the instance type takes, 0 while unknown.
	limit int
}

// report puts the situation into the words of a NodeENIState. The transition
// times of entries whose phase is the same are taken from the last report.
func report(s situation, last v1alpha1.NodeENIStateStatus, now time.Time) v1alpha1.NodeENIStateStatus {
	s.now = now
	r := v1alpha1.NodeENIStateStatus{
		InstanceID: s.view.instanceID, Zone: s.identity.Zone, Region: s.identity.Region, Account: s.identity.AccountID,
	}
	byID := map[string]tracked{}
	for _, e := range s.view.enis {
		byID[e.ID] = e
	}
	for _, p := range s.view.desired.problems {
		if entry, ok := s.problemEntry(p); ok {
			r.ENIs = append(r.ENIs, entry)
		}
	}
	wanted := s.view.desired.slots()
	for _, w := range s.view.desired.wants {
		if s.view.certain {
			r.ENIs = append(r.ENIs, s.entry(w, byID))
		} else if entry, ok := s.uncertainEntry(w, last); ok {
			r.ENIs = append(r.ENIs, entry)
		}
	}
	if !s.view.certain {
		// What was reported of others stays until EC2 has told: an ENI's id
		// must not be forgotten.
		for _, l := range last.ENIs {
			if l.SubnetID != "" && !wanted[slot{l.NodeENIUID, l.SubnetID}] {
				r.ENIs = append(r.ENIs, l)
			}
		}
		stamp(r.ENIs, last.ENIs, now)
		return r
	}
	held := map[slot]bool{}
	for _, l := range last.ENIs {
		if s.holds(l) {
			held[slot{l.NodeENIUID, l.SubnetID}] = true
			r.ENIs = append(r.ENIs, l)
		}
	}
	for _, id := range s.plan.release {
		r.ENIs = append(r.ENIs, s.releaseEntry(byID[id]))
	}
	for key, rec := range s.view.records {
		if wanted[key] || held[key] || s.releases(key, byID) {
			continue
		}
		entry := v1alpha1.ENIState{NodeENI: rec.nodeENI, NodeENIUID: key.uid, SubnetID: key.subnet, Replaces: rec.replaces}
		switch {
		case s.view.lookingFor(key, now):
			entry.CreatedAt = &metav1.Time{Time: rec.createdAt}
			entry.Phase, entry.Reason = v1alpha1.PhasePending, reasonVerifying
			entry.Message = fmt.Sprintf("nothing wants this ENI any more, but EC2 may have created it; it is looked for until %s", rec.unheard.Add(consistencyWindow).UTC().Format(time.RFC3339))
			if s.view.creating[key] {
				entry.Message = "nothing wants this ENI any more, but EC2 is still being asked to create it"
			}
			r.ENIs = append(r.ENIs, entry)
		case rec.replaces != "" && !s.view.collects:
			entry.Phase, entry.Reason, entry.Message = v1alpha1.PhaseReleased, "Gone", "EC2 has no ENI here any more"
			r.ENIs = append(r.ENIs, entry)
		}
	}
	stamp(r.ENIs, last.ENIs, now)
	return r
}

// holds says whether the last report's entry stays as it is, because a NodeENI
// whose wants are not known (any more, after a restart) may want it: neither an
// ENI's id nor a decision must be forgotten.
func (s situation) holds(l v1alpha1.ENIState) bool {
	key := slot{l.NodeENIUID, l.SubnetID}
	gone := l.ENIID != "" && s.view.records[key].replaces == l.ENIID
	return l.SubnetID != "" && s.view.desired.leaves(l.NodeENIUID) && !s.view.desired.slots()[key] && !gone
}

// problemEntry reports a NodeENI whose ENIs cannot be told. A lookup that is
// simply under way is not worth a report.
func (s situation) problemEntry(p problem) (v1alpha1.ENIState, bool) {
	entry := v1alpha1.ENIState{
		NodeENI: p.nodeENI, NodeENIUID: p.uid, ObservedGeneration: p.generation,
		Phase: v1alpha1.PhaseFailed, Reason: p.reason, Message: p.message,
	}
	if p.reason != reasonResolving {
		return entry, true
	}
	for _, key := range lookUps {
		if f, ok := s.failures.Get(key); ok {
			if !f.Terminal() {
				entry.Phase = v1alpha1.PhasePending
			}
			entry.Reason, entry.Message = eni.Reason(f.Err), eni.Advice(key.Action, f.Err)
			return entry, true
		}
	}
	return v1alpha1.ENIState{}, false
}

func (s situation) releases(key slot, byID map[string]tracked) bool {
	return slices.ContainsFunc(s.plan.release, func(id string) bool { return byID[id].slot() == key })
}

// uncertainEntry reports a wanted ENI before EC2 has told what there is: what
// the last report said stays, and for one that is new only a failure is news.
func (s situation) uncertainEntry(w want, last v1alpha1.NodeENIStateStatus) (v1alpha1.ENIState, bool) {
	for _, l := range last.ENIs {
		if l.NodeENIUID == w.uid && l.SubnetID == w.subnet {
			return l, true
		}
	}
	phase, reason, message := s.failed(observeKey, v1alpha1.PhasePending)
	return v1alpha1.ENIState{
		NodeENI: w.nodeENI, NodeENIUID: w.uid, ObservedGeneration: w.generation, SubnetID: w.subnet, SubnetCIDR: w.cidr,
		Phase: phase, Reason: reason, Message: message,
	}, reason != ""
}

// entry reports a wanted ENI.
func (s situation) entry(w want, byID map[string]tracked) v1alpha1.ENIState {
	e, exists := byID[s.plan.assigned[w.slot]]
	rec := s.view.records[w.slot]
	entry := v1alpha1.ENIState{
		NodeENI: w.nodeENI, NodeENIUID: w.uid, ObservedGeneration: w.generation, SubnetID: w.subnet, SubnetCIDR: w.cidr, Replaces: rec.replaces,
	}
	if exists {
		describeENI(&entry, e, s.links[e.ID])
		entry.DeviceIndex = s.plan.indexes[e.ID]
	} else if !rec.createdAt.IsZero() {
		entry.CreatedAt = &metav1.Time{Time: rec.createdAt}
	}
	entry.Phase, entry.Reason, entry.Message = s.phase(w, e, exists)
	return entry
}

func describeENI(entry *v1alpha1.ENIState, e tracked, link linkState) {
	entry.ENIID = e.ID
	entry.MAC = e.MAC
	if !e.Owner.CreatedAt.IsZero() {
		entry.CreatedAt = &metav1.Time{Time: e.Owner.CreatedAt}
	}
	if e.Attachment != nil {
		entry.AttachmentID = e.Attachment.ID
		entry.DeviceIndex = e.Attachment.DeviceIndex
	}
	for _, a := range e.Addresses {
		entry.Addresses = append(entry.Addresses, a.String())
	}
	if link.Present {
		entry.InterfaceName = link.Name
		entry.MTU = int32(link.MTU)
	}
}

// phase says how far a wanted ENI has come, and what is awaited or wrong.
func (s situation) phase(w want, e tracked, exists bool) (phase v1alpha1.Phase, reason, message string) {
	if !exists && w.unfit != "" {
		return v1alpha1.PhaseFailed, reasonSubnetIPv6Only, w.unfit
	}
	if reason, message := s.outOfTouch(w); reason != "" && e.Attachment == nil {
		if !exists {
			return v1alpha1.PhasePending, reason, message
		}
		return v1alpha1.PhaseAttaching, reason, message
	}
	if !exists {
		phase, reason, message = s.failed(fullKey(w.subnet), v1alpha1.PhasePending)
		if reason != "" {
			message = fmt.Sprintf("%s (%s): %s", w.subnet, w.cidr, message)
		} else {
			phase, reason, message = s.failed(call{verb: create, slot: w.slot}.key(), v1alpha1.PhasePending)
		}
		return phase, cmp.Or(reason, "Creating"), cmp.Or(message, s.creating())
	}
	a, link := e.Attachment, s.links[e.ID]
	switch {
	case e.returning:
		return v1alpha1.PhaseConfiguring, reasonVerifying, "the ENI had been given up; EC2 is asked whether it is still there" + s.until(e)
	case e.doubtful():
		phase = v1alpha1.PhaseAttaching // its link has never been here
		if e.plugged {
			phase = v1alpha1.PhaseConfiguring
		}
		return phase, reasonVerifying, "EC2 does not show the ENI; it is asked again" + s.until(e)
	case a == nil:
		phase, reason, message = s.failed(call{verb: attach, slot: w.slot, eni: e.ID, index: s.plan.indexes[e.ID]}.key(), v1alpha1.PhaseAttaching)
		return phase, cmp.Or(reason, "Attaching"), cmp.Or(message, fmt.Sprintf("waiting for EC2 to attach the ENI at device index %d", s.plan.indexes[e.ID]))
	case a.InstanceID != s.view.instanceID:
		return v1alpha1.PhaseFailed, "AttachedElsewhere", fmt.Sprintf("the ENI is attached to %s, not to this instance; detach it there", a.InstanceID)
	case a.Detaching():
		return v1alpha1.PhaseAttaching, "Detaching", "somebody is detaching the ENI; it is attached again when EC2 has finished"
	}
	for _, c := range s.plan.calls {
		if c.eni != e.ID {
			continue
		}
		phase, reason, message = s.failed(c.key(), v1alpha1.PhaseConfiguring)
		if message != "" {
			message = "the ENI is attached and in use, but not all of its attributes are as wanted: " + message
		}
		return phase, cmp.Or(reason, "SettingAttributes"), cmp.Or(message, "waiting for EC2 to set the ENI's attributes")
	}
	return linkPhase(w, e, link, s)
}

// until says when at the latest describes show an ENI, while they may not do so yet.
func (s situation) until(e tracked) string {
	if from := e.shownFrom(s.now); s.now.Before(from) {
		return fmt.Sprintf(" until it must show it, at %s", from.UTC().Format(time.RFC3339))
	}
	return ""
}

// creating says what an ENI that is to be created waits for.
func (s situation) creating() string {
	id := s.plan.awaited
	if s.failures.Terminal(call{verb: attach, slot: s.plan.slotOf(id), eni: id, index: s.plan.indexes[id]}.key()) {
		return fmt.Sprintf("not created before %s is attached, which EC2 refuses; see there", id)
	}
	return "waiting for EC2 to create the ENI"
}

func linkPhase(w want, e tracked, link linkState, s situation) (phase v1alpha1.Phase, reason, message string) {
	switch {
	case w.unfit != "":
		return v1alpha1.PhaseFailed, reasonSubnetIPv6Only, w.unfit
	case link.err != nil:
		return v1alpha1.PhaseFailed, linkReason(link.err), link.err.Error()
	case link.overdue:
		return v1alpha1.PhaseConfiguring, reasonLinkOverdue, fmt.Sprintf("EC2 says attached, but for over %s no link with MAC %s has been in the host's network namespace; see whether a pod has taken the link (the CNI plugin host-device does), and in the kernel's log whether its driver has failed", linkPatience, e.MAC)
	case !link.Present && link.lost:
		return v1alpha1.PhaseConfiguring, reasonLinkGone, fmt.Sprintf("the link with MAC %s has gone from the host's network namespace; EC2 is asked whether the ENI is still attached", e.MAC)
	case !link.Present:
		return v1alpha1.PhaseConfiguring, "LinkMissing", fmt.Sprintf("EC2 says attached, but no link with MAC %s is in the host's network namespace (yet)", e.MAC)
	}
	return v1alpha1.PhaseReady, "Ready", s.view.displaced(w, e)
}

// displaced says why an ENI is not at the device index that it was wanted at.
func (v view) displaced(w want, e tracked) string {
	const elsewhere = "attached at device index %d; %d is wanted, and is now held by %s"
	at := e.Attachment.DeviceIndex
	if at == w.deviceIndex {
		return ""
	}
	if holder, ok := v.taken[w.deviceIndex]; ok {
		return fmt.Sprintf(elsewhere, at, w.deviceIndex, holder)
	}
	for _, other := range v.enis {
		if a := other.Attachment; a != nil && !other.left && a.InstanceID == v.instanceID && a.DeviceIndex == w.deviceIndex {
			return fmt.Sprintf(elsewhere, at, w.deviceIndex, other.ID+" of NodeENI "+other.Owner.NodeENI)
		}
	}
	return fmt.Sprintf("attached at device index %d; %d is wanted, and an attached ENI keeps its index", at, w.deviceIndex)
}

// failed words the last failure of a call; phase is for one that is tried again.
func (s situation) failed(key retry.Key, phase v1alpha1.Phase) (v1alpha1.Phase, string, string) {
	f, ok := s.failures.Get(key)
	if !ok {
		return phase, "", ""
	}
	if f.Terminal() {
		phase = v1alpha1.PhaseFailed
	}
	if errors.As(f.Err, new(*retaggedError)) {
		return phase, "TagsEdited", f.Err.Error()
	}
	message := eni.Advice(key.Action, f.Err)
	if eni.IsAttachmentLimit(f.Err) && s.limit > 0 {
		message = fmt.Sprintf("the instance type %s takes %d ENIs and all are in use: %s", s.identity.InstanceType, s.limit, message)
	}
	return phase, eni.Reason(f.Err), message
}

// releaseEntry reports an ENI that nothing wants.
func (s situation) releaseEntry(e tracked) v1alpha1.ENIState {
	entry := v1alpha1.ENIState{NodeENI: e.Owner.NodeENI, NodeENIUID: e.Owner.NodeENIUID, SubnetID: e.SubnetID}
	link := s.links[e.ID]
	describeENI(&entry, e, linkState{})
	entry.Phase, entry.Reason = v1alpha1.PhaseReleasing, "NotWanted"
	entry.Message = "nothing wants this ENI on this node; its link is being taken down"
	switch {
	case link.err != nil:
		entry.Reason, entry.Message = linkReason(link.err), link.err.Error()
	case e.released:
		entry.Phase = v1alpha1.PhaseReleased
		entry.Message = "nothing wants this ENI on this node; its link is down and it may be collected"
		if s.view.collects {
			entry.Reason, entry.Message = s.removal(e)
		}
	}
	return entry
}

// reasonDeleting: a describe has shown the ENI, and EC2 is asked to delete it. So an
// agent that is killed meanwhile need not wait, after its restart, for one that has
// gone.
const reasonDeleting = "Deleting"

// removal says how far an ENI that is released is on its way out of EC2.
func (s situation) removal(e tracked) (reason, message string) {
	const unwanted = "nothing wants this ENI, and its link is down; "
	if !s.view.mayCollect(e) && e.Attachment != nil {
		return "AttachedElsewhere", unwanted + fmt.Sprintf("it is attached to %s, not to this instance, and left alone; detach it there", e.Attachment.InstanceID)
	}
	c, due := s.view.collectCall(e)
	switch f, _ := s.failures.Get(c.key()); {
	case e.doubtful():
		return reasonVerifying, unwanted + "EC2 does not show it, and is asked again"
	case e.Removal() == eni.RemovalRefuse:
		return "PrimaryInterface", unwanted + "it is at device index 0, as only a primary interface is, and left alone"
	case due && eni.IsInUse(f.Err):
		return "NotWanted", unwanted + "EC2 still has it in use; deleting it is tried again"
	case due && f.Err != nil:
		_, reason, message = s.failed(c.key(), "")
		return reason, unwanted + message
	case c.verb == detach:
		return "NotWanted", unwanted + "EC2 is asked to detach it"
	case c.verb == remove && e.listed:
		return reasonDeleting, unwanted + "EC2 is asked to delete it"
	case c.verb == remove:
		return "NotWanted", unwanted + "EC2 is asked to delete it"
	}
	return "NotWanted", unwanted + "EC2 is detaching it"
}

// stamp sets the transition times and sorts, so that equal situations give
// equal reports.
func stamp(entries, last []v1alpha1.ENIState, now time.Time) {
	for i := range entries {
		entry := &entries[i]
		entry.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
		for _, l := range last {
			if sameENI(*entry, l) && l.Phase == entry.Phase && l.Reason == entry.Reason {
				entry.LastTransitionTime = l.LastTransitionTime
			}
		}
	}
	slices.SortFunc(entries, func(a, b v1alpha1.ENIState) int {
		return cmp.Or(strings.Compare(a.NodeENI, b.NodeENI), strings.Compare(string(a.NodeENIUID), string(b.NodeENIUID)),
			strings.Compare(a.SubnetID, b.SubnetID), strings.Compare(a.ENIID, b.ENIID), strings.Compare(string(a.Phase), string(b.Phase)))
	})
}

func sameENI(a, b v1alpha1.ENIState) bool {
	return a.NodeENIUID == b.NodeENIUID && a.SubnetID == b.SubnetID && a.ENIID == b.ENIID
}
