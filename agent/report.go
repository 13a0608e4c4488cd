package agent

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// situation is all that a report rests on.
type situation struct {
	view     view
	plan     plan
	links    map[string]linkState // by ENI
	identity imds.Identity

	enis map[string]inventory.ENI
	last []v1alpha1.ENIState // of the last report
}

// report puts the situation into the words of a NodeENIState. The transition
// times of entries whose phase is the same are taken from the last report.
func report(s situation, last v1alpha1.NodeENIStateStatus, now time.Time) v1alpha1.NodeENIStateStatus {
	s.view.now, s.last, s.enis = now, last.ENIs, map[string]inventory.ENI{}
	for _, e := range s.view.enis {
		s.enis[e.ID] = e
	}
	var entries []v1alpha1.ENIState
	for _, p := range s.view.desired.problems {
		if entry, ok := s.problemEntry(p); ok {
			entries = append(entries, entry)
		}
	}
	if s.view.synced {
		entries = append(entries, s.entries()...)
	} else {
		entries = append(entries, s.unsyncedEntries()...)
	}
	stamp(entries, last.ENIs, now)
	return v1alpha1.NodeENIStateStatus{
		InstanceID: s.view.instanceID, Zone: s.identity.Zone, Region: s.identity.Region, Account: s.identity.AccountID, ENIs: entries,
	}
}

// problemEntry reports a NodeENI whose ENIs cannot all be worked out. A look-up that is
// simply under way is not worth a report.
func (s situation) problemEntry(p problem) (v1alpha1.ENIState, bool) {
	entry := v1alpha1.ENIState{
		NodeENI: p.nodeENI, NodeENIUID: p.uid, ObservedGeneration: p.generation,
		Phase: v1alpha1.PhaseFailed, Reason: p.reason, Message: p.message,
	}
	if p.reason != reasonResolving {
		return entry, true
	}
	for _, key := range lookUpKeys {
		if entry.Phase, entry.Reason, entry.Message = s.failed(key, v1alpha1.PhasePending); entry.Reason != "" {
			return entry, true
		}
	}
	return v1alpha1.ENIState{}, false
}

// unsyncedEntries are those before EC2 has shown what there is. What the last report said
// stays: an ENI's id must not be forgotten. Of an ENI that is new only a failure is news.
func (s situation) unsyncedEntries() (entries []v1alpha1.ENIState) {
	reported := map[inventory.Slot]bool{}
	for _, l := range s.last {
		if l.SubnetID != "" {
			reported[slotIn(l)] = true
			entries = append(entries, l)
		}
	}
	for _, w := range s.view.desired.wants {
		entry := s.newEntry(w)
		entry.Phase, entry.Reason, entry.Message = s.failed(describeKey, v1alpha1.PhasePending)
		if !reported[w.Slot] && entry.Reason != "" {
			entries = append(entries, entry)
		}
	}
	return entries
}

// entries are those of all ENIs that are wanted, being released, or not to be forgotten.
func (s situation) entries() (entries []v1alpha1.ENIState) {
	done := s.view.desired.slots()
	for _, w := range s.view.desired.wants {
		entries = append(entries, s.entry(w))
	}
	for _, l := range s.last {
		if s.keeps(l) {
			done[slotIn(l)] = true
			entries = append(entries, l)
		}
	}
	for _, id := range s.plan.release {
		done[s.enis[id].Slot()] = true
		entries = append(entries, s.releaseEntry(s.enis[id]))
	}
	for slot, decided := range s.view.intents {
		if entry, ok := s.intentEntry(slot, decided); ok && !done[slot] {
			entries = append(entries, entry)
		}
	}
	return entries
}

