package hostnet

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
)

// otherDev is a link that is not the ENI's.
const otherDev = 9

func drawAddr(c *draw.Choices) netip.Addr {
	return draw.Of(c, addrs("10.0.1.10", "10.0.1.11", "10.0.1.12", "10.0.2.10", "192.168.7.1",
		"2001:db8:1::10", "2001:db8:1::11", "2001:db8:1::12", "2001:db8:2::10", "fe80::7")...)
}

// drawRange draws what pods may have addresses out of. No address of [drawWanted] is in it.
func drawRange(c *draw.Choices) netip.Prefix {
	return draw.Of(c, cidrs("10.0.1.16/28", "10.0.1.32/28", "10.0.1.13/32", "2001:db8:1:0:1::/80", "2001:db8:1:0:2::/80", "2001:db8:1::13/128")...)
}

func drawWanted(c *draw.Choices) Wanted {
	w := Wanted{Host: !c.Rarely(4), Subnets: cidrs("10.0.1.0/24", "2001:db8:1::/64"), DeviceIndex: 1 + c.N(3), Card: c.N(2)}
	stack := c.N(3) // IPv4, IPv6 or both
	for range 1 + c.N(3) {
		w.Addresses = append(w.Addresses, draw.Of(c, addrs("10.0.1.10", "10.0.1.11", "10.0.1.12")...))
		w.Addresses = append(w.Addresses, draw.Of(c, addrs("2001:db8:1::10", "2001:db8:1::11", "2001:db8:1::12")...))
	}
	if c.Bool() {
		for range 1 + c.N(3) {
			w.PodRanges = append(w.PodRanges, drawRange(c))
		}
	}
	if stack < len(families) {
		of := w.only(families[stack])
		if w.Addresses, w.PodRanges = of.Addresses, of.PodRanges; c.Bool() {
			w = of
		}
	}
	return w
}

func drawTable(c *draw.Choices, w Wanted) int {
	return draw.Of(c, w.Table(), w.Table()+1, bandFirst, bandLast, bandFirst-1, bandLast+1, unix.RT_TABLE_MAIN, 101)
}

// drawState is what a kernel may have, a part of it ours. Its keys are unique, as
// the kernel's are.
func drawState(c *draw.Choices, w Wanted) state {
	var s state
	if c.Bool() {
		former := w
		if c.Bool() { // with other ranges
			former.PodRanges = append(slices.Clone(w.PodRanges), drawRange(c), drawRange(c))
		}
		s = wanted(former, testDev)
		for i := range s.addresses {
			s.addresses[i].dev = testDev
		}
		if c.Bool() { // not all of it
			s.routes, s.rules, s.addresses = draw.Some(c, s.routes...), draw.Some(c, s.rules...), draw.Some(c, s.addresses...)
		}
	}
	for range c.N(4) {
		a := address{
			dev: testDev, peer: c.Rarely(6), maker: draw.Of[uint8](c, 0, madeOfAdvertisement),
			flags: draw.Of[uint32](c, unix.IFA_F_PERMANENT|unix.IFA_F_NOPREFIXROUTE, unix.IFA_F_PERMANENT, unix.IFA_F_NOPREFIXROUTE, unix.IFA_F_PERMANENT|unix.IFA_F_NOPREFIXROUTE|unix.IFA_F_SECONDARY, 0),
		}
		addr, bits := drawAddr(c), draw.Of(c, 8, 0, 16) // of the host's part
		if addr.Is6() {
			bits *= 8
		} else {
			a.maker = 0
		}
		a.prefix = netip.PrefixFrom(addr, addr.BitLen()-bits)
		if !slices.ContainsFunc(s.addresses, a.displaces) {
			s.addresses = append(s.addresses, a)
		}
	}
	for range c.N(4) {
		r := newRule(drawTable(c, w), draw.Of(c, prefixOf(drawAddr(c)), drawRange(c)))
		switch c.N(6) {
		case 0:
			r.table = drawTable(c, w)
		case 1:
			r.protocol = unix.RTPROT_STATIC
		case 2:
			r.from = netip.PrefixFrom(r.from.Addr(), draw.Of(c, 24, 27, 28)) // or a wider one of IPv6
		case 3:
			r.mark = 7
		}
		if !slices.Contains(s.rules, r) {
			s.rules = append(s.rules, r)
		}
	}
	for range c.N(4) {
		dst := draw.Of(c, cidrs("10.0.1.0/24", "0.0.0.0/0", "10.9.0.0/16", "2001:db8:1::/64", "::/0", "2001:db8:9::/64")...)
		gateways := addrs("10.0.1.1", "10.0.1.99")
		if dst.Addr().Is6() {
			gateways = []netip.Addr{router6, netip.MustParseAddr("fe80::1")}
		}
		r := newRoute(drawTable(c, w), dst, draw.Of(c, append(gateways, netip.Addr{})...), draw.Of(c, testDev, otherDev))
		r.protocol = draw.Of[uint8](c, unix.RTPROT_KERNEL, unix.RTPROT_KERNEL, unix.RTPROT_STATIC, unix.RTPROT_RA)
		r.metric += uint32(c.N(2))
		if !slices.ContainsFunc(s.routes, r.displaces) {
			s.routes = append(s.routes, r)
		}
	}
	return s
}

