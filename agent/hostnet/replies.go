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
	"github.com/vishvananda/netlink/nl"
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

	// replyTable is the nftables table; in family ip.
	replyTable = "eni-agent"
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
func newMarkRule(table int, mark uint32) rule {
	return rule{priority: table, table: table, mark: mark, markMask: markMask, action: actionLookup, protocol: unix.RTPROT_KERNEL}
}

// marks reports whether this package made the rule for marked replies.
func (r rule) marks() bool {
	return r.mark != 0 && (r.table == copyTable || r.table == tableOfMark(r.mark)) && r == newMarkRule(r.table, r.mark)
}

// abandoned: it is for marked replies, and only addresses of mine lead to that table.
func (r rule) abandoned(have state, mine map[netip.Addr]bool) bool {
	return r.marks() && !slices.ContainsFunc(have.rules, func(o rule) bool {
		return o.table == tableOfMark(r.mark) && o.from.IsValid() && !mine[o.from.Addr()]
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
	nft     *nftables.Conn
	reading *conn
	// tracked tells how many connections conntrack has; nil where it is not known.
	tracked *os.File
	// made is what is marked, as far as this process knows; [Host.Sweep] looks again.
	made replies
	// want is what is to be marked, once conntrack is in use.
	want replies
}

func newMarker() (*marker, error) {
	nft, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket for nftables: %w", err)
	}
	reading, err := dial(unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, errors.Join(err, nft.CloseLasting())
	}
	m := &marker{nft: nft, reading: reading, want: replies{}}
	m.tracked, _ = os.Open(connectionsTracked)
	return m, nil
}

func (m *marker) close() {
	_ = m.nft.CloseLasting()
	m.reading.close()
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

// have reads what is marked now.
func (m *marker) have() (replies, error) {
	all := replies{}
	table := &nftables.Table{Name: replyTable, Family: nftables.TableFamilyIPv4}
	for i, chain := range m.chains(table) {
		notes, err := m.notes(chain.Name)
		if err != nil {
			return nil, fmt.Errorf("list the rules of the nftables table %s: %w", replyTable, err)
		}
		these := replies{}
		for _, note := range notes {
			var address string
			var mark uint32
			if n, _ := fmt.Sscanf(note, "%s %v", &address, &mark); n != 2 {
				return nil, nil // not as it was made
			}
			if a, err := netip.ParseAddr(address); err == nil {
				these[a] = mark
			}
		}
		if i > 0 && !maps.Equal(these, all) {
			return nil, nil
		}
		all = these
	}
	return all, nil
}

// notes are the notes on the rules of a chain of ours. The nftables package cannot read
// rules that look at one direction of a connection.
func (m *marker) notes(chain string) ([]string, error) {
	attrs := []*nl.RtAttr{
		nl.NewRtAttr(unix.NFTA_RULE_TABLE, nl.ZeroTerminated(replyTable)),
		nl.NewRtAttr(unix.NFTA_RULE_CHAIN, nl.ZeroTerminated(chain)),
	}
	header := &nl.Nfgenmsg{NfgenFamily: unix.NFPROTO_IPV4, Version: nl.NFNETLINK_V0}
	var notes []string
	err := m.reading.ask(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETRULE, unix.NLM_F_DUMP, header, attrs, func(msg []byte) error {
		note, mine := "", true
		a := attributes(msg, nl.SizeofNfgenmsg)
		for a.next() {
			switch a.typ {
			case unix.NFTA_RULE_TABLE:
				mine = mine && text(a.value) == replyTable
			case unix.NFTA_RULE_CHAIN:
				mine = mine && text(a.value) == chain
			case unix.NFTA_RULE_USERDATA:
				note = string(a.value)
			}
		}
		if mine {
			notes = append(notes, note)
		}
		return a.err
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	return notes, err
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

// drop has these marked no more.
func (m *marker) drop(addresses []netip.Addr) error {
	maps.DeleteFunc(m.want, func(a netip.Addr, _ uint32) bool { return slices.Contains(addresses, a) })
	have, err := m.have()
	if len(have) == 0 {
		return nil // or the kernel has no nftables
	}
	if err != nil {
		return err
	}
	want := maps.Clone(have)
	maps.DeleteFunc(want, func(a netip.Addr, _ uint32) bool { return slices.Contains(addresses, a) })
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

// replace changes the table in one transaction: no packet passes in between.
func (m *marker) replace(have, want replies) error {
	if maps.Equal(have, want) {
		m.made = want
		return nil
	}
	table := m.nft.AddTable(&nftables.Table{Name: replyTable, Family: nftables.TableFamilyIPv4})
	m.nft.DelTable(table)
	if len(want) > 0 {
		table = m.nft.AddTable(table)
		for _, chain := range m.chains(table) {
			chain = m.nft.AddChain(chain)
			for _, a := range slices.SortedFunc(maps.Keys(want), netip.Addr.Compare) {
				m.nft.AddRule(&nftables.Rule{
					Table: table, Chain: chain, Exprs: markReplies(a, want[a]), UserData: fmt.Appendf(nil, "%v %v", a, want[a]),
				})
			}
		}
	}
	if err := m.nft.Flush(); err != nil {
		return fmt.Errorf("mark replies of translated connections in the nftables table %s: %w", replyTable, err)
	}
	m.made = want
	return nil
}

// chains are the two ways that a reply takes: from a container, and from the host itself.
func (m *marker) chains(table *nftables.Table) []*nftables.Chain {
	priority := nftables.ChainPriority(replyPriority)
	return []*nftables.Chain{
		{Name: "prerouting", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: &priority},
		{Name: "output", Table: table, Type: nftables.ChainTypeRoute, Hooknum: nftables.ChainHookOutput, Priority: &priority},
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
