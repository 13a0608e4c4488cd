package cloud

import (
	"net/netip"
	"time"
)

// Config describes the account.
type Config struct {
	AccountID string `json:"accountID,omitempty"` // default 123456789012
	Region    string `json:"region,omitempty"`    // default us-east-1
	Partition string `json:"partition,omitempty"` // default aws

	VPCs           []VPC           `json:"vpcs"`
	Subnets        []Subnet        `json:"subnets"`
	SecurityGroups []SecurityGroup `json:"securityGroups"` // each VPC gets a group named "default" if it has none
	InstanceTypes  []InstanceType  `json:"instanceTypes,omitempty"`

	Timing   Timing `json:"timing"`
	Throttle bool   `json:"throttle,omitempty"` // EC2's documented token buckets
	Quotas   Quotas `json:"quotas"`
	InUse    InUse  `json:"inUse,omitempty"`
	Seed     uint64 `json:"seed,omitempty"` // of faults with a probability; 0 is a seed as good as any
	Fabric   Fabric `json:"-"`              // nil: no links, only EC2
}

// VPC is a virtual private cloud with one IPv4 range, and perhaps one of IPv6.
type VPC struct {
	ID       string            `json:"id"`
	CIDR     netip.Prefix      `json:"cidr"`
	IPv6CIDR netip.Prefix      `json:"ipv6CIDR,omitzero"`
	Tags     map[string]string `json:"tags,omitempty"`
}

// Subnet is a part of a VPC in one availability zone.
type Subnet struct {
	ID     string       `json:"id"`
	VPCID  string       `json:"vpcID"`
	Zone   string       `json:"zone"`             // us-east-1a
	ZoneID string       `json:"zoneID,omitempty"` // use1-az1; default: made up from the zone
	CIDR   netip.Prefix `json:"cidr,omitzero"`    // none with IPv6Native
	// IPv6CIDR makes the subnet dual-stack or, with IPv6Native, IPv6-only.
	IPv6CIDR   netip.Prefix `json:"ipv6CIDR,omitzero"`
	IPv6Native bool         `json:"ipv6Native,omitempty"`
	// AssignIPv6AddressOnCreation gives an IPv6 address to each new ENI that does
	// not ask for something else. IPv6Native does so too.
	AssignIPv6AddressOnCreation bool              `json:"assignIPv6AddressOnCreation,omitempty"`
	Tags                        map[string]string `json:"tags,omitempty"`
	// Capacity is how many IPv4 addresses can be handed out; 0: what the range
	// holds, less the five that AWS keeps.
	Capacity int `json:"capacity,omitempty"`
}

// SecurityGroup is a named group of a VPC; the simulation has no rules in it.
type SecurityGroup struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	VPCID       string            `json:"vpcID"`
	Description string            `json:"description,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
}

// Timing is how long things take. The zero value is instant.
type Timing struct {
	Read        time.Duration // latency of a Describe call
	Write       time.Duration // latency of any other call
	Attach      time.Duration // from attaching to attached
	Detach      time.Duration // from detaching to gone; also from shutting-down to terminated
	PlugDelay   time.Duration // from the accepted attach to the link
	DeleteInUse time.Duration // how long after a detach a delete still says "currently in use"
	DescribeLag time.Duration // describes show what was that long ago
	// DescribeSpread: or up to that much longer ago, and each describe at random:
	// a later one may know less than the one before.
	DescribeSpread time.Duration
	IMDSLag        time.Duration // how far the metadata service is behind an attach or a detach
}

// Quotas of the account.
type Quotas struct {
	Interfaces         int `json:"interfaces,omitempty"`         // per Region; default 5000
	GroupsPerInterface int `json:"groupsPerInterface,omitempty"` // default 5, at most 16
}

// InUse chooses the words in which EC2 refuses to delete an ENI that is in use;
// both have been seen.
type InUse string

// The ways to refuse a delete.
const (
	// InUseMixed says InvalidNetworkInterface.InUse while the ENI is attached,
	// InvalidParameterValue while it is detaching and shortly after.
	InUseMixed InUse = ""
	// InUseCode always says InvalidNetworkInterface.InUse.
	InUseCode InUse = "InvalidNetworkInterface.InUse"
	// InUseParameter always says InvalidParameterValue, "currently in use".
	InUseParameter InUse = "InvalidParameterValue"
)
