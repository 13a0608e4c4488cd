// Package podnetwork has the files that agent and CNI plugin share on a node: what a
// NodeENI offers to pods, which the agent writes, and which pods have attached to it,
// which the plugin writes. Neither program asks the other.
package podnetwork

import (
	"net/netip"
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
