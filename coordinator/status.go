package coordinator

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// statusOf sums up the reports of the selected nodes, which are sorted by name.
// What the status had before only lends the time of the condition's last
// transition.
func statusOf(n *v1alpha1.NodeENI, nodes []nodeReport, now time.Time) v1alpha1.NodeENIStatus {
	status := v1alpha1.NodeENIStatus{
		ObservedGeneration: n.Generation,
		Conditions:         slices.Clone(n.Status.Conditions),
	}
	var failed, unready []string // "node-b: why"
	var attachments [][]v1alpha1.Attachment
	for _, nr := range nodes {
		entries := entriesOf(n, nr.report)
		attachments = append(attachments, attachmentsOf(nr, entries))
		status.Nodes.Matching++
		switch ready, bad, why := judgeNode(nr.report, entries, n.Generation); {
		case ready:
			status.Nodes.Ready++
		case bad:
			status.Nodes.Failed++
			failed = append(failed, nr.node.Name+": "+why)
		default:
			unready = append(unready, nr.node.Name+": "+why)
		}
	}
	status.Attachments = share(attachments)
	condition := readiness(n, status.Nodes, failed, unready)
	condition.Type = v1alpha1.ConditionReady
	condition.ObservedGeneration = n.Generation
	condition.LastTransitionTime = metav1.NewTime(now)
	meta.SetStatusCondition(&status.Conditions, condition)
	return status
}

// entriesOf are the report's ENIs of the NodeENI. The UID decides: a NodeENI
// that was deleted may have had the name.
func entriesOf(n *v1alpha1.NodeENI, report *v1alpha1.NodeENIState) []v1alpha1.ENIState {
	if report == nil {
		return nil
	}
	var entries []v1alpha1.ENIState
	for _, entry := range report.Status.ENIs {
		gone := entry.Phase == v1alpha1.PhaseReleased && entry.ENIID == "" // the agent's own memory
		if entry.NodeENIUID == n.UID && !gone {
			entries = append(entries, entry)
		}
	}
	return entries
}

// judgeNode says how far a node is. ENIs on their way out do not count: they
// are what the node no longer has to have. What speaks of an older generation
// says nothing of the spec that the status speaks of.
func judgeNode(report *v1alpha1.NodeENIState, entries []v1alpha1.ENIState, generation int64) (ready, failed bool, why string) {
	if report != nil && report.Status.Reason != "" {
		return false, true, shorten(cmp.Or(report.Status.Message, report.Status.Reason)) // its agent does nothing
	}
	wanted := 0
	for _, entry := range entries {
		switch {
		case entry.Phase == v1alpha1.PhaseReleasing, entry.Phase == v1alpha1.PhaseReleased:
		case entry.ObservedGeneration < generation:
			wanted++
			why = cmp.Or(why, "its agent has not taken in the last change of the NodeENI yet")
		case entry.Phase == v1alpha1.PhaseReady:
			wanted++
		case entry.Phase == v1alpha1.PhaseFailed:
			return false, true, words(entry)
		default:
			wanted++
			why = cmp.Or(why, words(entry))
		}
	}
	if wanted == 0 {
		return false, false, "its agent has not reported yet"
	}
	return why == "", false, why
}

func words(entry v1alpha1.ENIState) string {
	return shorten(cmp.Or(entry.Message, entry.Reason, string(entry.Phase)))
}

func readiness(n *v1alpha1.NodeENI, nodes v1alpha1.NodeCounts, failed, unready []string) metav1.Condition {
	condition := metav1.Condition{Status: metav1.ConditionFalse}
	counts := fmt.Sprintf("%d of %d nodes are ready", nodes.Ready, nodes.Matching)
	switch err := invalid(n); {
	case n.DeletionTimestamp != nil:
		condition.Reason = "Deleting"
		condition.Message = "its ENIs are being released, detached and deleted; Events tell what holds them up"
	case err != nil:
		condition.Reason = "InvalidSpec"
		condition.Message = shorten(err.Error())
	case nodes.Matching == 0:
		condition.Reason = "NoMatchingNodes"
		condition.Message = "no node carries the labels " + selectorText(n.Spec.NodeSelector)
	case nodes.Failed > 0:
		condition.Reason = "NodesFailed"
		condition.Message = counts + "; " + sample(failed)
	case nodes.Ready < nodes.Matching:
		condition.Reason = "NodesNotReady"
		condition.Message = counts + "; " + sample(unready)
	default:
		condition.Status = metav1.ConditionTrue
		condition.Reason = "AllNodesReady"
		condition.Message = counts
	}
	return condition
}

// invalid says what is wrong with a spec that was stored before the schema
// refused it.
func invalid(n *v1alpha1.NodeENI) error {
	n = n.DeepCopy()
	v1alpha1.Default(n)
	return v1alpha1.ValidateNodeENI(n).ToAggregate()
}
