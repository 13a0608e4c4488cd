package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// repairsApart is the least time between a repair and the next deletion: longer than
// twice the agent's pace, which also looks at what its own change has come to.
const repairsApart = 250 * time.Millisecond

// measureRepairs deletes rules, routes and addresses of an ENI that is Ready, one at
// a time.
func (b *bed) measureRepairs(m *measurement) {
	l := b.take(hostSpec, 1)[0]
	b.Must(b.arrive(l))
	node := b.nodes[l.node]
	h, err := node.Namespace.Netlink()
	b.Must(err)
	defer h.Close()
	for _, object := range []kind{ruleEvent, routeEvent, addressEvent} {
		for range m.repairs {
			time.Sleep(repairsApart + rand.N(100*time.Millisecond))
			from, err := deleteOne(h, object, firstTable+int(l.enis[0].DeviceIndex))
			b.Must(err)
			back, err := node.host.await(b.Context(), from, string(object)+" comes back", func(e hostEvent) bool { return e.kind == object && !e.gone })
			b.Must(err)
			m.back[object] = append(m.back[object], back.at.Sub(from))
		}
	}
	b.Must(b.leave(l))
}

// deleteOne deletes the rule of a table, its last route, or the address that the rule
// is for, and says when.
func deleteOne(h *netlink.Handle, object kind, table int) (at time.Time, err error) {
	rules, errRules := h.RuleListFiltered(unix.AF_INET, &netlink.Rule{Table: table}, netlink.RT_FILTER_TABLE)
	routes, errRoutes := h.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
	addresses, errAddresses := h.AddrList(nil, unix.AF_INET)
	if err := errors.Join(errRules, errRoutes, errAddresses); err != nil {
		return at, err
	}
	i := slices.IndexFunc(addresses, func(a netlink.Addr) bool {
		return slices.ContainsFunc(rules, func(r netlink.Rule) bool { return r.Src != nil && r.Src.IP.Equal(a.IP) })
	})
	var remove func() error
	switch {
	case object == ruleEvent && len(rules) > 0:
		remove = func() error { return h.RuleDel(&rules[0]) }
	case object == routeEvent && len(routes) > 0:
		remove = func() error { return h.RouteDel(&routes[len(routes)-1]) }
	case object == addressEvent && i >= 0:
		link := &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: addresses[i].LinkIndex}}
		remove = func() error { return h.AddrDel(link, &addresses[i]) }
	default:
		return at, fmt.Errorf("no %s to delete: there are the rules %v, the routes %v and the addresses %v", object, rules, routes, addresses)
	}
	return time.Now(), remove()
}

// disturbedEvery is how often something changes on each node that disturb is for.
const disturbedEvery = 5 * time.Millisecond

// disturb changes what is none of the agent's business on all nodes, as pods that
// come and go do, until stop.
func (b *bed) disturb() (stop func()) {
	ctx, cancel := context.WithCancel(b.Context())
	var running errgroup.Group
	for _, n := range b.nodes {
		running.Go(func() error { return disturb(ctx, n.Namespace) })
	}
	return func() {
		cancel()
		b.Must(running.Wait())
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
	address, err := netlink.ParseAddr("127.1.0.1/32")
	tick := time.NewTicker(disturbedEvery)
	defer tick.Stop()
	for change, next := h.AddrAdd, h.AddrDel; err == nil && ctx.Err() == nil; change, next = next, change {
		<-tick.C
		err = change(lo, address)
	}
	return err
}
