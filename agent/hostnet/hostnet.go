// Package hostnet makes the link of an ENI what it shall be on a Linux host:
// its name, its MTU, up, and, where the host itself uses the ENI, its
// addresses with source-based policy routing. It speaks netlink and calls no
// program. It also reads what is counted for links, of drivers by ethtool's ioctl.
//
// An ENI with addressing Host owns one routing table, and the rules of that
// same priority: 20000 + 100·card + device index. Table 20000 is shared: it holds a copy
// of what main reaches by links that are no ENIs. Nothing outside that band
// is ever changed, above all not the table main, so that traffic of the
// primary ENI stays where it was. Within the band, what belongs to this
// package is told by its form, not by memory, so that it also survives a
// restart:
//
//   - a rule, when it is exactly "from ADDRESS/32 lookup N" with priority N
//     and protocol kernel;
//   - a route, when it is in a table of the band and has protocol kernel;
//   - an address, when it is permanent, noprefixroute, and either one of the
//     ENI's or within its subnet and of that subnet's prefix length.
//
// Everything else is foreign and stays, with two exceptions that stand in the
// way: an address that the ENI shall have but that was added in another form
// (its connected route in main would compete with the primary's), and a route
// to the same destination in the ENI's own table. And the kernel itself takes
// all routes of a link when it loses its last address or goes down.
//
// Only IPv4 is configured: addresses, rules and routes of IPv6 are neither
// made nor touched, also those that the kernel makes itself when it accepts a
// router's advertisement on a link that is up.
//
// Linux 4.17 or newer is needed for the protocol of rules; 4.20 and newer
// filter dumps in the kernel. The process needs CAP_NET_ADMIN.
package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
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

// Wanted is what the link of one ENI shall be.
type Wanted struct {
	// MAC is the ENI's, as EC2 gives it. It finds the link.
	MAC net.HardwareAddr
	// InterfaceName is the name the link shall have; "" leaves it.
	InterfaceName string
	// MTU in bytes; 0 leaves it as the driver set it.
	MTU int
	// Host puts the addresses on the link, with rules and routes.
	Host bool
	// Addresses are all IPv4 addresses of the ENI.
	Addresses []netip.Addr
	// Subnet is the IPv4 CIDR of the ENI's subnet. Needed with Host; without,
	// it tells what addresses a former Host left behind.
	Subnet netip.Prefix
	// Card and DeviceIndex say where EC2 attached the ENI.
	Card, DeviceIndex int
}

// Table is the number of the ENI's routing table, and the priority of its
// rules.
func (w Wanted) Table() int { return bandFirst + 100*w.Card + w.DeviceIndex }

// Complete reports whether w says all that tells the ENI's own rules and routes
// from leftovers. When EC2 has left something out, nothing may be swept.
func (w Wanted) Complete() bool {
	return w.MAC != nil && (!w.Host || w.validateAddresses() == nil)
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
	known  map[string]int
	copier *copier
	marker *marker
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
	marker, err := newMarker()
	if err != nil {
		conn.close()
		events.close()
		return nil, err
	}
	return &Host{marker: marker, conn: conn, events: events, known: make(map[string]int), copier: newCopier(conn)}, nil
}

// Close ends the Host and its [Host.Watch].
func (h *Host) Close() {
	h.copier.close()
	h.marker.close()
	h.conn.close()
	h.events.close()
}

// Know says that the links with these MACs are ENIs too: the primary's, and those of
// other programs. Hardware is taken for an ENI without that.
func (h *Host) Know(macs ...net.HardwareAddr) error {
	if err := h.copier.know(macs...); err != nil {
		return fmt.Errorf("copy the routes of main: %w", err)
	}
	return nil
}

// validate reports what makes w impossible to carry out.
func (w Wanted) validate() error {
	errs := []error{w.validateMAC()}
	if w.Card < 0 || w.Card > maxCard {
		errs = append(errs, fmt.Errorf("network card %d is not within 0–%d; detach the ENI, so that it is attached to another", w.Card, maxCard))
	}
	if w.DeviceIndex < 0 || w.DeviceIndex > maxDeviceIndex {
		errs = append(errs, fmt.Errorf("device index %d is not within 0–%d; set a lower deviceIndex", w.DeviceIndex, maxDeviceIndex))
	}
	if w.Card == 0 && w.DeviceIndex == 0 {
		errs = append(errs, errors.New("device index 0 is the primary ENI, which is never configured here"))
	}
	if w.MTU < 0 {
		errs = append(errs, fmt.Errorf("MTU %d is negative", w.MTU))
	}
	if w.Host {
		errs = append(errs, w.validateAddresses())
	}
	return errors.Join(errs...)
}

func (w Wanted) validateMAC() error {
	if len(w.MAC) != 6 {
		return fmt.Errorf("MAC %q does not have six bytes", w.MAC)
	}
	return nil
}

func (w Wanted) validateAddresses() error {
	if !w.Subnet.IsValid() || !w.Subnet.Addr().Is4() {
		return errors.New("the ENI's subnet has no IPv4 CIDR, and addressing Host needs one: list a subnet with IPv4, or set addressing to None")
	}
	if len(w.Addresses) == 0 {
		return errors.New("the ENI has no IPv4 address, and addressing Host needs one: give it one, or set addressing to None")
	}
	for _, a := range w.Addresses {
		if !w.Subnet.Contains(a) {
			return fmt.Errorf("address %v is not within the subnet %v", a, w.Subnet)
		}
	}
	return nil
}
