package agent

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/simtest"
)

// A forecast says how many ENIs on demand there is room for next to the others.
func TestForecastPlaces(t *testing.T) {
	place := func(name string, card int32) want {
		return want{Slot: inventory.Slot{UID: types.UID(name), SubnetID: "subnet-1"}, nodeENI: name, onDemand: true}.on(card)
	}
	always := want{Slot: inventory.Slot{UID: "always", SubnetID: "subnet-1"}, nodeENI: "always", deviceIndex: 1}
	v := view{instanceID: "i-1", synced: true, intents: map[inventory.Slot]intent{}, indexes: inventory.Indexes{
		Max: map[int32]int32{0: 4, 1: 1}, Holders: map[inventory.Place]string{{DeviceIndex: 2}: "eni-9", {Card: 1, DeviceIndex: 1}: "eni-8"},
	}}
	v.desired = desired{wants: []want{always}, onDemand: []want{place("a", 0), place("b", 1), place("c", 2)}, unresolved: map[types.UID]bool{}}
	if got, want := fmt.Sprint(forecast(v, nil).Places), "[{a subnet-1 0 1} {b subnet-1 1 0}]"; got != want { // nothing is known of card 2
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestForecast(t *testing.T) {
	const me, arn = "i-1", "arn:aws:ec2:us-east-1:1:instance/i-1"
	wanted := func(uid types.UID, index int32) want {
		return want{Slot: inventory.Slot{UID: uid, SubnetID: "subnet-1"}, nodeENI: string(uid), deviceIndex: index}
	}
	own := func(id string, uid types.UID, a *eni.Attachment) eni.ENI {
		return eni.ENI{ID: id, SubnetID: "subnet-1", Owner: eni.Owner{NodeENIUID: uid, Instance: arn}, Attachment: a}
	}
	at := func(instance string, index int32) *eni.Attachment {
		return &eni.Attachment{ID: "a", InstanceID: instance, DeviceIndex: index, Status: "attached"}
	}
	for _, test := range []struct {
		name  string
		wants []want
		own   []eni.ENI
		taken map[inventory.Place]string
		want  string // NodeENI:id:attached:index/wanted:holder
	}{
		{"a new one", []want{wanted("a", 1)}, nil, nil, "a::false:1/1:"},
		{"index taken", []want{wanted("a", 1)}, nil, map[inventory.Place]string{{DeviceIndex: 1}: "eni-9", {DeviceIndex: 2}: "eni-8"}, "a::false:3/1:eni-9"},
		{"two want one index", []want{wanted("a", 1), wanted("b", 1)}, nil, nil, "a::false:1/1: b::false:2/1:NodeENI a"},
		{"on two cards", []want{wanted("a", 1), wanted("b", 1).on(1)}, nil, nil, "a::false:1/1: b::false:1/1:"},
		{"index taken on one of them", []want{wanted("a", 1), wanted("b", 1).on(1)}, nil, map[inventory.Place]string{{Card: 1, DeviceIndex: 1}: "eni-9"}, "a::false:1/1: b::false:2/1:eni-9"},
		{"there and attached", []want{wanted("a", 1)}, []eni.ENI{own("eni-1", "a", at(me, 1))}, nil, "a:eni-1:true:1/1:"},
		{"attached elsewhere on the instance", []want{wanted("a", 1)}, []eni.ENI{own("eni-1", "a", at(me, 4))}, nil, "a:eni-1:true:4/1:another ENI"},
		{"there and free", []want{wanted("a", 1)}, []eni.ENI{own("eni-1", "a", nil)}, nil, "a:eni-1:false:1/1:"},
		{"held by one that is no longer wanted", []want{wanted("a", 1)}, []eni.ENI{own("eni-1", "gone", at(me, 1))}, nil, "a::false:2/1:eni-1"},
		{"attached to another instance", []want{wanted("a", 1)}, []eni.ENI{own("eni-1", "a", at("i-2", 1))}, nil, "a:eni-1:false:1/1:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := view{cluster: "c", node: "n", instanceARN: arn, instanceID: me, synced: true, intents: map[inventory.Slot]intent{}, indexes: inventory.Indexes{Holders: test.taken}}
			v.desired = desired{wants: test.wants, unresolved: map[types.UID]bool{}, partlyResolved: map[types.UID]bool{}}
			var got []string
			for _, e := range forecast(v, test.own).ENIs {
				got = append(got, fmt.Sprintf("%s:%s:%v:%d/%d:%s", e.NodeENI, e.ID, e.Attached, e.DeviceIndex, e.Wanted, e.Holder))
				if e.Create.Owner.Instance != arn || e.Create.SubnetID != "subnet-1" || e.Create.Owner.CreatedAt.IsZero() {
					t.Errorf("the create lacks what decides about permissions: %+v", e.Create)
				}
			}
			if all := strings.Join(got, " "); all != test.want {
				t.Errorf("got  %s\nwant %s", all, test.want)
			}
		})
	}
}

func TestHolders(t *testing.T) {
	attached := func(id string, index, card int32) eni.ENI {
		return eni.ENI{ID: id, Attachment: &eni.Attachment{DeviceIndex: index, Card: card}}
	}
	got := inventory.HoldersAmong([]eni.ENI{attached("primary", 0, 0), attached("ours", 1, 0), attached("theirs", 2, 0), attached("card 1", 3, 1)}, func(e eni.ENI) bool { return e.ID == "ours" })
	if len(got) != 2 || got[inventory.Place{DeviceIndex: 2}] != "theirs" || got[inventory.Place{Card: 1, DeviceIndex: 3}] != "card 1" {
		t.Errorf("%v", got)
	}
}

// The doctor foretells the device index that the agent gives, with the instance type's
// limit.
func TestForecastKnowsTheLimit(t *testing.T) {
	const vpc = "vpc-00000000000000001"
	account, access := simtest.Account(t, cloud.Config{
		VPCs:           []cloud.VPC{{ID: vpc, CIDR: netip.MustParsePrefix("10.0.0.0/16")}},
		Subnets:        []cloud.Subnet{{ID: subnetA, VPCID: vpc, Zone: "us-east-1a", CIDR: netip.MustParsePrefix("10.0.1.0/24")}},
		SecurityGroups: []cloud.SecurityGroup{{ID: groupX, Name: "x", VPCID: vpc}},
	})
	in, err := account.RunInstance(cloud.RunInstance{Type: "m5.large", SubnetID: subnetA}) // takes three
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := account.CreateNetworkInterface(cloud.CreateNetworkInterfaceInput{SubnetID: subnetA})
	if err == nil {
		_, err = account.AttachNetworkInterface(cloud.AttachNetworkInterfaceInput{NetworkInterfaceID: foreign.ID, InstanceID: in.ID, DeviceIndex: 2})
	}
	if err != nil {
		t.Fatal(err)
	}
	n := nodeENI("x", func(s *v1alpha1.NodeENISpec) {
		s.SubnetID, s.SubnetName, s.SecurityGroupIDs, s.DeviceIndex, s.IPv4 = subnetA, "", []string{groupX}, 2, &v1alpha1.IPv4{SecondaryAddresses: 1}
	})
	who := imds.Identity{InstanceID: in.ID, InstanceType: in.Type, Zone: in.Zone, Region: "us-east-1", Partition: "aws", AccountID: "123456789012", VPCID: vpc}
	f, err := NewForecast(t.Context(), eni.NewClient(access), "c", "n", who, []v1alpha1.NodeENI{n}, matching)
	if err != nil || len(f.ENIs) != 1 || f.ENIs[0].DeviceIndex != 1 || f.ENIs[0].Holder != foreign.ID {
		t.Errorf("foretold is %+v, %v", f, err)
	}
}
