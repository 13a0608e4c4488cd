package cloud

import (
	"encoding/binary"
	"math"
	"math/bits"
	"math/rand/v2"
	"net"
	"net/netip"
)

// subnet is a Subnet and who has what of its ranges.
type subnet struct {
	Subnet
	v4, v6 *pool // nil: the subnet has no such range
}

func newSubnet(s Subnet) *subnet {
	sub := &subnet{Subnet: s}
	if s.CIDR.IsValid() {
		sub.v4 = newPool(ipv4, s.CIDR)
		if s.Capacity != 0 {
			sub.v4.capacity = s.Capacity
		}
	}
	if s.IPv6CIDR.IsValid() {
		sub.v6 = newPool(ipv6, s.IPv6CIDR)
	}
	return sub
}

// pool returns the subnet's range of a family, nil without one.
func (s *subnet) pool(f *family) *pool {
	if f == ipv6 {
		return s.v6
	}
	return s.v4
}

// free is how many IPv4 addresses are left: DescribeSubnets counts no others.
func (s *subnet) free() int {
	if s.v4 == nil {
		return 0
	}
	return s.v4.free()
}

// release takes back what an ENI had.
func (s *subnet) release(i *Interface) {
	for _, f := range []*family{ipv4, ipv6} {
		if p := s.pool(f); p != nil {
			p.release(i.assigned(f))
		}
	}
}

// AWS keeps the first four addresses of a range and the last.
const (
	firstOffset       = 4
	reservedAddresses = 5
)

// pool is a subnet's range of one family. Prefixes are taken as blocks: the
// aligned parts of the range that have the size of a prefix.
type pool struct {
	family    *family
	cidr      netip.Prefix
	addresses map[netip.Addr]string   // ENI id
	prefixes  map[netip.Prefix]string // ENI id
	inBlock   map[netip.Prefix]int    // how many of a block's addresses are taken
	capacity  int                     // addresses that can be in use at a time
	next      uint64                  // where to look for a free IPv4 address, as an offset into the range
	nextBlock uint64                  // where to look for a free block
}

func newPool(f *family, cidr netip.Prefix) *pool {
	p := &pool{
		family:    f,
		cidr:      cidr.Masked(),
		addresses: make(map[netip.Addr]string),
		prefixes:  make(map[netip.Prefix]string),
		inBlock:   make(map[netip.Prefix]int),
		capacity:  math.MaxInt,
		next:      firstOffset,
	}
	if f == ipv4 {
		p.capacity = p.size() - reservedAddresses
	}
	return p
}

// size is how many addresses an IPv4 range has.
func (p *pool) size() int { return 1 << (32 - p.cidr.Bits()) }

// taken is how many addresses are in use, those of prefixes too.
func (p *pool) taken() int { return len(p.addresses) + len(p.prefixes)*p.family.perPrefix }

func (p *pool) free() int { return max(0, p.capacity-p.taken()) }

// take gives an ENI what it asks for, all or nothing.
func (p *pool) take(eniID string, in AddressRequest) (Assigned, error) {
	count, prefixCount := number(in.Count), number(in.PrefixCount)
	inPrefixes := (len(in.Prefixes) + prefixCount) * p.family.perPrefix
	switch wanted := len(in.Addresses) + count; {
	case wanted > p.free():
		return Assigned{}, Errorf("InsufficientFreeAddressesInSubnet",
			"The specified subnet does not have enough free addresses to satisfy the request.")
	case wanted+inPrefixes > p.free():
		return Assigned{}, noFreeBlock()
	}
	var got Assigned
	err := p.takeNamed(eniID, in, &got)
	for range prefixCount {
		block, ok := p.pickBlock()
		if !ok && err == nil {
			err = noFreeBlock()
		}
		if err != nil {
			break
		}
		p.prefixes[block] = eniID
		got.Prefixes = append(got.Prefixes, block)
	}
	if err != nil {
		p.release(got)
		return Assigned{}, err
	}
	for range count {
		a := p.pick()
		p.add(a, eniID)
		got.Addresses = append(got.Addresses, a)
	}
	return got, nil
}

// takeNamed takes the addresses and prefixes that the request names, and notes
// them in got.
func (p *pool) takeNamed(eniID string, in AddressRequest, got *Assigned) error {
	for _, a := range in.Addresses {
		if !p.handsOut(a) {
			return Errorf("InvalidParameterValue", "Address %s does not fall within the subnet's address range", a)
		}
		if !p.isFree(a) {
			return Errorf("InvalidIPAddress.InUse", "Address %s is in use.", a)
		}
		p.add(a, eniID)
		got.Addresses = append(got.Addresses, a)
	}
	for _, block := range in.Prefixes {
		if block != block.Masked() || block.Bits() != p.family.prefixBits || !p.cidr.Contains(block.Addr()) || p.reserved(block) {
			return Errorf("InvalidParameterValue", "%s is no /%d of the subnet that can be assigned", block, p.family.prefixBits)
		}
		if !p.isFreeBlock(block) {
			return Errorf("InvalidIPAddress.InUse", "Prefix %s is in use.", block)
		}
		p.prefixes[block] = eniID
		got.Prefixes = append(got.Prefixes, block)
	}
	return nil
}

