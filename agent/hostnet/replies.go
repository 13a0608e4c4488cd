package hostnet

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// When DNAT gives a connection to an ENI's address to a container (NodePort, hostPort,
// docker -p), the reply has the container's address while it is routed, and no rule by
// address can tell the ENI. But conntrack knows which address was asked. A chain of our
// own marks such replies, and a rule by that mark leads to the ENI's table.
//
// The mark is the device index in bits 2 to 6, and it is set only where the lower 12 bits
// of the packet's mark are 0, and looked for in all of them. So it cannot be confused with
// those of the VPC CNI (0x80), Cilium (0xf00 and 0xff) or Istio (0x539). kube-proxy (0x4000,
// 0x8000), the CNI plugin portmap (0x2000), Calico (0xffff0000) and Tailscale (0xff0000) use
// the bits above, which stay as they are. The connection's own mark is not used.
const (
	markShift = 2
	markMask  = 0xfff

	// replyTable is the nftables table; in the families ip and ip6.
	replyTable      = "eni-agent"
	replyPrerouting = "prerouting"
	replyOutput     = "output"
	// replyPriority is that of the chains: behind iptables' table mangle.
	replyPriority = -149

	// ipsDstNAT is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
	ipsDstNAT = 1 << 5

	connectionsTracked = "/proc/sys/net/netfilter/nf_conntrack_count"
)

// mark is that of replies by the ENI; 0 on other cards than the first, which have no
// room in it.
func (w Wanted) mark() uint32 {
	if !w.Host || w.Card != 0 {
		return 0
	}
	return uint32(w.DeviceIndex) << markShift
}

// tableOfMark is the table of the ENI with this mark.
func tableOfMark(mark uint32) int { return bandFirst + int(mark>>markShift) }

// newMarkRule is the rule for marked replies.
func newMarkRule(family uint8, table int, mark uint32) rule {
	return rule{family: family, priority: table, table: table, mark: mark, markMask: markMask, action: actionLookup, protocol: unix.RTPROT_KERNEL}
}

// marks reports whether this package made the rule for marked replies.
func (r rule) marks() bool {
	return r.mark != 0 && (r.table == copyTable || r.table == tableOfMark(r.mark)) && r == newMarkRule(r.family, r.table, r.mark)
}

// abandoned: it is for marked replies, and only what is mine leads to that table.
func (r rule) abandoned(have state, mine map[netip.Prefix]bool) bool {
	return r.marks() && !slices.ContainsFunc(have.rules, func(o rule) bool {
		return o.family == r.family && o.table == tableOfMark(r.mark) && o.from.IsValid() && !mine[o.from]
	})
}

// replies is what the chains mark: the mark by the ENI's address.
type replies map[netip.Addr]uint32

func repliesOf(all ...Wanted) replies {
	r := replies{}
	for _, w := range all {
		for _, a := range w.Addresses {
			if w.mark() != 0 {
				r[a] = w.mark()
			}
		}
	}
	return r
}

// marker keeps the chains.
type marker struct {
	tables *tables
	// tracked tells how many connections conntrack has; nil where it is not known.
	tracked *os.File
	// made is what is marked, as far as this process knows; [Host.Sweep] looks again.
	made replies
	// want is what is to be marked, once conntrack is in use.
	want replies
}

func newMarker(t *tables) *marker {
	m := &marker{tables: t, want: replies{}}
	m.tracked, _ = os.Open(connectionsTracked)
	return m
}

func (m *marker) close() {
	if m.tracked != nil {
		m.tracked.Close()
	}
}

// tracking reports whether conntrack is in use on this host. Without it there is no DNAT,
// and a chain of ours would turn it on for all that the host sends.
func (m *marker) tracking() bool {
	if m.tracked == nil { // not when this process started; the module may have come since
		m.tracked, _ = os.Open(connectionsTracked)
	}
	if m.tracked == nil {
		return false
	}
	text := make([]byte, 16)
	n, err := m.tracked.ReadAt(text, 0)
	count := strings.TrimSpace(string(text[:n]))
	return (err == nil || errors.Is(err, io.EOF)) && count != "" && count != "0"
}

// spoiled notes that the family's table is not as it was made.
func (r replies) spoiled(family uint8) { r[everywhere(family).Addr()] = 0 }

// have reads what is marked now.
func (m *marker) have() (replies, error) {
	all := replies{}
	for _, family := range families {
		notes, err := m.tables.notes(tableFamily(family), replyTable)
		if err != nil {
			return nil, fmt.Errorf("list the rules of the nftables table %s: %w", replyTable, err)
		}
		came, left := parseReplies(notes[replyPrerouting]), parseReplies(notes[replyOutput])
		if came == nil || !maps.Equal(came, left) {
			all.spoiled(family)
		}
		maps.Copy(all, came)
	}
	return all, nil
}

// parseReplies is what a chain with these notes marks; nil when it is not as it was made.
func parseReplies(notes []string) replies {
	r := replies{}
	for _, note := range notes {
		var address string
		var mark uint32
		if n, _ := fmt.Sscanf(note, "%s %v", &address, &mark); n != 2 {
			return nil
		}
		if a, err := netip.ParseAddr(address); err == nil {
			r[a] = mark
		}
	}
	return r
}

