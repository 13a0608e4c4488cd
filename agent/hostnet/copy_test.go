package hostnet

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// watch has the Host hear what the kernel announces, as an agent does.
func (n *node) watch() {
	n.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	changed, err := n.host.Watch(ctx)
	n.must(err)
	var ended sync.WaitGroup
	ended.Go(func() {
		for range changed {
		}
	})
	n.t.Cleanup(func() { cancel(); ended.Wait() })
}

func (c *copier) compared() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.compares
}

// bridge makes a bridge as Docker does.
func (n *node) bridge(name, address string) netlink.Link {
	n.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	n.must(n.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
	l := n.link(name)
	n.must(n.nl.LinkSetUp(l))
	n.must(n.nl.AddrAdd(l, parseAddr(n.t, address)))
	return l
}

// container starts one on a bridge.
func (n *node) container(bridge netlink.Link, address, gateway string) *netns.Namespace {
	n.t.Helper()
	ns := newNamespace(n.t)
	h := handle(n.t, ns)
	n.ends++
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex = fmt.Sprintf("veth%d", n.ends), bridge.Attrs().Index
	n.must(ns.With(func(fd int) error {
		return n.nl.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(fd)})
	}))
	n.must(n.nl.LinkSetUp(n.link(attrs.Name)))
	l, err := h.LinkByName("eth0")
	n.must(err)
	n.must(h.LinkSetUp(l))
	n.must(h.AddrAdd(l, parseAddr(n.t, address)))
	n.must(h.RouteAdd(&netlink.Route{Gw: net.ParseIP(gateway)}))
	return ns
}

// tun makes the link of a VPN.
func (n *node) tun(name, address string) netlink.Link {
	n.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	n.must(n.ns.Do(func() error {
		return netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: attrs, Mode: unix.IFF_TUN, Flags: unix.IFF_NO_PI | netlink.TUNTAP_DEFAULTS, NonPersist: false})
	}))
	l := n.link(name)
	n.must(n.nl.LinkSetUp(l))
	n.must(n.nl.AddrAdd(l, parseAddr(n.t, address)))
	return l
}

func (n *node) route(dst string, l netlink.Link, edit ...func(*netlink.Route)) *netlink.Route {
	n.t.Helper()
	r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(dst), Scope: netlink.SCOPE_LINK}
	for _, f := range edit {
		f(r)
	}
	n.must(n.nl.RouteAdd(r))
	return r
}

func via(gateway string) func(*netlink.Route) {
	return func(r *netlink.Route) { r.Gw, r.Scope = net.ParseIP(gateway), netlink.SCOPE_UNIVERSE }
}

// copied is what the table of copies holds, first of IPv4 and then of IPv6.
func (n *node) copied() string {
	n.t.Helper()
	var all string
	text := n.describe()
	for _, f := range families {
		_, of, _ := strings.Cut(text, "# "+command(f)+" route show table 20000\n")
		of, _, _ = strings.Cut(of, "#")
		all += of
	}
	return all
}

func (n *node) seeCopied(when, want string) {
	n.t.Helper()
	if want = want[1:]; !eventually(func() bool { return n.copied() == want }) {
		n.t.Errorf("%s the copy is\n%swant\n%s", when, n.copied(), want)
	}
}

// leaves is the link by which what the ENI's address sends to another leaves.
func (n *node) leaves(from, to string) string {
	n.t.Helper()
	routes, err := n.nl.RouteGetWithOptions(net.ParseIP(to), &netlink.RouteGetOptions{SrcAddr: net.ParseIP(from)})
	if err != nil || len(routes) == 0 {
		return fmt.Sprint(err)
	}
	l, err := n.nl.LinkByIndex(routes[0].LinkIndex)
	n.must(err)
	return l.Attrs().Name
}

func (n *node) expectLeaves(when string, want map[string]string) {
	n.t.Helper()
	for to, dev := range want {
		from := "10.0.1.10"
		if strings.Contains(to, ":") {
			from = "2001:db8:1::10"
		}
		if !eventually(func() bool { return n.leaves(from, to) == dev }) {
			n.t.Errorf("%s what is sent from the ENI's address to %s leaves by %s, want %s", when, to, n.leaves(from, to), dev)
		}
	}
}

