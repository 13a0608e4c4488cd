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
// way that helps here. It is asked for again at the pace of things that people
// mend.
var errAbsent = retry.With(retry.Terminal, errors.New("EC2 knows nothing fitting of this id or name"))

// What is looked up, as its place among the failures; with an id or a name, that of
// one that EC2 does not know.
var (
	subnetsByID   = retry.Key{Action: "DescribeSubnets", Of: "subnet-id"}
	subnetsByName = retry.Key{Action: "DescribeSubnets", Of: "tag:Name"}
	groupsByName  = retry.Key{Action: "DescribeSecurityGroups", Of: "group-name"}

	lookUps = []retry.Key{subnetsByID, subnetsByName, groupsByName}
)

// lookUp asks EC2 for the subnets and groups that are not in the catalog, in one
// call for ids and one each for subnet and group names; and in one more for names
// that are no group's, which may be Name tags.
func (a *Agent) lookUp(ctx context.Context, now time.Time) {
	lookUp(a, ctx, now, subnetsByID, a.EC2.SubnetsByID, func(id string, all []eni.Subnet) {
		a.catalog.subnetsByID[id] = only(all, func(s eni.Subnet) bool { return s.ID == id })
	})
	subnets := func(ctx context.Context, names []string) ([]eni.Subnet, error) {
		return a.EC2.SubnetsByName(ctx, a.Identity.VPCID, names)
	}
	lookUp(a, ctx, now, subnetsByName, subnets, func(name string, all []eni.Subnet) {
		a.catalog.subnetsByName[name] = only(all, func(s eni.Subnet) bool { return s.Name == name })
	})
	groups := func(ctx context.Context, names []string) (map[string][]string, error) {
		return a.EC2.GroupsByName(ctx, a.Identity.VPCID, names)
	}
	lookUp(a, ctx, now, groupsByName, groups, func(name string, found map[string][]string) {
		a.catalog.groups[name] = found[name]
	})
}

func only[T any](all []T, ok func(T) bool) []T {
	var some []T
	for _, v := range all {
		if ok(v) {
			some = append(some, v)
		}
	}
	return some
}

// lookUp asks for what is missing and due, in one call, and gives each with the
// answer to take. What is missing all the same is asked for again later.
func lookUp[T any](a *Agent, ctx context.Context, now time.Time, key retry.Key,
	ask func(context.Context, []string) (T, error), take func(ref string, answer T)) {
	var due []string
	for _, ref := range a.desired.missing.of(key) {
		if !a.calls.busy(key) && !a.failures.Blocks(key, now) && !a.failures.Blocks(named(key, ref), now) {
			due = append(due, ref)
		}
	}
	if len(due) == 0 {
		return
	}
	a.calls.start(key, call{}, func() func() {
		ctx, cancel := context.WithTimeout(ctx, eni.CallTimeout)
		defer cancel()
		answer, err := ask(ctx, due)
		return func() {
			if err != nil {
				a.fail(key, err, time.Now())
				return
			}
			a.failures.Reset(key)
			for _, ref := range due {
				take(ref, answer)
			}
			a.resolve()
			for _, ref := range due {
				if slices.Contains(a.desired.missing.of(key), ref) {
					a.failures.Failed(named(key, ref), errAbsent, time.Now())
				} else {
					a.failures.Reset(named(key, ref))
				}
			}
		}
	})
}

// named is the place of one id or name among the failures.
func named(lookUp retry.Key, name string) retry.Key {
	lookUp.Name = name
	return lookUp
}
