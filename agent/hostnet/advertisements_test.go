package hostnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routersAdvertise has a router at the other end of each link of the node, which
// advertises itself a hundred times a second until the test ends. It offers itself as the
// default router, a prefix that is on the link and for addresses, a route, an MTU and DNS.
func (n *node) routersAdvertise(prefix string) {
	n.t.Helper()
	for _, of := range []string{"default", "eth0"} { // by default, routes are refused
		sysctlOf(n.t, n.ns, "ipv6", map[string]string{"conf/" + of + "/accept_ra_rt_info_max_plen": "128"})
	}
	var socket int
	n.must(n.fabricNS.Do(func() (err error) {
		socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	}))
	h := handle(n.t, n.fabricNS)
	stop := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
		defer unix.Close(socket)
		for ticks := time.NewTicker(10 * time.Millisecond); ; {
			links, _ := h.LinkList()
			for _, l := range links {
				if strings.HasPrefix(l.Attrs().Name, "end") {
					frame := advertisement(l.Attrs().HardwareAddr, net.ParseIP(prefix))
					_ = unix.Sendto(socket, frame, 0, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index}) // it may have gone
				}
			}
			select {
			case <-stop:
				return
			case <-ticks.C:
			}
		}
	})
	n.t.Cleanup(func() { close(stop); sending.Wait() })
}