// What main reaches by links that are no ENIs, the ENI's addresses reach too, and
// nothing else.
func TestCopyOfMain(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.0.5/24")
	w := eni(t)
	n.plug("eth1", w.MAC)
	eth0 := n.link("eth0")
	docker := n.bridge("docker0", "172.17.0.1/16")
	vpn := n.tun("tun0", "10.8.0.2/24")
	n.route("10.0.0.2/32", eth0)                         // the resolver, as DHCP clients do
	n.route("10.20.0.0/16", eth0, via("10.0.0.1"))       // by option 121
	n.route("10.0.0.0/8", vpn)                           // has the primary's subnet in it, and the ENI's
	n.route("0.0.0.0/1", vpn)                            // a default route in two halves
	n.route("128.0.0.0/1", vpn)                          //
	n.route("192.168.0.0/24", docker, via("172.17.0.2")) //
	n.route("10.0.0.77/32", docker)                      // a pod in the primary's subnet
	n.must(n.nl.RouteAdd(&netlink.Route{Dst: ipNet("10.244.0.0/26"), Type: unix.RTN_BLACKHOLE}))
	n.must(n.nl.RouteAdd(&netlink.Route{Dst: ipNet("192.168.9.0/24"), MultiPath: []*netlink.NexthopInfo{
		{LinkIndex: docker.Attrs().Index, Gw: net.IPv4(172, 17, 0, 3)}, {LinkIndex: vpn.Attrs().Index}}}))
	n.must(n.nl.RouteAdd(&netlink.Route{Dst: ipNet("192.168.8.0/24"), MultiPath: []*netlink.NexthopInfo{
		{LinkIndex: docker.Attrs().Index, Gw: net.IPv4(172, 17, 0, 3)}, {LinkIndex: eth0.Attrs().Index, Gw: net.IPv4(10, 0, 0, 1)}}}))
	main := func() string {
		_, text, _ := strings.Cut(n.describe(), "# ip route show table main\n")
		text, _, _ = strings.Cut(text, "# ip route")
		return text
	}
	before := main()
	n.watch()
	n.configure(w)
	const copied = `
throw 10.0.0.0/24 proto kernel
10.0.0.0/8 dev tun0 proto kernel scope link
throw 10.0.0.2 proto kernel
10.0.0.77 dev docker0 proto kernel scope link
throw 10.0.1.0/24 proto kernel
10.8.0.0/24 dev tun0 proto kernel scope link
throw 10.20.0.0/16 proto kernel
172.17.0.0/16 dev docker0 proto kernel scope link
192.168.0.0/24 via 172.17.0.2 dev docker0 proto kernel
throw 192.168.8.0/24 proto kernel
192.168.9.0/24 proto kernel
`
	n.seeCopied("at first", copied)
	n.expectLeaves("at first", map[string]string{
		"10.0.0.1": "eth1", "10.0.0.2": "eth1", "10.0.0.77": "docker0", "10.0.1.77": "eth1", "10.1.1.1": "tun0", "10.20.0.1": "eth1",
		"172.17.0.9": "docker0", "192.168.0.9": "docker0", "8.8.8.8": "eth1", "200.1.1.1": "eth1", "192.168.8.1": "eth1",
	})
	if after := main(); after != before {
		t.Errorf("main was\n%sand is\n%s", before, after)
	}

	n.must(n.nl.RouteDel(&netlink.Route{Dst: ipNet("10.0.0.77/32"), LinkIndex: docker.Attrs().Index, Scope: netlink.SCOPE_LINK}))
	n.must(n.nl.RouteReplace(&netlink.Route{Dst: ipNet("10.0.0.0/8"), LinkIndex: docker.Attrs().Index, Scope: netlink.SCOPE_LINK}))
	n.must(n.nl.RouteDel(&netlink.Route{Dst: ipNet("10.20.0.0/16"), LinkIndex: eth0.Attrs().Index, Gw: net.IPv4(10, 0, 0, 1)}))
	n.route("10.20.0.0/16", vpn)
	n.must(n.nl.AddrDel(vpn, parseAddr(t, "10.8.0.2/24"))) // its last: takes all its routes
	n.seeCopied("changed,", `
throw 10.0.0.0/24 proto kernel
10.0.0.0/8 dev docker0 proto kernel scope link
throw 10.0.0.2 proto kernel
throw 10.0.1.0/24 proto kernel
172.17.0.0/16 dev docker0 proto kernel scope link
192.168.0.0/24 via 172.17.0.2 dev docker0 proto kernel
throw 192.168.8.0/24 proto kernel
192.168.9.0/24 proto kernel
`)
	// The table is emptied, as NetworkManager may do.
	n.must(n.nl.RouteDel(&netlink.Route{Table: 20000, Dst: ipNet("172.17.0.0/16"), LinkIndex: docker.Attrs().Index, Scope: netlink.SCOPE_LINK}))
	n.must(n.nl.RouteDel(&netlink.Route{Table: 20000, Dst: ipNet("10.0.0.0/24"), Type: unix.RTN_THROW}))
	n.expectLeaves("emptied,", map[string]string{"10.0.0.1": "eth1", "172.17.0.9": "docker0"})
	n.must(n.nl.LinkDel(docker))
	n.seeCopied("without the bridge,", `
throw 10.0.0.0/24 proto kernel
throw 10.0.0.2 proto kernel
throw 10.0.1.0/24 proto kernel
throw 192.168.8.0/24 proto kernel
`)
	w.Host = false
	n.configure(w)
	if text := n.describe(); strings.Contains(text, "20000") {
		t.Errorf("with None there is still\n%s", text)
	}
}

