package adopt

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/utils/ptr"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// Verdict is what is to happen to an ENI.
type Verdict string

// Verdicts.
const (
	Adopt    Verdict = "adopt"         // it gets our tags
	Ours     Verdict = "already owned" // it has them
	Refuse   Verdict = "refuse"        // it stays as it is until somebody does something
	Leftover Verdict = "leftover"      // it is not attached
	Skip     Verdict = "skip"          // it is not this cluster's, as far as is known
	Gone     Verdict = "gone"          // the status names it, and EC2 does not know it
	GiveBack Verdict = "give back"
	Keep     Verdict = "keep" // an agent created it
)

// Row is the decision about one ENI.
type Row struct {
	ENI     eni.Tagged
	ID      string
	Node    string
	NodeENI string
	Verdict Verdict
	Reason  string
	// Changes are what the agent will change on the ENI once it is adopted, as far as
	// traffic may depend on it.
	Changes []string

	// Warning is what will happen to an ENI that stays as it is.
	Warning string

	owner    eni.Owner // for Adopt
	userTags map[string]string
	named    bool // the status of its NodeENI names the ENI
}

// slot is the place for one ENI: agents have one for each NodeENI and subnet.
type slot struct{ node, nodeENI, subnet string }

func (r Row) slot() slot { return slot{r.Node, r.NodeENI, r.ENI.SubnetID} }

// decide says for each ENI that the former controller created, that a NodeENI's status names,
// or that is the cluster's own, what is to happen to it.
func decide(c Cluster, a Account) []Row {
	d := decider{cluster: c, account: a, status: map[string][]string{}, nodeOf: map[string]*kube.Node{}, nodeENIs: map[string]*v1alpha1.NodeENI{}}
	for i := range c.Nodes {
		if id := kube.InstanceID(c.Nodes[i].Spec.ProviderID); id != "" {
			d.nodeOf[id] = &c.Nodes[i]
		}
	}
	for i := range c.NodeENIs {
		n := &c.NodeENIs[i]
		d.nodeENIs[n.Name] = n
		for _, at := range n.Status.Attachments {
			if at.ENIID != "" && !slices.Contains(d.status[at.ENIID], n.Name) {
				d.status[at.ENIID] = append(d.status[at.ENIID], n.Name)
			}
		}
	}
	var rows []Row
	for _, e := range a.ENIs {
		rows = append(rows, d.row(e))
	}
	for id, names := range d.status {
		if _, known := a.ENIs[id]; !known {
			rows = append(rows, Row{ID: id, NodeENI: strings.Join(names, ","), Verdict: Gone, Reason: "the status of the NodeENI names it, but it does not exist in EC2"})
		}
	}
	onePerSlot(rows)
	slices.SortFunc(rows, func(x, y Row) int {
		return cmp.Or(cmp.Compare(x.Node, y.Node), cmp.Compare(x.NodeENI, y.NodeENI), cmp.Compare(x.ENI.SubnetID, y.ENI.SubnetID), cmp.Compare(x.ID, y.ID))
	})
	return rows
}

// decider looks things up for decide.
type decider struct {
	cluster  Cluster
	account  Account
	status   map[string][]string // names of the NodeENIs whose status names the ENI, by its id
	nodeOf   map[string]*kube.Node
	nodeENIs map[string]*v1alpha1.NodeENI
}

