package adopt

import (
	"cmp"
	"fmt"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// owned is the row of an ENI that has the cluster's tags. It warns when
// agents and coordinator will remove the ENI.
func (d *decider) owned(r Row) Row {
	e := r.ENI
	r.NodeENI, r.Verdict, r.Reason = e.Owner.NodeENI, Ours, "an agent created it"
	if adopted(e) {
		r.Reason = "adopted before"
	}
	r.Node = cmp.Or(r.Node, e.Owner.Node)
	switch n := d.nodeENIs[r.NodeENI]; {
	case n == nil || n.UID != e.Owner.NodeENIUID:
		r.Warning = fmt.Sprintf("the NodeENI in its tags, %q, has been deleted, so agents and coordinator detach and delete the ENI", r.NodeENI)
	case n.DeletionTimestamp != nil:
		r.Warning = fmt.Sprintf("NodeENI %s is being deleted, so agents and coordinator detach and delete the ENI", r.NodeENI)
	}
	if r.Warning != "" && adopted(e) {
		r.Warning += "; if you want to keep it, see Finalizers in docs/migration.md before you start any of them"
	}
	return r
}

// replaced says whether the ENI was adopted for a NodeENI that has been deleted and created
// again since. Agents would release it, so it is adopted once more.
func (d *decider) replaced(e eni.Tagged) bool {
	n := d.nodeENIs[e.Owner.NodeENI]
	return adopted(e) && n != nil && n.DeletionTimestamp == nil && n.UID != e.Owner.NodeENIUID
}

func adopted(e eni.Tagged) bool {
	_, yes := e.Tags[eni.TagAdoptedFrom]
	return yes
}

// formerName is the Name tag that the former controller gave to the ENI.
func formerName(e eni.Tagged) string {
	if adopted(e) {
		return e.Tags[eni.TagAdoptedFrom]
	}
	return e.Name
}
