package e2e

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// mainOf are the routes of a node's table main.
func (c *cluster) mainOf(node string) (lines []string) {
	s := c.host(node)
	for _, r := range s.routes {
		if r.Table == unix.RT_TABLE_MAIN {
			lines = append(lines, s.routeText(r))
		}
	}
	return lines
}

// watchMain notes what must never be on the links that come to a node, be it for a
// moment: a route in main, and an address that brings one along. It also notes when main
// loses a route of the links that there are.
func (c *cluster) watchMain(node string) (stop func() []string) {
	there := map[int]bool{}
	for _, l := range c.host(node).links {
		there[l.Attrs().Index] = true
	}
	var mu sync.Mutex
	var problems []string
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		if len(problems) < 10 {
			problems = append(problems, time.Now().Format("05.000 ")+fmt.Sprintf(format, args...))
		}
	}
	subscribe(c, node, netlink.RouteSubscribe, func(u netlink.RouteUpdate) {
		switch {
		case u.Table != unix.RT_TABLE_MAIN || onEveryLink(u.Dst):
		case u.Type == unix.RTM_NEWROUTE && !there[u.LinkIndex]:
			note("%s has in main, by an ENI: %s", node, u.Route)
		case u.Type == unix.RTM_DELROUTE && there[u.LinkIndex]:
			note("%s has lost from main: %s", node, u.Route)
		}
	})
	subscribe(c, node, netlink.AddrSubscribe, func(u netlink.AddrUpdate) {
		if u.NewAddr && !there[u.LinkIndex] && !onEveryLink(&u.LinkAddress) && u.Flags&unix.IFA_F_NOPREFIXROUTE == 0 {
			note("%s has on link %d of an ENI the address %s with the flags %#x", node, u.LinkIndex, &u.LinkAddress, u.Flags)
		}
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(problems)
	}
}

// keepLinksUp sets up each link of a node when it appears, and whenever it is down, as a
// network manager does.
func (c *cluster) keepLinksUp(node string) {
	c.t.Helper()
	h, err := c.instance(node).Namespace.Netlink()
	c.must(err)
	c.t.Cleanup(h.Close)
	subscribe(c, node, netlink.LinkSubscribe, func(u netlink.LinkUpdate) {
		if u.Header.Type == unix.RTM_NEWLINK && u.Link.Attrs().RawFlags&unix.IFF_UP == 0 {
			_ = h.LinkSetUp(u.Link) // it may be gone
		}
	})
}

// subscribe calls saw with each event of a kind in a node's namespace, until the test
// has ended.
func subscribe[T any](c *cluster, node string, to func(chan<- T, <-chan struct{}) error, saw func(T)) {
	c.t.Helper()
	events, done := make(chan T, 100), make(chan struct{})
	c.must(c.instance(node).Namespace.Do(func() error { return to(events, done) }))
	var reading sync.WaitGroup
	reading.Go(func() {
		for e := range events {
			saw(e)
		}
	})
	c.t.Cleanup(func() {
		close(done)
		reading.Wait()
	})
}
