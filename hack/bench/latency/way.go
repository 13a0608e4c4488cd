package main

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

const (
	wantedMTU = 1500
	// firstTable is the routing table of device index 0, see docs/architecture.md.
	firstTable = 20000
	// wantedRoutes are those to the subnet and to everywhere else.
	wantedRoutes = 2
)

// plugged is what the kernel has announced of an ENI's link.
type plugged struct {
	link     event
	on, from map[netip.Addr]bool   // addresses, and those with a rule
	routes   map[netip.Prefix]bool // in the ENI's table
}

// follow replays what the kernel announced, and says when the ENI's link appeared and
// when for the first time everything was as the spec wants it.
func follow(events []event, e v1alpha1.ENIState, s spec) (appeared, configured time.Time) {
	p := plugged{on: map[netip.Addr]bool{}, from: map[netip.Addr]bool{}, routes: map[netip.Prefix]bool{}}
	table := firstTable + int(e.DeviceIndex)
	for _, event := range events {
		switch is := event.message; {
		case is == unix.RTM_NEWLINK && event.mac == e.MAC && !event.gone:
			if p.link.index == 0 {
				appeared = event.at
			}
			p.link = event
		case is == unix.RTM_NEWADDR && event.index == p.link.index:
			p.on[event.address] = !event.gone
		case is == unix.RTM_NEWRULE && event.table == table:
			p.from[event.address] = !event.gone
		case is == unix.RTM_NEWROUTE && event.table == table && event.index == p.link.index:
			p.routes[event.to] = !event.gone
		}
		if p.is(e, s) {
			return appeared, event.at
		}
	}
	return appeared, time.Time{}
}

func (p plugged) is(e v1alpha1.ENIState, s spec) bool {
	if p.link.index == 0 || !p.link.up || p.link.mtu != wantedMTU || s.name != "" && p.link.name != s.name {
		return false
	}
	if s.addressing != v1alpha1.AddressingHost {
		return true
	}
	for _, a := range e.Addresses {
		address, err := netip.ParseAddr(a)
		if err != nil || !p.on[address] || !p.from[address] {
			return false
		}
	}
	maps.DeleteFunc(p.routes, func(_ netip.Prefix, there bool) bool { return !there })
	return len(p.routes) == wantedRoutes
}

// span is a time during which EC2 was at work for a node.
type span struct{ from, to time.Time }

// within is how much of the time between two moments the spans cover together.
func within(spans []span, from, to time.Time) time.Duration {
	sorted := slices.SortedFunc(slices.Values(spans), func(a, b span) int { return a.from.Compare(b.from) })
	var sum time.Duration
	for _, s := range sorted {
		if s.from.Before(from) {
			s.from = from
		}
		if s.to.After(to) {
			s.to = to
		}
		if s.to.After(s.from) {
			sum += s.to.Sub(s.from)
			from = s.to
		}
	}
	return sum
}

// steps are the parts of the way from label to Ready, in their order.
var steps = []struct{ name, by string }{
	{"label noticed", "agent"},
	{"names looked up", "EC2"}, {"decision recorded", "agent"},
	{"Create", "EC2"}, {"attach begun", "agent"},
	{"Attach and hot-plug", "EC2"}, {"link configured", "agent"},
	{"rest of Modify", "EC2"}, {"Ready reported", "agent"},
}

// busy is when EC2 was at work for a node: while one of its calls was under way, and
// from each attach until that ENI's link appeared.
func busy(l *lap) ([]span, error) {
	var spans []span
	attached := map[string]time.Time{} // by ENI
	for _, c := range l.calls {
		if c.Code != "" {
			return nil, fmt.Errorf("%s: %s failed: %s", l.node, c.Action, c.Message)
		}
		spans = append(spans, span{c.Time, c.Time.Add(c.Latency)})
		if c.Action == "AttachNetworkInterface" {
			attached[c.Params["NetworkInterfaceId"]] = c.Time
		}
	}
	for _, e := range l.enis {
		appeared, configured := follow(l.events, e, l.spec)
		if attached[e.ENIID].IsZero() || configured.IsZero() {
			return nil, fmt.Errorf("%s: %s was ready without an attach or a configured link: %v, %+v", l.node, e.ENIID, cloud.CountCalls(l.calls), l.events)
		}
		spans = append(spans, span{attached[e.ENIID], appeared})
	}
	return spans, nil
}

// wayOf is how long each step of a node's only ENI took.
func wayOf(l *lap) ([]time.Duration, error) {
	if len(l.enis) != 1 {
		return nil, fmt.Errorf("%s has %d ENIs, want 1", l.node, len(l.enis))
	}
	spans, err := busy(l)
	if err != nil {
		return nil, err
	}
	first := map[string]time.Time{}
	for _, c := range slices.Backward(l.calls) {
		first[c.Action] = c.Time
	}
	create, attach := first["CreateNetworkInterface"], first["AttachNetworkInterface"]
	if create.IsZero() {
		return nil, fmt.Errorf("%s was ready without a create: %v", l.node, cloud.CountCalls(l.calls))
	}
	_, configured := follow(l.events, l.enis[0], l.spec)
	var way []time.Duration
	from := l.labelled
	for _, to := range []time.Time{l.calls[0].Time, create, attach, configured, l.ready} {
		if to.Before(from) {
			to = from // Ready was seen before this program got to read the kernel's last event
		}
		busy := within(spans, from, to)
		way = append(way, busy, to.Sub(from)-busy)
		from = to
	}
	return way[1:], nil // EC2 has no part before the first call
}
