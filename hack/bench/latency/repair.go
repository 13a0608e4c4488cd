package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// repairs are how long things that somebody deletes stay away.
type repairs struct {
	name string
	took sample
}

// repairsApart is the least time between a repair and the next deletion.
const repairsApart = 250 * time.Millisecond

// measureRepairs deletes rules, routes and addresses of an ENI that is Ready, one at
// a time.
func (b *bed) measureRepairs(ctx context.Context, m *measured) error {
	node, err := b.take(ctx)
	if err != nil {
		return err
	}
	l := &lap{node: node, spec: hostSpec}
	if err := b.arrive(ctx, l, 1); err != nil {
		return err
	}
	n, err := b.Sim.Node(node)
	if err != nil {
		return err
	}
	h, err := n.Namespace.Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	table := firstTable + int(l.enis[0].DeviceIndex)
	for _, object := range []struct {
		name   string
		kind   kind
		delete func(*netlink.Handle, int) error
	}{
		{"rule", ruleEvent, deleteRule},
		{"route", routeEvent, deleteRoute},
		{"address", addressEvent, deleteAddress},
	} {
		r := repairs{name: object.name}
		for range m.amount.repairs {
			// Longer than twice the agent's pace: it also looks at what its own
			// change has come to.
			time.Sleep(repairsApart + rand.N(100*time.Millisecond))
			from := time.Now()
			if err := object.delete(h, table); err != nil {
				return fmt.Errorf("delete a %s: %w", object.name, err)
			}
			back, err := b.hosts[node].await(from, object.name+" comes back", func(e hostEvent) bool { return e.kind == object.kind && !e.gone })
			if err != nil {
				return err
			}
			r.took = append(r.took, back.at.Sub(from))
		}
		m.repairs = append(m.repairs, r)
	}
	return b.leave(ctx, l)
}

func deleteRule(h *netlink.Handle, table int) error {
	rules, err := h.RuleListFiltered(unix.AF_INET, &netlink.Rule{Table: table}, netlink.RT_FILTER_TABLE)
	if err != nil || len(rules) == 0 {
		return errors.Join(err, errors.New("there is none"))
	}
	return h.RuleDel(&rules[0])
}

func deleteRoute(h *netlink.Handle, table int) error {
	routes, err := h.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
	if err != nil || len(routes) == 0 {
		return errors.Join(err, errors.New("there is none"))
	}
	return h.RouteDel(&routes[len(routes)-1])
}

// deleteAddress deletes the address that the table's rule is for.
func deleteAddress(h *netlink.Handle, table int) error {
	rules, err := h.RuleListFiltered(unix.AF_INET, &netlink.Rule{Table: table}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return err
	}
	addresses, err := h.AddrList(nil, unix.AF_INET)
	if err != nil {
		return err
	}
	for _, r := range rules {
		for _, a := range addresses {
			if r.Src != nil && r.Src.IP.Equal(a.IP) {
				link, err := h.LinkByIndex(a.LinkIndex)
				if err != nil {
					return err
				}
				return h.AddrDel(link, &a)
			}
		}
	}
	return errors.New("there is none")
}

// disturbedEvery is how often something changes on each node that disturb is for.
const disturbedEvery = 5 * time.Millisecond

// disturb changes what is none of the agent's business on all nodes, as pods that
// come and go do, until stop.
func (b *bed) disturb() (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	errs := make(chan error, nodes)
	for _, n := range b.Sim.Nodes() {
		running.Go(func() {
			if err := disturb(ctx, n.Namespace); err != nil {
				errs <- fmt.Errorf("change things on %s: %w", n.Name, err)
			}
		})
	}
	return func() error {
		cancel()
		running.Wait()
		close(errs)
		return <-errs
	}
}

func disturb(ctx context.Context, ns *netns.Namespace) error {
	h, err := ns.Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(127, 1, 0, 1).To4(), Mask: net.CIDRMask(32, 32)}}
	tick := time.NewTicker(disturbedEvery)
	defer tick.Stop()
	for there := false; ; there = !there {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		change := h.AddrAdd
		if there {
			change = h.AddrDel
		}
		if err := change(lo, address); err != nil {
			return err
		}
	}
}
