package adopt

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

const (
	testCluster = "c-1"
	vpcA        = "vpc-00000000000000001"
	subnetA     = "subnet-0000000000000000a"
	subnetB     = "subnet-0000000000000000b"
	subnetC     = "subnet-0000000000000000c" // in another zone
	instance1   = "i-00000000000000001"
)

var attachedAt = time.Date(2026, 5, 1, 12, 0, 0, 500, time.UTC)

// scene is one ENI as the former controller leaves it, on node-1, for NodeENI data.
func scene() (Cluster, Account) {
	c := Cluster{
		Name:   testCluster,
		Agents: map[string]bool{},
		Nodes: []kube.Node{{
			ObjectMeta: metav1.ObjectMeta{Name: "node-1", Labels: map[string]string{"ng": "multi-eni"}},
			Spec:       kube.NodeSpec{ProviderID: "aws:///us-east-1a/" + instance1},
		}},
		NodeENIs: []v1alpha1.NodeENI{{
			ObjectMeta: metav1.ObjectMeta{Name: "data", UID: "uid-data", Finalizers: []string{"example.com/kept", FormerFinalizer}},
			Spec: v1alpha1.NodeENISpec{
				NodeSelector: map[string]string{"ng": "multi-eni"}, SubnetIDs: []string{subnetA, subnetC}, SecurityGroupNames: []string{"g"},
				Tags: map[string]string{"team": "net"}, MTU: 9001,
			},
			Status: v1alpha1.NodeENIStatus{Attachments: []v1alpha1.Attachment{{NodeID: "node-1", InstanceID: instance1, ENIID: "eni-1", Status: FormerStatus}}},
		}},
	}
	subnet := func(id, name, zone string) eni.Subnet {
		return eni.Subnet{ID: id, Name: name, Zone: zone, VPCID: vpcA, CIDR: "10.0.1.0/24", ARN: "arn:aws-cn:ec2:us-east-1:123456789012:subnet/" + id}
	}
	a := Account{
		Region:    "us-east-1",
		ENIs:      map[string]eni.Tagged{"eni-1": formerENI("eni-1", subnetA, 2)},
		Instances: map[string]eni.Instance{instance1: {ID: instance1, VPCID: vpcA, Zone: "us-east-1a", Account: "123456789012"}},
		Subnets:   []eni.Subnet{subnet(subnetA, "data", "us-east-1a"), subnet(subnetB, "storage", "us-east-1a"), subnet(subnetC, "data", "us-east-1b")},
	}
	a.Groups = map[string]map[string][]string{vpcA: {"g": {"sg-2", "sg-1"}}}
	return c, a
}

// formerENI is an ENI on node-1 as the former controller creates it.
func formerENI(id, subnet string, index int32) eni.Tagged {
	return eni.Tagged{
		ENI: eni.ENI{
			ID: id, SubnetID: subnet, VPCID: vpcA, Groups: []string{"sg-1", "sg-2"}, Account: "123456789012", Name: "nodeeni-data-node-1-x", SourceDestCheck: true,
			Attachment: &eni.Attachment{ID: "attach-" + id, InstanceID: instance1, DeviceIndex: index, Status: "attached", DeleteOnTermination: true},
		},
		Tags:       map[string]string{FormerTag: FormerTagValue, FormerNodeENI: "data", FormerNode: "node-1", "Name": "nodeeni-data-node-1-x"},
		AttachedAt: attachedAt,
	}
}

// with changes an ENI of the account.
func (a Account) with(id string, change func(*eni.Tagged)) {
	e := a.ENIs[id]
	e.Tags = maps.Clone(e.Tags)
	if e.Attachment != nil {
		at := *e.Attachment
		e.Attachment = &at
	}
	change(&e)
	a.ENIs[id] = e
}

