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
	// maxNamed is how many nodes a condition's message names.
	maxNamed = 3
	// maxWords bounds, in bytes, what a message takes over from elsewhere.
	maxWords = v1alpha1.MaxAttachmentMessageLength
	// maxAttachmentBytes bounds the attachments of a NodeENI as JSON. A hundred with
	// the longest names and messages need less, unless JSON has to escape them.
	maxAttachmentBytes = 90 << 10
)

// nodeReport is a node that the NodeENI selects and its agent's report, nil when
// there is none of this instance.
type nodeReport struct {
	node   *kube.Node
	report *v1alpha1.NodeENIState
}

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

// share chooses the attachments that a status shows from those of each node. No
// node takes the place of another: each shows one, the failed ones of all nodes
// first, before any shows a second.
func share(nodes [][]v1alpha1.Attachment) []v1alpha1.Attachment {
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

// attachmentsOf are those of one node, the most urgent first.
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
			DeviceIndex:  entry.DeviceIndex,
			MTU:          entry.MTU,
			Status:       string(entry.Phase),
			Message:      shorten(entry.Message),
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

// compareAttachments puts what needs attention first.
func compareAttachments(a, b v1alpha1.Attachment) int {
	return cmp.Or(
		cmp.Compare(urgency(a), urgency(b)),
		cmp.Compare(a.NodeID, b.NodeID),
		cmp.Compare(a.DeviceIndex, b.DeviceIndex),
		cmp.Compare(a.SubnetID, b.SubnetID),
		cmp.Compare(a.ENIID, b.ENIID),
	)
}

func urgency(a v1alpha1.Attachment) int {
	switch v1alpha1.Phase(a.Status) {
	case v1alpha1.PhaseFailed:
		return 0
	case v1alpha1.PhaseReady:
		return 2
	default:
		return 1
	}
}

// shorten keeps a hundred messages of agents well below an object's limits.
func shorten(text string) string {
	const more = "…"
	if len(text) <= maxWords {
		return text
	}
	end := maxWords - len(more)
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

// sample names the first few.
func sample(all []string) string {
	if len(all) <= maxNamed {
		return strings.Join(all, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(all[:maxNamed], "; "), len(all)-maxNamed)
}
