package vpc

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// filter collects changes of the table that holds every ENI to its own
// addresses. In nft's language:
//
//	table bridge eni {
//	  counter eni-1/source { }  # and /destination, /mac, for each ENI
//	  map in  { type ifname : verdict; elements = { port1 : jump in-port1 } }
//	  map out { type ifname : verdict; elements = { port1 : jump out-port1 } }
//	  chain prerouting  { type filter hook prerouting priority 0; policy drop; iifname vmap @in }
//	  chain postrouting { type filter hook postrouting priority 0; policy drop; oifname vmap @out }
//	  chain in-port1 {
//	    ether saddr != 0a:… counter name eni-1/mac drop
//	    arp daddr ip 10.0.0.4 drop   # for each of its addresses: a probe for a duplicate
//	    ether type arp accept        # the bridge answers
//	    # ... neighbour discovery, see addDiscovery, if the subnet has IPv6
//	    ether daddr & 01:00:00:00:00:00 != 0 drop
//	    ip saddr 10.0.0.4 accept     # for each of its addresses and prefixes, of IPv6 too
//	    ether type ip counter name eni-1/source drop       # or accept, without SourceDestCheck
//	    ether type ip6 counter name eni-1/source drop      # if the subnet has IPv6
//	  }
//	  chain out-port1 {
//	    ether daddr & 01:00:00:00:00:00 != 0 drop
//	    ether type arp accept
//	    ip daddr 10.0.0.4 accept     # and so on, as above
//	    ether type ip counter name eni-1/destination drop  # or accept
//	  }
//	}
type filter struct {
	conn  *nftables.Conn
	table *nftables.Table
	err   error // the first one
}

// The table's maps. Their ids only matter within one batch of changes; set
// here because the library's own counter is not safe for concurrent use.
const (
	mapIn  = 1
	mapOut = 2
)

// filter applies changes to the table, all of them or none.
func (n *Network) filter(change func(*filter)) error {
	err := n.withFilter(func(f *filter) error {
		change(f)
		return errors.Join(f.err, f.conn.Flush())
	})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("the kernel has no nftables for bridges (module nf_tables, CONFIG_NF_TABLES_BRIDGE): %w", err)
	}
	if err != nil {
		return fmt.Errorf("change the packet filter: %w", err)
	}
	return nil
}

func (n *Network) withFilter(fn func(*filter) error) error {
	return n.router.Do(func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		return fn(&filter{conn: conn, table: &nftables.Table{Name: "eni", Family: nftables.TableFamilyBridge}})
	})
}

// newFilter makes the table, without ports.
func newFilter(f *filter) {
	f.conn.AddTable(f.table)
	policy := nftables.ChainPolicyDrop
	for _, c := range []struct {
		chain string
		hook  *nftables.ChainHook
		key   expr.MetaKey
		ports *nftables.Set
	}{
		{"prerouting", nftables.ChainHookPrerouting, expr.MetaKeyIIFNAME, f.ports(mapIn)},
		{"postrouting", nftables.ChainHookPostrouting, expr.MetaKeyOIFNAME, f.ports(mapOut)},
	} {
		f.note(f.conn.AddSet(c.ports, nil))
		chain := f.conn.AddChain(&nftables.Chain{
			Table: f.table, Name: c.chain, Type: nftables.ChainTypeFilter,
			Hooknum: c.hook, Priority: nftables.ChainPriorityFilter, Policy: &policy,
		})
		f.rule(chain.Name, []expr.Any{
			&expr.Meta{Key: c.key, Register: 1},
			&expr.Lookup{SourceRegister: 1, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: c.ports.Name, SetID: c.ports.ID},
		})
	}
}

// addPort holds the port to its ENI's addresses.
func (f *filter) addPort(eniID string, p *port) {
	for _, reason := range reasons {
		f.conn.AddObj(f.counter(eniID, reason))
	}
	for _, chain := range []string{p.in(), p.out()} {
		f.conn.AddChain(&nftables.Chain{Table: f.table, Name: chain})
	}
	f.addRules(eniID, p)
	f.note(f.conn.SetAddElements(f.ports(mapIn), jump(p, p.in())))
	f.note(f.conn.SetAddElements(f.ports(mapOut), jump(p, p.out())))
}

