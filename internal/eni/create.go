package eni

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// CreateParams is everything that decides what a new ENI will be.
type CreateParams struct {
	Owner       Owner
	SubnetID    string
	Groups      []string // ids
	Description string
	UserTags    map[string]string
	// Either SecondaryAddresses or IPv4Prefixes, and either IPv6Addresses or
	// IPv6Prefixes: EC2 takes no more. Without IPv6Addresses the subnet decides.
	SecondaryAddresses int32
	IPv4Prefixes       int32
	IPv6Addresses      *int32
	IPv6Prefixes       int32
	PrimaryIPv6        bool
	ConnectionTracking ConnectionTracking
	// Replaces is the id of the ENI that was gone and that this one stands in
	// for; it makes the token a new one.
	Replaces string
}

// Token is the ClientToken: it names the decision to have an ENI at this place,
// so a repeated request gives the same ENI again, whoever asks and however often.
// What the ENI is to be like is no part of it: when the NodeENI has changed since
// the first request, EC2 refuses the repetition with IdempotentParameterMismatch,
// and a second ENI is not made. It is 64 ASCII characters, EC2's maximum.
func (p CreateParams) Token() string {
	// A JSON array separates its fields unmistakably.
	decision := []any{p.Owner.Cluster, p.Owner.Instance, p.Owner.NodeENIUID, p.SubnetID, p.Owner.CreatedAt.Unix(), p.Replaces}
	if p.Owner.Place > 0 {
		decision = append(decision, p.Owner.Place)
	}
	text, err := json.Marshal(decision)
	if err != nil {
		panic("strings and numbers always marshal: " + err.Error())
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func (p CreateParams) input() *ec2.CreateNetworkInterfaceInput {
	in := &ec2.CreateNetworkInterfaceInput{
		SubnetId:    aws.String(p.SubnetID),
		Groups:      slices.Sorted(slices.Values(p.Groups)),
		ClientToken: aws.String(p.Token()),
		TagSpecifications: []types.TagSpecification{{
			ResourceType: types.ResourceTypeNetworkInterface,
			Tags:         p.Owner.tags(p.UserTags),
		}},
	}
	if p.Description != "" {
		in.Description = aws.String(p.Description)
	}
	in.SecondaryPrivateIpAddressCount, in.Ipv4PrefixCount = count(p.SecondaryAddresses), count(p.IPv4Prefixes)
	in.Ipv6AddressCount, in.Ipv6PrefixCount = p.IPv6Addresses, count(p.IPv6Prefixes)
	if p.PrimaryIPv6 {
		in.EnablePrimaryIpv6 = aws.Bool(true)
	}
	if p.ConnectionTracking != (ConnectionTracking{}) {
		in.ConnectionTrackingSpecification = p.ConnectionTracking.toEC2()
	}
	return in
}

// count leaves a number out of a request when it is 0.
func count(n int32) *int32 {
	if n == 0 {
		return nil
	}
	return &n
}

func (t ConnectionTracking) toEC2() *types.ConnectionTrackingSpecificationRequest {
	return &types.ConnectionTrackingSpecificationRequest{
		TcpEstablishedTimeout: count(t.TCPEstablishedTimeout), UdpTimeout: count(t.UDPTimeout), UdpStreamTimeout: count(t.UDPStreamTimeout),
	}
}

func (x ENAExpress) toEC2() *types.EnaSrdSpecification {
	return &types.EnaSrdSpecification{
		EnaSrdEnabled:          aws.Bool(x.Enabled),
		EnaSrdUdpSpecification: &types.EnaSrdUdpSpecification{EnaSrdUdpEnabled: aws.Bool(x.UDP)},
	}
}
