package cloud

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

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
	for i, t := range cfg.InstanceTypes {
		cfg.InstanceTypes[i] = t.withDefaults()
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
		if vpc.IPv6CIDR.IsValid() && !isIPv6Range(vpc.IPv6CIDR, 60) {
			wrong("VPC %s: ipv6CIDR %s: want an IPv6 range of /44, /48, /52, /56 or /60", vpc.ID, vpc.IPv6CIDR)
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
		t.validate(wrong)
	}
	return errors.Join(errs...)
}

func (cfg Config) validateSubnet(s Subnet, vpcs map[string]VPC, before []Subnet, wrong func(string, ...any)) {
	if !strings.HasPrefix(s.Zone, cfg.Region) || s.Zone == cfg.Region {
		wrong("subnet %s: zone %q: want a zone of region %s, such as %sa", s.ID, s.Zone, cfg.Region, cfg.Region)
	}
	vpc, ok := vpcs[s.VPCID]
	if !ok {
		wrong("subnet %s: vpcID %q: no such VPC, there are %v", s.ID, s.VPCID, slices.Sorted(maps.Keys(vpcs)))
	}
	switch {
	case s.IPv6Native && (s.CIDR.IsValid() || !s.IPv6CIDR.IsValid() || s.Capacity != 0):
		wrong("subnet %s: ipv6Native: goes with an ipv6CIDR, and without cidr and capacity", s.ID)
	case s.AssignIPv6AddressOnCreation && !s.IPv6CIDR.IsValid():
		wrong("subnet %s: assignIPv6AddressOnCreation: goes with an ipv6CIDR", s.ID)
	}
	if !s.IPv6Native {
		if !s.CIDR.IsValid() || !s.CIDR.Addr().Is4() || s.CIDR.Bits() < 16 || s.CIDR.Bits() > 28 {
			wrong("subnet %s: cidr %s: want an IPv4 range between /16 and /28", s.ID, s.CIDR)
			return
		}
		validateRange("cidr", s, vpc.ID, vpc.CIDR, Subnet.ipv4, before, wrong)
		if most := 1<<(32-s.CIDR.Bits()) - reservedAddresses; s.Capacity < 0 || s.Capacity > most {
			wrong("subnet %s: capacity %d: want 0 to %d, which is what %s holds", s.ID, s.Capacity, most, s.CIDR)
		}
	}
	if s.IPv6CIDR.IsValid() {
		if !isIPv6Range(s.IPv6CIDR, 64) {
			wrong("subnet %s: ipv6CIDR %s: want an IPv6 range of /44, /48, /52, /56, /60 or /64", s.ID, s.IPv6CIDR)
			return
		}
		validateRange("ipv6CIDR", s, vpc.ID, vpc.IPv6CIDR, Subnet.ipv6, before, wrong)
	}
}

func (s Subnet) ipv4() netip.Prefix { return s.CIDR }
func (s Subnet) ipv6() netip.Prefix { return s.IPv6CIDR }

// validateRange checks a subnet's range of one family against its VPC's and those of
// the subnets before it.
func validateRange(field string, s Subnet, vpcID string, vpc netip.Prefix, of func(Subnet) netip.Prefix, before []Subnet, wrong func(string, ...any)) {
	cidr := of(s)
	if cidr != cidr.Masked() {
		wrong("subnet %s: %s %s: has bits set after the prefix, want %s", s.ID, field, cidr, cidr.Masked())
	}
	if vpcID != "" && (!vpc.Contains(cidr.Addr()) || cidr.Bits() < vpc.Bits()) {
		wrong("subnet %s: %s %s: not in VPC %s, which is %s", s.ID, field, cidr, vpcID, vpc)
	}
	for _, other := range before {
		if other.VPCID == s.VPCID && of(other).IsValid() && of(other).Overlaps(cidr) {
			wrong("subnet %s: %s %s: overlaps subnet %s, which is %s", s.ID, field, cidr, other.ID, of(other))
		}
	}
}

// isIPv6Range checks a range of a VPC or a subnet.
// https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html#vpc-sizing-ipv6
func isIPv6Range(p netip.Prefix, longest int) bool {
	return p.Addr().Is6() && !p.Addr().Is4In6() && p.Bits() >= 44 && p.Bits() <= longest && p.Bits()%4 == 0
}