// replacePort makes the port follow changed addresses.
func (f *filter) replacePort(eniID string, p *port) {
	for _, chain := range []string{p.in(), p.out()} {
		f.conn.FlushChain(&nftables.Chain{Table: f.table, Name: chain})
	}
	f.addRules(eniID, p)
}

// deletePort removes everything that addPort has added.
func (f *filter) deletePort(eniID string, p *port) {
	f.note(f.conn.SetDeleteElements(f.ports(mapIn), jump(p, p.in())))
	f.note(f.conn.SetDeleteElements(f.ports(mapOut), jump(p, p.out())))
	for _, chain := range []string{p.in(), p.out()} {
		f.conn.FlushChain(&nftables.Chain{Table: f.table, Name: chain})
		f.conn.DelChain(&nftables.Chain{Table: f.table, Name: chain})
	}
	for _, reason := range reasons {
		f.conn.DeleteObject(f.counter(eniID, reason))
	}
}

func (f *filter) addRules(eniID string, p *port) {
	in, out := p.in(), p.out()
	f.rule(in, not(etherSource, p.mac), f.countedDrop(eniID, DropMAC))
	for _, own := range p.ranges() {
		if own.Addr().Is4() {
			f.rule(in, protocol(unix.ETH_P_ARP), within(arpTarget, own), verdict(expr.VerdictDrop))
		}
	}
	f.rule(in, protocol(unix.ETH_P_ARP), verdict(expr.VerdictAccept))
	if p.subnet.ipv6.IsValid() {
		f.addDiscovery(p)
	}
	f.rule(in, toGroup(), verdict(expr.VerdictDrop))
	f.rule(out, toGroup(), verdict(expr.VerdictDrop))
	f.rule(out, protocol(unix.ETH_P_ARP), verdict(expr.VerdictAccept))
	for _, own := range p.ranges() {
		f.acceptOwn(p, own)
	}
	foreignIn, foreignOut := verdict(expr.VerdictAccept), verdict(expr.VerdictAccept)
	if p.check {
		foreignIn, foreignOut = f.countedDrop(eniID, DropSource), f.countedDrop(eniID, DropDestination)
	}
	f.rule(in, protocol(unix.ETH_P_IP), foreignIn)
	f.rule(out, protocol(unix.ETH_P_IP), foreignOut)
	if p.subnet.ipv6.IsValid() {
		f.rule(in, protocol(unix.ETH_P_IPV6), foreignIn)
		f.rule(out, protocol(unix.ETH_P_IPV6), foreignOut)
	}
}

// acceptOwn lets packets from and to addresses of the ENI pass.
func (f *filter) acceptOwn(p *port, own netip.Prefix) {
	etherType, source, destination := uint16(unix.ETH_P_IP), ipSource, ipDestination
	if own.Addr().Is6() {
		etherType, source, destination = unix.ETH_P_IPV6, ip6Source, ip6Destination
	}
	f.rule(p.in(), protocol(etherType), within(source, own), verdict(expr.VerdictAccept))
	f.rule(p.out(), protocol(etherType), within(destination, own), verdict(expr.VerdictAccept))
}

// addDiscovery hands what a node solicits to the router, also what it asks a
// neighbour directly, and lets nothing but the router's advertisements through.
func (f *filter) addDiscovery(p *port) {
	in, out := p.in(), p.out()
	f.rule(in, message(neighbourSolicitation), toGroup(), verdict(expr.VerdictAccept))
	f.rule(in, message(neighbourSolicitation), toMAC(p.subnet.mac), verdict(expr.VerdictAccept))
	f.rule(in, message(routerSolicitation), verdict(expr.VerdictAccept))
	for _, kind := range []byte{routerAdvertisement, neighbourAdvertisement, redirect} {
		f.rule(in, message(kind), verdict(expr.VerdictDrop))
	}
	linkLocal := netip.MustParsePrefix("fe80::/10")
	router := netip.PrefixFrom(gateway6, gateway6.BitLen())
	f.rule(in, protocol(unix.ETH_P_IPV6), within(ip6Source, linkLocal), within(ip6Destination, router), verdict(expr.VerdictAccept))
	f.rule(in, protocol(unix.ETH_P_IPV6), within(ip6Source, linkLocal), verdict(expr.VerdictDrop))

	f.rule(out, message(routerAdvertisement), verdict(expr.VerdictAccept))
	f.rule(out, message(neighbourAdvertisement), verdict(expr.VerdictAccept))
	f.rule(out, message(redirect), verdict(expr.VerdictDrop)) // EC2's router sends none
	f.rule(out, toGroup(), verdict(expr.VerdictDrop))
	f.rule(out, protocol(unix.ETH_P_IPV6), within(ip6Source, router), verdict(expr.VerdictAccept))
}

