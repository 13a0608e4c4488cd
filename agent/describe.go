package agent

import (
	"context"
	"net"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// describeKey is the describe's place among the failures.
var describeKey = retry.Key{Action: "DescribeNetworkInterfaces"}

// verifyEvery is how often EC2 is asked when nothing happens: never twice in an hour.
const verifyEvery = time.Hour

// describe asks EC2 for this instance's ENIs when it is time, and says whether it is
// being asked. No call that changes something is under way then: a list that was made
// before a change would undo it here.
func (a *Agent) describe(ctx context.Context, now time.Time) (describing bool) {
	if a.calls.busy(describeKey) {
		return true
	}
	if a.calls.changing() || !a.inventory.Resync.Due(now) || a.failures.Blocks(describeKey, now) {
		return false
	}
	_, why := a.inventory.Resync.Next()
	a.Log.Debug("EC2 is asked for this instance's ENIs", "why", why)
	a.askIndexes(ctx, now)
	proven := !a.inventory.NeedsProof()
	a.calls.start(describeKey, call{}, func() func() {
		ctx, cancel := context.WithTimeout(ctx, eni.CallTimeout)
		defer cancel()
		list, err := ofInstance(ctx, a.EC2, a.Cluster, a.Identity, proven)
		return func() { a.described(list, err, time.Now()) }
	})
	return true
}

func (a *Agent) described(list []eni.ENI, err error, now time.Time) {
	if err != nil {
		a.fail(describeKey, err, now)
		return
	}
	a.failures.Reset(describeKey)
	gone, taken := a.inventory.Describe(list, a.linkMayBeHere, now)
	if _, ok := a.Source.(Confirmer); ok {
		a.confirmations.add(taken)
	}
	for _, e := range gone {
		a.gone(e, now)
	}
}

// linkMayBeHere says whether a link may be here, also one that is not managed because
// this agent has only just started.
func (a *Agent) linkMayBeHere(mac string) bool {
	addr := hardwareAddr(mac)
	return addr != nil && a.present(addr)
}

func (a *Agent) present(mac net.HardwareAddr) bool {
	here, err := a.Links.Present(mac)
	return here || err != nil
}
