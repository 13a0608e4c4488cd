package agent

import (
	"context"
	"fmt"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// An agent may hear EC2 and not the API server: a partition, a token that is no longer
// accepted, a watch that hangs. It keeps what it has. But whoever has detached or
// deleted an ENI meanwhile, as the coordinator does, may know what the agent does not,
// so it undoes that only after the API server has confirmed what is wanted, as the
// coordinator asks before it detaches. In the steady state nothing is asked.

// confirmKey is the question's place among the failures.
var confirmKey = retry.Key{Action: "confirm"}

// reasonOutOfTouch: others have taken an ENI, and the API server does not say whether
// it is still wanted.
const reasonOutOfTouch = "OutOfTouch"

// confirmations are the slots from which others have taken an ENI.
type confirmations struct {
	*shared
	taken map[inventory.Slot]string // the ENI
}

// add takes in the ENIs that others have detached or deleted.
func (c *confirmations) add(taken []inventory.ENI) {
	for _, e := range taken {
		c.taken[e.Slot()] = e.ID
	}
}

// confirm asks for what has been taken by others and is still wanted.
func (c *confirmations) confirm(ctx context.Context, d desired, now time.Time) {
	names := map[types.UID]string{}
	wanted := d.slots()
	maps.DeleteFunc(c.taken, func(s inventory.Slot, _ string) bool { return !wanted[s] })
	asked := map[inventory.Slot]string{}
	for _, w := range d.wants {
		if id, ok := c.taken[w.Slot]; ok && !d.unresolved[w.UID] {
			asked[w.Slot], names[w.UID] = id, w.nodeENI
		}
	}
	if len(c.taken) == 0 {
		c.inTouch(now)
	}
	if len(asked) == 0 || c.calls.busy(confirmKey) || c.failures.Blocks(confirmKey, now) {
		return
	}
	c.calls.start(ctx, apiTimeout, confirmKey, call{}, func(ctx context.Context) func() {
		var failed error // one that is no longer wanted, as no watch has shown, does not block others
		for uid, name := range names {
			if err := c.Source.(Confirmer).Confirm(ctx, uid, name); err != nil {
				failed = err
				maps.DeleteFunc(asked, func(s inventory.Slot, _ string) bool { return s.UID == uid })
			}
		}
		return func() { c.confirmed(asked, failed, time.Now()) }
	})
}

// confirmed takes in which of the places are wanted, and why others are not known to be.
func (c *confirmations) confirmed(wanted map[inventory.Slot]string, err error, now time.Time) {
	for s, id := range wanted {
		if c.taken[s] == id {
			delete(c.taken, s)
		}
	}
	if err != nil {
		if _, repeated := c.failures.Failed(confirmKey, err, now); !repeated {
			c.Log.Warn("another client detached or deleted ENIs of this node; waiting for the API server to confirm that they are still needed", "error", err)
		}
		return
	}
	c.inTouch(now)
}

// inTouch tells, once, why ENIs were not attached for a while.
func (c *confirmations) inTouch(now time.Time) {
	failed, ok := c.failures.Get(confirmKey)
	if !ok {
		return
	}
	c.failures.Reset(confirmKey)
	waited := now.Sub(failed.Since()).Round(time.Second)
	c.Log.Info("the API server confirmed which ENIs this node needs", "waited", waited)
	c.Recorder.Event(kube.NodeRef(c.Node), kube.EventWarning, reasonOutOfTouch,
		"for %v, the agent did not replace or reattach the ENIs that another client had detached or deleted, because the API server did not confirm that they are still needed: %v", waited, failed.Err)
}

// outOfTouch says why an ENI is not attached, or created, again.
func (s situation) outOfTouch(w want) (reason, message string) {
	id, taken := s.view.unconfirmed[w.Slot]
	failed, ok := s.view.failures.Get(confirmKey)
	if !taken || !ok {
		return "", ""
	}
	return reasonOutOfTouch, fmt.Sprintf("another client detached or deleted %s; the agent replaces or reattaches it when the API server confirms that it is still needed: %v", id, failed.Err)
}