// keeps says whether the last report's entry stays as it is, because a NodeENI
// whose wants are not known (any more, after a restart) may want it: neither an
// ENI's id nor a decision must be forgotten.
func (s situation) keeps(l v1alpha1.ENIState) bool {
	gone := l.ENIID != "" && s.view.intents[slotIn(l)].replaces == l.ENIID
	return l.SubnetID != "" && s.view.desired.mayWant(l.NodeENIUID) && !s.view.desired.slots()[slotIn(l)] && !gone
}

// intentEntry reports a decision of which there is no ENI and that nothing wants any more.
func (s situation) intentEntry(slot inventory.Slot, decided intent) (v1alpha1.ENIState, bool) {
	entry := v1alpha1.ENIState{NodeENI: decided.nodeENI, NodeENIUID: slot.UID, SubnetID: slot.SubnetID, Place: numberOf(slot), Replaces: decided.replaces}
	switch {
	case s.view.mayHaveCreated(slot):
		entry.CreatedAt = &metav1.Time{Time: decided.createdAt}
		entry.Phase, entry.Reason = v1alpha1.PhasePending, reasonVerifying
		entry.Message = fmt.Sprintf("this ENI is no longer needed, but EC2 may have created it; the agent looks for it until %s", decided.unanswered.Add(inventory.ConsistencyWindow).UTC().Format(time.RFC3339))
		if s.view.creating[slot] {
			entry.Message = "this ENI is no longer needed, but the request to create it is still in progress"
		}
	case decided.replaces != "" && !s.view.collects:
		entry.Phase, entry.Reason, entry.Message = v1alpha1.PhaseReleased, "Gone", "the ENI no longer exists in EC2"
	}
	return entry, entry.Phase != ""
}

func (s situation) newEntry(w want) v1alpha1.ENIState {
	return v1alpha1.ENIState{
		NodeENI: w.nodeENI, NodeENIUID: w.UID, ObservedGeneration: w.generation, SubnetID: w.SubnetID, SubnetCIDR: w.cidr, SubnetIPv6CIDRs: w.ipv6CIDRs,
		Place: numberOf(w.Slot), Claim: w.claim,
	}
}

// entry reports a wanted ENI.
func (s situation) entry(w want) v1alpha1.ENIState {
	e, exists := s.enis[s.plan.assigned[w.Slot]]
	decided := s.view.intents[w.Slot]
	entry := s.newEntry(w)
	entry.Replaces = decided.replaces
	if exists {
		describeENI(&entry, e, s.links[e.ID])
		at := s.plan.places[w.Slot]
		entry.NetworkCard, entry.DeviceIndex = at.Card, at.DeviceIndex
	} else if !decided.createdAt.IsZero() {
		entry.CreatedAt = &metav1.Time{Time: decided.createdAt}
	}
	entry.Phase, entry.Reason, entry.Message = s.phase(w, e, exists)
	return entry
}

func describeENI(entry *v1alpha1.ENIState, e inventory.ENI, link linkState) {
	entry.ENIID = e.ID
	entry.MAC = e.MAC
	if !e.Owner.CreatedAt.IsZero() {
		entry.CreatedAt = &metav1.Time{Time: e.Owner.CreatedAt}
	}
	if a := e.Attachment; a != nil {
		entry.AttachmentID, entry.NetworkCard, entry.DeviceIndex, entry.ENAQueues = a.ID, a.Card, a.DeviceIndex, a.ENAQueues
		entry.ENAExpress = notZero(v1alpha1.ENAExpress(a.ENAExpress))
	}
	for _, a := range e.Addresses {
		entry.Addresses = append(entry.Addresses, a.String())
	}
	entry.Prefixes = slices.Clone(e.Prefixes)
	entry.PrimaryIPv6, entry.ConnectionTracking = e.PrimaryIPv6, notZero(v1alpha1.ConnectionTracking(e.ConnectionTracking))
	if link.Present || link.pod != "" {
		entry.InterfaceName = link.Name
		entry.MTU = int32(link.MTU)
	}
}

// notZero leaves a zero value out of a report.
func notZero[T comparable](v T) *T {
	if v == *new(T) {
		return nil
	}
	return &v
}

