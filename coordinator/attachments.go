package coordinator

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// maxAttachmentBytes bounds the attachments of a NodeENI as JSON. A hundred with
// the longest names and messages need less, unless JSON has to escape them.
const maxAttachmentBytes = 90 << 10

// nodeReport is a node that the NodeENI selects and its agent's report, nil when
// there is none of this instance.
type nodeReport struct {
	node   *kube.Node
	report *v1alpha1.NodeENIState
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
		slices.SortStableFunc(candidates, compareAttachments)
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
			slices.SortStableFunc(chosen, compareAttachments)
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
	slices.SortStableFunc(all, compareAttachments)
	return all
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
