package podnetwork

// maxPods is how many pods an ENI counts for at most. An IPv6 prefix has more addresses
// than a node ever runs pods, while all IPv4 addresses that EC2 gives an ENI are fewer: 49
// prefixes of 16 at most.
const maxPods = 1024

// Capacity is how many pods the ENIs that are Ready have addresses for.
func (n Network) Capacity() int {
	pods := 0
	for _, e := range n.ENIs {
		if e.Ready {
			pods += e.capacity()
		}
	}
	return pods
}

// capacity is how many pods the ENI has addresses for. A pod gets one address of each family
// of which there are ranges. Without ranges, one pod gets the ENI's own addresses.
func (e ENI) capacity() int {
	var ipv4, ipv6 int
	for _, r := range e.Ranges {
		if r.Addr().Is4() {
			ipv4 += size(r)
		} else {
			ipv6 += size(r)
		}
	}
	switch {
	case ipv4 > 0 && ipv6 > 0:
		return min(ipv4, ipv6, maxPods)
	case ipv4+ipv6 > 0:
		return min(ipv4+ipv6, maxPods)
	default:
		return min(len(e.Addresses), 1)
	}
}

// size is the number of addresses in a range, up to maxPods.
func size(r netip.Prefix) int {
	return 1 << min(r.Addr().BitLen()-r.Bits(), 10) // 1 << 10 is maxPods
}
