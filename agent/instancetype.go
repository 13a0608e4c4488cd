package agent

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/utils/ptr"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// ReasonInstanceType: this node's instance type does not have what the NodeENI asks for.
const ReasonInstanceType = "UnsupportedByInstanceType"

// asksForMore says whether a NodeENI asks for what not every instance type has. Only then
// EC2 is asked about the type.
func asksForMore(spec v1alpha1.NodeENISpec) bool {
	ipv4, ipv6 := ptr.Deref(spec.IPv4, v1alpha1.IPv4{}), ptr.Deref(spec.IPv6, v1alpha1.IPv6{})
	return spec.Attach == v1alpha1.AttachOnDemand || // how many there is room for
		spec.NetworkCard > 0 || ipv4.SecondaryAddresses+ipv4.Prefixes > 0 || ptr.Deref(ipv6.Addresses, 0)+ipv6.Prefixes > 0 || ipv6.PrimaryIPv6 ||
		ptr.Deref(spec.ConnectionTracking, v1alpha1.ConnectionTracking{}) != (v1alpha1.ConnectionTracking{}) ||
		ptr.Deref(spec.ENAExpress, v1alpha1.ENAExpress{}).Enabled || spec.ENAQueues > 0
}

// unsupported says what a NodeENI asks for that the instance type does not have, or "".
// What EC2 does not say of the type is no reason.
func unsupported(spec v1alpha1.NodeENISpec, t eni.InstanceType) string {
	ipv4, ipv6 := ptr.Deref(spec.IPv4, v1alpha1.IPv4{}), ipv6Of(spec)
	// EC2 gives an ENI without IPv4 no address that counts here; with it, the primary one counts.
	addresses4, addresses6 := 1+ipv4.SecondaryAddresses+ipv4.Prefixes, ptr.Deref(ipv6.Addresses, 0)+ipv6.Prefixes
	card, known := t.Card(spec.NetworkCard)
	tracking := ptr.Deref(spec.ConnectionTracking, v1alpha1.ConnectionTracking{})
	var missing []string
	add := func(lacks bool, format string, args ...any) {
		if lacks {
			missing = append(missing, fmt.Sprintf(format, args...))
		}
	}
	add(spec.NetworkCard > 0 && len(t.Cards) > 0 && !known, "it has no network card %d (networkCard): its last network card is %d", spec.NetworkCard, len(t.Cards)-1)
	add(len(card.InterfaceTypes) > 0 && !slices.Contains(card.InterfaceTypes, "interface"), "its network card %d supports only interfaces of type %s (networkCard)", spec.NetworkCard, strings.Join(card.InterfaceTypes, " and "))
	add(t.Xen && ipv4.Prefixes+ipv6.Prefixes > 0, "only Nitro types support prefixes (ipv4.prefixes, ipv6.prefixes)")
	add(t.IPv4Addresses > 0 && addresses4 > max(t.IPv4Addresses, 1), "an ENI can have at most %d IPv4 addresses, including the primary address and prefixes (ipv4), but this one would have %d", t.IPv4Addresses, addresses4)
	add(addresses6 > 0 && !ptr.Deref(t.IPv6, true), "it does not support IPv6 (ipv6)")
	add(t.IPv6Addresses > 0 && addresses6 > t.IPv6Addresses, "an ENI can have at most %d IPv6 addresses, including prefixes (ipv6), but this one would have %d", t.IPv6Addresses, addresses6)
	add(t.Xen && tracking != (v1alpha1.ConnectionTracking{}), "only Nitro types support connection tracking timeouts (connectionTracking)")
	add(ptr.Deref(spec.ENAExpress, v1alpha1.ENAExpress{}).Enabled && !ptr.Deref(t.ENAExpress, true), "it does not support ENA Express (enaExpress)")
	add(spec.ENAQueues > 0 && !ptr.Deref(t.FlexibleENAQueues, true), "it does not support a custom number of ENA queues (enaQueues)")
	add(card.MaxENAQueuesPerENI > 0 && spec.ENAQueues > card.MaxENAQueuesPerENI, "an ENI can have at most %d ENA queues (enaQueues)", card.MaxENAQueuesPerENI)
	if len(missing) == 0 {
		return ""
	}
	return fmt.Sprintf("instance type %s does not support this ENI: %s; change the NodeENI, or select nodes of another instance type", t.Name, strings.Join(missing, "; "))
}

// ipv6Of is what a NodeENI asks for in IPv6. A primary address is one that there must be.
func ipv6Of(spec v1alpha1.NodeENISpec) v1alpha1.IPv6 {
	ipv6 := ptr.Deref(spec.IPv6, v1alpha1.IPv6{})
	if ipv6.PrimaryIPv6 && ipv6.Addresses == nil {
		ipv6.Addresses = new(int32(1))
	}
	return ipv6
}
