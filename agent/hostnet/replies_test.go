package hostnet

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

func sysctl(t testing.TB, ns *netns.Namespace, settings map[string]string) {
	t.Helper()
	sysctlOf(t, ns, "ipv4", settings)
}

func sysctlOf(t testing.TB, ns *netns.Namespace, family string, settings map[string]string) {
	t.Helper()
	for name, value := range settings {
		if err := ns.Do(func() error { return os.WriteFile("/proc/sys/net/"+family+"/"+name, []byte(value), 0) }); err != nil {
			t.Fatal(err)
		}
	}
}

// dnat gives what comes to a port to another address, as kube-proxy and Docker do.
// With masquerade, as kube-proxy does by its mark, the source becomes the node's.
func (n *node) dnat(port uint16, to string, masquerade bool) {
	n.t.Helper()
	n.must(n.ns.Do(func() error {
		nft, err := nftables.New()
		if err != nil {
			return err
		}
		container := netip.MustParseAddr(to)
		table := nft.AddTable(&nftables.Table{Name: fmt.Sprintf("proxy-%d", port), Family: tableFamily(family(container))})
		pre := nft.AddChain(&nftables.Chain{Name: "pre", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest})
		rule := []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
		}
		if masquerade {
			rule = append(rule, &expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
				&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(^uint32(0x4000)), Xor: binaryutil.NativeEndian.PutUint32(0x4000)},
				&expr.Meta{Key: expr.MetaKeyMARK, Register: 1, SourceRegister: true})
		}
		nft.AddRule(&nftables.Rule{Table: table, Chain: pre, Exprs: append(rule,
			&expr.Immediate{Register: 1, Data: container.AsSlice()},
			&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(8080)},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(table.Family), RegAddrMin: 1, RegProtoMin: 2})})
		post := nft.AddChain(&nftables.Chain{Name: "post", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
		nft.AddRule(&nftables.Rule{Table: table, Chain: post, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(0x4000), Xor: binaryutil.NativeEndian.PutUint32(0)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(0)},
			&expr.Masq{},
		}})
		return nft.Flush()
	}))
}

// serveHello answers each connection.
func serveHello(t *testing.T, on *netns.Namespace) {
	t.Helper()
	listener, err := on.Listen(t.Context(), "tcp", "[::]:8080")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "hello")
			conn.Close()
		}
	}()
}

func ask(on *netns.Namespace, from, to string) error {
	return on.Do(func() error {
		d := net.Dialer{Timeout: 3 * time.Second}
		if from != "" {
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
		}
		conn, err := d.Dial("tcp", to)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
		text, err := io.ReadAll(conn)
		if string(text) != "hello" {
			return fmt.Errorf("heard %q, %w", text, err)
		}
		return nil
	})
}

// noticed sees whether a look at the nftables tables has Configure called.
func (n *node) noticed(when string, want bool) {
	n.t.Helper()
	ticks, over, signalled := make(chan time.Time, 1), make(chan struct{}), make(chan struct{}, 1)
	ticks <- time.Now()
	go func() {
		n.host.watchTables(ticks, over, func() { signalled <- struct{}{} })
		close(signalled)
	}()
	for len(ticks) > 0 {
		time.Sleep(time.Millisecond)
	}
	close(over)
	if _, is := <-signalled; is != want {
		n.t.Errorf("%s a look at the tables is due: %v", when, is)
	}
}

// flush is nft flush ruleset, by somebody who makes his own again.
func (n *node) flush() {
	n.t.Helper()
	n.must(n.ns.Do(func() error {
		nft, err := nftables.New()
		if err != nil {
			return err
		}
		nft.FlushRuleset()
		return nft.Flush()
	}))
}

