package agent

import (
	"context"
	"errors"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
)

// shutDownAttempts are the attempts of the last reconcile to change a Node that others
// change at the same time.
const shutDownAttempts = 5

// shutDownTime is how long the last reconcile may take.
const shutDownTime = 5 * time.Second

// shutDown is the last reconcile. A DaemonSet's pod is also ended because its node lost
// the label: then, if the label does not come back, the links are taken down and that
// is reported.
func (a *Agent) shutDown(ctx context.Context) {
	if a.ReleaseDelay > 0 && a.refresh(ctx) == nil {
		a.awaitLabels()
	}
	ctx, cancel := context.WithTimeout(ctx, shutDownTime)
	defer cancel()
	for a.calls.mustEnd() {
		if !a.drain(ctx) {
			return
		}
	}
	for range shutDownAttempts {
		if err := a.refresh(ctx); err != nil {
			a.Log.Warn("cannot check whether a NodeENI still selects this node; leaving its ENIs in place", "error", err)
			return
		}
		a.releaseOnly(ctx, time.Now())
		// Without an agent, a pod would wait in vain for a device that is still published.
		for a.calls.busy(saveKey) || a.calls.patchingNode() || a.calls.reportingDevices() {
			if !a.drain(ctx) {
				return
			}
		}
		if !errors.Is(a.failures.Err(nodePart.key), errNodeChanged) && !errors.Is(a.failures.Err(statusPart.key), errNodeChanged) {
			return
		}
	}
}

// awaitLabels is for an agent that is told to stop: the same label that selects the node
// may select the DaemonSet's pods. It waits until it is clear whether the label is
// lost, and only then the last reconcile releases anything.
func (a *Agent) awaitLabels() {
	snapshot, ok := a.Source.Snapshot()
	if !ok {
		return
	}
	now := time.Now()
	a.take(snapshot, now)
	ctx, cancel := context.WithTimeout(context.Background(), a.selection.grace.forLabels(now))
	defer cancel()
	for a.drain(ctx) {
	}
}

// refresh reads the Node, in a moment.
func (a *Agent) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, shutDownTime/2)
	defer cancel()
	return a.Source.Refresh(ctx)
}

// drain takes in one result of what is under way; false when time is up.
func (a *Agent) drain(ctx context.Context) bool {
	select {
	case apply := <-a.calls.results:
		apply()
		return true
	case <-ctx.Done():
		return false
	}
}

// releaseOnly is a reconcile that only takes links down and reports.
func (a *Agent) releaseOnly(ctx context.Context, now time.Time) {
	if complete := a.setDesired(now); !complete || !a.inventory.Synced() {
		return
	}
	if a.selection.logNodeProblem(); a.selection.idle() {
		return
	}
	a.pods.withdraw(&a.desired, now)
	p := next(a.view(now))
	a.inventory.Assign(p.assigned, p.release)
	for _, id := range p.release {
		if e, _ := a.inventory.Get(id); !e.TakenDown() {
			a.noteLinks(a.release(e), now)
		}
	}
	for _, key := range []retry.Key{nodePart.key, statusPart.key, saveKey} {
		a.failures.Reset(key) // there is no later
	}
	a.publish(ctx, p, true, now)
}
