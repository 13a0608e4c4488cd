package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// errAbsent stands for an id or a name that EC2 does not know, or knows in no
// way that helps here. It is asked for again as slowly as what people have to fix.
var errAbsent = retry.With(retry.Terminal, errors.New("EC2 knows nothing fitting of this id or name"))

// What is looked up, as its place among the failures; with an id or a name, that of
// one that EC2 does not know.
var (
	subnetsByID   = retry.Key{Action: "DescribeSubnets", Of: "subnet-id"}
	subnetsByName = retry.Key{Action: "DescribeSubnets", Of: "tag:Name"}
	groupsByName  = retry.Key{Action: "DescribeSecurityGroups", Of: "group-name"}

	lookUpKeys = []retry.Key{subnetsByID, subnetsByName, groupsByName}
)

// lookUp asks EC2 for subnets or groups of a VPC by id or name, in one call, and in one
// more for names that are no group's, which may be Name tags. take puts the answer into a
// catalog.
func lookUp(ctx context.Context, ec2 *eni.Client, vpc string, key retry.Key, refs []string) (take func(catalog), err error) {
	switch key {
	case subnetsByID:
		all, err := ec2.SubnetsByID(ctx, refs)
		return func(c catalog) {
			for _, id := range refs {
				c.subnetsByID[id] = only(all, func(s eni.Subnet) bool { return s.ID == id })
			}
		}, err
	case subnetsByName:
		all, err := ec2.SubnetsByName(ctx, vpc, refs)
		return func(c catalog) {
			for _, name := range refs {
				c.subnetsByName[name] = only(all, func(s eni.Subnet) bool { return s.Name == name })
			}
		}, err
	default:
		found, err := ec2.GroupsByName(ctx, vpc, refs)
		return func(c catalog) {
			for _, name := range refs {
				c.groups[name] = found[name]
			}
		}, err
	}
}

func only(all []eni.Subnet, ok func(eni.Subnet) bool) (some []eni.Subnet) {
	for _, s := range all {
		if ok(s) {
			some = append(some, s)
		}
	}
	return some
}

// lookUp asks for the subnets and groups that are not in the catalog.
func (a *Agent) lookUp(ctx context.Context, now time.Time) {
	for _, key := range lookUpKeys {
		due := a.dueLookUps(key, now)
		if len(due) == 0 || a.calls.busy(key) {
			continue
		}
		a.calls.start(key, call{}, func() func() {
			ctx, cancel := context.WithTimeout(ctx, eni.CallTimeout)
			defer cancel()
			take, err := lookUp(ctx, a.EC2, a.Identity.VPCID, key, due)
			return func() { a.lookedUp(key, due, take, err, time.Now()) }
		})
	}
}

func (a *Agent) dueLookUps(key retry.Key, now time.Time) []string {
	return slices.DeleteFunc(slices.Clone(a.desired.missing.of(key)), func(ref string) bool {
		return a.failures.Blocks(key, now) || a.failures.Blocks(named(key, ref), now)
	})
}

// lookedUp takes an answer in. What is missing all the same is asked for again later.
func (a *Agent) lookedUp(key retry.Key, refs []string, take func(catalog), err error, now time.Time) {
	if err != nil {
		a.fail(key, err, now)
		return
	}
	a.failures.Reset(key)
	take(a.catalog)
	a.resolve()
	for _, ref := range refs {
		if slices.Contains(a.desired.missing.of(key), ref) {
			a.failures.Failed(named(key, ref), errAbsent, now)
		} else {
			a.failures.Reset(named(key, ref))
		}
	}
}

// named is the place of one id or name among the failures.
func named(lookUp retry.Key, name string) retry.Key {
	lookUp.Name = name
	return lookUp
}
