package hostnet

import (
	"fmt"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
)

// crowd gives the node the links, routes and rules of that many pods, as the
// Amazon VPC CNI makes them.
func (n *node) crowd(pods int) {
	n.t.Helper()
	for i := range pods {
		pod := fmt.Sprintf("10.1.%d.%d/32", i/250, i%250+1)
		link := n.plug(fmt.Sprintf("eni%d", i), net.HardwareAddr{0x06, 0, 0, 0, byte(i >> 8), byte(i)})
		n.must(n.nl.LinkSetUp(link))
		n.must(n.nl.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(pod), Scope: netlink.SCOPE_LINK}))
		to, from := netlink.NewRule(), netlink.NewRule()
		to.Priority, to.Table, to.Dst = 512, 254, ipNet(pod)
		from.Priority, from.Table, from.Src = 1536, 2, ipNet(pod)
		n.must(n.nl.RuleAdd(to))
		n.must(n.nl.RuleAdd(from))
	}
}

// On a node with 200 pods.
func BenchmarkConfigure(b *testing.B) {
	n := newNode(b)
	n.crowd(200)
	w := eni(b)
	n.plug("eth1", w.MAC)
	b.Run("nothing to do", func(b *testing.B) {
		n.configure(w)
		b.ReportAllocs()
		for b.Loop() {
			if n.configure(w).Repaired != 0 {
				b.Fatal("there was something to do")
			}
		}
	})
	b.Run("link not known yet", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			clear(n.host.known)
			n.configure(w)
		}
	})
	b.Run("all to do", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			n.must(n.host.Release(w))
			b.StartTimer()
			if n.configure(w).Repaired != 7 {
				b.Fatal("there was something else to do")
			}
		}
	})
}
