package agent

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/simtest"
)

// An EC2 that does not know the instance is another Region's or another account's,
// however right the rest looks. What it does not show is no news.
func TestAnotherEC2IsNotBelieved(t *testing.T) {
	const vpc = "vpc-00000000000000001"
	account := func() (*eni.Client, *cloud.Cloud) {
		c, access := simtest.Account(t, cloud.Config{
			VPCs:           []cloud.VPC{{ID: vpc, CIDR: netip.MustParsePrefix("10.0.0.0/16")}},
			Subnets:        []cloud.Subnet{{ID: subnetA, VPCID: vpc, Zone: "us-east-1a", CIDR: netip.MustParsePrefix("10.0.1.0/24")}},
			SecurityGroups: []cloud.SecurityGroup{{ID: groupX, Name: "x", VPCID: vpc}},
			InstanceTypes:  []cloud.InstanceType{{Name: "m5.large", MaxENIs: 3, IPv4PerENI: 10}},
		})
		return eni.NewClient(access), c
	}
	right, home := account()
	wrong, _ := account()
	in, err := home.RunInstance(cloud.RunInstance{Type: "m5.large", SubnetID: subnetA})
	if err != nil {
		t.Fatal(err)
	}
	self := imds.Identity{InstanceID: in.ID, Zone: in.Zone, Region: "us-east-1", Partition: "aws", AccountID: "123456789012"}
	owner := eni.Owner{Cluster: "c", Node: "n", Instance: self.InstanceARN(), NodeENI: "x", NodeENIUID: "x"}
	made, err := right.Create(t.Context(), eni.CreateParams{Owner: owner, SubnetID: subnetA, Groups: []string{groupX}})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name      string
		client    *eni.Client
		proven    bool
		ec2       *cloud.Cloud
		believed  bool
		describes int
	}{
		{"its own EC2, that lacks what was known", right, false, home, true, 2},
		{"its own EC2, nothing was known", right, true, home, true, 1},
		{"another EC2", wrong, false, nil, false, 0},
	} {
		home.ResetCalls()
		list, err := ofInstance(t.Context(), test.client, "c", self, test.proven)
		if believed := err == nil; believed != test.believed || !believed && !errors.Is(err, errWrongPlace) {
			t.Errorf("%s: %v", test.name, err)
		}
		if test.believed && (len(list) != 1 || list[0].ID != made.ID) {
			t.Errorf("%s shows %+v", test.name, list)
		}
		if n := len(home.Calls()); test.ec2 != nil && n != test.describes {
			t.Errorf("%s: %d describes, want %d", test.name, n, test.describes)
		}
	}
	if _, err := right.Attach(t.Context(), eni.AttachParams{ENIID: made.ID, InstanceID: in.ID, DeviceIndex: 1}); err != nil {
		t.Fatal(err)
	}
	home.ResetCalls()
	if _, err := ofInstance(t.Context(), right, "c", self, false); err != nil || len(home.Calls()) != 1 {
		t.Errorf("one of ours that is attached is proof enough: %v, %d describes", err, len(home.Calls()))
	}
}