func (p *port) in() string  { return "in-" + p.name }
func (p *port) out() string { return "out-" + p.name }

func (f *filter) note(err error) {
	if f.err == nil {
		f.err = err
	}
}

func (f *filter) ports(id uint32) *nftables.Set {
	return &nftables.Set{
		Table: f.table, Name: map[uint32]string{mapIn: "in", mapOut: "out"}[id], ID: id,
		IsMap: true, KeyType: nftables.TypeIFName, DataType: nftables.TypeVerdict,
	}
}

func jump(p *port, chain string) []nftables.SetElement {
	key := make([]byte, unix.IFNAMSIZ)
	copy(key, p.name)
	return []nftables.SetElement{{Key: key, VerdictData: &expr.Verdict{Kind: expr.VerdictJump, Chain: chain}}}
}

func (f *filter) rule(chain string, parts ...[]expr.Any) {
	f.conn.AddRule(&nftables.Rule{
		Table: f.table, Chain: &nftables.Chain{Name: chain}, Exprs: slices.Concat(parts...),
	})
}

func (f *filter) countedDrop(eniID string, reason DropReason) []expr.Any {
	return []expr.Any{
		&expr.Objref{Type: int(nftables.ObjTypeCounter), Name: f.counter(eniID, reason).Name},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}
}

func (f *filter) counter(eniID string, reason DropReason) *nftables.CounterObj {
	return &nftables.CounterObj{Table: f.table, Name: eniID + "/" + string(reason)}
}

// The fields of a frame that the rules look at.
var (
	etherDestination = expr.Payload{DestRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: 0, Len: 6}
	etherSource      = expr.Payload{DestRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: 6, Len: 6}
	arpTarget        = expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 24, Len: 4}
	ipSource         = expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}
	ipDestination    = expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}
	ip6NextHeader    = expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 6, Len: 1}
	ip6Source        = expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 16}
	ip6Destination   = expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 24, Len: 16}
	icmp6Type        = expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: ip6Header, Len: 1}
)

func is(field expr.Payload, value []byte) []expr.Any {
	return []expr.Any{&field, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value}}
}

func not(field expr.Payload, value []byte) []expr.Any {
	return []expr.Any{&field, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: value}}
}

// within matches a field that is an address of the prefix.
func within(field expr.Payload, prefix netip.Prefix) []expr.Any {
	value := prefix.Masked().Addr().AsSlice()
	if prefix.IsSingleIP() {
		return is(field, value)
	}
	length := uint32(len(value))
	return []expr.Any{
		&field,
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: length, Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()), Xor: make([]byte, length)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value},
	}
}

// message matches an ICMPv6 message of a type.
func message(kind byte) []expr.Any {
	return slices.Concat(protocol(unix.ETH_P_IPV6), is(ip6NextHeader, []byte{icmpv6}), is(icmp6Type, []byte{kind}))
}

// toMAC sends a frame to another MAC.
func toMAC(mac net.HardwareAddr) []expr.Any {
	field := etherDestination
	field.OperationType, field.SourceRegister, field.DestRegister = expr.PayloadWrite, 1, 0
	return []expr.Any{&expr.Immediate{Register: 1, Data: mac}, &field}
}

// toGroup matches broadcast and multicast frames.
func toGroup() []expr.Any {
	field := etherDestination
	field.Len = 1
	return []expr.Any{
		&field,
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{1}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{1}},
	}
}

func protocol(etherType uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(etherType)},
	}
}

func verdict(kind expr.VerdictKind) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: kind}}
}
