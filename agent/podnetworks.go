package agent

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// forPods divides the addresses and prefixes of an ENI that is for pods. Its own are the
// first address of each family: the primary one, and of IPv6 without a primary address
// the one that the inventory has known for longest. Pods get the rest.
func forPods(addresses []netip.Addr, cidrs []string) (own []netip.Addr, ranges []netip.Prefix) {
	for _, a := range addresses {
		if slices.ContainsFunc(own, func(o netip.Addr) bool { return o.BitLen() == a.BitLen() }) {
			ranges = append(ranges, netip.PrefixFrom(a, a.BitLen()))
		} else {
			own = append(own, a)
		}
	}
	ranges = append(ranges, prefixes(cidrs...)...)
	slices.SortFunc(ranges, netip.Prefix.Compare)
	return own, ranges
}

// offered is the link without what is for pods, where this agent offers them nothing.
func (s *shared) offered(w hostnet.Wanted) hostnet.Wanted {
	if s.Pods == nil {
		w.PodRanges = nil
	}
	return w
}

// podNetworks is what this node's NodeENIs offer to pods, by what is reported of their
// ENIs. A NodeENI of which it is not known what it wants is not among them, and what was
// offered before stays.
func podNetworks(d *desired, entries []v1alpha1.ENIState, node string, vpc []netip.Prefix) (all []podnetwork.Network) {
	for uid, name := range d.pods {
		n := podnetwork.Network{NodeENI: name, NodeENIUID: string(uid), Node: node}
		known := !d.unresolved[uid]
		for _, w := range d.wants {
			if w.UID != uid {
				continue
			}
			known = true
			entry := entryOf(entries, w)
			if entry.ENIID == "" {
				n.Reason, n.Message = cmp.Or(n.Reason, entry.Reason), cmp.Or(n.Message, entry.Message)
				continue
			}
			n.ENIs = append(n.ENIs, podENI(w, entry, vpc))
		}
		for _, p := range d.problems {
			if p.uid == uid && p.reason != reasonResolving {
				n.Reason, n.Message = cmp.Or(n.Reason, p.reason), cmp.Or(n.Message, p.message)
			}
		}
		if known {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b podnetwork.Network) int {
		return cmp.Or(cmp.Compare(a.NodeENI, b.NodeENI), cmp.Compare(a.NodeENIUID, b.NodeENIUID))
	})
	return all
}

// entryOf is what is reported of a wanted ENI.
func entryOf(entries []v1alpha1.ENIState, w want) v1alpha1.ENIState {
	for _, e := range entries {
		if slotIn(e) == w.Slot && e.Phase != v1alpha1.PhaseReleasing && e.Phase != v1alpha1.PhaseReleased {
			return e
		}
	}
	return v1alpha1.ENIState{}
}

// podENI is what one ENI offers.
func podENI(w want, entry v1alpha1.ENIState, vpc []netip.Prefix) podnetwork.ENI {
	e := podnetwork.ENI{
		ID: entry.ENIID, Ready: entry.Phase == v1alpha1.PhaseReady, MAC: entry.MAC, Link: entry.InterfaceName, MTU: int(entry.MTU),
		OtherSubnets: w.otherSubnets, VPC: vpc,
	}
	if !e.Ready {
		e.Reason, e.Message = entry.Reason, entry.Message
	}
	e.Addresses, e.Ranges = forPods(addressesIn(entry), entry.Prefixes)
	byFamily := map[int]netip.Prefix{}
	for _, subnet := range slices.Backward(prefixes(append([]string{w.cidr}, w.ipv6CIDRs...)...)) {
		byFamily[subnet.Addr().BitLen()] = subnet.Masked()
	}
	for _, bits := range slices.Sorted(maps.Keys(byFamily)) {
		e.Subnets = append(e.Subnets, byFamily[bits])
		e.Gateways = append(e.Gateways, hostnet.Router(byFamily[bits]))
	}
	return e
}
