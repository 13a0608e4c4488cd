package cloud

import (
	"net/netip"
	"time"
)

// States of an instance.
const (
	InstancePending      = "pending"
	InstanceRunning      = "running"
	InstanceShuttingDown = "shutting-down"
	InstanceTerminated   = "terminated"
	InstanceStopping     = "stopping"
	InstanceStopped      = "stopped"
)

// States of an ENI. It is in use from the moment an attach is accepted until a
// detach has finished.
const (
	StatusPending   = "pending"
	StatusAvailable = "available"
	StatusInUse     = "in-use"
)

// States of an attachment.
const (
	AttachmentAttaching = "attaching"
	AttachmentAttached  = "attached"
	AttachmentDetaching = "detaching"
)

// Instance is an EC2 instance.
type Instance struct {
	ID         string            `json:"id"`
	Type       string            `json:"type"`
	Name       string            `json:"name"` // the node's name
	ImageID    string            `json:"imageID"`
	SubnetID   string            `json:"subnetID"`
	VPCID      string            `json:"vpcID"`
	Zone       string            `json:"zone"`
	ZoneID     string            `json:"zoneID"`
	State      string            `json:"state"`
	PrivateIP  netip.Addr        `json:"privateIP"`     // primary address of the primary ENI; none in an IPv6-only subnet
	IPv6       netip.Addr        `json:"ipv6,omitzero"` // first IPv6 address of the primary ENI, if it has one
	MAC        string            `json:"mac"`           // of the primary ENI
	Tags       map[string]string `json:"tags,omitempty"`
	LaunchTime time.Time         `json:"launchTime"`
	// ReservationID is the id of the launch that made the instance.
	ReservationID string `json:"reservationID"`
}

// Interface is an ENI.
type Interface struct {
	ID               string            `json:"id"`
	MAC              string            `json:"mac"`
	SubnetID         string            `json:"subnetID"`
	VPCID            string            `json:"vpcID"`
	Zone             string            `json:"zone"`
	ZoneID           string            `json:"zoneID"`
	Status           string            `json:"status"`
	Description      string            `json:"description"`
	PrivateIPs       []netip.Addr      `json:"privateIPs"` // the first is the primary one; none in an IPv6-only subnet
	IPv4Prefixes     []netip.Prefix    `json:"ipv4Prefixes,omitempty"`
	IPv6Addresses    []netip.Addr      `json:"ipv6Addresses,omitempty"`
	IPv6Prefixes     []netip.Prefix    `json:"ipv6Prefixes,omitempty"`
	PrimaryIPv6      bool              `json:"primaryIPv6,omitempty"` // the first IPv6 address is a primary one
	GroupIDs         []string          `json:"groupIDs"`
	SourceDestCheck  bool              `json:"sourceDestCheck"`
	Tags             map[string]string `json:"tags,omitempty"`
	InterfaceType    string            `json:"interfaceType"`
	RequesterManaged bool              `json:"requesterManaged"`
	Attachment       *Attachment       `json:"attachment,omitempty"` // nil: not attached
	// ConnectionTracking has the timeouts that were set.
	ConnectionTracking ConnectionTracking `json:"connectionTracking,omitzero"`
}

// PrivateIP is the primary IPv4 address; invalid without one.
func (i *Interface) PrivateIP() netip.Addr { return first(i.PrivateIPs) }

// IPv6 is the first IPv6 address; invalid without one.
func (i *Interface) IPv6() netip.Addr { return first(i.IPv6Addresses) }

func first(addresses []netip.Addr) netip.Addr {
	if len(addresses) == 0 {
		return netip.Addr{}
	}
	return addresses[0]
}

// Types of an ENI.
const (
	TypeInterface = "interface"
	TypeEFA       = "efa"
	TypeEFAOnly   = "efa-only" // has no IP address
	TypeTrunk     = "trunk"
)

// ConnectionTracking are the idle timeouts of tracked connections in seconds; of
// those that are 0, EC2 takes its own.
type ConnectionTracking struct {
	TCPEstablished int32 `json:"tcpEstablishedTimeout,omitempty"`
	UDPStream      int32 `json:"udpStreamTimeout,omitempty"`
	UDP            int32 `json:"udpTimeout,omitempty"`
}

// Attachment says where an ENI is plugged in.
type Attachment struct {
	ID                  string    `json:"id"`
	InstanceID          string    `json:"instanceID"`
	DeviceIndex         int32     `json:"deviceIndex"`
	NetworkCardIndex    int32     `json:"networkCardIndex"`
	Status              string    `json:"status"`
	DeleteOnTermination bool      `json:"deleteOnTermination"`
	AttachTime          time.Time `json:"attachTime"`
	EnaSrd              *EnaSrd   `json:"enaSrd,omitempty"`        // nil: never set
	EnaQueueCount       int32     `json:"enaQueueCount,omitempty"` // 0: the instance type's default
}

// Primary says whether the ENI is the one that the instance was launched with.
func (a *Attachment) Primary() bool { return a.DeviceIndex == 0 && a.NetworkCardIndex == 0 }

// EnaSrd is the setting of ENA Express.
type EnaSrd struct {
	Enabled bool `json:"enabled"`
	UDP     bool `json:"udp"`
}

// Fabric carries attachments into a network: with one, an attached ENI is a
// link on its instance. Cloud calls it without holding a lock, never for one
// ENI twice at the same time, and only Plugs into instances that it has added
// and not yet removed.
type Fabric interface {
	// AddInstance makes the node's network; its primary ENI arrives through
	// Plug with device index 0.
	AddInstance(Instance) error
	// RemoveInstance is called when every ENI of the instance is unplugged.
	RemoveInstance(instanceID string) error
	// Plug makes the ENI appear as a link with its MAC on the instance.
	Plug(instanceID string, eni Interface) error
	// Unplug makes the link disappear.
	Unplug(instanceID, eniID string) error
	// Update tells of new addresses or another SourceDestCheck of a plugged ENI.
	Update(eni Interface) error
}
