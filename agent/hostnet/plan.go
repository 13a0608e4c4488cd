package hostnet

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// state is what the kernel has, or must have, for one ENI.
type state struct {
	routes    []route
	rules     []rule
	addresses []address
}

// change adds or deletes one address, rule or route.
type change struct {
	verb   verb
	object any // address, rule or route
}

type verb string

const (
	add verb = "add"
	del verb = "del"
)

// wanted computes what the kernel must have for w on the link dev.
func wanted(w Wanted, dev int) state {
	var s state
	for _, f := range families {
		if !w.hasAddress(f) && !w.hasRange(f) {
			continue
		}
		subnet := w.subnetOf(everywhere(f).Addr())
		s.routes = append(s.routes,
			newRoute(w.Table(), subnet, netip.Addr{}, dev),
			newRoute(w.Table(), everywhere(f), Router(subnet), dev))
		s.rules = append(s.rules, w.markRules(f)...)
	}
	for from := range w.sources {
		s.rules = append(s.rules, w.rules(from)...)
	}
	for i, a := range w.Addresses {
		if w.Host && !slices.Contains(w.Addresses[:i], a) {
			s.addresses = append(s.addresses, newAddress(a, w.subnetOf(a)))
		}
	}
	return s
}

// rules are those for one source: main's routes by other links go first.
func (w Wanted) rules(from netip.Prefix) []rule {
	return []rule{newRule(w.Table(), from), newRule(copyTable, from)}
}

// markRules are those for marked replies of the family.
func (w Wanted) markRules(family uint8) []rule {
	mark := w.mark()
	if mark == 0 || !w.hasAddress(family) {
		return nil
	}
	return []rule{newMarkRule(family, w.Table(), mark), newMarkRule(family, copyTable, mark)}
}

// newRule is a rule for what an ENI has; its priority is its table's number.
//
// Its protocol, and that of the routes, is kernel because systemd-networkd
// deletes rules and routes that it did not make itself, but leaves alone what
// the kernel seems to have made (ManageForeignRoutingPolicyRules= and
// ManageForeignRoutes= in networkd.conf(5)).
func newRule(table int, from netip.Prefix) rule {
	return rule{
		family:   family(from.Addr()),
		priority: table,
		table:    table,
		from:     from,
		action:   actionLookup,
		protocol: unix.RTPROT_KERNEL,
	}
}

func inBand(n int) bool { return bandFirst <= n && n <= bandLast }

// ours reports whether this package made the rule.
func (r rule) ours() bool {
	return inBand(r.priority) && (r.marks() || isSource(r.from) && r == newRule(r.priority, r.from))
}

func (r rule) leadsToCopy() bool { return r.priority == copyTable && r.ours() }

// ours reports whether this package made the route.
func (r route) ours() bool {
	return inBand(r.table) && r.protocol == unix.RTPROT_KERNEL
}

// ours reports whether this package made the address for w. What others make may
// look the same. But ours has its rule: that comes before the address and goes after
// it. Should somebody have deleted the rule of one that the ENI has, our routes tell.
// One that has become a pod's goes in any case.
func (a address) ours(w Wanted, have state) bool {
	const flags = unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_PERMANENT
	if a.flags&flags != flags || a.peer {
		return false
	}
	addr := a.prefix.Addr()
	ruled := slices.ContainsFunc(have.rules, func(r rule) bool { return inBand(r.table) && r.serves(newRule(r.table, prefixOf(addr))) })
	routed := slices.ContainsFunc(have.routes, func(r route) bool {
		return r.ours() && r.dev == a.dev && family(r.dst.Addr()) == family(addr)
	})
	switch subnet := w.subnetOf(addr); {
	case slices.Contains(w.Addresses, addr):
		return ruled || routed && !w.routesPods(family(addr), a.dev, have)
	case subnet.IsValid():
		return (ruled || slices.Contains(w.PodRanges, prefixOf(addr))) && subnet.Contains(addr) && a.prefix == newAddress(addr, subnet).prefix
	default: // the subnet has lost that CIDR, or is not known any more
		return ruled && routed
	}
}

// routesPods reports whether our routes of the family by the link are, or were, for pods.
func (w Wanted) routesPods(f uint8, dev int, have state) bool {
	return w.hasRange(f) || slices.ContainsFunc(have.rules, func(r rule) bool {
		return r.family == f && r.ours() && r.from.IsValid() && !slices.ContainsFunc(w.Addresses, r.from.Contains) &&
			slices.ContainsFunc(have.routes, func(o route) bool { return o.ours() && o.dev == dev && o.table == r.table })
	})
}

// serves reports whether a does what want asks for. It may be a lease of a
// DHCP client, and the kernel adds flags of its own.
func (a address) serves(want address) bool {
	return a.prefix == want.prefix && !a.peer && a.flags&unix.IFA_F_NOPREFIXROUTE != 0
}

// serves reports whether r does what want asks for, whoever made it.
func (r rule) serves(want rule) bool {
	r.protocol = want.protocol
	return r == want
}

