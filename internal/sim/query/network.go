package query

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

type describeSubnetsResponse struct {
	envelope
	Subnets   []xmlSubnet `xml:"subnetSet>item"`
	NextToken string      `xml:"nextToken,omitempty"`
}

type xmlSubnet struct {
	ID                 string               `xml:"subnetId"`
	ARN                string               `xml:"subnetArn"`
	State              string               `xml:"state"`
	OwnerID            string               `xml:"ownerId"`
	VPCID              string               `xml:"vpcId"`
	CIDR               string               `xml:"cidrBlock,omitempty"`
	AvailableAddresses int                  `xml:"availableIpAddressCount"`
	Zone               string               `xml:"availabilityZone"`
	ZoneID             string               `xml:"availabilityZoneId"`
	DefaultForZone     bool                 `xml:"defaultForAz"`
	MapPublicIP        bool                 `xml:"mapPublicIpOnLaunch"`
	AssignIPv6         bool                 `xml:"assignIpv6AddressOnCreation"`
	IPv6Ranges         []xmlIPv6Association `xml:"ipv6CidrBlockAssociationSet>item"`
	IPv6Native         bool                 `xml:"ipv6Native"`
	DNS64              bool                 `xml:"enableDns64"`
	HostnameType       string               `xml:"privateDnsNameOptionsOnLaunch>hostnameType"`
	Tags               []xmlTag             `xml:"tagSet>item"`
}

type xmlIPv6Association struct {
	ID    string `xml:"associationId"`
	CIDR  string `xml:"ipv6CidrBlock"`
	State string `xml:"ipv6CidrBlockState>state"`
}

// showIPv6Range is the one IPv6 range of a subnet or a VPC, or none.
func showIPv6Range(kind, id string, cidr netip.Prefix) []xmlIPv6Association {
	if !cidr.IsValid() {
		return nil
	}
	return []xmlIPv6Association{{ID: kind + "-cidr-assoc-" + strings.TrimPrefix(id, kind+"-"), CIDR: cidr.String(), State: "associated"}}
}

func describeSubnets(p *params) func(*cloud.Cloud) (response, error) {
	in := p.describe("SubnetId")
	return func(c *cloud.Cloud) (response, error) {
		subnets, next, err := c.DescribeSubnets(in)
		if err != nil {
			return nil, err
		}
		answer := &describeSubnetsResponse{NextToken: next}
		for _, s := range subnets {
			answer.Subnets = append(answer.Subnets, showSubnet(c, s))
		}
		return answer, nil
	}
}

func showSubnet(c *cloud.Cloud, s cloud.SubnetDescription) xmlSubnet {
	shown := xmlSubnet{
		ID:                 s.ID,
		ARN:                arn(c, "subnet", s.ID),
		State:              "available",
		OwnerID:            c.Config().AccountID,
		VPCID:              s.VPCID,
		AvailableAddresses: s.AvailableAddresses,
		Zone:               s.Zone,
		ZoneID:             s.ZoneID,
		AssignIPv6:         s.AssignIPv6AddressOnCreation || s.IPv6Native,
		IPv6Ranges:         showIPv6Range("subnet", s.ID, s.IPv6CIDR),
		IPv6Native:         s.IPv6Native,
		HostnameType:       "ip-name",
		Tags:               showTags(s.Tags),
	}
	if s.IPv6Native {
		shown.HostnameType = "resource-name"
	} else {
		shown.CIDR = s.CIDR.String()
	}
	return shown
}

type describeSecurityGroupsResponse struct {
	envelope
	Groups    []xmlSecurityGroup `xml:"securityGroupInfo>item"`
	NextToken string             `xml:"nextToken,omitempty"`
}

type xmlSecurityGroup struct {
	ID          string    `xml:"groupId"`
	ARN         string    `xml:"securityGroupArn"`
	Name        string    `xml:"groupName"`
	Description string    `xml:"groupDescription"`
	OwnerID     string    `xml:"ownerId"`
	VPCID       string    `xml:"vpcId"`
	Inbound     []xmlRule `xml:"ipPermissions>item"`
	Outbound    []xmlRule `xml:"ipPermissionsEgress>item"`
	Tags        []xmlTag  `xml:"tagSet>item"`
}

type xmlRule struct {
	Protocol string   `xml:"ipProtocol"`
	Ranges   []string `xml:"ipRanges>item>cidrIp"`
}