// displaces: the kernel has one route for each of these.
func (r route) displaces(o route) bool {
	return r.table == o.table && r.dst == o.dst && r.tos == o.tos && r.metric == o.metric
}

// shown is what Configure reads of a state, see ofENI.
func (s state) shown(table int) state {
	s.routes = slices.DeleteFunc(slices.Clone(s.routes), func(r route) bool {
		return r.dev != testDev && (r.protocol != unix.RTPROT_KERNEL || r.table != table)
	})
	return s
}

// made is the state after a change, as the kernel makes it.
func (s state) made(ch change) state {
	s = state{routes: slices.Clone(s.routes), rules: slices.Clone(s.rules), addresses: slices.Clone(s.addresses)}
	switch o := ch.object.(type) {
	case route:
		switch {
		case ch.verb == del:
			s.routes = slices.DeleteFunc(s.routes, func(h route) bool { return h == o })
		default:
			s.routes = slices.DeleteFunc(s.routes, o.displaces)
			s.routes = append(s.routes, o)
		}
	case rule:
		if ch.verb == del {
			s.rules = slices.DeleteFunc(s.rules, func(h rule) bool { return h == o })
		} else if !slices.Contains(s.rules, o) {
			s.rules = append(s.rules, o)
		}
	case address:
		o.dev = testDev
		if ch.verb == add && !slices.ContainsFunc(s.addresses, o.displaces) {
			s.addresses = append(s.addresses, o)
		}
		if ch.verb == del {
			had := len(s.addresses)
			s.addresses = slices.DeleteFunc(s.addresses, func(h address) bool { return h.prefix == o.prefix })
			last := had > len(s.addresses) && !slices.ContainsFunc(s.addresses, func(h address) bool { return h.prefix.Addr().Is4() })
			if last && o.prefix.Addr().Is4() { // with its last one, a link loses its routes
				s.routes = slices.DeleteFunc(s.routes, func(r route) bool { return r.dev == testDev && r.dst.Addr().Is4() })
			}
		}
	}
	return s
}

// touches says what of a change is not ours to do.
func touches(ch change, w Wanted, have state) string {
	switch o := ch.object.(type) {
	case rule:
		if !inBand(o.priority) || !o.ours() {
			return "a foreign rule"
		}
	case route:
		if (!inBand(o.table) || !o.ours()) && !o.advertised(w, have) {
			return "a foreign route"
		}
	case address:
		if !o.ours(w, have) && !o.advertised(w) && !slices.Contains(w.Addresses, o.prefix.Addr()) {
			return "a foreign address"
		}
		if ch.verb == add && !w.Host {
			return "the link's addresses with None"
		}
	}
	return ""
}

// exposed is an address of ours that has no rule or no route, or a range of pods that has a
// rule but no route: its packets would leave by the primary ENI.
func (s state) exposed(w Wanted) string {
	for _, p := range w.PodRanges {
		if slices.Contains(s.rules, newRule(w.Table(), p)) && !s.routed(w, p.Addr()) {
			return fmt.Sprintf("%v, without a route", p)
		}
	}
	if !w.Host {
		return ""
	}
	for _, a := range s.addresses {
		if !slices.Contains(w.Addresses, a.prefix.Addr()) || a.flags&unix.IFA_F_NOPREFIXROUTE == 0 {
			continue
		}
		ruled := slices.ContainsFunc(s.rules, func(r rule) bool { return r.serves(newRule(w.Table(), prefixOf(a.prefix.Addr()))) })
		if routed := s.routed(w, a.prefix.Addr()); !ruled || !routed {
			return fmt.Sprintf("%v, ruled: %v, routed: %v", a.prefix, ruled, routed)
		}
	}
	return ""
}

