// Package podnetwork has the files that agent and CNI plugin share on a node: what a
// NodeENI offers to pods, which the agent writes, and which pods have attached to it,
// which the plugin writes. Neither program asks the other.
package podnetwork

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Where the files are, unless a flag of the agent or the plugin's configuration says
// otherwise.
const (
	// DefaultNetworksDir has a file NODEENI.json for each NodeENI with pods on this node.
	// It is empty after a reboot, until the agent has configured the ENIs.
	DefaultNetworksDir = "/run/eni-agent/pods"
	// DefaultDataDir has what must survive a reboot: the attachments of pods, and
	// host-local's store of addresses.
	DefaultDataDir = "/var/lib/eni-agent/pods"
)

// Network is what a NodeENI offers to the pods of one node.
type Network struct {
	NodeENI    string `json:"nodeENI"`
	NodeENIUID string `json:"nodeENIUID"`
	// Node is the node's name, for messages.
	Node string `json:"node"`
	// ENIs are those of the NodeENI on this node, in the order of its subnets.
	ENIs []ENI `json:"enis"`
	// Reason and Message say why there are fewer ENIs than the NodeENI asks for; both are
	// empty when there are not.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// ENI is one ENI, and what pods need to use it.
type ENI struct {
	ID string `json:"id"`
	// Ready says that the link is configured, and that EC2 knows the addresses. Otherwise
	// Reason and Message are those of the NodeENIState.
	Ready   bool   `json:"ready"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// MAC and Link are the link's address and name on the host; MTU is in bytes.
	MAC  string `json:"mac"`
	Link string `json:"link"`
	MTU  int    `json:"mtu"`
	// Addresses are the ENI's own, at most one of each family: what a pod gets that has
	// the link to itself.
	Addresses []netip.Addr `json:"addresses"`
	// Ranges are what pods get addresses out of: the ENI's prefixes, and each of its
	// secondary addresses as a prefix of one address.
	Ranges []netip.Prefix `json:"ranges,omitempty"`
	// Subnets are the CIDRs of the ENI's subnet, at most one of each family.
	Subnets []netip.Prefix `json:"subnets"`
	// Gateways are the subnet's routers, at most one of each family.
	Gateways []netip.Addr `json:"gateways"`
	// OtherSubnets are the CIDRs of the NodeENI's other subnets, those of other zones
	// above all. They are reached by the gateway.
	OtherSubnets []netip.Prefix `json:"otherSubnets,omitempty"`
	// VPC are the VPC's CIDRs.
	VPC []netip.Prefix `json:"vpc,omitempty"`
}

// Families are the ones that an ENI can have addresses of, as tests of an address.
var Families = []func(netip.Addr) bool{netip.Addr.Is4, netip.Addr.Is6}

// RangesOf are the ranges of one family.
func (e ENI) RangesOf(family func(netip.Addr) bool) []netip.Prefix {
	var ranges []netip.Prefix
	for _, r := range e.Ranges {
		if family(r.Addr()) {
			ranges = append(ranges, r)
		}
	}
	return ranges
}

// Subnet is the one that the address is in, the zero prefix if there is none.
func (e ENI) Subnet(address netip.Addr) netip.Prefix {
	for _, subnet := range e.Subnets {
		if subnet.Contains(address) {
			return subnet
		}
	}
	return netip.Prefix{}
}

// Room is how many pods there are addresses for: each takes one of every family that the
// ENI has ranges of. An ENI without ranges has room for the one pod that gets its link.
func (e ENI) Room() int {
	if len(e.Ranges) == 0 {
		return min(1, len(e.Addresses))
	}
	return e.free(nil)
}

// free is how many pods there are addresses for that are not held.
func (e ENI) free(held []netip.Addr) int {
	room := math.MaxInt32
	for _, family := range Families {
		ranges := e.RangesOf(family)
		if len(ranges) == 0 {
			continue
		}
		size, used := Count(ranges, held)
		room = int(min(float64(room), size-used))
	}
	return room
}

// Count is how many addresses the ranges have, and how many of those are held.
func Count(ranges []netip.Prefix, held []netip.Addr) (size, used float64) {
	for _, r := range ranges {
		size += math.Exp2(float64(r.Addr().BitLen() - r.Bits()))
	}
	for _, address := range held {
		if slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return r.Contains(address) }) {
			used++
		}
	}
	return size, used
}

// ValidName reports whether a NodeENI can have this name. As the name of a file it stays
// in its directory, and is not hidden.
func ValidName(nodeENI string) bool {
	inside := func(r rune) bool { return r == '-' || r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' }
	return nodeENI != "" && len(nodeENI) <= 253 && strings.Trim(nodeENI, "-.") == nodeENI &&
		!strings.ContainsFunc(nodeENI, func(r rune) bool { return !inside(r) })
}

// Validate says what makes the network unusable.
func (n Network) Validate() error {
	if !ValidName(n.NodeENI) {
		return fmt.Errorf("nodeENI: %q is not a valid NodeENI name", n.NodeENI)
	}
	for i, eni := range n.ENIs {
		if eni.ID == "" {
			return fmt.Errorf("enis[%d]: id is missing", i)
		}
		// While it is not Ready, what is not known yet is empty.
		if err := eni.Validate(); eni.Ready && err != nil {
			return fmt.Errorf("enis[%d] (%s): %w", i, eni.ID, err)
		}
	}
	return nil
}

// Validate says what pods could not use of an ENI that is Ready.
func (e ENI) Validate() error {
	if _, err := net.ParseMAC(e.MAC); err != nil {
		return fmt.Errorf("mac: %w", err)
	}
	if e.MTU < 0 {
		return fmt.Errorf("mtu: %d is negative", e.MTU)
	}
	for _, address := range e.Addresses {
		if err := e.usable(address); err != nil {
			return fmt.Errorf("addresses: %w", err)
		}
	}
	for i, r := range e.Ranges {
		if !r.IsValid() || r != r.Masked() {
			return fmt.Errorf("ranges: %s is not a valid CIDR", r)
		}
		if err := e.usable(r.Addr()); err != nil {
			return fmt.Errorf("ranges: %w", err)
		}
		if e.Subnet(r.Addr()).Bits() > r.Bits() {
			return fmt.Errorf("ranges: %s is larger than the subnet", r)
		}
		if slices.ContainsFunc(e.Ranges[:i], r.Overlaps) {
			return fmt.Errorf("ranges: %s overlaps with another range", r)
		}
	}
	for _, prefix := range slices.Concat(e.Subnets, e.OtherSubnets, e.VPC) {
		if !prefix.IsValid() {
			return errors.New("subnets, otherSubnets, or vpc has an empty entry")
		}
	}
	return nil
}

// usable says what a pod with this address would lack.
func (e ENI) usable(address netip.Addr) error {
	switch {
	case !address.IsValid() || address.Is4In6() || address.Zone() != "":
		return fmt.Errorf("%q is not a valid address", address)
	case !e.Subnet(address).IsValid():
		return fmt.Errorf("%s is not in any of the subnets %s", address, e.Subnets)
	case !e.Gateway(address).IsValid():
		return fmt.Errorf("no gateway for %s", address)
	}
	return nil
}

// Gateway is the subnet's router for an address of this family, the zero address if
// there is none.
func (e ENI) Gateway(address netip.Addr) netip.Addr {
	for _, gateway := range e.Gateways {
		if gateway.Is4() == address.Is4() {
			return gateway
		}
	}
	return netip.Addr{}
}
