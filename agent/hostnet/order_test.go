package hostnet

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// messages returns what the kernel announced while f ran, in its order.
func (n *node) messages(f func()) []message {
	n.t.Helper()
	e := n.listen()
	defer e.close()
	f()
	// A link that comes last marks the end.
	const marker = "marker"
	n.plug(marker, mac(n.t, "02:00:00:00:0f:0f"))
	defer func() { n.must(n.nl.LinkDel(n.link(marker))) }()
	var all []message
	for {
		datagram, err := e.socket.receive(time.Now().Add(deadline))
		n.must(err)
		for m := (messages{rest: slices.Clone(datagram)}); m.next(); {
			if m.typ == unix.RTM_NEWLINK && m.data[0] == unix.AF_UNSPEC {
				l, err := decodeLink(m.data)
				n.must(err)
				if l.name == marker {
					return all
				}
			}
			all = append(all, m.message)
		}
	}
}

// listen opens a socket that hears what Watch hears.
func (n *node) listen() *events {
	n.t.Helper()
	var e *events
	n.must(n.ns.Do(func() (err error) {
		e, err = openEvents()
		return err
	}))
	n.must(e.join())
	return e
}

// record returns what happened to addresses, rules, routes and links while f
// ran.
func (n *node) record(f func()) []string {
	n.t.Helper()
	up := make(map[int]bool)
	links, err := n.host.conn.links()
	n.must(err)
	for _, l := range links {
		up[l.index] = l.up
	}
	var seen []string
	for _, m := range n.messages(f) {
		if m.typ != unix.RTM_NEWLINK {
			seen = append(seen, announcement(m)...)
			continue
		}
		l, err := decodeLink(m.data)
		n.must(err)
		if l.up != up[l.index] { // the kernel has more to say about links
			up[l.index] = l.up
			seen = append(seen, fmt.Sprintf("link up: %v", l.up))
		}
	}
	return seen
}

func announcement(m message) []string {
	switch m.typ {
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		a, err := decodeAddress(m.data)
		if err == nil && !linkLocal(a.prefix.Addr()) {
			return []string{fmt.Sprintf("%s address %v", word(m, unix.RTM_NEWADDR), a.prefix)}
		}
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		r, err := decodeRule(m.data)
		if err == nil {
			of := selector(r.from)
			if r.mark != 0 {
				of = fmt.Sprintf("mark %#x", r.mark)
			}
			return []string{fmt.Sprintf("%s rule %s lookup %d", word(m, unix.RTM_NEWRULE), of, r.table)}
		}
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		r, err := decodeRoute(m.data)
		if err == nil && r.table != unix.RT_TABLE_LOCAL && !linkLocal(r.dst.Addr()) {
			return []string{fmt.Sprintf("%s route %v table %s", word(m, unix.RTM_NEWROUTE), r.dst, tableName(r.table))}
		}
	}
	return nil
}

func word(m message, added uint16) verb {
	if m.typ == added {
		return add
	}
	return del
}

// There is no moment in which an address is on the link without its rule and
// its routes: its packets would leave by the primary ENI. And main is never
// touched.
func TestOrder(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.1.5/24")
	w := eni(t)
	w.MTU, w.Addresses = 0, addrs("10.0.1.10")
	n.plug("eth1", w.MAC)

	check := func(what string, f func(), want []string) {
		t.Helper()
		if got := n.record(f); !slices.Equal(got, want) {
			t.Errorf("%s happened as\n%q, want\n%q", what, got, want)
		}
	}
	check("Configure", func() { n.configure(w) }, []string{
		"link up: true",
		"add route 10.0.1.0/24 table 20000",
		"add route 10.0.1.0/24 table 20001",
		"add route 0.0.0.0/0 table 20001",
		"add rule mark 0x4 lookup 20001",
		"add rule mark 0x4 lookup 20000",
		"add rule 10.0.1.10 lookup 20001",
		"add rule 10.0.1.10 lookup 20000",
		"add address 10.0.1.10/24",
	})
	check("another device index", func() { w.DeviceIndex = 2; n.configure(w) }, []string{
		"add route 10.0.1.0/24 table 20002",
		"add route 0.0.0.0/0 table 20002",
		"add rule mark 0x8 lookup 20002",
		"add rule mark 0x8 lookup 20000",
		"add rule 10.0.1.10 lookup 20002",
		"del rule mark 0x4 lookup 20000",
		"del rule mark 0x4 lookup 20001",
		"del rule 10.0.1.10 lookup 20001",
		"del route 0.0.0.0/0 table 20001",
		"del route 10.0.1.0/24 table 20001",
	})
	check("another address", func() { w.Addresses = addrs("10.0.1.11"); n.configure(w) }, []string{
		"add rule 10.0.1.11 lookup 20002",
		"add rule 10.0.1.11 lookup 20000",
		"add address 10.0.1.11/24",
		"del address 10.0.1.10/24",
		"add address 10.0.1.11/24", // is announced again as it becomes the link's first
		"del rule 10.0.1.10 lookup 20000",
		"del rule 10.0.1.10 lookup 20002",
	})
	check("Release", func() { n.must(n.host.Release(w)) }, []string{
		"del address 10.0.1.11/24", // takes the routes with it, unannounced
		"del rule mark 0x8 lookup 20000",
		"del rule 10.0.1.11 lookup 20000",
		"del rule mark 0x8 lookup 20002",
		"del rule 10.0.1.11 lookup 20002",
		"del route 10.0.1.0/24 table 20000",
		"link up: false",
	})
}

