package eni

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

// Assigned is what EC2 has given an ENI in addition to what it had.
type Assigned struct {
	Addresses []netip.Addr
	Prefixes  []string
}

// AssignIPv4 gives the ENI that many more secondary IPv4 addresses or prefixes; EC2
// takes one of the two in a call. The call has no token: after a lost answer a describe
// has to tell what the ENI has before the call is made again.
func (c *Client) AssignIPv4(ctx context.Context, eniID string, addresses, prefixes int32) (Assigned, error) {
	out, err := c.ec2.AssignPrivateIpAddresses(ctx, &ec2.AssignPrivateIpAddressesInput{
		NetworkInterfaceId:             aws.String(eniID),
		SecondaryPrivateIpAddressCount: count(addresses),
		Ipv4PrefixCount:                count(prefixes),
	})
	if err != nil {
		return Assigned{}, err
	}
	var a Assigned
	for _, address := range out.AssignedPrivateIpAddresses {
		a.address(address.PrivateIpAddress)
	}
	for _, p := range out.AssignedIpv4Prefixes {
		a.Prefixes = appendPrefix(a.Prefixes, p.Ipv4Prefix)
	}
	return a.check(eniID, addresses, prefixes)
}

// AssignIPv6 is AssignIPv4 for IPv6.
func (c *Client) AssignIPv6(ctx context.Context, eniID string, addresses, prefixes int32) (Assigned, error) {
	out, err := c.ec2.AssignIpv6Addresses(ctx, &ec2.AssignIpv6AddressesInput{
		NetworkInterfaceId: aws.String(eniID),
		Ipv6AddressCount:   count(addresses),
		Ipv6PrefixCount:    count(prefixes),
	})
	if err != nil {
		return Assigned{}, err
	}
	var a Assigned
	for _, address := range out.AssignedIpv6Addresses {
		a.address(&address)
	}
	for _, p := range out.AssignedIpv6Prefixes {
		a.Prefixes = appendPrefix(a.Prefixes, &p)
	}
	return a.check(eniID, addresses, prefixes)
}

func (a *Assigned) address(text *string) {
	if addr, err := netip.ParseAddr(aws.ToString(text)); err == nil {
		a.Addresses = append(a.Addresses, addr)
	}
}

// check refuses an answer that does not hold what was asked for: then only a describe
// tells what the ENI has.
func (a Assigned) check(eniID string, addresses, prefixes int32) (Assigned, error) {
	if len(a.Addresses) != int(addresses) || len(a.Prefixes) != int(prefixes) {
		return Assigned{}, fmt.Errorf("EC2 was asked to assign %[2]d addresses and %[3]d prefixes to %[1]s, but its response has %[4]d and %[5]d; %[6]w",
			eniID, addresses, prefixes, len(a.Addresses), len(a.Prefixes), errIncomplete)
	}
	return a, nil
}
