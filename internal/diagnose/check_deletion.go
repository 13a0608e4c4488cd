package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// The coordinator's warnings about a deletion.
var deletionReasons = []string{"ENIRefused", "ENIAttachedAgain", "ENIStuck", "EC2Unavailable", "NotConfirmed", "FinalizerNotRemoved"}

// checkDeletion says what a NodeENI that is being deleted waits for.
func checkDeletion(p *pair) []Step {
	n, began := p.n, p.n.DeletionTimestamp.Time
	steps := []Step{unknown("NodeENI", "the deletion of %s began %s", n.Name, p.ago(began))}
	ours := slices.Contains(n.Finalizers, v1alpha1.CleanupFinalizer)
	for _, f := range n.Finalizers {
		if f != v1alpha1.CleanupFinalizer {
			step := bad("finalizer", "ForeignFinalizer", "let the controller that added it finish, or remove it: kubectl edit nodeeni "+n.Name,
				"the finalizer %s, which does not belong to aws-multi-eni, blocks the deletion of the NodeENI", f).since(began)
			step.goesOn = true
			steps = append(steps, step)
		}
	}
	if !ours {
		return steps
	}
	steps = append(steps, unknown("finalizer", "%s stays until EC2 shows no ENI of the NodeENI", v1alpha1.CleanupFinalizer))
	leader := p.coordinator()
	if steps = append(steps, leader); leader.Mark == Bad {
		return steps
	}
	if c := meta.FindStatusCondition(n.Status.Conditions, v1alpha1.ConditionCleanupBlocked); c != nil && c.Status == metav1.ConditionTrue {
		text, next := split(c.Message)
		return append(steps, bad("ENI", c.Reason, next, "the coordinator deletes no ENI: %s", text).since(c.LastTransitionTime.Time))
	}
	if e := p.warning("NodeENI", n.Name, deletionReasons...); e != nil && !happened(e).Before(began) { // both in whole seconds
		text, next := split(e.Message)
		return append(steps, bad("ENI", e.Reason, next, "the coordinator reported %s: %s", p.ago(happened(e)), text).since(happened(e)))
	}
	step := unknown("ENI", "%s", p.leftovers()).since(began)
	step.Reason, step.waits, step.Next = "Deleting", true, "wait until the coordinator has deleted the ENIs"
	if p.Time.Sub(began) > patience {
		step.suspect = true
		step.Next = fmt.Sprintf("see the coordinator's log: kubectl -n %s logs -l %s=%s --tail=50", p.Namespace, ComponentLabel, CoordinatorComponent)
	}
	return append(steps, step)
}

// leftovers names the ENIs of a NodeENI that is being deleted.
func (p *pair) leftovers() string {
	var some []string
	count := 0
	for i := range p.States {
		for _, e := range entries(p.n, &p.States[i]) {
			if e.ENIID == "" {
				continue
			}
			if count++; count <= 3 {
				some = append(some, fmt.Sprintf("%s of %s is %s", e.ENIID, p.States[i].Name, e.Phase))
			}
		}
	}
	switch {
	case count == 0:
		return "no agent reports an ENI of this NodeENI; the coordinator checks whether EC2 still has one"
	case count > 3:
		some = append(some, fmt.Sprintf("and %d more", count-3))
	}
	return strings.Join(some, "; ")
}
