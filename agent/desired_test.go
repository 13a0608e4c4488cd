package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// Ids as EC2 makes them.
const (
	subnetA  = "subnet-0aaaaaaaaaaaaaaa1"
	subnetA2 = "subnet-0aaaaaaaaaaaaaaa2"
	subnetB  = "subnet-0bbbbbbbbbbbbbbb1"
	groupX   = "sg-0000000000000000a"
	groupY   = "sg-0000000000000000b"
)

func testCatalog() catalog {
	subnets := []eni.Subnet{
		{ID: subnetA, Name: "data", Zone: "us-east-1a", CIDR: "10.0.1.0/24"},
		{ID: subnetA2, Name: "storage", Zone: "us-east-1a", CIDR: "10.0.2.0/24"},
		{ID: subnetB, Name: "data", Zone: "us-east-1b", CIDR: "10.0.3.0/24"},
	}
	c := catalog{
		named(subnetsByName, "far"):                    {subnets: []eni.Subnet{{ID: "subnet-0eeeeeeeeeeeeeee1", Name: "far", Zone: "us-east-1c"}}},
		named(subnetsByID, "subnet-0cccccccccccccccc"): {},
		named(groupsByName, "web"):                     {groups: []string{groupY}},
		named(groupsByName, "gone"):                    {},
	}
	for _, s := range subnets {
		name := named(subnetsByName, s.Name)
		c[named(subnetsByID, s.ID)] = found{subnets: []eni.Subnet{s}}
		c[name] = found{subnets: append(c[name].subnets, s)}
	}
	return c
}

// twoCards is an instance type that has everything.
var twoCards = eni.InstanceType{
	Name: "p4d.24xlarge", IPv4Addresses: 50, IPv6Addresses: 50, IPv6: ptr.To(true), ENAExpress: ptr.To(true), FlexibleENAQueues: ptr.To(true),
	Cards: []eni.Card{{Index: 0, MaxENIs: 15}, {Index: 1, MaxENIs: 15, MaxENAQueuesPerENI: 32}},
}

// testCatalogOf knows the instance type, too.
func testCatalogOf(kind eni.InstanceType) catalog {
	known := testCatalog()
	known[ownInstanceType] = found{kind: &kind}
	return known
}

func nodeENI(name string, change func(*v1alpha1.NodeENISpec)) v1alpha1.NodeENI {
	n := v1alpha1.NodeENI{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name), Generation: 1, CreationTimestamp: metav1.Unix(int64(len(name)), 0)},
		Spec: v1alpha1.NodeENISpec{
			NodeSelector: map[string]string{"ng": "multi-eni"}, SubnetID: subnetA, SecurityGroupIDs: []string{groupX}, DeviceIndex: 2,
		},
	}
	if change != nil {
		change(&n.Spec)
	}
	return n
}

var matching = map[string]string{"ng": "multi-eni", "zone": "a"}

// text is a desired in a few words, a line for each want and problem.
func (d desired) text() string {
	var lines []string
	for _, w := range d.wants {
		line := fmt.Sprintf("want %s %s index=%d groups=%s", w.nodeENI, w.SubnetID, w.deviceIndex, strings.Join(w.groups, ","))
		if w.interfaceName != "" {
			line += " name=" + w.interfaceName
		}
		lines = append(lines, line)
	}
	for _, p := range d.problems {
		lines = append(lines, "problem "+p.nodeENI+" "+p.reason)
	}
	var missing []string
	for _, ref := range d.missing {
		missing = append(missing, ref.Name)
	}
	if len(missing) > 0 {
		lines = append(lines, "missing "+strings.Join(missing, ","))
	}
	return strings.Join(lines, "\n")
}

