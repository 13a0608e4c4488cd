package cni

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// wants fails unless the error has this text.
func (n *node) wants(err error, want string) {
	n.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		n.Errorf("got the error: %v\nwant: %s", err, want)
	}
}

func addressesOf(result *current.Result) string {
	var addresses []string
	for _, ip := range result.IPs {
		addresses = append(addresses, ip.Address.String())
	}
	return strings.Join(addresses, " ")
}

func (n *node) links() []string {
	n.Helper()
	var names []string
	n.must(n.ns.Do(func() error {
		links, err := net.Interfaces()
		for _, link := range links {
			names = append(names, link.Name)
		}
		return err
	}))
	return names
}

// routes are those of a network namespace that are not the kernel's own.
func (n *node) routes(ns *netns.Namespace) string {
	n.Helper()
	handle, err := ns.Netlink()
	n.must(err)
	defer handle.Close()
	list, err := handle.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, 0)
	n.must(err)
	var routes []string
	for _, r := range list {
		if r.Protocol == 2 || r.Dst.IP.IsLinkLocalUnicast() || r.Dst.IP.IsMulticast() {
			continue
		}
		routes = append(routes, fmt.Sprintf("%s via %s", r.Dst, r.Gw))
	}
	slices.Sort(routes)
	return strings.Join(routes, ", ")
}

func TestPTP(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.offer(eniOf("10.0.0.16/28"))
	seen := map[string]bool{}
	for i := range 16 {
		result, err := n.add(fmt.Sprint("pod", i))
		n.must(err)
		seen[addressesOf(result)] = true
	}
	if len(seen) != 16 || !seen["10.0.0.16/24"] || !seen["10.0.0.31/24"] {
		t.Errorf("pods got %d addresses of 16: %v", len(seen), seen)
	}
	_, err := n.add("onemore")
	n.wants(err, "NodeENI storage has no free addresses on node n1: 16 of 16 are in use; increase spec.ipv4.prefixes of the NodeENI")
	n.must(n.CheckNetworkList(t.Context(), n.list("storage"), n.Attachment("pod3", "net1")))

	n.must(n.del("pod3"))
	n.must(n.del("pod3"))
	n.must(n.RemoveSandbox("pod4")) // DEL is lost
	_, err = n.attach("onemore")
	n.must(err)
	_, err = n.attach("onemore")
	n.wants(err, "default/onemore already has interface net1")
	_, err = n.add("another")
	n.must(err)
	_, err = n.add("toomany")
	n.wants(err, "16 of 16 are in use")
}

func TestPTPReachesThePod(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.fields["routeVPC"] = true
	n.offer(eniOf("10.0.0.16/28", "2001:db8:0:1:5::/80"))
	pod, _, err := n.Sandbox("pod1")
	n.must(err)
	result, err := n.attach("pod1")
	n.must(err)
	if got, want := addressesOf(result), "10.0.0.16/24 2001:db8:0:1:5::/64"; got != want {
		t.Errorf("the pod has %s, want %s", got, want)
	}
	const want = "10.0.0.0/16 via 10.0.0.4, 10.0.0.0/24 via 10.0.0.4, 10.0.0.4/32 via <nil>, 10.0.1.0/24 via 10.0.0.4, " +
		"2001:db8:0:1::/64 via fe80::1, 2001:db8:0:2::/64 via fe80::1, 2001:db8::/56 via fe80::1"
	if got := n.routes(pod); got != want {
		t.Errorf("the pod has the routes\n%s, want\n%s", got, want)
	}
	n.must(n.CheckNetworkList(t.Context(), n.list("storage"), n.Attachment("pod1", "net1")))

	// The host answers for the gateway, which is the ENI's own address.
	n.must(pod.Do(func() error {
		listener, err := net.Listen("tcp", "10.0.0.16:80")
		if err != nil {
			return err
		}
		t.Cleanup(func() { listener.Close() })
		return nil
	}))
	n.must(n.ns.Do(func() error {
		conn, err := net.Dial("tcp", "10.0.0.16:80")
		if err != nil {
			return err
		}
		if got := conn.LocalAddr().(*net.TCPAddr).IP.String(); got != "10.0.0.4" {
			t.Errorf("the host speaks to the pod as %s", got)
		}
		return conn.Close()
	}))
}