// The same with IPv6, of which the kernel has its own ways: several routes of one
// destination and metric, and routes to fe80::/64 by every link.
func TestCopyOfMainIPv6(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.0.5/24")
	n.primary6("2001:db8::5")
	w := dual(t)
	n.plug("eth1", w.MAC)
	docker := n.bridge("docker0", "fd00:17::1/64")
	eth0 := n.link("eth0")
	byVPN := n.route("fd00:99::/48", docker, via("fd00:17::2"))
	n.route("2000::/4", docker) // the default route of OpenVPN
	byPrimary := n.route("2001:db8:9::/48", eth0)
	n.watch()
	n.configure(w.only(unix.AF_INET))
	n.seeCopied("without an ENI with IPv6", `
throw 10.0.0.0/24 proto kernel
throw 10.0.1.0/24 proto kernel
`)
	n.configure(w)
	n.seeCopied("at first", `
throw 10.0.0.0/24 proto kernel
throw 10.0.1.0/24 proto kernel
throw 2001:db8::5 dev lo proto kernel metric 256
throw 2001:db8::/64 dev lo proto kernel metric 1024
throw 2001:db8:1::/64 dev lo proto kernel metric 1
throw 2001:db8:9::/48 dev lo proto kernel metric 1024
fd00:17::/64 dev docker0 proto kernel metric 256
fd00:99::/48 via fd00:17::2 dev docker0 proto kernel metric 1024
`)
	n.expectLeaves("at first", map[string]string{
		"2001:db8::1": "eth1", "2001:db8:1::77": "eth1", "2001:db8:9::1": "eth1", "2600::1": "eth1", "fd00:17::9": "docker0", "fd00:99::1": "docker0",
	})
	n.must(n.nl.RouteDel(byVPN))
	n.must(n.nl.RouteDel(byPrimary))
	n.route("2001:db8:9::/48", docker)
	n.route("2001:db8:1::/64", docker) // the ENI's own subnet
	n.bridge("br1", "fd00:17::3/64")   // beside docker0's
	const changed = `
throw 10.0.0.0/24 proto kernel
throw 10.0.1.0/24 proto kernel
throw 2001:db8::5 dev lo proto kernel metric 256
throw 2001:db8::/64 dev lo proto kernel metric 1024
throw 2001:db8:1::/64 dev lo proto kernel metric 1
2001:db8:1::/64 dev docker0 proto kernel metric 1024
2001:db8:9::/48 dev docker0 proto kernel metric 1024
fd00:17::/64 dev docker0 proto kernel metric 256
`
	n.seeCopied("changed,", changed)
	n.expectLeaves("changed,", map[string]string{"2001:db8:1::77": "eth1", "2001:db8:9::1": "docker0", "fd00:17::9": "docker0"})
	// Somebody empties the table.
	n.must(n.nl.RouteDel(&netlink.Route{Table: 20000, Dst: ipNet("fd00:17::/64"), LinkIndex: docker.Attrs().Index}))
	n.seeCopied("emptied,", changed)
	n.must(n.nl.LinkDel(docker))
	n.seeCopied("without the bridge,", `
throw 10.0.0.0/24 proto kernel
throw 10.0.1.0/24 proto kernel
throw 2001:db8::5 dev lo proto kernel metric 256
throw 2001:db8::/64 dev lo proto kernel metric 1024
throw 2001:db8:1::/64 dev lo proto kernel metric 1
fd00:17::/64 dev br1 proto kernel metric 256
`)
	n.must(n.host.Release(w))
	if text := n.describe(); strings.Contains(text, "20000") || strings.Contains(text, "20001") {
		t.Errorf("released, there is still\n%s", text)
	}
}