// phase says how far a wanted ENI has come, and what is awaited or wrong.
func (s situation) phase(w want, e inventory.ENI, exists bool) (phase v1alpha1.Phase, reason, message string) {
	if !exists {
		return s.phaseWithoutENI(w)
	}
	a := e.Attachment
	if reason, message := s.outOfTouch(w); reason != "" && a == nil {
		return v1alpha1.PhaseAttaching, reason, message
	}
	switch {
	case e.Use == inventory.Returning:
		return v1alpha1.PhaseConfiguring, reasonVerifying, "the ENI was being released and is needed again; the agent is checking whether it still exists in EC2" + s.until(e)
	case e.Uncertain():
		phase = v1alpha1.PhaseAttaching // its link has never been here
		if e.Link != inventory.LinkNeverSeen {
			phase = v1alpha1.PhaseConfiguring
		}
		return phase, reasonVerifying, "EC2 does not show the ENI; the agent is checking again" + s.until(e)
	case a == nil:
		at := s.plan.places[w.Slot]
		if leaving := s.plan.awaitsRoom[w.Slot]; leaving != "" {
			return v1alpha1.PhaseAttaching, reasonAttaching, fmt.Sprintf("the instance has no room for the ENI until EC2 has detached %s, which gives way to it", leaving)
		}
		phase, reason, message = s.failed(attachCall(w, e, at).key(), v1alpha1.PhaseAttaching)
		return phase, cmp.Or(reason, reasonAttaching), cmp.Or(message, fmt.Sprintf("waiting for EC2 to attach the ENI at %v", at))
	case a.InstanceID != s.view.instanceID:
		return v1alpha1.PhaseFailed, "AttachedElsewhere", fmt.Sprintf("the ENI is attached to %s instead of this instance; detach it from that instance", a.InstanceID)
	case a.Detaching():
		return v1alpha1.PhaseAttaching, "Detaching", "another client is detaching the ENI; the agent attaches it again when EC2 has finished"
	}
	if i := slices.IndexFunc(s.plan.calls, func(c call) bool { return c.eni == e.ID }); i >= 0 {
		phase, reason, message = s.failed(s.plan.calls[i].key(), v1alpha1.PhaseConfiguring)
		if message != "" {
			message = "the ENI is attached and in use, but some of its attributes are not set yet: " + message
		}
		return phase, cmp.Or(reason, reasonSettingAttributes), cmp.Or(message, "waiting for EC2 to set the attributes of the ENI")
	}
	if slices.Contains(s.plan.open.Counting, e.ID) && e.Link != inventory.LinkNeverSeen { // as restore takes Verifying to say
		return v1alpha1.PhaseConfiguring, reasonVerifying, fmt.Sprintf("the ENI does not have all of its addresses or prefixes, but EC2 may already have assigned them; the agent checks until %s before it requests more", e.CountsFrom.UTC().Format(time.RFC3339))
	}
	return s.linkPhase(w, e)
}

// phaseWithoutENI is that of an ENI that is still to be created.
func (s situation) phaseWithoutENI(w want) (phase v1alpha1.Phase, reason, message string) {
	if reason, message := s.outOfTouch(w); reason != "" {
		return v1alpha1.PhasePending, reason, message
	}
	own := call{verb: create, slot: w.Slot}.key()
	phase, reason, message = s.failed(own, v1alpha1.PhasePending)
	full := subnetFullKey(w.SubnetID)
	if fullPhase, fullReason, why := s.failed(full, v1alpha1.PhasePending); fullReason != "" && (reason == "" || s.view.failures.Blocks(full, s.view.now)) {
		return fullPhase, fullReason, fmt.Sprintf("%s (%s): %s", w.SubnetID, w.cidr, why)
	}
	if reason != "" { // of a call after the subnet was full, if it was
		return phase, reason, message
	}
	message = "waiting for EC2 to create the ENI"
	if awaited := s.plan.awaited; s.view.failures.Terminal(awaited.key()) {
		message = fmt.Sprintf("the agent creates this ENI after it has attached %s, which EC2 refuses; see the message of that ENI", awaited.eni)
	}
	return phase, reasonCreating, message
}

