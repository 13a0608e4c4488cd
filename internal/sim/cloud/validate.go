package cloud

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// builtinTypes are real instance types with the limits that AWS documents.
var builtinTypes = []InstanceType{
	{Name: "t3.nano", MaxENIs: 2, IPv4PerENI: 2},
	{Name: "t3.micro", MaxENIs: 2, IPv4PerENI: 2},
	{Name: "t3.small", MaxENIs: 3, IPv4PerENI: 4},
	{Name: "t3.medium", MaxENIs: 3, IPv4PerENI: 6},
	{Name: "t3.large", MaxENIs: 3, IPv4PerENI: 12},
	{Name: "m5.large", MaxENIs: 3, IPv4PerENI: 10},
	{Name: "m5.xlarge", MaxENIs: 4, IPv4PerENI: 15},
	{Name: "m5.2xlarge", MaxENIs: 4, IPv4PerENI: 15},
	{Name: "m5.4xlarge", MaxENIs: 8, IPv4PerENI: 30},
	{Name: "m6i.large", MaxENIs: 3, IPv4PerENI: 10},
	{Name: "m6i.xlarge", MaxENIs: 4, IPv4PerENI: 15},
	{Name: "c5.large", MaxENIs: 3, IPv4PerENI: 10},
	{Name: "c5.xlarge", MaxENIs: 4, IPv4PerENI: 15},
	{Name: "c5.4xlarge", MaxENIs: 8, IPv4PerENI: 30},
	{Name: "c5n.18xlarge", MaxENIs: 15, IPv4PerENI: 50},
	{Name: "p4d.24xlarge", MaxENIs: 60, IPv4PerENI: 50, NetworkCards: 4},
}

// withDefaults fills in what the configuration leaves open.
func (cfg Config) withDefaults() Config {
	setDefault(&cfg.AccountID, "123456789012")
	setDefault(&cfg.Region, "us-east-1")
	setDefault(&cfg.Partition, "aws")
	setDefault(&cfg.Quotas.Interfaces, 5000)
	setDefault(&cfg.Quotas.GroupsPerInterface, 5)

	cfg.Subnets = slices.Clone(cfg.Subnets)
	for i := range cfg.Subnets {
		setDefault(&cfg.Subnets[i].ZoneID, zoneID(cfg.Subnets[i].Zone))
	}
	cfg.SecurityGroups = slices.Clone(cfg.SecurityGroups)
	for _, vpc := range cfg.VPCs {
		if !slices.ContainsFunc(cfg.SecurityGroups, func(g SecurityGroup) bool { return g.VPCID == vpc.ID && g.Name == "default" }) {
			cfg.SecurityGroups = append(cfg.SecurityGroups, SecurityGroup{
				ID:          fmt.Sprintf("sg-0%x", sha256.Sum256([]byte(vpc.ID)))[:20],
				Name:        "default",
				VPCID:       vpc.ID,
				Description: "default VPC security group",
			})
		}
	}
	for i := range cfg.SecurityGroups {
		setDefault(&cfg.SecurityGroups[i].Description, cfg.SecurityGroups[i].Name)
	}
	cfg.InstanceTypes = slices.Clone(cfg.InstanceTypes)
	for _, builtin := range builtinTypes {
		if !slices.ContainsFunc(cfg.InstanceTypes, func(t InstanceType) bool { return t.Name == builtin.Name }) {
			cfg.InstanceTypes = append(cfg.InstanceTypes, builtin)
		}
	}
	for i := range cfg.InstanceTypes {
		setDefault(&cfg.InstanceTypes[i].NetworkCards, 1)
	}
	return cfg
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// zoneID makes the zone id that AWS would give to us-east-1a: use1-az1. In
// real accounts the letters are shuffled.
func zoneID(zone string) string {
	parts := strings.Split(zone, "-")
	if len(parts) < 3 || len(parts[len(parts)-1]) < 2 {
		return zone
	}
	last := parts[len(parts)-1]
	number, letter := last[:len(last)-1], last[len(last)-1]
	short := parts[0]
	for _, direction := range parts[1 : len(parts)-1] {
		for _, word := range []string{"north", "south", "east", "west", "central"} {
			if rest, ok := strings.CutPrefix(direction, word); ok {
				short += word[:1]
				direction = rest
			}
		}
		if direction != "" {
			short += direction[:1]
		}
	}
	return fmt.Sprintf("%s%s-az%d", short, number, letter-'a'+1)
}

// validate reports everything that is wrong with a configuration whose
// defaults are filled in.
func (cfg Config) validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if _, err := strconv.ParseUint(cfg.AccountID, 10, 64); err != nil || len(cfg.AccountID) != 12 {
		wrong("accountID %q: want 12 digits", cfg.AccountID)
	}
	if cfg.Quotas.Interfaces < 0 {
		wrong("quotas.interfaces %d: want 1 or more", cfg.Quotas.Interfaces)
	}
	if n := cfg.Quotas.GroupsPerInterface; n < 1 || n > 16 {
		wrong("quotas.groupsPerInterface %d: want 1 to 16", n)
	}
	if !slices.Contains([]InUse{InUseMixed, InUseCode, InUseParameter}, cfg.InUse) {
		wrong("inUse %q: want nothing, %q or %q", cfg.InUse, InUseCode, InUseParameter)
	}
	for _, d := range cfg.Timing.fields() {
		if *d.value < 0 {
			wrong("timing.%s %v: want 0 or more", d.name, *d.value)
		}
	}
	seen := make(map[string]bool)
	checkID := func(kind idKind, id string) {
		var malformed *Error
		if errors.As(kind.check(id), &malformed) {
			wrong("id %q: want %s- and 8 to 17 hexadecimal digits", id, kind.prefix)
		}
		if seen[id] {
			wrong("id %q is used twice", id)
		}
		seen[id] = true
	}
	vpcs := make(map[string]VPC)
	for _, vpc := range cfg.VPCs {
		checkID(vpcIDs, vpc.ID)
		if !vpc.CIDR.IsValid() || !vpc.CIDR.Addr().Is4() || vpc.CIDR.Bits() < 16 || vpc.CIDR.Bits() > 28 {
			wrong("VPC %s: cidr %s: want an IPv4 range between /16 and /28", vpc.ID, vpc.CIDR)
		}
		vpcs[vpc.ID] = vpc
	}
	for i, s := range cfg.Subnets {
		checkID(subnetIDs, s.ID)
		cfg.validateSubnet(s, vpcs, cfg.Subnets[:i], wrong)
	}
	names := make(map[[2]string]bool)
	for _, g := range cfg.SecurityGroups {
		checkID(groupIDs, g.ID)
		if _, ok := vpcs[g.VPCID]; !ok {
			wrong("security group %s: vpcID %q: no such VPC, there are %v", g.ID, g.VPCID, slices.Sorted(maps.Keys(vpcs)))
		}
		if key := [2]string{g.VPCID, g.Name}; names[key] || g.Name == "" {
			wrong("security group %s: name %q: want a name that no other group of the VPC has", g.ID, g.Name)
		} else {
			names[key] = true
		}
	}
	for _, t := range cfg.InstanceTypes {
		if t.Name == "" || seen[t.Name] {
			wrong("instance type %q: want a name that no other type has", t.Name)
		}
		seen[t.Name] = true
		if t.MaxENIs < 1 || t.IPv4PerENI < 1 || t.NetworkCards < 1 || t.NetworkCards > t.MaxENIs {
			wrong("instance type %s: maxENIs %d, ipv4PerENI %d, networkCards %d: want 1 or more, and an ENI per card",
				t.Name, t.MaxENIs, t.IPv4PerENI, t.NetworkCards)
		}
	}
	return errors.Join(errs...)
}