// A Host that starts finds the copy as another has left it, and changes nothing.
func TestCopyOutlivesARestart(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.0.5/24")
	one, two := enis(t, 0), enis(t, 1)
	two.Subnets, two.Addresses = cidrs("10.0.2.0/24"), addrs("10.0.2.10")
	n.plug("eth1", one.MAC)
	n.plug("eth2", two.MAC)
	n.route("10.0.0.0/8", n.bridge("docker0", "172.17.0.1/16"))
	n.route("fd00::/16", n.link("docker0"))
	one.Addresses, one.Subnets = append(one.Addresses, addrs("2001:db8:1::10")...), append(one.Subnets, cidrs("2001:db8:1::/64")...)
	n.configure(one)
	n.configure(two)
	var host *Host
	n.must(n.ns.Do(func() (err error) {
		host, err = Open()
		return err
	}))
	defer host.Close()
	n.must(host.Know(mac(t, "02:00:00:00:00:00"), one.MAC, two.MAC))
	if events := n.record(func() {
		for _, w := range []Wanted{one, two} {
			status, err := host.Configure(w)
			n.must(err)
			if status.Repaired != 0 {
				t.Errorf("the next Host repaired %d things", status.Repaired)
			}
		}
		_, err := host.Sweep([]Wanted{one, two})
		n.must(err)
	}); len(events) > 0 {
		t.Errorf("a restart has changed: %q", events)
	}
	// One that wants nothing any more, and knows nothing of what was here.
	n.must(host.Release(one))
	if !strings.Contains(n.describe(), "docker0 proto kernel scope link\n# ip route show table 20002") && n.copied() == "" {
		t.Errorf("the copy went with the first ENI:\n%s", n.describe())
	}
	n.must(host.Release(two))
	if strings.Contains(n.describe(), "20000") {
		t.Errorf("the copy is left over:\n%s", n.describe())
	}
}

