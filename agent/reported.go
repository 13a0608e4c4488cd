package agent

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// A node that reboots while EC2's API cannot be reached, or while IAM does not allow
// a describe, has its ENIs attached and their links bare. What EC2 would tell stands
// in the node's last report, so the data path comes back without it.

// reportedLink is an ENI's link as the last report has it.
type reportedLink struct {
	eni    string
	wanted hostnet.Wanted
}

// reportedLinks are those of ENIs that were in use, of NodeENIs that are as they
// were then and select the node still.
func reportedLinks(last v1alpha1.NodeENIStateStatus, s Snapshot, defaultMTU int32, silent func(types.UID) bool) []reportedLink {
	var links []reportedLink
	for _, n := range inOrder(s.NodeENIs) {
		if n.DeletionTimestamp != nil || !n.Selects(s.Labels) || !silent(n.UID) {
			continue
		}
		v1alpha1.Default(n)
		for _, entry := range last.ENIs {
			inUse := entry.Phase == v1alpha1.PhaseReady || entry.Phase == v1alpha1.PhaseConfiguring
			if inUse && entry.NodeENIUID == n.UID && entry.ObservedGeneration == n.Generation && hardwareAddr(entry.MAC) != nil {
				links = append(links, reportedLink{entry.ENIID, linkOfEntry(n.Spec, entry, defaultMTU)})
			}
		}
	}
	return links
}

func linkOfEntry(spec v1alpha1.NodeENISpec, entry v1alpha1.ENIState, defaultMTU int32) hostnet.Wanted {
	wanted := hostnet.Wanted{
		MAC: hardwareAddr(entry.MAC), MTU: int(cmp.Or(spec.MTU, defaultMTU)),
		Host: spec.Addressing == v1alpha1.AddressingHost, DeviceIndex: int(entry.DeviceIndex),
	}
	if spec.InterfaceName != "" {
		wanted.InterfaceName = entry.InterfaceName
	}
	wanted.Subnet, _ = netip.ParsePrefix(entry.SubnetCIDR)
	for _, text := range entry.Addresses {
		if address, err := netip.ParseAddr(text); err == nil {
			wanted.Addresses = append(wanted.Addresses, address)
		}
	}
	return wanted
}

// configureAsReported configures links of which EC2 does not tell, after it was
// asked. Nothing is created, attached, released or swept on a report alone.
func (a *Agent) configureAsReported() {
	if a.failures.Err(append(lookUpKeys, describeKey)...) == nil {
		return // as a rule, and in every reconcile
	}
	for _, l := range reportedLinks(a.reporter.saved, a.selection.snapshot, a.DefaultMTU, a.ec2NotAnswering) {
		if here, err := a.Links.Present(l.wanted.MAC); here && err == nil && !bytes.Equal(l.wanted.MAC, a.Identity.MAC) {
			a.host.configureAsReported(l)
		}
	}
}

func (h *host) configureAsReported(l reportedLink) {
	before := h.links[l.eni]
	state := linkState{wait: before.wait, logged: before.logged}
	if state.Status, state.err = h.Links.Configure(l.wanted); state.err != nil && !state.Present {
		state = before.unknown(state.err)
	}
	h.links[l.eni] = state
	switch {
	case state.err != nil && (before.err == nil || before.err.Error() != state.err.Error()):
		h.Log.Warn("a link could not be configured as the node's last report has it", "eni", l.eni, "error", state.err)
	case state.Repaired > 0:
		h.Log.Info("configured a link as the node's last report has it, for EC2 does not tell", "eni", l.eni, "link", state.Name, "changes", state.Repaired)
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
