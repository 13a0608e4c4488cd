package eni_test

import (
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/simtest"
)

// An adopted ENI has the tags of one that an agent created, and a mark. Disowned, it has the
// tags that it had.
func TestAdoptAndDisown(t *testing.T) {
	const vpc, subnet, group = "vpc-00000000000000001", "subnet-0000000000000000a", "sg-00000000000000001"
	c, cfg := simtest.Account(t, cloud.Config{
		VPCs:           []cloud.VPC{{ID: vpc, CIDR: netip.MustParsePrefix("10.0.0.0/16")}},
		Subnets:        []cloud.Subnet{{ID: subnet, VPCID: vpc, Zone: "us-east-1a", CIDR: netip.MustParsePrefix("10.0.0.0/24")}},
		SecurityGroups: []cloud.SecurityGroup{{ID: group, Name: "g", VPCID: vpc}},
	})
	client := eni.NewClient(cfg)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	owner := eni.Owner{Cluster: "c-1", Node: "n", Instance: "arn:aws:ec2:us-east-1:123456789012:instance/i-1", NodeENI: "data", NodeENIUID: "uid", CreatedAt: time.Unix(1_800_000_000, 0).UTC()}
	user := map[string]string{"team": "net"}
	own, err := client.Create(t.Context(), eni.CreateParams{Owner: owner, SubnetID: subnet, Groups: []string{group}, UserTags: user})
	must(err)
	for name, before := range map[string]map[string]string{
		"with a name":    {"Name": "former", "Node": "n", eni.TagNoManage: "true"},
		"without a name": {"Node": "n", eni.TagNoManage: "true"},
	} {
		e, err := c.CreateNetworkInterface(cloud.CreateNetworkInterfaceInput{SubnetID: subnet, GroupIDs: []string{group}, Tags: before})
		must(err)
		tags := func() map[string]string {
			i, _ := c.Interface(e.ID)
			return maps.Clone(i.Tags)
		}
		must(client.Adopt(t.Context(), e.ID, owner, user, before["Name"]))
		want, _ := c.Interface(own.ID)
		adopted := tags()
		if mark, ok := adopted[eni.TagAdoptedFrom]; !ok || mark != before["Name"] {
			t.Errorf("%s: the mark is %q, %v", name, mark, ok)
		}
		delete(adopted, eni.TagAdoptedFrom)
		delete(adopted, "Node")
		if !maps.Equal(adopted, want.Tags) {
			t.Errorf("%s: adopted, it has %v; one that an agent creates has %v", name, adopted, want.Tags)
		}
		found, err := client.OfInstance(t.Context(), "c-1", owner.Instance)
		if err != nil || len(found) < 2 {
			t.Errorf("%s: an agent finds %v, %v", name, found, err)
		}
		must(client.Disown(t.Context(), e.ID, before["Name"]))
		before["team"] = "net"
		if got := tags(); !maps.Equal(got, before) {
			t.Errorf("%s: disowned, it has %v, want %v", name, got, before)
		}
	}
}

// Instances that are terminated or unknown are not shown; neither is what a filter did not
// ask for.
func TestInstances(t *testing.T) {
	const vpc, subnet = "vpc-00000000000000001", "subnet-0000000000000000a"
	c, cfg := simtest.Account(t, cloud.Config{
		VPCs:    []cloud.VPC{{ID: vpc, CIDR: netip.MustParsePrefix("10.0.0.0/16")}},
		Subnets: []cloud.Subnet{{ID: subnet, VPCID: vpc, Zone: "us-east-1a", CIDR: netip.MustParsePrefix("10.0.0.0/24")}},
	})
	var ids []string
	for range 2 {
		i, err := c.RunInstance(cloud.RunInstance{Type: "m5.large", SubnetID: subnet})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, i.ID)
	}
	if _, err := c.TerminateInstances(ids[1:]); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		got, err := eni.NewClient(cfg).Instances(t.Context(), append(ids, "i-0123456789abcdef0"))
		if err != nil {
			t.Fatal(err)
		}
		if want := (eni.Instance{ID: ids[0], VPCID: vpc, Zone: "us-east-1a", Account: "123456789012"}); len(got) == 1 && got[0] == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it shows %+v", got)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
