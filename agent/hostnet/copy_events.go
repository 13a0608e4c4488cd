package hostnet

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// see takes in what the kernel has announced. A pod that comes or goes costs one
// change of the copy when it has a route of its own in main, and nothing otherwise.
func (c *copier) see(m message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.on {
		return
	}
	if c.vain > 0 && m.pid != c.conn.socket.pid {
		c.doubt() // what could not be copied may be possible now
	}
	switch m.typ {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(m.data) > 0 && m.data[0] == unix.AF_UNSPEC {
			c.seeLink(m)
		}
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		a, err := decodeAddress(m.data)
		if err != nil || !linkLocal(a.prefix.Addr()) && (c.links.isENI(a.dev) || c.sources[a.prefix.Addr()]) {
			c.doubt()
		}
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		c.seeRoute(m)
	}
}

// lost: announcements were.
func (c *copier) lost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.doubt()
}

func (c *copier) seeLink(m message) {
	l, err := decodeLink(m.data)
	is, known := c.links.eni[l.index]
	switch {
	case err != nil, is, c.links.resembles(l, c.macs):
		c.doubt()
	case m.typ == unix.RTM_DELLINK:
		delete(c.links.eni, l.index)
	case !known:
		c.links.eni[l.index] = false
	}
}

func (c *copier) seeRoute(m message) {
	r, err := decodeRaw(m.data)
	if err != nil {
		c.doubt()
		return
	}
	own := m.pid == c.conn.socket.pid
	switch {
	case r.table == copyTable && !own && (m.pid != 0 || r.kind == unix.RTN_THROW):
		c.doubt() // somebody else has changed the copy, and not the kernel, whose link went
	case r.table != unix.RT_TABLE_MAIN:
	case m.typ == unix.RTM_DELROUTE:
		c.seeEnd(r)
	case m.flags&unix.NLM_F_APPEND != 0:
		c.doubt()
	default:
		if to, ok := c.copyOf(r); ok {
			c.noteSource(r)
			if c.send(to, replacing(m)) != nil {
				c.doubt()
			}
		}
	}
}

// replacing is how a route that was announced is copied. Main may have several of one
// destination and metric with IPv6, of which the kernel uses the first: another one is
// announced as if it were the only one, and must not take the first one's place.
func replacing(m message) int {
	if m.data[0] == unix.AF_INET6 && m.flags&unix.NLM_F_REPLACE == 0 {
		return unix.NLM_F_EXCL
	}
	return unix.NLM_F_REPLACE
}

// seeEnd: main has a route no longer. That of an ENI may be back in a moment, as when a
// DHCP client sets it again, and its destination stays the ENI's until then.
func (c *copier) seeEnd(r rawRoute) {
	to, ok := c.copyOf(r)
	if !ok {
		return
	}
	if to.kind == unix.RTN_THROW || c.repeated || c.delete(to) != nil {
		c.doubt()
	}
}

// links says which links of the host lead to ENIs.
type links struct {
	eni  map[int]bool // of each link that is known
	macs [][]byte     // of the ENIs' links
}

// isENI: a link that is not known may be an ENI's.
func (l links) isENI(dev int) bool {
	is, known := l.eni[dev]
	return is || !known
}

// resembles reports whether the link may be an ENI's, or stand for one.
func (l links) resembles(o link, known map[string]bool) bool {
	if o.hardware() || o.is(o.mac) && known[string(o.mac)] {
		return true
	}
	for _, mac := range l.macs {
		if o.parent == 0 && bytes.Equal(mac, o.mac) {
			return true
		}
	}
	return false
}

// classify tells the links that lead to ENIs from others. On EC2 all hardware is ENIs;
// the simulator's are veths, known by MACs. A bridge or a bond that has an ENI as its
// port stands for it, and so does a port of Open vSwitch, which has the ENI's MAC; the
// children of an ENI's link, such as a macvlan, lead to pods.
func classify(all []link, known map[string]bool) links {
	ls := links{eni: make(map[int]bool)}
	for _, l := range all {
		ls.eni[l.index] = l.hardware() || l.is(l.mac) && known[string(l.mac)]
		if ls.eni[l.index] && l.mac != nil {
			ls.macs = append(ls.macs, l.mac)
		}
	}
	for range all { // a bridge over a bond over an ENI
		more := false
		for _, l := range all {
			if ls.eni[l.index] && l.master != 0 && !ls.eni[l.master] {
				ls.eni[l.master], more = true, true
			}
		}
		if !more {
			break
		}
	}
	for _, l := range all {
		ls.eni[l.index] = ls.eni[l.index] || ls.resembles(l, known)
	}
	return ls
}
