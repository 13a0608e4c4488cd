package agent

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// errAbsent stands for an id or a name that EC2 does not know, or knows in no
// way that helps here. It is asked for again as slowly as what people have to fix.
var errAbsent = retry.With(retry.Terminal, errors.New("EC2 has no usable match for this ID or name"))

// What is looked up, as its place among the failures. With an id or a name it refers to
// one subnet or group.
var (
	subnetsByID   = retry.Key{Action: "DescribeSubnets", Of: "subnet-id"}
	subnetsByName = retry.Key{Action: "DescribeSubnets", Of: "tag:Name"}
	groupsByName  = retry.Key{Action: "DescribeSecurityGroups", Of: "group-name"}
	instanceTypes = retry.Key{Action: "DescribeInstanceTypes", Of: "instance-type"}

	lookUpKeys = []retry.Key{subnetsByID, subnetsByName, groupsByName, instanceTypes}

	// ownInstanceType refers to this node's.
	ownInstanceType = named(instanceTypes, "this instance's")
)

// named refers to what has an id or a name.
func named(lookUp retry.Key, name string) retry.Key {
	lookUp.Name = name
	return lookUp
}

// refsOf are the subnets and groups that a NodeENI names, in their stated order:
// subnetID, subnetIDs; subnetName, subnetNames. And the instance type, if it matters.
func refsOf(spec v1alpha1.NodeENISpec) (refs []retry.Key) {
	add := func(lookUp retry.Key, names ...string) {
		for _, name := range names {
			if name != "" {
				refs = with(refs, named(lookUp, name))
			}
		}
	}
	add(subnetsByID, spec.SubnetID)
	add(subnetsByID, spec.SubnetIDs...)
	add(subnetsByName, spec.SubnetName)
	add(subnetsByName, spec.SubnetNames...)
	add(groupsByName, spec.SecurityGroupNames...)
	if asksForMore(spec) {
		refs = with(refs, ownInstanceType)
	}
	return refs
}

// with is refs and more, each once.
func with(refs []retry.Key, more ...retry.Key) []retry.Key {
	for _, ref := range more {
		if !slices.Contains(refs, ref) {
			refs = append(refs, ref)
		}
	}
	return refs
}

// of are the refs of one look-up.
func of(lookUp retry.Key, refs []retry.Key) (some []retry.Key) {
	for _, ref := range refs {
		if named(lookUp, ref.Name) == ref {
			some = append(some, ref)
		}
	}
	return some
}

// catalog is what EC2 has shown of the subnets and groups that NodeENIs name. What has an
// empty entry has been asked for and is not there.
type catalog map[retry.Key]found

type found struct {
	subnets []eni.Subnet
	groups  []string // ids
	kind    *eni.InstanceType
}

// absent are those that the catalog has nothing of. They are complete when all
// of them have been asked for: what is not there holds nothing up.
func (c catalog) absent(refs []retry.Key) (absent []retry.Key, complete bool) {
	complete = true
	for _, ref := range refs {
		found, asked := c[ref]
		if len(found.subnets)+len(found.groups) == 0 && found.kind == nil {
			absent = append(absent, ref)
		}
		complete = complete && asked
	}
	return absent, complete
}

// keep forgets what nothing names any more: when it is named again, it may
// stand for something else.
func (c catalog) keep(refs []retry.Key) {
	maps.DeleteFunc(c, func(ref retry.Key, _ found) bool { return !slices.Contains(refs, ref) })
}

// forgetSubnet has what stood for a subnet looked up again: EC2 says that it is
// gone.
func (c catalog) forgetSubnet(id string) {
	maps.DeleteFunc(c, func(_ retry.Key, f found) bool {
		return slices.ContainsFunc(f.subnets, func(s eni.Subnet) bool { return s.ID == id })
	})
}

// forgetGroups has what stood for any of the groups looked up again: EC2 says
// that one of them is gone.
func (c catalog) forgetGroups(ids []string) {
	maps.DeleteFunc(c, func(_ retry.Key, f found) bool {
		return slices.ContainsFunc(f.groups, func(id string) bool { return slices.Contains(ids, id) })
	})
}

// lookUp asks EC2 for subnets or groups of a VPC by id or name, in one call, and in one
// more for names that are no group's, which may be Name tags; or for the instance type.
func lookUp(ctx context.Context, ec2 *eni.Client, here imds.Identity, key retry.Key, refs []retry.Key) (answer catalog, err error) {
	answer = catalog{}
	var names []string
	for _, ref := range refs {
		answer[ref] = found{}
		names = append(names, ref.Name)
	}
	var subnets []eni.Subnet
	var groups map[string][]string
	nameOf := func(s eni.Subnet) string { return s.Name }
	switch key {
	case subnetsByID:
		subnets, err = ec2.SubnetsByID(ctx, names)
		nameOf = func(s eni.Subnet) string { return s.ID }
	case subnetsByName:
		subnets, err = ec2.SubnetsByName(ctx, here.VPCID, names)
	case groupsByName:
		groups, err = ec2.GroupsByName(ctx, here.VPCID, names)
	default:
		kind, err := ec2.InstanceType(ctx, here.InstanceType)
		return catalog{ownInstanceType: {kind: &kind}}, err
	}
	for name, ids := range groups {
		answer[named(key, name)] = found{groups: ids}
	}
	for _, s := range subnets {
		ref := named(key, nameOf(s))
		if f, asked := answer[ref]; asked { // a name may be a pattern to EC2
			f.subnets = append(f.subnets, s)
			answer[ref] = f
		}
	}
	return answer, err
}

// lookUp asks for the subnets and groups that are not in the catalog.
func (a *Agent) lookUp(ctx context.Context, now time.Time) {
	for _, key := range lookUpKeys {
		due := a.dueLookUps(key, now)
		if len(due) == 0 || a.calls.busy(key) {
			continue
		}
		a.calls.start(ctx, eni.CallTimeout, key, call{}, func(ctx context.Context) func() {
			answer, err := lookUp(ctx, a.EC2, a.Identity, key, due)
			return func() { a.lookedUp(key, answer, err, time.Now()) }
		})
	}
}

func (a *Agent) dueLookUps(key retry.Key, now time.Time) []retry.Key {
	return slices.DeleteFunc(of(key, a.desired.missing), func(ref retry.Key) bool {
		return a.failures.Blocks(key, now) || a.failures.Blocks(ref, now)
	})
}

// lookedUp takes an answer in. What is missing all the same is asked for again later.
func (a *Agent) lookedUp(key retry.Key, answer catalog, err error, now time.Time) {
	if err != nil {
		a.fail(key, err, now)
		return
	}
	a.failures.Reset(key)
	maps.Copy(a.catalog, answer)
	if kind := answer[ownInstanceType].kind; kind != nil {
		a.inventory.Indexes.LearnLimits(*kind)
	}
	a.resolve()
	for ref := range answer {
		if slices.Contains(a.desired.missing, ref) {
			a.failures.Failed(ref, errAbsent, now)
		} else {
			a.failures.Reset(ref)
		}
	}
}
