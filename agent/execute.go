package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// subnetFullKey is a subnet's place among the failures while it has no free address.
func subnetFullKey(subnet string) retry.Key {
	return retry.Key{Action: string(create), Subnet: subnet}
}

// attachKey is the place among the failures of what keeps any ENI on demand of a NodeENI
// and subnet from being attached: the ENIs come and go while that lasts.
func attachKey(s inventory.Slot) retry.Key {
	return retry.Key{Action: string(attach), NodeENI: s.UID, Subnet: s.SubnetID}
}

func (a *Agent) startCalls(ctx context.Context, calls []call, now time.Time) {
	for _, c := range calls {
		if a.mayStart(c, now) {
			a.startCall(ctx, c, now)
		}
	}
}

// mayStart: a call is not made while it is under way, or failed a moment ago.
func (a *Agent) mayStart(c call, now time.Time) bool {
	if a.calls.busy(c.key()) || a.failures.Blocks(c.key(), now) {
		return false
	}
	switch c.verb {
	case create: // one at a time, also when the one under way is for a slot that nothing wants any more
		return len(a.calls.creating()) == 0
	case attach: // IMDS is asked which device indexes others hold
		return !now.Before(a.metadata.holdsUntil) && !(c.slot.OnDemand() && a.failures.Blocks(attachKey(c.slot), now))
	default:
		return true
	}
}

// startCall makes a call to EC2.
func (a *Agent) startCall(ctx context.Context, c call, now time.Time) {
	if c.verb == create {
		a.inventory.Resync.VerifyAfterLag(now)
	}
	if c.verb == attach {
		if e, _ := a.inventory.Get(c.eni); hardwareAddr(e.MAC) != nil {
			_ = a.Links.Expect(hardwareAddr(e.MAC)) // what fails here fails with Configure, too, which tells
		}
	}
	limitKnown := len(a.inventory.Indexes.Max) > 0
	a.calls.start(ctx, eni.CallTimeout, c.key(), c, func(callCtx context.Context) func() {
		began := time.Now()
		apply, err := a.execute(callCtx, c)
		a.Log.Debug("EC2 call", "action", c.key().Action, "eni", c.eni, "subnet", c.slot.SubnetID, "took", time.Since(began).Round(time.Millisecond), "error", err)
		learn := a.investigate(ctx, err, limitKnown)
		return func() {
			learn()
			if err != nil {
				a.callFailed(c, err, time.Now())
				return
			}
			if c.verb != create { // its answer may be no success
				a.failures.Reset(c.key())
			}
			apply(time.Now())
		}
	})
}

// execute makes the call. The function that it returns takes the result in; it
// runs in the loop.
func (a *Agent) execute(ctx context.Context, c call) (func(now time.Time), error) {
	switch c.verb {
	case create:
		e, err := a.EC2.Create(ctx, c.params)
		return func(now time.Time) { a.createAnswered(c, e, now) }, err
	case attach:
		params := eni.AttachParams{
			ENIID: c.eni, InstanceID: a.Identity.InstanceID, Card: c.place.Card, DeviceIndex: c.place.DeviceIndex, ENAExpress: c.express, ENAQueues: c.queues,
		}
		id, err := a.EC2.Attach(ctx, params)
		return func(now time.Time) {
			a.Log.Info("attached an ENI", "eni", c.eni, "networkCard", params.Card, "deviceIndex", params.DeviceIndex)
			a.provisioning.attached(c.eni, now)
			a.failures.Reset(attachKey(c.slot))
			a.inventory.Attached(id, params, now)
		}, err
	case assignIPv4, assignIPv6:
		return a.assign(ctx, c)
	case detach:
		err := a.Collector.Detach(ctx, c.attachment)
		return func(now time.Time) {
			a.Log.Info("detaching an ENI", "eni", c.eni)
			a.inventory.Detaching(c.eni, c.attachment, now)
		}, err
	case remove:
		err := a.Collector.Delete(ctx, c.eni)
		return func(now time.Time) { a.deleted(c.eni, now) }, err
	default:
		change, err := a.modify(ctx, c)
		return func(now time.Time) {
			if c.verb != setDeleteOnTermination { // which as a rule is a part of making it
				a.Log.Info("modified an ENI", "eni", c.eni, "attribute", c.key().Of)
			}
			a.inventory.Modified(c.eni, now, change)
		}, err
	}
}

