package adopt

import (
	"cmp"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// giveBack is the way back: which ENIs lose our tags, and what the former controller finds
// in NodeENIs, the only place in which it looks for its ENIs. ENIs that agents created keep
// their tags: they are in the status too, so the former controller creates no second one.
func giveBack(c Cluster, a Account, now time.Time) (rows []Row, changes []change) {
	nodeOf := map[string]string{}
	for _, n := range c.Nodes {
		nodeOf[kube.InstanceID(n.Spec.ProviderID)] = n.Name
	}
	cidrs := map[string]string{}
	for _, s := range a.Subnets {
		cidrs[s.ID] = s.CIDR
	}
	for _, e := range a.ENIs {
		r := Row{ENI: e, ID: e.ID, NodeENI: cmp.Or(e.Owner.NodeENI, e.Tags[FormerNodeENI])}
		if e.Attachment != nil {
			r.Node = nodeOf[e.Attachment.InstanceID]
		}
		_, adopted := e.Tags[eni.TagAdoptedFrom]
		switch ours := e.Owner.Cluster == c.Name; {
		case ours && adopted:
			r.Verdict = GiveBack
		case ours:
			r.Verdict, r.Reason = Keep, "an agent created it, so it keeps its tags; the former controller takes it from status.attachments"
		case e.Owner.Cluster == "" && e.Tags[FormerTag] == FormerTagValue && r.Node != "":
			r.Verdict, r.Reason = Keep, "it has not been adopted, or was given back before"
		default:
			continue
		}
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(x, y Row) int {
		return cmp.Or(cmp.Compare(x.Node, y.Node), cmp.Compare(x.NodeENI, y.NodeENI), cmp.Compare(x.ENI.SubnetID, y.ENI.SubnetID), cmp.Compare(x.ID, y.ID))
	})
	for i := range c.NodeENIs {
		n := &c.NodeENIs[i]
		if n.DeletionTimestamp != nil {
			continue
		}
		restored := change{nodeENI: n, restore: true, attachments: []v1alpha1.Attachment{}}
		if slices.Contains(n.Finalizers, v1alpha1.CleanupFinalizer) {
			restored.from, restored.to = v1alpha1.CleanupFinalizer, FormerFinalizer
		}
		for _, r := range rows {
			if r.Node != "" && r.NodeENI == n.Name && !r.ENI.Attachment.Detaching() {
				restored.attachments = append(restored.attachments, attachmentOf(r, n, cidrs[r.ENI.SubnetID], now))
			}
		}
		changes = append(changes, restored)
	}
	return rows, changes
}
