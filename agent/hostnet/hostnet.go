// Package hostnet makes the link of an ENI what it must be on a Linux host:
// its name, its MTU, up, and, where the host itself uses the ENI, its
// addresses with source-based policy routing. It speaks netlink and calls no
// program. It also reads what is counted for links, of drivers by ethtool's ioctl.
//
// An ENI with addressing Host, or of which pods have addresses, owns one routing
// table, and the rules of that same priority: 20000 + 100·card + device index. Table 20000 is shared: it holds a copy
// of what main reaches by links that are no ENIs. Nothing outside that band
// is ever changed, above all not the table main, so that traffic of the
// primary ENI stays where it was. Within the band, what belongs to this
// package is told by its form, not by memory, so that it also survives a
// restart:
//
//   - a rule, when it is exactly "from SOURCE lookup N" with priority N and
//     protocol kernel, and SOURCE is an address or a prefix as EC2 gives them to ENIs;
//   - a route, when it is in a table of the band and has protocol kernel;
//   - an address, when it is permanent, noprefixroute, and either one of the
//     ENI's or within its subnet and of the prefix length that it has there.
//
// Everything else is foreign and stays, with three exceptions. Two stand in the
// way: an address that the ENI must have but that was added in another form
// (its connected route in main would compete with the primary's), and a route
// to the same destination in the ENI's own table. The third is what the kernel
// takes from a router's advertisement on an ENI's link, whatever addressing is:
// it is kept from that, and what it took before is deleted, also from main. And
// the kernel itself takes all IPv4 routes of a link when it loses its last IPv4
// address, and all routes when it goes down.
//
// IPv4 and IPv6 are alike, and an ENI may have either or both. They differ in the
// router, the length of an address's prefix, and metrics: where they do, a
// function says so. On a link without IPv6, everything of IPv4 is configured all
// the same.
//
// Linux 4.17 or newer is needed for the protocol of rules; 4.20 and newer
// filter dumps in the kernel. The process needs CAP_NET_ADMIN.
package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// The band of routing tables and rule priorities. No known network manager,
// CNI plugin or VPN uses it.
const (
	bandFirst = 20000
	bandLast  = bandFirst + 100*maxCard + maxDeviceIndex

	// EC2 instances have far fewer cards and indexes; this keeps the band
	// free of overlaps.
	maxCard        = 31
	maxDeviceIndex = 31
)

// Wanted is what the link of one ENI must be.
type Wanted struct {
	// MAC is the ENI's, as EC2 gives it. It finds the link.
	MAC net.HardwareAddr
	// InterfaceName is the name that the link gets; "" leaves it.
	InterfaceName string
	// MTU in bytes; 0 leaves it as the driver set it.
	MTU int
	// Host puts the addresses on the link, with rules and routes.
	Host bool
	// Addresses are the ENI's, those of IPv4 first, but for those of pods.
	Addresses []netip.Addr
	// PodRanges are what pods have addresses out of: prefixes of the ENI, and secondary
	// addresses as prefixes of one address. None of Addresses is among them. They get
	// rules and routes as the addresses of Host do, also without Host, and the host
	// forwards: no address of theirs is put on the link.
	PodRanges []netip.Prefix
	// Subnets are the CIDRs of the ENI's subnet, at most one of IPv4 and one of
	// IPv6. Each address of Host and each range needs that of its family; otherwise
	// they tell what addresses a former Host left behind.
	Subnets []netip.Prefix
	// Card and DeviceIndex say where EC2 attached the ENI.
	Card, DeviceIndex int
}

// Table is the number of the ENI's routing table, and the priority of its
// rules.
func (w Wanted) Table() int { return bandFirst + 100*w.Card + w.DeviceIndex }

// subnetOf is the CIDR of the ENI's subnet for addresses of a's family; not valid when
// there is none.
func (w Wanted) subnetOf(a netip.Addr) netip.Prefix {
	for _, s := range w.Subnets {
		if family(s.Addr()) == family(a) {
			return s.Masked()
		}
	}
	return netip.Prefix{}
}

// sources are what rules lead from: each address of Host and each range of pods, once.
func (w Wanted) sources(yield func(netip.Prefix) bool) {
	for i, a := range w.Addresses {
		if w.Host && !slices.Contains(w.Addresses[:i], a) && !yield(prefixOf(a)) {
			return
		}
	}
	for i, p := range w.PodRanges {
		if !slices.Contains(w.PodRanges[:i], p) && !yield(p) {
			return
		}
	}
}

// routed reports whether the ENI has rules and routes.
func (w Wanted) routed() bool { return w.Host || len(w.PodRanges) > 0 }

// hasAddress reports whether the host has an address of the family by the ENI.
func (w Wanted) hasAddress(f uint8) bool {
	return w.Host && slices.ContainsFunc(w.Addresses, func(a netip.Addr) bool { return family(a) == f })
}

// hasRange reports whether pods have addresses of the family by the ENI.
func (w Wanted) hasRange(f uint8) bool {
	return slices.ContainsFunc(w.PodRanges, func(p netip.Prefix) bool { return family(p.Addr()) == f })
}

// only is w with what it has of one family.
func (w Wanted) only(f uint8) Wanted {
	other := func(p netip.Prefix) bool { return family(p.Addr()) != f }
	w.Addresses = slices.DeleteFunc(slices.Clone(w.Addresses), func(a netip.Addr) bool { return family(a) != f })
	w.PodRanges = slices.DeleteFunc(slices.Clone(w.PodRanges), other)
	w.Subnets = slices.DeleteFunc(slices.Clone(w.Subnets), other)
	return w
}

