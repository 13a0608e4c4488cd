package coordinator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

const (
	// maxNamed is the number of nodes in a condition's message.
	maxNamed = 3
	// maxMessage bounds, in bytes, what a message contains of a report's message.
	maxMessage = v1alpha1.MaxAttachmentMessageLength
	// maxAttachmentBytes bounds the attachments of a NodeENI as JSON. A hundred with the
	// longest names and messages need less, unless JSON has to escape them.
	maxAttachmentBytes = 90 << 10
)

// nodeReport is a Node that the NodeENI selects, and its agent's report; nil if there is none
// of this instance.
type nodeReport struct {
	node   *kube.Node
	report *v1alpha1.NodeENIState
}

// statusOf sums up the reports of the selected nodes, which are sorted by name. Of the status
// before, it takes over only the times of the conditions' last transitions.
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
		switch ready, bad, why := nodeReadiness(nr.report, entries, n); {
		case ready:
			status.Nodes.Ready++
		case bad:
			status.Nodes.Failed++
			failed = append(failed, nr.node.Name+": "+why)
		default:
			unready = append(unready, nr.node.Name+": "+why)
		}
	}
	status.Attachments = selectAttachments(attachments)
	condition := readyCondition(n, status.Nodes, failed, unready)
	condition.Type = v1alpha1.ConditionReady
	condition.ObservedGeneration = n.Generation
	condition.LastTransitionTime = metav1.NewTime(now)
	meta.SetStatusCondition(&status.Conditions, condition)
	return status
}

// entriesOf are the report's ENIs of the NodeENI, by its UID: a NodeENI that was deleted may
// have had the name.
func entriesOf(n *v1alpha1.NodeENI, report *v1alpha1.NodeENIState) []v1alpha1.ENIState {
	if report == nil {
		return nil
	}
	var entries []v1alpha1.ENIState
	for _, entry := range report.Status.ENIs {
		gone := entry.Phase == v1alpha1.PhaseReleased && entry.ENIID == "" // the agent's own note
		if entry.NodeENIUID == n.UID && !gone {
			entries = append(entries, entry)
		}
	}
	return entries
}

// nodeReadiness says whether a node is ready or has failed, and if it is not ready, why. ENIs
// that are being released do not count, because the node no longer has to have them. An ENI
// that is Ready for an older generation is not ready for this one.
//
// A node without ENIs on demand is ready for claims, once its agent reports.
func nodeReadiness(report *v1alpha1.NodeENIState, entries []v1alpha1.ENIState, n *v1alpha1.NodeENI) (ready, failed bool, why string) {
	if report != nil && report.Status.Reason != "" {
		return false, true, truncate(cmp.Or(report.Status.Message, report.Status.Reason)) // its agent does nothing
	}
	wanted := 0
	for _, entry := range entries {
		switch {
		case entry.Phase == v1alpha1.PhaseReleasing, entry.Phase == v1alpha1.PhaseReleased:
		case entry.ObservedGeneration < n.Generation:
			wanted++
			why = cmp.Or(why, "its agent has not processed the latest change of the NodeENI yet")
		case entry.Phase == v1alpha1.PhaseReady:
			wanted++
		case entry.Phase == v1alpha1.PhaseFailed:
			return false, true, messageOf(entry)
		default:
			wanted++
			why = cmp.Or(why, messageOf(entry))
		}
	}
	if wanted == 0 && n.Spec.Attach == v1alpha1.AttachOnDemand && report != nil {
		return true, false, ""
	}
	if wanted == 0 {
		return false, false, "its agent has not reported yet"
	}
	return why == "", false, why
}

func messageOf(entry v1alpha1.ENIState) string {
	return truncate(cmp.Or(entry.Message, entry.Reason, string(entry.Phase)))
}

