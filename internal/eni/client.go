package eni

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// CallTimeout is the time after which callers give up on an answer: EC2 answers
// in seconds, and every call here may be repeated safely.
const CallTimeout = 30 * time.Second

// Bucket is how EC2 limits an account's calls of one action in a Region: so many
// at once, and in the long run so many per second.
type Bucket struct {
	Size      int
	PerSecond float64
}

// BucketOf is the bucket that "Request throttling for the Amazon EC2 API"
// documents for the action. An account may have more.
func BucketOf(action string) Bucket {
	switch {
	case strings.HasPrefix(action, "Describe"):
		return Bucket{100, 20} // filtered or paginated, as all of ours are
	case action == "AttachNetworkInterface", action == "DetachNetworkInterface":
		return Bucket{50, 5}
	}
	return Bucket{100, 5}
}

// PageSize is EC2's maximum for the describes used here.
const PageSize = 1000

// Client makes the calls. It never retries by itself: the loops above it do,
// with a backoff that knows what else there is to do.
type Client struct {
	ec2 *ec2.Client
}

// NewClient makes a client of the SDK's configuration.
func NewClient(cfg aws.Config) *Client {
	return &Client{ec2: ec2.NewFromConfig(cfg, func(o *ec2.Options) {
		o.Retryer = aws.NopRetryer{}
		o.APIOptions = append(o.APIOptions, addAnswerCheck)
	})}
}

// Create creates an ENI with all its tags in one call. The same parameters give
// the same ENI again.
func (c *Client) Create(ctx context.Context, p CreateParams) (ENI, error) {
	out, err := c.ec2.CreateNetworkInterface(ctx, p.input())
	if err != nil {
		return ENI{}, err
	}
	if out.NetworkInterface == nil || aws.ToString(out.NetworkInterface.NetworkInterfaceId) == "" {
		return ENI{}, fmt.Errorf("EC2 answered CreateNetworkInterface without an ENI ID (client token %s)", p.Token())
	}
	e := fromEC2(*out.NetworkInterface)
	if e.Owner == (Owner{}) {
		e.Owner = p.Owner
	}
	return e, nil
}

// AttachParams are where an ENI is attached, and how. Without ENAExpress and ENAQueues,
// EC2's defaults apply.
type AttachParams struct {
	ENIID, InstanceID string
	Card, DeviceIndex int32
	ENAExpress        ENAExpress
	ENAQueues         int32
}

func (p AttachParams) input() *ec2.AttachNetworkInterfaceInput {
	in := &ec2.AttachNetworkInterfaceInput{
		NetworkInterfaceId: aws.String(p.ENIID),
		InstanceId:         aws.String(p.InstanceID),
		DeviceIndex:        aws.Int32(p.DeviceIndex),
		// Left out, it has provoked false "already has an interface attached
		// at device index" errors on types with several network cards.
		NetworkCardIndex: aws.Int32(p.Card),
		EnaQueueCount:    count(p.ENAQueues),
	}
	if p.ENAExpress != (ENAExpress{}) {
		in.EnaSrdSpecification = p.ENAExpress.toEC2()
	}
	return in
}

// Attach attaches an ENI and returns the attachment's id.
func (c *Client) Attach(ctx context.Context, p AttachParams) (string, error) {
	out, err := c.ec2.AttachNetworkInterface(ctx, p.input())
	if err != nil {
		return "", err
	}
	if aws.ToString(out.AttachmentId) == "" {
		return "", fmt.Errorf("EC2 answered AttachNetworkInterface for %s without an attachment ID", p.ENIID)
	}
	return *out.AttachmentId, nil
}

// SetDeleteOnTermination says whether the ENI goes with its instance; a new
// attachment starts with false.
func (c *Client) SetDeleteOnTermination(ctx context.Context, eniID, attachmentID string, value bool) error {
	return c.modify(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId: aws.String(eniID),
		Attachment: &types.NetworkInterfaceAttachmentChanges{
			AttachmentId:        aws.String(attachmentID),
			DeleteOnTermination: aws.Bool(value),
		},
	})
}

// SetSourceDestCheck switches EC2's source/destination check of the ENI.
func (c *Client) SetSourceDestCheck(ctx context.Context, eniID string, value bool) error {
	return c.modify(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId: aws.String(eniID),
		SourceDestCheck:    &types.AttributeBooleanValue{Value: aws.Bool(value)},
	})
}

// SetGroups replaces the ENI's security groups.
func (c *Client) SetGroups(ctx context.Context, eniID string, groups []string) error {
	return c.modify(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId: aws.String(eniID),
		Groups:             groups,
	})
}

// SetDescription replaces the ENI's description.
func (c *Client) SetDescription(ctx context.Context, eniID, description string) error {
	return c.modify(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId: aws.String(eniID),
		Description:        &types.AttributeValue{Value: aws.String(description)},
	})
}

// SetConnectionTracking sets the ENI's idle timeouts; EC2 is not told those that are 0.
func (c *Client) SetConnectionTracking(ctx context.Context, eniID string, timeouts ConnectionTracking) error {
	return c.modify(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId:              aws.String(eniID),
		ConnectionTrackingSpecification: timeouts.toEC2(),
	})
}

// SetENAExpress switches ENA Express of an attached ENI on or off.
func (c *Client) SetENAExpress(ctx context.Context, eniID string, value ENAExpress) error {
	return c.modify(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId:  aws.String(eniID),
		EnaSrdSpecification: value.toEC2(),
	})
}

// SetENAQueues sets the number of ENA queues of an attached ENI; 0 is the instance
// type's default.
func (c *Client) SetENAQueues(ctx context.Context, eniID, attachmentID string, queues int32) error {
	changes := &types.NetworkInterfaceAttachmentChanges{AttachmentId: aws.String(attachmentID), EnaQueueCount: count(queues)}
	if queues == 0 {
		changes.DefaultEnaQueueCount = aws.Bool(true)
	}
	return c.modify(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: aws.String(eniID), Attachment: changes})
}

// SetPrimaryIPv6 makes the ENI's first IPv6 address primary. There is no way back.
func (c *Client) SetPrimaryIPv6(ctx context.Context, eniID string) error {
	return c.modify(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId: aws.String(eniID),
		EnablePrimaryIpv6:  aws.Bool(true),
	})
}

func (c *Client) modify(ctx context.Context, in *ec2.ModifyNetworkInterfaceAttributeInput) error {
	_, err := c.ec2.ModifyNetworkInterfaceAttribute(ctx, in)
	return err
}

// Detach begins to detach; EC2 takes seconds to minutes to finish.
func (c *Client) Detach(ctx context.Context, attachmentID string) error {
	_, err := c.ec2.DetachNetworkInterface(ctx, &ec2.DetachNetworkInterfaceInput{AttachmentId: aws.String(attachmentID)})
	return err
}

// Delete deletes an ENI that is attached to nothing.
func (c *Client) Delete(ctx context.Context, eniID string) error {
	_, err := c.ec2.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: aws.String(eniID)})
	return err
}

// literal takes the meaning that EC2 gives to some characters of a filter's
// value: a name may hold them, and would otherwise find others, or not itself.
var literal = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`)

// filter selects what has one of exactly these values.
func filter(name string, values ...string) types.Filter {
	f := types.Filter{Name: aws.String(name)}
	for _, v := range values {
		f.Values = append(f.Values, literal.Replace(v))
	}
	return f
}

// filterLimit is how many values EC2 takes in one filter.
const filterLimit = 200
