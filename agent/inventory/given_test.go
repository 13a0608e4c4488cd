package inventory

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// What EC2 has given an ENI is the ENI's for as long as describes may lack it: for a moment
// on the link, and longer when its addresses are counted. Then describes alone tell.
func TestGiven(t *testing.T) {
	now := time.Unix(10_000, 0)
	address := netip.MustParseAddr
	primary, ipv6, more, more6 := address("10.0.1.4"), address("fd00::4"), address("10.0.1.5"), address("fd00::5")
	e := fixture("eni-x", "x").at(me, 1, "attached").with(func(e *ENI) { e.Addresses, e.Prefixes = []netip.Addr{primary, ipv6}, []string{"10.0.1.16/28"} })
	i := told(false, now, e)
	i.Assigned("eni-x", eni.Assigned{Addresses: []netip.Addr{more}, Prefixes: []string{"10.0.1.32/28"}}, now)
	i.Assigned("eni-x", eni.Assigned{Addresses: []netip.Addr{more6}}, now)
	all, prefixes := []netip.Addr{primary, more, ipv6, more6}, []string{"10.0.1.16/28", "10.0.1.32/28"}
	for _, step := range []struct {
		at             time.Duration
		shows          []netip.Addr
		link, accounts []netip.Addr
	}{
		{time.Second, e.Addresses, all, all},
		{2 * time.Second, all, all, all},
		{ExpectationTimeout - 1, e.Addresses, all, all},
		{ExpectationTimeout, e.Addresses, e.Addresses, all},
		{ConsistencyWindow - 1, all, all, all},
		{ConsistencyWindow - 1, []netip.Addr{primary}, []netip.Addr{primary}, []netip.Addr{primary, more, more6}},
		{ConsistencyWindow, []netip.Addr{primary}, []netip.Addr{primary}, []netip.Addr{primary}},
	} {
		shown := e.ENI
		shown.Addresses = step.shows
		i.Describe([]eni.ENI{shown}, nowhere, now.Add(step.at))
		known, _ := i.Get("eni-x")
		has, hasPrefixes := known.Has()
		if !slices.Equal(known.Addresses, step.link) || !slices.Equal(has, step.accounts) {
			t.Errorf("after %v, with %v shown, it has %v, counted as %v", step.at, step.shows, known.Addresses, has)
		}
		if lags := step.at < ConsistencyWindow; lags && !slices.Equal(hasPrefixes, prefixes) || !lags && len(hasPrefixes) != 1 {
			t.Errorf("after %v it has the prefixes %v", step.at, hasPrefixes)
		}
	}
}

// After a lost answer, a restart, or when a describe shows an ENI for the first time, it
// takes a describe that lacks nothing to tell what the ENI has. It is asked for once.
func TestCountsFrom(t *testing.T) {
	now := time.Unix(10_000, 0)
	e := fixture("eni-x", "x").at(me, 1, "attached").with(func(e *ENI) { e.MAC = "02:00:00:00:00:01" })
	counting := Open{Counting: []string{"eni-x"}}
	for name, begin := range map[string]func(*Inventory){
		"a restart": func(i *Inventory) { i.Restore([]ENI{e}, now) },
		"shown for the first time": func(i *Inventory) {
			i.Describe([]eni.ENI{e.ENI}, nowhere, now)
			i.Schedule(counting, now)
		},
		"a lost answer": func(i *Inventory) {
			i.Created(e.ENI, now)
			i.AssignUnanswered("eni-x", now)
		},
	} {
		for _, shown := range []bool{false, true} { // or the tags are edited while its link is here
			i := told(false, now)
			begin(i)
			if i.Schedule(counting, now); i.asked(now) != ConsistencyWindow {
				t.Errorf("%s: EC2 is asked in %v", name, i.asked(now))
			}
			var list []eni.ENI
			if shown {
				list = []eni.ENI{e.ENI}
			}
			for _, after := range []time.Duration{time.Minute, ConsistencyWindow, ConsistencyWindow + time.Second} {
				at := now.Add(after)
				i.Describe(list, func(string) bool { return true }, at)
				i.Schedule(counting, at)
				early := after < ConsistencyWindow
				if known, _ := i.Get("eni-x"); known.CountsFrom.IsZero() != (shown && !early) {
					t.Errorf("%s, shown: %v: after %v it counts from %v", name, shown, after, known.CountsFrom)
				}
				if asked := i.asked(at); early && asked > ConsistencyWindow-after || !early && asked == 0 {
					t.Errorf("%s, shown: %v: after %v EC2 is asked in %v", name, shown, after, asked)
				}
			}
		}
	}
	i := told(false, now)
	i.Created(e.ENI, now)
	if known, _ := i.Get("eni-x"); !known.CountsFrom.IsZero() {
		t.Error("the answer to a create call does not tell what an ENI has")
	}
}
