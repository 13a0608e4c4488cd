package hostnet

import (
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// peerIndex is the one statistic of a veth's driver with a known value: its peer's index.
const peerIndex = "peer_ifindex"

func isPeerIndex(name string) bool { return name == peerIndex }

// counters reads those of one link.
func (n *node) counters(s Seen) Counters {
	n.t.Helper()
	all, err := n.host.Counters([]Seen{s}, isPeerIndex)
	n.must(err)
	return all[0]
}

// peerOf is the index of the other end of a link that was plugged.
func (n *node) peerOf(l netlink.Link) uint64 { return uint64(l.Attrs().ParentIndex) }

// up plugs the link of an ENI, sets it up, and waits until both ends carry frames.
func (n *node) up(name, hw string) (netlink.Link, Seen) {
	n.t.Helper()
	l := n.plug(name, mac(n.t, hw))
	n.must(n.nl.LinkSetUp(l))
	if !eventually(func() bool {
		peer, err := n.fabric.LinkByIndex(int(n.peerOf(l)))
		n.must(err)
		return peer.Attrs().OperState == netlink.OperUp && n.link(name).Attrs().OperState == netlink.OperUp
	}) {
		n.t.Fatalf("%s does not come up", name)
	}
	return l, Seen{MAC: l.Attrs().HardwareAddr, Index: l.Attrs().Index}
}

const frameLength = 1000

// send sends frames of a protocol that the kernel does not know.
func (n *node) send(ns *netns.Namespace, link int, to net.HardwareAddr, frames int) {
	n.t.Helper()
	n.must(ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		frame := slices.Concat(to, net.HardwareAddr{2, 0, 0, 0, 0, 0x77}, []byte{0x88, 0xb5}, make([]byte, frameLength-14))
		for range frames {
			if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link}); err != nil {
				return err
			}
		}
		return nil
	}))
}

// What is sent, received and dropped is counted, and what the driver counts is read by
// its names.
func TestCounters(t *testing.T) {
	n := newNode(t)
	l, seen := n.up("ens6", "02:00:00:00:00:01")
	other, otherSeen := n.up("ens7", "02:00:00:00:00:02")
	before := n.counters(seen)
	const sent, received = 20, 50
	n.send(n.ns, seen.Index, mac(t, "02:00:00:00:00:99"), sent)
	n.send(n.fabricNS, int(n.peerOf(l)), seen.MAC, received)

	within := func(what string, before, after uint64, frames, of uint64) bool {
		// The kernel itself sends some packets, of less than 200 bytes, on a new link.
		grown := after - before
		if grown < frames*of || grown > (frames+10)*of {
			t.Logf("%s have grown by %d, want %d or a little more", what, grown, frames*of)
			return false
		}
		return true
	}
	if !eventually(func() bool {
		after := n.counters(seen)
		return within("received packets", before.Received.Packets, after.Received.Packets, received, 1) &&
			within("received bytes", before.Received.Bytes, after.Received.Bytes, received, frameLength) &&
			within("received and dropped", before.Received.Dropped, after.Received.Dropped, received, 1) &&
			within("sent packets", before.Transmitted.Packets, after.Transmitted.Packets, sent, 1) &&
			within("sent bytes", before.Transmitted.Bytes, after.Transmitted.Bytes, sent, frameLength) &&
			after.Transmitted.Dropped == before.Transmitted.Dropped
	}) {
		t.Errorf("the counters were %+v, and are %+v", before, n.counters(seen))
	}

	both, err := n.host.Counters([]Seen{otherSeen, seen}, isPeerIndex)
	n.must(err)
	for i, l := range []netlink.Link{other, l} {
		if c := both[i]; c.Place != PlaceHost || c.Name != l.Attrs().Name || len(c.Driver) != 1 || c.Driver[peerIndex] != n.peerOf(l) {
			t.Errorf("%s: %+v, want %s on the host, whose peer is %d", l.Attrs().Name, c, l.Attrs().Name, n.peerOf(l))
		}
	}
	none, err := n.host.Counters([]Seen{seen}, func(string) bool { return false })
	n.must(err)
	if none[0].Driver != nil {
		t.Errorf("though none was asked for, the driver's are %v", none[0].Driver)
	}
}

