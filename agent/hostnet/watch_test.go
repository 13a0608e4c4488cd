package hostnet

import (
	"context"
	"net"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tampering is what others do to a configured ENI.
var tampering = []struct {
	name string
	do   func(n *node)
}{
	{"rule deleted", func(n *node) { n.must(n.nl.RuleDel(n.rule("10.0.1.11/32"))) }},
	{"default route deleted", func(n *node) {
		n.must(n.nl.RouteDel(&netlink.Route{Table: 20001, Dst: ipNet("0.0.0.0/0")}))
	}},
	{"routes flushed", func(n *node) {
		n.must(n.nl.RouteDel(&netlink.Route{Table: 20001, Dst: ipNet("0.0.0.0/0")}))
		n.must(n.nl.RouteDel(&netlink.Route{Table: 20001, Dst: ipNet("10.0.1.0/24"), Scope: netlink.SCOPE_LINK}))
	}},
	{"address deleted", func(n *node) {
		n.must(n.nl.AddrDel(n.link("eth1"), parseAddr(n.t, "10.0.1.11/24")))
	}},
	{"all addresses deleted", func(n *node) {
		n.must(n.nl.AddrDel(n.link("eth1"), parseAddr(n.t, "10.0.1.10/24")))
	}},
	{"link taken down", func(n *node) { n.must(n.nl.LinkSetDown(n.link("eth1"))) }},
	{"link renamed", func(n *node) { n.must(n.nl.LinkSetName(n.link("eth1"), "ens6")) }},
	{"MTU changed", func(n *node) { n.must(n.nl.LinkSetMTU(n.link("eth1"), 1500)) }},
	{"default route replaced", func(n *node) {
		n.must(n.nl.RouteReplace(&netlink.Route{
			Table: 20001, LinkIndex: n.link("eth1").Attrs().Index, Dst: ipNet("0.0.0.0/0"), Scope: netlink.SCOPE_LINK,
		}))
	}},
	{"IPv6 rule deleted", func(n *node) { n.must(n.nl.RuleDel(n.rule("2001:db8:1::11/128"))) }},
	{"IPv6 default route deleted", func(n *node) {
		n.must(n.nl.RouteDel(&netlink.Route{Table: 20001, Dst: ipNet("::/0")}))
	}},
	{"IPv6 subnet route deleted", func(n *node) {
		n.must(n.nl.RouteDel(&netlink.Route{Table: 20001, Dst: ipNet("2001:db8:1::/64")}))
	}},
	{"IPv6 address deleted", func(n *node) {
		n.must(n.nl.AddrDel(n.link("eth1"), parseAddr(n.t, "2001:db8:1::11/128")))
	}},
	{"IPv6 address in another form", func(n *node) {
		n.must(n.nl.AddrDel(n.link("eth1"), parseAddr(n.t, "2001:db8:1::11/128")))
		n.must(n.nl.AddrAdd(n.link("eth1"), parseAddr(n.t, "2001:db8:1::11/64")))
	}},
	{"IPv6 default route replaced", func(n *node) {
		n.must(n.nl.RouteReplace(&netlink.Route{
			Table: 20001, LinkIndex: n.link("eth1").Attrs().Index, Dst: ipNet("::/0"), Gw: net.ParseIP("fe80::99"),
		}))
	}},
	{"another IPv6 default route added", func(n *node) {
		n.must(n.nl.RouteAppend(&netlink.Route{
			Table: 20001, LinkIndex: n.link("eth1").Attrs().Index, Dst: ipNet("::/0"), Gw: net.ParseIP("fe80::99"),
		}))
	}},
	{"link pulled and plugged again", func(n *node) {
		n.must(n.nl.LinkDel(n.link("eth1")))
		n.plug("eth1", eni(n.t).MAC)
	}},
}

func (n *node) rule(from string) *netlink.Rule {
	r := netlink.NewRule()
	r.Priority, r.Table, r.Src = 20001, 20001, ipNet(from)
	return r
}

func TestGuardian(t *testing.T) {
	for _, tt := range tampering {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			w := dual(t)
			w.InterfaceName = "eth1"
			n.plug("eth1", w.MAC)
			n.configure(w)
			msgs := n.messages(func() { tt.do(n) })
			if !slices.ContainsFunc(msgs, matters) {
				t.Errorf("Watch would not have signalled it")
			}
			if status := n.configure(w); status.Repaired == 0 {
				t.Errorf("there was nothing to repair")
			}
			n.see("repaired,", `
# ip -br addr
lo               UNKNOWN  mtu 65536 127.0.0.1/8
eth1             UP       mtu 9001 02:00:00:00:00:01 10.0.1.10/24 noprefixroute 10.0.1.11/24 noprefixroute 2001:db8:1::11/128 nodad noprefixroute 2001:db8:1::10/128 nodad noprefixroute
# ip rule
0:	from all lookup local proto kernel
20000:	from all fwmark 0x4/0xfff lookup 20000 proto kernel
20000:	from 10.0.1.10 lookup 20000 proto kernel
20000:	from 10.0.1.11 lookup 20000 proto kernel
20001:	from all fwmark 0x4/0xfff lookup 20001 proto kernel
20001:	from 10.0.1.10 lookup 20001 proto kernel
20001:	from 10.0.1.11 lookup 20001 proto kernel
32766:	from all lookup main proto kernel
32767:	from all lookup default proto kernel
# ip route show table 20000
throw 10.0.1.0/24 proto kernel
# ip route show table 20001
default via 10.0.1.1 dev eth1 proto kernel
10.0.1.0/24 dev eth1 proto kernel scope link
# ip -6 rule
0:	from all lookup local proto kernel
20000:	from all fwmark 0x4/0xfff lookup 20000 proto kernel
20000:	from 2001:db8:1::10 lookup 20000 proto kernel
20000:	from 2001:db8:1::11 lookup 20000 proto kernel
20001:	from all fwmark 0x4/0xfff lookup 20001 proto kernel
20001:	from 2001:db8:1::10 lookup 20001 proto kernel
20001:	from 2001:db8:1::11 lookup 20001 proto kernel
32766:	from all lookup main proto kernel
# ip -6 route show table 20000
throw 2001:db8:1::/64 dev lo proto kernel metric 1
# ip -6 route show table 20001
2001:db8:1::/64 dev eth1 proto kernel metric 1024
default via fe80:ec2::1 dev eth1 proto kernel metric 1024
`)
		})
	}
}

