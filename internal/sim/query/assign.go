package query

import (
	"fmt"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

type assignPrivateIPAddressesResponse struct {
	envelope
	Return      bool              `xml:"return"`
	InterfaceID string            `xml:"networkInterfaceId"`
	Assigned    []assignedAddress `xml:"assignedPrivateIpAddressesSet>item"`
	Prefixes    []xmlIPv4Prefix   `xml:"assignedIpv4PrefixSet>item"`
}

type assignedAddress struct {
	Address string `xml:"privateIpAddress"`
}

type assignIPv6AddressesResponse struct {
	envelope
	InterfaceID string   `xml:"networkInterfaceId"`
	Assigned    []string `xml:"assignedIpv6Addresses>item"`
	Prefixes    []string `xml:"assignedIpv6PrefixSet>item"`
}

type unassignIPv6AddressesResponse struct {
	envelope
	InterfaceID string   `xml:"networkInterfaceId"`
	Unassigned  []string `xml:"unassignedIpv6Addresses>item"`
	Prefixes    []string `xml:"unassignedIpv6PrefixSet>item"`
}

func assignPrivateIPAddresses(p *params) func(*cloud.Cloud) (response, error) {
	in := cloud.AssignInput{
		NetworkInterfaceID: p.required("NetworkInterfaceId"),
		AddressRequest: cloud.AddressRequest{
			Addresses:   each(p, "PrivateIpAddress", "", p.address),
			Count:       p.optionalNumber("SecondaryPrivateIpAddressCount"),
			Prefixes:    each(p, "Ipv4Prefix", "", p.prefix),
			PrefixCount: p.optionalNumber("Ipv4PrefixCount"),
		},
	}
	if p.flag("AllowReassignment") {
		p.unsupported("AllowReassignment")
	}
	return func(c *cloud.Cloud) (response, error) {
		assigned, err := c.AssignIPv4(in)
		if err != nil {
			return nil, err
		}
		answer := &assignPrivateIPAddressesResponse{InterfaceID: in.NetworkInterfaceID, Return: true, Prefixes: showIPv4Prefixes(assigned.Prefixes)}
		for _, a := range assigned.Addresses {
			answer.Assigned = append(answer.Assigned, assignedAddress{a.String()})
		}
		return answer, nil
	}
}

func unassignPrivateIPAddresses(p *params) func(*cloud.Cloud) (response, error) {
	id := p.required("NetworkInterfaceId")
	what := cloud.Assigned{Addresses: each(p, "PrivateIpAddress", "", p.address), Prefixes: each(p, "Ipv4Prefix", "", p.prefix)}
	return func(c *cloud.Cloud) (response, error) { return done(c.UnassignIPv4(id, what)) }
}

func assignIPv6Addresses(p *params) func(*cloud.Cloud) (response, error) {
	in := cloud.AssignInput{NetworkInterfaceID: p.required("NetworkInterfaceId"), AddressRequest: p.ipv6("", "")}
	return func(c *cloud.Cloud) (response, error) {
		assigned, err := c.AssignIPv6(in)
		if err != nil {
			return nil, err
		}
		return &assignIPv6AddressesResponse{
			InterfaceID: in.NetworkInterfaceID, Assigned: written(assigned.Addresses), Prefixes: written(assigned.Prefixes),
		}, nil
	}
}

func unassignIPv6Addresses(p *params) func(*cloud.Cloud) (response, error) {
	id := p.required("NetworkInterfaceId")
	what := cloud.Assigned{Addresses: each(p, "Ipv6Addresses", "", p.ipv6Address), Prefixes: each(p, "Ipv6Prefix", "", p.prefix)}
	return func(c *cloud.Cloud) (response, error) {
		if err := c.UnassignIPv6(id, what); err != nil {
			return nil, err
		}
		return &unassignIPv6AddressesResponse{InterfaceID: id, Unassigned: written(what.Addresses), Prefixes: written(what.Prefixes)}, nil
	}
}

// written are addresses or prefixes as text.
func written[T fmt.Stringer](list []T) []string {
	var texts []string
	for _, item := range list {
		texts = append(texts, item.String())
	}
	return texts
}
