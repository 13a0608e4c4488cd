package e2e

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// Ids and names of the manifests of the field.
const (
	fieldSubnet      = "subnet-0f59b4f14737be9ad"
	fieldOtherSubnet = "subnet-0abcdef1234567890"
	fieldSubnet1     = "subnet-0aaaaaaaaaaaaaaa1"
	fieldSubnet2     = "subnet-0aaaaaaaaaaaaaaa2"
	fieldGroup       = "sg-05da196f3314d4af8"
	fieldTestGroup   = "sg-0aaaaaaaaaaaaaaa1"
)

func fieldTopology(topology *sim.Topology) {
	topology.Subnets = []sim.Subnet{
		subnet("nodes", "us-east-1a", 0), subnet("my-subnet-name", "us-east-1a", 1), subnet("other", "us-east-1a", 2),
		subnet("test-subnet-1", "us-east-1a", 3), subnet("test-subnet-2", "us-east-1a", 4),
	}
	for i, id := range []string{"", fieldSubnet, fieldOtherSubnet, fieldSubnet1, fieldSubnet2} {
		topology.Subnets[i].ID = id
	}
	topology.SecurityGroups = []sim.SecurityGroup{{Name: "nodes"}, {Name: "my-security-group", ID: fieldGroup}, {Name: "eks-node-20240401", ID: fieldTestGroup, Tags: map[string]string{"Name": "test-sg"}}}
	topology.Links.MTU = 1500 // or an MTU of 9001 would show nothing
}

// The manifests that users already have apply unchanged and do what they say.
func TestManifestsOfTheField(t *testing.T) {
	t.Parallel()
	const node = "node-1"
	c := newCluster(t, 1, fieldTopology)
	c.coordinator("coordinator-1", eager...)
	c.agent(node)
	for key, value := range map[string]string{"ng": "multi-eni", "subnet": "a"} {
		c.must(c.Label(t.Context(), node, key, value))
	}
	// What EC2 has, one line for each ENI: subnet, index, groups,
	// deleteOnTermination, description; and the MTU of the links.
	want := map[string]struct {
		enis []string
		mtu  int
	}{
		"subnet-and-group-by-id": {[]string{fieldSubnet + " 2 [" + fieldGroup + "] true Second interface for storage traffic"}, 9001},
		"subnet-by-name":         {[]string{fieldSubnet + " 2 [" + fieldGroup + "] true NodeENI subnet-by-name"}, 1500},
		"group-by-name":          {[]string{fieldSubnet + " 2 [" + fieldGroup + "] true NodeENI group-by-name"}, 1500},
		"two-subnets-by-name": {[]string{
			fieldSubnet1 + " 2 [" + fieldTestGroup + "] true NodeENI two-subnets-by-name",
			fieldSubnet2 + " 3 [" + fieldTestGroup + "] true NodeENI two-subnets-by-name",
		}, 9001},
		"jumbo-frames": {[]string{fieldSubnet + " 2 [" + fieldGroup + "] true NodeENI jumbo-frames"}, 9001},
		"kept-when-the-instance-ends": {[]string{
			fieldSubnet + " 1 [" + fieldGroup + "] false NodeENI kept-when-the-instance-ends",
			fieldOtherSubnet + " 2 [" + fieldGroup + "] false NodeENI kept-when-the-instance-ends",
		}, 1500},
	}
	data, err := os.ReadFile(filepath.Join("..", "api", "v1alpha1", "testdata", "field.yaml"))
	c.must(err)
	manifests := strings.Split(string(data), "\n---\n")
	if len(manifests) != len(want) {
		t.Fatalf("%d manifests, want %d", len(manifests), len(want))
	}
	for _, manifest := range manifests {
		var n v1alpha1.NodeENI
		c.must(yaml.Unmarshal([]byte(manifest), &n))
		c.run(n.Name, func(t *testing.T) {
			expected := want[n.Name]
			c.must(c.Apply(t.Context(), manifest))
			c.awaitReady(node, n.Name, len(expected.enis))
			made := c.made(node)
			slices.SortFunc(made, func(a, b cloud.Interface) int { return cmp.Compare(a.Attachment.DeviceIndex, b.Attachment.DeviceIndex) })
			var got []string
			for _, e := range made {
				a := e.Attachment
				got = append(got, fmt.Sprintf("%s %d %v %v %s", e.SubnetID, a.DeviceIndex, e.GroupIDs, a.DeleteOnTermination, e.Description))
				c.await("the link", func() string { return c.configured(node, e, false, int32(expected.mtu)) })
			}
			if !slices.Equal(got, expected.enis) {
				t.Errorf("EC2 has\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(expected.enis, "\n\t"))
			}
			c.awaitStored(n.Name, fmt.Sprint(made[0].Attachment.DeleteOnTermination))
			c.must(c.DeleteNodeENI(t.Context(), n.Name))
			c.awaitMade(node, 0)
			c.awaitNodeENIGone(n.Name)
		})
	}
}
