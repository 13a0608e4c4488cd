package sim

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/vpc"
)

// Topology describes what is simulated. What it leaves out is as in the
// built-in topology: the VPC 10.0.0.0/16 with the subnets nodes, data and
// storage in two zones, the security groups nodes, data and storage, and three
// nodes.
type Topology struct {
	AccountID string `json:"accountID,omitempty"` // default 123456789012
	Region    string `json:"region,omitempty"`    // default us-east-1
	Partition string `json:"partition,omitempty"` // default aws

	VPC            VPC                  `json:"vpc"`
	Subnets        []Subnet             `json:"subnets,omitempty"`
	SecurityGroups []SecurityGroup      `json:"securityGroups,omitempty"`
	InstanceTypes  []cloud.InstanceType `json:"instanceTypes,omitempty"` // beside the built-in ones
	Nodes          []NodeSpec           `json:"nodes,omitempty"`
	Links          vpc.Links            `json:"links"`
	// RouterAdvertisements are those of subnets with IPv6.
	RouterAdvertisements vpc.RouterAdvertisements `json:"routerAdvertisements"`

	Timing   *cloud.Timing `json:"timing,omitempty"` // default: everything is instant
	Throttle bool          `json:"throttle,omitempty"`
	Quotas   cloud.Quotas  `json:"quotas"`
	InUse    cloud.InUse   `json:"inUse,omitempty"`
	Seed     uint64        `json:"seed,omitempty"`
}

// VPC is the one VPC of a topology.
type VPC struct {
	ID   string       `json:"id,omitempty"`   // default: made from the account and the Region
	CIDR netip.Prefix `json:"cidr,omitempty"` // default 10.0.0.0/16
	// IPv6CIDR is /44 to /60, in steps of four; default: no IPv6.
	IPv6CIDR netip.Prefix `json:"ipv6CIDR,omitzero"`
}

// Subnet is a subnet of the VPC. Subnets of several zones may share a name.
type Subnet struct {
	Name     string            `json:"name"`               // its Name tag
	ID       string            `json:"id,omitempty"`       // default: made from name and zone
	Zone     string            `json:"zone"`               // for example us-east-1a
	CIDR     netip.Prefix      `json:"cidr,omitzero"`      // none with ipv6Native
	Capacity int               `json:"capacity,omitempty"` // IPv4 addresses that can be handed out; default: all
	Tags     map[string]string `json:"tags,omitempty"`
	// IPv6CIDR makes the subnet dual-stack or, with IPv6Native, IPv6-only.
	IPv6CIDR   netip.Prefix `json:"ipv6CIDR,omitzero"`
	IPv6Native bool         `json:"ipv6Native,omitempty"`
	// AssignIPv6AddressOnCreation gives each new ENI an IPv6 address.
	AssignIPv6AddressOnCreation bool `json:"assignIPv6AddressOnCreation,omitempty"`
}

// SecurityGroup is a security group of the VPC.
type SecurityGroup struct {
	Name string            `json:"name"`
	ID   string            `json:"id,omitempty"` // default: made from the name
	Tags map[string]string `json:"tags,omitempty"`
}

// NodeSpec is an instance to launch.
type NodeSpec struct {
	Name string `json:"name,omitempty"` // default: node-N
	ID   string `json:"id,omitempty"`   // of the instance; default: made up
	Type string `json:"type,omitempty"` // default m5.xlarge
	Zone string `json:"zone,omitempty"` // default: the zones in turn
	// Subnet is the id of the primary ENI's subnet, or its name in the zone.
	// Default: the zone's first subnet.
	Subnet string `json:"subnet,omitempty"`
	// SecurityGroups are the ids or names of the primary ENI's groups.
	// Default: the first group.
	SecurityGroups []string          `json:"securityGroups,omitempty"`
	Tags           map[string]string `json:"tags,omitempty"`
	UserData       string            `json:"userData,omitempty"` // not in base64
}

const defaultNodeType = "m5.xlarge" // four ENIs