func TestDecide(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Cluster, Account)
		want   string // verdicts by id
		words  string // of eni-1's reason
	}{
		{"as the former controller leaves it", func(*Cluster, Account) {}, "eni-1 adopt", ""},
		{"the status has been rewritten", func(c *Cluster, _ Account) { c.NodeENIs[0].Status.Attachments = nil }, "eni-1 adopt", ""},
		{"the subnet by name", func(c *Cluster, _ Account) {
			c.NodeENIs[0].Spec.SubnetIDs, c.NodeENIs[0].Spec.SubnetNames = nil, []string{"data"}
		}, "eni-1 adopt", ""},
		{"at another device index than the NodeENI wants", func(_ *Cluster, a Account) { a.with("eni-1", func(e *eni.Tagged) { e.Attachment.DeviceIndex = 7 }) }, "eni-1 adopt", ""},
		{"no tag NodeENI, but the status", func(_ *Cluster, a Account) { a.with("eni-1", func(e *eni.Tagged) { delete(e.Tags, FormerNodeENI) }) }, "eni-1 adopt", ""},
		{"made for a node that has another name now", func(_ *Cluster, a Account) { a.with("eni-1", func(e *eni.Tagged) { e.Tags[FormerNode] = "old-name" }) }, "eni-1 adopt", ""},
		{"adopted before", func(_ *Cluster, a Account) {
			a.with("eni-1", func(e *eni.Tagged) { e.Owner.Cluster, e.Tags[eni.TagAdoptedFrom] = testCluster, "x" })
		}, "eni-1 already owned", "adopted before"},
		{"another cluster's", func(_ *Cluster, a Account) { a.with("eni-1", func(e *eni.Tagged) { e.Owner.Cluster = "c-2" }) }, "eni-1 refuse", "--cluster-name c-2 --undo --dry-run=false"},
		{"two NodeENIs name it", func(c *Cluster, _ Account) {
			second := *c.NodeENIs[0].DeepCopy()
			second.Name, second.UID = "other", "uid-other"
			c.NodeENIs = append(c.NodeENIs, second)
		}, "eni-1 refuse", "several NodeENIs"},
		{"tag and status disagree", func(_ *Cluster, a Account) { a.with("eni-1", func(e *eni.Tagged) { e.Tags[FormerNodeENI] = "other" }) }, "eni-1 refuse", "create-tags --resources eni-1 --tags Key=NodeENI,Value=data"},
		{"without the former tag", func(_ *Cluster, a Account) { a.with("eni-1", func(e *eni.Tagged) { delete(e.Tags, FormerTag) }) }, "eni-1 refuse", "create-tags --resources eni-1"},
		{"attached to nothing", func(_ *Cluster, a Account) { a.with("eni-1", func(e *eni.Tagged) { e.Attachment = nil }) }, "eni-1 leftover", "delete-network-interface"},
		{"attached to nothing, another cluster's", func(c *Cluster, a Account) {
			c.NodeENIs[0].Status.Attachments = nil
			a.with("eni-1", func(e *eni.Tagged) { e.Attachment, e.Tags[FormerNode] = nil, "elsewhere" })
		}, "eni-1 skip", "not a Node of this cluster"},
		{"attached to nothing, in another VPC that has a node of the same name", func(c *Cluster, a Account) {
			c.NodeENIs[0].Status.Attachments = nil
			a.with("eni-1", func(e *eni.Tagged) { e.Attachment, e.VPCID = nil, "vpc-2" })
		}, "eni-1 skip", "not a Node of this cluster in the ENI's VPC"},
		{"attached to nothing, for a node of this cluster", func(c *Cluster, a Account) {
			c.NodeENIs[0].Status.Attachments = nil
			a.with("eni-1", func(e *eni.Tagged) { e.Attachment = nil })
		}, "eni-1 leftover", "delete-network-interface"},
		{"an earlier agent's report releases it", func(c *Cluster, _ Account) {
			c.Releasing = map[string]string{"eni-1": "node-1"}
		}, "eni-1 refuse", "kubectl delete nodeenistate node-1"},
		{"adopted for a NodeENI that was created again", func(_ *Cluster, a Account) {
			a.with("eni-1", func(e *eni.Tagged) {
				e.Owner, e.Tags[eni.TagAdoptedFrom] = eni.Owner{Cluster: testCluster, NodeENI: "data", NodeENIUID: "uid-before"}, "x"
			})
		}, "eni-1 adopt", ""},
		{"adopted for a NodeENI that was created again to select other nodes", func(c *Cluster, a Account) {
			c.Nodes[0].Labels = nil
			a.with("eni-1", func(e *eni.Tagged) {
				e.Owner, e.Tags[eni.TagAdoptedFrom] = eni.Owner{Cluster: testCluster, NodeENI: "data", NodeENIUID: "uid-before"}, "x"
			})
		}, "eni-1 refuse", "no longer selects node node-1"},
		{"its instance is no Node", func(c *Cluster, _ Account) { c.Nodes[0].Spec.ProviderID = "aws:///us-east-1a/i-00000000000000002" }, "eni-1 refuse", "not the instance of any Node"},
		{"its instance is no Node, and no status names it", func(c *Cluster, _ Account) {
			c.Nodes[0].Spec.ProviderID, c.NodeENIs[0].Status.Attachments = "aws:///us-east-1a/i-00000000000000002", nil
		}, "eni-1 skip", "another cluster"},
		{"being attached", func(_ *Cluster, a Account) {
			a.with("eni-1", func(e *eni.Tagged) { e.Attachment.Status = "attaching" })
		}, "eni-1 refuse", "it is attaching"},
		{"the primary ENI", func(_ *Cluster, a Account) { a.with("eni-1", func(e *eni.Tagged) { e.Attachment.DeviceIndex = 0 }) }, "eni-1 refuse", "primary ENI"},
		{"device index unknown", func(_ *Cluster, a Account) {
			a.with("eni-1", func(e *eni.Tagged) { e.Attachment.DeviceIndex = eni.UnknownIndex })
		}, "eni-1 refuse", "device index"},
		{"no NodeENI is named", func(c *Cluster, a Account) {
			c.NodeENIs[0].Status.Attachments = nil
			a.with("eni-1", func(e *eni.Tagged) { delete(e.Tags, FormerNodeENI) })
		}, "eni-1 refuse", "add the tag"},
		{"the NodeENI is gone", func(c *Cluster, _ Account) { c.NodeENIs = nil }, "eni-1 refuse", "there is no NodeENI data"},
		{"the NodeENI is being deleted", func(c *Cluster, _ Account) { c.NodeENIs[0].DeletionTimestamp = ptr.To(metav1.Now()) }, "eni-1 refuse", "is being deleted"},
		{"the NodeENI is invalid", func(c *Cluster, _ Account) { c.NodeENIs[0].Spec.SecurityGroupNames = nil }, "eni-1 refuse", "agents do not accept NodeENI data"},
		{"the node has lost the label", func(c *Cluster, _ Account) { c.Nodes[0].Labels = nil }, "eni-1 refuse", "no longer selects node node-1"},
		{"EC2 does not know the instance", func(_ *Cluster, a Account) { delete(a.Instances, instance1) }, "eni-1 refuse", "DescribeInstances"},
		{"in another VPC", func(_ *Cluster, a Account) { a.with("eni-1", func(e *eni.Tagged) { e.VPCID = "vpc-2" }) }, "eni-1 refuse", "it is in vpc-2"},
		{"of another account", func(_ *Cluster, a Account) { a.with("eni-1", func(e *eni.Tagged) { e.Account = "2" }) }, "eni-1 refuse", "belongs to account 2"},
		{"in a subnet that is not listed", func(_ *Cluster, a Account) { a.with("eni-1", func(e *eni.Tagged) { e.SubnetID = subnetB }) }, "eni-1 refuse", "(" + subnetA + ")"},
		{"no listed subnet in its zone", func(c *Cluster, _ Account) { c.NodeENIs[0].Spec.SubnetIDs = []string{subnetC} }, "eni-1 refuse", "(there is none)"},
		{"the name is another VPC's subnet's", func(c *Cluster, a Account) {
			c.NodeENIs[0].Spec.SubnetIDs, c.NodeENIs[0].Spec.SubnetNames = nil, []string{"data"}
			a.Subnets[0].VPCID = "vpc-2"
		}, "eni-1 refuse", "not among those"},
		{"a subnet without an ARN", func(_ *Cluster, a Account) { a.Subnets[0].ARN = "" }, "eni-1 refuse", "ARN"},
		{"an agent runs on the node", func(c *Cluster, _ Account) { c.Agents["node-1"] = true }, "eni-1 refuse", "an agent runs on node node-1"},
		{"an agent has created one", func(_ *Cluster, a Account) {
			a.ENIs["eni-2"] = formerENI("eni-2", subnetA, 1)
			a.with("eni-2", func(e *eni.Tagged) { e.Owner, e.Tags = eni.Owner{Cluster: testCluster, NodeENI: "data"}, nil })
		}, "eni-1 refuse, eni-2 already owned", "has eni-2 for NodeENI data in this subnet (that one is this cluster's already)"},
		{"an agent has created one in another subnet", func(_ *Cluster, a Account) {
			a.ENIs["eni-2"] = formerENI("eni-2", subnetB, 1)
			a.with("eni-2", func(e *eni.Tagged) { e.Owner, e.Tags = eni.Owner{Cluster: testCluster, NodeENI: "data"}, nil })
		}, "eni-1 adopt, eni-2 already owned", ""},
		{"two for one place, the status decides", func(_ *Cluster, a Account) { a.ENIs["eni-0"] = formerENI("eni-0", subnetA, 1) }, "eni-0 refuse, eni-1 adopt", ""},
		{"two for one place, the device index decides", func(c *Cluster, a Account) {
			c.NodeENIs[0].Status.Attachments = nil
			a.ENIs["eni-2"] = formerENI("eni-2", subnetA, 1)
		}, "eni-1 refuse, eni-2 adopt", "(that one has the lower device index)"},
		{"two for one place, one of which is refused", func(_ *Cluster, a Account) {
			a.ENIs["eni-2"] = formerENI("eni-2", subnetA, 1)
			a.with("eni-1", func(e *eni.Tagged) { e.Attachment.Status = "detaching" })
		}, "eni-1 refuse, eni-2 adopt", "it is detaching"},
		{"gone from EC2", func(_ *Cluster, a Account) { delete(a.ENIs, "eni-1") }, "eni-1 gone", "does not exist in EC2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, a := scene()
			test.change(&c, a)
			var got []string
			for _, r := range decide(c, a) {
				got = append(got, r.ID+" "+string(r.Verdict))
				if r.ID == "eni-1" && (test.words == "") != (r.Reason == "") || r.ID == "eni-1" && !strings.Contains(r.Reason, test.words) {
					t.Errorf("the reason is %q, want %q", r.Reason, test.words)
				}
			}
			slices.Sort(got)
			if all := strings.Join(got, ", "); all != test.want {
				t.Errorf("%s, want %s", all, test.want)
			}
		})
	}
}