// Complete reports whether w says all that tells the ENI's own rules and routes
// from leftovers. When EC2 has left something out, nothing may be swept.
func (w Wanted) Complete() bool {
	return w.MAC != nil && w.validateSources() == nil
}

// Status is what the kernel shows of a link after [Host.Configure].
type Status struct {
	// Present is false while there is no link for the ENI.
	Present bool
	// Index and Name are the link's; the name may change at any time.
	Index int
	Name  string
	// MTU in bytes.
	MTU int
	// Repaired counts the changes that were made in this call.
	Repaired int
}

// Host configures the links of one network namespace.
// It is safe for concurrent use.
type Host struct {
	mu     sync.Mutex // one configuration at a time
	conn   *conn
	events *events
	// known remembers the index of a link by its MAC: asking for one link is
	// cheaper than for all of them on a node with hundreds of pods.
	known map[string]int
	// newest is the highest index among the links that were listed last.
	newest int
	copier *copier
	tables *tables
	marker *marker
	guard  *guard
}

// Open returns a Host for the network namespace of the calling thread.
func Open() (*Host, error) {
	conn, err := dial(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	// Opened here and not when it is needed: the thread of that moment may be
	// in another namespace.
	events, err := openEvents()
	if err != nil {
		conn.close()
		return nil, err
	}
	tables, err := openTables()
	if err != nil {
		conn.close()
		events.close()
		return nil, err
	}
	return &Host{
		conn: conn, events: events, known: make(map[string]int), copier: newCopier(conn),
		tables: tables, marker: newMarker(tables), guard: newGuard(tables),
	}, nil
}

// Close ends the Host and its [Host.Watch].
func (h *Host) Close() {
	h.copier.close()
	h.marker.close()
	h.tables.close()
	h.conn.close()
	h.events.close()
}

// Know says that the links with these MACs are ENIs too: the primary's, and those of
// other programs. Hardware is taken for an ENI without that.
func (h *Host) Know(macs ...net.HardwareAddr) error {
	if err := h.copier.know(macs...); err != nil {
		return fmt.Errorf("copy the routes of the main table: %w", err)
	}
	return nil
}

// validate reports what makes w impossible to carry out.
func (w Wanted) validate() error {
	errs := []error{w.validateMAC()}
	if w.Card < 0 || w.Card > maxCard {
		errs = append(errs, fmt.Errorf("network card %d is not in the range 0–%d; detach the ENI, so that the agent attaches it to another card", w.Card, maxCard))
	}
	if w.DeviceIndex < 0 || w.DeviceIndex > maxDeviceIndex {
		errs = append(errs, fmt.Errorf("device index %d is not in the range 0–%d; set a lower deviceIndex", w.DeviceIndex, maxDeviceIndex))
	}
	if w.Card == 0 && w.DeviceIndex == 0 {
		errs = append(errs, errors.New("device index 0 is the primary ENI, which the agent never configures"))
	}
	if w.MTU < 0 {
		errs = append(errs, fmt.Errorf("MTU %d is negative", w.MTU))
	}
	return errors.Join(append(errs, w.validateSources())...)
}

func (w Wanted) validateMAC() error {
	if len(w.MAC) != 6 {
		return fmt.Errorf("MAC %q does not have six bytes", w.MAC)
	}
	return nil
}

// validateSources says why there cannot be a rule for each address of Host and each range.
func (w Wanted) validateSources() error {
	if !w.routed() {
		return nil
	}
	for i, s := range w.Subnets {
		if slices.ContainsFunc(w.Subnets[:i], func(o netip.Prefix) bool { return family(o.Addr()) == family(s.Addr()) }) {
			return fmt.Errorf("the ENI's subnet has more than one %s CIDR: %v", familyName(family(s.Addr())), w.Subnets)
		}
	}
	return errors.Join(w.validateAddresses(), w.validateRanges())
}

func (w Wanted) validateAddresses() error {
	if !w.Host {
		return nil
	}
	if len(w.Addresses) == 0 {
		return errors.New("the ENI has no address, but addressing Host requires one: assign one, or set addressing to None")
	}
	for _, a := range w.Addresses {
		switch subnet := w.subnetOf(a); {
		case !subnet.IsValid():
			return fmt.Errorf("the ENI has the address %v, but its subnet has no %s CIDR, which addressing Host requires: "+
				"associate one with the subnet, or set addressing to None", a, familyName(family(a)))
		case !subnet.Contains(a):
			return fmt.Errorf("address %v is not in the subnet %v", a, subnet)
		}
	}
	return nil
}

func (w Wanted) validateRanges() error {
	for _, p := range w.PodRanges {
		subnet := w.subnetOf(p.Addr())
		switch i := slices.IndexFunc(w.Addresses, p.Contains); {
		case !isSource(p):
			return fmt.Errorf("pods cannot get addresses from %v: it must be a single address, a /28 IPv4 prefix, or a /80 IPv6 prefix", p)
		case !subnet.IsValid():
			return fmt.Errorf("pods get addresses from %v, but the ENI's subnet has no %s CIDR: associate one with the subnet",
				p, familyName(family(p.Addr())))
		case !subnet.Contains(p.Addr()) || subnet.Bits() > p.Bits():
			return fmt.Errorf("%v, from which pods get addresses, is not in the subnet %v", p, subnet)
		case i >= 0:
			return fmt.Errorf("the host cannot use the address %v, because pods get addresses from %v", w.Addresses[i], p)
		}
	}
	return nil
}