// until says when at the latest describes show an ENI, while they may not do so yet.
func (s situation) until(e inventory.ENI) string {
	if from := e.MustShowFrom(); s.view.now.Before(from) {
		return fmt.Sprintf(" until %s, when EC2 must show it", from.UTC().Format(time.RFC3339))
	}
	return ""
}

func (s situation) linkPhase(w want, e inventory.ENI) (phase v1alpha1.Phase, reason, message string) {
	switch link := s.links[e.ID]; {
	case link.err != nil:
		return v1alpha1.PhaseFailed, linkReason(link.err), link.err.Error()
	case link.pod != "" && w.OnDemand() && (w.claim == nil || w.claim.UID != link.claim):
		return v1alpha1.PhaseConfiguring, reasonLinkGone, fmt.Sprintf("pod %s still has the link in its network namespace, by a ResourceClaim that no longer has the ENI", link.pod)
	case link.pod != "":
	case link.overdue:
		return v1alpha1.PhaseConfiguring, reasonLinkOverdue, fmt.Sprintf("EC2 reports the ENI as attached, but the host's network namespace has had no link with MAC %[2]s for over %[1]s; check whether a pod has taken the link (the CNI plugin host-device does that), and check the kernel log for driver errors", linkPatience, e.MAC)
	case !link.Present && e.Link == inventory.LinkLost:
		return v1alpha1.PhaseConfiguring, reasonLinkGone, fmt.Sprintf("the link with MAC %s has disappeared from the host's network namespace, or from that of the pod that had it; the agent is checking in EC2 whether the ENI is still attached", e.MAC)
	case !link.Present:
		return v1alpha1.PhaseConfiguring, reasonLinkMissing, fmt.Sprintf("EC2 reports the ENI as attached, but the host's network namespace has no link with MAC %s yet", e.MAC)
	}
	return v1alpha1.PhaseReady, "Ready", s.readyMessage(w, e)
}

// readyMessage says what people may not expect of an ENI that is ready.
func (s situation) readyMessage(w want, e inventory.ENI) string {
	texts := []string{s.view.displaced(w, e), "", s.links[e.ID].heldBy()}
	if w.pods && !s.view.pods {
		texts[1] = "the NodeENI is for pods, but this agent does not provide ENIs to pods; set pods.enabled in the Helm chart, or start the agent with --pods"
	}
	return strings.Join(slices.DeleteFunc(texts, func(text string) bool { return text == "" }), "; ")
}

// failed words the last failure of a call; phase is for one that is tried again.
func (s situation) failed(key retry.Key, phase v1alpha1.Phase) (v1alpha1.Phase, string, string) {
	f, ok := s.view.failures.Get(key)
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
	if most := s.view.indexes.Max; eni.IsAttachmentLimit(f.Err) && len(most) == 1 && most[0] > 0 {
		message = fmt.Sprintf("the instance type %s supports %d ENIs, and all of them are in use: %s", s.identity.InstanceType, most[0], message)
	}
	return phase, eni.Reason(f.Err), message
}

