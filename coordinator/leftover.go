package coordinator

import (
	"slices"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// evidence is what the caches hold about one ENI.
type evidence struct {
	NodeENI        *v1alpha1.NodeENI // with the UID of the ENI's tag; nil when there is none
	NodeENIDeleted bool              // this process saw its deletion
	Node           *kube.Node        // with the name of the ENI's tag, or what its instance is now; nil when there is none
	NodeDeleted    bool              // this process saw its deletion
	Phase          v1alpha1.Phase    // that the agent on the ENI's own instance reports; "" when it reports none
}

// reason says why an ENI is left over; "" says it is not.
type reason string

const (
	reasonNodeENIDeleted reason = "NodeENIDeleted"
	reasonNodeDeleted    reason = "NodeDeleted"
	reasonNodeReplaced   reason = "NodeReplaced"
	reasonNotSelected    reason = "NodeNotSelected"
	reasonSubnetUnlisted reason = "SubnetUnlisted"
	reasonReleased       reason = "ReleasedByAgent"
	reasonNodeENIUnknown reason = "NodeENIUnknown"
	reasonNodeUnknown    reason = "NodeUnknown"
	reasonBothUnknown    reason = "NodeENIAndNodeUnknown"
)

// reasons are all of them, in words for Events.
var reasons = map[reason]string{
	reasonNodeENIDeleted: "its NodeENI is deleted",
	reasonNodeDeleted:    "its Node is deleted",
	reasonNodeReplaced:   "its Node is another instance now",
	reasonNotSelected:    "the Node's labels no longer match the nodeSelector",
	reasonSubnetUnlisted: "its subnet is no longer listed",
	reasonReleased:       "the node's agent no longer needs it",
	reasonNodeENIUnknown: "no NodeENI has the UID of its tag",
	reasonNodeUnknown:    "no Node has the name of its tag",
	reasonBothUnknown:    "neither its NodeENI nor its instance is of this cluster",
}

// grace is what has to pass before a left-over ENI may be touched.
type grace string

const (
	// graceNone: at once.
	graceNone grace = ""
	// graceAgent: the node lives; its agent takes the link down first.
	graceAgent grace = "agent"
	// graceNode: the Node was deleted, and while its instance runs the kubelet may
	// register it again.
	graceNode grace = "node"
	// graceOrphan: nothing but absence speaks against the ENI, and a cache can
	// lag behind an object that was just made; age and a second look decide.
	graceOrphan grace = "orphan"
)

// verdict is the decision about one ENI. The zero value keeps it.
type verdict struct {
	Reason reason
	Grace  grace
}

func (v verdict) collect() bool { return v.Reason != "" }

// leftOver decides whether the ENI is left over. It collects on what objects
// say and on deletions that were seen; bare absence only makes an orphan.
// Several ENIs of one NodeENI in one subnet are the agent's to tell apart: it
// reports the surplus one as Releasing. An ENI of another cluster is none of ours.
func leftOver(cluster string, e eni.ENI, ev evidence) verdict {
	if cluster == "" || e.Owner.Cluster != cluster {
		return verdict{}
	}
	switch why := proof(e, ev); {
	case why == "":
		return orphan(e, ev)
	case why == reasonNodeDeleted:
		return verdict{why, graceNode}
	case nodeLives(e, ev) && ev.Phase != v1alpha1.PhaseReleased:
		return verdict{why, graceAgent}
	default:
		return verdict{why, graceNone}
	}
}

// orphan is the verdict when only absence speaks against the ENI.
func orphan(e eni.ENI, ev evidence) verdict {
	switch {
	case ev.NodeENI == nil && !nodeLives(e, ev):
		return verdict{reasonBothUnknown, graceOrphan}
	case ev.NodeENI == nil:
		return verdict{reasonNodeENIUnknown, graceOrphan}
	case ev.Node == nil:
		return verdict{reasonNodeUnknown, graceOrphan}
	}
	return verdict{}
}

// proof is the first reason that an object, a report or a deletion gives.
func proof(e eni.ENI, ev evidence) reason {
	switch {
	case ev.NodeENI == nil && ev.NodeENIDeleted, ev.NodeENI != nil && ev.NodeENI.DeletionTimestamp != nil:
		return reasonNodeENIDeleted
	case ev.Node == nil && ev.NodeDeleted:
		return reasonNodeDeleted
	}
	if why := unwanted(e, ev.NodeENI, ev.Node); why != "" {
		return why
	}
	if releases(ev.Phase) {
		return reasonReleased
	}
	return ""
}

// unwanted is why the NodeENI no longer asks for the ENI. A Node of the same name proves
// nothing when the NodeENI is not known here: another cluster with the same
// --cluster-name, in another VPC, may have Nodes of the same names.
func unwanted(e eni.ENI, n *v1alpha1.NodeENI, node *kube.Node) reason {
	switch {
	case n == nil:
	case node != nil && isOther(e, node):
		return reasonNodeReplaced
	case node != nil && deselected(n, node):
		return reasonNotSelected
	case subnetUnlisted(&n.Spec, e.SubnetID):
		return reasonSubnetUnlisted
	}
	return ""
}

// nodeLives says whether an agent may still be using the ENI.
func nodeLives(e eni.ENI, ev evidence) bool {
	return ev.Node != nil && !isOther(e, ev.Node)
}

// isOther says whether the Node is surely not the instance that the ENI was made for. A
// Node without providerID, as a new one is for a moment, may be any instance.
func isOther(e eni.ENI, node *kube.Node) bool {
	now, then := kube.InstanceID(node.Spec.ProviderID), e.Owner.InstanceID()
	return now != "" && then != "" && now != then
}

// deselected is not just !Selects: an empty selector proves nothing.
func deselected(n *v1alpha1.NodeENI, node *kube.Node) bool {
	return len(n.Spec.NodeSelector) > 0 && !n.Selects(node.Labels)
}

// subnetUnlisted compares ids only. Names are the agent's to resolve, so with
// any name in the spec it is the agent's report that takes a subnet off the list.
func subnetUnlisted(spec *v1alpha1.NodeENISpec, subnetID string) bool {
	if spec.SubnetName != "" || len(spec.SubnetNames) > 0 {
		return false
	}
	if spec.SubnetID == "" && len(spec.SubnetIDs) == 0 {
		return false // refused by the schema; it proves nothing
	}
	return subnetID != spec.SubnetID && !slices.Contains(spec.SubnetIDs, subnetID)
}

// reportedPhase is what the node's agent says about the ENI, in the report of its
// Node. A new instance knows nothing of the links of the one before.
func reportedPhase(e eni.ENI, report *v1alpha1.NodeENIState) v1alpha1.Phase {
	if report == nil || report.Status.InstanceID != e.Owner.InstanceID() {
		return ""
	}
	for _, entry := range report.Status.ENIs {
		if entry.ENIID == e.ID {
			return entry.Phase
		}
	}
	return ""
}

// speaksFor says whether the report is of the instance that the Node is now.
func speaksFor(report *v1alpha1.NodeENIState, node *kube.Node) bool {
	if report == nil || node == nil {
		return false
	}
	id := kube.InstanceID(node.Spec.ProviderID)
	return id == "" || id == report.Status.InstanceID
}

// releases says whether the node's agent has begun to release the ENI.
func releases(phase v1alpha1.Phase) bool {
	return phase == v1alpha1.PhaseReleasing || phase == v1alpha1.PhaseReleased
}
