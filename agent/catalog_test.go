package agent

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

func (c catalog) text() string {
	var names []string
	for _, key := range lookUpKeys {
		var some []string
		for _, ref := range of(key, slices.Collect(maps.Keys(c))) {
			some = append(some, ref.Name)
		}
		names = append(names, slices.Sorted(slices.Values(some))...)
	}
	return strings.Join(names, " ")
}

func TestCatalogForgets(t *testing.T) {
	for name, test := range map[string]struct {
		forget func(catalog)
		want   string
	}{
		"what nothing names": {func(c catalog) {
			c.keep([]retry.Key{named(subnetsByID, subnetA), named(subnetsByID, "subnet-new"), named(subnetsByName, "data"), named(groupsByName, "gone")})
		}, subnetA + " data gone"},
		"a subnet that is gone": {func(c catalog) { c.forgetSubnet(subnetA2) },
			strings.Join([]string{subnetA, subnetB, "subnet-0cccccccccccccccc", "data far gone web"}, " ")},
		"a group that is gone": {func(c catalog) { c.forgetGroups([]string{groupX, groupY}) },
			strings.Join([]string{subnetA, subnetA2, subnetB, "subnet-0cccccccccccccccc", "data far storage gone"}, " ")},
	} {
		t.Run(name, func(t *testing.T) {
			c := testCatalog()
			test.forget(c)
			if got := c.text(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// catalogued is an agent whose one NodeENI is as the spec is changed to.
func catalogued(change func(*v1alpha1.NodeENISpec)) *Agent {
	a := New(Config{Identity: imds.Identity{Zone: "us-east-1a"}, Log: slog.New(slog.DiscardHandler)})
	a.catalog = testCatalog()
	a.selection.snapshot = Snapshot{NodeExists: true, Labels: matching, NodeENIs: []v1alpha1.NodeENI{nodeENI("x", change)}}
	a.resolve()
	return a
}

// A security group is deleted and made again under its name while a node has no
// ENI. The next create is refused, its name looked up again, and the create
// repeated with the group of now, though a refusal usually waits for people.
func TestGroupMadeAgain(t *testing.T) {
	now := time.Unix(10_000, 0)
	a := catalogued(func(s *v1alpha1.NodeENISpec) { s.SecurityGroupIDs, s.SecurityGroupNames = nil, []string{"web"} })
	refused := createCall(a.desired.wants[0], view{})
	a.callFailed(refused, ec2Error("InvalidGroup.NotFound", ""), now)
	a.resolve()
	if got := a.desired.missing; !slices.Equal(got, []retry.Key{named(groupsByName, "web")}) || !a.desired.unresolved["uid-x"] {
		t.Fatalf("%v is looked up, held %v", got, a.desired.unresolved)
	}
	a.catalog[named(groupsByName, "web")] = found{groups: []string{groupY}} // the same answer: EC2 lags
	a.resolve()
	if !a.failures.Blocks(refused.key(), now) {
		t.Error("the same call may be made again at once")
	}
	a.catalog.forgetGroups([]string{groupY})
	a.resolve()
	a.catalog[named(groupsByName, "web")] = found{groups: []string{groupX}}
	a.resolve()
	if w := a.desired.wants[0]; !slices.Equal(w.groups, []string{groupX}) || a.failures.Blocks(refused.key(), now) {
		t.Errorf("groups %v, blocked %v", w.groups, a.failures.Blocks(refused.key(), now))
	}
}

// A name that does not help is looked up again, at the pace of people, until it
// does: the Name tag may be put right.
func TestUnfittingNamesAreLookedUpAgain(t *testing.T) {
	for name, test := range map[string]struct {
		answer  []eni.Subnet
		problem string
	}{
		"still not there":   {nil, "SubnetNotFound"},
		"in another zone":   {[]eni.Subnet{{ID: subnetB, Name: "new", Zone: "us-east-1b"}}, reasonNoSubnetInZone},
		"two in this zone":  {[]eni.Subnet{{ID: subnetA, Name: "new", Zone: "us-east-1a"}, {ID: subnetA2, Name: "new", Zone: "us-east-1a"}}, reasonSubnetAmbiguous},
		"found in the zone": {[]eni.Subnet{{ID: subnetA, Name: "new", Zone: "us-east-1a"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := catalogued(func(s *v1alpha1.NodeENISpec) { s.SubnetID, s.SubnetName = "", "new" })
			asked := 0
			look := func(now time.Time) {
				if due := a.dueLookUps(subnetsByName, now); len(due) > 0 {
					asked++
					a.lookedUp(subnetsByName, catalog{due[0]: found{subnets: test.answer}}, nil, now)
				}
			}
			look(time.Now())
			look(time.Now())
			if asked != 1 {
				t.Errorf("asked %d times at once", asked)
			}
			look(time.Now().Add(retry.Terminal.First))
			problem := ""
			if len(a.desired.problems) > 0 {
				problem = a.desired.problems[0].reason
			}
			if again := asked == 2; again != (test.problem != "") || problem != test.problem {
				t.Errorf("asked %d times, problem %q", asked, problem)
			}
		})
	}
}
