package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// The sample with addressing Host, and two nodes in different zones.
const (
	hostSample       = "data"
	pinging, pinged  = "node-1", "node-2"
	numberOfRequests = 5
)

// showNode shows what the agent has made of a node's network.
func (d *demo) showNode(context.Context) error {
	d.out.chapter("4. Look at the network of " + pinging + ", as the command ip shows it")
	n, err := d.tb.Sim.Node(pinging)
	if err != nil {
		return err
	}
	var text string
	err = n.Namespace.Do(func() error {
		host, err := hostnet.Open()
		if err != nil {
			return err
		}
		defer host.Close()
		text, err = host.Describe()
		return err
	})
	if err != nil {
		return fmt.Errorf("look at the network of %s: %w", pinging, err)
	}
	d.out.text(text)
	return nil
}

// ping sends echo requests between two nodes from and to their ENIs' addresses,
// and checks that they took these ENIs.
func (d *demo) ping(ctx context.Context) error {
	d.out.chapter("5. Send packets from one ENI to another, across zones")
	from, err := d.endpoint(ctx, pinging)
	if err != nil {
		return err
	}
	to, err := d.endpoint(ctx, pinged)
	if err != nil {
		return err
	}
	before, err := from.counters()
	if err != nil {
		return err
	}
	took, err := ping(from.ns, from.address, to.address, numberOfRequests)
	if err != nil {
		return errors.Join(err, d.noDrops())
	}
	after, err := from.counters()
	if err != nil {
		return err
	}
	d.out.text(fmt.Sprintf("%s (%s) pings %s (%s) from the address of its %s ENI:", pinging, from.zone, pinged, to.zone, hostSample))
	d.out.text(fmt.Sprintf("%v → %v: %d echo requests, %d replies, slowest after %.2f ms",
		from.address, to.address, numberOfRequests, len(took), float64(slices.Max(took))/float64(time.Millisecond)))
	out, in := after.TxPackets-before.TxPackets, after.RxPackets-before.RxPackets
	d.out.text(fmt.Sprintf("the link %[2]s of %[1]s counted %[3]d outgoing and %[4]d incoming packets", pinging, from.link, out, in))
	if out < numberOfRequests || in < numberOfRequests {
		return fmt.Errorf("the packets did not use the link %s of the ENI", from.link)
	}
	if err := d.noDrops(); err != nil {
		return err
	}
	d.out.text("the VPC dropped no packets (like EC2, it drops those with a wrong source address)")
	return nil
}

// noDrops fails when the VPC has dropped a packet: some routing is wrong then.
func (d *demo) noDrops() error {
	drops, err := d.tb.Sim.Network().Drops()
	if err == nil && len(drops) > 0 {
		err = fmt.Errorf("the VPC has dropped packets: %+v", drops)
	}
	return err
}

// endpoint is an ENI that its node itself uses.
type endpoint struct {
	ns      *netns.Namespace
	zone    string
	link    string
	address netip.Addr
}

// endpoint finds the ENI of the sample with addressing Host in a node's report.
func (d *demo) endpoint(ctx context.Context, node string) (endpoint, error) {
	n, err := d.tb.Sim.Node(node)
	if err != nil {
		return endpoint{}, err
	}
	states, err := d.tb.States(ctx)
	if err != nil {
		return endpoint{}, err
	}
	for _, s := range states {
		i := slices.IndexFunc(s.Status.ENIs, func(e v1alpha1.ENIState) bool { return e.NodeENI == hostSample && len(e.Addresses) > 0 })
		if s.Name != node || i < 0 {
			continue
		}
		e := s.Status.ENIs[i]
		address, err := netip.ParseAddr(e.Addresses[0])
		return endpoint{n.Namespace, n.Zone, e.InterfaceName, address}, err
	}
	return endpoint{}, fmt.Errorf("%s reports no address of %s", node, hostSample)
}

// counters are what the kernel has counted on the ENI's link.
func (e endpoint) counters() (netlink.LinkStatistics, error) {
	rtnl, err := e.ns.Netlink()
	if err != nil {
		return netlink.LinkStatistics{}, err
	}
	defer rtnl.Close()
	link, err := rtnl.LinkByName(e.link)
	if err != nil || link.Attrs().Statistics == nil {
		return netlink.LinkStatistics{}, fmt.Errorf("read the counters of %s: %w", e.link, err)
	}
	return *link.Attrs().Statistics, nil
}
