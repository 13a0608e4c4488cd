package dra

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimlink"
	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// firstTable is the priority of rules and, with the index of the link added, the table of
// an ENI in a pod.
const firstTable = 20000

// TestPod: a pod with a claim carries packets by the ENI, of both families, and the link
// comes back.
func TestPod(t *testing.T) {
	n := newNode(t)
	claim := offered("c1", 0, "p1")
	claim.Devices[0].Parameters.RouteVPC = true
	n.offer(claim)
	n.must(n.prepare("c1"))
	pod, ns := n.sandbox("s1", "p1")
	n.must(ns.Do(func() error { // an attempt with another index of the link has left it
		rule := netlink.NewRule()
		rule.Src, rule.Table, rule.Priority = &net.IPNet{IP: net.IPv4(10, 0, 0, 5).To4(), Mask: net.CIDRMask(32, 32)}, 5, firstTable
		return netlink.RuleAdd(rule)
	}))
	n.must(n.startPod(pod))
	n.expect(ns, 0, "eni0")
	n.expect(n.host, 0, "")
	if got := n.attachment("c1"); got != "s1" {
		t.Errorf("the agent learns that %q has the link", got)
	}
	n.inspect(ns)
	for address, source := range map[string]string{
		"10.0.0.1": "10.0.0.5", "2001:db8::1": "2001:db8::5", // the subnet
		"10.0.1.1": "10.0.0.5", // the VPC, by the router
	} {
		n.exchange(ns, address, source)
	}
	n.repliesLeaveByTheENI(ns)
	n.stopPod("s1")
	n.expect(n.host, 0, "ens6")
	if got := n.attachment("c1"); got != "" {
		t.Errorf("after the end of the pod, the agent learns that %q has the link", got)
	}
	n.must(n.unprepare(ref("c1")))
	n.must(n.unprepare(ref("c1")))
	if got := n.attachment("c1"); got != "-" {
		t.Errorf("after the end of the claim, the agent learns that %q has the link", got)
	}
}

// repliesLeaveByTheENI: packets from the ENI's addresses leave by it, wherever they go, by
// one rule for each.
func (n *node) repliesLeaveByTheENI(ns *netns.Namespace) {
	n.Helper()
	n.must(ns.Do(func() error {
		link, err := netlink.LinkByName("eni0")
		if err != nil {
			return err
		}
		for source, target := range map[string]string{"10.0.0.5": "203.0.113.7", "2001:db8::5": "2001:db8:ffff::7"} {
			routes, err := netlink.RouteGetWithOptions(net.ParseIP(target), &netlink.RouteGetOptions{SrcAddr: net.ParseIP(source)})
			if err != nil || len(routes) != 1 || routes[0].LinkIndex != link.Attrs().Index {
				n.Errorf("packets from %s to %s leave by %v, %v", source, target, routes, err)
			}
			if _, err := netlink.RouteGet(net.ParseIP(target)); err == nil {
				n.Errorf("the pod's own packets to %s have a route", target)
			}
		}
		rules, err := netlink.RuleListFiltered(netlink.FAMILY_ALL, &netlink.Rule{Priority: firstTable}, netlink.RT_FILTER_PRIORITY)
		if err != nil || len(rules) != 2 {
			n.Errorf("there are the rules %v, %v", rules, err)
		}
		return nil
	}))
}