func readyCondition(n *v1alpha1.NodeENI, nodes v1alpha1.NodeCounts, failed, unready []string) metav1.Condition {
	condition := metav1.Condition{Status: metav1.ConditionFalse}
	counts := fmt.Sprintf("%d of %d nodes are ready", nodes.Ready, nodes.Matching)
	switch err := validate(n); {
	case n.DeletionTimestamp != nil:
		condition.Reason = "Deleting"
		condition.Message = "the ENIs are being released, detached, and deleted; see the Events if the deletion does not finish"
	case err != nil:
		condition.Reason = "InvalidSpec"
		condition.Message = truncate(err.Error())
	case nodes.Matching == 0:
		condition.Reason = "NoMatchingNodes"
		condition.Message = "no node matches the nodeSelector " + selectorText(n.Spec.NodeSelector)
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

// validate says what is wrong with a spec that was stored before the schema refused it.
func validate(n *v1alpha1.NodeENI) error {
	n = n.DeepCopy()
	v1alpha1.Default(n)
	return v1alpha1.ValidateNodeENI(n).ToAggregate()
}

// selectAttachments selects the attachments that a status shows from those of each node. No
// node takes the place of another one: the status shows one of each node, the failed ones
// first, before it shows a second of any.
func selectAttachments(nodes [][]v1alpha1.Attachment) []v1alpha1.Attachment {
	var chosen []v1alpha1.Attachment
	bytes := 0
	for round := 0; ; round++ {
		var candidates []v1alpha1.Attachment
		for _, attachments := range nodes {
			if round < len(attachments) {
				candidates = append(candidates, attachments[round])
			}
		}
		sortAttachments(candidates)
		for _, a := range candidates {
			encoded, err := json.Marshal(a)
			if err != nil {
				continue
			}
			if bytes += len(encoded); bytes > maxAttachmentBytes || len(chosen) == v1alpha1.MaxAttachments {
				candidates = nil
				break
			}
			chosen = append(chosen, a)
		}
		if len(candidates) == 0 {
			sortAttachments(chosen)
			return chosen
		}
	}
}

// attachmentsOf are those of one node, the most severe first.
func attachmentsOf(nr nodeReport, entries []v1alpha1.ENIState) []v1alpha1.Attachment {
	var all []v1alpha1.Attachment
	for _, entry := range entries {
		all = append(all, v1alpha1.Attachment{
			NodeID:       nr.node.Name,
			InstanceID:   nr.report.Status.InstanceID,
			ENIID:        entry.ENIID,
			AttachmentID: entry.AttachmentID,
			SubnetID:     entry.SubnetID,
			SubnetCIDR:   entry.SubnetCIDR,
			NetworkCard:  entry.NetworkCard,
			DeviceIndex:  entry.DeviceIndex,
			MTU:          entry.MTU,
			Status:       string(entry.Phase),
			Message:      truncate(entry.Message),
			LastUpdated:  entry.LastTransitionTime,
		})
	}
	sortAttachments(all)
	return all
}

// sortAttachments is not generic: code for a type as large as this one would be 9 KiB of
// the program.
func sortAttachments(all []v1alpha1.Attachment) {
	sort.SliceStable(all, func(i, j int) bool { return compareAttachments(all[i], all[j]) < 0 })
}

// compareAttachments puts those that need attention first.
func compareAttachments(a, b v1alpha1.Attachment) int {
	return cmp.Or(
		cmp.Compare(severity(a), severity(b)),
		cmp.Compare(a.NodeID, b.NodeID),
		cmp.Compare(a.NetworkCard, b.NetworkCard),
		cmp.Compare(a.DeviceIndex, b.DeviceIndex),
		cmp.Compare(a.SubnetID, b.SubnetID),
		cmp.Compare(a.ENIID, b.ENIID),
	)
}

func severity(a v1alpha1.Attachment) int {
	switch v1alpha1.Phase(a.Status) {
	case v1alpha1.PhaseFailed:
		return 0
	case v1alpha1.PhaseReady:
		return 2
	default:
		return 1
	}
}

// truncate keeps a hundred messages of agents far below an object's maximal size.
func truncate(text string) string {
	const more = "…"
	if len(text) <= maxMessage {
		return text
	}
	end := maxMessage - len(more)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + more
}

func selectorText(selector map[string]string) string {
	var labels []string
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		labels = append(labels, key+"="+selector[key])
	}
	return strings.Join(labels, ",")
}

// sample is the first few, and the number of the others.
func sample(all []string) string {
	if len(all) <= maxNamed {
		return strings.Join(all, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(all[:maxNamed], "; "), len(all)-maxNamed)
}
