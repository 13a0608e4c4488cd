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
			pods += min(e.Room(), maxPods)
		}
	}
	return pods
}
