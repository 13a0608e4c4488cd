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

func drawWanted(c *draw.Choices) Wanted {
	w := Wanted{Host: !c.Rarely(4), Subnets: cidrs("10.0.1.0/24", "2001:db8:1::/64"), DeviceIndex: 1 + c.N(3), Card: c.N(2)}
	stack := c.N(3) // IPv4, IPv6 or both
	for range 1 + c.N(3) {
		w.Addresses = append(w.Addresses, draw.Of(c, addrs("10.0.1.10", "10.0.1.11", "10.0.1.12")...))
		w.Addresses = append(w.Addresses, draw.Of(c, addrs("2001:db8:1::10", "2001:db8:1::11", "2001:db8:1::12")...))
	}
	if stack < len(families) {
		addresses := w.only(families[stack]).Addresses
		if w.Addresses = addresses; c.Bool() {
			w = w.only(families[stack])
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
		s = wanted(w, testDev)
		for i := range s.addresses {
			s.addresses[i].dev = testDev
		}
		s.routes, s.rules, s.addresses = draw.Some(c, s.routes...), draw.Some(c, s.rules...), draw.Some(c, s.addresses...)
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
		r := newRule(drawTable(c, w), prefixOf(drawAddr(c)))
		switch c.N(6) {
		case 0:
			r.table = drawTable(c, w)
		case 1:
			r.protocol = unix.RTPROT_STATIC
		case 2:
			r.from = netip.PrefixFrom(r.from.Addr(), 24) // or a wider one of IPv6
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
	}
	return ""
}

// exposed is an address of ours that has no rule or no route: its packets would
// leave by the primary ENI.
func (s state) exposed(w Wanted) string {
	for _, a := range s.addresses {
		if !slices.Contains(w.Addresses, a.prefix.Addr()) || a.flags&unix.IFA_F_NOPREFIXROUTE == 0 {
			continue
		}
		ruled := slices.ContainsFunc(s.rules, func(r rule) bool { return r.serves(newRule(w.Table(), prefixOf(a.prefix.Addr()))) })
		routed := slices.ContainsFunc(s.routes, func(r route) bool { return r.table == w.Table() && r.dst == everywhere(family(a.prefix.Addr())) })
		if !ruled || !routed {
			return fmt.Sprintf("%v, ruled: %v, routed: %v", a.prefix, ruled, routed)
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
			have = carryOut(t, w, have, changes)
		}
		if i := slices.IndexFunc(have.routes, func(r route) bool { return r.dev == testDev && r.advertised(w, have) }); i >= 0 {
			t.Fatalf("%v is still there, of %+v", have.routes[i], before)
		}
		for _, want := range wanted(w, testDev).addresses {
			if !slices.ContainsFunc(have.addresses, func(a address) bool { return a.serves(want) }) {
				t.Fatalf("%v is missing after %+v of %+v", want.prefix, w, before)
			}
		}
		if w.Host && have.exposed(w) != "" {
			t.Fatalf("exposed is %s after %+v of %+v", have.exposed(w), w, before)
		}
		unharmed(t, w, before, have)

		released := w
		released.Host = false
		have = carryOut(t, released, have, planRelease(released, testDev, have))
		if rest := planRelease(released, testDev, have); len(rest) > 0 {
			t.Fatalf("after the release there is still to do\n%s", commands(rest))
		}
		unharmed(t, w, before, have)
		if kept := sweep([]Wanted{w}, state{rules: before.rules, routes: before.routes}); slices.ContainsFunc(kept, func(ch change) bool {
			r, is := ch.object.(rule)
			return touches(ch, w, before) != "" || is && w.Host && slices.Contains(wanted(w, testDev).rules, r)
		}) {
			t.Fatalf("a sweep that keeps %+v is\n%s", w, commands(kept))
		}
	})
}

func carryOut(t *testing.T, w Wanted, have state, changes []change) state {
	t.Helper()
	for _, ch := range changes {
		if what := touches(ch, w, have); what != "" {
			t.Fatalf("%v changes %s, for %+v", ch, what, w)
		}
		exposed := have.exposed(w)
		have = have.made(ch)
		if now := have.exposed(w); w.Host && exposed == "" && now != "" {
			t.Fatalf("%v exposes %s in\n%s", ch, now, commands(changes))
		}
	}
	return have
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
		w := dualStack(hostWanted("10.0.1.10"))
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
