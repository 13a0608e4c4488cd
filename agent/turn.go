package agent

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
)

// countsKey is the question how many nodes wait.
var countsKey = retry.Key{Action: "counts"}

// findTurns looks at the status for the throttled calls whose wait is over.
func (a *Agent) findTurns(ctx context.Context, now time.Time) {
	if a.calls.busy(countsKey) || !a.failures.TurnDue(now) {
		return
	}
	perNode := a.enisPerNode()
	a.calls.start(ctx, apiTimeout, countsKey, call{}, func(ctx context.Context) func() {
		var fleet retry.Fleet
		for nodeENI, enis := range perNode {
			nodes, err := a.Source.Counts(ctx, nodeENI)
			if errors.Is(err, errors.ErrUnsupported) {
				continue
			}
			if err != nil {
				a.Log.Debug("cannot read how many nodes are waiting", "nodeENI", nodeENI, "error", err)
				fleet.Unknown = true
				continue
			}
			fleet.Waiting += enis * max(int(nodes.Matching-nodes.Ready-nodes.Failed), 0)
			fleet.Ready += enis * int(nodes.Ready)
		}
		return func() { a.failures.DrawTurns(fleet, time.Now()) }
	})
}

// enisPerNode is how many ENIs each NodeENI that selects this node gives it.
func (a *Agent) enisPerNode() map[string]int {
	wanted := map[types.UID]int{}
	for _, w := range a.desired.wants {
		wanted[w.UID]++
	}
	perNode := map[string]int{}
	for _, n := range a.selection.snapshot.NodeENIs {
		if a.selection.nodeENIs[n.UID].selects {
			perNode[n.Name] = max(wanted[n.UID], 1) // its subnets may not be known yet
		}
	}
	return perNode
}