// noFreeBlock is how EC2 refuses a prefix where the subnet has no room for it in
// one piece, whatever number of single addresses is free.
// https://docs.aws.amazon.com/eks/latest/best-practices/prefix-mode-linux.html
func noFreeBlock() error {
	return Errorf("InsufficientCidrBlocks", "The specified subnet does not have enough free cidr blocks to satisfy the request.")
}

func (p *pool) add(a netip.Addr, eniID string) {
	p.addresses[a] = eniID
	p.inBlock[p.block(a)]++
}

func (p *pool) release(had Assigned) {
	for _, a := range had.Addresses {
		if p.addresses[a] == "" {
			continue // listed twice
		}
		delete(p.addresses, a)
		if p.inBlock[p.block(a)]--; p.inBlock[p.block(a)] == 0 {
			delete(p.inBlock, p.block(a))
		}
	}
	for _, block := range had.Prefixes {
		delete(p.prefixes, block)
	}
}

// block is the block that an address is in.
func (p *pool) block(a netip.Addr) netip.Prefix {
	block, _ := a.Prefix(p.family.prefixBits) // fails for another family only
	return block
}

func (p *pool) isFree(a netip.Addr) bool {
	return p.addresses[a] == "" && p.prefixes[p.block(a)] == ""
}

func (p *pool) isFreeBlock(block netip.Prefix) bool {
	return p.prefixes[block] == "" && p.inBlock[block] == 0
}

// handsOut says whether an address is one that an ENI can have.
func (p *pool) handsOut(a netip.Addr) bool {
	return p.cidr.Contains(a) && !a.Less(after(p.cidr.Addr(), firstOffset, 0)) && a != lastOf(p.cidr)
}

// reserved says whether AWS keeps an address of a block.
func (p *pool) reserved(block netip.Prefix) bool {
	return block.Contains(p.cidr.Addr()) || block.Contains(lastOf(p.cidr))
}

// pick finds a free address; there must be one. It goes round an IPv4 range, so
// that an address is not handed out again as soon as it is released; those of an
// IPv6 range are random, as EC2's are.
func (p *pool) pick() netip.Addr {
	for {
		if a := p.candidate(); p.handsOut(a) && p.isFree(a) {
			return a
		}
	}
}

func (p *pool) candidate() netip.Addr {
	if p.family == ipv6 {
		return randomIn(p.cidr)
	}
	a := after(p.cidr.Addr(), p.next, 0)
	p.next = (p.next + 1) % uint64(p.size())
	return a
}

// pickBlock finds a free block, going round the range.
func (p *pool) pickBlock() (netip.Prefix, bool) {
	if p.family.prefixBits < p.cidr.Bits() {
		return netip.Prefix{}, false
	}
	blocks := uint64(1) << (p.family.prefixBits - p.cidr.Bits())
	for range blocks {
		block := p.block(after(p.cidr.Addr(), p.nextBlock, p.cidr.Addr().BitLen()-p.family.prefixBits))
		p.nextBlock = (p.nextBlock + 1) % blocks
		if p.isFreeBlock(block) && !p.reserved(block) {
			return block, true
		}
	}
	return netip.Prefix{}, false
}

// after is the address that comes n<<shift after a.
func after(a netip.Addr, n uint64, shift int) netip.Addr {
	raw := a.As16()
	low, carry := bits.Add64(binary.BigEndian.Uint64(raw[8:]), n<<shift, 0)
	high, _ := bits.Add64(binary.BigEndian.Uint64(raw[:8]), n>>(64-shift), carry)
	binary.BigEndian.PutUint64(raw[:8], high)
	binary.BigEndian.PutUint64(raw[8:], low)
	if a.Is4() {
		return netip.AddrFrom16(raw).Unmap()
	}
	return netip.AddrFrom16(raw)
}

func lastOf(p netip.Prefix) netip.Addr { return withHost(p, func() byte { return 0xff }) }

func randomIn(p netip.Prefix) netip.Addr {
	return withHost(p, func() byte { return byte(rand.Uint32()) })
}

// withHost fills the bits that follow a prefix.
func withHost(p netip.Prefix, fill func() byte) netip.Addr {
	raw := p.Masked().Addr().AsSlice()
	for i, kept := range net.CIDRMask(p.Bits(), p.Addr().BitLen()) {
		raw[i] |= fill() &^ kept
	}
	a, _ := netip.AddrFromSlice(raw)
	return a
}
