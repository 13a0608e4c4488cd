package eni

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// InstanceType is what EC2 says about the network of an instance type. What it does not
// say is nil, 0 or empty, and is no reason to refuse anything.
type InstanceType struct {
	Name string
	// Xen is true before Nitro, where ENIs have no prefixes, ENA Express or timeouts of
	// connection tracking.
	Xen bool
	// MaxENIs counts the ENIs on all cards.
	MaxENIs int32
	Cards   []Card
	// IPv4Addresses and IPv6Addresses are how many an ENI takes, the primary IPv4
	// address included; a prefix counts as one address.
	IPv4Addresses, IPv6Addresses        int32
	IPv6, ENAExpress, FlexibleENAQueues *bool
	// ConnectionTracking are the timeouts that an ENI has by default.
	ConnectionTracking ConnectionTracking
}

// Card is a network card of an instance type.
type Card struct {
	Index int32
	// MaxENIs is how many ENIs the card takes, and MoreENIs how many more it takes
	// when the numbers of ENA queues are chosen.
	MaxENIs, MoreENIs int32
	// InterfaceTypes that it takes, such as interface and efa-only.
	InterfaceTypes []string
	// ENA queues: of the card, and of one ENI at most and by default.
	MaxENAQueues, MaxENAQueuesPerENI, DefaultENAQueues int32
}

// Card returns the network card with the index, if the type is known to have it.
func (t InstanceType) Card(index int32) (card Card, ok bool) {
	for _, card := range t.Cards {
		if card.Index == index {
			return card, true
		}
	}
	return Card{}, false
}

// MaxENIsOn is how many ENIs the network card takes, or 0 when that is not known.
func (t InstanceType) MaxENIsOn(index int32) int32 {
	card, _ := t.Card(index)
	if card.MaxENIs == 0 && index == 0 && len(t.Cards) <= 1 {
		return t.MaxENIs
	}
	return card.MaxENIs
}

// InstanceType asks EC2 about an instance type. When the answer lacks it, nothing but
// the name is known.
func (c *Client) InstanceType(ctx context.Context, name string) (InstanceType, error) {
	out, err := c.ec2.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{
		InstanceTypes: []types.InstanceType{types.InstanceType(name)},
	})
	if err != nil {
		return InstanceType{}, err
	}
	for i := range out.InstanceTypes {
		if t := &out.InstanceTypes[i]; t.NetworkInfo != nil && (t.InstanceType == "" || string(t.InstanceType) == name) {
			return instanceTypeFromEC2(t), nil
		}
	}
	return InstanceType{Name: name}, nil
}

func instanceTypeFromEC2(t *types.InstanceTypeInfo) InstanceType {
	n := t.NetworkInfo
	of := InstanceType{
		Name:          string(t.InstanceType),
		Xen:           t.Hypervisor == types.InstanceTypeHypervisorXen,
		MaxENIs:       aws.ToInt32(n.MaximumNetworkInterfaces),
		IPv4Addresses: aws.ToInt32(n.Ipv4AddressesPerInterface),
		IPv6Addresses: aws.ToInt32(n.Ipv6AddressesPerInterface),
		IPv6:          n.Ipv6Supported,
		ENAExpress:    n.EnaSrdSupported,
	}
	if n.FlexibleEnaQueuesSupport != "" {
		of.FlexibleENAQueues = aws.Bool(n.FlexibleEnaQueuesSupport == types.FlexibleEnaQueuesSupportSupported)
	}
	if d := n.ConnectionTrackingConfiguration; d != nil {
		of.ConnectionTracking = ConnectionTracking{
			TCPEstablishedTimeout: aws.ToInt32(d.DefaultTcpEstablishedTimeout), UDPTimeout: aws.ToInt32(d.DefaultUdpTimeout), UDPStreamTimeout: aws.ToInt32(d.DefaultUdpStreamTimeout),
		}
	}
	for i := range n.NetworkCards {
		c := &n.NetworkCards[i]
		card := Card{
			Index:              aws.ToInt32(c.NetworkCardIndex),
			MaxENIs:            aws.ToInt32(c.MaximumNetworkInterfaces),
			MoreENIs:           aws.ToInt32(c.AdditionalFlexibleNetworkInterfaces),
			MaxENAQueues:       aws.ToInt32(c.MaximumEnaQueueCount),
			MaxENAQueuesPerENI: aws.ToInt32(c.MaximumEnaQueueCountPerInterface),
			DefaultENAQueues:   aws.ToInt32(c.DefaultEnaQueueCountPerInterface),
		}
		for _, kind := range c.InterfaceTypes {
			card.InterfaceTypes = append(card.InterfaceTypes, string(kind))
		}
		of.Cards = append(of.Cards, card)
	}
	return of
}
