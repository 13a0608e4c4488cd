package hostnet

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// pod starts one as the CNI plugin ptp does, with these addresses.
func (n *node) pod(addresses ...string) *netns.Namespace {
	n.t.Helper()
	ns := newNamespace(n.t)
	h := handle(n.t, ns)
	n.ends++
	name := fmt.Sprintf("veth%d", n.ends)
	n.must(n.ns.With(func(fd int) error { // made in the pod, as ptp does
		return h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: name, PeerNamespace: netlink.NsFd(fd)})
	}))
	eth0, err := h.LinkByName("eth0")
	n.must(err)
	n.must(h.LinkSetUp(eth0))
	veth := n.link(name)
	n.must(n.nl.LinkSetUp(veth))
	for _, a := range addresses {
		addr := netip.MustParseAddr(a)
		gateway := netip.MustParseAddr("169.254.1.1")
		if addr.Is6() {
			gateway = netip.MustParseAddr("fe80::1")
		}
		n.must(n.nl.AddrAdd(veth, parseAddr(n.t, prefixOf(gateway).String())))
		n.must(n.nl.RouteAdd(&netlink.Route{LinkIndex: veth.Attrs().Index, Dst: ipNet(prefixOf(addr).String()), Scope: netlink.SCOPE_HOST}))
		n.must(h.AddrAdd(eth0, parseAddr(n.t, prefixOf(addr).String())))
		if addr.Is4() {
			n.must(h.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Dst: ipNet(prefixOf(gateway).String()), Scope: netlink.SCOPE_LINK}))
		}
		n.must(h.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: gateway.AsSlice()}))
	}
	return ns
}

// vpc makes the fabric two subnets, and another one behind the router. What comes by a
// link from a source that is not of its subnet is dropped, as EC2 does. Packets to these addresses
// are delivered to the ENI, whether or not that answers ARP.
func (n *node) vpc(delivered ...string) {
	n.t.Helper()
	lo, err := n.fabric.LinkByName("lo")
	n.must(err)
	for _, a := range []string{"10.9.9.9/32", "2001:db8:9::9/128"} {
		n.must(n.fabric.AddrAdd(lo, parseAddr(n.t, a)))
	}
	sysctl(n.t, n.fabricNS, map[string]string{"ip_forward": "1", "conf/all/rp_filter": "0", "conf/end1/rp_filter": "0", "conf/end2/rp_filter": "0"})
	for end, addresses := range map[string][]string{
		"end1": {"10.0.0.1/24", "2001:db8::1/64", router6.String() + "/64"},
		"end2": {"10.0.1.1/24", "10.0.1.77/24", "2001:db8:1::1/64", "2001:db8:1::77/64", router6.String() + "/64"},
	} {
		l, err := n.fabric.LinkByName(end)
		n.must(err)
		for _, a := range addresses {
			n.must(n.fabric.AddrAdd(l, parseAddr(n.t, a)))
		}
	}
	end2, err := n.fabric.LinkByName("end2")
	n.must(err)
	for _, a := range delivered {
		n.must(n.fabric.NeighSet(&netlink.Neigh{LinkIndex: end2.Attrs().Index, IP: net.ParseIP(a), HardwareAddr: n.link("eth1").Attrs().HardwareAddr, State: netlink.NUD_PERMANENT}))
	}
	n.must(n.fabricNS.Do(func() error {
		nft, err := nftables.New()
		if err != nil {
			return err
		}
		for _, f := range families {
			table := nft.AddTable(&nftables.Table{Name: "sources", Family: tableFamily(f)})
			chain := nft.AddChain(&nftables.Chain{Name: "pre", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw})
			for end, subnet := range map[string]string{"end1": map[uint8]string{unix.AF_INET: "10.0.0.0/24", unix.AF_INET6: "2001:db8::/64"}[f], "end2": map[uint8]string{unix.AF_INET: "10.0.1.0/24", unix.AF_INET6: "2001:db8:1::/64"}[f]} {
				prefix, offset := netip.MustParsePrefix(subnet), uint32(12)
				if prefix.Addr().Is6() {
					offset = 8
				}
				bytes := uint32(prefix.Bits() / 8)
				exprs := []expr.Any{
					&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
					&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte(end + "\x00")},
					&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: bytes},
					&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: prefix.Addr().AsSlice()[:bytes]},
				}
				if prefix.Addr().Is6() { // but for link-local ones
					exprs = append(exprs, &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{0xfe, 0x80}})
				}
				nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(exprs, &expr.Verdict{Kind: expr.VerdictDrop})})
			}
		}
		return nft.Flush()
	}))
}