// routed reports whether the table of w has a default route of a's family.
func (s state) routed(w Wanted, a netip.Addr) bool {
	return slices.ContainsFunc(s.routes, func(r route) bool { return r.table == w.Table() && r.dst == everywhere(family(a)) })
}

// leftover is a rule of ours that w must not have left: one to its table, or to the copy
// from where only that led.
func (s state) leftover(w Wanted, before state) string {
	want := wanted(w, testDev).rules
	for _, r := range before.rules {
		if r.table != w.Table() || !r.ours() || slices.Contains(want, r) {
			continue
		}
		if slices.Contains(s.rules, r) {
			return r.String()
		}
		copied := newRule(copyTable, r.from)
		if r.from.IsValid() && slices.Contains(s.rules, copied) && !slices.Contains(want, copied) && !r.rivalled(before) {
			return copied.String()
		}
	}
	return ""
}

// FuzzPlan: what is planned is ours to do, leads to what is wanted in the rounds
// that Configure takes, and leaves nothing to do and nothing foreign changed.
func FuzzPlan(f *testing.F) {
	draw.Fuzz(f, 300, func(t *testing.T, c *draw.Choices) {
		w := drawWanted(c)
		have := drawState(c, w)
		before := have
		for round := 0; ; round++ {
			changes := plan(w, testDev, have.shown(w.Table()))
			if len(changes) == 0 {
				break
			}
			if round == rounds {
				t.Fatalf("after %d rounds there is still to do\n%sfor %+v and %+v", round, commands(changes), w, before)
			}
			have = carryOut(t, w, have, changes, false)
		}
		if i := slices.IndexFunc(have.routes, func(r route) bool { return r.dev == testDev && r.advertised(w, have) }); i >= 0 {
			t.Fatalf("%v is still there, of %+v", have.routes[i], before)
		}
		for _, want := range wanted(w, testDev).addresses {
			if !slices.ContainsFunc(have.addresses, func(a address) bool { return a.serves(want) }) {
				t.Fatalf("%v is missing after %+v of %+v", want.prefix, w, before)
			}
		}
		for _, want := range wanted(w, testDev).rules {
			if !slices.ContainsFunc(have.rules, func(r rule) bool { return r.serves(want) }) {
				t.Fatalf("%v is missing after %+v of %+v", want, w, before)
			}
		}
		if have.exposed(w) != "" {
			t.Fatalf("exposed is %s after %+v of %+v", have.exposed(w), w, before)
		}
		if left := have.leftover(w, before); left != "" {
			t.Fatalf("%v is left over after %+v of %+v", left, w, before)
		}
		unharmed(t, w, before, have)
		unharmedOther(t, w, before, have)

		released := w
		released.Host = false
		have = carryOut(t, released, have, planRelease(released, testDev, have), true)
		if rest := planRelease(released, testDev, have); len(rest) > 0 {
			t.Fatalf("after the release there is still to do\n%s", commands(rest))
		}
		unharmed(t, w, before, have)
		if i := slices.IndexFunc(have.rules, func(r rule) bool { return r.from.IsValid() && slices.Contains(wanted(w, testDev).rules, r) }); i >= 0 {
			t.Fatalf("the release leaves %v", have.rules[i])
		}
		if kept := sweep([]Wanted{w}, state{rules: before.rules, routes: before.routes}); slices.ContainsFunc(kept, func(ch change) bool {
			r, is := ch.object.(rule)
			return touches(ch, w, before) != "" || is && slices.Contains(wanted(w, testDev).rules, r)
		}) {
			t.Fatalf("a sweep that keeps %+v is\n%s", w, commands(kept))
		}
	})
}