// releaseEntry reports an ENI that nothing wants.
func (s situation) releaseEntry(e inventory.ENI) v1alpha1.ENIState {
	entry := v1alpha1.ENIState{NodeENI: e.Owner.NodeENI, NodeENIUID: e.Owner.NodeENIUID, SubnetID: e.SubnetID, Place: numberOf(e.Slot())}
	link := s.links[e.ID]
	describeENI(&entry, e, linkState{})
	subnet := subnetOf(s.last, e)
	entry.SubnetCIDR, entry.SubnetIPv6CIDRs = subnet.cidr, subnet.ipv6CIDRs
	entry.Phase, entry.Reason = v1alpha1.PhaseReleasing, "NotWanted"
	entry.Message = "this node no longer needs the ENI; the agent is taking its link down"
	switch {
	case link.err != nil:
		entry.Reason, entry.Message = linkReason(link.err), link.err.Error()
	case e.TakenDown():
		entry.Phase = v1alpha1.PhaseReleased
		entry.Message = "this node no longer needs the ENI; its link is down, and the coordinator can delete it"
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
func (s situation) removal(e inventory.ENI) (reason, message string) {
	const unwanted = "this node no longer needs the ENI, and its link is down; "
	if !s.view.mayRemove(e) && e.Attachment != nil {
		return "AttachedElsewhere", unwanted + fmt.Sprintf("it is attached to %s instead of this instance, so the agent does not touch it; detach it from that instance", e.Attachment.InstanceID)
	}
	c, due := s.view.removeCall(e)
	switch f, _ := s.view.failures.Get(c.key()); {
	case e.Uncertain():
		return reasonVerifying, unwanted + "EC2 does not show it, and the agent is checking again"
	case e.Removal() == eni.RemovalRefuse:
		return "PrimaryInterface", unwanted + "it has device index 0, like a primary ENI, so the agent does not touch it"
	case due && eni.IsInUse(f.Err):
		return "NotWanted", unwanted + "EC2 still reports it as in use; the agent retries the deletion"
	case due && f.Err != nil:
		_, reason, message = s.failed(c.key(), "")
		return reason, unwanted + message
	case c.verb == detach:
		return "NotWanted", unwanted + "waiting to detach it"
	case c.verb == remove && e.WasShown():
		return reasonDeleting, unwanted + "waiting for EC2 to delete it"
	case c.verb == remove:
		return "NotWanted", unwanted + "waiting for EC2 to delete it"
	}
	return "NotWanted", unwanted + "waiting for EC2 to detach it"
}

// stamp sets the transition times and sorts, so that equal situations give
// equal reports.
func stamp(entries, last []v1alpha1.ENIState, now time.Time) {
	for i := range entries {
		entry := &entries[i]
		entry.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
		if l := lastOf(last, *entry); l.Phase == entry.Phase && l.Reason == entry.Reason {
			entry.LastTransitionTime = l.LastTransitionTime
		}
	}
	slices.SortFunc(entries, func(a, b v1alpha1.ENIState) int {
		return cmp.Or(strings.Compare(a.NodeENI, b.NodeENI), strings.Compare(string(a.NodeENIUID), string(b.NodeENIUID)),
			strings.Compare(a.SubnetID, b.SubnetID), cmp.Compare(ptr.Deref(a.Place, -1), ptr.Deref(b.Place, -1)), strings.Compare(a.ENIID, b.ENIID), strings.Compare(string(a.Phase), string(b.Phase)))
	})
}

// subnetOf has the CIDRs of the subnet of an ENI that nothing wants, as they were last
// reported: the want that knew them is gone, and the release may have to be tried again.
func subnetOf(last []v1alpha1.ENIState, e inventory.ENI) want {
	entry := lastOf(last, v1alpha1.ENIState{NodeENIUID: e.Owner.NodeENIUID, SubnetID: e.SubnetID, Place: numberOf(e.Slot()), ENIID: e.ID})
	return want{cidr: entry.SubnetCIDR, ipv6CIDRs: entry.SubnetIPv6CIDRs}
}

// lastOf is the last report's entry about the same ENI; without a phase when there is none.
func lastOf(entries []v1alpha1.ENIState, e v1alpha1.ENIState) v1alpha1.ENIState {
	for _, last := range entries {
		if slotIn(last) == slotIn(e) && last.ENIID == e.ENIID {
			return last
		}
	}
	return v1alpha1.ENIState{}
}