// inspect checks what main has in the pod, and that the ENI's own packets never use it.
func (n *node) inspect(ns *netns.Namespace) {
	n.Helper()
	n.must(ns.Do(func() error {
		link, err := netlink.LinkByName("eni0")
		if err != nil {
			return err
		}
		if link.Attrs().MTU != 1400 {
			n.Errorf("the MTU is %d", link.Attrs().MTU)
		}
		sysctl, err := os.ReadFile("/proc/sys/net/ipv6/conf/eni0/accept_ra")
		if err != nil || strings.TrimSpace(string(sysctl)) != "0" {
			n.Errorf("accept_ra is %q, %v", sysctl, err)
		}
		for table, want := range map[int][]string{
			unix.RT_TABLE_MAIN: {
				"10.0.0.0/24", "10.0.0.0/16 via 10.0.0.1", "10.0.9.0/24 via 10.0.0.1",
				"2001:db8::/64", "2001:db8:0:9::/64 via fe80:ec2::1", "fe80::/64",
			},
			firstTable + link.Attrs().Index: {"10.0.0.0/24", "0.0.0.0/0 via 10.0.0.1", "2001:db8::/64", "::/0 via fe80:ec2::1"},
		} {
			routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: table, LinkIndex: link.Attrs().Index},
				netlink.RT_FILTER_TABLE|netlink.RT_FILTER_OIF)
			if err != nil {
				return err
			}
			var got []string
			for _, r := range routes {
				text := r.Dst.String()
				if r.Gw != nil {
					text += " via " + r.Gw.String()
				}
				if !r.Dst.IP.IsMulticast() {
					got = append(got, text)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(slices.Compact(got), want) {
				n.Errorf("table %d has %q, want %q", table, got, want)
			}
		}
		return nil
	}))
}

// exchange has the pod and the VPC exchange bytes. It retries while the first packets get
// lost to neighbor discovery on a busy machine.
func (n *node) exchange(ns *netns.Namespace, address, source string) {
	n.Helper()
	listener, err := n.vpc.Listen(n.Context(), "tcp", net.JoinHostPort(address, "0"))
	n.must(err)
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
			fmt.Fprint(conn, host)
			_ = conn.Close()
		}
	}()
	n.must(ns.Do(func() error {
		conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(n.Context(), "tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		defer conn.Close()
		buffer := make([]byte, 64)
		got, _ := conn.Read(buffer)
		if seen, err := netip.ParseAddr(string(buffer[:got])); err != nil || seen != netip.MustParseAddr(source) {
			n.Errorf("%s sees the address %q, want %s", address, buffer[:got], source)
		}
		return nil
	}))
}

// TestPrepareFails: a pod does not start before it would have its ENI, and the message
// says why.
func TestPrepareFails(t *testing.T) {
	n := newNode(t)
	unready := offered("c1", 0, "p1")
	unready.Devices[0].ENI.Ready, unready.Devices[0].ENI.Reason, unready.Devices[0].ENI.Message = false, "SubnetFull", "no free addresses"
	for want, prepare := range map[string]func(){
		"1 the agent has no ENI for the claim yet":                         func() {},
		"2 the agent has not seen yet which pod the claim is reserved for": func() { n.offer(offered("c1", 0)) },
		"3 for device appliance-0 is not Ready: SubnetFull: no free":       func() { n.offer(unready) },
		"4 unexpected end of JSON input": func() {
			n.must(os.MkdirAll(n.cfg.ClaimsDir, 0o755))
			n.must(os.WriteFile(n.cfg.ClaimsDir+"/c1.json", nil, 0o600))
		},
		"5 does not receive the events of pods from the container runtime: not connected": func() {
			n.offer(offered("c1", 0, "p1"))
			n.Driver = New(n.cfg, n.host)
		},
	} {
		prepare()
		if err := n.prepare("c1"); err == nil || !strings.Contains(err.Error(), want[2:]) {
			t.Errorf("%v, want %s", err, want)
		}
		n.must(claimnetwork.Remove(n.cfg.ClaimsDir, "c1"))
		n.setOffline(nil)
		if got := n.attachment("c1"); got != "-" {
			t.Errorf("after %s it is attached to %q", want, got)
		}
	}
	time.AfterFunc(patience/4, func() { n.offer(offered("c1", 0, "p1")) })
	if err := n.prepare("c1"); err != nil {
		t.Errorf("it does not wait for the agent: %v", err)
	}
}

