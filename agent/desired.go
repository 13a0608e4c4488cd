package agent

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// slot is the place for one ENI on this node: a NodeENI and a subnet.
type slot struct {
	uid    types.UID
	subnet string
}

// want is one ENI that this node shall have.
type want struct {
	slot
	nodeENI             string // name
	cidr                string
	groups              []string // ids, sorted
	deviceIndex         int32    // wanted; another one when it is taken
	mtu                 int32
	deleteOnTermination bool
	sourceDestCheck     bool
	description         string
	host                bool
	interfaceName       string
	tags                map[string]string
}

// problem is a NodeENI that matches this node and whose ENIs cannot be told.
type problem struct {
	uid     types.UID
	nodeENI string
	reason  string
	message string
}

// reasonResolving is the reason while subnets and groups are being looked up.
const reasonResolving = "Resolving"

// catalog is what EC2 told of the subnets and groups that NodeENIs name. An id
// or name with an empty entry has been asked for and is not there.
type catalog struct {
	subnetsByID   map[string][]eni.Subnet
	subnetsByName map[string][]eni.Subnet
	groups        map[string][]string // ids by name
}

func newCatalog() catalog {
	return catalog{subnetsByID: map[string][]eni.Subnet{}, subnetsByName: map[string][]eni.Subnet{}, groups: map[string][]string{}}
}

// missing is what must be looked up before all wants can be told.
type missing struct {
	subnetIDs, subnetNames, groupNames []string
}

// desired is what this node shall have.
type desired struct {
	wants    []want // in the order in which they choose their device index
	problems []problem
	missing  missing
	// held are the NodeENIs whose wants are not known: their ENIs are left
	// exactly as they are.
	held map[types.UID]bool
}

// desire tells what a node with these labels in this zone shall have. before
// holds the wants of the last time: a NodeENI that cannot be resolved now keeps
// what it had.
func desire(nodeENIs []v1alpha1.NodeENI, nodeLabels map[string]string, zone string, known catalog, before []want) desired {
	d := desired{held: map[types.UID]bool{}}
	for _, n := range inOrder(nodeENIs) {
		if n.DeletionTimestamp != nil || !n.Selects(nodeLabels) {
			continue
		}
		v1alpha1.Default(n)
		if errs := v1alpha1.ValidateNodeENI(n); len(errs) > 0 {
			d.hold(n, before, "InvalidSpec", errs.ToAggregate().Error())
			continue
		}
		if d.missing.add(n.Spec, known) {
			d.hold(n, before, reasonResolving, "asking EC2 for its subnets and security groups")
			continue
		}
		wants, reason, message := wantsOf(n, zone, known)
		if len(wants) == 0 {
			d.hold(n, before, reason, message)
			continue
		}
		d.wants = append(d.wants, wants...)
		if reason != "" {
			d.problems = append(d.problems, problem{n.UID, n.Name, reason, message})
		}
	}
	return d
}

// slots are the places of all wants.
func (d *desired) slots() map[slot]bool {
	slots := map[slot]bool{}
	for _, w := range d.wants {
		slots[w.slot] = true
	}
	return slots
}

// hold keeps what the NodeENI had, and says why it cannot be told anew.
func (d *desired) hold(n *v1alpha1.NodeENI, before []want, reason, message string) {
	d.problems = append(d.problems, problem{n.UID, n.Name, reason, message})
	d.held[n.UID] = true
	for _, w := range before {
		if w.uid == n.UID {
			d.wants = append(d.wants, w)
		}
	}
}

