package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// copyTable holds a copy of those routes of main that leave by links of this host
// that are no ENIs: bridges, veths, VPNs, overlays. It is the table of the primary
// ENI's place, which no other ENI can have. What is sent from an ENI's address looks
// here first, and only then into the ENI's own table; so containers, pods and VPNs stay
// reachable. The default route is not copied, and a route of main that leaves by an ENI
// becomes a throw, which sends the lookup on to the ENI's table. Of a family that no ENI
// of ours has, nothing is copied.
//
// A rule "lookup main suppress_prefixlength 0" would need no copy, but would hand over
// the primary's subnet too, and whatever else main reaches by the primary.
// suppress_ifgroup could keep that out, but only if the primary's link were changed.
const copyTable = bandFirst

const (
	// copyInterval is the least time between two complete comparisons of main with its
	// copy. Single changes are copied at once and need none.
	copyInterval = 100 * time.Millisecond
	// copyRetry is the longest time until what could not be copied is tried again: main
	// may keep a route for good that the kernel would not take now, as one whose gateway
	// is out of reach.
	copyRetry = time.Minute
)

// copier keeps copyTable like main while at least one ENI has addresses on the host.
type copier struct {
	conn *conn

	mu     sync.Mutex
	on     bool
	closed bool
	due    *time.Timer // the next complete comparison; nil when none is needed
	dueAt  time.Time
	vain   int // comparisons in a row that left something to be tried again
	macs   map[string]bool
	links  links
	// subnets are those of the ENIs on this host, the primary's among them. They are
	// never given to another link, whatever main has.
	subnets map[netip.Prefix]bool
	// wanted are the subnets of ENIs whose addresses are about to be added.
	wanted map[netip.Prefix]bool
	// sources are the preferred sources of copied routes: the kernel deletes such a
	// route from main without a word when it deletes the address.
	sources map[netip.Addr]bool
	// repeated: main has several routes of one destination and metric, so that the
	// end of one does not say that there is none.
	repeated bool
	compares int // that were made
}

func newCopier(c *conn) *copier {
	return &copier{conn: c, macs: make(map[string]bool), wanted: make(map[netip.Prefix]bool)}
}

func (c *copier) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed, c.on = true, false
	c.cancel()
}

// know says that the links with these MACs are ENIs.
func (c *copier) know(macs ...net.HardwareAddr) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	more := false
	for _, mac := range macs {
		if len(mac) > 0 && !c.macs[string(mac)] {
			c.macs[string(mac)], more = true, true
		}
	}
	if !c.on || !more {
		return nil
	}
	return c.compare()
}

// start makes the copy, before an ENI in these subnets gets its rules. It is cheap when
// the copy is there.
func (c *copier) start(subnets []netip.Prefix) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	made := c.on
	for _, subnet := range subnets {
		made = made && (c.wanted[subnet] || c.subnets[subnet] && c.copies(family(subnet.Addr())))
		c.wanted[subnet] = true
	}
	if made {
		return nil
	}
	c.on = true
	return c.compare()
}

// copies reports whether routes of the family are copied.
func (c *copier) copies(f uint8) bool {
	for subnet := range c.wanted {
		if family(subnet.Addr()) == f {
			return true
		}
	}
	return false
}

func (c *copier) active() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.on
}

// keep forgets the subnets of ENIs that are no more.
func (c *copier) keep(subnets map[netip.Prefix]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for subnet := range c.wanted {
		if !subnets[subnet] {
			delete(c.wanted, subnet)
			c.doubt()
		}
	}
}

// stop deletes the copy when no ENI has addresses here any more.
func (c *copier) stop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.on = false
	c.cancel()
	clear(c.wanted)
	_, copies, err := c.read()
	if err != nil {
		return err
	}
	return c.change(nil, copies)
}

func (c *copier) cancel() {
	if c.due != nil {
		c.due.Stop()
		c.due = nil
	}
}

// doubt has everything compared soon.
func (c *copier) doubt() { c.compareIn(copyInterval) }

// retry has everything compared later, and later each time.
func (c *copier) retry() { c.compareIn(min(copyInterval<<min(c.vain, 10), copyRetry)) }

func (c *copier) compareIn(wait time.Duration) {
	at := time.Now().Add(wait)
	if !c.on || c.due != nil && !at.Before(c.dueAt) {
		return
	}
	c.cancel()
	c.dueAt = at
	c.due = time.AfterFunc(wait, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.on && c.due != nil {
			_ = c.compare() // it is tried again
		}
	})
}