// TestClaimOfTwoPods: the second pod waits until the first has ended.
func TestClaimOfTwoPods(t *testing.T) {
	n := newNode(t)
	n.offer(offered("c1", 0, "p1"))
	n.must(n.prepare("c1"))
	first, firstNS := n.sandbox("s1", "p1")
	n.must(n.startPod(first))
	n.offer(offered("c1", 0, "p1", "p2")) // the kubelet does not have it prepared again
	second, secondNS := n.sandbox("s2", "p2")
	err := n.startPod(second)
	want := "claim default/claim-c1: the ENI is in pod default/pod-p1, and only one pod at a time can have it"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("the second pod: %v, want %s", err, want)
	}
	n.expect(firstNS, 0, "eni0")
	n.stopPod("s1")
	n.must(n.startPod(second))
	n.expect(secondNS, 0, "eni0")
	other, _ := n.sandbox("s3", "p3")
	n.must(n.startPod(other)) // has no claim
	n.expect(secondNS, 0, "eni0")
}

// TestRefused: what cannot be is refused, and the links stay on the host.
func TestRefused(t *testing.T) {
	for want, change := range map[string]func(*node, *claimnetwork.Claim, *claimnetwork.Pod){
		"the pod already has an interface net1; set another interfaceName": func(_ *node, c *claimnetwork.Claim, _ *claimnetwork.Pod) {
			c.Devices[1].Parameters.InterfaceName = "net1"
		},
		"the pod uses the network of the host": func(_ *node, _ *claimnetwork.Claim, p *claimnetwork.Pod) { p.NetNS = "" },
		"the node has no link with the MAC 02:00:00:00:00:09": func(_ *node, c *claimnetwork.Claim, _ *claimnetwork.Pod) {
			c.Devices[1].ENI.MAC = "02:00:00:00:00:09"
		},
		"add the route to 192.0.2.0/24 by eni1": func(_ *node, c *claimnetwork.Claim, _ *claimnetwork.Pod) {
			c.Devices[1].Parameters.Routes = []claimnetwork.Route{{Dst: netip.MustParsePrefix("192.0.2.0/24"), GW: netip.MustParseAddr("203.0.113.1")}}
		},
		"mount the host's /proc/sys/net writable": func(n *node, _ *claimnetwork.Claim, _ *claimnetwork.Pod) { n.SysctlDir = n.TempDir() },
	} {
		n := newNode(t)
		claim := offered("c1", 0, "p1")
		claim.Devices = append(claim.Devices, offered("c1", 1).Devices...)
		pod, ns := n.sandbox("s1", "p1")
		n.must(ns.Do(func() error {
			return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "net1"}, PeerName: "net2"})
		}))
		change(n, &claim, &pod)
		n.offer(claim)
		n.must(n.prepare("c1"))
		if err := n.startPod(pod); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		n.expect(n.host, 0, "ens6")
		n.expect(n.host, 1, "ens7")
		if got := n.attachment("c1"); got != "" {
			t.Errorf("%s: the attachment is of %q", want, got)
		}
		n.must(n.unprepare(ref("c1")))
	}
}

// TestTwoDevices: a claim of two ENIs, and one that asks for a name.
func TestTwoDevices(t *testing.T) {
	n := newNode(t)
	claim := offered("c1", 0, "p1")
	claim.Devices = append(claim.Devices, offered("c1", 1).Devices...)
	claim.Devices[1].Parameters.InterfaceName = "inside"
	n.offer(claim)
	n.must(n.prepare("c1"))
	pod, ns := n.sandbox("s1", "p1")
	n.must(n.startPod(pod))
	n.expect(ns, 0, "eni0")
	n.expect(ns, 1, "inside")
	n.exchange(ns, "10.0.0.1", "10.0.0.5")
	n.exchange(ns, "10.0.1.1", "10.0.1.5")
	// Another link has taken the name meanwhile.
	n.must(n.host.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "ens6"}, PeerName: "other"})
	}))
	n.stopPod("s1")
	n.expect(n.host, 0, "eni020000000001")
	n.expect(n.host, 1, "ens7")
}

