package main

import (
	"maps"
	"net/netip"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// spec is what a label of this benchmark selects.
type spec struct {
	label string
	enis  int
	host  bool   // addresses with policy routing
	name  string // of the link; "": any
}

var (
	hostSpec    = spec{label: "host", enis: 1, host: true}
	noneSpec    = spec{label: "none", enis: 1}
	renamedSpec = spec{label: "renamed", enis: 1, host: true, name: "data0"}
	manySpec    = spec{label: "many", enis: 15, host: true}
)

const (
	wantedMTU = 1500
	// firstTable is the routing table of device index 0, see docs/architecture.md.
	firstTable = 20000
	// wantedRoutes are those to the subnet and to everywhere else.
	wantedRoutes = 2
)

// plugged is what the kernel has told of an ENI's link.
type plugged struct {
	index    int
	name     string
	mtu      int
	up       bool
	on, from map[netip.Addr]bool   // addresses, and those with a rule
	routes   map[netip.Prefix]bool // in the ENI's table
}

// follow replays what the kernel told, and says when the ENI's link appeared and
// when for the first time everything was as the spec wants it.
func follow(events []hostEvent, e v1alpha1.ENIState, s spec) (appeared, configured time.Time) {
	p := plugged{on: map[netip.Addr]bool{}, from: map[netip.Addr]bool{}, routes: map[netip.Prefix]bool{}}
	table := firstTable + int(e.DeviceIndex)
	for _, event := range events {
		switch {
		case event.kind == linkEvent && event.mac == e.MAC && !event.gone:
			if p.index == 0 {
				appeared = event.at
			}
			p.index, p.name, p.mtu, p.up = event.index, event.name, event.mtu, event.up
		case event.kind == addressEvent && event.index == p.index:
			p.on[event.address] = !event.gone
		case event.kind == ruleEvent && event.table == table:
			p.from[event.address] = !event.gone
		case event.kind == routeEvent && event.table == table && event.index == p.index:
			p.routes[event.to] = !event.gone
		}
		if p.is(e, s) {
			return appeared, event.at
		}
	}
	return appeared, time.Time{}
}

func (p plugged) is(e v1alpha1.ENIState, s spec) bool {
	if p.index == 0 || !p.up || p.mtu != wantedMTU || s.name != "" && p.name != s.name {
		return false
	}
	if !s.host {
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