// Connections to the ENI's address that DNAT gives to a container, or to the host
// itself, are answered by the ENI. The other end drops what comes by the wrong one, as
// EC2 does.
func TestTranslatedReplies(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.0.5/24")
	w := eni(t)
	n.plug("eth1", w.MAC)
	fabric := n.fabricNS
	client, err := n.fabric.LinkByName("lo")
	n.must(err)
	n.must(n.fabric.AddrAdd(client, parseAddr(t, "10.9.9.9/32")))
	for end, address := range map[string]string{"end1": "10.0.0.1/24", "end2": "10.0.1.1/24"} {
		l, err := n.fabric.LinkByName(end)
		n.must(err)
		n.must(n.fabric.AddrAdd(l, parseAddr(t, address)))
	}
	sysctl(t, fabric, map[string]string{"conf/all/rp_filter": "0", "conf/end1/rp_filter": "1", "conf/end2/rp_filter": "1"})
	docker := n.bridge("docker0", "172.17.0.1/16")
	sysctl(t, n.ns, map[string]string{
		"ip_forward": "1", "conf/all/rp_filter": "0", "conf/eth0/rp_filter": "2", "conf/eth1/rp_filter": "2", "conf/docker0/rp_filter": "1",
		"conf/all/src_valid_mark": "1", // as wg-quick sets it
	})
	serveHello(t, n.container(docker, "172.17.0.2/16", "172.17.0.1"))
	serveHello(t, n.ns)
	n.dnat(30080, "172.17.0.2", false)
	n.dnat(30081, "172.17.0.2", true)
	n.dnat(30082, "10.0.0.5", false)
	n.watch()
	n.configure(w)
	sweep := func(keep ...Wanted) {
		t.Helper()
		if _, err := n.host.Sweep(keep); err != nil {
			t.Fatal(err)
		}
	}
	if err := ask(fabric, "10.9.9.9", "10.0.0.5:30080"); err != nil {
		t.Fatalf("the primary's address is asked: %v", err)
	}
	sweep(w) // conntrack is in use by now
	n.noticed("marked", false)
	expect := func(when string) {
		t.Helper()
		for _, port := range []int{30080, 30081, 30082, 8080} {
			for _, at := range []string{"10.0.0.5", "10.0.1.10", "10.0.1.11"} {
				if err := ask(fabric, "10.9.9.9", fmt.Sprintf("%s:%d", at, port)); err != nil {
					t.Errorf("%s %s:%d is asked: %v", when, at, port, err)
				}
			}
		}
	}
	expect("at first")
	n.flush()
	n.dnat(30080, "172.17.0.2", false)
	n.dnat(30081, "172.17.0.2", true)
	n.dnat(30082, "10.0.0.5", false)
	n.noticed("after a flush", true)
	n.configure(w)
	expect("after a flush")
	for _, keep := range []Wanted{w, w} {
		if events := n.record(func() { sweep(keep) }); len(events) > 0 || len(n.host.marker.made) != 2 {
			t.Errorf("another sweep has changed: %q, and marks %v", events, n.host.marker.made)
		}
	}
	n.must(n.host.Release(w))
	n.noticed("released", false)
	have, err := n.host.marker.have()
	if err != nil || len(have) > 0 || strings.Contains(n.describe(), "fwmark") {
		t.Errorf("released, there is still %v, %v\n%s", have, err, n.describe())
	}
}

// The same with IPv6. What comes from the ENI's addresses by the primary's link is
// dropped by a rule: there is no reverse path filter.
func TestTranslatedRepliesIPv6(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.0.5/24")
	n.primary6("2001:db8::5")
	w := dual(t)
	n.plug("eth1", w.MAC)
	client, err := n.fabric.LinkByName("lo")
	n.must(err)
	n.must(n.fabric.AddrAdd(client, parseAddr(t, "2001:db8:9::9/128")))
	for end, address := range map[string]string{"end1": "2001:db8::1/64", "end2": "2001:db8:1::1/64"} {
		l, err := n.fabric.LinkByName(end)
		n.must(err)
		n.must(n.fabric.AddrAdd(l, parseAddr(t, address)))
		n.must(n.fabric.AddrAdd(l, parseAddr(t, router6.String()+"/64")))
	}
	n.must(n.fabricNS.Do(func() error {
		nft, err := nftables.New()
		if err != nil {
			return err
		}
		table := nft.AddTable(&nftables.Table{Name: "sources", Family: nftables.TableFamilyIPv6})
		chain := nft.AddChain(&nftables.Chain{Name: "pre", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw})
		nft.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte("end1\x00")},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 8},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: w.Subnets[1].Addr().AsSlice()[:8]},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
		return nft.Flush()
	}))
	docker := n.bridge("docker0", "fd00:17::1/64")
	sysctlOf(t, n.ns, "ipv6", map[string]string{"conf/all/forwarding": "1"})
	serveHello(t, n.container(docker, "fd00:17::2/64", "fd00:17::1"))
	serveHello(t, n.ns)
	n.dnat(30080, "fd00:17::2", false)
	n.watch()
	n.configure(w)
	if err := ask(n.fabricNS, "2001:db8:9::9", "[2001:db8::5]:30080"); err != nil {
		t.Fatalf("the primary's address is asked: %v", err)
	}
	if _, err := n.host.Sweep([]Wanted{w}); err != nil { // conntrack is in use by now
		t.Fatal(err)
	}
	n.noticed("marked", false)
	for _, to := range []string{"[2001:db8:1::10]:8080", "[2001:db8:1::10]:30080", "[2001:db8:1::11]:30080"} {
		if err := ask(n.fabricNS, "2001:db8:9::9", to); err != nil {
			t.Errorf("%s is asked: %v", to, err)
		}
	}
	n.must(n.host.Release(w))
	if have, err := n.host.marker.have(); err != nil || len(have) > 0 || strings.Contains(n.describe(), "fwmark") {
		t.Errorf("released, there is still %v, %v\n%s", have, err, n.describe())
	}
}
