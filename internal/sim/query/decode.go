package query

import (
	"net/netip"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// describe reads the parameters that the Describe actions share; the resources
// are named by ids.
func (p *params) describe(ids string) cloud.DescribeInput {
	return cloud.DescribeInput{
		IDs:        p.list(ids),
		Filters:    p.filters(),
		MaxResults: p.optionalNumber("MaxResults"),
		NextToken:  p.text("NextToken"),
	}
}

func (p *params) filters() []cloud.Filter {
	var filters []cloud.Filter
	for _, f := range p.elements("Filter") {
		filters = append(filters, cloud.Filter{Name: p.text(f + ".Name"), Values: p.list(f + ".Value")})
	}
	return filters
}

// tags reads a list of tags with distinct keys.
func (p *params) tags(list string) map[string]string {
	tags := make(map[string]string)
	for _, element := range p.elements(list) {
		key := p.text(element + ".Key")
		if _, twice := tags[key]; twice {
			p.fail("InvalidParameterValue", "Duplicate tag key '%s' specified.", key)
		}
		tags[key] = p.text(element + ".Value")
	}
	return tags
}

// tagSpecifications reads the tags for each of the resource types that an
// action makes.
func (p *params) tagSpecifications(types ...string) map[string]map[string]string {
	tags := make(map[string]map[string]string)
	for _, spec := range p.elements("TagSpecification") {
		kind := p.text(spec + ".ResourceType")
		known := false
		for _, t := range types {
			known = known || t == kind
		}
		if !known {
			p.fail("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", kind)
		}
		if tags[kind] != nil {
			p.fail("InvalidParameterValue", "The resource type '%s' is specified in more than one TagSpecification.", kind)
		}
		tags[kind] = p.tags(spec + ".Tag")
	}
	return tags
}

// addresses reads the addresses of a new ENI, the primary one first: from
// PrivateIpAddress, or from PrivateIpAddresses with one marked as primary.
func (p *params) addresses() []netip.Addr {
	var list []netip.Addr
	hasPrimary := false
	if a := p.address("PrivateIpAddress"); a.IsValid() {
		list, hasPrimary = append(list, a), true
	}
	for _, element := range p.elements("PrivateIpAddresses") {
		a := p.address(element + ".PrivateIpAddress")
		switch primary := p.flag(element + ".Primary"); {
		case primary && hasPrimary:
			p.fail("InvalidParameterCombination", "Only one primary private IP address can be specified.")
		case primary:
			list, hasPrimary = append([]netip.Addr{a}, list...), true
		default:
			list = append(list, a)
		}
	}
	if len(list) > 0 && !hasPrimary {
		p.fail("MissingParameter", "The request must contain a primary private IP address")
	}
	return list
}

// ipv6 reads what an action asks for of IPv6. A list has addresses and prefixes
// themselves, or structures with a field of that name.
func (p *params) ipv6(addressField, prefixField string) cloud.AddressRequest {
	return cloud.AddressRequest{
		Addresses:   each(p, "Ipv6Addresses", addressField, p.ipv6Address),
		Count:       p.optionalNumber("Ipv6AddressCount"),
		Prefixes:    each(p, "Ipv6Prefix", prefixField, p.prefix),
		PrefixCount: p.optionalNumber("Ipv6PrefixCount"),
	}
}

// each reads the elements of a list, or one field of each.
func each[T any](p *params, list, field string, read func(name string) T) []T {
	var values []T
	for _, element := range p.elements(list) {
		values = append(values, read(element+field))
	}
	return values
}

// connectionTracking reads a ConnectionTrackingSpecification, nil without one.
func (p *params) connectionTracking() *cloud.ConnectionTracking {
	var t cloud.ConnectionTracking
	given := false
	for _, timeout := range []struct {
		name  string
		field *int32
	}{
		{"TcpEstablishedTimeout", &t.TCPEstablished}, {"UdpStreamTimeout", &t.UDPStream}, {"UdpTimeout", &t.UDP},
	} {
		value := p.optionalNumber("ConnectionTrackingSpecification." + timeout.name)
		if value == nil {
			continue
		}
		if *value < 1 { // 0 is what an ENI has that sets none
			p.fail("InvalidParameterValue", "Value (%d) for parameter %s is invalid.", *value, lowerFirst(timeout.name))
		}
		given, *timeout.field = true, int32(*value)
	}
	if !given {
		return nil
	}
	return &t
}

// enaSrd reads an EnaSrdSpecification, nil without one.
func (p *params) enaSrd() *cloud.EnaSrdChange {
	change := cloud.EnaSrdChange{
		Enabled: p.optionalFlag("EnaSrdSpecification.EnaSrdEnabled"),
		UDP:     p.optionalFlag("EnaSrdSpecification.EnaSrdUdpSpecification.EnaSrdUdpEnabled"),
	}
	if change == (cloud.EnaSrdChange{}) {
		return nil
	}
	return &change
}