// inOrder sorts copies by age, then name: the older NodeENI chooses first.
func inOrder(all []v1alpha1.NodeENI) []*v1alpha1.NodeENI {
	sorted := make([]*v1alpha1.NodeENI, 0, len(all))
	for i := range all {
		sorted = append(sorted, all[i].DeepCopy())
	}
	slices.SortFunc(sorted, func(a, b *v1alpha1.NodeENI) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	return sorted
}

// subnetRefs lists the ids and names in their stated order: subnetID, subnetIDs,
// subnetName, subnetNames.
func subnetRefs(spec v1alpha1.NodeENISpec) (ids, names []string) {
	return unique(append([]string{spec.SubnetID}, spec.SubnetIDs...)), unique(append([]string{spec.SubnetName}, spec.SubnetNames...))
}

func unique(values []string) []string {
	var out []string
	for _, v := range values {
		if v != "" && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// add notes what of the spec must be looked up, and says whether that holds the
// spec up: what has been asked for and is not there is asked for again, in
// time, but holds nothing up.
func (m *missing) add(spec v1alpha1.NodeENISpec, known catalog) bool {
	unknown := false
	collect := func(to *[]string, refs []string, found func(string) (bool, bool)) {
		for _, ref := range refs {
			there, asked := found(ref)
			if !there && !slices.Contains(*to, ref) {
				*to = append(*to, ref)
			}
			unknown = unknown || !asked
		}
	}
	ids, names := subnetRefs(spec)
	collect(&m.subnetIDs, ids, func(id string) (bool, bool) { v, ok := known.subnetsByID[id]; return len(v) > 0, ok })
	collect(&m.subnetNames, names, func(n string) (bool, bool) { v, ok := known.subnetsByName[n]; return len(v) > 0, ok })
	collect(&m.groupNames, spec.SecurityGroupNames, func(n string) (bool, bool) { v, ok := known.groups[n]; return len(v) > 0, ok })
	return unknown
}

// wantsOf resolves one NodeENI. A reason and a message say what is wrong with
// it; with wants beside them the rest can be had all the same.
func wantsOf(n *v1alpha1.NodeENI, zone string, known catalog) (wants []want, reason, message string) {
	subnets, reason, message := subnetsInZone(n.Spec, zone, known)
	groups := slices.Clone(n.Spec.SecurityGroupIDs)
	for _, name := range n.Spec.SecurityGroupNames {
		switch ids := known.groups[name]; len(ids) {
		case 0:
			return nil, "SecurityGroupNotFound", fmt.Sprintf("no security group in the node's VPC is named %q; correct securityGroupNames, or create the group", name)
		default:
			groups = append(groups, ids...)
		}
	}
	groups = unique(groups)
	slices.Sort(groups)
	for i, s := range subnets {
		wants = append(wants, want{
			slot:                slot{n.UID, s.ID},
			nodeENI:             n.Name,
			cidr:                s.CIDR,
			groups:              groups,
			deviceIndex:         n.Spec.DeviceIndex + int32(i),
			mtu:                 n.Spec.MTU,
			deleteOnTermination: *n.Spec.DeleteOnTermination,
			sourceDestCheck:     *n.Spec.SourceDestCheck,
			description:         description(n),
			host:                n.Spec.Addressing == v1alpha1.AddressingHost,
			interfaceName:       interfaceName(n.Spec.InterfaceName, i),
			tags:                n.Spec.Tags,
		})
		if name := wants[i].interfaceName; len(name) > 15 {
			return nil, "InterfaceNameTooLong", fmt.Sprintf("ENI %d of this NodeENI on a node would be named %q, and a link's name has at most 15 characters; shorten interfaceName", i+1, name)
		}
	}
	return wants, reason, message
}

// description is never empty: EC2's console shows it, and people wonder.
func description(n *v1alpha1.NodeENI) string {
	if n.Spec.Description != "" {
		return n.Spec.Description
	}
	return "NodeENI " + n.Name
}

func interfaceName(name string, i int) string {
	if name == "" || i == 0 {
		return name
	}
	return fmt.Sprintf("%s-%d", name, i)
}

// subnetsInZone are the listed subnets that lie in the zone, in listed order,
// each once.
func subnetsInZone(spec v1alpha1.NodeENISpec, zone string, known catalog) (in []eni.Subnet, reason, message string) {
	var elsewhere, absent []string
	add := func(s eni.Subnet) {
		if s.Zone == zone && !slices.ContainsFunc(in, func(o eni.Subnet) bool { return o.ID == s.ID }) {
			in = append(in, s)
		} else if s.Zone != zone {
			elsewhere = append(elsewhere, s.ID+" is in "+s.Zone)
		}
	}
	ids, names := subnetRefs(spec)
	for _, id := range ids {
		found := known.subnetsByID[id]
		if len(found) == 0 {
			absent = append(absent, id)
		}
		for _, s := range found {
			add(s)
		}
	}
	for _, name := range names {
		found := known.subnetsByName[name]
		if len(found) == 0 {
			absent = append(absent, fmt.Sprintf("%q", name))
		}
		here := slices.DeleteFunc(slices.Clone(found), func(s eni.Subnet) bool { return s.Zone != zone })
		if len(here) > 1 {
			return nil, "SubnetNameAmbiguous", fmt.Sprintf("the name %q belongs to %s and %s, both in zone %s; list the one you mean in subnetIDs", name, here[0].ID, here[1].ID, zone)
		}
		for _, s := range found {
			add(s)
		}
	}
	if len(absent) > 0 {
		return in, "SubnetNotFound", fmt.Sprintf("EC2 knows no subnet %s in this account and Region; correct the subnet ids or Name tags", strings.Join(absent, ", "))
	}
	if len(in) > 0 {
		return in, "", ""
	}
	return nil, "NoSubnetInZone", fmt.Sprintf("no listed subnet is in the node's zone %s (%s); list a subnet of that zone, or select other nodes", zone, strings.Join(elsewhere, ", "))
}
