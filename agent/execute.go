package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// start makes a call to EC2, unless it is under way or failed a moment ago.
func (a *Agent) start(ctx context.Context, c call, now time.Time) {
	key := c.key()
	if _, ok := a.running[key]; ok || a.failures.Blocks(key, now) {
		return
	}
	if c.verb == create && (a.creating() || a.failures.Blocks(fullKey(c.slot.subnet), now)) {
		return
	}
	if c.verb == attach && (a.attaching(c.eni) || now.Before(a.hints.until)) {
		return
	}
	a.running[key] = c
	if c.verb == create {
		a.reckon(now)
	}
	limitKnown := a.limit > 0
	go func() {
		callCtx, cancel := context.WithTimeout(ctx, eni.CallTimeout)
		defer cancel()
		began := time.Now()
		apply, err := a.carryOut(callCtx, c)
		a.Log.Debug("EC2 call", "action", c.verb.action(), "eni", c.eni, "subnet", c.slot.subnet, "took", time.Since(began).Round(time.Millisecond), "error", err)
		var learn func()
		if err != nil {
			learn = a.investigate(ctx, err, limitKnown)
		}
		a.results <- func() {
			delete(a.running, key)
			if err == nil {
				if c.verb != create { // its answer may be no success
					a.failures.Reset(key)
				}
				apply(time.Now())
				return
			}
			if learn != nil {
				learn()
			}
			a.failedCall(c, err, time.Now())
		}
	}()
}

// creating: one ENI is created at a time, see next.
func (a *Agent) creating() bool {
	for _, c := range a.running {
		if c.verb == create {
			return true
		}
	}
	return false
}

func (a *Agent) attaching(id string) bool {
	for _, c := range a.running {
		if c.verb == attach && c.eni == id {
			return true
		}
	}
	return false
}

// fullKey is a subnet's place among the failures while it has no free address.
func fullKey(subnet string) retry.Key { return retry.Key{Action: create.action(), Subnet: subnet} }

// carryOut makes the call. The function that it returns takes the result in; it
// runs in the loop.
func (a *Agent) carryOut(ctx context.Context, c call) (func(now time.Time), error) {
	switch c.verb {
	case create:
		e, err := a.EC2.Create(ctx, c.params)
		return func(now time.Time) { a.answeredCreate(c, e, now) }, err
	case attach:
		id, err := a.EC2.Attach(ctx, c.eni, a.Identity.InstanceID, c.index)
		return func(now time.Time) {
			a.Log.Info("attached an ENI", "eni", c.eni, "deviceIndex", c.index)
			a.arrivals.attached(c.eni, now)
			a.change(c.eni, now, func(t *tracked) {
				t.Status, t.attached = "in-use", now
				t.Attachment = &eni.Attachment{ID: id, InstanceID: a.Identity.InstanceID, DeviceIndex: c.index, Status: "attached"}
			})
		}, err
	case setDeleteOnTermination:
		err := a.EC2.SetDeleteOnTermination(ctx, c.eni, c.attachment, c.value)
		return func(now time.Time) {
			a.change(c.eni, now, func(t *tracked) {
				if t.Attachment != nil && t.Attachment.ID == c.attachment {
					changed := *t.Attachment
					changed.DeleteOnTermination = c.value
					t.Attachment = &changed
				}
			})
		}, err
	case setSourceDestCheck:
		err := a.EC2.SetSourceDestCheck(ctx, c.eni, c.value)
		return func(now time.Time) { a.change(c.eni, now, func(t *tracked) { t.SourceDestCheck = c.value }) }, err
	case setGroups:
		err := a.EC2.SetGroups(ctx, c.eni, c.groups)
		return func(now time.Time) {
			a.Log.Info("changed an ENI's security groups", "eni", c.eni, "groups", c.groups)
			a.change(c.eni, now, func(t *tracked) { t.Groups = c.groups })
		}, err
	case detach:
		err := a.Collector.Detach(ctx, c.attachment)
		return func(now time.Time) { a.detached(c, now) }, err
	case remove:
		err := a.Collector.Delete(ctx, c.eni)
		return func(now time.Time) { a.removed(c.eni, now) }, err
	default: // setDescription
		err := a.EC2.SetDescription(ctx, c.eni, c.text)
		return func(now time.Time) { a.change(c.eni, now, func(t *tracked) { t.Description = c.text }) }, err
	}
}

// retaggedError: EC2 has answered with the ENI that the token stands for, and that is
// for something else by now, or gone: its tags were edited while the first answer was
// lost.
type retaggedError struct{ eni string }

func (e *retaggedError) Error() string {
	return fmt.Sprintf("%s, which EC2 created for this, is gone, or its tags %s, %s or %s have been edited, so that it is for something else; another ENI will be created; find out what edits the tags",
		e.eni, eni.TagCluster, eni.TagInstance, eni.TagNodeENIUID)
}

// answeredCreate takes in the ENI that EC2 answers with. A tag that is missing counts
// as it was given.
func (a *Agent) answeredCreate(c call, e eni.ENI, now time.Time) {
	asked := c.params.Owner
	if e.Owner.NodeENIUID == "" {
		e.Owner.NodeENIUID, e.Owner.NodeENI = asked.NodeENIUID, asked.NodeENI
	}
	ours := e.Owner.Cluster == asked.Cluster && e.Owner.Instance == asked.Instance && slotOfENI(e) == c.slot
	i := slices.IndexFunc(a.enis, func(t tracked) bool { return t.ID == e.ID })
	if elsewhere := i >= 0 && a.enis[i].slot() != c.slot || i < 0 && a.known[e.ID]; elsewhere || !ours {
		a.failedCall(c, retry.With(retry.Terminal, &retaggedError{e.ID}), now)
		return
	}
	a.failures.Reset(c.key())
	a.created(e, now)
}

