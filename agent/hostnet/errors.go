package hostnet

import (
	"fmt"
	"net"
	"strings"
)

// NameTakenError says that a link cannot have the name that is wanted, because
// another link bears it, as its name or as an alternative one.
type NameTakenError struct {
	Name        string // that was asked for
	Link        string // that should have it
	Holder      string // current name of the link that has it
	HolderIndex int
	HolderMAC   net.HardwareAddr
}

func (e *NameTakenError) Error() string {
	holder := fmt.Sprintf("%s (index %d", e.Holder, e.HolderIndex)
	if len(e.HolderMAC) > 0 {
		holder += ", MAC " + e.HolderMAC.String()
	}
	return fmt.Sprintf("cannot rename link %s to %s, because link %s) has that name; "+
		"choose another interfaceName, or rename that link", e.Link, e.Name, holder)
}

// MTUError says that a link cannot have the MTU that is wanted.
type MTUError struct {
	Link string
	MTU  int // that was asked for
	Min  int // that the link can do; 0 when the kernel does not tell
	Max  int // that the link can do; 0 when the kernel does not tell
	Err  error
}

func (e *MTUError) Error() string {
	text := fmt.Sprintf("link %s cannot have an MTU of %d bytes", e.Link, e.MTU)
	switch {
	case e.Max > 0 && e.MTU > e.Max:
		return text + fmt.Sprintf(": its maximum is %d; set mtu to %d or less, or to 0 to keep the driver's MTU", e.Max, e.Max)
	case e.MTU < e.Min:
		return text + fmt.Sprintf(": its minimum is %d; set mtu to %d or more, or to 0 to keep the driver's MTU", e.Min, e.Min)
	case e.Err != nil:
		text += fmt.Sprintf(" (%v)", e.Err)
	}
	return text + "; set mtu to a value that the instance type supports, or to 0 to keep the driver's MTU"
}

func (e *MTUError) Unwrap() error { return e.Err }

// MasterError says that neither host nor pods can use a link, because what arrives at it
// goes to the bridge, bond or VRF that it is a port of.
type MasterError struct {
	Link, Master, Kind string
}

func (e *MasterError) Error() string {
	return fmt.Sprintf("link %s is a port of %s (%s), which receives all packets for the ENI's addresses; remove it with \"ip link set %s nomaster\", "+
		"or set addressing to None and do not set pods", e.Link, e.Master, e.Kind, e.Link)
}

// IPv6Error says that neither host nor pods can use the ENI's IPv6 addresses, because
// the host has switched IPv6 off on its link.
type IPv6Error struct{ Link string }

func (e *IPv6Error) Error() string {
	return fmt.Sprintf("the host and pods cannot use the IPv6 addresses of the ENI, because IPv6 is disabled on link %[1]s; set the sysctl "+
		"net.ipv6.conf.%[1]s.disable_ipv6 to 0 and use an mtu of 1280 or more, or set addressing to None and do not set pods", e.Link)
}

// AdvertisementError says that the kernel could not be kept from taking routes of a
// link from the advertisements of the subnet's router.
type AdvertisementError struct {
	Link string
	Err  error
}

func (e *AdvertisementError) Error() string {
	return fmt.Sprintf("cannot drop router advertisements on link %[1]s: %[2]v; use a kernel with nf_tables, "+
		"or set the sysctl net.ipv6.conf.%[1]s.accept_ra to 0", e.Link, e.Err)
}

func (e *AdvertisementError) Unwrap() error { return e.Err }

// AmbiguousError says that several links bear the MAC of an ENI and nothing
// tells which of them is the ENI.
type AmbiguousError struct {
	MAC   net.HardwareAddr
	Links []string
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("links %s all have the MAC %v of the ENI; change the MAC of the other links, "+
		"because the agent configures none of them until then", strings.Join(e.Links, ", "), e.MAC)
}
