package agent

import (
	"context"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// Problem is why an agent does nothing: one word, and what to do about it.
type Problem struct{ Reason, Message string }

// ReasonWrongRegion: EC2 would be asked in another Region than the instance's.
const ReasonWrongRegion = "WrongRegion"

// idle says whether nothing is done because the Node is not this instance, or has
// never been here. A node that boots may be registered late, and a wrong name has
// no Node: neither is a reason to take down what an agent before this one has set
// up. A Node that was here and was deleted wants nothing any more.
func (a *Agent) idle() bool {
	return a.problem() != Problem{} || !a.selection.snapshot.NodeExists && !a.selection.nodeSeen
}

// problem is why nothing is done here, if there is a reason that people have to remove.
func (a *Agent) problem() Problem {
	if a.Problem.Reason == "" && a.selection.snapshot.NodeProblem != "" {
		return Problem{"NotThisInstance", a.selection.snapshot.NodeProblem}
	}
	return a.Problem
}

// logNodeProblem says, once, why the Node is not this instance, or that there is none.
func (a *Agent) logNodeProblem() {
	if missing := !a.selection.snapshot.NodeExists && !a.selection.snapshot.Incomplete; missing != a.selection.nodeMissing {
		a.selection.nodeMissing = missing
		switch {
		case missing && a.selection.nodeSeen:
			a.Log.Warn("the Node has been deleted; unless it comes back, its ENIs are released", "node", a.Node, "within", nodeGrace)
		case a.selection.snapshot.NodeExists:
			a.Log.Info("the Node is there now", "node", a.Node)
		case missing:
			a.Log.Warn("the cluster has no Node of this name; nothing is done until it has; if it has this node under another name, correct --node-name", "node", a.Node)
		}
	}
	a.selection.nodeSeen = a.selection.nodeSeen || a.selection.snapshot.NodeExists && a.problem() == Problem{}
	if problem := a.problem(); problem != a.selection.problem {
		a.selection.problem = problem
		if problem.Reason != "" {
			a.Log.Error("nothing is done on this node", "node", a.Node, "reason", problem.Reason, "problem", problem.Message)
			a.Recorder.Event(kube.NodeRef(a.Node), kube.EventWarning, problem.Reason, "%s", problem.Message)
		}
	}
}

// reportProblem reports why nothing is done. What the last report says of ENIs stays. The
// report of another instance, which may be the Node's own, is not written over.
func (a *Agent) reportProblem(ctx context.Context, now time.Time) {
	problem := a.problem()
	if problem.Reason == "" || a.reporter.saved.InstanceID != "" && a.reporter.saved.InstanceID != a.Identity.InstanceID {
		return
	}
	r := a.reporter.current
	r.InstanceID, r.Zone, r.Region, r.Account = a.Identity.InstanceID, a.Identity.Zone, a.Identity.Region, a.Identity.AccountID
	r.Reason, r.Message = problem.Reason, problem.Message
	a.reporter.current = r
	a.save(ctx, now)
}