func tableFamily(family uint8) nftables.TableFamily {
	if family == unix.AF_INET {
		return nftables.TableFamilyIPv4
	}
	return nftables.TableFamilyIPv6
}

// add has more marked, and leaves the rest.
func (m *marker) add(more replies) error {
	maps.Copy(m.want, more)
	missing := maps.Clone(more)
	maps.DeleteFunc(missing, func(a netip.Addr, mark uint32) bool { return m.made[a] == mark })
	if len(missing) == 0 || !m.tracking() {
		return nil
	}
	have, err := m.have()
	if err != nil {
		return err
	}
	want := maps.Clone(more)
	for a, mark := range have {
		if _, ok := want[a]; !ok {
			want[a] = mark
		}
	}
	return m.replace(have, want)
}

// drop has the addresses among these marked no more.
func (m *marker) drop(sources map[netip.Prefix]bool) error {
	dropped := func(a netip.Addr, _ uint32) bool { return sources[prefixOf(a)] }
	maps.DeleteFunc(m.want, dropped)
	have, err := m.have()
	if len(have) == 0 {
		return nil // or the kernel has no nftables
	}
	if err != nil {
		return err
	}
	want := maps.Clone(have)
	maps.DeleteFunc(want, dropped)
	return m.replace(have, want)
}

// set has exactly these marked.
func (m *marker) set(want replies) error {
	m.want = maps.Clone(want)
	have, err := m.have()
	if len(have) == 0 && !m.tracking() {
		m.made = nil
		return nil // nor is it an error that the kernel has no nftables
	}
	if err != nil {
		return err
	}
	return m.replace(have, want)
}

// kept reports whether all is marked that can be. Nothing announces that conntrack has
// come into use, and the changes of nftables are too many to follow them: with
// kube-proxy, each Service's.
func (m *marker) kept() bool {
	if len(m.want) == 0 {
		return true
	}
	have, err := m.have()
	if err != nil {
		return true
	}
	m.made = have // what is missing is added with its ENI, also while nothing is swept
	return maps.Equal(have, m.want) || len(have) == 0 && !m.tracking()
}

// replace changes the tables in one transaction.
func (m *marker) replace(have, want replies) error {
	maps.DeleteFunc(want, func(a netip.Addr, _ uint32) bool { return a.IsUnspecified() })
	if maps.Equal(have, want) {
		m.made = want
		return nil
	}
	for _, f := range families {
		var rules []noted
		for _, a := range slices.SortedFunc(maps.Keys(want), netip.Addr.Compare) {
			if family(a) == f {
				rules = append(rules, noted{fmt.Sprintf("%v %v", a, want[a]), markReplies(a, want[a])})
			}
		}
		had := slices.ContainsFunc(slices.Collect(maps.Keys(have)), func(a netip.Addr) bool { return family(a) == f })
		if had || len(rules) > 0 { // or the kernel may not have such tables
			m.tables.replace(nftables.Table{Name: replyTable, Family: tableFamily(f)}, replyChains(), rules)
		}
	}
	if err := m.tables.flush(); err != nil {
		return fmt.Errorf("mark replies of translated connections in the nftables table %s: %w", replyTable, err)
	}
	m.made = want
	return nil
}

// replyChains are the two ways that a reply takes: from a container, and from the host
// itself.
func replyChains() []nftables.Chain {
	priority := nftables.ChainPriority(replyPriority)
	return []nftables.Chain{
		{Name: replyPrerouting, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: &priority},
		{Name: replyOutput, Type: nftables.ChainTypeRoute, Hooknum: nftables.ChainHookOutput, Priority: &priority},
	}
}

// markReplies is, in the words of nft(8): ct direction reply ct status dnat
// ct original ip daddr ADDRESS meta mark & 0xfff == 0 meta mark set meta mark | MARK
func markReplies(asked netip.Addr, mark uint32) []expr.Any {
	const r = 1
	u32 := binaryutil.NativeEndian.PutUint32
	and := func(mask, xor uint32) expr.Any {
		return &expr.Bitwise{SourceRegister: r, DestRegister: r, Len: 4, Mask: u32(mask), Xor: u32(xor)}
	}
	zero := u32(0)
	return []expr.Any{
		&expr.Ct{Register: r, Key: expr.CtKeyDIRECTION},
		&expr.Cmp{Op: expr.CmpOpEq, Register: r, Data: []byte{1}},
		&expr.Ct{Register: r, Key: expr.CtKeySTATUS},
		and(ipsDstNAT, 0),
		&expr.Cmp{Op: expr.CmpOpNeq, Register: r, Data: zero},
		&expr.Ct{Register: r, Key: expr.CtKeyDST, Direction: 0},
		&expr.Cmp{Op: expr.CmpOpEq, Register: r, Data: asked.AsSlice()},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: r},
		and(markMask, 0),
		&expr.Cmp{Op: expr.CmpOpEq, Register: r, Data: zero},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: r},
		and(^mark, mark),
		&expr.Meta{Key: expr.MetaKeyMARK, Register: r, SourceRegister: true},
	}
}