// TestNewSandbox: when a pod gets another sandbox, the link follows, whether or not the
// runtime told of the end of the first.
func TestNewSandbox(t *testing.T) {
	n := newNode(t)
	n.offer(offered("c1", 0, "p1"))
	n.must(n.prepare("c1"))
	first, firstNS := n.sandbox("s1", "p1")
	n.must(n.startPod(first))
	second, secondNS := n.sandbox("s2", "p1")
	n.must(n.startPod(second))
	n.expect(firstNS, 0, "")
	n.expect(secondNS, 0, "eni0")
	n.exchange(secondNS, "2001:db8::1", "2001:db8::5")
	n.stopPod("s1") // late
	n.expect(secondNS, 0, "eni0")
	n.must(n.prepare("c1")) // the kubelet has restarted
	n.expect(secondNS, 0, "eni0")
	n.must(n.unprepare(ref("c1"))) // the sandbox has not ended
	n.expect(n.host, 0, "ens6")
}

// TestSandboxIsGone: a pod's namespace ends without a word of the runtime. A veth ends
// with it; what would come back by itself is the ENI's.
func TestSandboxIsGone(t *testing.T) {
	n := newNode(t)
	n.offer(offered("c1", 0, "p1"))
	n.must(n.prepare("c1"))
	pod, ns := n.sandbox("s1", "p1")
	n.must(n.startPod(pod))
	n.end(pod, ns)
	n.eventually("the kernel removes the link", func() bool {
		links := 0
		n.must(n.vpc.Do(func() error {
			all, err := netlink.LinkList()
			links = len(all)
			return err
		}))
		return links == 2 // lo, and the other ENI's
	})
	if got := n.attachment("c1"); got != "" {
		t.Errorf("the agent learns that %q has the link", got)
	}
	n.plug(0)
	n.must(n.host.Do(func() error { // as hardware comes back
		link, err := netlink.LinkByName("ens6")
		if err == nil {
			err = netlink.LinkSetDown(link)
		}
		if err == nil {
			err = netlink.LinkSetName(link, "eni0")
		}
		return err
	}))
	again, againNS := n.sandbox("s2", "p1")
	n.must(n.startPod(again))
	n.expect(againNS, 0, "eni0")
	n.end(again, againNS)
	n.must(n.unprepare(ref("c1")))
}

// TestBackByItself: a link that the kernel has given back has its former name again.
func TestBackByItself(t *testing.T) {
	n := newNode(t)
	n.offer(offered("c1", 0, "p1"))
	n.must(n.prepare("c1"))
	pod, ns := n.sandbox("s1", "p1")
	n.must(n.startPod(pod))
	link, _, err := claimlink.Find(ns, macOf(0))
	n.must(err)
	n.must(claimlink.Move(link, ns, n.host, "eni0"))
	n.end(pod, ns)
	n.stopPod("s1")
	n.expect(n.host, 0, "ens6")
}