// advertisement is a frame with a router advertisement, RFC 4861.
func advertisement(from net.HardwareAddr, prefix net.IP) []byte {
	be := binary.BigEndian
	icmp := []byte{routerAdvertisement, 0, 0, 0, 64, 0}
	icmp = be.AppendUint16(icmp, 1800)  // the router's lifetime
	icmp = be.AppendUint64(icmp, 0)     // no timers
	icmp = append(icmp, 3, 4, 64, 0xc0) // a prefix: on the link, for addresses
	icmp = be.AppendUint32(be.AppendUint32(icmp, 86400), 14400)
	icmp = append(be.AppendUint32(icmp, 0), prefix...)
	icmp = append(icmp, 24, 3, 48, 0) // a route, RFC 4191
	icmp = append(be.AppendUint32(icmp, 1800), net.ParseIP("2001:db8:99::")...)
	icmp = be.AppendUint32(append(icmp, 5, 1, 0, 0), 1400) // the MTU
	icmp = append(icmp, 25, 3, 0, 0)                       // a name server, RFC 8106
	icmp = append(be.AppendUint32(icmp, 1800), net.ParseIP("2001:db8:99::53")...)
	source, all := []byte(net.ParseIP("fe80::1")), []byte(net.ParseIP("ff02::1"))
	pseudo := slices.Concat(source, all, be.AppendUint32(nil, uint32(len(icmp))), []byte{0, 0, 0, unix.IPPROTO_ICMPV6}, icmp)
	var sum uint32
	for i := 0; i < len(pseudo); i += 2 {
		sum += uint32(be.Uint16(pseudo[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	be.PutUint16(icmp[2:], ^uint16(sum))
	ip := be.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(len(icmp)))
	ip = slices.Concat(append(ip, unix.IPPROTO_ICMPV6, 255), source, all)
	return slices.Concat([]byte{0x33, 0x33, 0, 0, 0, 1}, []byte(from), []byte{0x86, 0xdd}, ip, icmp)
}

// advertised records what the kernel takes of advertisements on other links than the
// primary's: each route of main, and each address that was not added.
func (n *node) advertised(added ...string) (seen func() []string) {
	n.t.Helper()
	e := n.listen()
	primary := n.link("eth0").Attrs().Index
	var all []string
	over := make(chan struct{})
	var hearing sync.WaitGroup
	hearing.Go(func() {
		for {
			datagram, err := e.socket.receive(time.Now().Add(20 * time.Millisecond))
			if errors.Is(err, os.ErrDeadlineExceeded) {
				select {
				case <-over:
					return
				default:
					continue
				}
			}
			if err != nil {
				all = append(all, "the subscription has failed: "+err.Error())
				return
			}
			for m := (messages{rest: datagram}); m.next(); {
				switch m.typ {
				case unix.RTM_NEWADDR:
					a, _ := decodeAddress(m.data)
					if addr := a.prefix.Addr(); a.dev != primary && addr.Is6() && !linkLocal(addr) && !slices.Contains(added, addr.String()) {
						all = append(all, a.String())
					}
				case unix.RTM_NEWROUTE:
					r, _ := decodeRoute(m.data)
					if r.table == unix.RT_TABLE_MAIN && r.dev != primary && r.dst.Addr().Is6() && !linkLocal(r.dst.Addr()) {
						all = append(all, r.String())
					}
				}
			}
		}
	})
	return func() []string {
		close(over)
		hearing.Wait()
		e.close()
		return all
	}
}

// guards are the notes on the rules that keep advertisements out.
func (n *node) guards() []string {
	n.t.Helper()
	notes, err := n.host.guard.have()
	n.must(err)
	return notes
}

// asAgent runs f with the one capability that the agent has.
func (n *node) asAgent(f func() error) {
	n.t.Helper()
	ended := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with this function, and is not used again
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		only := unix.CapUserData{Effective: 1 << unix.CAP_NET_ADMIN, Permitted: 1 << unix.CAP_NET_ADMIN}
		data := [2]unix.CapUserData{only}
		err := unix.Capset(&header, &data[0])
		if err == nil {
			err = f()
		}
		ended <- err
	}()
	n.must(<-ended)
}

// While ENIs come and go, and others set their links up before and after, nothing of what
// routers advertise gets into main, and no link gets an address. The primary is left alone.
func TestAdvertisements(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.0.5/24")
	w := dual(t)
	n.watch()
	n.routersAdvertise("2001:db8:66::")
	primaryHears := func() bool {
		text := n.describe()
		return strings.Contains(text, "default via fe80::1 dev eth0 proto ra") && strings.Contains(text, "2001:db8:99::/48 via fe80::1 dev eth0 proto ra")
	}
	if !eventually(primaryHears) {
		t.Fatal("the primary does not hear the router")
	}
	seen := n.advertised("2001:db8:1::10", "2001:db8:1::11")
	// heard waits for some advertisements. The kernel takes none before it shows the link as
	// UP, which may be a second after it was set up.
	heard := func(l netlink.Link) {
		t.Helper()
		n.comesUp(l.Attrs().Name)
		time.Sleep(50 * time.Millisecond)
	}
	configure := func() error { _, err := n.host.Configure(w); return err }
	for i := range 16 {
		w.Host = i%2 == 0
		n.asAgent(func() error { return n.host.Expect(w.MAC) })
		l := n.plug(fmt.Sprintf("ens%d", i+6), w.MAC)
		n.must(n.nl.LinkSetUp(l))
		heard(l)
		n.asAgent(configure)
		heard(l)
		n.must(n.nl.LinkSetDown(l))
		n.must(n.nl.LinkSetUp(l))
		heard(l)
		n.asAgent(configure)
		if i%4 < 2 {
			n.asAgent(func() error { return n.host.Release(w) })
			n.must(n.nl.LinkSetUp(l))
			heard(l)
		}
		n.must(n.nl.LinkDel(l))
		n.asAgent(func() error { _, err := n.host.Sweep(nil); return err })
	}
	if all := seen(); len(all) > 0 {
		t.Errorf("of advertisements, the kernel took for a moment, or for longer, %q", all)
	}
	if text := n.describe(); !primaryHears() || strings.Contains(text, "dev ens") {
		t.Errorf("in the end there is\n%s", text)
	}
	if left := n.guards(); len(left) > 0 {
		t.Errorf("left are rules for %q", left)
	}
}

// The agent's capability is enough to ask, and asking changes nothing.
func TestCheckNFTables(t *testing.T) {
	n := newNode(t)
	n.asAgent(CheckNFTables)
	if made := n.guards(); len(made) > 0 {
		t.Errorf("there are rules for %q", made)
	}
}

// Without nftables, the ENI works, and what is missing is said where it matters.
func TestAdvertisementsWithoutNftables(t *testing.T) {
	n := newNode(t)
	w := dual(t)
	n.plug("eth1", w.MAC)
	n.host.tables.close()
	var unguarded *AdvertisementError
	status, err := n.host.Configure(w)
	if !errors.As(err, &unguarded) || !strings.Contains(err.Error(), "net.ipv6.conf.eth1.accept_ra to 0") {
		t.Errorf("error is %v, want an AdvertisementError", err)
	}
	if text := n.describe(); !status.Present || !strings.Contains(text, "2001:db8:1::11/128 nodad noprefixroute") {
		t.Errorf("%+v, and there is\n%s", status, text)
	}
	n.configure(w.only(unix.AF_INET)) // in a subnet without IPv6 no router advertises itself
	sysctlOf(t, n.ns, "ipv6", map[string]string{"conf/eth1/accept_ra": "0"})
	n.configure(w)
}

// What the kernel took before the agent was there goes, and what others have added stays.
func TestAdvertisedBefore(t *testing.T) {
	for _, host := range []bool{true, false} {
		t.Run(fmt.Sprintf("Host: %v", host), func(t *testing.T) {
			n := newNode(t)
			n.primary("10.0.0.5/24")
			n.routersAdvertise("2001:db8:66::")
			w := dual(t)
			w.Host = host
			l := n.plug("ens6", w.MAC)
			n.must(n.nl.LinkSetUp(l))
			n.must(n.nl.AddrAdd(l, parseAddr(t, "2001:db8:77::7/64")))
			n.must(n.nl.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet("2001:db8:78::/64")}))
			taken := []string{"2001:db8:66::ff:fe00:1/64", "2001:db8:66::/64 dev ens6 proto kernel", "2001:db8:99::/48 via fe80::1 dev ens6 proto ra", "default via fe80::1 dev ens6 proto ra"}
			foreign := []string{"2001:db8:77::7/64", "2001:db8:77::/64 dev ens6 proto kernel", "2001:db8:78::/64 dev ens6", "default via fe80::1 dev eth0 proto ra", "2001:db8:66::/64 dev eth0"}
			has := func(s string) bool { return strings.Contains(n.describe(), s) }
			if !eventually(func() bool {
				return !slices.ContainsFunc(slices.Concat(taken, foreign), func(s string) bool { return !has(s) })
			}) {
				t.Fatalf("before, there is not %q and %q in\n%s", taken, foreign, n.describe())
			}
			n.configure(w)
			time.Sleep(30 * time.Millisecond)
			for _, s := range taken {
				if has(s) {
					t.Errorf("%q is still there:\n%s", s, n.describe())
				}
			}
			for _, s := range foreign {
				if !has(s) {
					t.Errorf("%q is gone:\n%s", s, n.describe())
				}
			}
		})
	}
}

