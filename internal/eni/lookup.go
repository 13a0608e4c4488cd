package eni

import (
	"context"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Subnet is what the agent must know of a subnet.
type Subnet struct {
	ID, Name, Zone, VPCID string
	ARN                   string
	// CIDR is the IPv4 range; "" when IPv6Only.
	CIDR     string
	IPv6Only bool
	// IPv6CIDRs are the IPv6 ranges.
	IPv6CIDRs []string
	// AssignsIPv6: a new ENI gets an IPv6 address unless it asks for another number.
	AssignsIPv6 bool
	// Free is how many IPv4 addresses were free when EC2 was asked.
	Free int
}

// Group is what the agent must know of a security group.
type Group struct {
	ID, Name, VPCID string
	NameTag         string
}

// SubnetsByID describes subnets. Ids that do not exist are simply not in the
// answer: a filter does not fail on them.
func (c *Client) SubnetsByID(ctx context.Context, ids []string) ([]Subnet, error) {
	return c.subnets(ctx, "", "subnet-id", ids)
}

// SubnetsByName describes the subnets of the VPC by their Name tag; a name may
// have several. VPCs made from one template have subnets of the same names.
func (c *Client) SubnetsByName(ctx context.Context, vpcID string, names []string) ([]Subnet, error) {
	return c.subnets(ctx, vpcID, "tag:Name", names)
}

// lookUp calls list with filters for what has one of the values, in the VPC unless that
// is not known.
func lookUp(vpcID, by string, values []string, list func([]types.Filter) error) error {
	for part := range slices.Chunk(values, filterLimit) {
		filters := []types.Filter{filter(by, part...)}
		if vpcID != "" {
			filters = []types.Filter{filter("vpc-id", vpcID), filters[0]}
		}
		if err := list(filters); err != nil {
			return err
		}
	}
	return nil
}

// elsewhere says whether what EC2 shows is in another VPC than was asked for:
// what stands in for EC2 may ignore the filter.
func elsewhere(vpcID string, shown *string) bool {
	return vpcID != "" && shown != nil && *shown != vpcID
}

func (c *Client) subnets(ctx context.Context, vpcID, by string, values []string) (all []Subnet, err error) {
	err = lookUp(vpcID, by, values, func(filters []types.Filter) error {
		pages := ec2.NewDescribeSubnetsPaginator(c.ec2, &ec2.DescribeSubnetsInput{Filters: filters, MaxResults: aws.Int32(PageSize)})
		return eachPage(pages.HasMorePages, func() (*string, error) {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, s := range page.Subnets {
				if elsewhere(vpcID, s.VpcId) {
					continue
				}
				subnet, err := subnetFromEC2(s)
				if err != nil {
					return nil, err
				}
				all = append(all, subnet)
			}
			return page.NextToken, nil
		})
	})
	return all, err
}

func subnetFromEC2(s types.Subnet) (Subnet, error) {
	subnet := Subnet{
		ID:    aws.ToString(s.SubnetId),
		ARN:   aws.ToString(s.SubnetArn),
		Name:  nameTag(s.Tags),
		Zone:  aws.ToString(s.AvailabilityZone),
		VPCID: aws.ToString(s.VpcId),
		CIDR:  aws.ToString(s.CidrBlock),
		Free:  int(aws.ToInt32(s.AvailableIpAddressCount)),

		IPv6Only:    aws.ToBool(s.Ipv6Native) || s.CidrBlock == nil && len(s.Ipv6CidrBlockAssociationSet) > 0,
		AssignsIPv6: aws.ToBool(s.AssignIpv6AddressOnCreation),
	}
	for _, a := range s.Ipv6CidrBlockAssociationSet {
		if state := a.Ipv6CidrBlockState; a.Ipv6CidrBlock != nil && (state == nil || state.State == "" || state.State == types.SubnetCidrBlockStateCodeAssociated) {
			subnet.IPv6CIDRs = append(subnet.IPv6CIDRs, *a.Ipv6CidrBlock)
		}
	}
	switch {
	case subnet.ID == "" || subnet.Zone == "": // or it would seem to be in another zone
		return subnet, fmt.Errorf("EC2 answered DescribeSubnets with a subnet that has the ID %q and the zone %q; %w", subnet.ID, subnet.Zone, errIncomplete)
	case subnet.CIDR == "" && !subnet.IPv6Only:
		return subnet, fmt.Errorf("EC2 answered DescribeSubnets with a subnet %q without a CIDR; %w", subnet.ID, errIncomplete)
	}
	return subnet, nil
}

// GroupsByName finds the security groups in the VPC that each name stands for, by id:
// the group with that group name, and where no group has it, all groups with that
// Name tag. Groups that other tools create often have a generated group name, and
// the name that people know in the tag. Asking by tag costs a call only when a name
// is no group's.
func (c *Client) GroupsByName(ctx context.Context, vpcID string, names []string) (map[string][]string, error) {
	found := map[string][]string{}
	for _, by := range []struct {
		filter string
		of     func(Group) string
	}{
		{"group-name", func(g Group) string { return g.Name }},
		{"tag:" + TagName, func(g Group) string { return g.NameTag }},
	} {
		open := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return len(found[name]) > 0 })
		groups, err := c.groups(ctx, vpcID, by.filter, open)
		if err != nil {
			return nil, err
		}
		for _, g := range groups {
			if name := by.of(g); slices.Contains(open, name) {
				found[name] = append(found[name], g.ID)
			}
		}
	}
	return found, nil
}

// GroupsByID describes security groups. Ids that do not exist are simply not in
// the answer.
func (c *Client) GroupsByID(ctx context.Context, ids []string) ([]Group, error) {
	return c.groups(ctx, "", "group-id", ids)
}

func (c *Client) groups(ctx context.Context, vpcID, by string, values []string) (all []Group, err error) {
	err = lookUp(vpcID, by, values, func(filters []types.Filter) error {
		pages := ec2.NewDescribeSecurityGroupsPaginator(c.ec2, &ec2.DescribeSecurityGroupsInput{Filters: filters, MaxResults: aws.Int32(PageSize)})
		return eachPage(pages.HasMorePages, func() (*string, error) {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, g := range page.SecurityGroups {
				if !elsewhere(vpcID, g.VpcId) && g.GroupId != nil {
					all = append(all, Group{ID: *g.GroupId, Name: aws.ToString(g.GroupName), VPCID: aws.ToString(g.VpcId), NameTag: nameTag(g.Tags)})
				}
			}
			return page.NextToken, nil
		})
	})
	return all, err
}