// TestKilled: it is killed after each step of a move, and goes on from there: the pod runs
// on with its link, or the link comes back when the pod has ended meanwhile.
func TestKilled(t *testing.T) {
	begin := func(n *node, pod claimnetwork.Pod) claimnetwork.Attachment {
		a, err := claimnetwork.ReadAttachment(n.cfg.DataDir, "c1")
		n.must(err)
		pod.Interfaces = []string{"eni0"}
		a.Pod = &pod
		n.must(claimnetwork.WriteAttachment(n.cfg.DataDir, a))
		return a
	}
	moved := func(n *node, pod claimnetwork.Pod, ns *netns.Namespace) claimnetwork.Attachment {
		a := begin(n, pod)
		link, _, err := claimlink.Find(n.host, macOf(0))
		n.must(err)
		n.must(claimlink.Move(link, n.host, ns, "eni0"))
		return a
	}
	for step, do := range map[string]func(*node, claimnetwork.Pod, *netns.Namespace){
		"prepared": func(*node, claimnetwork.Pod, *netns.Namespace) {},
		"begun":    func(n *node, pod claimnetwork.Pod, _ *netns.Namespace) { begin(n, pod) },
		"moved":    func(n *node, pod claimnetwork.Pod, ns *netns.Namespace) { moved(n, pod, ns) },
		"configured": func(n *node, pod claimnetwork.Pod, ns *netns.Namespace) {
			a := moved(n, pod, ns)
			n.must(claimlink.Configure(ns, n.SysctlDir, a.Claim.Devices[0]))
		},
		"done": func(n *node, pod claimnetwork.Pod, _ *netns.Namespace) { n.must(n.startPod(pod)) },
		"returned": func(n *node, pod claimnetwork.Pod, ns *netns.Namespace) {
			n.must(n.startPod(pod))
			link, _, err := claimlink.Find(ns, macOf(0))
			n.must(err)
			n.must(claimlink.Move(link, ns, n.host, "ens6"))
		},
	} {
		for _, ended := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, ended=%v", step, ended), func(t *testing.T) {
				n := newNode(t)
				n.offer(offered("c1", 0, "p1"))
				n.must(n.prepare("c1"))
				pod, ns := n.sandbox("s1", "p1")
				do(n, pod, ns)
				n.Driver = New(n.cfg, n.host)
				if ended {
					n.synchronize(nil)
					n.expect(n.host, 0, "ens6")
					if got := n.attachment("c1"); got != "" {
						t.Errorf("the agent learns that %q has the link", got)
					}
				} else if step != "returned" { // what goes back is of a pod that ends
					n.synchronize([]claimnetwork.Pod{pod})
					n.expect(ns, 0, "eni0")
					n.exchange(ns, "10.0.0.1", "10.0.0.5")
				}
				n.must(n.unprepare(ref("c1")))
				n.expect(n.host, 0, "ens6")
			})
		}
	}
}

// TestRestartChangesNothing: what a pod has changed of its link stays.
func TestRestartChangesNothing(t *testing.T) {
	n := newNode(t)
	n.offer(offered("c1", 0, "p1"))
	n.must(n.prepare("c1"))
	pod, ns := n.sandbox("s1", "p1")
	n.must(n.startPod(pod))
	changes := make(chan netlink.LinkUpdate, 10)
	done := make(chan struct{})
	defer close(done)
	n.must(ns.Do(func() error {
		link, err := netlink.LinkByName("eni0")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMTU(link, 1300); err != nil {
			return err
		}
		return netlink.LinkSubscribe(changes, done)
	}))
	n.Driver = New(n.cfg, n.host)
	n.synchronize([]claimnetwork.Pod{pod})
	n.must(n.startPod(pod)) // before each container
	select {
	case change := <-changes:
		t.Errorf("the link is changed: %v", change)
	case <-time.After(100 * time.Millisecond):
	}
}

// TestReboot: what was prepared before the node booted is prepared again by the kubelet,
// and no pod of that time has a link.
func TestReboot(t *testing.T) {
	n := newNode(t)
	n.offer(offered("c1", 0, "p1"))
	n.must(n.prepare("c1"))
	pod, ns := n.sandbox("s1", "p1")
	n.must(n.startPod(pod))
	a, err := claimnetwork.ReadAttachment(n.cfg.DataDir, "c1")
	n.must(err)
	a.Boot = "before"
	n.must(claimnetwork.WriteAttachment(n.cfg.DataDir, a))
	link, _, err := claimlink.Find(ns, macOf(0))
	n.must(err)
	n.must(claimlink.Move(link, ns, n.host, "ens5")) // has another name now
	n.end(pod, ns)
	n.Driver = New(n.cfg, n.host)
	n.synchronize(nil)
	n.setOffline(nil)
	claim := offered("c1", 0, "p1")
	claim.Devices[0].ENI.Link = "ens5"
	n.offer(claim)
	n.must(n.prepare("c1"))
	again, againNS := n.sandbox("s2", "p1")
	n.must(n.startPod(again))
	n.expect(againNS, 0, "eni0")
	if got := n.attachment("c1"); got != "s2" {
		t.Errorf("the agent learns that %q has the link", got)
	}
}
