package cni

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// offer is an ENI that can take a pod.
type offer struct {
	eni podnetwork.ENI
	// ranges are where the pod's addresses come from, one out of each set.
	ranges [][]netip.Prefix
}

// holders are the pods that have addresses. All attachments are asked for only where it
// matters which they are, since it takes time to read them.
type holders interface {
	Attachments() []podnetwork.Attachment
	Holds(address netip.Addr) bool
}

// offersOf are the ENIs that can take the pod if they have free addresses, in order, and
// why the others cannot.
func offersOf(conf Config, network podnetwork.Network, pods holders, wanted []netip.Addr) (offers []offer, refusals []string) {
	for _, e := range network.ENIs {
		o, refusal := offerOf(conf, e, pods, wanted)
		if refusal != "" {
			refusals = append(refusals, fmt.Sprintf("%s %s", e.ID, refusal))
			continue
		}
		offers = append(offers, o)
	}
	if network.Reason != "" || len(network.ENIs) == 0 {
		refusals = append(refusals, fmt.Sprintf("the node has %d ENIs of it: %s: %s", len(network.ENIs), network.Reason, network.Message))
	}
	return offers, refusals
}

func offerOf(conf Config, e podnetwork.ENI, pods holders, wanted []netip.Addr) (o offer, refusal string) {
	o = offer{eni: e}
	if !e.Ready {
		return o, fmt.Sprintf("is not Ready: %s: %s", e.Reason, e.Message)
	}
	if user := userOf(conf, e, pods); user != "" {
		return o, fmt.Sprintf("is used by %s, but mode %s needs the whole ENI", user, HostDevice)
	}
	available := e.Ranges
	if conf.Mode == HostDevice {
		available = nil
		for _, address := range e.Addresses {
			available = append(available, netip.PrefixFrom(address, address.BitLen()))
		}
	}
	for _, family := range podnetwork.Families {
		if ranges := inFamily(available, family); len(ranges) > 0 {
			o.ranges = append(o.ranges, ranges)
		}
	}
	if len(o.ranges) == 0 {
		return o, "has no addresses for pods; set addresses or prefixes in spec.ipv4 or spec.ipv6 of the NodeENI, or use mode " + HostDevice
	}
	for _, address := range wanted {
		one := netip.PrefixFrom(address, address.BitLen())
		i := slices.IndexFunc(o.ranges, func(ranges []netip.Prefix) bool {
			return slices.ContainsFunc(ranges, one.Overlaps)
		})
		if i < 0 {
			return o, fmt.Sprintf("does not have the requested address %s, only %s", address, available)
		}
		if pods.Holds(address) {
			return o, fmt.Sprintf("has the requested address %s, but %s uses it", address, holderOf(address, pods))
		}
		o.ranges[i] = []netip.Prefix{one}
	}
	return o, ""
}

// userOf is a pod that uses the ENI in a way that leaves no place for another one, "" if
// there is none. A pod that has the link to itself has the ENI's own addresses.
func userOf(conf Config, e podnetwork.ENI, pods holders) string {
	if conf.Mode != HostDevice && !slices.ContainsFunc(e.Addresses, pods.Holds) {
		return ""
	}
	for _, a := range pods.Attachments() {
		if a.ENI == e.ID && (a.Mode == HostDevice || conf.Mode == HostDevice) {
			return a.Holder()
		}
	}
	return ""
}

func holderOf(address netip.Addr, pods holders) string {
	for _, a := range pods.Attachments() {
		if slices.Contains(a.Addresses, address) {
			return a.Holder()
		}
	}
	return "an unknown pod"
}

func inFamily(prefixes []netip.Prefix, family func(netip.Addr) bool) []netip.Prefix {
	return podnetwork.ENI{Ranges: prefixes}.RangesOf(family)
}

// exhausted says of which addresses there are no more, and what to ask for.
func exhausted(offers []offer, attachments []podnetwork.Attachment) string {
	for i, family := range []string{"ipv4", "ipv6"} {
		var ranges []netip.Prefix
		for _, o := range offers {
			ranges = append(ranges, inFamily(slices.Concat(o.ranges...), podnetwork.Families[i])...)
		}
		more := family + ".prefixes"
		for _, r := range ranges {
			switch {
			case !r.IsSingleIP():
			case r.Addr().Is4():
				more = "ipv4.secondaryAddresses"
			default:
				more = "ipv6.addresses"
			}
		}
		if size, used := podnetwork.Count(ranges, podnetwork.Held(attachments)); size > 0 && used >= size {
			return fmt.Sprintf("%.0f of %.0f are in use; increase spec.%s of the NodeENI", used, size, more)
		}
	}
	return "the free addresses belong to ENIs that have no free address of the other family"
}