// row decides about one ENI, without a look at the others.
func (d *decider) row(e eni.Tagged) Row {
	r := Row{ENI: e, ID: e.ID, NodeENI: e.Tags[FormerNodeENI], named: len(d.status[e.ID]) > 0}
	refuse := func(format string, args ...any) Row {
		r.Verdict, r.Reason = Refuse, fmt.Sprintf(format, args...)
		return r
	}
	if e.Attachment != nil {
		if n := d.nodeOf[e.Attachment.InstanceID]; n != nil {
			r.Node = n.Name
		}
	}
	if e.Owner.Cluster == d.cluster.Name && !d.replaced(e) {
		return d.owned(r)
	}
	names := d.status[e.ID]
	switch {
	case e.Owner.Cluster != "" && e.Owner.Cluster != d.cluster.Name:
		return refuse("its tag %s names the cluster %[2]s; if it was adopted with a wrong --cluster-name, run the command with --cluster-name %[2]s --undo --dry-run=false, and adopt it again", eni.TagCluster, e.Owner.Cluster)
	case len(names) > 1:
		return refuse("the status of several NodeENIs names it (%s); correct the one that is wrong", strings.Join(names, ", "))
	case len(names) == 1 && r.NodeENI != "" && r.NodeENI != names[0]:
		return refuse("its tag %s is %s, but the status of NodeENI %s names it; if the status is right, run aws ec2 create-tags --resources %s --tags Key=%[1]s,Value=%[3]s", FormerNodeENI, r.NodeENI, names[0], r.ID)
	case len(names) == 1:
		r.NodeENI = names[0]
	}
	if e.Tags[FormerTag] != FormerTagValue {
		return refuse("it does not have the former controller's tag; if that controller created it, run aws ec2 create-tags --resources %s --tags Key=%s,Value=%s", e.ID, FormerTag, FormerTagValue)
	}
	if why, verdict := d.attachment(r); why != "" {
		r.Verdict, r.Reason = verdict, why
		return r
	}
	if why := d.wanted(r); why != "" {
		return refuse("%s", why)
	}
	if why := d.place(r); why != "" {
		return refuse("%s", why)
	}
	if state := d.cluster.Releasing[e.ID]; state != "" {
		return refuse("NodeENIState %[1]s, which an agent wrote earlier, reports that it releases the ENI, so the coordinator would detach and delete it; delete that report: kubectl delete nodeenistate %[1]s", state)
	}
	if d.cluster.Agents[r.Node] {
		return refuse("an agent runs on node %s and may be creating an ENI of its own; stop the agent there as docs/migration.md describes, and run the command again", r.Node)
	}
	r.Verdict = Adopt
	r.owner, r.userTags = d.owner(r), d.nodeENIs[r.NodeENI].Spec.Tags
	r.Changes = d.changes(r)
	return r
}

// attachment says what is wrong with where the ENI is attached.
func (d *decider) attachment(r Row) (why string, verdict Verdict) {
	at, node := r.ENI.Attachment, r.ENI.Tags[FormerNode]
	// Nodes of clusters in other VPCs may have the same names.
	ours := r.named || slices.Contains(d.account.vpcs(), r.ENI.VPCID) && slices.ContainsFunc(d.cluster.Nodes, func(n kube.Node) bool { return n.Name == node })
	switch {
	case at == nil && ours:
		return fmt.Sprintf("it is not attached; if nothing else needs it, run aws ec2 delete-network-interface --network-interface-id %s", r.ID), Leftover
	case at == nil:
		return fmt.Sprintf("it is not attached, and its tag %s names %q, which is not a Node of this cluster in the ENI's VPC", FormerNode, node), Skip
	case r.Node == "" && r.named:
		return fmt.Sprintf("it is attached to %s, which is not the instance of any Node; run the command again when the Node is registered, or detach the ENI", at.InstanceID), Refuse
	case r.Node == "":
		return fmt.Sprintf("it is attached to %s, which is not the instance of any Node; it probably belongs to another cluster", at.InstanceID), Skip
	case at.Status != "attached":
		return fmt.Sprintf("it is %s; run the command again afterwards", at.Status), Refuse
	case at.DeviceIndex == 0:
		return "it is the primary ENI of its instance or of a network card; remove the former controller's tags from it", Refuse
	case at.DeviceIndex < 0:
		return "EC2 does not show its device index; run the command again", Refuse
	}
	return "", ""
}

