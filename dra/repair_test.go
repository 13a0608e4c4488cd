package dra

import (
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/vishvananda/netlink"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
)

// unplug detaches ENI i, wherever its link is.
func (n *node) unplug(i int) {
	n.Helper()
	n.must(n.vpc.Do(func() error {
		link, err := netlink.LinkByName(fmt.Sprintf("vpc%d", i))
		if err == nil {
			err = netlink.LinkDel(link)
		}
		return err
	}))
}

// missing checks which links of the claim are missing in the pod after a check.
func (n *node) missing(want ...string) {
	n.Helper()
	missing, err := n.Driver.repair()
	n.must(err)
	a, err := claimnetwork.ReadAttachment(n.cfg.DataDir, "c1")
	n.must(err)
	if !slices.Equal(a.Pod.Missing, want) || missing != (len(want) > 0) || !a.Pod.Configured {
		n.Errorf("missing are %q, %v, want %q; attachment %+v", a.Pod.Missing, missing, want, a.Pod)
	}
}

// TestLostLink: someone detaches or deletes the ENI of a running pod. The link of the ENI
// that the agent attaches then is moved into the pod.
func TestLostLink(t *testing.T) {
	for name, test := range map[string]struct {
		eni    int // that is attached then
		attach func(*node)
	}{
		"attached again": {0, func(n *node) { n.plug(0) }},
		"another ENI": {1, func(n *node) {
			claim := offered("c1", 0, "p1")
			claim.Devices[0].ENI = offered("", 1).Devices[0].ENI
			claim.Devices[0].ENI.Ready = false
			n.offer(claim)
			n.missing("eni0")
			claim.Devices[0].ENI.Ready = true
			n.offer(claim)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			registry := prometheus.NewRegistry()
			n.cfg.Metrics = NewMetrics(registry)
			n.Driver = New(n.cfg, n.host)
			n.setRuntime(nil)
			n.offer(offered("c1", 0, "p1"))
			n.must(n.prepare("c1"))
			n.missingNothingYet()
			pod, ns := n.sandbox("s1", "p1")
			n.must(n.startPod(pod))
			n.missing()
			n.unplug(0)
			for range 2 {
				n.missing("eni0")
			}
			n.must(n.startPod(pod)) // a container restarts
			test.attach(n)
			n.missing()
			n.expect(ns, test.eni, "eni0")
			n.expect(n.host, test.eni, "")
			n.exchange(ns, fmt.Sprintf("10.0.%d.1", test.eni), fmt.Sprintf("10.0.%d.5", test.eni))
			n.exchange(ns, fmt.Sprintf("2001:db8:0:%d::1", test.eni), fmt.Sprintf("2001:db8:0:%d::5", test.eni))
			n.must(ns.Do(func() error { // none is left for the former addresses
				rules, err := netlink.RuleListFiltered(netlink.FAMILY_ALL, &netlink.Rule{Priority: ruleFromENI}, netlink.RT_FILTER_PRIORITY)
				if len(rules) != 2 {
					t.Errorf("rules are %v", rules)
				}
				return err
			}))
			if got := values(t, registry, "eni_dra_links_missing_total")[""]; got != 1 {
				t.Errorf("%v links are counted", got)
			}
			n.stopPod("s1")
			n.expect(n.host, test.eni, fmt.Sprintf("ens%d", test.eni+6))
		})
	}
}

// missingNothingYet checks a claim that is in no pod.
func (n *node) missingNothingYet() {
	n.Helper()
	if missing, err := n.Driver.repair(); missing || err != nil {
		n.Errorf("missing before a pod starts: %v, %v", missing, err)
	}
}

// TestChangedLink: a link that a pod has renamed, or given another MAC, is not missing.
func TestChangedLink(t *testing.T) {
	for name, change := range map[string]func(netlink.Link) error{
		"renamed":     func(l netlink.Link) error { return netlink.LinkSetName(l, "inside") },
		"another MAC": func(l netlink.Link) error { return netlink.LinkSetHardwareAddr(l, net.HardwareAddr{2, 1, 1, 1, 1, 1}) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.offer(offered("c1", 0, "p1"))
			n.must(n.prepare("c1"))
			pod, ns := n.sandbox("s1", "p1")
			n.must(n.startPod(pod))
			n.must(ns.Do(func() error {
				link, err := netlink.LinkByName("eni0")
				if err != nil {
					return err
				}
				_ = netlink.LinkSetDown(link)
				return change(link)
			}))
			n.missing()
		})
	}
}

// TestLostLinkOfTwo: the other link stays in the pod, also if eni-dra is killed while it
// restores one.
func TestLostLinkOfTwo(t *testing.T) {
	n := newNode(t)
	claim := offered("c1", 0, "p1")
	claim.Devices = append(claim.Devices, offered("", 1).Devices[0])
	n.offer(claim)
	n.must(n.prepare("c1"))
	pod, ns := n.sandbox("s1", "p1")
	n.must(n.startPod(pod))
	n.unplug(0)
	n.missing("eni0")
	a, err := claimnetwork.ReadAttachment(n.cfg.DataDir, "c1")
	n.must(err)
	a.Pod.Configured = false
	n.must(claimnetwork.WriteAttachment(n.cfg.DataDir, a))
	n.must(n.startPod(pod))
	n.expect(ns, 1, "eni1")
	n.missing("eni0")
	n.plug(0)
	n.missing()
	n.expect(ns, 0, "eni0")
}

// TestRepairs: the running program looks without being called.
func TestRepairs(t *testing.T) {
	n := newLiveNode(t)
	n.offer(offered("c1", 0, "p1"))
	n.must(n.prepare("c1"))
	pod, ns := n.sandbox("s1", "p1")
	n.must(n.startPod(pod))
	n.stop()
	n.unplug(0)
	n.run()
	n.eventually("it notices", func() bool {
		a, err := claimnetwork.ReadAttachment(n.cfg.DataDir, "c1")
		return err == nil && len(a.Pod.Missing) > 0
	})
	n.plug(0)
	n.eventually("the link is back", func() bool { return n.where(ns, 0) == "eni0" })
}
