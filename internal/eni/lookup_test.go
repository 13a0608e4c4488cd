package eni

import (
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/simtest"
)

const (
	vpcHere = "vpc-00000000000000001"
	vpcFar  = "vpc-00000000000000002"
)

// simulated is a client of an account in the simulator, and the account.
func simulated(t *testing.T, groups ...cloud.SecurityGroup) (*Client, *cloud.Cloud) {
	t.Helper()
	c, access := simtest.Account(t, cloud.Config{
		VPCs:           []cloud.VPC{{ID: vpcHere, CIDR: netip.MustParsePrefix("10.0.0.0/16")}, {ID: vpcFar, CIDR: netip.MustParsePrefix("10.1.0.0/16")}},
		SecurityGroups: groups,
	})
	return NewClient(access), c
}

// A name is a group's own name, and where no group has it, a Name tag. Names are
// taken literally, and those of other VPCs do not count.
func TestGroupsByName(t *testing.T) {
	group := func(id, name, tag, vpc string) cloud.SecurityGroup {
		g := cloud.SecurityGroup{ID: "sg-0000000000000000" + id, Name: name, VPCID: vpc}
		if tag != "" {
			g.Tags = map[string]string{TagName: tag}
		}
		return g
	}
	client, account := simulated(t,
		group("1", "web", "", vpcHere),
		group("2", "eks-node-2024", "web", vpcHere), // loses to the group name
		group("3", "eks-node-2025", "storage", vpcHere),
		group("4", "eks-node-2026", "storage", vpcHere),
		group("5", "eks-node-2027", "storage", vpcFar),
		group("6", "far", "", vpcFar),
		group("7", "terraform-1", "a*b?", vpcHere),
		group("8", "terraform-2", `axbc`, vpcHere),
		group("9", "terraform-3", `back\slash`, vpcHere),
	)
	const id = "sg-0000000000000000"
	for name, test := range map[string]struct {
		names []string
		want  map[string][]string
		calls int
	}{
		"by group name":              {[]string{"web", "eks-node-2025"}, map[string][]string{"web": {id + "1"}, "eks-node-2025": {id + "3"}}, 1},
		"by Name tag, all of them":   {[]string{"storage"}, map[string][]string{"storage": {id + "3", id + "4"}}, 2},
		"one of each":                {[]string{"web", "storage"}, map[string][]string{"web": {id + "1"}, "storage": {id + "3", id + "4"}}, 2},
		"not in this VPC":            {[]string{"far"}, map[string][]string{}, 2},
		"EC2's wildcards, literally": {[]string{"a*b?", "*", `back\slash`}, map[string][]string{"a*b?": {id + "7"}, `back\slash`: {id + "9"}}, 2},
		"the case counts":            {[]string{"Web"}, map[string][]string{}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(account.Calls())
			found, err := client.GroupsByName(t.Context(), vpcHere, test.names)
			if err != nil {
				t.Fatal(err)
			}
			for _, ids := range found {
				slices.Sort(ids)
			}
			if !maps.EqualFunc(found, test.want, slices.Equal) {
				t.Errorf("got %v, want %v", found, test.want)
			}
			if calls := len(account.Calls()) - before; calls != test.calls {
				t.Errorf("%d calls, want %d", calls, test.calls)
			}
		})
	}
}
