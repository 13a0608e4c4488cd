package dra

import (
	"fmt"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimlink"
	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// TestNewSandbox: when a pod gets another sandbox, the link follows, whether or not the
// runtime told of the end of the first.
func TestNewSandbox(t *testing.T) {
	n := newLiveNode(t)
	n.offer(offered("c1", 0, "p1"))
	n.must(n.prepare("c1"))
	first, firstNS := n.sandbox("s1", "p1")
	n.must(n.startPod(first))
	second, secondNS := n.sandbox("s2", "p1")
	n.must(n.startPod(second))
	n.expect(firstNS, 0, "")
	n.expect(secondNS, 0, "eni0")
	n.exchange(secondNS, "2001:db8::1", "2001:db8::5")
	n.stopPod(first) // late
	n.expect(secondNS, 0, "eni0")
	n.must(n.prepare("c1")) // the kubelet has restarted
	n.expect(secondNS, 0, "eni0")
	n.must(n.unprepare("c1")) // the sandbox has not ended
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
	n.setRuntime(nil)
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
