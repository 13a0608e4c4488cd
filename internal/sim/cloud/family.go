package cloud

import (
	"net/netip"
	"slices"
)

// family is one family of addresses, in EC2's words.
type family struct {
	name       string
	prefixBits int // of the prefixes that ENIs get
	perPrefix  int // how many of a subnet's addresses a prefix uses up
	// The parameters of a request.
	address, count, prefix, prefixCount string
}

var (
	ipv4 = &family{
		name: "IPv4", prefixBits: 28, perPrefix: 16,
		address: "privateIpAddress", count: "secondaryPrivateIpAddressCount", prefix: "ipv4Prefix", prefixCount: "ipv4PrefixCount",
	}
	ipv6 = &family{
		name: "IPv6", prefixBits: 80, // a subnet never runs out of IPv6 addresses
		address: "ipv6Address", count: "ipv6AddressCount", prefix: "ipv6Prefix", prefixCount: "ipv6PrefixCount",
	}
)

// AddressRequest asks for addresses or prefixes of one family. Of the four ways
// to ask, EC2 takes one at a time.
type AddressRequest struct {
	Addresses   []netip.Addr
	Count       *int // nil: not given
	Prefixes    []netip.Prefix
	PrefixCount *int
}

// Assigned is what an ENI has, or gets, of one family.
type Assigned struct {
	Addresses []netip.Addr
	Prefixes  []netip.Prefix
}

// maxAtOnce bounds a request. EC2's own bounds are those of the instance types,
// which are far below.
const maxAtOnce = 1000

// check refuses what cannot be asked for in one call. The code and the message for
// IPv6 addresses with a count are those of https://github.com/ansible/ansible/pull/40334,
// those for addresses with prefixes of
// https://github.com/aws/karpenter-provider-aws/issues/2187 and /pull/9201; that IPv4
// is refused in the same words is not verified.
func (r AddressRequest) check(f *family) error {
	if n := number(r.Count); n < 0 || n > maxAtOnce {
		return Errorf("InvalidParameterValue", "Value (%d) for parameter %s is invalid.", n, f.count)
	}
	if n := number(r.PrefixCount); n < 0 || n > maxAtOnce {
		return Errorf("InvalidParameterValue", "Value (%d) for parameter %s is invalid.", n, f.prefixCount)
	}
	switch {
	case r.given() < 2:
		return nil
	case r.given() > 2 || len(r.Addresses) == 0 || r.Count == nil:
		return Errorf("InvalidParameterValue", "You can specify one and only one of %s or %s or %s or %s in interfaces to create.",
			f.address, f.count, f.prefix, f.prefixCount)
	case f == ipv6:
		return Errorf("InvalidParameterCombination", "IPv6 addresses and IPv6 address count may not be specified on the same request")
	}
	return Errorf("InvalidParameterCombination", "The parameter %s cannot be used with the parameter %s", f.address, f.count)
}

// given is how many of the four ways are used.
func (r AddressRequest) given() int {
	count := 0
	for _, given := range []bool{len(r.Addresses) > 0, r.Count != nil, len(r.Prefixes) > 0, r.PrefixCount != nil} {
		if given {
			count++
		}
	}
	return count
}

// asks says whether there is anything to hand out.
func (r AddressRequest) asks() bool {
	return len(r.Addresses) > 0 || len(r.Prefixes) > 0 || number(r.Count) > 0 || number(r.PrefixCount) > 0
}

func number(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}

// positive is how a number that is not given when it is zero goes into a request.
func positive(n int) *int {
	if n == 0 {
		return nil
	}
	return &n
}

// slots is how many of an instance type's places for addresses are used.
func (a Assigned) slots() int { return len(a.Addresses) + len(a.Prefixes) }

func (a Assigned) plus(b Assigned) Assigned {
	return Assigned{slices.Concat(a.Addresses, b.Addresses), slices.Concat(a.Prefixes, b.Prefixes)}
}

func (a Assigned) minus(b Assigned) Assigned {
	return Assigned{without(a.Addresses, b.Addresses), without(a.Prefixes, b.Prefixes)}
}

func without[T comparable](list, drop []T) []T {
	return slices.DeleteFunc(slices.Clone(list), func(item T) bool { return slices.Contains(drop, item) })
}

// equal compares in order: the first address is the primary one.
func (a Assigned) equal(b Assigned) bool {
	return slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.Prefixes, b.Prefixes)
}

// assigned is what the ENI has of a family.
func (i *Interface) assigned(f *family) Assigned {
	if f == ipv6 {
		return Assigned{i.IPv6Addresses, i.IPv6Prefixes}
	}
	return Assigned{i.PrivateIPs, i.IPv4Prefixes}
}

func (i *Interface) setAssigned(f *family, a Assigned) {
	if f == ipv6 {
		i.IPv6Addresses, i.IPv6Prefixes = a.Addresses, a.Prefixes
	} else {
		i.PrivateIPs, i.IPv4Prefixes = a.Addresses, a.Prefixes
	}
}
