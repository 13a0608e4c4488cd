package cloud

import (
	"iter"
	"maps"
	"slices"
	"strconv"
)

// SubnetDescription is a subnet and how many IPv4 addresses it has left.
type SubnetDescription struct {
	Subnet
	AvailableAddresses int
}

// DescribeSubnets shows subnets.
func (c *Cloud) DescribeSubnets(in DescribeInput) (subnets []SubnetDescription, nextToken string, err error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return lookup(subnetDescriber(c.config.AccountID), in, c.subnets, func(s *subnet) SubnetDescription {
		return SubnetDescription{Subnet: s.Subnet, AvailableAddresses: s.free()}
	})
}

// DescribeSecurityGroups shows security groups.
func (c *Cloud) DescribeSecurityGroups(in DescribeInput) (groups []SecurityGroup, nextToken string, err error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return lookup(groupDescriber(c.config.AccountID), in, c.groups, func(g *SecurityGroup) SecurityGroup { return *g })
}

// DescribeVpcs shows VPCs.
func (c *Cloud) DescribeVpcs(in DescribeInput) (vpcs []VPC, nextToken string, err error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return lookup(vpcDescriber(c.config.AccountID), in, c.vpcs, func(v *VPC) VPC { return *v })
}

// Zone is an availability zone.
type Zone struct{ Name, ID string }

// DescribeAvailabilityZones shows the zones that have a subnet.
func (c *Cloud) DescribeAvailabilityZones(in DescribeInput) ([]Zone, error) {
	zones := make(map[string]Zone)
	for _, s := range c.config.Subnets {
		zones[s.Zone] = Zone{Name: s.Zone, ID: s.ZoneID}
	}
	found, _, err := lookup(c.zoneDescriber(), in, zones, func(z Zone) Zone { return z })
	return found, err
}

// lookup describes resources that are kept in a map by id.
func lookup[R, T any](d describer[T], in DescribeInput, resources map[string]R, show func(R) T) ([]T, string, error) {
	get := func(id string) (T, bool) {
		r, ok := resources[id]
		if !ok {
			var none T
			return none, false
		}
		return show(r), true
	}
	all := func(yield func(T) bool) {
		for r := range maps.Values(resources) {
			if !yield(show(r)) {
				return
			}
		}
	}
	return d.describe(in, get, iter.Seq[T](all))
}

func subnetDescriber(account string) describer[SubnetDescription] {
	type subnet = SubnetDescription
	return describer[subnet]{
		action:   "DescribeSubnets",
		idsParam: "subnetSet",
		maxPage:  1000,
		check:    subnetIDs.check,
		missing:  subnetIDs.missing,
		id:       func(s subnet) string { return s.ID },
		tags:     func(s subnet) map[string]string { return s.Tags },
		fields: map[string]field[subnet]{
			"subnet-id":                  text(func(s subnet) string { return s.ID }),
			"vpc-id":                     text(func(s subnet) string { return s.VPCID }),
			"availability-zone":          text(func(s subnet) string { return s.Zone }),
			"availabilityZone":           text(func(s subnet) string { return s.Zone }),
			"availability-zone-id":       text(func(s subnet) string { return s.ZoneID }),
			"cidr-block":                 text(func(s subnet) string { return s.CIDR.String() }),
			"cidr":                       text(func(s subnet) string { return s.CIDR.String() }),
			"ipv6-native":                flag(func(s subnet) bool { return s.IPv6Native }),
			"available-ip-address-count": text(func(s subnet) string { return strconv.Itoa(s.AvailableAddresses) }),
			"ipv6-cidr-block-association.ipv6-cidr-block": text(func(s subnet) string { return s.IPv6CIDR.String() }),
			"owner-id": text(func(subnet) string { return account }),
			"state":    text(func(subnet) string { return "available" }),
		},
	}
}

func groupDescriber(account string) describer[SecurityGroup] {
	return describer[SecurityGroup]{
		action:   "DescribeSecurityGroups",
		idsParam: "groupIds",
		maxPage:  1000,
		check:    groupIDs.check,
		missing:  groupIDs.missing,
		id:       func(g SecurityGroup) string { return g.ID },
		tags:     func(g SecurityGroup) map[string]string { return g.Tags },
		fields: map[string]field[SecurityGroup]{
			"group-id":    text(func(g SecurityGroup) string { return g.ID }),
			"group-name":  text(func(g SecurityGroup) string { return g.Name }),
			"vpc-id":      text(func(g SecurityGroup) string { return g.VPCID }),
			"description": text(func(g SecurityGroup) string { return g.Description }),
			"owner-id":    text(func(SecurityGroup) string { return account }),
		},
	}
}

func vpcDescriber(account string) describer[VPC] {
	return describer[VPC]{
		action:   "DescribeVpcs",
		idsParam: "vpcSet",
		maxPage:  1000,
		check:    vpcIDs.check,
		missing:  vpcIDs.missing,
		id:       func(v VPC) string { return v.ID },
		tags:     func(v VPC) map[string]string { return v.Tags },
		fields: map[string]field[VPC]{
			"vpc-id":   text(func(v VPC) string { return v.ID }),
			"cidr":     text(func(v VPC) string { return v.CIDR.String() }),
			"owner-id": text(func(VPC) string { return account }),
			"state":    text(func(VPC) string { return "available" }),
		},
	}
}

func (c *Cloud) zoneDescriber() describer[Zone] {
	return describer[Zone]{
		action:   "DescribeAvailabilityZones",
		idsParam: "zoneNames",
		check:    func(string) error { return nil },
		missing: func(names ...string) error {
			slices.Sort(names)
			return Errorf("InvalidParameterValue", "Invalid availability zones: %q", names)
		},
		id:   func(z Zone) string { return z.Name },
		tags: func(Zone) map[string]string { return nil },
		fields: map[string]field[Zone]{
			"zone-name":   text(func(z Zone) string { return z.Name }),
			"zone-id":     text(func(z Zone) string { return z.ID }),
			"region-name": text(func(Zone) string { return c.config.Region }),
			"state":       text(func(Zone) string { return "available" }),
		},
	}
}
