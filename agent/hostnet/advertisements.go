package hostnet

import (
	"fmt"
	"maps"
	"net"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// In a subnet with IPv6, the VPC's router advertises itself on every link. The kernel
// takes that for a default route, and more, and adds it to main: as soon as a link is up,
// and up it may be by others, before this package has seen it. The node's own traffic
// would leave by an ENI, with the primary's address, and EC2 drops that.
//
// The sysctl accept_ra would prevent it, but netlink does not set it, /proc/sys is
// read-only in a pod, and addrgenmode concerns the link-local address only. So a chain of
// nftables drops advertisements on the links of our ENIs. It names them by their index,
// for names change. A link that is awaited has no index yet, but it will be higher than
// all that there are.

const (
	// guardTable is the nftables table, in family ip6.
	guardTable = "eni-agent-ra"
	guardChain = "input"
	// The notes on its rules, for one link and for links to come.
	noteOfLink, noteOfNewer = "link %d %s", "newer than %d"

	// routerAdvertisement is the type in ICMPv6, RFC 4861.
	routerAdvertisement = 134
	// madeOfAdvertisement is IFAPROT_KERNEL_RA of linux/if_addr.h.
	madeOfAdvertisement = 2
)

// mayBeAdvertised reports whether the kernel may have made the route of a router's
// advertisement. That it made one to an advertised prefix does not show.
func (r route) mayBeAdvertised() bool {
	return r.table == unix.RT_TABLE_MAIN && r.dst.Addr().Is6() && !linkLocal(r.dst.Addr()) &&
		(r.protocol == unix.RTPROT_RA || r.protocol == unix.RTPROT_KERNEL && !r.gateway.IsValid())
}

// advertised reports whether a route by the ENI's link was made of a router's
// advertisement: one that says so, or one to a prefix of which the link has no address
// that somebody has added.
func (r route) advertised(w Wanted, have state) bool {
	return r.mayBeAdvertised() && (r.protocol == unix.RTPROT_RA || !slices.ContainsFunc(have.addresses, func(a address) bool {
		return !a.advertised(w) && (a.peer || a.prefix.Masked() == r.dst)
	}))
}

// advertised reports whether the kernel made the address of a prefix that a router
// advertises. Before Linux 5.18 it does not say so, but no other is like that: it has a
// lifetime and a connected route, and EC2 does not know it.
func (a address) advertised(w Wanted) bool {
	addr := a.prefix.Addr()
	return a.maker == madeOfAdvertisement || addr.Is6() && a.prefix.Bits() == 64 && a.maker == 0 && !linkLocal(addr) &&
		a.flags&(unix.IFA_F_PERMANENT|unix.IFA_F_NOPREFIXROUTE) == 0 && !slices.Contains(w.Addresses, addr)
}

// guard keeps router advertisements from the links of our ENIs.
type guard struct {
	tables *tables
	// links are the MACs of ENIs by the index of their link. One stays while its link is
	// in a pod, from where it comes back with the same index as a rule.
	links map[int]string
	// awaited are the ENIs that have no link here, by MAC.
	awaited map[string]awaited
	// read: what an agent before has left is known.
	read bool
	// made are the notes in the table, as far as this process knows; nil when it does not.
	made []string
}

// awaited is an ENI that has no link here.
type awaited struct {
	newest int  // the highest index of the links that there were when that was last said
	said   bool // since the last sweep
}

func newGuard(t *tables) *guard {
	return &guard{tables: t, links: make(map[int]string), awaited: make(map[string]awaited)}
}

// add keeps advertisements from the link of an ENI.
func (g *guard) add(hw net.HardwareAddr, index int) error {
	mac := hw.String()
	if _, awaited := g.awaited[mac]; g.made != nil && !awaited && g.links[index] == mac {
		return nil // as a rule
	}
	g.adopt()
	delete(g.awaited, mac)
	maps.DeleteFunc(g.links, func(_ int, of string) bool { return of == mac })
	g.links[index] = mac
	return g.load()
}

// await keeps advertisements from links that are newer than the newest, until that of the
// ENI is here.
func (g *guard) await(mac net.HardwareAddr, newest int) error {
	g.adopt()
	g.awaited[mac.String()] = awaited{newest, true}
	return g.load()
}

// sweep forgets ENIs that are not kept, once their link has gone, and those of which
// nothing was heard since the last sweep but one.
func (g *guard) sweep(keep []Wanted, exists func(index int) bool) error {
	g.adopt()
	maps.DeleteFunc(g.awaited, func(_ string, a awaited) bool { return !a.said })
	for mac, a := range g.awaited {
		g.awaited[mac] = awaited{newest: a.newest}
	}
	maps.DeleteFunc(g.links, func(index int, mac string) bool {
		return !slices.ContainsFunc(keep, func(w Wanted) bool { return w.MAC.String() == mac }) && !exists(index)
	})
	if !g.read {
		return nil // the kernel has no nftables
	}
	return g.load()
}

// kept reports whether the table is as this package made it.
func (g *guard) kept() bool {
	if g.made == nil {
		return true // Configure tries again, and tells
	}
	have, err := g.have()
	if err != nil || !slices.Equal(have, g.made) {
		g.made = nil
	}
	return g.made != nil
}

// restore makes the table again when somebody has changed it.
func (g *guard) restore() {
	if !g.kept() {
		_ = g.load() // the next add tells
	}
}

// adopt takes over what an agent before has left.
func (g *guard) adopt() {
	if g.read {
		return
	}
	have, err := g.have()
	if err != nil {
		return // the kernel has no nftables, and nothing is left
	}
	g.read = true
	for _, note := range have {
		var index int
		var mac string
		if n, _ := fmt.Sscanf(note, noteOfLink, &index, &mac); n == 2 {
			g.links[index] = mac
		} else if n, _ := fmt.Sscanf(note, noteOfNewer, &index); n == 1 {
			g.awaited[""] = awaited{index, true}
		}
	}
}

// rules are those that there must be, in their order.
func (g *guard) rules() []noted {
	var all []noted
	for _, index := range slices.Sorted(maps.Keys(g.links)) {
		all = append(all, noted{fmt.Sprintf(noteOfLink, index, g.links[index]), dropAdvertisements(expr.CmpOpEq, index)})
	}
	// The link of the one that is awaited longest may have come since, and not have been
	// looked at yet.
	var oldest *awaited
	for _, a := range g.awaited {
		if oldest == nil || a.newest < oldest.newest {
			oldest = &a
		}
	}
	if oldest != nil {
		all = append(all, noted{fmt.Sprintf(noteOfNewer, oldest.newest), dropAdvertisements(expr.CmpOpGt, oldest.newest)})
	}
	return all
}

// have are the notes on the rules that there are.
func (g *guard) have() ([]string, error) {
	notes, err := g.tables.notes(nftables.TableFamilyIPv6, guardTable)
	return notes[guardChain], err
}

// load makes the table what it must be.
func (g *guard) load() error {
	rules := g.rules()
	notes := make([]string, len(rules))
	for i, r := range rules {
		notes[i] = r.note
	}
	if g.made != nil && slices.Equal(g.made, notes) {
		return nil
	}
	g.made = nil
	have, err := g.have()
	if err == nil && !slices.Equal(have, notes) {
		table := nftables.Table{Name: guardTable, Family: nftables.TableFamilyIPv6}
		chain := nftables.Chain{Name: guardChain, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityRaw}
		g.tables.replace(table, []nftables.Chain{chain}, rules)
		err = g.tables.flush()
	}
	if err != nil {
		return fmt.Errorf("drop router advertisements in the nftables table ip6 %s: %w", guardTable, err)
	}
	g.made = notes
	return nil
}

// dropAdvertisements is, in the words of nft(8): icmpv6 type nd-router-advert iif INDEX drop
func dropAdvertisements(op expr.CmpOp, index int) []expr.Any {
	const r = 1
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: r},
		&expr.Cmp{Op: expr.CmpOpEq, Register: r, Data: []byte{unix.IPPROTO_ICMPV6}},
		&expr.Payload{DestRegister: r, Base: expr.PayloadBaseTransportHeader, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: r, Data: []byte{routerAdvertisement}},
		&expr.Meta{Key: expr.MetaKeyIIF, Register: r},
		&expr.Byteorder{SourceRegister: r, DestRegister: r, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: op, Register: r, Data: binaryutil.BigEndian.PutUint32(uint32(index))},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}
}
