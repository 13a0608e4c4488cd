package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/metadata"
)

// What befalls a node, whether it has Kubernetes or not. Each says what it has
// done; what it does for a while is over before `later` is.

// ourMACs are those of our ENIs that are made for the node.
func (c *cluster) ourMACs(node string) map[string]bool {
	macs := map[string]bool{}
	n, err := c.Sim.Node(node)
	c.must(err)
	for _, e := range c.managed() {
		if strings.HasSuffix(e.Tags[eni.TagInstance], "/"+n.ID) {
			macs[e.MAC] = true
		}
	}
	return macs
}

// handle is a netlink handle of a node, for what goes on beside the test's own
// goroutine; the caller closes it.
func (c *cluster) handle(node string) (*netlink.Handle, error) {
	n, err := c.Sim.Node(node)
	if err != nil {
		return nil, err
	}
	return n.Namespace.Netlink()
}

// damage is something that can be done to what the agent has made.
type damage struct {
	name string
	do   func() error
}

// damages are those that a host offers now.
func damages(h *netlink.Handle, ours map[string]bool, r *rand.Rand) ([]damage, error) {
	s, err := readHost(h)
	if err != nil {
		return nil, err
	}
	var all []damage
	add := func(name string, f func() error) { all = append(all, damage{name, f}) }
	for _, rule := range s.rules {
		if inBand(rule.Priority) && rule.Protocol == unix.RTPROT_KERNEL {
			add("del "+ruleText(rule), func() error { return h.RuleDel(&rule) })
		}
	}
	for _, route := range s.routes {
		if inBand(route.Table) && route.Protocol == unix.RTPROT_KERNEL {
			add("del "+s.routeText(route), func() error { return h.RouteDel(&route) })
		}
	}
	for _, l := range s.links {
		if !ours[l.Attrs().HardwareAddr.String()] {
			continue
		}
		name := l.Attrs().Name
		add("down "+name, func() error { return h.LinkSetDown(l) })
		add("mtu "+name, func() error { return h.LinkSetMTU(l, 1280) })
		// A name may be given twice; then the kernel refuses.
		add("rename "+name, func() error {
			return h.LinkSetName(l, fmt.Sprintf("%s%d", pick(r, "ens", "enp0s", "enX"), 10+r.IntN(90)))
		})
		if addresses, err := h.AddrList(l, unix.AF_INET); err == nil && len(addresses) > 0 {
			add("flush addresses of "+name, func() error { return h.AddrDel(l, &addresses[0]) })
		}
	}
	return all, nil
}

// opDamage damages one thing that the agent has made.
func (c *cluster) opDamage(node string, r *rand.Rand) string {
	h, err := c.handle(node)
	c.must(err)
	defer h.Close()
	all, err := damages(h, c.ourMACs(node), r)
	if err != nil || len(all) == 0 {
		return fmt.Sprintf("on %s: nothing of ours to damage: %v", node, err)
	}
	d := pick(r, all...)
	return fmt.Sprintf("on %s: %s: %v", node, d.name, d.do()) // it may be gone already
}

// opDaemon is another daemon that undoes what the agent does, for a while.
func (c *cluster) opDaemon(node string, r *rand.Rand) string {
	h, err := c.handle(node)
	c.must(err)
	ours := c.ourMACs(node)
	pause, end := time.Duration(20+r.IntN(200))*time.Millisecond, time.Now().Add(time.Duration(500+r.IntN(2500))*time.Millisecond)
	own := rand.New(rand.NewPCG(r.Uint64(), 0))
	c.later.Go(func() {
		defer h.Close()
		for time.Now().Before(end) {
			if all, err := damages(h, ours, own); err == nil && len(all) > 0 {
				_ = pick(own, all...).do()
			}
			time.Sleep(pause)
		}
	})
	return fmt.Sprintf("on %s: a daemon damages something every %v until %s", node, pause, end.Format("05.000"))
}

// opFlood has the kernel tell of more changes than anybody can read.
func (c *cluster) opFlood(node string, r *rand.Rand) string {
	h, err := c.handle(node)
	c.must(err)
	end := time.Now().Add(time.Duration(100+r.IntN(400)) * time.Millisecond)
	c.later.Go(func() {
		defer h.Close()
		route := netlink.Route{Table: 77, LinkIndex: 1, Dst: ipv4("10.95.0.1/32"), Scope: netlink.SCOPE_LINK}
		for time.Now().Before(end) {
			_ = h.RouteAdd(&route)
			_ = h.RouteDel(&route)
		}
	})
	return fmt.Sprintf("on %s: routes come and go until %s", node, end.Format("05.000"))
}

