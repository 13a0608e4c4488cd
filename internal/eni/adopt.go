package eni

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// TagAdoptedFrom marks an ENI that another controller created and that was adopted. Its
// value is the Name tag that the ENI had before.
const TagAdoptedFrom = "networking.k8s.aws/adopted-from"

// Adopt gives an existing ENI the tags that an agent gives to a new one, and marks it. One
// call does it, so an ENI is adopted as a whole or not at all.
func (c *Client) Adopt(ctx context.Context, eniID string, owner Owner, userTags map[string]string, formerName string) error {
	tags := append(owner.tags(userTags), types.Tag{Key: aws.String(TagAdoptedFrom), Value: aws.String(formerName)})
	_, err := c.ec2.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{eniID}, Tags: tags})
	return err
}

// Disown takes the tags of Adopt off again and restores the Name tag. Tags of the user, and
// the tag that keeps the VPC CNI away, stay. The mark is deleted with the last call, so that
// after an interruption the ENI is still known as one to disown.
func (c *Client) Disown(ctx context.Context, eniID, formerName string) error {
	ours := []string{TagCluster, TagNode, TagInstance, TagNodeENI, TagNodeENIUID, TagCreatedAt, TagAdoptedFrom}
	if formerName == "" {
		ours = append(ours, TagName)
	} else {
		_, err := c.ec2.CreateTags(ctx, &ec2.CreateTagsInput{
			Resources: []string{eniID}, Tags: []types.Tag{{Key: aws.String(TagName), Value: aws.String(formerName)}},
		})
		if err != nil {
			return err
		}
	}
	in := &ec2.DeleteTagsInput{Resources: []string{eniID}}
	for _, key := range ours {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(key)})
	}
	_, err := c.ec2.DeleteTags(ctx, in)
	return err
}

// Instance is an EC2 instance, as far as its ENIs are concerned.
type Instance struct {
	ID, VPCID, Zone string
	Account         string // that it belongs to
}

// Instances describes instances. Ids that do not exist are not in the answer, and neither
// are instances that have been terminated: these have no VPC.
func (c *Client) Instances(ctx context.Context, ids []string) (all []Instance, err error) {
	for part := range slices.Chunk(ids, filterLimit) {
		pages := ec2.NewDescribeInstancesPaginator(c.ec2, &ec2.DescribeInstancesInput{
			Filters: []types.Filter{filter("instance-id", part...)}, MaxResults: aws.Int32(PageSize),
		})
		err := eachPage(pages.HasMorePages, func() (*string, error) {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, r := range page.Reservations {
				for _, i := range r.Instances {
					shown := Instance{ID: aws.ToString(i.InstanceId), VPCID: aws.ToString(i.VpcId), Account: aws.ToString(r.OwnerId)}
					if i.Placement != nil {
						shown.Zone = aws.ToString(i.Placement.AvailabilityZone)
					}
					if shown.VPCID != "" && slices.Contains(part, shown.ID) {
						all = append(all, shown)
					}
				}
			}
			return page.NextToken, nil
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}
