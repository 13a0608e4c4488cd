package agent

import (
	"maps"
	"slices"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// catalog is what EC2 has shown of the subnets and groups that NodeENIs name. An id
// or name with an empty entry has been asked for and is not there.
type catalog struct {
	subnetsByID   map[string][]eni.Subnet
	subnetsByName map[string][]eni.Subnet
	groups        map[string][]string // ids by name
}

func newCatalog() catalog {
	return catalog{subnetsByID: map[string][]eni.Subnet{}, subnetsByName: map[string][]eni.Subnet{}, groups: map[string][]string{}}
}

// keep forgets what nothing names any more: when it is named again, it may
// stand for something else.
func (c catalog) keep(named refs) {
	maps.DeleteFunc(c.subnetsByID, func(id string, _ []eni.Subnet) bool { return !slices.Contains(named.subnetIDs, id) })
	maps.DeleteFunc(c.subnetsByName, func(name string, _ []eni.Subnet) bool { return !slices.Contains(named.subnetNames, name) })
	maps.DeleteFunc(c.groups, func(name string, _ []string) bool { return !slices.Contains(named.groupNames, name) })
}

// forgetSubnet has what stood for a subnet looked up again: EC2 says that it is
// gone.
func (c catalog) forgetSubnet(subnet string) {
	stale := func(_ string, all []eni.Subnet) bool {
		return slices.ContainsFunc(all, func(s eni.Subnet) bool { return s.ID == subnet })
	}
	maps.DeleteFunc(c.subnetsByID, stale)
	maps.DeleteFunc(c.subnetsByName, stale)
}

// forgetGroups has what stood for any of the groups looked up again: EC2 says
// that one of them is gone.
func (c catalog) forgetGroups(groups []string) {
	maps.DeleteFunc(c.groups, func(_ string, ids []string) bool {
		return slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(groups, id) })
	})
}

// refs are subnets and groups in the words of NodeENIs.
type refs struct {
	subnetIDs, subnetNames, groupNames []string
}

// refsOf lists them in their stated order: subnetID, subnetIDs; subnetName,
// subnetNames.
func refsOf(spec v1alpha1.NodeENISpec) refs {
	return refs{
		subnetIDs:   union([]string{spec.SubnetID}, spec.SubnetIDs),
		subnetNames: union([]string{spec.SubnetName}, spec.SubnetNames),
		groupNames:  spec.SecurityGroupNames,
	}
}

func (r refs) union(other refs) refs {
	return refs{
		subnetIDs:   union(r.subnetIDs, other.subnetIDs),
		subnetNames: union(r.subnetNames, other.subnetNames),
		groupNames:  union(r.groupNames, other.groupNames),
	}
}

// union is both lists in their order, each value once, without "".
func union(a, b []string) []string {
	var all []string
	for _, v := range slices.Concat(a, b) {
		if v != "" && !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all
}

// absent are those that the catalog has nothing of. They are complete when all
// of them have been asked for: what is not there holds nothing up.
func (r refs) absent(known catalog) (absent refs, complete bool) {
	complete = true
	absent.subnetIDs = without(known.subnetsByID, r.subnetIDs, &complete)
	absent.subnetNames = without(known.subnetsByName, r.subnetNames, &complete)
	absent.groupNames = without(known.groups, r.groupNames, &complete)
	return absent, complete
}

func without[T any](known map[string][]T, named []string, complete *bool) (absent []string) {
	for _, ref := range named {
		found, asked := known[ref]
		if len(found) == 0 {
			absent = append(absent, ref)
		}
		*complete = *complete && asked
	}
	return absent
}

// of selects by what is looked up.
func (r refs) of(key retry.Key) []string {
	switch key {
	case subnetsByID:
		return r.subnetIDs
	case subnetsByName:
		return r.subnetNames
	default:
		return r.groupNames
	}
}