func (cfg Config) validateSubnet(s Subnet, vpcs map[string]VPC, before []Subnet, wrong func(string, ...any)) {
	if !strings.HasPrefix(s.Zone, cfg.Region) || s.Zone == cfg.Region {
		wrong("subnet %s: zone %q: want a zone of region %s, such as %sa", s.ID, s.Zone, cfg.Region, cfg.Region)
	}
	if !s.CIDR.IsValid() || !s.CIDR.Addr().Is4() || s.CIDR.Bits() < 16 || s.CIDR.Bits() > 28 {
		wrong("subnet %s: cidr %s: want an IPv4 range between /16 and /28", s.ID, s.CIDR)
		return
	}
	if s.CIDR != s.CIDR.Masked() {
		wrong("subnet %s: cidr %s: has bits set after the prefix, want %s", s.ID, s.CIDR, s.CIDR.Masked())
	}
	if vpc, ok := vpcs[s.VPCID]; !ok {
		wrong("subnet %s: vpcID %q: no such VPC, there are %v", s.ID, s.VPCID, slices.Sorted(maps.Keys(vpcs)))
	} else if vpc.CIDR.IsValid() && (!vpc.CIDR.Contains(s.CIDR.Addr()) || s.CIDR.Bits() < vpc.CIDR.Bits()) {
		wrong("subnet %s: cidr %s: not in VPC %s, which is %s", s.ID, s.CIDR, vpc.ID, vpc.CIDR)
	}
	for _, other := range before {
		if other.VPCID == s.VPCID && other.CIDR.IsValid() && other.CIDR.Overlaps(s.CIDR) {
			wrong("subnet %s: cidr %s: overlaps subnet %s, which is %s", s.ID, s.CIDR, other.ID, other.CIDR)
		}
	}
	if most := 1<<(32-s.CIDR.Bits()) - reservedAddresses; s.Capacity < 0 || s.Capacity > most {
		wrong("subnet %s: capacity %d: want 0 to %d, which is what %s holds", s.ID, s.Capacity, most, s.CIDR)
	}
}