// arpSender is the sender's address of the next ARP request that a link of the fabric hears.
func (n *node) arpSender(end string) func() string {
	n.t.Helper()
	l, err := n.fabric.LinkByName(end)
	n.must(err)
	const arp = unix.ETH_P_ARP<<8&0xff00 | unix.ETH_P_ARP>>8 // in network order
	fd := -1
	n.must(n.fabricNS.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, arp)
		return err
	}))
	n.t.Cleanup(func() { unix.Close(fd) })
	n.must(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: arp, Ifindex: l.Attrs().Index}))
	n.must(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}))
	return func() string {
		for packet := make([]byte, 64); ; {
			length, err := unix.Read(fd, packet)
			if err != nil {
				return err.Error()
			}
			if length >= 28 && packet[7] == 1 { // a request
				return netip.AddrFrom4([4]byte(packet[14:18])).String()
			}
		}
	}
}

// Packets from and to pods, with strict and with loose reverse path filters: by the ENI
// whatever is outside, directly whatever is on the node.
func TestPodsReachTheVPC(t *testing.T) {
	for _, host := range []bool{false, true} {
		for _, filter := range []string{"1", "2"} {
			t.Run(fmt.Sprintf("host=%v, rp_filter=%s", host, filter), func(t *testing.T) { podsReachTheVPC(t, host, filter) })
		}
	}
}

func podsReachTheVPC(t *testing.T, host bool, filter string) {
	n := newNode(t)
	n.primary("10.0.0.5/24")
	n.primary6("2001:db8::5")
	w, other := forPods(t), forPods(t)
	w.Host = host
	other.MAC, other.DeviceIndex, other.Subnets, other.Addresses = mac(t, "02:00:00:00:00:02"), 2, cidrs("10.0.2.0/24", "2001:db8:2::/64"), addrs("10.0.2.10")
	other.PodRanges = cidrs("10.0.2.16/28", "2001:db8:2:0:1::/80")
	n.plug("eth1", w.MAC)
	n.plug("eth2", other.MAC)
	n.vpc("10.0.1.10", "10.0.1.17", "10.0.1.40", "2001:db8:1::10", "2001:db8:1:0:1::7")
	docker := n.bridge("docker0", "172.17.0.1/16")
	container := n.container(docker, "172.17.0.2/16", "172.17.0.1")
	sysctl(t, n.ns, map[string]string{"ip_forward": "1", "conf/all/rp_filter": filter, "conf/default/rp_filter": filter})
	sysctlOf(t, n.ns, "ipv6", map[string]string{"conf/all/forwarding": "1"})
	n.watch()
	n.configure(w)
	n.configure(other)
	one := n.pod("10.0.1.17", "2001:db8:1:0:1::7")
	two := n.pod("10.0.1.40", "2001:db8:1:0:1::8")
	three := n.pod("10.0.2.17", "2001:db8:2:0:1::7")
	for _, ns := range []*netns.Namespace{n.ns, n.fabricNS, container, one, two, three} {
		serveHello(t, ns)
	}
	sender := n.arpSender("end2")
	reaches := func(what string, from *netns.Namespace, source string, to ...string) {
		t.Helper()
		for _, at := range to {
			var err error
			if !eventually(func() bool { err = ask(from, source, at); return err == nil }) {
				t.Errorf("%s: %s is asked: %v", what, at, err)
			}
		}
	}
	reaches("the first pod, within its subnet and beyond", one, "", "10.0.1.77:8080", "10.9.9.9:8080", "[2001:db8:1::77]:8080", "[2001:db8:9::9]:8080")
	// Without an IPv4 address on the link, the kernel takes that of another (inet_select_addr
	// in net/ipv4/devinet.c).
	want := "10.0.0.5"
	if host {
		want = "10.0.1.10"
	}
	if got := sender(); got != want {
		t.Errorf("the host asks for MACs as %s, want %s", got, want)
	}
	reaches("the subnet", n.fabricNS, "10.0.1.77", "10.0.1.17:8080", "10.0.1.40:8080")
	reaches("another subnet", n.fabricNS, "10.9.9.9", "10.0.1.17:8080", "10.0.1.40:8080")
	reaches("the subnet", n.fabricNS, "2001:db8:1::77", "[2001:db8:1:0:1::7]:8080")
	reaches("another subnet", n.fabricNS, "2001:db8:9::9", "[2001:db8:1:0:1::7]:8080")
	reaches("pods of this ENI", one, "", "10.0.1.40:8080", "[2001:db8:1:0:1::8]:8080")
	reaches("pods of another ENI", one, "", "10.0.2.17:8080", "[2001:db8:2:0:1::7]:8080")
	reaches("pods of another ENI", three, "", "10.0.1.17:8080", "[2001:db8:1:0:1::7]:8080")
	reaches("the host", one, "", "10.0.0.5:8080", "169.254.1.1:8080", "[2001:db8::5]:8080")
	reaches("a container", one, "", "172.17.0.2:8080")
	reaches("a pod, from a container", container, "", "10.0.1.17:8080")
	reaches("a pod, from the host", n.ns, "", "10.0.1.17:8080", "[2001:db8:1:0:1::7]:8080")
	if host {
		reaches("the ENI's address", n.fabricNS, "10.9.9.9", "10.0.1.10:8080")
		reaches("the ENI's address", n.fabricNS, "2001:db8:9::9", "[2001:db8:1::10]:8080")
		reaches("the ENI's address, from a pod", one, "", "10.0.1.10:8080", "[2001:db8:1::10]:8080")
		n.dnat(30080, "10.0.1.17", false)
		reaches("a translated connection", n.fabricNS, "10.9.9.9", "10.0.1.10:30080")
	}
}

