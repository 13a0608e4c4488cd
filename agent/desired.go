package agent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// want is one ENI that this node is to have.
type want struct {
	inventory.Slot
	nodeENI             string // name
	generation          int64
	cidr                string   // of IPv4, "" in a subnet without
	ipv6CIDRs           []string // of the subnet
	groups              []string // ids, sorted
	card                int32
	deviceIndex         int32 // wanted; another one when it is taken
	mtu                 int32
	deleteOnTermination bool
	sourceDestCheck     bool
	description         string
	host                bool
	interfaceName       string
	tags                map[string]string
	ipv4                v1alpha1.IPv4
	ipv6                v1alpha1.IPv6
	connectionTracking  eni.ConnectionTracking
	enaExpress          eni.ENAExpress
	enaQueues           int32
	pods                bool           // secondary addresses and prefixes are for pods
	otherSubnets        []netip.Prefix // of the NodeENI, with pods or on demand
	onDemand            bool           // of the NodeENI
	claim               *v1alpha1.ClaimReference
	assignsIPv6         bool // its subnet does
}

// isTemplate says whether it is what the wants of claims are made of.
func (w want) isTemplate() bool { return w.onDemand && !w.OnDemand() }

// place is where the ENI is wanted.
func (w want) place() inventory.Place {
	return inventory.Place{Card: w.card, DeviceIndex: w.deviceIndex}
}

// problem is a NodeENI that selects this node and whose ENIs cannot all be worked out.
type problem struct {
	uid        types.UID
	nodeENI    string
	generation int64
	reason     string
	message    string
}

// Reasons of problems that more depends on than a report's words.
const (
	// reasonResolving: subnets and groups are being looked up.
	reasonResolving       = "Resolving"
	reasonNoSubnetInZone  = "NoSubnetInZone"
	reasonSubnetAmbiguous = "SubnetNameAmbiguous"
)

// desired is what this node is to have.
type desired struct {
	wants []want // in the order in which they choose their device index
	// onDemand are those of NodeENIs with attach: OnDemand, one of each subnet. Claims
	// make wants of them.
	onDemand []want
	problems []problem
	named    []retry.Key // all that the matching NodeENIs name
	missing  []retry.Key // what of it must be looked up, or looked up again in time
	// unresolved are the NodeENIs whose wants are not known: their ENIs are left
	// exactly as they are.
	unresolved map[types.UID]bool
	// partlyResolved are those of which some wants are known. What they have besides
	// is left as it is: it may be what the name that is not known stands for.
	partlyResolved map[types.UID]bool
	// listed, unless nil, are all NodeENIs of which something is known: what
	// those that are not among them have is left as it is.
	listed map[types.UID]bool
	// pods are the NodeENIs that are for pods, with their names.
	pods map[types.UID]string
}

// desire works out what a node with these labels in this zone is to have. before
// holds the wants of the last time, also those that wait for claims: a NodeENI that
// cannot be resolved now keeps what it had.
func desire(nodeENIs []v1alpha1.NodeENI, nodeLabels map[string]string, zone string, known catalog, before []want) desired {
	d := desired{unresolved: map[types.UID]bool{}, partlyResolved: map[types.UID]bool{}, pods: map[types.UID]string{}}
	for _, n := range inOrder(nodeENIs) {
		if n.DeletionTimestamp != nil || !n.Selects(nodeLabels) {
			continue
		}
		d.notePods(n)
		v1alpha1.Default(n)
		if errs := v1alpha1.ValidateNodeENI(n); len(errs) > 0 {
			d.unresolve(n, before, "InvalidSpec", errs.ToAggregate().Error())
			continue
		}
		named := refsOf(n.Spec)
		d.named = with(d.named, named...)
		absent, complete := known.absent(named)
		d.missing = with(d.missing, absent...)
		if !complete {
			d.unresolve(n, before, reasonResolving, "asking EC2 for its subnets and security groups")
			continue
		}
		wants, reason, message := wantsOf(n, zone, known)
		switch {
		case reason == reasonNoSubnetInZone, reason == reasonSubnetAmbiguous:
			// A user may fix it with a Name tag, which changes no NodeENI.
			d.missing = with(d.missing, of(subnetsByName, named)...)
		case len(of(subnetsByName, absent)) > 0:
			d.partlyResolved[n.UID] = true
		}
		if len(wants) == 0 && reason != reasonNoSubnetInZone {
			d.unresolve(n, before, reason, message)
			continue
		}
		if n.Spec.Attach == v1alpha1.AttachOnDemand {
			d.onDemand = append(d.onDemand, wants...)
		} else {
			d.wants = append(d.wants, wants...)
		}
		if reason != "" {
			d.problems = append(d.problems, problem{n.UID, n.Name, n.Generation, reason, message})
		}
	}
	return d
}

