package coordinator

import (
	"slices"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// evidence is what the API server shows about one ENI, by the caches or just read.
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

// reasons describes each reason in Events.
var reasons = map[reason]string{
	reasonNodeENIDeleted: "its NodeENI was deleted",
	reasonNodeDeleted:    "its Node was deleted",
	reasonNodeReplaced:   "its Node now belongs to another instance",
	reasonNotSelected:    "the labels of its Node no longer match the nodeSelector",
	reasonSubnetUnlisted: "its NodeENI no longer lists its subnet",
	reasonReleased:       "the agent of its node has released it",
	reasonNodeENIUnknown: "no NodeENI has the UID in its tag",
	reasonNodeUnknown:    "no Node has the name in its tag",
	reasonBothUnknown:    "neither its NodeENI nor its instance belongs to this cluster",
}

// gracePeriod is what has to pass before a left-over ENI may be touched.
type gracePeriod string

const (
	// graceNone: nothing.
	graceNone gracePeriod = ""
	// graceAgent: the node exists, and its agent takes the link down first.
	graceAgent gracePeriod = "agent"
	// graceNode: the Node was deleted, and while its instance runs the kubelet may
	// register it again.
	graceNode gracePeriod = "node"
	// graceOrphan: an object is missing, and no deletion of it was seen. A cache can lag
	// behind an object that was just created, so the ENI has to have some age, and to be
	// found by a second sweep.
	graceOrphan gracePeriod = "orphan"
)

// decision is what leftOver decides about one ENI. The zero value keeps it.
type decision struct {
	Reason      reason
	GracePeriod gracePeriod
}

func (d decision) collect() bool { return d.Reason != "" }

// leftOver decides whether the ENI is left over: because of what objects show and of
// deletions that were seen. An object that is only missing makes it an orphan. Of
// several ENIs of one NodeENI in one subnet the agent keeps one, and reports the others as
// Releasing. An ENI of another cluster is never left over.
func leftOver(cluster string, e eni.ENI, ev evidence) decision {
	if cluster == "" || e.Owner.Cluster != cluster {
		return decision{}
	}
	switch why := provenReason(e, ev); {
	case why == "":
		return orphan(e, ev)
	case why == reasonNodeDeleted:
		return decision{why, graceNode}
	case nodeExists(e, ev) && ev.Phase != v1alpha1.PhaseReleased:
		return decision{why, graceAgent}
	default:
		return decision{why, graceNone}
	}
}

// orphan is the decision when nothing proves that the ENI is left over.
func orphan(e eni.ENI, ev evidence) decision {
	switch {
	case ev.NodeENI == nil && !nodeExists(e, ev):
		return decision{reasonBothUnknown, graceOrphan}
	case ev.NodeENI == nil:
		return decision{reasonNodeENIUnknown, graceOrphan}
	case ev.Node == nil:
		return decision{reasonNodeUnknown, graceOrphan}
	}
	return decision{}
}

// provenReason is the first reason that an object, a report or a deletion gives.
func provenReason(e eni.ENI, ev evidence) reason {
	switch {
	case ev.NodeENI == nil && ev.NodeENIDeleted, ev.NodeENI != nil && ev.NodeENI.DeletionTimestamp != nil:
		return reasonNodeENIDeleted
	case ev.Node == nil && ev.NodeDeleted:
		return reasonNodeDeleted
	}
	if why := unwanted(e, ev.NodeENI, ev.Node); why != "" {
		return why
	}
	if isReleasing(ev.Phase) {
		return reasonReleased
	}
	return ""
}

// unwanted is why the NodeENI no longer asks for the ENI. A Node of the same name proves
// nothing when there is no such NodeENI: another cluster with the same --cluster-name, in
// another VPC, may have Nodes of the same names.
func unwanted(e eni.ENI, n *v1alpha1.NodeENI, node *kube.Node) reason {
	switch {
	case n == nil:
	case node != nil && isOtherInstance(e, node):
		return reasonNodeReplaced
	case node != nil && notSelected(n, node):
		return reasonNotSelected
	case subnetUnlisted(&n.Spec, e.SubnetID):
		return reasonSubnetUnlisted
	}
	return ""
}

// nodeExists says whether the instance that the ENI was made for is a Node, whose agent
// may still use the ENI.
func nodeExists(e eni.ENI, ev evidence) bool {
	return ev.Node != nil && !isOtherInstance(e, ev.Node)
}

// isOtherInstance says whether the Node is certainly not the instance that the ENI was made
// for. A new Node has no providerID yet, and may be any instance.
func isOtherInstance(e eni.ENI, node *kube.Node) bool {
	now, then := kube.InstanceID(node.Spec.ProviderID), e.Owner.InstanceID()
	return now != "" && then != "" && now != then
}

// notSelected is not just !Selects: the schema refuses an empty selector, so one proves
// nothing.
func notSelected(n *v1alpha1.NodeENI, node *kube.Node) bool {
	return len(n.Spec.NodeSelector) > 0 && !n.Selects(node.Labels)
}

// subnetUnlisted compares ids only. The agent looks subnets up by name, so with a name in
// the spec only the agent's report shows that the ENI's subnet is no longer listed.
func subnetUnlisted(spec *v1alpha1.NodeENISpec, subnetID string) bool {
	if spec.SubnetName != "" || len(spec.SubnetNames) > 0 {
		return false
	}
	if spec.SubnetID == "" && len(spec.SubnetIDs) == 0 {
		return false // the schema refuses that, so it proves nothing
	}
	return subnetID != spec.SubnetID && !slices.Contains(spec.SubnetIDs, subnetID)
}

// reportedPhase is the ENI's phase in its Node's report, if that is of the instance that the
// ENI was made for. A new instance knows nothing of the links of the one before.
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

// isReportOf says whether the report was written on the instance that the Node is now.
func isReportOf(report *v1alpha1.NodeENIState, node *kube.Node) bool {
	if report == nil || node == nil {
		return false
	}
	id := kube.InstanceID(node.Spec.ProviderID)
	return id == "" || id == report.Status.InstanceID
}

// isReleasing says whether the node's agent has begun to release the ENI.
func isReleasing(phase v1alpha1.Phase) bool {
	return phase == v1alpha1.PhaseReleasing || phase == v1alpha1.PhaseReleased
}