// The tags are those that an agent gives; the time is the attachment's.
func TestOwner(t *testing.T) {
	c, a := scene()
	r := decide(c, a)[0]
	want := eni.Owner{
		Cluster: testCluster, Node: "node-1", Instance: "arn:aws-cn:ec2:us-east-1:123456789012:instance/" + instance1,
		NodeENI: "data", NodeENIUID: "uid-data", CreatedAt: attachedAt.Truncate(time.Second),
	}
	if r.owner != want || r.userTags["team"] != "net" {
		t.Errorf("%+v, %v; want %+v", r.owner, r.userTags, want)
	}
}

// What the agent will change is shown before.
func TestChanges(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Cluster, Account)
		want   string
	}{
		"nothing":                        {func(*Cluster, Account) {}, ""},
		"fewer groups have the name now": {func(_ *Cluster, a Account) { a.Groups[vpcA]["g"] = []string{"sg-1"} }, "its security groups from sg-1,sg-2 to sg-1"},
		"a group by id and by name":      {func(c *Cluster, _ Account) { c.NodeENIs[0].Spec.SecurityGroupIDs = []string{"sg-0123456789abcdef0"} }, "its security groups from sg-1,sg-2 to sg-0123456789abcdef0,sg-1,sg-2"},
		"a name that no group has":       {func(_ *Cluster, a Account) { delete(a.Groups, vpcA) }, `nothing, because no security group in ` + vpcA + ` has the name "g"`},
		"deleteOnTermination": {func(c *Cluster, a Account) {
			c.NodeENIs[0].Spec.DeleteOnTermination = ptr.To(false)
		}, "deleteOnTermination from true to false"},
		"sourceDestCheck that was set by hand": {func(_ *Cluster, a Account) {
			a.with("eni-1", func(e *eni.Tagged) { e.SourceDestCheck = false })
		}, "sourceDestCheck from false to true"},
		"sourceDestCheck as specified": {func(c *Cluster, a Account) {
			c.NodeENIs[0].Spec.SourceDestCheck = ptr.To(false)
			a.with("eni-1", func(e *eni.Tagged) { e.SourceDestCheck = false })
		}, ""},
		"enaExpress that was set by hand": {func(_ *Cluster, a Account) {
			a.with("eni-1", func(e *eni.Tagged) { e.Attachment.ENAExpress = eni.ENAExpress{Enabled: true, UDP: true} })
		}, "enaExpress from TCP and UDP to off"},
		"enaExpress is turned on": {func(c *Cluster, _ Account) {
			c.NodeENIs[0].Spec.ENAExpress = &v1alpha1.ENAExpress{Enabled: true}
		}, "enaExpress from off to TCP"},
	} {
		c, a := scene()
		test.change(&c, a)
		r := decide(c, a)[0]
		if got := strings.Join(r.Changes, ", "); r.Verdict != Adopt || (test.want == "") != (got == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: %s, %q; want %q", name, r.Verdict, got, test.want)
		}
	}
}

