package main

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// A link is configured with the last of what its spec wants, whatever comes last, and
// not before.
func TestFollow(t *testing.T) {
	e := v1alpha1.ENIState{MAC: "02:00:00:00:00:01", DeviceIndex: 3, Addresses: []string{"10.0.1.10"}}
	address, subnet := netip.MustParseAddr("10.0.1.10"), netip.MustParsePrefix("10.0.1.0/24")
	link := func(ms int, name string, mtu int, up bool) event {
		return event{at: at(ms), message: unix.RTM_NEWLINK, index: 7, mac: e.MAC, name: name, mtu: mtu, up: up}
	}
	appears := link(10, "eth3", 9001, false)
	all := []event{
		appears,
		link(11, "data0", 9001, false), link(12, "data0", 1500, false), link(13, "data0", 1500, true),
		{at: at(14), message: unix.RTM_NEWROUTE, index: 7, table: 20003, to: subnet},
		{at: at(15), message: unix.RTM_NEWROUTE, index: 7, table: 20003},
		{at: at(16), message: unix.RTM_NEWRULE, table: 20003, address: address},
		{at: at(17), message: unix.RTM_NEWADDR, index: 7, address: address},
	}
	others := []event{
		{at: at(1), message: unix.RTM_NEWLINK, index: 6, mac: "02:00:00:00:00:02", name: "eth1", mtu: 1500, up: true},
		{at: at(2), message: unix.RTM_NEWADDR, index: 6, address: address},
		{at: at(3), message: unix.RTM_NEWRULE, table: 20001, address: address},
	}
	without := func(i int) []event { return slices.Delete(slices.Clone(all), i, i+1) }
	undone := slices.Clone(all[:7])
	undone = append(undone, event{at: at(17), message: unix.RTM_NEWRULE, table: 20003, address: address, gone: true}, all[7])
	for name, test := range map[string]struct {
		events     []event
		spec       spec
		configured int // 0: never
	}{
		"Host, renamed":     {slices.Concat(others, all), renamedSpec, 17},
		"Host":              {all, hostSpec, 17},
		"None":              {all, noneSpec, 13},
		"no name":           {without(1)[:1], noneSpec, 0},
		"another name":      {slices.Concat([]event{appears, link(12, "eth3", 1500, true)}, all[4:]), renamedSpec, 0},
		"another MTU":       {slices.Concat([]event{appears, link(12, "data0", 9001, true)}, all[4:]), hostSpec, 0},
		"not up":            {without(3), hostSpec, 0},
		"one route":         {without(4), hostSpec, 0},
		"no rule":           {without(6), hostSpec, 0},
		"no address":        {without(7), hostSpec, 0},
		"the rule is gone":  {undone, hostSpec, 0},
		"other links alone": {others, hostSpec, 0},
	} {
		t.Run(name, func(t *testing.T) {
			appeared, configured := follow(test.events, e, test.spec)
			if test.configured == 0 && !configured.IsZero() || test.configured != 0 && !configured.Equal(at(test.configured)) {
				t.Errorf("configured at %v, want %d ms", configured.Sub(zero), test.configured)
			}
			if test.configured != 0 && !appeared.Equal(at(10)) {
				t.Errorf("appeared at %v, want 10 ms", appeared.Sub(zero))
			}
		})
	}
}
