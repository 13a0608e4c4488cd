package hostnet

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
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

// pods is how many there are on a large node. Each has a link, a route in main and
// two rules.
const pods = 300

func BenchmarkConfigure(b *testing.B) {
	n := newNode(b)
	n.crowd(pods)
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
			if n.configure(w).Repaired != 11 {
				b.Fatal("there was something else to do")
			}
		}
	})
}

// As many ENIs as a large instance takes: what a change on the host costs when there
// is nothing to do.
func BenchmarkConfigure15(b *testing.B) {
	n := newNode(b)
	n.crowd(pods)
	var all []Wanted
	for i := range 15 {
		w := enis(b, i)
		n.plug(fmt.Sprintf("eth%d", i+1), w.MAC)
		n.configure(w)
		all = append(all, w)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, w := range all {
			if n.configure(w).Repaired != 0 {
				b.Fatal("there was something to do")
			}
		}
		if removed, err := n.host.Sweep(all); removed != 0 || err != nil {
			b.Fatal(removed, err)
		}
	}
}

// enis is what is wanted of the ENI at device index i+1.
func enis(t testing.TB, i int) Wanted {
	w := eni(t)
	w.MAC = net.HardwareAddr{0x02, 0, 0, 0, 0, byte(i + 1)}
	w.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 1, byte(10 + i)})}
	w.DeviceIndex = i + 1
	return w
}

// answers are the kernel's messages to a question for all objects.
func (n *node) answers(typ int, header nl.NetlinkRequestData) [][]byte {
	n.t.Helper()
	var all [][]byte
	n.must(n.host.conn.ask(typ, unix.NLM_F_DUMP, header, nil, func(msg []byte) error {
		all = append(all, slices.Clone(msg))
		return nil
	}))
	return all
}

// Reading what the kernel has told, without the kernel.
func BenchmarkDecode(b *testing.B) {
	n := newNode(b)
	n.crowd(pods)
	run := func(name string, msgs [][]byte, decode func([]byte) error) {
		b.Run(fmt.Sprintf("%s=%d", name, len(msgs)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, msg := range msgs {
					if err := decode(msg); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
	route := &nl.RtMsg{}
	run("links", n.answers(unix.RTM_GETLINK, nl.NewIfInfomsg(unix.AF_UNSPEC)), func(m []byte) error { _, err := decodeLink(m); return err })
	run("rules", n.answers(unix.RTM_GETRULE, route), func(m []byte) error { _, err := decodeRule(m); return err })
	run("routes", n.answers(unix.RTM_GETROUTE, route), func(m []byte) error { _, err := decodeRoute(m); return err })
}

// What there is of 15 ENIs, compared with what one of them wants.
func BenchmarkPlan(b *testing.B) {
	const dev = 7
	var have state
	for i := range 15 {
		s := wanted(enis(b, i), dev+i)
		have.rules = append(have.rules, s.rules...)
		if i == 0 {
			have.routes = s.routes
			for _, a := range s.addresses {
				a.dev = dev
				have.addresses = append(have.addresses, a)
			}
		}
	}
	w := enis(b, 0)
	b.Run("nothing to do", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if changes := plan(w, dev, have); len(changes) != 0 {
				b.Fatal(changes)
			}
		}
	})
	b.Run("all to do", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if changes := plan(w, dev, state{}); len(changes) != 7 {
				b.Fatal(changes)
			}
		}
	})
}