// RealisticTiming is how long EC2 usually takes.
func RealisticTiming() cloud.Timing {
	return cloud.Timing{
		Read:        60 * time.Millisecond,
		Write:       300 * time.Millisecond,
		PlugDelay:   700 * time.Millisecond,
		Attach:      1200 * time.Millisecond,
		Detach:      2500 * time.Millisecond,
		DeleteInUse: 500 * time.Millisecond,
		DescribeLag: 300 * time.Millisecond,
		IMDSLag:     5 * time.Second,
	}
}

// Nodes makes the specs of n nodes, node-1 and so on.
func Nodes(n int) []NodeSpec {
	specs := make([]NodeSpec, n)
	for i := range specs {
		specs[i].Name = fmt.Sprintf("node-%d", i+1)
	}
	return specs
}

// LoadTopology reads a topology from a YAML file. Unknown fields are errors.
func LoadTopology(path string) (Topology, error) {
	var t Topology
	data, err := os.ReadFile(path)
	if err != nil {
		return t, fmt.Errorf("read the topology: %w", err)
	}
	if err := yaml.UnmarshalStrict(data, &t); err != nil {
		return t, fmt.Errorf("topology %s: %w", path, err)
	}
	return t, nil
}

// withDefaults fills in what the topology leaves out and checks what package
// cloud does not.
func (t Topology) withDefaults() (Topology, error) {
	setDefault(&t.AccountID, "123456789012")
	setDefault(&t.Region, "us-east-1")
	setDefault(&t.VPC.ID, makeID("vpc", t.AccountID, t.Region))
	setDefault(&t.VPC.CIDR, netip.MustParsePrefix("10.0.0.0/16"))
	if len(t.Subnets) == 0 {
		t.Subnets = builtinSubnets(t.Region)
	}
	if len(t.SecurityGroups) == 0 {
		t.SecurityGroups = []SecurityGroup{{Name: "nodes"}, {Name: "data"}, {Name: "storage"}}
	}
	if t.Nodes == nil {
		t.Nodes = Nodes(3)
	}
	if t.Timing == nil {
		t.Timing = new(cloud.Timing)
	}
	var errs []error
	names := make(map[string]bool)
	t.Subnets = slices.Clone(t.Subnets)
	for i := range t.Subnets {
		s := &t.Subnets[i]
		if key := s.Name + " " + s.Zone; s.Name == "" || names[key] {
			errs = append(errs, fmt.Errorf("subnets[%d]: name %q: want a name that is not used twice in %s", i, s.Name, s.Zone))
		} else {
			names[key] = true
		}
		setDefault(&s.ID, makeID("subnet", s.Name, s.Zone))
	}
	t.SecurityGroups = slices.Clone(t.SecurityGroups)
	for i := range t.SecurityGroups {
		g := &t.SecurityGroups[i]
		if g.Name == "" {
			errs = append(errs, fmt.Errorf("securityGroups[%d]: want a name", i))
		}
		setDefault(&g.ID, makeID("sg", g.Name))
	}
	nodes := make(map[string]bool)
	for i, n := range t.Nodes {
		if n.Name != "" && nodes[n.Name] {
			errs = append(errs, fmt.Errorf("nodes[%d]: name %q is used twice", i, n.Name))
		}
		nodes[n.Name] = true
	}
	return t, errors.Join(errs...)
}

func builtinSubnets(region string) []Subnet {
	var subnets []Subnet
	for z, letter := range []string{"a", "b"} {
		for n, name := range []string{"nodes", "data", "storage"} {
			subnets = append(subnets, Subnet{
				Name: name,
				Zone: region + letter,
				CIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(128*z + 16*n), 0}), 20),
			})
		}
	}
	return subnets
}

// makeID makes an id of the shape that EC2 gives, always the same one for the
// same names.
func makeID(prefix string, names ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(append([]string{prefix}, names...), "/")))
	return fmt.Sprintf("%s-0%x", prefix, sum[:8])
}

