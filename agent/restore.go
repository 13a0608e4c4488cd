package agent

import (
	"bytes"
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/aws/smithy-go"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// restored is what an agent knows when it starts: what the one before it has reported.
type restored struct {
	enis    []inventory.ENI
	intents map[inventory.Slot]intent
	links   map[string]linkState
	node    map[types.UID]nodeENIReadiness
}

// restoredFrom reads a report back.
func restoredFrom(r v1alpha1.NodeENIStateStatus, instanceARN string, now time.Time) restored {
	s := restored{intents: intentsIn(r), links: map[string]linkState{}, node: map[types.UID]nodeENIReadiness{}}
	for _, entry := range r.ENIs {
		slot := slotIn(entry)
		if entry.ENIID != "" {
			s.enis = append(s.enis, eniIn(entry, instanceARN))
		} else if decided, ok := s.intents[slot]; ok && mayHaveBeenAsked(entry) {
			decided.unanswered = now
			s.intents[slot] = decided
		}
		if entry.InterfaceName != "" { // which it keeps while a pod has it
			s.links[entry.ENIID] = linkState{Status: hostnet.Status{Name: entry.InterfaceName, MTU: int(entry.MTU)}}
		}
		// A link that is overdue is with a pod, or lost. EC2 was asked about it, and a
		// restart is no reason to ask again.
		if entry.ENIID != "" && entry.Reason == reasonLinkOverdue {
			s.links[entry.ENIID] = linkState{wait: wait{waiting: entry.LastTransitionTime.Add(-linkPatience), overdue: true}}
		}
		// What is reported may have been ready, and the label, which the Node has kept,
		// tells whether it was.
		if entry.Phase != v1alpha1.PhaseReleasing && entry.Phase != v1alpha1.PhaseReleased {
			s.node[entry.NodeENIUID] = nodeENIReadiness{nodeENI: entry.NodeENI, state: degraded}
		}
	}
	return s
}

// mayHaveBeenAsked says whether EC2 may have been asked for the ENI of a decision since
// it was reported: unless it had refused.
func mayHaveBeenAsked(entry v1alpha1.ENIState) bool {
	return entry.Phase != v1alpha1.PhaseFailed && !answered(refusalIn(entry))
}

// refusalIn is EC2's refusal that an entry reports.
func refusalIn(entry v1alpha1.ENIState) error {
	return &smithy.GenericAPIError{Code: entry.Reason, Message: entry.Message}
}

// intentsIn are the decisions that the report holds.
func intentsIn(r v1alpha1.NodeENIStateStatus) map[inventory.Slot]intent {
	all := map[inventory.Slot]intent{}
	for _, entry := range r.ENIs {
		if entry.SubnetID == "" || entry.Phase == v1alpha1.PhaseReleased && entry.ENIID != "" || entry.Phase == v1alpha1.PhaseReleasing {
			continue
		}
		decided := intent{nodeENI: entry.NodeENI, replaces: entry.Replaces}
		if entry.CreatedAt != nil {
			decided.createdAt = entry.CreatedAt.UTC()
		}
		all[slotIn(entry)] = decided
	}
	return all
}

// eniIn is what the report tells of an ENI.
func eniIn(entry v1alpha1.ENIState, instanceARN string) inventory.ENI {
	e := inventory.ENI{Since: entry.LastTransitionTime.Time}
	e.ID, e.MAC, e.SubnetID = entry.ENIID, entry.MAC, entry.SubnetID
	e.Addresses = addressesIn(entry) // in their order
	e.Owner = eni.Owner{NodeENI: entry.NodeENI, NodeENIUID: entry.NodeENIUID, Instance: instanceARN, Place: slotIn(entry).Place}
	if entry.CreatedAt != nil {
		e.Owner.CreatedAt = entry.CreatedAt.Time
		if e.Owner.CreatedAt.After(e.Since) {
			e.Since = e.Owner.CreatedAt
		}
	}
	if entry.Reason == reasonDeleting {
		e.Since = time.Time{} // a describe has shown it
	}
	if entry.Phase == v1alpha1.PhaseReleased {
		e.Use = inventory.Released
	}
	switch entry.Phase {
	case v1alpha1.PhasePending, v1alpha1.PhaseAttaching, v1alpha1.PhaseFailed:
	case v1alpha1.PhaseConfiguring:
		// Or its link was still to come.
		if entry.InterfaceName != "" || entry.Reason == reasonLinkGone || entry.Reason == reasonVerifying {
			e.Link = inventory.LinkSeen
		}
	default:
		e.Link = inventory.LinkSeen
	}
	return e
}

// restore starts from the node's last report.
func (a *Agent) restore(ctx context.Context, now time.Time) error {
	last, err := a.Source.Load(ctx)
	if err != nil {
		return err
	}
	if last.InstanceID != "" && last.InstanceID != a.Identity.InstanceID {
		a.Log.Info("ignoring the last report, which is about another instance with the same node name", "instance", last.InstanceID)
		a.reporter.saved.InstanceID = last.InstanceID // there is one to write over, also without ENIs
		return nil
	}
	a.reporter.saved, a.reporter.current = last, last
	s := restoredFrom(last, a.Identity.InstanceARN(), now)
	a.inventory.Restore(s.enis, now)
	a.intents, a.host.links, a.node.byUID = s.intents, s.links, s.node
	a.onDemand.restore(last, now)
	if a.Collector != nil && last.InstanceID == "" {
		a.inventory.Resync.VerifyAfterLag(now) // a report may have been lost
	}
	return nil
}

// A node that reboots while EC2's API cannot be reached, or while IAM does not allow
// a describe, has its ENIs attached and their links bare. What EC2 would tell stands
// in the node's last report, so the data path comes back without it.

// reportedLinks are those of ENIs that were in use, of NodeENIs that are as they
// were then and select the node still.
func reportedLinks(last v1alpha1.NodeENIStateStatus, s Snapshot, defaultMTU int32, silent func(types.UID) bool) (links []link) {
	for _, n := range inOrder(s.NodeENIs) {
		if n.DeletionTimestamp != nil || !n.Selects(s.Labels) || !silent(n.UID) {
			continue
		}
		v1alpha1.Default(n)
		for _, entry := range last.ENIs {
			routed := n.Spec.Addressing == v1alpha1.AddressingHost || n.Spec.Pods != nil
			if routed && (len(entry.Addresses) >= v1alpha1.MaxAddresses || len(entry.Prefixes) >= v1alpha1.MaxPrefixes && n.Spec.Pods != nil) {
				continue // the report need not have all, and what belongs to the others would be taken away
			}
			inUse := entry.Phase == v1alpha1.PhaseReady || entry.Phase == v1alpha1.PhaseConfiguring
			if inUse && entry.NodeENIUID == n.UID && entry.ObservedGeneration == n.Generation && hardwareAddr(entry.MAC) != nil {
				links = append(links, link{inventory.ENI{ENI: eni.ENI{ID: entry.ENIID}}, linkOfEntry(n.Spec, entry, defaultMTU)})
			}
		}
	}
	return links
}

func linkOfEntry(spec v1alpha1.NodeENISpec, entry v1alpha1.ENIState, defaultMTU int32) hostnet.Wanted {
	wanted := hostnet.Wanted{
		MAC: hardwareAddr(entry.MAC), MTU: int(cmp.Or(spec.MTU, defaultMTU)),
		Host: spec.Addressing == v1alpha1.AddressingHost, Card: int(entry.NetworkCard), DeviceIndex: int(entry.DeviceIndex),
		Subnets: prefixes(append([]string{entry.SubnetCIDR}, entry.SubnetIPv6CIDRs...)...),
	}
	if spec.InterfaceName != "" {
		wanted.InterfaceName = entry.InterfaceName
	}
	wanted.Addresses = addressesIn(entry)
	if spec.Pods != nil {
		wanted.Addresses, wanted.PodRanges = forPods(wanted.Addresses, entry.Prefixes)
	}
	return wanted
}

func addressesIn(entry v1alpha1.ENIState) (all []netip.Addr) {
	for _, text := range entry.Addresses {
		if address, err := netip.ParseAddr(text); err == nil {
			all = append(all, address)
		}
	}
	return all
}

// configureAsReported configures links of which EC2 does not tell, after it was
// asked. Nothing is created, attached, released or swept on a report alone.
func (a *Agent) configureAsReported() {
	if a.failures.Err(append(lookUpKeys, describeKey)...) == nil {
		return // as a rule, and in every reconcile
	}
	for _, l := range reportedLinks(a.reporter.saved, a.selection.snapshot, a.DefaultMTU, a.ec2NotAnswering) {
		l.wanted = a.offered(l.wanted)
		if here, err := a.Links.Present(l.wanted.MAC); here && err == nil && !bytes.Equal(l.wanted.MAC, a.Identity.MAC) {
			a.host.configureAsReported(l)
		}
	}
}

func (h *host) configureAsReported(l link) {
	id := l.eni.ID
	before := h.links[id]
	state := linkState{wait: before.wait, logged: before.logged}
	if state.Status, state.err = h.Links.Configure(l.wanted); state.err != nil && !state.Present {
		state = before.unknown(state.err)
	}
	h.links[id] = state
	switch {
	case state.err != nil && (before.err == nil || before.err.Error() != state.err.Error()):
		h.Log.Warn("cannot configure a link from the last report of this node", "eni", id, "error", state.err)
	case state.Repaired > 0:
		h.Log.Info("configured a link from the last report of this node, because EC2 does not respond", "eni", id, "link", state.Name, "changes", state.Repaired)
	}
}

// ec2NotAnswering says whether EC2 was asked in vain for what the NodeENI's ENIs are.
func (a *Agent) ec2NotAnswering(uid types.UID) bool {
	if !a.inventory.Synced() {
		return a.failures.Err(describeKey) != nil
	}
	known := slices.ContainsFunc(a.desired.wants, func(w want) bool { return w.UID == uid }) // from before
	return !known && a.desired.unresolved[uid] && a.failures.Err(lookUpKeys...) != nil
}
