package cloud

import (
	"context"
	"strings"
)

// Request is what is known of an API call before it is carried out.
type Request struct {
	Action    string
	SourceID  string // the caller's access key id
	UserAgent string
	RequestID string
	Params    map[string]string // without Action and Version
}

// unfiltered says whether a Describe call asks for everything at once, which
// EC2 throttles more.
func (r Request) unfiltered() bool {
	for name := range r.Params {
		if name != "DryRun" {
			return false
		}
	}
	return strings.HasPrefix(r.Action, "Describe")
}

// Do carries out op as an API call: throttled, with latency, hit by injected
// faults and logged. Once begun, a call is carried out even if its caller goes
// away, as in EC2; ctx only ends calls that hang.
//
// It returns the error of op, that of a fault, or ErrNoAnswer.
func (c *Cloud) Do(ctx context.Context, r Request, op func() error) error {
	call := c.log.begin(r)
	err := c.do(ctx, r, op)
	c.log.end(call, err)
	return err
}

func (c *Cloud) do(ctx context.Context, r Request, op func() error) error {
	if !c.throttle.allow(r.Action, r.unfiltered()) {
		return Errorf("RequestLimitExceeded", "Request limit exceeded.")
	}
	fault, released := c.faults.next(r, c.named(r))
	hang := func() error {
		select {
		case <-ctx.Done():
		case <-released:
		case <-c.schedule.done:
		}
		return ErrNoAnswer
	}
	c.schedule.sleep(fault.Delay)

	timing := c.Timing()
	latency := timing.Write
	if strings.HasPrefix(r.Action, "Describe") {
		latency = timing.Read
	}
	c.schedule.sleep(latency / 2)
	if !fault.After {
		switch {
		case fault.Hang:
			return hang()
		case fault.Reset:
			return ErrNoAnswer
		case fault.Code != "":
			return fault.error()
		}
	}
	err := op()
	c.schedule.sleep(latency - latency/2)
	switch {
	case fault.After && fault.Hang:
		return hang()
	case fault.After && fault.Code != "":
		return fault.error()
	case fault.After:
		return ErrNoAnswer
	}
	return err
}

// named returns the resources that a call names: every value of a parameter,
// and the ENI and the instance of an attachment.
func (c *Cloud) named(r Request) []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	resources := make([]string, 0, len(r.Params))
	for _, value := range r.Params {
		resources = append(resources, value)
		if e, ok := c.attachments[value]; ok {
			i := e.history.latest()
			resources = append(resources, i.ID, i.Attachment.InstanceID)
		}
	}
	return resources
}