func carryOut(t *testing.T, w Wanted, have state, changes []change, release bool) state {
	t.Helper()
	healing := false
	for _, ch := range changes {
		if what := touches(ch, w, have); what != "" {
			t.Fatalf("%v changes %s, for %+v", ch, what, w)
		}
		if release {
			have = have.made(ch)
			continue
		}
		exposed := have.exposed(w)
		have = have.made(ch)
		a, is := ch.object.(address)
		lastGone := is && ch.verb == del && a.prefix.Addr().Is4() // the kernel takes the routes; they come back at once
		if now := have.exposed(w); exposed == "" && now != "" && !lastGone {
			t.Fatalf("%v exposes %s in\n%s", ch, now, commands(changes))
		}
		if _, isRoute := ch.object.(route); exposed != "" && healing && (!isRoute || ch.verb != add) && (!is || ch.verb != del) {
			t.Fatalf("%v comes while %s is exposed in\n%s", ch, exposed, commands(changes))
		}
		healing = (healing || lastGone) && have.exposed(w) != ""
	}
	if healing {
		t.Fatalf("%s is exposed in the end of\n%s", have.exposed(w), commands(changes))
	}
	return have
}

// unharmedOther sees that what leads to other ENIs' tables from what w never had stays.
func unharmedOther(t *testing.T, w Wanted, before, after state) {
	t.Helper()
	mine := ownSources(w, before)
	for _, r := range before.rules {
		if !r.ours() || !r.from.IsValid() || r.table == w.Table() || r.table == copyTable || mine[r.from] {
			continue
		}
		copied := newRule(copyTable, r.from)
		if !slices.Contains(after.rules, r) || slices.Contains(before.rules, copied) && !slices.Contains(after.rules, copied) {
			t.Fatalf("%v, or that to the copy, is gone after %+v of %+v", r, w, before)
		}
	}
}

// unharmed sees that nothing foreign has gone, but for what stands in the way.
func unharmed(t *testing.T, w Wanted, before, after state) {
	t.Helper()
	for _, r := range before.rules {
		if !r.ours() && !slices.Contains(after.rules, r) {
			t.Fatalf("the rule %v is gone", r)
		}
	}
	for _, a := range before.addresses {
		if !a.ours(w, before) && !a.advertised(w) && !slices.Contains(w.Addresses, a.prefix.Addr()) && !slices.Contains(after.addresses, a) {
			t.Fatalf("the address %v is gone", a.prefix)
		}
	}
	for _, r := range before.routes {
		withLink := r.dev == testDev // may go with the link's last address
		if !r.ours() && r.table != w.Table() && !withLink && !slices.Contains(after.routes, r) {
			t.Fatalf("the route %v is gone", r)
		}
	}
}

// FuzzDecodedPlan: whatever the kernel, or who speaks in its name, sends, it is read or
// refused, and what was read can be planned with and shown.
func FuzzDecodedPlan(f *testing.F) {
	f.Add(make([]byte, 64))
	f.Add([]byte{2, 32, 0, 0, 34, 2, 0, 1, 0, 0, 0, 0, 8, 0, 15, 0, 34, 78, 0, 0, 8, 0, 6, 0, 34, 78, 0, 0, 8, 0, 2, 0, 10, 0, 1, 10, 5, 0, 21, 0, 2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, msg []byte) {
		l, linkErr := decodeLink(msg)
		a, addressErr := decodeAddress(msg)
		r, ruleErr := decodeRule(msg)
		way, routeErr := decodeRoute(msg)
		if len(msg) < 8 && (linkErr == nil || addressErr == nil || ruleErr == nil || routeErr == nil) {
			t.Fatal("a message without a header was read")
		}
		w := withPods(dualStack(hostWanted("10.0.1.10")), "10.0.1.16/28", "2001:db8:1:0:1::/80")
		w.MAC = l.mac
		_, _ = match([]link{l}, w.MAC)
		have := state{routes: []route{way}, rules: []rule{r}, addresses: []address{a}}
		changes := slices.Concat(plan(w, testDev, have), planRelease(w, testDev, have), sweep([]Wanted{w}, have))
		for _, ch := range changes {
			if what := touches(ch, w, have); what != "" {
				t.Fatalf("%v changes %s", ch, what)
			}
		}
		_ = commands(changes)
		_ = describe([]link{l}, []address{a}, []rule{r}, []route{way})
	})
}
