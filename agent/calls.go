package agent

import (
	"context"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
)

// calls are those under way beside the loop, to EC2 and to the API server.
type calls struct {
	results chan func() // what they bring back, for the loop to run
	running map[retry.Key]call
}

func newCalls() calls {
	return calls{results: make(chan func(), 16), running: map[retry.Key]call{}}
}

// apiTimeout is how long to wait for an answer of the API server.
const apiTimeout = 10 * time.Second

// start runs work beside the loop, for at most so long, and what it returns in the loop.
// what is the zero call where work changes nothing in EC2.
func (c *calls) start(ctx context.Context, limit time.Duration, key retry.Key, what call, work func(context.Context) (apply func())) {
	c.running[key] = what
	go func() {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		apply := work(ctx)
		c.results <- func() {
			delete(c.running, key)
			apply()
		}
	}()
}

func (c *calls) busy(key retry.Key) bool {
	_, ok := c.running[key]
	return ok
}

// changing says whether a call that changes something in EC2 is under way.
func (c *calls) changing() bool {
	for _, call := range c.running {
		if call.verb != "" {
			return true
		}
	}
	return false
}

// attaching are the places of the attach calls under way, by ENI.
func (c *calls) attaching() map[string]inventory.Place {
	places := map[string]inventory.Place{}
	for _, call := range c.running {
		if call.verb == attach {
			places[call.eni] = call.place
		}
	}
	return places
}

// creating are the slots of the create calls under way.
func (c *calls) creating() map[inventory.Slot]bool {
	slots := map[inventory.Slot]bool{}
	for _, call := range c.running {
		if call.verb == create {
			slots[call.slot] = true
		}
	}
	return slots
}

func (c *calls) patchingNode() bool { return c.busy(nodePart.key) || c.busy(statusPart.key) }

// reportingDevices reports whether ResourceSlices or the status of a claim is being written.
func (c *calls) reportingDevices() bool {
	for key := range c.running {
		if key == slicesKey || key.Action == claimAction {
			return true
		}
	}
	return false
}

// mustEnd says whether anything is under way that an agent which stops has to hear the
// end of.
func (c *calls) mustEnd() bool {
	return c.changing() || c.busy(describeKey) || c.busy(saveKey) || c.patchingNode()
}
