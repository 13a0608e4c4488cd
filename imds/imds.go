// Package imds asks the EC2 instance metadata service (IMDS) who this instance
// is and which interfaces it shows. It speaks version 2 only and never falls
// back to version 1.
//
// IMDS is the authority on identity, not on ENIs: it lags behind EC2 by up to
// half a minute when an ENI is attached and by minutes when one is detached,
// and it knows no ENI tags. See [Client.Interfaces].
package imds

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// Client asks IMDS. It is safe for concurrent use.
type Client struct {
	sdk *imds.Client

	mu      sync.Mutex
	primary net.HardwareAddr // never changes; nil until known
}

// New returns a Client with the SDK's default configuration. Of the
// environment, AWS_EC2_METADATA_SERVICE_ENDPOINT,
// AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE and AWS_EC2_METADATA_DISABLED count.
// It does not ask anything yet.
func New(ctx context.Context) (*Client, error) {
	cfg, err := loadConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("load the AWS configuration for IMDS: %w", err)
	}
	return newClient(cfg), nil
}

func newClient(cfg aws.Config) *Client {
	return &Client{sdk: imds.NewFromConfig(cfg, func(o *imds.Options) {
		o.EnableFallback = aws.FalseTernary
		o.HTTPClient = newTransport()
	})}
}

// Identity says which instance this is.
type Identity struct {
	InstanceID   string
	InstanceType string
	Zone         string // name of the availability zone, such as us-east-1a
	Region       string
	Partition    string // aws, aws-cn, aws-us-gov, …
	// PartitionAssumed: IMDS does not tell the partition, and it was told from
	// the Region's name.
	PartitionAssumed bool
	AccountID        string
	// MAC is the primary ENI's.
	MAC net.HardwareAddr
	// VPCID is the VPC of the primary ENI, or "" where IMDS does not tell.
	VPCID string
}

// InstanceARN is the instance's Amazon Resource Name, as IAM's condition key
// ec2:SourceInstanceARN has it.
func (i Identity) InstanceARN() string {
	return fmt.Sprintf("arn:%s:ec2:%s:%s:instance/%s", i.Partition, i.Region, i.AccountID, i.InstanceID)
}

// Identity asks who this instance is: four requests and one for a token. The
// error says what is missing or how to make IMDS reachable.
func (c *Client) Identity(ctx context.Context) (Identity, error) {
	observed, last := observe(ctx)
	document, err := c.sdk.GetInstanceIdentityDocument(observed, nil)
	if err != nil {
		err = explain("the instance identity document", err, *last)
		if isMissing(err) {
			return Identity{}, fmt.Errorf("%w: every EC2 instance has this document, and the agent needs it to find its account. A proxy or an emulator of IMDS is responding: make it serve /latest/dynamic/instance-identity/document, or correct AWS_EC2_METADATA_SERVICE_ENDPOINT", err)
		}
		return Identity{}, err
	}
	id := Identity{
		InstanceID:   document.InstanceID,
		InstanceType: document.InstanceType,
		Zone:         document.AvailabilityZone,
		Region:       document.Region,
		AccountID:    document.AccountID,
	}
	for _, field := range []struct {
		value *string
		path  string
	}{
		{&id.Partition, "services/partition"},
		// The document has the rest. Emulators of IMDS are known to leave
		// fields of it out.
		{&id.InstanceID, "instance-id"},
		{&id.InstanceType, "instance-type"},
		{&id.Zone, "placement/availability-zone"},
		{&id.Region, "placement/region"},
	} {
		if *field.value != "" {
			continue
		}
		if *field.value, err = c.get(ctx, field.path); err != nil && !isMissing(err) {
			return Identity{}, err
		}
	}
	if id.Partition == "" && id.Region != "" {
		id.Partition, id.PartitionAssumed = partitionOf(id.Region), true
	}
	if id.MAC, err = c.primaryMAC(ctx); err != nil {
		return Identity{}, err
	}
	if id.VPCID, err = c.get(ctx, macPath(id.MAC, "vpc-id")); err != nil && !isMissing(err) {
		return Identity{}, err
	}
	return id, id.complete()
}

// partitions are those whose Regions' names begin so, as the SDKs have it
// (partitions.json); all others are in aws.
var partitions = []struct{ prefix, name string }{
	{"cn-", "aws-cn"}, {"us-gov-", "aws-us-gov"}, {"us-iso-", "aws-iso"}, {"us-isob-", "aws-iso-b"},
	{"eu-isoe-", "aws-iso-e"}, {"us-isof-", "aws-iso-f"}, {"eusc-", "aws-eusc"},
}

func partitionOf(region string) string {
	for _, p := range partitions {
		if strings.HasPrefix(region, p.prefix) {
			return p.name
		}
	}
	return "aws"
}

// complete reports what the identity lacks. Everything that is done to an ENI
// depends on it, so nothing is guessed.
func (i Identity) complete() error {
	var lacking []string
	for _, field := range []struct{ name, value string }{
		{"instanceId", i.InstanceID},
		{"instanceType", i.InstanceType},
		{"availabilityZone", i.Zone},
		{"region", i.Region},
		{"accountId", i.AccountID},
	} {
		if field.value == "" {
			lacking = append(lacking, field.name)
		}
	}
	if len(lacking) > 0 {
		return fmt.Errorf("IMDS returned nothing for %s of this instance; check that the EC2 metadata service is responding",
			strings.Join(lacking, ", "))
	}
	return nil
}

// primaryMAC is the MAC of the primary ENI.
func (c *Client) primaryMAC(ctx context.Context) (net.HardwareAddr, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.primary != nil {
		return c.primary, nil
	}
	text, err := c.get(ctx, "mac")
	if err != nil {
		return nil, err
	}
	mac, err := net.ParseMAC(text)
	if err != nil {
		return nil, fmt.Errorf("IMDS returned an invalid MAC for the primary ENI: %w", err)
	}
	c.primary = mac
	return mac, nil
}

// Region asks for the Region that the instance is in.
func (c *Client) Region(ctx context.Context) (string, error) { return c.get(ctx, "placement/region") }

// GetMetadata reads one value as the SDK's providers of credentials do.
func (c *Client) GetMetadata(ctx context.Context, in *imds.GetMetadataInput, options ...func(*imds.Options)) (*imds.GetMetadataOutput, error) {
	ctx, last := observe(ctx)
	out, err := c.sdk.GetMetadata(ctx, in, options...)
	if err != nil {
		return nil, explain(strings.TrimPrefix(in.Path, "/"), err, *last)
	}
	return out, nil
}

// get reads one value of the instance's metadata. The error is a missing one
// when there is none; see [isMissing].
func (c *Client) get(ctx context.Context, path string) (string, error) {
	out, err := c.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
	if err != nil {
		return "", err
	}
	content, err := io.ReadAll(out.Content) // of memory: the SDK has read it
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(content)), nil
}

// macPath is the path of one value of an interface.
func macPath(mac net.HardwareAddr, name string) string {
	return "network/interfaces/macs/" + mac.String() + "/" + name
}