// slots are the places of all wants.
func (d *desired) slots() map[inventory.Slot]bool {
	slots := make(map[inventory.Slot]bool, len(d.wants))
	for _, w := range d.wants {
		slots[w.Slot] = true
	}
	return slots
}

// mayWant says whether ENIs of the NodeENI that no want is for are left as they
// are, because it may want them.
func (d *desired) mayWant(uid types.UID) bool {
	return d.unresolved[uid] || d.partlyResolved[uid] || d.listed != nil && !d.listed[uid]
}

// complete says whether it is known of each ENI whether it is wanted.
func (d *desired) complete() bool {
	return len(d.unresolved)+len(d.partlyResolved) == 0 && d.listed == nil
}

// regrouped are the NodeENIs of which a want has other groups than before.
func regrouped(before, after []want) map[types.UID]bool {
	changed := map[types.UID]bool{}
	for _, w := range after {
		for _, b := range before {
			if b.Slot == w.Slot && !slices.Equal(b.groups, w.groups) {
				changed[w.UID] = true
			}
		}
	}
	return changed
}

// unresolve keeps what the NodeENI had, and says why its wants are not known now.
func (d *desired) unresolve(n *v1alpha1.NodeENI, before []want, reason, message string) {
	d.problems = append(d.problems, problem{n.UID, n.Name, n.Generation, reason, message})
	d.keep(n.UID, before)
}

func (d *desired) keep(uid types.UID, before []want) {
	d.unresolved[uid] = true
	for _, w := range before {
		switch {
		case w.UID != uid:
		case w.isTemplate():
			d.onDemand = append(d.onDemand, w)
		default:
			d.wants = append(d.wants, w)
		}
	}
}

// retain leaves what the NodeENI has as it is: nothing is made, changed or given up.
func (d *desired) retain(n v1alpha1.NodeENI, before []want) {
	d.named = with(d.named, refsOf(n.Spec)...) // or they would be asked for again
	d.notePods(&n)
	d.keep(n.UID, before)
}

