package sim

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/vpc"
)

func TestBuiltinTopology(t *testing.T) {
	topology, err := Topology{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range topology.Subnets {
		got = append(got, fmt.Sprintf("%s %s %s", s.Zone, s.CIDR, s.Name))
		if !regexp.MustCompile(`^subnet-0[0-9a-f]{16}$`).MatchString(s.ID) {
			t.Errorf("id %q does not look like EC2's", s.ID)
		}
	}
	want := []string{
		"us-east-1a 10.0.0.0/20 nodes", "us-east-1a 10.0.16.0/20 data", "us-east-1a 10.0.32.0/20 storage",
		"us-east-1b 10.0.128.0/20 nodes", "us-east-1b 10.0.144.0/20 data", "us-east-1b 10.0.160.0/20 storage",
	}
	if !slices.Equal(got, want) {
		t.Errorf("subnets:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, err := cloud.New(topology.account(nil)); err != nil {
		t.Error(err)
	}
	again, _ := Topology{}.withDefaults()
	if again.Subnets[0].ID != topology.Subnets[0].ID {
		t.Error("ids differ from one start to the next")
	}
}

func TestLaunch(t *testing.T) {
	topology, err := Topology{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	data := topology.Subnets[4] // in us-east-1b
	for _, test := range []struct {
		spec   NodeSpec
		n      int
		name   string
		subnet string // name and zone, or the error
		groups string
	}{
		{NodeSpec{}, 0, "node-1", "nodes us-east-1a", "nodes"},
		{NodeSpec{}, 1, "node-2", "nodes us-east-1b", "nodes"},
		{NodeSpec{}, 2, "node-3", "nodes us-east-1a", "nodes"},
		{NodeSpec{Name: "x", Zone: "us-east-1b"}, 0, "x", "nodes us-east-1b", "nodes"},
		{NodeSpec{Subnet: "data"}, 1, "node-2", "data us-east-1b", "nodes"},
		{NodeSpec{Subnet: data.ID}, 0, "node-1", "data us-east-1b", "nodes"},
		{NodeSpec{SecurityGroups: []string{"data", topology.SecurityGroups[2].ID}}, 0, "node-1", "nodes us-east-1a", "data storage"},
		{NodeSpec{Zone: "us-east-1c"}, 0, "", `node node-1: there is no subnet in zone "us-east-1c"`, ""},
		{NodeSpec{Subnet: "dta"}, 0, "", `node node-1: there is no subnet "dta"`, ""},
		{NodeSpec{Subnet: data.ID, Zone: "us-east-1a"}, 0, "", `there is no subnet "` + data.ID + `" in zone "us-east-1a"`, ""},
		{NodeSpec{SecurityGroups: []string{"dta"}}, 0, "", `there is no security group "dta"`, ""},
	} {
		launch, err := topology.launch(test.spec, test.n)
		if test.name == "" {
			if err == nil || !strings.Contains(err.Error(), test.subnet) {
				t.Errorf("%+v: %v, want an error with %q", test.spec, err, test.subnet)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", test.spec, err)
			continue
		}
		i := slices.IndexFunc(topology.Subnets, func(s Subnet) bool { return s.ID == launch.SubnetID })
		subnet := topology.Subnets[i].Name + " " + topology.Subnets[i].Zone
		var groups []string
		for _, id := range launch.GroupIDs {
			i := slices.IndexFunc(topology.SecurityGroups, func(g SecurityGroup) bool { return g.ID == id })
			groups = append(groups, topology.SecurityGroups[i].Name)
		}
		if launch.Name != test.name || subnet != test.subnet || strings.Join(groups, " ") != test.groups || launch.Type != defaultNodeType {
			t.Errorf("%+v: %+v in %s with %v", test.spec, launch, subnet, groups)
		}
	}
}

func TestLoadTopology(t *testing.T) {
	file := filepath.Join(t.TempDir(), "topology.yaml")
	load := func(text string) (Topology, error) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		topology, err := LoadTopology(file)
		if err != nil {
			return topology, err
		}
		return topology.withDefaults()
	}
	topology, err := load(`
region: eu-central-1
vpc: {cidr: 172.31.0.0/16}
subnets:
- {name: only, zone: eu-central-1c, cidr: 172.31.0.0/24, capacity: 7}
nodes:
- {name: solo, type: c5.4xlarge, tags: {team: blue}}
links: {names: ens%d, first: 5, rename: true}
timing: {attach: 1.5s}
throttle: true
`)
	if err != nil {
		t.Fatal(err)
	}
	if topology.Timing.Attach != 1500*time.Millisecond || !topology.Links.Rename || topology.Subnets[0].Capacity != 7 || !topology.Throttle {
		t.Errorf("%+v", topology)
	}
	if _, err := cloud.New(topology.account(nil)); err != nil {
		t.Error(err)
	}
	topology, err = load(`
vpc: {ipv6CIDR: "2001:db8::/56"}
subnets:
- {name: dual, zone: us-east-1a, cidr: 10.0.0.0/24, ipv6CIDR: "2001:db8::/64", assignIPv6AddressOnCreation: true}
- {name: only, zone: us-east-1a, ipv6CIDR: "2001:db8:0:1::/64", ipv6Native: true}
routerAdvertisements: {interval: 100ms}
instanceTypes:
- {name: two.cards, maxENIs: 4, ipv4PerENI: 4, networkCards: 2, enaSrd: true, enaQueues: {flexible: true, default: 4, maxPerENI: 8}}
`)
	if err != nil {
		t.Fatal(err)
	}
	account := must[*cloud.Cloud](t)(cloud.New(topology.account(nil))).Config()
	if s := account.Subnets; !s[0].AssignIPv6AddressOnCreation || !s[1].IPv6Native || s[1].IPv6CIDR.Bits() != 64 || account.VPCs[0].IPv6CIDR.Bits() != 56 {
		t.Errorf("%+v", account)
	}
	if t0 := account.InstanceTypes[0]; !t0.EnaSrd || t0.EnaQueues.MaxPerCard != 16 || t0.IPv6PerENI != 4 || topology.RouterAdvertisements.Interval != "100ms" {
		t.Errorf("%+v", account.InstanceTypes[0])
	}
	for want, text := range map[string]string{
		`unknown field "subnet"`:            "subnet: []",
		`unknown field "zoen"`:              "nodes: [{zoen: a}]",
		`unknown field "atach"`:             "timing: {atach: 1s}",
		"used twice":                        "subnets: [{name: a, zone: z, cidr: 10.0.0.0/24}, {name: a, zone: z, cidr: 10.0.1.0/24}]",
		"securityGroups[0]: want a name":    "securityGroups: [{id: sg-12345678}]",
		`ParsePrefix("10.0.0/24")`:          "subnets: [{name: a, zone: z, cidr: 10.0.0/24}]",
		`key "region" already set in map`:   "region: a\nregion: b",
		"topology " + file + ": error conv": "\t",
	} {
		if _, err := load(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", text, err, want)
		}
	}
	if _, err := LoadTopology("/nonexistent.yaml"); err == nil {
		t.Error("a missing file is no error")
	}
}

// The example in the documentation says what the defaults are.
func TestDocumentedDefaults(t *testing.T) {
	doc, err := os.ReadFile("../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(doc), "```yaml\n")
	text, _, ok := strings.Cut(text, "```")
	if !ok {
		t.Fatal("no YAML block in docs/simulator.md")
	}
	file := filepath.Join(t.TempDir(), "topology.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	documented := must[Topology](t)(LoadTopology(file))
	network := must[*vpc.Network](t)(vpc.New(vpc.Config{Links: documented.Links}))
	check(t, network.Close())
	got, want := must[Topology](t)(documented.withDefaults()), must[Topology](t)(Topology{}.withDefaults())
	gotAccount, wantAccount := must[*cloud.Cloud](t)(cloud.New(got.account(nil))), must[*cloud.Cloud](t)(cloud.New(want.account(nil)))
	g, w := gotAccount.Config(), wantAccount.Config()
	if !reflect.DeepEqual(g, w) || !reflect.DeepEqual(got.Nodes, want.Nodes) {
		t.Errorf("documented:\n%+v %+v\nbuilt in:\n%+v %+v", g, got.Nodes, w, want.Nodes)
	}
}