// modify makes a Modify call. The function that it returns is what that changes of the
// ENI.
func (a *Agent) modify(ctx context.Context, c call) (func(*eni.ENI), error) {
	attachment := func(change func(*eni.Attachment)) func(*eni.ENI) {
		return func(e *eni.ENI) {
			if e.Attachment != nil && e.Attachment.ID == c.attachment {
				change(e.Attachment)
			}
		}
	}
	switch c.verb {
	case setDeleteOnTermination:
		return attachment(func(at *eni.Attachment) { at.DeleteOnTermination = c.value }), a.EC2.SetDeleteOnTermination(ctx, c.eni, c.attachment, c.value)
	case setENAExpress:
		return attachment(func(at *eni.Attachment) { at.ENAExpress = c.express }), a.EC2.SetENAExpress(ctx, c.eni, c.express)
	case setENAQueues:
		return attachment(func(at *eni.Attachment) { at.ENAQueues = c.queues }), a.EC2.SetENAQueues(ctx, c.eni, c.attachment, c.queues)
	case setConnectionTracking:
		return func(e *eni.ENI) { e.ConnectionTracking = c.timeouts }, a.EC2.SetConnectionTracking(ctx, c.eni, c.timeouts)
	case setPrimaryIPv6:
		return func(e *eni.ENI) { e.PrimaryIPv6 = true }, a.EC2.SetPrimaryIPv6(ctx, c.eni)
	case setSourceDestCheck:
		return func(e *eni.ENI) { e.SourceDestCheck = c.value }, a.EC2.SetSourceDestCheck(ctx, c.eni, c.value)
	case setGroups:
		return func(e *eni.ENI) { e.Groups = c.groups }, a.EC2.SetGroups(ctx, c.eni, c.groups)
	default: // setDescription
		return func(e *eni.ENI) { e.Description = c.text }, a.EC2.SetDescription(ctx, c.eni, c.text)
	}
}

func (a *Agent) assign(ctx context.Context, c call) (func(now time.Time), error) {
	assign := a.EC2.AssignIPv4
	if c.verb == assignIPv6 {
		assign = a.EC2.AssignIPv6
	}
	more, err := assign(ctx, c.eni, c.counts.addresses, c.counts.prefixes)
	return func(now time.Time) {
		a.Log.Info("assigned addresses to an ENI", "eni", c.eni, "addresses", more.Addresses, "prefixes", more.Prefixes)
		a.inventory.Assigned(c.eni, more, now)
	}, err
}

// retaggedError: EC2 has answered with the ENI that the token stands for, and that is
// for something else by now, or gone: its tags were edited while the first answer was
// lost.
type retaggedError struct{ eni string }

func (e *retaggedError) Error() string {
	return fmt.Sprintf("%s, which EC2 created for this subnet, has been deleted, or its tags %s, %s, or %s have been edited, so it no longer belongs to this NodeENI; the agent creates another ENI; find out what edits the tags",
		e.eni, eni.TagCluster, eni.TagInstance, eni.TagNodeENIUID)
}

// createAnswered takes in the ENI that EC2 answers with. A tag that is missing counts
// as it was given.
func (a *Agent) createAnswered(c call, e eni.ENI, now time.Time) {
	asked := c.params.Owner
	if e.Owner.NodeENIUID == "" {
		e.Owner.NodeENIUID, e.Owner.NodeENI = asked.NodeENIUID, asked.NodeENI
	}
	if e.Owner.Place == 0 {
		e.Owner.Place = asked.Place
	}
	ours := e.Owner.Cluster == asked.Cluster && e.Owner.Instance == asked.Instance && inventory.SlotOf(e) == c.slot
	known, ok := a.inventory.Get(e.ID)
	if elsewhere := ok && known.Slot() != c.slot || !ok && a.inventory.Knows(e.ID); elsewhere || !ours {
		a.callFailed(c, retry.With(retry.Terminal, &retaggedError{e.ID}), now)
		return
	}
	a.failures.Reset(c.key())
	a.Log.Info("created an ENI", "eni", e.ID, "nodeENI", e.Owner.NodeENI, "subnet", e.SubnetID)
	e.ConnectionTracking = c.params.ConnectionTracking.Or(e.ConnectionTracking)
	a.provisioning.created(c.slot, e.ID, now)
	a.failures.Reset(subnetFullKey(e.SubnetID))
	a.inventory.Created(e, now)
}

// deleted takes in that EC2 has deleted an ENI. What waits for a free place on the
// instance may try again.
func (a *Agent) deleted(id string, now time.Time) {
	if e, ok := a.inventory.Deleted(id, now); ok {
		a.Log.Info("deleted an ENI", "eni", e.ID, "nodeENI", e.Owner.NodeENI, "subnet", e.SubnetID)
		a.gone(e, now)
	}
}

// investigate asks EC2 for what an error leaves open: who holds the device
// index, how many ENIs the instance type takes. What it returns runs in the loop.
func (a *Agent) investigate(ctx context.Context, err error, limitKnown bool) func() {
	ctx, cancel := context.WithTimeout(ctx, eni.CallTimeout)
	defer cancel()
	switch {
	case eni.IsIndexTaken(err):
		if attached, err := a.EC2.AttachedTo(ctx, a.Identity.InstanceID); err == nil {
			return func() {
				a.inventory.LearnHolders(attached)
				a.metadata.forgetIndexes() // what IMDS was asked before knows less
			}
		}
	case (eni.IsAttachmentLimit(err) || eni.IsIndexRefused(err)) && !limitKnown:
		if kind, err := a.EC2.InstanceType(ctx, a.Identity.InstanceType); err == nil { // or the report goes without the number
			return func() { a.inventory.Indexes.LearnLimits(kind) }
		}
	}
	return func() {}
}

