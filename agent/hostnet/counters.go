package hostnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Place is where a link is.
type Place string

const (
	// PlaceHost: in the host's network namespace.
	PlaceHost Place = "host"
	// PlacePod: in another one, such as a pod's.
	PlacePod Place = "pod"
	// PlaceNone: in none that the kernel shows.
	PlaceNone Place = "none"
)

// Seen is the link of an ENI as it was when it was last looked at.
type Seen struct {
	MAC   net.HardwareAddr
	Index int // 0 when it was not here
}

// Traffic is what the kernel counts for every link.
type Traffic struct{ Bytes, Packets, Dropped uint64 }

// Counters are those of one link.
type Counters struct {
	// Place is empty when the link could not be read.
	Place Place
	// Name is the link's, in the namespace where it is.
	Name                  string
	Received, Transmitted Traffic
	// Driver has the driver's counters, as `ethtool -S` names them. It is nil when the
	// driver has none of those that were asked for, and for links in other namespaces.
	Driver map[string]uint64
}

// Counters reads the counters of these links, in their order, with those of the driver
// that wanted accepts; the driver asks the device for them. A link that is no longer where
// it was seen is looked for in the network namespaces of pods. The error says what could
// not be read; the rest is returned all the same.
//
// It may be called while [Host.Configure] and others are running.
func (h *Host) Counters(of []Seen, wanted func(name string) bool) ([]Counters, error) {
	all := make([]Counters, len(of))
	var failed error
	for i, s := range of {
		c, err := h.countersHere(s, wanted)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("read the counters of ENI %v: %w", s.MAC, err))
		}
		all[i] = c
	}
	if slices.ContainsFunc(all, isNowhere) {
		failed = errors.Join(failed, h.countersElsewhere(of, all))
	}
	return all, failed
}

func isNowhere(c Counters) bool { return c.Place == PlaceNone }

// countersHere reads a link where it was seen.
func (h *Host) countersHere(s Seen, wanted func(name string) bool) (Counters, error) {
	if s.Index == 0 {
		return Counters{Place: PlaceNone}, nil
	}
	l, err := h.conn.counted(s.Index)
	if errors.Is(err, unix.ENODEV) || err == nil && !l.is(s.MAC) {
		return Counters{Place: PlaceNone}, nil
	}
	if err != nil {
		return Counters{}, err
	}
	c := l.at(PlaceHost)
	driver, err := h.conn.statistics(l.name, wanted)
	// ethtool goes by the name, which another link may have got meanwhile.
	if now, gone := h.conn.link(s.Index); gone != nil || now.name != l.name {
		return c, nil
	}
	c.Driver = driver
	return c, err
}

// countersElsewhere looks in other namespaces for the links that are in none so far. The
// kernel numbers each namespace that a link of this one has been moved to, and shows its
// links to CAP_NET_ADMIN.
func (h *Host) countersElsewhere(of []Seen, all []Counters) error {
	namespaces, err := h.conn.namespaces()
	if err != nil {
		return err
	}
	for _, namespace := range namespaces {
		links, err := h.conn.countedIn(namespace)
		if err != nil {
			continue // it has gone meanwhile, or Linux is older than 4.15
		}
		for i, s := range of {
			for _, l := range links {
				if isNowhere(all[i]) && l.is(s.MAC) {
					all[i] = l.at(PlacePod)
				}
			}
		}
		if !slices.ContainsFunc(all, isNowhere) {
			break
		}
	}
	return nil
}

// counted is a link with its counters.
type counted struct {
	link
	received, transmitted Traffic
}

func (c counted) at(p Place) Counters {
	return Counters{Place: p, Name: c.name, Received: c.received, Transmitted: c.transmitted}
}

func decodeCounted(msg []byte) (counted, error) {
	l, err := decodeLink(msg)
	if err != nil {
		return counted{}, err
	}
	c := counted{link: l}
	for a := attributes(msg, unix.SizeofIfInfomsg); a.next(); {
		if a.typ != unix.IFLA_STATS64 {
			continue
		}
		if len(a.value) < 8*8 {
			return counted{}, errShort
		}
		// struct rtnl_link_stats64 of linux/if_link.h
		n := func(i int) uint64 { return binary.NativeEndian.Uint64(a.value[8*i:]) }
		c.received = Traffic{Packets: n(0), Bytes: n(2), Dropped: n(6)}
		c.transmitted = Traffic{Packets: n(1), Bytes: n(3), Dropped: n(7)}
	}
	return c, nil
}

// counted reads the link with this index, and its counters. The error is ENODEV when
// there is none.
func (c *conn) counted(index int) (counted, error) {
	header := nl.NewIfInfomsg(unix.AF_UNSPEC)
	header.Index = int32(index)
	return get(c, unix.RTM_GETLINK, decodeCounted, header)
}

// countedIn lists the links of another namespace, with their counters.
func (c *conn) countedIn(namespace uint32) ([]counted, error) {
	return dump(c, unix.RTM_GETLINK, decodeCounted, every, nl.NewIfInfomsg(unix.AF_UNSPEC),
		nl.NewRtAttr(unix.IFLA_TARGET_NETNSID, nl.Uint32Attr(namespace)))
}

// namespaces lists the numbers that this namespace has for others.
func (c *conn) namespaces() ([]uint32, error) {
	numbers, err := dump(c, unix.RTM_GETNSID, decodeNamespace, every, nl.NewRtGenMsg())
	if err != nil {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	return numbers, nil
}

func decodeNamespace(msg []byte) (uint32, error) {
	a := attributes(msg, aligned(unix.SizeofRtGenmsg))
	for a.next() {
		if a.typ == unix.NETNSA_NSID {
			return u32(a.value), nil
		}
	}
	return 0, errShort
}
