package podnetwork

import "net/netip"

// Usage is how much of a NodeENI pods use on this node. It counts pods' interfaces: with
// both families each has two addresses.
type Usage struct {
	NodeENI string
	InUse   int // of which Leaked ones belong to pods that are gone
	Free    int
	Leaked  int
	// Attachments are those in use, by container.
	Attachments []Attachment
}

// Usages is the usage of each network, in the same order, and of NodeENIs that only
// attachments know any more.
func Usages(networks []Network, attachments []Attachment) []Usage {
	var usages []Usage
	index := map[string]int{}
	of := func(nodeENI string) *Usage {
		i, known := index[nodeENI]
		if !known {
			i = len(usages)
			index[nodeENI] = i
			usages = append(usages, Usage{NodeENI: nodeENI})
		}
		return &usages[i]
	}
	for _, n := range networks {
		of(n.NodeENI).Free = n.free(attachments)
	}
	for _, a := range attachments {
		u := of(a.NodeENI)
		u.InUse++
		if a.Leaked() {
			u.Leaked++
		}
		u.Attachments = append(u.Attachments, a)
	}
	return usages
}

// free is how many pods more the Ready ENIs have addresses for. What a pod still has of
// an address that another ENI has got since is not free.
func (n Network) free(attachments []Attachment) int {
	held, free := Held(attachments), 0
	for _, e := range n.ENIs {
		switch taken, whole := e.pods(attachments); {
		case !e.Ready || whole:
		case len(e.Ranges) == 0:
			free += max(0, e.Room()-taken)
		default:
			free += e.free(held)
		}
	}
	return free
}

// pods is how many pods use the ENI, and whether one has it to itself.
func (e ENI) pods(attachments []Attachment) (n int, whole bool) {
	for _, a := range attachments {
		if a.ENI == e.ID {
			n++
			whole = whole || a.Mode == HostDevice
		}
	}
	return n, whole
}

// Held are the addresses of all these attachments.
func Held(attachments []Attachment) (addresses []netip.Addr) {
	for _, a := range attachments {
		addresses = append(addresses, a.Addresses...)
	}
	return addresses
}
