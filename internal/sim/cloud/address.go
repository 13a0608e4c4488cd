package cloud

import (
	"encoding/binary"
	"net/netip"
)

// subnet is a Subnet and who has which of its addresses.
type subnet struct {
	Subnet
	used     map[netip.Addr]string // ENI id by address
	capacity int                   // addresses that can be in use at a time
	next     uint32                // where to look for a free one, as an offset into the range
}

func newSubnet(s Subnet) *subnet {
	sub := &subnet{Subnet: s, used: make(map[netip.Addr]string), capacity: s.Capacity, next: firstOffset}
	if s.Capacity == 0 {
		sub.capacity = sub.size() - reservedAddresses
	}
	return sub
}

// AWS keeps the first four addresses of a subnet and the last.
const (
	firstOffset       = 4
	reservedAddresses = 5
)

func (s *subnet) size() int { return 1 << (32 - s.CIDR.Bits()) }

func (s *subnet) free() int { return max(0, s.capacity-len(s.used)) }

func (s *subnet) address(offset uint32) netip.Addr {
	base := s.CIDR.Masked().Addr().As4()
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(base[:])+offset)
	return netip.AddrFrom4(a)
}

// take hands out the wanted addresses and count more, all or none.
func (s *subnet) take(eniID string, wanted []netip.Addr, count int) ([]netip.Addr, error) {
	if len(wanted)+count > s.free() {
		return nil, Errorf("InsufficientFreeAddressesInSubnet",
			"The specified subnet does not have enough free addresses to satisfy the request.")
	}
	seen := make(map[netip.Addr]bool, len(wanted))
	for _, a := range wanted {
		switch {
		case !s.handsOut(a):
			return nil, Errorf("InvalidParameterValue", "Address %s does not fall within the subnet's address range", a)
		case s.used[a] != "" || seen[a]:
			return nil, Errorf("InvalidIPAddress.InUse", "Address %s is in use.", a)
		}
		seen[a] = true
	}
	taken := append([]netip.Addr(nil), wanted...)
	for _, a := range taken {
		s.used[a] = eniID
	}
	for ; count > 0; count-- {
		a := s.pick()
		s.used[a] = eniID
		taken = append(taken, a)
	}
	return taken, nil
}

// pick finds a free address; there must be one. It goes round the range, so
// that an address is not handed out again as soon as it is released.
func (s *subnet) pick() netip.Addr {
	last := uint32(s.size() - 1)
	for {
		if s.next >= last {
			s.next = firstOffset
		}
		a := s.address(s.next)
		s.next++
		if s.used[a] == "" {
			return a
		}
	}
}

func (s *subnet) handsOut(a netip.Addr) bool {
	if !s.CIDR.Contains(a) {
		return false
	}
	raw, base := a.As4(), s.CIDR.Masked().Addr().As4()
	offset := binary.BigEndian.Uint32(raw[:]) - binary.BigEndian.Uint32(base[:])
	return offset >= firstOffset && int(offset) < s.size()-1
}

func (s *subnet) release(addresses []netip.Addr) {
	for _, a := range addresses {
		delete(s.used, a)
	}
}