func TestWatchIgnores(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.1.5/24")
	msgs := n.messages(func() { n.ignored(1) })
	if len(msgs) == 0 {
		t.Fatal("the kernel announced nothing")
	}
	if i := slices.IndexFunc(msgs, matters); i >= 0 {
		t.Errorf("Watch would have signalled message %d of type %d", i, msgs[i].typ)
	}
}

// ignored makes events that concern no ENI.
func (n *node) ignored(times int) {
	n.t.Helper()
	r := n.rule("10.0.1.10/32")
	r.Priority, r.Table = 19999, 101
	route := &netlink.Route{LinkIndex: n.link("eth0").Attrs().Index, Dst: ipNet("10.9.0.0/16")}
	for range times {
		n.must(n.nl.RuleAdd(r))
		n.must(n.nl.RouteAdd(route))
		n.must(n.nl.RouteDel(route))
		n.must(n.nl.RuleDel(r))
	}
}

// Events that the socket could not hold may have been of concern: they are
// signalled, and later ones come.
func TestWatchSurvivesOverflow(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.1.5/24")
	e := n.listen()
	defer e.close()
	n.must(e.socket.conn.Control(func(fd uintptr) {
		n.must(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096))
	}))
	next := func() <-chan bool {
		ch := make(chan bool, 1)
		go func() { ch <- e.next(n.host.copier) }()
		return ch
	}
	n.ignored(100) // nothing of it would be signalled for its own sake
	if !await(t, next(), "the overflow") {
		t.Error("the overflow ended the watch")
	}
	signal := next()
	n.plug("eth1", mac(t, "02:00:00:00:00:01"))
	if !await(t, signal, "the link") {
		t.Error("after the overflow the watch ended")
	}
}

func TestWatch(t *testing.T) {
	n := newNode(t)
	w := eni(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changed, err := n.host.Watch(ctx)
	n.must(err)
	n.plug("eth1", w.MAC)
	for {
		await(t, changed, "the link")
		if n.configure(w).Present {
			break
		}
	}
	n.must(n.nl.RuleDel(n.rule("10.0.1.10/32")))
	for n.configure(w).Repaired == 0 {
		await(t, changed, "the rule's end")
	}
	cancel()
	awaitEnd(t, changed)
}

func TestCloseEndsWatch(t *testing.T) {
	n := newNode(t)
	changed, err := n.host.Watch(t.Context())
	n.must(err)
	n.host.Close()
	awaitEnd(t, changed)
}
