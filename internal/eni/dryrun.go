package eni

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// DryRun asks EC2 whether a call would be allowed. Nothing is carried out.
type DryRun struct {
	Action string
	// Run returns nil when the call would be allowed.
	Run func(context.Context) error
}

var dry = aws.Bool(true)

// ErrNotDry says that a dry run was carried out. EC2 itself never does that; what
// stands in for it may.
var ErrNotDry = errors.New("EC2 carried out the call although it was a dry run")

func dryRun(action string, call func(context.Context) error) DryRun {
	return DryRun{action, func(ctx context.Context) error {
		switch err := call(ctx); {
		case err == nil:
			return ErrNotDry
		case is(err, "DryRunOperation"): // its way to say yes
			return nil
		default:
			return err
		}
	}}
}

// DryRunDescribes are those of every describe that an agent makes.
func (c *Client) DryRunDescribes(instanceType string) []DryRun {
	few := aws.Int32(5)
	return []DryRun{
		dryRun("DescribeNetworkInterfaces", func(ctx context.Context) error {
			_, err := c.ec2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{DryRun: dry, MaxResults: few})
			return err
		}),
		dryRun("DescribeSubnets", func(ctx context.Context) error {
			_, err := c.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{DryRun: dry, MaxResults: few})
			return err
		}),
		dryRun("DescribeSecurityGroups", func(ctx context.Context) error {
			_, err := c.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{DryRun: dry, MaxResults: few})
			return err
		}),
		dryRun("DescribeInstanceTypes", func(ctx context.Context) error {
			_, err := c.ec2.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{DryRun: dry, InstanceTypes: []types.InstanceType{types.InstanceType(instanceType)}})
			return err
		}),
	}
}

// DryRunCreate is that of a create, with the tags that need CreateTags.
func (c *Client) DryRunCreate(p CreateParams) DryRun {
	return dryRun("CreateNetworkInterface", func(ctx context.Context) error {
		in := p.input()
		in.DryRun = dry
		in.ClientToken = nil // the SDK makes one up: ours is for the call itself
		_, err := c.ec2.CreateNetworkInterface(ctx, in)
		return err
	})
}

// DryRunChanges are those of attaching an existing ENI of the instance, and of
// changing its groups and its attachment, if it has one.
func (c *Client) DryRunChanges(e ENI, instanceID string) []DryRun {
	modify := func(in *ec2.ModifyNetworkInterfaceAttributeInput) DryRun {
		in.DryRun, in.NetworkInterfaceId = dry, aws.String(e.ID)
		return dryRun("ModifyNetworkInterfaceAttribute", func(ctx context.Context) error { return c.modify(ctx, in) })
	}
	runs := []DryRun{
		dryRun("AttachNetworkInterface", func(ctx context.Context) error {
			in := AttachParams{ENIID: e.ID, InstanceID: instanceID, DeviceIndex: 1}.input()
			in.DryRun = dry
			_, err := c.ec2.AttachNetworkInterface(ctx, in)
			return err
		}),
		modify(&ec2.ModifyNetworkInterfaceAttributeInput{Groups: e.Groups}),
	}
	if a := e.Attachment; a != nil {
		runs = append(runs, modify(&ec2.ModifyNetworkInterfaceAttributeInput{Attachment: &types.NetworkInterfaceAttachmentChanges{
			AttachmentId: aws.String(a.ID), DeleteOnTermination: aws.Bool(a.DeleteOnTermination),
		}}))
	}
	return runs
}

// DryRunRemoval are those of detaching an existing ENI, if it is attached, and of
// deleting it.
func (c *Client) DryRunRemoval(e ENI) []DryRun {
	runs := []DryRun{dryRun("DeleteNetworkInterface", func(ctx context.Context) error {
		_, err := c.ec2.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{DryRun: dry, NetworkInterfaceId: aws.String(e.ID)})
		return err
	})}
	if a := e.Attachment; a != nil {
		runs = append(runs, dryRun("DetachNetworkInterface", func(ctx context.Context) error {
			_, err := c.ec2.DetachNetworkInterface(ctx, &ec2.DetachNetworkInterfaceInput{DryRun: dry, AttachmentId: aws.String(a.ID)})
			return err
		}))
	}
	return runs
}