func ipv4(text string) *net.IPNet {
	p := netip.MustParsePrefix(text)
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

// stranded adds a rule, a route and an address that are none of ours, and returns
// the lines about them.
func (c *cluster) stranded(node string, r *rand.Rand) (what string, lines []string) {
	own := fmt.Sprintf("10.%d.%d.%d/32", 100+r.IntN(50), r.IntN(250), 1+r.IntN(250))
	table := pick(r, 77, 1077, 20001, 20002, 20950)
	c.onHost(node, func(h *netlink.Handle) error {
		rule := netlink.NewRule()
		// One in our form would be taken for ours: theirs has another protocol.
		rule.Priority, rule.Table, rule.Src, rule.Protocol = pick(r, 77, 900, 20001, 20800), table, ipv4(own), unix.RTPROT_STATIC
		lo := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 1}}
		for _, err := range []error{
			h.RuleAdd(rule),
			h.RouteAdd(&netlink.Route{Table: table, LinkIndex: 1, Dst: ipv4(own), Scope: netlink.SCOPE_LINK, Protocol: unix.RTPROT_STATIC}),
			h.AddrAdd(lo, &netlink.Addr{IPNet: ipv4(own)}),
		} {
			if err != nil && !errors.Is(err, unix.EEXIST) {
				return err
			}
		}
		return nil
	})
	for _, line := range c.host(node).foreign(nil) {
		if strings.Contains(line, own) {
			lines = append(lines, line)
		}
	}
	return fmt.Sprintf("on %s: a foreign rule, route and address %s", node, own), lines
}

// opVanish moves a link of ours into a pod, and back after a while.
func (c *cluster) opVanish(node string, r *rand.Rand) string {
	n, err := c.Sim.Node(node)
	c.must(err)
	ours := c.ourMACs(node)
	what := "no link of ours to move"
	c.onHost(node, func(h *netlink.Handle) error {
		links, err := h.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			if !ours[l.Attrs().HardwareAddr.String()] {
				continue
			}
			pod, err := netns.New()
			if err != nil {
				return err
			}
			if err := pod.With(func(fd int) error { return h.LinkSetNsFd(l, fd) }); err != nil {
				return errors.Join(pod.Close(), nil) // it has gone meanwhile
			}
			d := time.Duration(r.IntN(3000)) * time.Millisecond
			c.in(d, func() {
				defer pod.Close()
				_ = pod.Do(func() error { return comeBack(l.Attrs().HardwareAddr, n.Namespace) })
			})
			what = fmt.Sprintf("the link %s is in a pod for %v", l.Attrs().Name, d)
			return nil
		}
		return nil
	})
	return "on " + node + ": " + what
}

// comeBack moves a link from the calling thread's namespace to the node's. It may
// have gone, when its ENI was detached meanwhile.
func comeBack(mac net.HardwareAddr, node *netns.Namespace) error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		if l.Attrs().HardwareAddr.String() != mac.String() {
			continue
		}
		// Its name may be taken by now.
		if err := netlink.LinkSetName(l, fmt.Sprintf("back%d", l.Attrs().Index)); err != nil {
			return err
		}
		return node.With(func(fd int) error { return netlink.LinkSetNsFd(l, fd) })
	}
	return nil
}

// opReboot kills the agent and takes from the host what a reboot takes.
func (c *cluster) opReboot(node string, r *rand.Rand) string {
	c.agents[node].Kill()
	ours := c.ourMACs(node)
	c.onHost(node, func(h *netlink.Handle) error {
		s, err := readHost(h)
		if err != nil {
			return err
		}
		for _, rule := range s.rules {
			if inBand(rule.Priority) && rule.Protocol == unix.RTPROT_KERNEL {
				_ = h.RuleDel(&rule)
			}
		}
		for _, l := range s.links {
			if !ours[l.Attrs().HardwareAddr.String()] {
				continue
			}
			addresses, _ := h.AddrList(l, unix.AF_INET)
			for _, a := range addresses {
				_ = h.AddrDel(l, &a)
			}
			_ = h.LinkSetDown(l) // with it go its routes
			_ = h.LinkSetMTU(l, 1500)
		}
		return nil
	})
	time.Sleep(time.Duration(r.IntN(500)) * time.Millisecond)
	c.agent(node)
	return "reboot " + node
}

