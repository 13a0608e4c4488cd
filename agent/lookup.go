package agent

import (
	"context"
	"errors"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// errAbsent stands for an id or a name that EC2 does not know. It is asked for
// again at the pace of things that people mend.
var errAbsent = errors.New("EC2 knows nothing of this id or name")

// What is looked up, as its place among the failures; with an id or a name
// behind it, that of one that EC2 does not know.
const (
	subnetIDKey   = "subnet-id "
	subnetNameKey = "subnet-name "
	groupNameKey  = "group-name "
)

// has says whether EC2 knows what was looked up.
func (c catalog) has(key, ref string) bool {
	switch key {
	case subnetIDKey:
		return len(c.subnetsByID[ref]) > 0
	case subnetNameKey:
		return len(c.subnetsByName[ref]) > 0
	default:
		return len(c.groups[ref]) > 0
	}
}

// lookUp asks EC2 for the subnets and groups that are not in the catalog, in one
// call for ids and one each for subnet and group names.
func (a *Agent) lookUp(ctx context.Context, now time.Time) {
	m := a.desired.missing
	lookUp(a, ctx, now, "DescribeSubnets", subnetIDKey, m.subnetIDs, a.EC2.SubnetsByID, func(id string, all []eni.Subnet) {
		a.catalog.subnetsByID[id] = only(all, func(s eni.Subnet) bool { return s.ID == id })
	})
	lookUp(a, ctx, now, "DescribeSubnets", subnetNameKey, m.subnetNames, a.EC2.SubnetsByName, func(name string, all []eni.Subnet) {
		a.catalog.subnetsByName[name] = only(all, func(s eni.Subnet) bool { return s.Name == name })
	})
	groups := func(ctx context.Context, names []string) ([]eni.Group, error) {
		return a.EC2.GroupsByName(ctx, a.Identity.VPCID, names)
	}
	lookUp(a, ctx, now, "DescribeSecurityGroups", groupNameKey, m.groupNames, groups, func(name string, all []eni.Group) {
		a.catalog.groups[name] = nil
		for _, g := range only(all, func(g eni.Group) bool { return g.Name == name }) {
			a.catalog.groups[name] = append(a.catalog.groups[name], g.ID)
		}
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

// lookUp asks for those of the refs that are due, in one call, and gives each
// with the answer to take.
func lookUp[T any](a *Agent, ctx context.Context, now time.Time, action, key string, refs []string,
	ask func(context.Context, []string) ([]T, error), take func(ref string, all []T)) {
	var due []string
	for _, ref := range refs {
		if !a.lookingUp[key] && !a.failures.blocks(key, now) && !a.failures.blocks(key+ref, now) {
			due = append(due, ref)
		}
	}
	if len(due) == 0 {
		return
	}
	a.lookingUp[key] = true
	go func() {
		ctx, cancel := context.WithTimeout(ctx, eni.CallTimeout)
		defer cancel()
		all, err := ask(ctx, due)
		a.results <- func() {
			delete(a.lookingUp, key)
			if err != nil {
				a.fail(key, action, err, time.Now())
				return
			}
			delete(a.failures, key)
			for _, ref := range due {
				take(ref, all)
				if a.catalog.has(key, ref) {
					delete(a.failures, key+ref)
				} else {
					a.failures.add(key+ref, action, errAbsent, time.Now())
				}
			}
		}
	}()
}