// account is the configuration of the simulated account.
func (t Topology) account(fabric cloud.Fabric) cloud.Config {
	config := cloud.Config{
		AccountID:     t.AccountID,
		Region:        t.Region,
		Partition:     t.Partition,
		VPCs:          []cloud.VPC{{ID: t.VPC.ID, CIDR: t.VPC.CIDR, IPv6CIDR: t.VPC.IPv6CIDR}},
		InstanceTypes: t.InstanceTypes,
		Timing:        *t.Timing,
		Throttle:      t.Throttle,
		Quotas:        t.Quotas,
		InUse:         t.InUse,
		Seed:          t.Seed,
		Fabric:        fabric,
	}
	for _, s := range t.Subnets {
		tags := map[string]string{"Name": s.Name}
		for key, value := range s.Tags {
			tags[key] = value
		}
		config.Subnets = append(config.Subnets, cloud.Subnet{
			ID: s.ID, VPCID: t.VPC.ID, Zone: s.Zone, CIDR: s.CIDR, Capacity: s.Capacity, Tags: tags,
			IPv6CIDR: s.IPv6CIDR, IPv6Native: s.IPv6Native, AssignIPv6AddressOnCreation: s.AssignIPv6AddressOnCreation,
		})
	}
	for _, g := range t.SecurityGroups {
		config.SecurityGroups = append(config.SecurityGroups, cloud.SecurityGroup{
			ID: g.ID, Name: g.Name, VPCID: t.VPC.ID, Tags: g.Tags,
		})
	}
	return config
}

// launch resolves the spec of the n-th node (from 0).
func (t Topology) launch(spec NodeSpec, n int) (cloud.RunInstance, error) {
	setDefault(&spec.Name, fmt.Sprintf("node-%d", n+1))
	setDefault(&spec.Type, defaultNodeType)
	subnet, err := t.subnetOf(spec, n)
	if err != nil {
		return cloud.RunInstance{}, fmt.Errorf("node %s: %w", spec.Name, err)
	}
	groups := []string{t.SecurityGroups[0].ID}
	if len(spec.SecurityGroups) != 0 {
		groups = nil
	}
	for _, name := range spec.SecurityGroups {
		i := slices.IndexFunc(t.SecurityGroups, func(g SecurityGroup) bool { return name == g.ID || name == g.Name })
		if i < 0 {
			return cloud.RunInstance{}, fmt.Errorf("node %s: there is no security group %q", spec.Name, name)
		}
		groups = append(groups, t.SecurityGroups[i].ID)
	}
	tags := map[string]string{"Name": spec.Name}
	for key, value := range spec.Tags {
		tags[key] = value
	}
	return cloud.RunInstance{
		ID: spec.ID, Name: spec.Name, Type: spec.Type, SubnetID: subnet.ID, GroupIDs: groups, Tags: tags, UserData: spec.UserData,
	}, nil
}

func (t Topology) subnetOf(spec NodeSpec, n int) (Subnet, error) {
	zone := spec.Zone
	if zones := t.zones(spec.Subnet); zone == "" && len(zones) != 0 {
		zone = zones[n%len(zones)]
	}
	for _, s := range t.Subnets {
		if s.Zone == zone && s.is(spec.Subnet) {
			return s, nil
		}
	}
	switch {
	case spec.Subnet == "":
		return Subnet{}, fmt.Errorf("there is no subnet in zone %q", zone)
	case zone == "":
		return Subnet{}, fmt.Errorf("there is no subnet %q", spec.Subnet)
	}
	return Subnet{}, fmt.Errorf("there is no subnet %q in zone %q", spec.Subnet, zone)
}

// is reports whether the subnet has that name or id; "" is any.
func (s Subnet) is(name string) bool { return name == "" || name == s.Name || name == s.ID }

// zones lists the zones that have such a subnet, in the order of the subnets.
func (t Topology) zones(subnet string) []string {
	var zones []string
	for _, s := range t.Subnets {
		if s.is(subnet) && !slices.Contains(zones, s.Zone) {
			zones = append(zones, s.Zone)
		}
	}
	return zones
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