// What the kernel takes because somebody has flushed our table is announced, and undone.
func TestAdvertisedAfterAFlush(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.0.5/24")
	n.routersAdvertise("2001:db8:66::")
	w := dual(t)
	w.Host = false
	n.plug("ens6", w.MAC)
	n.configure(w)
	n.noticed("configured", false)
	msgs := n.messages(func() {
		n.flush()
		if !eventually(func() bool { return strings.Contains(n.describe(), "default via fe80::1 dev ens6 proto ra") }) {
			t.Fatal("the kernel takes no advertisement")
		}
	})
	if !slices.ContainsFunc(msgs, func(m message) bool { return m.typ == unix.RTM_NEWROUTE && matters(m) }) {
		t.Error("Watch would not have signalled it")
	}
	n.noticed("after a flush", true)
	n.configure(w)
	time.Sleep(30 * time.Millisecond)
	if text := n.describe(); strings.Contains(text, "dev ens6") || len(n.guards()) != 1 {
		t.Errorf("repaired with rules for %q, there is\n%s", n.guards(), text)
	}
}

// The rules name the links of our ENIs, and of an awaited one all that are to come.
func TestGuard(t *testing.T) {
	n := newNode(t)
	one, two, three := enis(t, 0), enis(t, 1), enis(t, 2)
	see := func(when string, want ...string) {
		t.Helper()
		if got := n.guards(); !slices.Equal(got, want) {
			t.Errorf("%s, the rules are for %q, want %q", when, got, want)
		}
	}
	newest := func() string {
		links, err := n.nl.LinkList()
		n.must(err)
		return fmt.Sprintf("newer than %d", links[len(links)-1].Attrs().Index)
	}
	link := func(name string, w Wanted) string {
		return fmt.Sprintf("link %d %v", n.link(name).Attrs().Index, w.MAC)
	}
	sweep := func(keep ...Wanted) {
		t.Helper()
		_, err := n.host.Sweep(keep)
		n.must(err)
	}

	n.must(n.host.Expect(one.MAC))
	see("the first is expected", newest())
	n.plug("eth1", one.MAC)
	n.configure(one)
	see("the first is here", link("eth1", one))
	first := link("eth1", one)
	n.configure(two)
	see("the second is awaited", first, newest())
	n.plug("other", mac(t, "02:00:00:00:00:77"))
	n.configure(two)
	see("another link has come", first, newest())
	sweep(one, two)
	n.configure(two)
	sweep(one, two)
	see("it is awaited still", first, newest())
	sweep(one, two)
	see("it is not heard of any more", first)
	n.plug("eth2", two.MAC)
	n.configure(two)
	second := link("eth2", two)
	see("the second is here", first, second)

	// The next process takes over, and drops nothing that it has not seen yet.
	n.host.Close()
	n.must(n.ns.Do(func() (err error) {
		n.host, err = Open()
		return err
	}))
	n.configure(two)
	see("after a restart", first, second)
	sweep(one, two)
	see("swept", first, second)
	n.must(n.nl.LinkDel(n.link("eth1")))
	sweep(one, two)
	see("the first is in a pod", first, second)
	n.must(n.host.Release(one))
	sweep(two)
	see("the first is released, and gone", second)
	n.must(n.host.Release(two))
	sweep()
	see("the second is released", second)

	// The link of one may come while another is expected.
	before := newest()
	n.must(n.host.Expect(one.MAC))
	n.plug("eth1", one.MAC)
	n.must(n.host.Expect(three.MAC))
	see("the first has come, and has not been looked at", second, before)
	n.configure(one)
	see("it has been", second, link("eth1", one), newest())
	n.must(n.host.Release(one))
	n.must(n.nl.LinkDel(n.link("eth1")))
	n.must(n.nl.LinkDel(n.link("eth2")))
	sweep()
	sweep()
	see("and gone")
}