func TestHostDevice(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.fields["mode"] = "host-device"
	e := eniOf("10.0.0.16/28")
	e.Link = "formerly" // the agent has renamed it since
	e.Addresses = e.Addresses[:1]
	n.offer(e)
	result, err := n.add("pod1")
	n.must(err)
	if got := addressesOf(result); got != "10.0.0.4/24" || result.Interfaces[0].Mac != mac {
		t.Errorf("the pod has %s on %+v", got, result.Interfaces[0])
	}
	n.must(n.CheckNetworkList(t.Context(), n.list("storage"), n.Attachment("pod1", "net1")))
	_, err = n.add("pod2")
	n.wants(err, "NodeENI storage cannot provide a network for the pod on node n1: eni-1 is used by default/pod1, but mode host-device needs the whole ENI")
	n.fields["mode"] = "ptp"
	_, err = n.attach("pod2")
	n.wants(err, "eni-1 is used by default/pod1")

	n.must(n.del("pod1"))
	if links := n.links(); !slices.Contains(links, "eth1") {
		t.Errorf("the host has %s after DEL", links)
	}
	_, err = n.attach("pod2")
	n.must(err)
	n.fields["mode"] = "host-device"
	_, err = n.add("pod3")
	n.wants(err, "eni-1 is used by default/pod2")
}

// The link is gone, and with it the interface, when the ENI was detached meanwhile.
func TestHostDeviceWithoutItsLink(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.fields["mode"] = "host-device"
	e := eniOf()
	e.Addresses = e.Addresses[:1]
	n.offer(e)
	_, err := n.add("pod1")
	n.must(err)
	n.must(n.ns.Do(func() error { return netlink.LinkDel(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "vpc1"}}) }))
	n.must(n.del("pod1"))
	if files := n.store(); len(files) > 0 {
		t.Errorf("there are %s after DEL", files)
	}
	_, err = n.attach("pod1")
	n.wants(err, "NodeENI storage on node n1: the node has no link with the MAC 02:00:00:00:00:01 of eni-1; the kubelet retries")
	if files := n.store(); len(files) > 0 {
		t.Errorf("there are %s after the ADD that failed", files)
	}
}

func TestIPVLAN(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	there := false
	n.must(n.ns.Do(func() error {
		there = kernelHas(IPVLAN)
		return nil
	}))
	if !there {
		t.Skip("******** This kernel has no ipvlan: pods with it are NOT tested. ********")
	}
	delete(n.fields, "mode") // it is the default here
	n.offer(eniOf("10.0.0.16/28"))
	result, err := n.add("pod1")
	n.must(err)
	if got := addressesOf(result); got != "10.0.0.16/24" || result.Interfaces[0].Mac != mac {
		t.Errorf("the pod has %s on %+v", got, result.Interfaces[0])
	}
	n.must(n.CheckNetworkList(t.Context(), n.list("storage"), n.Attachment("pod1", "net1")))
	n.must(n.del("pod1"))
}

// Without a mode it is ipvlan or ptp, and asking the kernel leaves no link behind.
func TestDefaultMode(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	delete(n.fields, "mode")
	n.offer(eniOf("10.0.0.16/28"))
	_, err := n.add("pod1")
	n.must(err)
	want := PTP
	n.must(n.ns.Do(func() error {
		before := n.links()
		if kernelHas(IPVLAN) {
			want = IPVLAN
		}
		if !kernelHas("macvlan") || kernelHas("none-such") {
			t.Error("the kernel has macvlan, and no links of a kind none-such")
		}
		if after := n.links(); !slices.Equal(before, after) {
			t.Errorf("the node has the links %s, before %s", after, before)
		}
		return nil
	}))
	a, err := podnetwork.ReadAttachment(n.dir, "pod1", "net1")
	n.must(err)
	if a.Mode != want {
		t.Errorf("the mode is %s, want %s", a.Mode, want)
	}
}