func (d *desired) notePods(n *v1alpha1.NodeENI) {
	if n.Spec.Pods != nil {
		d.pods[n.UID] = n.Name
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

// wantsOf resolves one NodeENI. A reason and a message say what is wrong with
// it; with wants beside them the rest can be had all the same.
func wantsOf(n *v1alpha1.NodeENI, zone string, known catalog) (wants []want, reason, message string) {
	if kind := known[ownInstanceType].kind; kind != nil {
		if message := unsupported(n.Spec, *kind); message != "" {
			return nil, ReasonInstanceType, message
		}
	}
	subnets, reason, message := subnetsInZone(n.Spec, zone, known)
	groups := slices.Clone(n.Spec.SecurityGroupIDs)
	for _, name := range n.Spec.SecurityGroupNames {
		ids := known[named(groupsByName, name)].groups
		if len(ids) == 0 {
			return nil, "SecurityGroupNotFound", fmt.Sprintf("no security group in the node's VPC has the group name or Name tag %q; correct securityGroupNames, or create the group", name)
		}
		groups = append(groups, ids...)
	}
	slices.Sort(groups)
	groups = slices.Compact(groups)
	for i, s := range subnets {
		wants = append(wants, want{
			Slot:                inventory.Slot{UID: n.UID, SubnetID: s.ID},
			nodeENI:             n.Name,
			generation:          n.Generation,
			cidr:                s.CIDR,
			ipv6CIDRs:           s.IPv6CIDRs,
			groups:              groups,
			card:                n.Spec.NetworkCard,
			deviceIndex:         n.Spec.DeviceIndex + int32(i),
			mtu:                 n.Spec.MTU,
			deleteOnTermination: *n.Spec.DeleteOnTermination,
			sourceDestCheck:     *n.Spec.SourceDestCheck,
			description:         description(n),
			host:                n.Spec.Addressing == v1alpha1.AddressingHost,
			interfaceName:       interfaceName(n.Spec.InterfaceName, i),
			tags:                n.Spec.Tags,
			ipv4:                ptr.Deref(n.Spec.IPv4, v1alpha1.IPv4{}),
			ipv6:                ipv6Of(n.Spec),
			connectionTracking:  eni.ConnectionTracking(ptr.Deref(n.Spec.ConnectionTracking, v1alpha1.ConnectionTracking{})),
			enaExpress:          eni.ENAExpress(ptr.Deref(n.Spec.ENAExpress, v1alpha1.ENAExpress{})),
			enaQueues:           n.Spec.ENAQueues,
			pods:                n.Spec.Pods != nil,
			onDemand:            n.Spec.Attach == v1alpha1.AttachOnDemand,
			assignsIPv6:         s.AssignsIPv6,
		})
		if wants[i].pods || wants[i].onDemand {
			wants[i].otherSubnets = otherSubnets(n.Spec, s.ID, known)
		}
		if name := wants[i].interfaceName; len(name) > 15 {
			return nil, "InterfaceNameTooLong", fmt.Sprintf("the link of ENI %d of this NodeENI would get the name %q, but a link name has at most 15 characters; shorten interfaceName", i+1, name)
		}
	}
	return wants, reason, message
}

// otherSubnets are the CIDRs of the subnets that the NodeENI lists besides this one,
// whatever their zone.
func otherSubnets(spec v1alpha1.NodeENISpec, id string, known catalog) (all []netip.Prefix) {
	for _, ref := range refsOf(spec) {
		for _, s := range known[ref].subnets {
			if s.ID != id {
				all = append(all, prefixes(append([]string{s.CIDR}, s.IPv6CIDRs...)...)...)
			}
		}
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all)
}

// description is never empty: EC2's console shows it, and people wonder.
func description(n *v1alpha1.NodeENI) string {
	if n.Spec.Description != "" {
		return n.Spec.Description
	}
	text := "NodeENI " + n.Name
	return text[:min(len(text), 255)] // EC2's maximum
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
	var elsewhere, absentIDs, absentNames []string
	add := func(s eni.Subnet) {
		if s.Zone == zone && !slices.ContainsFunc(in, func(o eni.Subnet) bool { return o.ID == s.ID }) {
			in = append(in, s)
		} else if s.Zone != zone {
			elsewhere = append(elsewhere, s.ID+" is in "+s.Zone)
		}
	}
	refs := refsOf(spec)
	for _, ref := range of(subnetsByID, refs) {
		if len(known[ref].subnets) == 0 {
			absentIDs = append(absentIDs, ref.Name)
		}
	}
	for _, ref := range of(subnetsByName, refs) {
		found := known[ref].subnets
		if len(found) == 0 {
			absentNames = append(absentNames, strconv.Quote(ref.Name))
		}
		here := slices.DeleteFunc(slices.Clone(found), func(s eni.Subnet) bool { return s.Zone != zone })
		if len(here) > 1 {
			return nil, reasonSubnetAmbiguous, fmt.Sprintf("%[2]s and %[3]s in zone %[4]s both have the Name tag %[1]q; list the one that you want in subnetIDs", ref.Name, here[0].ID, here[1].ID, zone)
		}
	}
	for _, ref := range refs {
		for _, s := range known[ref].subnets {
			add(s)
		}
	}
	if len(absentIDs) > 0 {
		return in, "SubnetNotFound", fmt.Sprintf("subnet %s does not exist in this account and Region; correct subnetID or subnetIDs", strings.Join(absentIDs, ", "))
	}
	if len(absentNames) > 0 {
		return in, "SubnetNotFound", fmt.Sprintf("no subnet in the node's VPC has the Name tag %s; correct subnetName or subnetNames, or tag the subnet", strings.Join(absentNames, ", "))
	}
	if len(in) > 0 {
		return in, "", ""
	}
	return nil, reasonNoSubnetInZone, fmt.Sprintf("none of the listed subnets is in the node's zone %s (%s); list a subnet in that zone, or select other nodes", zone, strings.Join(elsewhere, ", "))
}
