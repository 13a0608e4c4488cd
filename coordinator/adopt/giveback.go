package adopt

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// giveBack is the way back: which ENIs lose our tags, and what the former controller finds
// in NodeENIs, the only place in which it looks for its ENIs. ENIs that agents created keep
// their tags: they are in the status too, so the former controller creates no second one.
func giveBack(c Cluster, a Account, now time.Time) (rows []Row, changes []change) {
	nodeOf := map[string]string{}
	for _, n := range c.Nodes {
		if id := kube.InstanceID(n.Spec.ProviderID); id != "" {
			nodeOf[id] = n.Name
		}
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
		switch ours := e.Owner.Cluster == c.Name; {
		case ours && adopted(e):
			r.Verdict = GiveBack
		case ours:
			r.Verdict, r.Reason = Keep, "an agent created it, so it keeps its tags; the former controller takes it from status.attachments"
		case r.Node != "" && (c.namedBy(e.ID) != "" || e.Owner.Cluster == "" && e.Tags[FormerTag] == FormerTagValue):
			r.Verdict, r.Reason = Keep, "it has not been adopted, or was given back before"
			r.NodeENI = cmp.Or(c.namedBy(e.ID), e.Tags[FormerNodeENI])
		default:
			continue
		}
		if why := c.notBack(r); why != "" {
			r.Verdict, r.Reason = Refuse, why
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
			if r.Verdict != Refuse && r.Node != "" && r.NodeENI == n.Name && !r.ENI.Attachment.Detaching() {
				restored.attachments = append(restored.attachments, attachmentOf(r, n, cidrs[r.ENI.SubnetID], now))
			}
		}
		changes = append(changes, restored)
	}
	return rows, changes
}

// notBack says why an ENI must not get into the status of its NodeENI: the former controller
// detaches by force and deletes what it finds there and does not want.
func (c Cluster) notBack(r Row) string {
	i := slices.IndexFunc(c.NodeENIs, func(n v1alpha1.NodeENI) bool { return n.Name == r.NodeENI })
	if i < 0 {
		return ""
	}
	n := &c.NodeENIs[i]
	node := slices.IndexFunc(c.Nodes, func(node kube.Node) bool { return node.Name == r.Node })
	if n.DeletionTimestamp == nil && node >= 0 && !n.Selects(c.Nodes[node].Labels) {
		return fmt.Sprintf("NodeENI %s no longer selects node %s, so the former controller would detach the ENI by force and delete it; label the node, or detach and delete the ENI", n.Name, r.Node)
	}
	return ""
}

// namedBy is the NodeENI whose status names the ENI, "" if there is not exactly one.
func (c Cluster) namedBy(id string) (name string) {
	for _, n := range c.NodeENIs {
		if slices.ContainsFunc(n.Status.Attachments, func(at v1alpha1.Attachment) bool { return at.ENIID == id }) {
			if name != "" {
				return ""
			}
			name = n.Name
		}
	}
	return name
}