func TestChain(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.after = []map[string]any{{"type": "tuning", "sysctl": map[string]string{"net.ipv4.conf.net1.arp_filter": "1"}}, {"type": "sbr"}}
	n.offer(eniOf("10.0.0.16/28"))
	pod, _, err := n.Sandbox("pod1")
	n.must(err)
	result, err := n.attach("pod1")
	n.must(err)
	if got := addressesOf(result); got != "10.0.0.16/24" {
		t.Errorf("the end of the chain has %s", got)
	}
	if err := pod.Do(func() error {
		rules, err := netlink.RuleList(netlink.FAMILY_V4)
		if !slices.ContainsFunc(rules, func(r netlink.Rule) bool { return r.Src != nil && r.Src.String() == "10.0.0.16/32" }) {
			t.Errorf("sbr made no rule: %v", rules)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	n.must(n.del("pod1"))

	n.after = []map[string]any{{"type": "eni", "nodeENI": "storage", "networksDir": n.networks, "dataDir": n.dir, "mode": "ptp"}}
	_, err = n.add("pod2")
	n.wants(err, `network "storage": eni must be the first plugin in the list`)
}

func TestRequestedAddress(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.offer(eniOf("10.0.0.16/28"))
	result, err := n.add("pod1", "10.0.0.20/24")
	n.must(err)
	if got := addressesOf(result); got != "10.0.0.20/24" {
		t.Errorf("the pod has %s", got)
	}
	_, err = n.add("pod2", "10.0.0.20")
	n.wants(err, "eni-1 has the requested address 10.0.0.20, but default/pod1 uses it")
	_, err = n.attach("pod2", "10.0.0.40")
	n.wants(err, "eni-1 does not have the requested address 10.0.0.40, only [10.0.0.16/28]")
}

func TestSeveralENIs(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	first, second := eniOf("10.0.0.16/32"), eniOf("10.0.0.32/32")
	second.ID = "eni-2"
	n.offer(first, second)
	var pods []string
	for _, pod := range []string{"pod1", "pod2"} {
		_, err := n.add(pod)
		n.must(err)
		a, err := podnetwork.ReadAttachment(n.dir, pod, "net1")
		n.must(err)
		pods = append(pods, fmt.Sprint(a.Pod, a.ENI, a.Addresses))
	}
	if got, want := strings.Join(pods, " "), "default/pod1eni-1[10.0.0.16] default/pod2eni-2[10.0.0.32]"; got != want {
		t.Errorf("pods are %s, want %s", got, want)
	}
	second.Ready, second.Reason, second.Message = false, "Modified", "the ENI is gone from EC2"
	n.offer(first, second)
	_, err := n.add("pod3")
	n.wants(err, "has no free addresses on node n1: 1 of 1 are in use; increase spec.ipv4.secondaryAddresses of the NodeENI; eni-2 is not Ready: Modified: the ENI is gone from EC2")
}

// An address that a pod holds is not given again, although another ENI, or another
// NodeENI, has it now.
func TestReplacedENI(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.offer(eniOf("10.0.0.16/31"))
	_, err := n.add("pod1")
	n.must(err)
	successor := eniOf("10.0.0.16/31")
	successor.ID = "eni-2"
	n.must(podnetwork.Write(n.networks, podnetwork.Network{NodeENI: "other", Node: "n1", ENIs: []podnetwork.ENI{successor}}))
	n.fields["nodeENI"] = "other"
	result, err := n.add("pod2")
	n.must(err)
	if got := addressesOf(result); got != "10.0.0.17/24" {
		t.Errorf("pod2 has %s, pod1 10.0.0.16", got)
	}
	_, err = n.add("pod3")
	n.wants(err, "2 of 2 are in use")

	n.offer(successor)
	err = n.CheckNetworkList(t.Context(), n.list("storage"), n.Attachment("pod1", "net1"))
	n.wants(err, "NodeENI storage no longer has eni-1 on node n1, so [10.0.0.16] of default/pod1 cannot be reached; delete the pod so that it is created again")
	n.must(podnetwork.Remove(n.networks, "storage"))
	n.must(n.del("pod1"))
	_, err = n.attach("pod3")
	n.must(err)
}

func TestGC(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.offer(eniOf("10.0.0.16/28"))
	var kept []string
	for i := range 6 {
		pod := fmt.Sprint("pod", i)
		_, err := n.add(pod)
		n.must(err)
		if i%2 == 0 {
			kept = append(kept, pod)
		}
	}
	// Another network of the same NodeENI.
	_, _, err := n.Sandbox("other")
	n.must(err)
	_, err = n.AddNetworkList(t.Context(), n.list("another"), n.Attachment("other", "net1"))
	n.must(err)

	n.must(n.gc(kept...))
	if got, want := strings.Join(n.store(), " "), "other:net1.json pod0:net1.json pod2:net1.json pod4:net1.json 10.0.0.16 10.0.0.18 10.0.0.20 10.0.0.22"; got != want {
		t.Errorf("after GC there are\n%s, want\n%s", got, want)
	}
	if veths := len(n.links()) - 3; veths != 4 {
		t.Errorf("after GC the node has %d links of pods, want 4", veths)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	status := func() error { return n.GetStatusNetworkList(t.Context(), n.list("storage")) }
	n.wants(status(), "NodeENI storage has no network file on this node")
	_, err := n.add("pod1")
	n.wants(err, "NodeENI storage has no network file on this node")
	n.wants(err, "the kubelet retries")
	n.must(podnetwork.Write(n.networks, podnetwork.Network{NodeENI: "storage", Node: "n1", Reason: "NoSubnet", Message: "no subnet is in the zone"}))
	n.wants(status(), "NodeENI storage has no Ready ENI on node n1: the node has 0 ENIs of it: NoSubnet: no subnet is in the zone")
	n.offer(podnetwork.ENI{ID: "eni-1", Reason: "Attaching", Message: "it is being attached"})
	n.wants(status(), "NodeENI storage has no Ready ENI on node n1: eni-1 is not Ready: Attaching: it is being attached")
	_, err = n.attach("pod1")
	n.wants(err, "NodeENI storage cannot provide a network for the pod on node n1: eni-1 is not Ready: Attaching: it is being attached")
	n.offer(eniOf("10.0.0.16/28"))
	n.must(status())
}
