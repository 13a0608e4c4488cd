package agent

import (
	"errors"
	"fmt"
	"sync"

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
func (s *selection) idle() bool {
	return s.problem() != Problem{} || !s.snapshot.NodeExists && !s.nodeSeen
}

// problem is why nothing is done here, if there is a reason that people have to remove.
func (s *selection) problem() Problem {
	if s.Problem.Reason == "" && s.snapshot.NodeProblem != "" {
		return Problem{"NotThisInstance", s.snapshot.NodeProblem}
	}
	return s.Problem
}

// logNodeProblem says, once, why the Node is not this instance, or that there is none.
func (s *selection) logNodeProblem() {
	if missing := !s.snapshot.NodeExists && !s.snapshot.Incomplete; missing != s.nodeMissing {
		s.nodeMissing = missing
		switch {
		case missing && s.nodeSeen:
			s.Log.Warn("the Node has been deleted; unless it comes back, its ENIs are released", "node", s.Node, "within", nodeGrace)
		case s.snapshot.NodeExists:
			s.Log.Info("the Node is there now", "node", s.Node)
		case missing:
			s.Log.Warn("the cluster has no Node of this name; nothing is done until it has; if it has this node under another name, correct --node-name", "node", s.Node)
		}
	}
	s.nodeSeen = s.nodeSeen || s.snapshot.NodeExists && s.problem() == Problem{}
	if problem := s.problem(); problem != s.lastProblem {
		s.lastProblem = problem
		if problem.Reason != "" {
			s.Log.Error("nothing is done on this node", "node", s.Node, "reason", problem.Reason, "problem", problem.Message)
			s.Recorder.Event(kube.NodeRef(s.Node), kube.EventWarning, problem.Reason, "%s", problem.Message)
		}
	}
}

// readiness is what the loop tells others about the agent's work.
type readiness struct {
	mu  sync.Mutex
	err error
}

func (r *readiness) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *readiness) get() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Ready says why this node would not get its ENIs; nil when it would. Failures
// of single ENIs are no reason: they are in the report. It may be called at any
// time.
func (a *Agent) Ready() error { return a.readiness.get() }

// notReady is the loop's view of it.
func (a *Agent) notReady() error {
	switch failed, refused := a.failures.Get(describeKey); {
	case a.Problem.Reason != "":
		return errors.New(a.Problem.Message)
	case !a.selection.read:
		return errors.New("it is not known yet what is wanted: NodeENIs and Node have not all been read")
	case !a.selection.snapshot.NodeExists:
		return fmt.Errorf("the cluster has no Node %q", a.Node)
	case a.selection.snapshot.NodeProblem != "":
		return errors.New(a.selection.snapshot.NodeProblem)
	case a.inventory.Synced():
		return nil
	case refused:
		return fmt.Errorf("EC2 has not yet shown what this instance has: %w", failed.Err)
	default:
		return errors.New("EC2 has not yet shown what this instance has")
	}
}