// The same with IPv6. The kernel announces an address that is added only later, when it
// has it for some time (addrconf_dad_work in net/ipv6/addrconf.c).
func TestOrderIPv6(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.1.5/24")
	w := dual(t).only(unix.AF_INET6)
	w.MTU, w.Addresses = 0, addrs("2001:db8:1::10")
	n.plug("eth1", w.MAC)

	check := func(what string, f func(), want []string) {
		t.Helper()
		got := slices.DeleteFunc(n.record(f), func(s string) bool { return strings.HasPrefix(s, "add address") })
		if !slices.Equal(got, want) {
			t.Errorf("%s happened as\n%q, want\n%q", what, got, want)
		}
	}
	check("Configure", func() { n.configure(w) }, []string{
		"link up: true",
		"add route 2001:db8:1::/64 table 20000",
		"add route 2001:db8:1::/64 table 20001",
		"add route ::/0 table 20001",
		"add rule mark 0x4 lookup 20001",
		"add rule mark 0x4 lookup 20000",
		"add rule 2001:db8:1::10 lookup 20001",
		"add rule 2001:db8:1::10 lookup 20000",
	})
	check("another address", func() { w.Addresses = addrs("2001:db8:1::11"); n.configure(w) }, []string{
		"add rule 2001:db8:1::11 lookup 20001",
		"add rule 2001:db8:1::11 lookup 20000",
		"del address 2001:db8:1::10/128",
		"del rule 2001:db8:1::10 lookup 20000",
		"del rule 2001:db8:1::10 lookup 20001",
	})
	check("Release", func() { n.must(n.host.Release(w)) }, []string{
		"del address 2001:db8:1::11/128",
		"del rule mark 0x4 lookup 20000",
		"del rule 2001:db8:1::11 lookup 20000",
		"del rule mark 0x4 lookup 20001",
		"del rule 2001:db8:1::11 lookup 20001",
		"del route 2001:db8:1::/64 table 20001",
		"del route ::/0 table 20001",
		"del route 2001:db8:1::/64 table 20000",
		"link up: false",
	})
}

// What agents before the copy of main and the marks have left is added to, and nothing of
// it is taken away: connections over the ENI go on through an upgrade.
func TestUpgradeOnlyAdds(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.0.5/24")
	w := eni(t)
	n.plug("eth1", w.MAC)
	n.bridge("docker0", "172.17.0.1/16")
	n.configure(w)
	rules, err := n.host.conn.rulesOfBand()
	n.must(err)
	for _, r := range rules {
		if r.mark != 0 || r.table == copyTable {
			n.must(n.host.conn.apply(0, change{del, r}))
		}
	}
	n.must(n.host.copier.stop())
	if text := n.describe(); strings.Contains(text, "20000") || strings.Contains(text, "fwmark") {
		t.Fatalf("that is no older agent's:\n%s", text)
	}
	n.host.Close()
	n.must(n.ns.Do(func() (err error) {
		n.host, err = Open()
		return err
	}))
	events := n.record(func() {
		n.must(n.host.Know(mac(t, "02:00:00:00:00:00"), w.MAC))
		_, err := n.host.Configure(w)
		n.must(err)
		_, err = n.host.Sweep([]Wanted{w})
		n.must(err)
	})
	ruled := false
	for _, event := range events {
		ruled = ruled || strings.Contains(event, "rule")
		if !strings.HasPrefix(event, "add ") || ruled && strings.Contains(event, "table 20000") {
			t.Errorf("%q is not an addition, or comes too late", event)
		}
	}
	if len(events) < 6 {
		t.Errorf("added were %q", events)
	}
}