// plan computes how to come from have to what w wants on the link dev.
func plan(w Wanted, dev int, have state) []change {
	var changes []change
	for _, r := range have.routes {
		if r.advertised(w, have) {
			changes = append(changes, change{del, r})
		}
	}
	mine, table := ownSources(w, have), w.Table()
	for _, r := range have.rules {
		// The table belongs to this ENI now, whoever had it before.
		if r.table == table && r.from.IsValid() && !mine[r.from] && r.ours() && !r.rivalled(have) {
			mine[r.from] = true
		}
	}
	return append(changes, diff(wanted(w, dev), have, leftovers{
		rule:  func(r rule) bool { return r.table == table || mine[r.from] || r.abandoned(have, mine) },
		route: func(r route) bool { return r.table == table || r.dev == dev },
		address: func(a address) bool {
			// One of the ENI's own in another form stands in the way of ours.
			return a.ours(w, have) || a.advertised(w) || w.Host && slices.Contains(w.Addresses, a.prefix.Addr())
		},
	})...)
}

// planRelease computes how to take everything of w from the host; dev is 0
// when the link is gone already.
func planRelease(w Wanted, dev int, have state) []change {
	mine := ownSources(w, have)
	return diff(state{}, have, leftovers{
		// Not the whole table: another ENI may have its device index by now.
		rule:    func(r rule) bool { return mine[r.from] || r.abandoned(have, mine) },
		route:   func(r route) bool { return dev != 0 && r.dev == dev },
		address: func(a address) bool { return a.ours(w, have) },
	})
}

// ownSources are the addresses and ranges that w has, and addresses that it had: the link
// still shows them.
func ownSources(w Wanted, have state) map[netip.Prefix]bool {
	mine := make(map[netip.Prefix]bool)
	for _, a := range have.addresses {
		if a.ours(w, have) {
			mine[prefixOf(a.prefix.Addr())] = true
		}
	}
	for _, a := range w.Addresses {
		mine[prefixOf(a)] = true
	}
	for _, p := range w.PodRanges {
		mine[p] = true
	}
	return mine
}

// rivalled reports whether a rule leads from the same to another ENI's table: EC2 has given
// it to that one since.
func (r rule) rivalled(have state) bool {
	return slices.ContainsFunc(have.rules, func(o rule) bool {
		return o.from == r.from && o.table != r.table && o.table != copyTable && o.ours()
	})
}

// leftovers says which of our own rules and routes, and which addresses, go
// when they are not wanted.
type leftovers struct {
	rule    func(rule) bool
	route   func(route) bool
	address func(address) bool
}

// diff computes the changes from have to want, in an order in which no
// address is ever without its rule and its routes: there is no moment in
// which a packet could leave by the primary ENI.
func diff(want, have state, left leftovers) []change {
	var changes []change
	for _, r := range want.routes {
		if !slices.Contains(have.routes, r) {
			changes = append(changes, change{add, r})
		}
	}
	for _, r := range want.rules {
		if !slices.ContainsFunc(have.rules, func(h rule) bool { return h.serves(r) }) {
			changes = append(changes, change{add, r})
		}
	}
	changes = append(changes, diffAddresses(want, have.addresses, left.address)...)
	for _, r := range have.rules {
		if r.ours() && left.rule(r) && !slices.Contains(want.rules, r) {
			changes = append(changes, change{del, r})
		}
	}
	for _, r := range have.routes {
		if r.ours() && left.route(r) && !slices.Contains(want.routes, r) {
			changes = append(changes, change{del, r})
		}
	}
	return changes
}

// diffAddresses adds before it deletes: with the last IPv4 address of a link, the
// kernel takes away all its routes, those of other tables too. Where that cannot be
// helped, they are added again at once.
func diffAddresses(want state, have []address, left func(address) bool) []change {
	var adds, dels, again []change
	stays, goes := false, false // IPv4 addresses on the link
	for _, w := range want.addresses {
		switch {
		case slices.ContainsFunc(have, func(h address) bool { return h.serves(w) }):
		case slices.ContainsFunc(have, w.displaces):
			// The same in another form has to go first.
			again = append(again, change{add, w})
		default:
			adds = append(adds, change{add, w})
			stays = stays || w.prefix.Addr().Is4()
		}
	}
	for _, h := range have {
		if left(h) && !slices.ContainsFunc(want.addresses, h.serves) {
			dels = append(dels, change{del, h})
			goes = goes || h.prefix.Addr().Is4()
		} else {
			stays = stays || h.prefix.Addr().Is4()
		}
	}
	for _, r := range want.routes {
		if len(again) > 0 || goes && !stays && r.dst.Addr().Is4() {
			dels = append(dels, change{add, r})
		}
	}
	return slices.Concat(adds, dels, again)
}

// sweep computes which of our rules and routes belong to none of keep.
func sweep(keep []Wanted, have state) []change {
	rules, tables := make(map[rule]bool), make(map[int]bool)
	for _, w := range keep {
		if !w.routed() {
			continue
		}
		tables[w.Table()] = true
		tables[copyTable] = true
		for from := range w.sources {
			for _, r := range w.rules(from) {
				rules[r] = true
			}
		}
		for _, f := range families {
			for _, r := range w.markRules(f) {
				rules[r] = true
			}
		}
	}
	return diff(state{}, have, leftovers{
		rule:    func(r rule) bool { return !rules[r] },
		route:   func(r route) bool { return !tables[r.table] },
		address: func(address) bool { return false },
	})
}
