package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
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
	a.Log.Debug("listing the ENIs of this instance in EC2", "why", why)
	a.askIndexes(ctx, now)
	proven := !a.inventory.NeedsProof()
	a.calls.start(ctx, eni.CallTimeout, describeKey, call{}, func(ctx context.Context) func() {
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

// gone forgets an ENI that EC2 no longer has. The one that takes its place says so.
func (a *Agent) gone(e inventory.ENI, now time.Time) {
	a.failures.Gone(e.ID, e.SubnetID)
	a.host.forget(e.ID)
	if slices.ContainsFunc(a.inventory.All(), func(other inventory.ENI) bool { return other.Slot() == e.Slot() }) {
		return // a younger one is already here
	}
	a.intents.replace(e.Slot(), e.Owner.NodeENI, e.ID)
	a.provisioning.again(e.Slot(), now)
}

// An endpoint's URL, a proxy or credentials may lead to the EC2 of another Region or
// account. That answers, and has none of this instance's ENIs. So what it does not show
// is believed only where it knows the instance: an instance is never without its
// primary ENI.

// errWrongPlace: EC2 knows nothing of this instance.
var errWrongPlace = errors.New("the agent creates and releases nothing")

// ofInstance lists this instance's ENIs that are ours. An answer in which none is
// attached to the instance needs proof, unless nothing is known that it could lack.
func ofInstance(ctx context.Context, client *eni.Client, cluster string, here imds.Identity, proven bool) ([]eni.ENI, error) {
	list, err := client.OfInstance(ctx, cluster, here.InstanceARN())
	if err != nil || proven || slices.ContainsFunc(list, func(e eni.ENI) bool { return e.Attachment != nil && e.Attachment.InstanceID == here.InstanceID }) {
		return list, err
	}
	all, err := client.AttachedTo(ctx, here.InstanceID)
	if err == nil && len(all) == 0 {
		err = retry.With(retry.Unknown, fmt.Errorf("EC2 shows no ENI of instance %s, not even the primary one, so the EC2 endpoint or the credentials do not belong to Region %s and account %s; %w; correct AWS_ENDPOINT_URL_EC2, AWS_ENDPOINT_URL, or the credentials",
			here.InstanceID, here.Region, here.AccountID, errWrongPlace))
	}
	return list, err
}
