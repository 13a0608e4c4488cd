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
	return a.problem() != Problem{} || !a.snapshot.NodeExists && !a.nodeSeen
}

// problem is why nothing is done here, if there is a reason that people have to remove.
func (a *Agent) problem() Problem {
	if a.Problem.Reason == "" && a.snapshot.NodeProblem != "" {
		return Problem{"NotThisInstance", a.snapshot.NodeProblem}
	}
	return a.Problem
}

// tellNodeProblem says, once, why the Node is not this instance, or that there is
// none. It returns whether nothing is to be done.
func (a *Agent) tellNodeProblem() bool {
	if missing := !a.snapshot.NodeExists && !a.snapshot.Incomplete; missing != a.nodeMissing {
		a.nodeMissing = missing
		switch {
		case missing && a.nodeSeen:
			a.Log.Warn("the Node has been deleted; unless it comes back, its ENIs are released", "node", a.Node, "within", nodePatience)
		case a.snapshot.NodeExists:
			a.Log.Info("the Node is there now", "node", a.Node)
		case missing:
			a.Log.Warn("the cluster has no Node of this name; nothing is done until it has; if it has this node under another name, correct --node-name", "node", a.Node)
		}
	}
	a.nodeSeen = a.nodeSeen || a.snapshot.NodeExists && a.problem() == Problem{}
	if problem := a.problem(); problem != a.problemTold {
		a.problemTold = problem
		if problem.Reason != "" {
			a.Log.Error("nothing is done on this node", "node", a.Node, "reason", problem.Reason, "problem", problem.Message)
			a.Recorder.Event(kube.NodeRef(a.Node), kube.EventWarning, problem.Reason, "%s", problem.Message)
		}
	}
	return a.idle()
}

// reportProblem reports why nothing is done. What the last report says of ENIs stays. The
// report of another instance, which may be the Node's own, is not written over.
func (a *Agent) reportProblem(ctx context.Context, now time.Time) {
	problem := a.problem()
	if problem.Reason == "" || a.saved.InstanceID != "" && a.saved.InstanceID != a.Identity.InstanceID {
		return
	}
	r := a.current
	r.InstanceID, r.Zone, r.Region, r.Account = a.Identity.InstanceID, a.Identity.Zone, a.Identity.Region, a.Identity.AccountID
	r.Reason, r.Message = problem.Reason, problem.Message
	a.current = r
	a.save(ctx, now)
}