const macsPath = "/latest/meta-data/network/interfaces/macs/"

// named waits until udev has renamed links that are none of ours.
func (c *cluster) named(node string, macs ...string) {
	c.t.Helper()
	c.await("links have their names", func() string {
		for _, mac := range macs {
			if l, ok := c.host(node).linkOf(mac); !ok || !strings.HasPrefix(l.Attrs().Name, "ens") {
				return mac + " has not"
			}
		}
		return ""
	})
}

// opMetadata has the metadata service away, or lying about interfaces, for a
// while. In the meantime the agent may be started.
func (c *cluster) opMetadata(node string, r *rand.Rand) string {
	n, err := c.Sim.Node(node)
	c.must(err)
	var mac string
	for _, e := range c.Sim.Cloud().Interfaces() {
		if e.Attachment != nil && e.Attachment.InstanceID == n.ID && e.Attachment.DeviceIndex > 0 {
			mac = e.MAC
		}
	}
	f := pick(r,
		metadata.Fault{Status: 503}, metadata.Fault{Status: 404}, metadata.Fault{Hang: true, Count: 3},
		metadata.Fault{Path: "/latest/api/token", Status: 403}, metadata.Fault{Delay: metadata.Duration(time.Second)},
		metadata.Fault{Path: macsPath, Status: 404}, metadata.Fault{Path: macsPath + mac + "/", Status: 404},
		metadata.Fault{Path: macsPath + mac + "/device-number", Body: fmt.Sprint(r.IntN(6))},
		metadata.Fault{Path: macsPath + mac + "/interface-id", Body: "eni-00000000000000bad"},
		metadata.Fault{Path: macsPath + mac + "/device-number", Body: "one"},
	)
	c.must(n.IMDS.Inject(f))
	d := time.Duration(r.IntN(4000)) * time.Millisecond
	c.in(d, n.IMDS.ClearFaults)
	text := fmt.Sprintf("the metadata of %s for %v: %+v", node, d, f)
	if r.IntN(2) == 0 {
		c.agents[node].Kill()
		c.agent(node)
		text += ", and its agent starts"
	}
	return text
}

// anyFault is one of EC2's that passes.
func anyFault(r *rand.Rand) cloud.Fault {
	f := pick(r,
		cloud.Fault{After: true}, cloud.Fault{After: true}, cloud.Fault{Reset: true}, cloud.Fault{Code: "RequestLimitExceeded"}, cloud.Fault{Code: "EC2ThrottledException"},
		cloud.Fault{Code: "InternalError"}, cloud.Fault{Code: "Unavailable"}, cloud.Fault{After: true, Code: "InternalError"}, cloud.Fault{After: true, Code: "Unavailable"},
		cloud.Fault{Hang: true}, cloud.Fault{After: true, Hang: true}, cloud.Fault{Delay: time.Duration(r.IntN(2000)) * time.Millisecond},
	)
	f.Count = 1 + r.IntN(4)
	if f.Code == "" && f.Delay == 0 && !f.Hang && r.IntN(4) == 0 {
		f.Count, f.Probability = 0, 0.3
	}
	return f
}

// opStorm has others use up the account's API limits for a while.
func (c *cluster) opStorm(r *rand.Rand) string {
	n, d := 1+r.IntN(3), time.Duration(500+r.IntN(4000))*time.Millisecond
	c.Sim.Cloud().Storm(n)
	c.in(d, func() { c.Sim.Cloud().SetThrottle(false) })
	return fmt.Sprintf("each action has %d calls a second for %v", n, d)
}

// opInstanceState lets EC2 take the instance for one that is not running yet.
func (c *cluster) opInstanceState(node string, r *rand.Rand) string {
	n, err := c.Sim.Node(node)
	c.must(err)
	d := time.Duration(r.IntN(3000)) * time.Millisecond
	c.must(c.Sim.Cloud().SetInstanceState(n.ID, cloud.InstancePending))
	c.in(d, func() { _ = c.Sim.Cloud().SetInstanceState(n.ID, cloud.InstanceRunning) }) // or it is terminated
	return fmt.Sprintf("the instance of %s is pending for %v", node, d)
}