// requests are those to the kernel for links, addresses, rules and routes.
func (n *node) requests() int {
	n.host.conn.mu.Lock()
	defer n.host.conn.mu.Unlock()
	return int(n.host.conn.seq)
}

// A pod costs a request for each of its routes when it comes, and at most that when it
// goes, however many there are: nothing is listed for it.
func TestCopyOfPods(t *testing.T) {
	const number = 100
	n := newNode(t)
	n.primary("10.0.0.5/24")
	w := forPods(t)
	w.PodRanges = nil
	for i := range 7 {
		w.PodRanges = append(w.PodRanges, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 1, byte(16 + 16*i)}), 28))
	}
	w.PodRanges = append(w.PodRanges, cidrs("2001:db8:1:0:1::/80")...)
	n.plug("eth1", w.MAC)
	n.watch()
	n.configure(w)
	compared := -1
	for compared != n.host.copier.compared() { // the kernel may put the ENI's own announcements off for a second
		compared = n.host.copier.compared()
		time.Sleep(1500 * time.Millisecond)
	}
	describes := 0
	settled := func(want int) (requests int) {
		t.Helper()
		lines := func() int {
			describes++
			text := n.copied()
			return strings.Count(text, "\n") - strings.Count(text, "throw ") // the subnets
		}
		if !eventually(func() bool { return lines() == want }) {
			t.Fatalf("%d routes are copied, want %d", lines(), want)
		}
		return n.requests() - 4*describes
	}
	leave := func() {
		t.Helper()
		links, err := n.nl.LinkList()
		n.must(err)
		for _, l := range links {
			if strings.HasPrefix(l.Attrs().Name, "veth") {
				n.must(n.nl.LinkDel(l))
			}
		}
	}
	n.pod("10.0.1.17", "2001:db8:1:0:1::7") // whose link is none of an ENI
	settled(2)
	leave()
	settled(0)
	time.Sleep(2 * copyInterval)
	if again := n.host.copier.compared() - compared; again != 0 {
		t.Errorf("main was listed %d times for one pod", again)
	}
	before := settled(0)
	for i := range number {
		n.pod(netip.AddrFrom4([4]byte{10, 0, 1, byte(16 + i)}).String(), fmt.Sprintf("2001:db8:1:0:1::%x", i+1))
	}
	coming := settled(2 * number)
	leave()
	going := settled(0) - coming
	coming -= before
	// On a slow machine the socket may overflow, and then everything is compared.
	again := n.host.copier.compared() - compared
	if again > number/50 || again == 0 && (coming != 2*number || going > 2*number) {
		t.Errorf("%d pods took %d requests when they came, %d when they went, and main was listed %d times", number, coming, going, again)
	}
}
