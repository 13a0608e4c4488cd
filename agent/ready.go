package agent

import (
	"errors"
	"fmt"
	"sync"
)

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
