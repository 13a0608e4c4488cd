package v1alpha1

import (
	"cmp"
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	// MaxNetworkCard is the highest index of a network card.
	MaxNetworkCard = 31
	// maxCount of addresses or prefixes, and maxQueues, are above the limits of all
	// instance types. They catch typing errors.
	maxCount  = 128
	maxQueues = 256
)

const countMessage = "must be from 0 to 128; the instance type limits how many an ENI can have"

// validateAttributes checks what EC2 can give an ENI.
func validateAttributes(spec *NodeENISpec, path *field.Path) field.ErrorList {
	v4, v6, t, x := valueOf(spec.IPv4, IPv4{}), valueOf(spec.IPv6, IPv6{}), valueOf(spec.ConnectionTracking, ConnectionTracking{}), valueOf(spec.ENAExpress, ENAExpress{})
	var errs field.ErrorList
	for _, number := range []struct {
		field            string
		value, low, high int32
		message          string
	}{
		{"networkCard", spec.NetworkCard, 0, MaxNetworkCard, "must be from 0 to 31; 0 is the network card of the primary ENI"},
		{"enaQueues", spec.ENAQueues, 0, maxQueues, "must be 0, which means the instance type's default, or from 1 to 256"},
		{"ipv4.secondaryAddresses", v4.SecondaryAddresses, 0, maxCount, countMessage},
		{"ipv4.prefixes", v4.Prefixes, 0, maxCount, countMessage},
		{"ipv6.addresses", valueOf(v6.Addresses, 0), 0, maxCount, countMessage},
		{"ipv6.prefixes", v6.Prefixes, 0, maxCount, countMessage},
		{"connectionTracking.tcpEstablishedTimeout", t.TCPEstablishedTimeout, 60, 432000, ""},
		{"connectionTracking.udpTimeout", t.UDPTimeout, 30, 60, ""},
		{"connectionTracking.udpStreamTimeout", t.UDPStreamTimeout, 60, 180, ""},
	} {
		if number.value == 0 || number.value >= number.low && number.value <= number.high {
			continue
		}
		if number.message == "" {
			number.message = fmt.Sprintf("must be 0, which means EC2's default, or from %d to %d seconds", number.low, number.high)
		}
		errs = invalid(errs, path.Child(number.field), number.value, number.message)
	}
	for _, rule := range []struct {
		field   string
		broken  bool
		value   any
		message string
	}{
		{"ipv4.prefixes", v4.SecondaryAddresses > 0 && v4.Prefixes > 0, v4.Prefixes, "must not be set together with secondaryAddresses: EC2 creates an ENI with one or the other"},
		{"ipv6.prefixes", v6.Addresses != nil && v6.Prefixes > 0, v6.Prefixes, "must not be set together with addresses: EC2 creates an ENI with one or the other"},
		{"ipv6.primaryIPv6", v6.PrimaryIPv6 && (valueOf(v6.Addresses, 1) <= 0 || v6.Prefixes != 0), true, "primaryIPv6 requires an IPv6 address, and a prefix does not count as one: set addresses to 1 or more"},
		{"enaExpress.udp", x.UDP && !x.Enabled, true, "requires enabled: true, because ENA Express carries UDP only where it is enabled"},
		// Settings that EC2 does not support for the ENI of a running instance.
		{"interfaceType", spec.InterfaceType != "" && spec.InterfaceType != "interface", spec.InterfaceType,
			"must be interface: EC2 attaches efa and efa-only interfaces only when it launches an instance, so add them to the launch template"},
		{"privateIPAddress", spec.PrivateIPAddress != "", spec.PrivateIPAddress,
			"cannot be set, because a NodeENI creates an ENI on every node that it selects, and two ENIs in a VPC cannot have the same address: EC2 chooses addresses from the subnet"},
		{"associatePublicIPAddress", spec.AssociatePublicIPAddress, true,
			"cannot be true, because EC2 assigns public addresses only to primary ENIs, and only when it launches an instance: associate an Elastic IP address with the ENI in EC2, or use a NAT gateway"},
	} {
		if rule.broken {
			errs = invalid(errs, path.Child(rule.field), rule.value, rule.message)
		}
	}
	return errs
}

// ValidateNodeENIUpdate returns the changes of a NodeENI that are not possible, and why. The
// API server's messages also say what to do, which is different for a standalone agent.
func ValidateNodeENIUpdate(now, before *NodeENISpec) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec")
	immutable := func(now, before int32, reason string, path *field.Path) {
		if now != before {
			errs = invalid(errs, path, now, fmt.Sprintf("cannot be changed from %d to %d, because %s", before, now, reason))
		}
	}
	immutable(now.NetworkCard, before.NetworkCard, "an attached ENI keeps its network card", path.Child("networkCard"))
	if is, was := cmp.Or(now.Attach, AttachAlways), cmp.Or(before.Attach, AttachAlways); is != was {
		errs = invalid(errs, path.Child("attach"), is, fmt.Sprintf("cannot be changed from %s to %s, because pods may use the ENIs", was, is))
	}
	immutable(now.DeviceIndex, before.DeviceIndex, "an attached ENI keeps its device index", path.Child("deviceIndex"))

	v4, v6 := valueOf(now.IPv4, IPv4{}), valueOf(now.IPv6, IPv6{})
	had4, had6 := valueOf(before.IPv4, IPv4{}), valueOf(before.IPv6, IPv6{})
	growing := func(now, before int32, message string, path *field.Path) {
		if now < before {
			errs = invalid(errs, path, now, message)
		}
	}
	growing(v4.SecondaryAddresses, had4.SecondaryAddresses, "secondaryAddresses cannot be lowered or removed, because pods may use the addresses", path.Child("ipv4", "secondaryAddresses"))
	growing(v4.Prefixes, had4.Prefixes, "prefixes cannot be lowered or removed, because pods may use addresses from them", path.Child("ipv4", "prefixes"))
	growing(valueOf(v6.Addresses, 0), valueOf(had6.Addresses, 0), "addresses cannot be lowered or removed, because pods may use them", path.Child("ipv6", "addresses"))
	growing(v6.Prefixes, had6.Prefixes, "prefixes cannot be lowered or removed, because pods may use addresses from them", path.Child("ipv6", "prefixes"))
	if had6.PrimaryIPv6 && !v6.PrimaryIPv6 {
		errs = invalid(errs, path.Child("ipv6", "primaryIPv6"), false, "primaryIPv6 cannot be set back to false, because EC2 cannot undo it")
	}
	return errs
}

// valueOf is the value that a pointer points to, or the other value if it is nil.
func valueOf[T any](pointer *T, otherwise T) T {
	if pointer != nil {
		return *pointer
	}
	return otherwise
}
