package dra

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
)

// TestPrepareFails: a pod does not start before it would have its ENI, and the message
// says why.
func TestPrepareFails(t *testing.T) {
	n := newNode(t)
	unready := offered("c1", 0, "p1")
	unready.Devices[0].ENI.Ready, unready.Devices[0].ENI.Reason, unready.Devices[0].ENI.Message = false, "SubnetFull", "no free addresses"
	for want, prepare := range map[string]func(){
		"1 the agent has no ENI for the claim yet":                         func() {},
		"2 the agent has not seen yet for which pod the claim is reserved": func() { n.offer(offered("c1", 0)) },
		"3 for device appliance-0 is not Ready: SubnetFull: no free":       func() { n.offer(unready) },
		"4 unexpected end of JSON input": func() {
			n.must(os.MkdirAll(n.cfg.ClaimsDir, 0o755))
			n.must(os.WriteFile(n.cfg.ClaimsDir+"/c1.json", nil, 0o600))
		},
		"5 the container runtime is not connected: not connected": func() {
			n.offer(offered("c1", 0, "p1"))
			n.Driver = New(n.cfg, n.host)
		},
	} {
		prepare()
		if err := n.prepare("c1"); err == nil || !strings.Contains(err.Error(), want[2:]) {
			t.Errorf("%v, want %s", err, want)
		}
		n.must(claimnetwork.Remove(n.cfg.ClaimsDir, "c1"))
		n.setRuntime(nil)
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
	n := newLiveNode(t)
	n.offer(offered("c1", 0, "p1"))
	n.must(n.prepare("c1"))
	first, firstNS := n.sandbox("s1", "p1")
	n.must(n.startPod(first))
	n.offer(offered("c1", 0, "p1", "p2")) // the kubelet does not prepare it again
	second, secondNS := n.sandbox("s2", "p2")
	for what, err := range map[string]error{"sandbox": n.startPod(second), "container": n.createContainer(second)} {
		want := "claim default/claim-c1: the ENI is in pod default/pod-p1, and only one pod at a time can have it; delete that pod, or give"
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the %s of the second pod: %v, want %s", what, err, want)
		}
	}
	n.expect(firstNS, 0, "eni0")
	n.stopPod(first)
	n.must(n.startPod(second))
	n.expect(secondNS, 0, "eni0")
	other, _ := n.sandbox("s3", "p3")
	n.must(n.startPod(other)) // has no claim
	n.expect(secondNS, 0, "eni0")
	n.stopPod(first) // late
	n.expect(secondNS, 0, "eni0")
}

// TestRefused: a sandbox fails with a message if it cannot get all ENIs, and all links stay
// on the host.
func TestRefused(t *testing.T) {
	for want, change := range map[string]func(*liveNode, *claimnetwork.Claim, *claimnetwork.Pod){
		"the pod already has an interface net1; set another interfaceName": func(_ *liveNode, c *claimnetwork.Claim, _ *claimnetwork.Pod) {
			c.Devices[1].Parameters.InterfaceName = "net1"
		},
		"the pod already has an interface both; set another interfaceName": func(_ *liveNode, c *claimnetwork.Claim, _ *claimnetwork.Pod) {
			c.Devices[0].Parameters.InterfaceName, c.Devices[1].Parameters.InterfaceName = "both", "both"
		},
		"the pod uses the network of the host, where it cannot have an ENI of its own; remove hostNetwork or the claim": func(_ *liveNode, _ *claimnetwork.Claim, p *claimnetwork.Pod) {
			p.NetNS = ""
		},
		"the node has no link with the MAC 02:00:00:00:00:09": func(_ *liveNode, c *claimnetwork.Claim, _ *claimnetwork.Pod) {
			c.Devices[1].ENI.MAC = "02:00:00:00:00:09"
		},
		"add the route to 192.0.2.0/24 by eni1": func(_ *liveNode, c *claimnetwork.Claim, _ *claimnetwork.Pod) {
			c.Devices[1].Parameters.Routes = []claimnetwork.Route{{Dst: netip.MustParsePrefix("192.0.2.0/24"), GW: netip.MustParseAddr("203.0.113.1")}}
		},
		"mount the host's /proc/sys/net writable": func(n *liveNode, _ *claimnetwork.Claim, _ *claimnetwork.Pod) { n.SysctlDir = n.TempDir() },
	} {
		n := newLiveNode(t)
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
		n.must(n.unprepare("c1"))
		n.stop()
	}
}

// TestTwoDevices: a pod with two ENIs, one of which has a name, of one claim or of two.
func TestTwoDevices(t *testing.T) {
	named := offered("c2", 1, "p1")
	named.Devices[0].Parameters.InterfaceName = "inside"
	both := offered("c1", 0, "p1")
	both.Devices = append(both.Devices, named.Devices...)
	for what, all := range map[string][]claimnetwork.Claim{"one claim": {both}, "two claims": {offered("c1", 0, "p1"), named}} {
		t.Run(what, func(t *testing.T) {
			n := newLiveNode(t)
			for _, claim := range all {
				n.offer(claim)
				n.must(n.prepare(claim.UID))
			}
			pod, ns := n.sandbox("s1", "p1")
			n.must(n.startPod(pod))
			n.must(n.createContainer(pod)) // an init container
			n.must(n.createContainer(pod))
			n.expect(ns, 0, "eni0")
			n.expect(ns, 1, "inside")
			n.exchange(ns, "10.0.0.1", "10.0.0.5")
			n.exchange(ns, "10.0.1.1", "10.0.1.5")
			// Another link has taken the name meanwhile.
			n.must(n.host.Do(func() error {
				return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "ens6"}, PeerName: "other"})
			}))
			n.stopPod(pod)
			n.expect(n.host, 0, "eni020000000001")
			n.expect(n.host, 1, "ens7")
			for _, claim := range all {
				n.must(n.unprepare(claim.UID))
				if got := n.attachment(claim.UID); got != "-" {
					t.Errorf("the claim is attached to %q", got)
				}
			}
		})
	}
}

// TestOneOfTwoClaims: if the ENI of one claim cannot be moved, that of the other goes back.
func TestOneOfTwoClaims(t *testing.T) {
	n := newLiveNode(t)
	missing := offered("c2", 1, "p1")
	missing.Devices[0].ENI.MAC = "02:00:00:00:00:09"
	for _, claim := range []claimnetwork.Claim{offered("c1", 0, "p1"), missing} {
		n.offer(claim)
		n.must(n.prepare(claim.UID))
	}
	pod, ns := n.sandbox("s1", "p1")
	if err := n.startPod(pod); err == nil || !strings.Contains(err.Error(), "claim default/claim-c2: ENI eni-1 of NodeENI appliance: the node has no link") {
		t.Errorf("the sandbox: %v", err)
	}
	n.expect(n.host, 0, "ens6")
	n.offer(offered("c2", 1, "p1"))
	n.must(n.startPod(pod)) // the kubelet tries again
	n.expect(ns, 0, "eni0")
	n.expect(ns, 1, "eni1")
}
