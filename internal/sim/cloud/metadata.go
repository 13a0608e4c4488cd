package cloud

import (
	"net/netip"
	"time"
)

// Metadata is what the metadata service of one instance knows.
type Metadata struct {
	InstanceID    string
	InstanceType  string
	ImageID       string
	MAC           string // of the primary ENI
	LocalIPv4     netip.Addr
	LocalHostname string
	Zone          string
	ZoneID        string
	Region        string
	Partition     string
	AccountID     string
	LaunchTime    time.Time
	Tags          map[string]string   // of the instance
	Interfaces    []MetadataInterface // sorted by MAC
}

// MetadataInterface is the subtree network/interfaces/macs/<MAC>/.
type MetadataInterface struct {
	MAC string
	// Ready false: the MAC is listed, and every value below it is a 404.
	Ready              bool
	DeviceNumber       int32 // reads 0 for a while before it is right
	NetworkCard        int32
	InterfaceID        string
	OwnerID            string
	SubnetID           string
	SubnetCIDR         netip.Prefix
	VPCID              string
	VPCCIDR            netip.Prefix
	SecurityGroupIDs   []string
	SecurityGroupNames []string
	LocalIPv4s         []netip.Addr
	LocalHostname      string
}