// Between two scrapes links are renamed, go, and are taken into pods, and others get
// their names and indexes.
func TestCountersOfLinksThatMove(t *testing.T) {
	n := newNode(t)
	pod := newNamespace(t)
	inPod := handle(t, pod)
	l, seen := n.up("ens6", "02:00:00:00:00:01")
	peer := n.peerOf(l)
	n.send(n.fabricNS, int(peer), seen.MAC, 5)
	expect := func(when string, s Seen, place Place, name string, driver bool) {
		t.Helper()
		c := n.counters(s)
		if c.Place != place || c.Name != name || (c.Driver[peerIndex] == peer) != driver || !driver && c.Driver != nil {
			t.Errorf("%s: %+v, want it at %s, named %q, with the driver's counters: %v", when, c, place, name, driver)
		}
		if counted := c.Received.Packets >= 5; counted != (place != PlaceNone) {
			t.Errorf("%s: what it has received is %+v", when, c.Received)
		}
	}

	n.must(n.nl.LinkSetName(l, "renamed"))
	n.up("ens6", "02:00:00:00:00:02")
	expect("another link has its name", seen, PlaceHost, "renamed", true)

	n.must(pod.With(func(fd int) error { return n.nl.LinkSetNsFd(l, fd) }))
	expect("it is in a pod", seen, PlacePod, "renamed", false)
	expect("it was in a pod before", Seen{MAC: seen.MAC}, PlacePod, "renamed", false)
	taken, err := inPod.LinkByName("renamed")
	n.must(err)
	n.must(inPod.LinkSetName(taken, "net1"))
	expect("the pod has named it", seen, PlacePod, "net1", false)
	expect("another link has its index", Seen{MAC: seen.MAC, Index: n.link("ens6").Attrs().Index}, PlacePod, "net1", false)

	n.must(inPod.LinkDel(taken))
	expect("it has gone", seen, PlaceNone, "", false)
	expect("there never was one", Seen{MAC: mac(t, "02:00:00:00:00:09")}, PlaceNone, "", false)
	expect("the index is loopback's", Seen{MAC: seen.MAC, Index: 1}, PlaceNone, "", false)
}

// The driver is asked by the link's name. When another link gets the name meanwhile, its
// counters are not taken for those of the first one.
func TestCountersWhileNamesChange(t *testing.T) {
	n := newNode(t)
	l, seen := n.up("ens6", "02:00:00:00:00:01")
	other, _ := n.up("ens7", "02:00:00:00:00:02")
	renamed := false
	all, err := n.host.Counters([]Seen{seen}, func(name string) bool {
		if !renamed { // the names have been read, the values have not
			n.must(n.nl.LinkSetName(l, "former"))
			n.must(n.nl.LinkSetName(other, "ens6"))
			renamed = true
		}
		return isPeerIndex(name)
	})
	n.must(err)
	if c := all[0]; !renamed || c.Place != PlaceHost || c.Driver != nil {
		t.Errorf("%+v, want it on the host, without the counters of %d", c, n.peerOf(other))
	}
	if c := n.counters(seen); c.Driver[peerIndex] != n.peerOf(l) {
		t.Errorf("at the next scrape: %+v", c)
	}
}

// A driver without statistics has none; a link that is not there is an error.
func TestEthtool(t *testing.T) {
	n := newNode(t)
	all := func(string) bool { return true }
	n.must(n.nl.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}))
	for _, link := range []string{"lo", "br0"} {
		if got, err := n.host.conn.statistics(link, all); got != nil || err != nil {
			t.Errorf("of %s: %v, %v", link, got, err)
		}
	}
	if got, err := n.host.conn.statistics("ens9", all); got != nil || err == nil || !strings.Contains(err.Error(), "link ens9: no such device") {
		t.Errorf("of a link that is not there: %v, %v", got, err)
	}
	n.plug("ens6", mac(t, "02:00:00:00:00:01"))
	got, err := n.host.conn.statistics("ens6", all)
	if err != nil || got[peerIndex] == 0 || len(got) < 5 {
		t.Errorf("of a veth: %v, %v", got, err)
	}
}

// However much of a stack is used, and whenever it grows, what the kernel writes arrives.
func TestEthtoolOnAnyStack(t *testing.T) {
	n := newNode(t)
	l := n.plug("ens6", mac(t, "02:00:00:00:00:01"))
	for depth := range 400 {
		var got map[string]uint64
		var err error
		var done sync.WaitGroup
		done.Go(func() {
			atDepth(depth, func() { got, err = n.host.conn.statistics("ens6", isPeerIndex) })
		})
		done.Wait()
		if err != nil || got[peerIndex] != n.peerOf(l) {
			t.Errorf("at depth %d: %v, %v", depth, got, err)
		}
	}
}

// atDepth calls f with some 100 bytes of stack used for each step.
//
//go:noinline
func atDepth(steps int, f func()) (used [64]byte) {
	if steps == 0 {
		f()
		return used
	}
	used = atDepth(steps-1, f)
	used[steps%len(used)]++
	return used
}

// Scrapes do not get in the way of a configuration, nor that of them.
func TestCountersBesideConfigure(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.1.5/24")
	w := eni(t)
	l := n.plug("ens6", w.MAC)
	seen := Seen{MAC: w.MAC, Index: l.Attrs().Index}
	over := make(chan struct{})
	var scrapes sync.WaitGroup
	for range 2 {
		scrapes.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				all, err := n.host.Counters([]Seen{seen}, isPeerIndex)
				if err != nil || all[0].Place != PlaceHost || all[0].Driver[peerIndex] != n.peerOf(l) {
					t.Errorf("%+v, %v", all, err)
					return
				}
			}
		})
	}
	for range 20 {
		n.configure(w)
		n.must(n.host.Release(w))
	}
	close(over)
	scrapes.Wait()
}