// wanted says why no NodeENI asks for the ENI on its node.
func (d *decider) wanted(r Row) string {
	n := d.nodeENIs[r.NodeENI]
	switch {
	case r.NodeENI == "":
		return fmt.Sprintf("neither a tag %s nor the status of a NodeENI shows which NodeENI it is for; add the tag", FormerNodeENI)
	case n == nil:
		return fmt.Sprintf("there is no NodeENI %s; create it again, or detach and delete the ENI", r.NodeENI)
	case n.DeletionTimestamp != nil:
		return fmt.Sprintf("NodeENI %s is being deleted; start the former controller again until the NodeENI is gone", r.NodeENI)
	}
	valid := n.DeepCopy()
	v1alpha1.Default(valid)
	if errs := v1alpha1.ValidateNodeENI(valid); len(errs) > 0 {
		return fmt.Sprintf("agents do not accept NodeENI %s: %v; correct it", r.NodeENI, errs.ToAggregate())
	}
	node := d.nodeOf[r.ENI.Attachment.InstanceID]
	if !n.Selects(node.Labels) {
		return fmt.Sprintf("NodeENI %s no longer selects node %s, so agents would release the ENI; label the node, or detach and delete the ENI", r.NodeENI, r.Node)
	}
	return ""
}

// place says why the agent of its node would not take the ENI for the one that the NodeENI
// asks for there.
func (d *decider) place(r Row) string {
	instance, known := d.account.Instances[r.ENI.Attachment.InstanceID]
	switch {
	case !known:
		return fmt.Sprintf("EC2 does not show its instance %s; check that the IAM policy allows DescribeInstances, and run the command again", r.ENI.Attachment.InstanceID)
	case r.ENI.VPCID != instance.VPCID:
		return fmt.Sprintf("it is in %s, and its instance is in %s; agents only use ENIs of their instance's VPC", r.ENI.VPCID, instance.VPCID)
	case r.ENI.Account != instance.Account:
		return fmt.Sprintf("it belongs to account %s, and its instance to account %s; agents only use ENIs of their instance's account", r.ENI.Account, instance.Account)
	}
	listed := d.subnets(&d.nodeENIs[r.NodeENI].Spec, instance)
	if i := slices.IndexFunc(listed, func(s eni.Subnet) bool { return s.ID == r.ENI.SubnetID }); i < 0 {
		var ids []string
		for _, s := range listed {
			ids = append(ids, s.ID)
		}
		return fmt.Sprintf("its subnet %s is not among those of NodeENI %s in the node's zone (%s), so agents would release the ENI; add the subnet to subnetIDs, or detach and delete the ENI",
			r.ENI.SubnetID, r.NodeENI, cmp.Or(list(ids), "there is none"))
	} else if partition(listed[i].ARN) == "" {
		return fmt.Sprintf("EC2 shows no ARN of its subnet %s, which tells the AWS partition; check the endpoint", r.ENI.SubnetID)
	}
	return ""
}

// subnets are those that the agent of the instance has ENIs in.
func (d *decider) subnets(spec *v1alpha1.NodeENISpec, instance eni.Instance) (listed []eni.Subnet) {
	ids, names := subnetsOf(spec)
	for _, s := range d.account.Subnets {
		if s.Zone == instance.Zone && (slices.Contains(ids, s.ID) || s.VPCID == instance.VPCID && slices.Contains(names, s.Name)) {
			listed = append(listed, s)
		}
	}
	return listed
}

// owner has what an agent's tags say. The time is that of the attachment: should an agent
// create an ENI for the same place meanwhile, it keeps the older one, which is in use.
func (d *decider) owner(r Row) eni.Owner {
	instance := d.account.Instances[r.ENI.Attachment.InstanceID]
	i := slices.IndexFunc(d.account.Subnets, func(s eni.Subnet) bool { return s.ID == r.ENI.SubnetID })
	return eni.Owner{
		Cluster: d.cluster.Name, Node: r.Node, NodeENI: r.NodeENI, NodeENIUID: d.nodeENIs[r.NodeENI].UID,
		Instance:  fmt.Sprintf("arn:%s:ec2:%s:%s:instance/%s", partition(d.account.Subnets[i].ARN), d.account.Region, instance.Account, instance.ID),
		CreatedAt: r.ENI.AttachedAt.Truncate(time.Second),
	}
}