// In the wrong Region or account everything seems to be gone.
func TestWrongPlace(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Cluster, *Account)
		want   string
	}{
		"the right one":        {func(*Cluster, *Account) {}, ""},
		"another Region":       {func(_ *Cluster, a *Account) { a.Region = "eu-west-1" }, "EC2 calls go to Region eu-west-1, but the Nodes are in us-east-1"},
		"another account":      {func(_ *Cluster, a *Account) { a.Instances = nil }, "EC2 has none of the Nodes' instances (" + instance1 + ")"},
		"no ENI of the status": {func(_ *Cluster, a *Account) { a.ENIs = nil }, ""}, // the instance proves that the place is right
		"no Nodes":             {func(c *Cluster, _ *Account) { c.Nodes = nil }, "no Node has a providerID"},
		"one ENI is missing": {func(c *Cluster, _ *Account) {
			c.NodeENIs[0].Status.Attachments = append(c.NodeENIs[0].Status.Attachments, v1alpha1.Attachment{ENIID: "eni-9"})
		}, ""},
	} {
		c, a := scene()
		test.change(&c, &a)
		if err := a.check(c); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// What must not run, and what does not count.
func TestBlockers(t *testing.T) {
	now := time.Now()
	deployment := func(wanted *int32, running int32) workload {
		var d workload
		d.Metadata.Name, d.Metadata.Namespace, d.Spec.Replicas, d.Status.Replicas = "eni-controller", "ns", wanted, running
		return d
	}
	daemonSet := func(nodes int32, observed int64) workload {
		var d workload
		d.Metadata.Name, d.Metadata.Namespace, d.Metadata.Generation = "eni-manager", "ns", 2
		d.Status.DesiredNumberScheduled, d.Status.ObservedGeneration = nodes, observed
		return d
	}
	of := func(app, phase string) pod {
		var p pod
		p.Metadata.Name, p.Metadata.Namespace, p.Metadata.Labels, p.Status.Phase = app+"-x", "ns", map[string]string{"app": app}, phase
		return p
	}
	leased := func(holder string, ago time.Duration) lease {
		var l lease
		l.Metadata.Name, l.Metadata.Namespace, l.Spec.HolderIdentity = formerLease, "ns", holder
		l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = 15, now.Add(-ago)
		return l
	}
	for name, test := range map[string]struct {
		p    programs
		want []string // beginnings
	}{
		"nothing":                   {programs{}, nil},
		"a Deployment":              {programs{Deployments: []workload{deployment(ptr.To[int32](2), 0)}}, []string{"Deployment ns/eni-controller has 2 replicas"}},
		"a Deployment by default":   {programs{Deployments: []workload{deployment(nil, 0)}}, []string{"Deployment ns/eni-controller has 1 replica;"}},
		"one that is stopping":      {programs{Deployments: []workload{deployment(ptr.To[int32](0), 1)}}, []string{"Deployment ns/eni-controller has 1 replica"}},
		"one that is stopped":       {programs{Deployments: []workload{deployment(ptr.To[int32](0), 0)}}, nil},
		"with its pods":             {programs{Deployments: []workload{deployment(nil, 1)}, Pods: []pod{of("eni-controller", "Running")}}, []string{"Deployment ns"}},
		"a pod that is left":        {programs{Deployments: []workload{deployment(ptr.To[int32](0), 0)}, Pods: []pod{of("eni-controller", "Running")}}, []string{"pod ns/eni-controller-x"}},
		"a pod that has ended":      {programs{Pods: []pod{of("eni-controller", "Succeeded"), of("eni-manager", "Failed")}}, nil},
		"a DaemonSet":               {programs{DaemonSets: []workload{daemonSet(3, 2)}, Pods: []pod{of("eni-manager", "Running")}}, []string{"DaemonSet ns/eni-manager runs on 3 nodes"}},
		"one that was just changed": {programs{DaemonSets: []workload{daemonSet(0, 1)}}, []string{"DaemonSet ns/eni-manager runs on 0 nodes"}},
		"one without nodes":         {programs{DaemonSets: []workload{daemonSet(0, 2)}}, nil},
		"a Lease that is held":      {programs{Leases: []lease{leased("x", 5*time.Second)}}, []string{"the Lease ns/" + formerLease + " is held by x, which renewed it 5s ago"}},
		"a Lease that has run out":  {programs{Leases: []lease{leased("x", 16*time.Second), leased("", time.Second)}}, nil},
	} {
		got := test.p.blockers(now)
		if len(got) != len(test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
			continue
		}
		for i := range got {
			if !strings.HasPrefix(got[i], test.want[i]) {
				t.Errorf("%s: %q, want %q", name, got[i], test.want[i])
			}
		}
	}
}