func TestDesire(t *testing.T) {
	deleted := nodeENI("deleted", nil)
	deleted.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	young := nodeENI("a", nil)
	young.CreationTimestamp = metav1.Unix(1000, 0)
	for _, test := range []struct {
		name string
		in   []v1alpha1.NodeENI
		want string
	}{
		{"plain", []v1alpha1.NodeENI{nodeENI("x", nil)}, "want x " + subnetA + " index=2 groups=" + groupX},
		{"another label", []v1alpha1.NodeENI{nodeENI("x", func(s *v1alpha1.NodeENISpec) { s.NodeSelector = map[string]string{"ng": "other"} })}, ""},
		{"all labels must match", []v1alpha1.NodeENI{nodeENI("x", func(s *v1alpha1.NodeENISpec) { s.NodeSelector["zone"] = "b" })}, ""},
		{"being deleted", []v1alpha1.NodeENI{deleted}, ""},
		{"the older chooses first", []v1alpha1.NodeENI{young, nodeENI("old", nil)},
			"want old " + subnetA + " index=2 groups=" + groupX + "\nwant a " + subnetA + " index=2 groups=" + groupX},
		{"ids and names, in listed order, other zones skipped", []v1alpha1.NodeENI{nodeENI("x", func(s *v1alpha1.NodeENISpec) {
			s.SubnetID, s.SubnetIDs, s.SubnetNames = "", []string{subnetB}, []string{"storage", "data"}
			s.SecurityGroupNames, s.InterfaceName = []string{"web"}, "data"
		})}, "want x " + subnetA2 + " index=2 groups=" + groupX + "," + groupY + " name=data\n" +
			"want x " + subnetA + " index=3 groups=" + groupX + "," + groupY + " name=data-1"},
		{"one subnet by id and by name is one", []v1alpha1.NodeENI{nodeENI("x", func(s *v1alpha1.NodeENISpec) { s.SubnetName = "data" })},
			"want x " + subnetA + " index=2 groups=" + groupX},
		{"none in the zone", []v1alpha1.NodeENI{nodeENI("x", func(s *v1alpha1.NodeENISpec) { s.SubnetID = subnetB })}, "problem x NoSubnetInZone"},
		{"none in the zone by name: the tag may be moved", []v1alpha1.NodeENI{nodeENI("x", func(s *v1alpha1.NodeENISpec) {
			s.SubnetID, s.SubnetName = "", "far"
		})}, "problem x NoSubnetInZone\nmissing far"},
		{"unknown subnet", []v1alpha1.NodeENI{nodeENI("x", func(s *v1alpha1.NodeENISpec) { s.SubnetID = "subnet-0cccccccccccccccc" })},
			"problem x SubnetNotFound\nmissing subnet-0cccccccccccccccc"},
		{"unknown subnet beside a good one", []v1alpha1.NodeENI{nodeENI("x", func(s *v1alpha1.NodeENISpec) { s.SubnetIDs = []string{"subnet-0cccccccccccccccc"} })},
			"want x " + subnetA + " index=2 groups=" + groupX + "\nproblem x SubnetNotFound\nmissing subnet-0cccccccccccccccc"},
		{"unknown group", []v1alpha1.NodeENI{nodeENI("x", func(s *v1alpha1.NodeENISpec) { s.SecurityGroupNames = []string{"gone"} })},
			"problem x SecurityGroupNotFound\nmissing gone"},
		{"not looked up yet", []v1alpha1.NodeENI{nodeENI("x", func(s *v1alpha1.NodeENISpec) {
			s.SubnetName, s.SubnetIDs, s.SecurityGroupNames = "new", []string{"subnet-0dddddddd"}, []string{"db", "web"}
		})}, "problem x Resolving\nmissing subnet-0dddddddd,new,db"},
		{"a malformed id is refused, not sliced", []v1alpha1.NodeENI{nodeENI("x", func(s *v1alpha1.NodeENISpec) { s.SubnetID = "s" })}, "problem x InvalidSpec"},
		{"names too long with their suffix", []v1alpha1.NodeENI{nodeENI("x", func(s *v1alpha1.NodeENISpec) {
			s.SubnetIDs, s.InterfaceName = []string{subnetA2}, "fourteen-chars"
		})}, "problem x InterfaceNameTooLong"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := desire(test.in, matching, "us-east-1a", testCatalog(), nil).text(); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func TestDesireNameInTwoSubnetsOfTheZone(t *testing.T) {
	c := testCatalog()
	data := named(subnetsByName, "data")
	c[data] = found{subnets: append(c[data].subnets, eni.Subnet{ID: subnetA2, Name: "data", Zone: "us-east-1a"})}
	d := desire([]v1alpha1.NodeENI{nodeENI("x", func(s *v1alpha1.NodeENISpec) { s.SubnetID, s.SubnetName = "", "data" })}, matching, "us-east-1a", c, nil)
	if got := d.text(); got != "problem x SubnetNameAmbiguous\nmissing data" {
		t.Errorf("got %s", got)
	}
}

// A NodeENI that cannot be resolved any more keeps what it had: nothing is
// released for want of an answer.
func TestDesireHoldsWhatItHad(t *testing.T) {
	x := nodeENI("x", nil)
	first := desire([]v1alpha1.NodeENI{x}, matching, "us-east-1a", testCatalog(), nil)
	x.Spec.SecurityGroupNames = []string{"gone"}
	second := desire([]v1alpha1.NodeENI{x}, matching, "us-east-1a", testCatalog(), first.wants)
	if len(second.wants) != 1 || second.wants[0].Slot != first.wants[0].Slot {
		t.Errorf("the want was dropped: %s", second.text())
	}
	if !second.unresolved[x.UID] {
		t.Error("the NodeENI is not held")
	}
}

// Kubernetes takes longer names than EC2 takes descriptions.
func TestDescriptionFits(t *testing.T) {
	x := nodeENI(strings.Repeat("x", 253), nil)
	if got := description(&x); len(got) != 255 || !strings.HasPrefix(got, "NodeENI xx") {
		t.Errorf("%d characters: %s", len(got), got)
	}
}

// A NodeENI that lists no subnet of this zone any more wants nothing here, and
// what it had is released.
func TestDesireLetsGoOfAZone(t *testing.T) {
	x := nodeENI("x", nil)
	first := desire([]v1alpha1.NodeENI{x}, matching, "us-east-1a", testCatalog(), nil)
	x.Spec.SubnetID = subnetB
	second := desire([]v1alpha1.NodeENI{x}, matching, "us-east-1a", testCatalog(), first.wants)
	if len(second.wants) > 0 || second.mayWant(x.UID) {
		t.Errorf("it is kept: %s", second.text())
	}
}

// While one of its names is not known, a NodeENI gets what it wants besides, and
// loses nothing: what it has may be what the name stood for.
func TestDesireLeavesWhatANameMayStandFor(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.NodeENISpec){
		"every name is known": func(s *v1alpha1.NodeENISpec) { s.SubnetName = "data" },
		"one is not":          func(s *v1alpha1.NodeENISpec) { s.SubnetNames = []string{"data", "untagged"} },
		"a group is not":      func(s *v1alpha1.NodeENISpec) { s.SecurityGroupNames = []string{"gone"} },
	} {
		t.Run(name, func(t *testing.T) {
			c := testCatalog()
			c[named(subnetsByName, "untagged")] = found{}
			x := nodeENI("x", change)
			d := desire([]v1alpha1.NodeENI{x}, matching, "us-east-1a", c, nil)
			if partly := name == "one is not"; d.partlyResolved[x.UID] != partly || partly && len(d.wants) != 1 {
				t.Errorf("partly %v: %s", d.partlyResolved[x.UID], d.text())
			}
		})
	}
}

// The default MTU is for NodeENIs that name none, and is no reason to let go of
// what a NodeENI has.
func TestDefaultMTU(t *testing.T) {
	for mtu, want := range map[int32]int32{0: 9001, 1400: 1400} {
		a := catalogued(func(s *v1alpha1.NodeENISpec) { s.MTU = mtu })
		if got := a.desired.wants[0].mtu; got != mtu {
			t.Errorf("without a default, mtu %d gives %d", mtu, got)
		}
		a.DefaultMTU = 9001
		for range 2 { // held wants are resolved again
			a.resolve()
			if got := a.desired.wants[0].mtu; got != want {
				t.Errorf("with a default of 9001, mtu %d gives %d", mtu, got)
			}
		}
	}
}