// changes are the settings that traffic may depend on, and that the agent changes: people have
// set some of them by hand, because the former controller does not know them.
func (d *decider) changes(r Row) (all []string) {
	n := d.nodeENIs[r.NodeENI].DeepCopy()
	v1alpha1.Default(n)
	groups := slices.Clone(n.Spec.SecurityGroupIDs)
	for _, name := range n.Spec.SecurityGroupNames {
		found := d.account.Groups[r.ENI.VPCID][name]
		if len(found) == 0 {
			return []string{fmt.Sprintf("nothing, because no security group in %s has the name %q; correct securityGroupNames", r.ENI.VPCID, name)}
		}
		groups = append(groups, found...)
	}
	slices.Sort(groups)
	if groups = slices.Compact(groups); !slices.Equal(groups, r.ENI.Groups) {
		all = append(all, fmt.Sprintf("its security groups from %s to %s", strings.Join(r.ENI.Groups, ","), strings.Join(groups, ",")))
	}
	if was := r.ENI.Attachment.DeleteOnTermination; was != *n.Spec.DeleteOnTermination {
		all = append(all, fmt.Sprintf("deleteOnTermination from %v to %v", was, !was))
	}
	if was := r.ENI.SourceDestCheck; was != *n.Spec.SourceDestCheck {
		all = append(all, fmt.Sprintf("sourceDestCheck from %v to %v", was, !was))
	}
	if was, is := r.ENI.Attachment.ENAExpress, eni.ENAExpress(ptr.Deref(n.Spec.ENAExpress, v1alpha1.ENAExpress{})); was != is {
		all = append(all, fmt.Sprintf("enaExpress from %s to %s", express(was), express(is)))
	}
	return all
}

// express is the use of ENA Express in words.
func express(e eni.ENAExpress) string {
	switch {
	case e.UDP:
		return "TCP and UDP"
	case e.Enabled:
		return "TCP"
	}
	return "off"
}

// partition is that of an ARN.
func partition(arn string) string {
	parts := strings.Split(arn, ":")
	if len(parts) < 6 || parts[0] != "arn" {
		return ""
	}
	return parts[1]
}

// onePerSlot refuses all but one ENI for the same place: agents would release the others.
// The one that is already ours stays, then the one that the status names, then the one with
// the lowest device index.
func onePerSlot(rows []Row) {
	best := map[slot]*Row{}
	order := func(x, y *Row) int {
		rank := func(r *Row) int {
			switch {
			case r.Verdict == Ours:
				return 0
			case r.named:
				return 1
			}
			return 2
		}
		at := func(r *Row) (int32, int32) {
			if a := r.ENI.Attachment; a != nil {
				return a.Card, a.DeviceIndex
			}
			return 0, 0
		}
		xCard, xIndex := at(x)
		yCard, yIndex := at(y)
		return cmp.Or(cmp.Compare(rank(x), rank(y)), cmp.Compare(xCard, yCard), cmp.Compare(xIndex, yIndex), cmp.Compare(x.ID, y.ID))
	}
	for i := range rows {
		if r := &rows[i]; r.Verdict == Ours || r.Verdict == Adopt {
			if b := best[r.slot()]; b == nil || order(r, b) < 0 {
				best[r.slot()] = r
			}
		}
	}
	for i := range rows {
		r := &rows[i]
		b := best[r.slot()]
		if r.Verdict != Adopt || b == r {
			continue
		}
		why := "the status of the NodeENI names that one"
		switch {
		case b.Verdict == Ours:
			why = "that one is this cluster's already"
		case b.named == r.named:
			why = "that one has the lower device index"
		}
		r.Verdict = Refuse
		r.Reason = fmt.Sprintf("node %s has %s for NodeENI %s in this subnet (%s), and agents keep one; move what uses this one, then detach and delete it", r.Node, b.ID, r.NodeENI, why)
	}
}