// compare makes the copy what main is now. What fails is tried again.
func (c *copier) compare() error {
	c.cancel()
	c.compares++
	c.vain++
	err := c.update()
	switch {
	case err != nil:
		c.retry()
	case c.due == nil:
		c.vain = 0
	}
	return err
}

func (c *copier) update() error {
	all, err := c.conn.links()
	if err != nil {
		return err
	}
	c.links = classify(all, c.macs)
	if err := c.readSubnets(); err != nil {
		return err
	}
	main, copies, err := c.read()
	if err != nil {
		return err
	}
	want := make(map[routeKey]rawRoute)
	c.repeated, c.sources = false, make(map[netip.Addr]bool)
	for _, r := range main {
		to, ok := c.copyOf(r)
		if !ok {
			continue
		}
		if first, has := want[to.key]; has {
			c.repeated = c.repeated || !first.equal(to) // the kernel uses the first
			continue
		}
		want[to.key] = to
		c.noteSource(r)
	}
	for subnet := range c.subnets {
		if c.copies(family(subnet.Addr())) {
			r := throw(bestKey(subnet))
			want[r.key] = r
		}
	}
	return c.change(want, copies)
}

// readSubnets notes which subnets the ENIs of this host are in.
func (c *copier) readSubnets() error {
	addresses, err := c.conn.addresses(0)
	if err != nil {
		return err
	}
	c.subnets = make(map[netip.Prefix]bool)
	for _, a := range addresses {
		if c.links.isENI(a.dev) && !a.prefix.IsSingleIP() && !a.peer && !linkLocal(a.prefix.Addr()) {
			c.subnets[a.prefix.Masked()] = true
		}
	}
	for subnet := range c.wanted {
		c.subnets[subnet.Masked()] = true
	}
	return nil
}

// read reads the routes of main, and those of the copy that are ours.
func (c *copier) read() (main, copies []rawRoute, err error) {
	for _, t := range []struct {
		table int
		into  *[]rawRoute
	}{{unix.RT_TABLE_MAIN, &main}, {copyTable, &copies}} {
		header := &nl.RtMsg{}
		of := func(r rawRoute) bool {
			return r.table == t.table && (t.table != copyTable || r.protocol == unix.RTPROT_KERNEL)
		}
		*t.into, err = dump(c.conn, unix.RTM_GETROUTE, decodeRaw, of, header, nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(uint32(t.table))))
		if err != nil && !errors.Is(err, unix.ENOENT) { // a table exists from its first route on
			return nil, nil, fmt.Errorf("list the routes of table %s: %w", tableName(t.table), err)
		}
	}
	return main, copies, nil
}

// change brings the copy from what it has to what it must have.
func (c *copier) change(want map[routeKey]rawRoute, have []rawRoute) error {
	same := make(map[routeKey]bool)
	for _, r := range have {
		w, ok := want[r.key]
		same[r.key] = same[r.key] || ok && w.equal(r)
	}
	var failed error
	for key, r := range want {
		if !same[key] {
			failed = errors.Join(failed, c.add(r))
		}
	}
	for _, r := range have {
		if w, ok := want[r.key]; !ok || same[r.key] && !w.equal(r) {
			failed = errors.Join(failed, c.delete(r))
		}
	}
	return failed
}

// add copies one route, in place of what there is for its destination. What has just gone
// is no error: its end is announced, or its link's. A route that the kernel takes in main
// but not here is left to the ENI.
func (c *copier) add(r rawRoute) error {
	return c.send(r, unix.NLM_F_REPLACE)
}

func (c *copier) send(r rawRoute, how int) error {
	err := c.conn.do(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|how, r.request(copyTable))
	switch {
	case err == nil:
		return nil
	case isUnsettled(err) || isGone(err):
		c.retry()
		return nil
	case errors.Is(err, unix.EINVAL) && r.kind != unix.RTN_THROW:
		return c.add(throw(r.key))
	}
	return fmt.Errorf("copy the route to %v into table %d: %w", r.key.dst, copyTable, err)
}

func (c *copier) delete(r rawRoute) error {
	if err := c.conn.do(unix.RTM_DELROUTE, 0, r.request(copyTable)); err != nil && !isGone(err) {
		return fmt.Errorf("delete the route to %v from table %d: %w", r.key.dst, copyTable, err)
	}
	return nil
}

func (c *copier) noteSource(r rawRoute) {
	if r.source.IsValid() && r.protocol != unix.RTPROT_KERNEL { // the end of the kernel's own is announced
		c.sources[r.source] = true
	}
}