// allTraffic is what the VPC lets pass: groups are not enforced.
var allTraffic = []xmlRule{{Protocol: "-1", Ranges: []string{"0.0.0.0/0"}}}

func describeSecurityGroups(p *params) func(*cloud.Cloud) (response, error) {
	in := p.describe("GroupId")
	p.unsupported("GroupName") // for groups of the default VPC only; the filter group-name does it for all
	return func(c *cloud.Cloud) (response, error) {
		groups, next, err := c.DescribeSecurityGroups(in)
		if err != nil {
			return nil, err
		}
		answer := &describeSecurityGroupsResponse{NextToken: next}
		for _, g := range groups {
			answer.Groups = append(answer.Groups, xmlSecurityGroup{
				ID:          g.ID,
				ARN:         arn(c, "security-group", g.ID),
				Name:        g.Name,
				Description: g.Description,
				OwnerID:     c.Config().AccountID,
				VPCID:       g.VPCID,
				Inbound:     allTraffic,
				Outbound:    allTraffic,
				Tags:        showTags(g.Tags),
			})
		}
		return answer, nil
	}
}

type describeVpcsResponse struct {
	envelope
	VPCs      []xmlVPC `xml:"vpcSet>item"`
	NextToken string   `xml:"nextToken,omitempty"`
}

type xmlVPC struct {
	ID      string               `xml:"vpcId"`
	OwnerID string               `xml:"ownerId"`
	State   string               `xml:"state"`
	CIDR    string               `xml:"cidrBlock"`
	CIDRs   []xmlCIDRAssociation `xml:"cidrBlockAssociationSet>item"`
	IPv6    []xmlIPv6Association `xml:"ipv6CidrBlockAssociationSet>item"`
	Tenancy string               `xml:"instanceTenancy"`
	Default bool                 `xml:"isDefault"`
	Tags    []xmlTag             `xml:"tagSet>item"`
}

type xmlCIDRAssociation struct {
	CIDR  string `xml:"cidrBlock"`
	State string `xml:"cidrBlockState>state"`
}

func describeVpcs(p *params) func(*cloud.Cloud) (response, error) {
	in := p.describe("VpcId")
	return func(c *cloud.Cloud) (response, error) {
		vpcs, next, err := c.DescribeVpcs(in)
		if err != nil {
			return nil, err
		}
		answer := &describeVpcsResponse{NextToken: next}
		for _, v := range vpcs {
			answer.VPCs = append(answer.VPCs, xmlVPC{
				ID:      v.ID,
				OwnerID: c.Config().AccountID,
				State:   "available",
				CIDR:    v.CIDR.String(),
				CIDRs:   []xmlCIDRAssociation{{CIDR: v.CIDR.String(), State: "associated"}},
				IPv6:    showIPv6Range("vpc", v.ID, v.IPv6CIDR),
				Tenancy: "default",
				Tags:    showTags(v.Tags),
			})
		}
		return answer, nil
	}
}

type describeAvailabilityZonesResponse struct {
	envelope
	Zones []xmlZone `xml:"availabilityZoneInfo>item"`
}

type xmlZone struct {
	Name   string `xml:"zoneName"`
	ID     string `xml:"zoneId"`
	Type   string `xml:"zoneType"`
	State  string `xml:"zoneState"`
	Region string `xml:"regionName"`
	OptIn  string `xml:"optInStatus"`
}

func describeAvailabilityZones(p *params) func(*cloud.Cloud) (response, error) {
	in := cloud.DescribeInput{IDs: p.list("ZoneName"), Filters: p.filters()}
	p.ignore("AllAvailabilityZones")
	p.unsupported("ZoneId") // the filter zone-id does it
	return func(c *cloud.Cloud) (response, error) {
		zones, err := c.DescribeAvailabilityZones(in)
		if err != nil {
			return nil, err
		}
		answer := &describeAvailabilityZonesResponse{}
		for _, z := range zones {
			answer.Zones = append(answer.Zones, xmlZone{
				Name: z.Name, ID: z.ID, Type: "availability-zone", State: "available",
				Region: c.Config().Region, OptIn: "opt-in-not-required",
			})
		}
		return answer, nil
	}
}

func arn(c *cloud.Cloud, kind, id string) string {
	config := c.Config()
	return fmt.Sprintf("arn:%s:ec2:%s:%s:%s/%s", config.Partition, config.Region, config.AccountID, kind, id)
}