// decideAgain replaces a decision that the ENI which came of it is no longer for. The
// next call waits as after every failure: the tags of the next ENI may be edited, too.
func (a *Agent) decideAgain(c call, made string, now time.Time) {
	a.records[c.slot] = record{nodeENI: c.params.Owner.NodeENI, createdAt: now.UTC().Truncate(time.Second), replaces: made}
	a.doubt()
}

func (a *Agent) created(e eni.ENI, now time.Time) {
	a.Log.Info("created an ENI", "eni", e.ID, "nodeENI", e.Owner.NodeENI, "subnet", e.SubnetID)
	a.known[e.ID] = true
	a.arrivals.created(slotOfENI(e), e.ID, now)
	a.failures.Reset(fullKey(e.SubnetID))
	a.enis = slices.DeleteFunc(a.enis, func(t tracked) bool { return t.ID == e.ID })
	a.enis = append(a.enis, tracked{ENI: e, made: now, known: now, changed: now})
	if e.MAC == "" {
		a.doubt() // without it nobody can tell its link
	}
}

func (a *Agent) change(id string, now time.Time, f func(*tracked)) {
	for i := range a.enis {
		if a.enis[i].ID == id {
			a.enis[i].changed = now
			f(&a.enis[i])
		}
	}
}

// investigate asks EC2 for what an error leaves open: who holds the device
// index, how many ENIs the instance type takes. What it returns runs in the loop.
func (a *Agent) investigate(ctx context.Context, err error, limitKnown bool) func() {
	ctx, cancel := context.WithTimeout(ctx, eni.CallTimeout)
	defer cancel()
	switch {
	case eni.IsIndexTaken(err):
		attached, err := a.EC2.AttachedTo(ctx, a.Identity.InstanceID)
		if err != nil {
			return nil
		}
		return func() { a.learnHolders(attached) }
	case (eni.IsAttachmentLimit(err) || eni.IsIndexRefused(err)) && !limitKnown:
		limit, err := a.EC2.MaxENIs(ctx, a.Identity.InstanceType)
		if err != nil {
			return nil // the report goes without the number
		}
		return func() { a.limit = limit }
	}
	return nil
}

// learnHolders replaces what is known of device indexes by what EC2 shows. Our
// own ENIs hold none against us, also one that a lagging describe had hidden:
// the next one shows it.
func (a *Agent) learnHolders(attached []eni.ENI) {
	clear(a.taken)
	a.hints.asked++ // what IMDS was asked before knows less
	a.hints.until = time.Time{}
	for _, e := range attached {
		ours := a.known[e.ID] || e.Owner.Cluster == a.Cluster && e.Owner.Instance == a.Identity.InstanceARN()
		if e.Attachment == nil || e.Attachment.DeviceIndex == 0 || e.Attachment.Card != 0 || ours {
			continue
		}
		a.taken[e.Attachment.DeviceIndex] = e.ID
	}
}

// failedCall notes a failure, and doubts what is known where the error
// contradicts it.
func (a *Agent) failedCall(c call, err error, now time.Time) {
	if c.verb == create && !answered(err) {
		a.unheard(c.slot, now)
	}
	var retagged *retaggedError
	switch {
	case errors.As(err, &retagged):
		a.decideAgain(c, retagged.eni, now)
	case c.verb == detach, c.verb == remove:
		a.failedCollect(c, err, now)
		return
	case c.verb == create && eni.IsSubnetFull(err):
		a.fail(fullKey(c.slot.subnet), err, now)
	case eni.IsGroupGone(err):
		a.catalog.forgetGroups(slices.Concat(c.groups, c.params.Groups))
	case eni.IsSubnetGone(err):
		a.catalog.forgetSubnet(c.slot.subnet)
	case c.verb == create && eni.IsMismatch(err):
		// It was made by a call whose answer was lost, before the NodeENI changed.
		a.doubt()
		a.fail(c.key(), err, now)
		a.outdate(c)
		return
	case c.verb == attach && eni.IsIndexTaken(err):
		if _, ok := a.taken[c.index]; ok {
			return // the next plan takes another index, at once
		}
		a.doubt() // one of ours may hold it, by a call whose answer was lost
	case c.verb == attach && eni.IsInUse(err), c.verb != create && c.verb != attach && (eni.IsNotFound(err) || eni.IsAttachmentGone(err)):
		// It was attached by a call whose answer was lost, or changed by
		// somebody else.
		a.distrust(c.eni)
		a.doubt()
	case c.verb == attach && eni.IsNotFound(err):
		a.missed(c.eni, now)
	}
	a.fail(c.key(), err, now)
}

// outdate forgets a decision when EC2 has long known its token, and a describe has
// not shown the ENI that came of it though it had to: that ENI is gone, and another
// one needs another decision.
func (a *Agent) outdate(c call) {
	failed, _ := a.failures.Get(c.key())
	if a.described.Sub(failed.Since()) < consistencyWindow {
		return
	}
	rec := a.records[c.slot]
	rec.createdAt = time.Time{}
	a.records[c.slot] = rec
	a.failures.Reset(c.key())
}

// missed: EC2 does not find the ENI. That proves nothing while it is young.
func (a *Agent) missed(id string, now time.Time) {
	for i := range a.enis {
		e := &a.enis[i]
		if e.ID == id && !now.Before(e.shownFrom(now)) {
			e.listed = true
			a.doubt()
		}
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
	log("an EC2 call failed", "action", key.Action, "error", eni.Advice(key.Action, err), "attempt", f.Attempts, "retryIn", f.Until.Sub(now).Round(time.Millisecond))
}