// callFailed notes a failure, and has EC2 asked where the error contradicts what is
// known.
func (a *Agent) callFailed(c call, err error, now time.Time) {
	a.forgetGone(c, err)
	switch c.verb {
	case create:
		a.createFailed(c, err, now)
	case attach:
		a.attachFailed(c, err, now)
	case detach, remove:
		a.removeFailed(c, err, now)
	default:
		if (c.verb == assignIPv4 || c.verb == assignIPv6) && !answered(err) {
			a.inventory.AssignUnanswered(c.eni, now)
		}
		if eni.IsNotFound(err) || eni.IsAttachmentGone(err) { // another client has changed it
			a.inventory.DropExpectations(c.eni)
			a.inventory.Resync.Now("EC2 did not find the ENI or attachment to modify")
		}
		a.fail(c.key(), err, now)
	}
}

func (a *Agent) createFailed(c call, err error, now time.Time) {
	if !answered(err) {
		a.intents.unanswered(c.slot, now)
	}
	var retagged *retaggedError
	switch {
	case errors.As(err, &retagged):
		// The next call waits as after every failure: the tags of the next ENI may be
		// edited, too.
		a.intents.supersede(c.slot, c.params.Owner.NodeENI, retagged.eni, now)
		a.inventory.Resync.Now("the tags of a new ENI were edited")
	case eni.IsSubnetFull(err) && c.params.SecondaryAddresses+c.params.IPv4Prefixes == 0: // or there may be room for those that ask for less
		a.fail(subnetFullKey(c.slot.SubnetID), err, now)
	case eni.IsMismatch(err):
		// It was made by a call whose answer was lost, before the NodeENI changed.
		a.inventory.Resync.Now("EC2 created an ENI, but its response was lost")
	}
	a.fail(c.key(), err, now)
	// When EC2 has long known the token, and a describe has not shown the ENI that came
	// of it though it had to, that ENI is gone.
	if failed, _ := a.failures.Get(c.key()); eni.IsMismatch(err) && a.inventory.Described().Sub(failed.Since()) >= inventory.ConsistencyWindow {
		a.intents.forget(c.slot)
		a.failures.Reset(c.key())
	}
}

func (a *Agent) attachFailed(c call, err error, now time.Time) {
	switch {
	case eni.IsIndexTaken(err):
		if a.inventory.Indexes.Holders[c.place] != "" {
			return // the next plan takes another index, at once
		}
		a.inventory.Resync.Now("an ENI of this agent may hold a device index because of a call whose response was lost")
	case eni.IsInUse(err):
		a.inventory.DropExpectations(c.eni)
		a.inventory.Resync.Now("an ENI was attached by a call whose response was lost or by another client")
	case eni.IsNotFound(err):
		a.inventory.NotFound(c.eni, now)
	}
	if c.slot.OnDemand() && (eni.IsTerminal(err) || eni.IsRefusal(err)) {
		a.failures.Failed(attachKey(c.slot), err, now)
	}
	a.fail(c.key(), err, now)
}

// removeFailed notes why an ENI could not be detached or deleted.
func (a *Agent) removeFailed(c call, err error, now time.Time) {
	e, _ := a.inventory.Get(c.eni)
	if c.verb == remove && eni.IsNotFound(err) && e.ID != "" && e.WasShown() {
		a.deleted(c.eni, now) // by a call whose answer was lost, or by another client
		return
	}
	a.inventory.DropExpectations(c.eni)
	if c.verb == remove && eni.IsInUse(err) {
		// As a rule for a moment after the detach.
		a.failures.Failed(c.key(), err, now)
		a.inventory.Resync.Soon("a detached ENI is still in use", now)
		return
	}
	if !answered(err) {
		a.inventory.Resync.Now("EC2 did not respond to a call that removes an ENI")
	}
	a.fail(c.key(), err, now)
}

// answered says whether an error is EC2's answer that it has done nothing.
func answered(err error) bool {
	return eni.IsTerminal(err) || eni.IsRefusal(err) || eni.IsThrottled(err) || eni.IsSubnetFull(err)
}

// forgetGone has names looked up again that stood for what EC2 says is gone.
func (a *Agent) forgetGone(c call, err error) {
	switch {
	case eni.IsGroupGone(err):
		a.catalog.forgetGroups(slices.Concat(c.groups, c.params.Groups))
	case eni.IsSubnetGone(err):
		a.catalog.forgetSubnet(c.slot.SubnetID)
	}
}

// fail notes a failure and logs it: an error that is new since the last success as
// a warning, a repeated one only for debugging.
func (a *Agent) fail(key retry.Key, err error, now time.Time) {
	f, repeated := a.failures.Failed(key, err, now)
	log := a.Log.Warn
	if repeated {
		log = a.Log.Debug
	}
	log("EC2 call failed", "action", key.Action, "error", eni.Advice(key.Action, err), "attempt", f.Attempts, "retryIn", f.Until.Sub(now).Round(time.Millisecond))
}
