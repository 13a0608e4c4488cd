package e2e

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// testGuardian: each thing that the agent has made on the host is taken away,
// and comes back; what others have made there stays as it is.
func (c *cluster) testGuardian(t *testing.T) {
	e := c.awaitOnly("node-1", "node-1")
	c.addStrangers("node-1")
	ours := map[string]bool{e.MAC: true}
	before := c.host("node-1").foreign(ours)
	c.Sim.Cloud().ResetCalls()
	c.damage("node-1", e, 7) // a rule, two routes, an address, up, MTU, all at once
	if after := c.host("node-1").foreign(ours); !slices.Equal(after, before) {
		t.Errorf("what is foreign is\n\t%s\nand was\n\t%s", strings.Join(after, "\n\t"), strings.Join(before, "\n\t"))
	}
	if calls := c.calls(c.source("node-1")); len(calls) > 0 {
		t.Errorf("EC2 was called for what concerns the host alone: %+v", calls)
	}
	c.fight(e)
}

// damage takes away what the agent has made for an ENI, one after the other, and each time
// waits until it is back. There are so many things at least.
func (c *cluster) damage(node string, e cloud.Interface, least int) {
	c.t.Helper()
	damages := c.damages(node, e)
	if len(damages) < least {
		c.t.Fatalf("only %d things are damaged", len(damages))
	}
	for name, damage := range damages {
		c.onHost(node, damage)
		c.await("it is back after "+name, func() string { return c.configured(node, e, true, 9001) })
	}
}

// damages are what can happen to the ENI's link, rules and routes.
func (c *cluster) damages(node string, e cloud.Interface) map[string]func(*netlink.Handle) error {
	s := c.host(node)
	l, _ := s.linkOf(e.MAC)
	damages := map[string]func(*netlink.Handle) error{
		"link down": func(h *netlink.Handle) error { return h.LinkSetDown(l) },
		"MTU":       func(h *netlink.Handle) error { return h.LinkSetMTU(l, 1280) },
		"flush": func(h *netlink.Handle) error {
			addresses, err := h.AddrList(l, netlink.FAMILY_ALL)
			for _, a := range slices.Backward(addresses) {
				err = errors.Join(err, h.AddrDel(l, &a))
			}
			return err
		},
	}
	for _, r := range s.rules {
		if inBand(r.Priority) && r.Protocol == unix.RTPROT_KERNEL {
			damages["without "+ruleText(r)] = func(h *netlink.Handle) error { return h.RuleDel(&r) }
		}
	}
	for _, r := range s.routes {
		if inBand(r.Table) && r.Protocol == unix.RTPROT_KERNEL {
			damages["without "+s.routeText(r)] = func(h *netlink.Handle) error { return h.RouteDel(&r) }
		}
	}
	damages["all at once"] = func(h *netlink.Handle) error {
		return errors.Join(damages["flush"](h), damages["link down"](h), damages["MTU"](h))
	}
	return damages
}

// addStrangers adds rules and routes of others, some of them within our band.
func (c *cluster) addStrangers(node string) {
	c.t.Helper()
	primary, err := c.Sim.Node(node)
	c.must(err)
	l, _ := c.host(node).linkOf(primary.MAC)
	c.onHost(node, func(h *netlink.Handle) error {
		to := &net.IPNet{IP: net.IPv4(10, 98, 0, 0), Mask: net.CIDRMask(16, 32)}
		for _, table := range []int{100, unix.RT_TABLE_MAIN, 20002, 20700} {
			err := h.RouteAdd(&netlink.Route{Table: table, Dst: to, LinkIndex: l.Attrs().Index, Scope: netlink.SCOPE_LINK, Protocol: unix.RTPROT_STATIC})
			if err != nil {
				return err
			}
		}
		for _, priority := range []int{512, 20002, 20700} {
			rule := netlink.NewRule()
			rule.Priority, rule.Table, rule.Protocol = priority, 100, unix.RTPROT_STATIC
			rule.Src = &net.IPNet{IP: net.IPv4(10, 97, 0, 1), Mask: net.CIDRMask(32, 32)}
			if err := h.RuleAdd(rule); err != nil {
				return err
			}
		}
		return nil
	})
}

// fight deletes the ENI's rule for a while as often as it is there. The agent
// keeps to its rate, and has the last word.
func (c *cluster) fight(e cloud.Interface) {
	c.t.Helper()
	const round = 2 * time.Second
	deleted := 0
	c.onHost("node-1", func(h *netlink.Handle) error {
		for end := time.Now().Add(round); time.Now().Before(end); time.Sleep(time.Millisecond) {
			for _, r := range c.host("node-1").rules {
				if inBand(r.Priority) && r.Protocol == unix.RTPROT_KERNEL && h.RuleDel(&r) == nil {
					deleted++
				}
			}
		}
		return nil
	})
	// At most ten passes a second, each of which looks three times at four rules.
	if most := 4 * 3 * 10 * int(round/time.Second); deleted < 2 || deleted > most {
		c.t.Errorf("the rule was put back %d times in %v, want 2 to %d", deleted, round, most)
	}
	c.awaitConfigured("node-1", e)
}

// testSharedMAC: a macvlan may have the MAC of the link below it, and pods have
// veths as our ENIs' links are in the simulator. None of them is ours.
func (c *cluster) testSharedMAC(t *testing.T) {
	e := c.awaitOnly("node-1", "node-1")
	mac, err := net.ParseMAC(e.MAC)
	c.must(err)
	c.onHost("node-1", func(h *netlink.Handle) error {
		parent, _ := c.host("node-1").linkOf(e.MAC)
		child := &netlink.Macvlan{LinkAttrs: netlink.NewLinkAttrs(), Mode: netlink.MACVLAN_MODE_PASSTHRU}
		child.Name, child.ParentIndex, child.HardwareAddr, child.MTU = "child", parent.Attrs().Index, mac, 1400
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = "veth-pod", 1450
		return errors.Join(h.LinkAdd(child), h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth-pod"}))
	})
	defer c.onHost("node-1", func(h *netlink.Handle) error {
		pod, podErr := h.LinkByName("veth-pod")
		child, childErr := h.LinkByName("child")
		if err := errors.Join(podErr, childErr); err != nil {
			return err
		}
		return errors.Join(h.LinkDel(pod), h.LinkDel(child))
	})
	// The child too is on the node with the ENI's MAC, and it is not a veth.
	before := c.host("node-1").foreign(map[string]bool{e.MAC: true})
	if !strings.Contains(strings.Join(before, "\n"), "link child macvlan "+e.MAC) {
		t.Fatalf("no macvlan has the ENI's MAC:\n%s", strings.Join(before, "\n"))
	}
	c.restart("node-1")
	same(t, c.awaitOnly("node-1", "node-1").ID, e.ID)
	c.onHost("node-1", func(h *netlink.Handle) error {
		l, _ := c.host("node-1").linkOf(e.MAC)
		return h.LinkSetMTU(l, 1500)
	})
	c.awaitConfigured("node-1", e)
	if after := c.host("node-1").foreign(map[string]bool{e.MAC: true}); !slices.Equal(after, before) {
		t.Errorf("what is foreign is\n\t%s\nand was\n\t%s", strings.Join(after, "\n\t"), strings.Join(before, "\n\t"))
	}
}