// The primary's subnet is the ENI's at every moment, whatever happens to main, and
// however many pods come and go.
func TestCopyNeverTakesTheSubnets(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.0.5/24")
	w := eni(t)
	n.plug("eth1", w.MAC)
	n.watch()
	n.configure(w)
	stop := make(chan struct{})
	var watching sync.WaitGroup
	taken := map[string]string{}
	h := handle(t, n.ns)
	eth1 := n.link("eth1").Attrs().Index
	watching.Go(func() {
		for {
			for _, to := range []string{"10.0.0.1", "10.0.0.77", "10.0.1.77", "8.8.8.8"} {
				routes, err := h.RouteGetWithOptions(net.ParseIP(to), &netlink.RouteGetOptions{SrcAddr: net.IPv4(10, 0, 1, 10)})
				if err != nil || routes[0].LinkIndex != eth1 {
					taken[to] = fmt.Sprint(routes, err)
				}
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	docker := n.bridge("docker0", "172.17.0.1/16")
	eth0 := n.link("eth0")
	wide := n.route("10.0.0.0/8", docker)
	half := n.route("0.0.0.0/1", docker)
	subnet := &netlink.Route{Dst: ipNet("10.0.0.0/24"), LinkIndex: eth0.Attrs().Index, Scope: netlink.SCOPE_LINK, Protocol: unix.RTPROT_KERNEL}
	for range 20 { // a DHCP client sets its routes again
		n.must(n.nl.RouteDel(subnet))
		n.must(n.nl.RouteAdd(subnet))
		n.must(n.nl.RouteDel(wide))
		n.must(n.nl.RouteAdd(wide))
		time.Sleep(20 * time.Millisecond)
	}
	n.must(n.nl.RouteDel(half))
	n.must(n.nl.LinkSetDown(docker))
	n.must(n.nl.LinkSetUp(docker))
	n.must(n.nl.RouteReplace(wide))
	time.Sleep(2 * copyInterval)
	close(stop)
	watching.Wait()
	for to, by := range taken {
		t.Errorf("what the ENI sends to %s went by %s", to, by)
	}
	n.expectLeaves("in the end", map[string]string{"10.9.9.9": "docker0"})
}

// Pods cost one change each when they have a route in main, and no list of anything.
func TestCopyOfManyPods(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.0.5/24")
	w := dual(t)
	n.plug("eth1", w.MAC)
	n.watch()
	n.configure(w)
	compared := -1
	for compared != n.host.copier.compared() { // the ENI's own announcements, which the kernel may put off for a second
		compared = n.host.copier.compared()
		time.Sleep(1500 * time.Millisecond)
	}
	n.crowd(pods)
	six := func(i int) *net.IPNet { return ipNet(fmt.Sprintf("fd00:1::%x/128", i+1)) }
	for i := range pods {
		n.must(n.nl.RouteAdd(&netlink.Route{LinkIndex: n.link(fmt.Sprintf("eni%d", i)).Attrs().Index, Dst: six(i)}))
	}
	const without = 3 // the subnets
	lines := func() int { return strings.Count(n.copied(), "\n") }
	if !eventually(func() bool { return lines() == without+2*pods }) {
		t.Fatalf("%d routes are copied, want %d", lines(), without+2*pods)
	}
	for i := range pods { // some CNI plugins delete the route, some the link alone
		if l := n.link(fmt.Sprintf("eni%d", i)); i%2 == 0 {
			n.must(n.nl.RouteDel(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(fmt.Sprintf("10.1.%d.%d/32", i/250, i%250+1)), Scope: netlink.SCOPE_LINK}))
			n.must(n.nl.RouteDel(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: six(i)}))
		} else {
			n.must(n.nl.LinkDel(l))
		}
	}
	if !eventually(func() bool { return lines() == without }) {
		t.Errorf("%d routes are left, want %d", lines(), without)
	}
	// On a slow machine the socket may overflow, and then everything is compared.
	if after := n.host.copier.compared(); after-compared > pods/50 {
		t.Errorf("main was listed %d times for its pods", after-compared)
	}
}

// Packets, in both directions, with strict reverse path filters.
func TestContainersReachTheENI(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.0.5/24")
	w := dual(t)
	n.plug("eth1", w.MAC)
	docker := n.bridge("docker0", "172.17.0.1/16")
	sysctl(t, n.ns, map[string]string{"conf/all/rp_filter": "1", "conf/docker0/rp_filter": "1", "conf/eth0/rp_filter": "1", "conf/eth1/rp_filter": "1"})
	ns := n.container(docker, "172.17.0.2/16", "172.17.0.1")
	n.watch()
	n.configure(w)
	n.must(n.nl.AddrAdd(docker, parseAddr(t, "fd00:17::1/64")))
	ns6 := n.container(docker, "fd00:17::2/64", "fd00:17::1")
	serveHello(t, n.ns)
	serveHello(t, ns)
	serveHello(t, ns6)
	if err := ask(ns6, "", "[2001:db8:1::10]:8080"); err != nil {
		t.Errorf("a container asks the ENI's IPv6 address: %v", err)
	}
	if err := ask(n.ns, "2001:db8:1::10", "[fd00:17::2]:8080"); err != nil {
		t.Errorf("the ENI's IPv6 address asks a container: %v", err)
	}
	if err := ask(ns, "", "10.0.1.10:8080"); err != nil {
		t.Errorf("a container asks the ENI's address: %v", err)
	}
	if err := ask(n.ns, "10.0.1.10", "172.17.0.2:8080"); err != nil {
		t.Errorf("the ENI's address asks a container: %v", err)
	}
}

// Main keeps routes that the kernel would not take now: one whose gateway is out of
// reach, one of whose links is down. They are tried again less and less often, and
// copied soon after something has changed.
func TestCopyOfWhatTheKernelRefuses(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.0.10/24")
	n.plug("ens6", mac(t, "02:00:00:00:00:06"))
	br0, br1 := n.bridge("br0", "172.17.0.1/16"), n.bridge("br1", "172.18.0.1/16")
	n.route("10.77.0.0/16", br0, via("172.17.0.9"))
	n.must(n.nl.RouteAdd(&netlink.Route{Dst: ipNet("10.78.0.0/16"), MultiPath: []*netlink.NexthopInfo{
		{LinkIndex: br0.Attrs().Index, Gw: net.ParseIP("172.17.0.9")}, {LinkIndex: br1.Attrs().Index, Gw: net.ParseIP("172.18.0.9")},
	}}))
	n.must(n.nl.LinkSetDown(br1))
	n.must(n.nl.RouteDel(&netlink.Route{LinkIndex: br0.Attrs().Index, Dst: ipNet("172.17.0.0/16"), Scope: netlink.SCOPE_LINK}))
	n.watch()
	_, err := n.host.Configure(Wanted{
		MAC: mac(t, "02:00:00:00:00:06"), Host: true, Addresses: addrs("10.0.0.20"), Subnets: cidrs("10.0.0.0/24"), DeviceIndex: 2,
	})
	n.must(err)
	time.Sleep(2 * time.Second)
	if compared := n.host.copier.compared(); compared > 8 {
		t.Errorf("main was compared %d times within two seconds", compared)
	}
	n.route("172.17.0.0/16", br0)
	n.seeCopied("with the gateway in reach", `
throw 10.0.0.0/24 proto kernel
10.77.0.0/16 via 172.17.0.9 dev br0 proto kernel
172.17.0.0/16 dev br0 proto kernel scope link
`)
}
