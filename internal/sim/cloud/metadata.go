package cloud

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Metadata is what the metadata service of one instance knows.
type Metadata struct {
	InstanceID    string
	InstanceType  string
	ImageID       string
	MAC           string     // of the primary ENI
	LocalIPv4     netip.Addr // invalid in an IPv6-only subnet
	IPv6          netip.Addr // invalid without one
	LocalHostname string
	Zone          string
	ZoneID        string
	Region        string
	Partition     string
	AccountID     string
	LaunchTime    time.Time
	Tags          map[string]string   // of the instance
	UserData      string              // "": there is none
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
	SubnetCIDR         netip.Prefix // invalid in an IPv6-only subnet
	VPCID              string
	VPCCIDR            netip.Prefix
	SecurityGroupIDs   []string
	SecurityGroupNames []string
	LocalIPv4s         []netip.Addr
	IPv4Prefixes       []netip.Prefix
	IPv6s              []netip.Addr
	IPv6Prefixes       []netip.Prefix
	SubnetIPv6CIDR     netip.Prefix
	VPCIPv6CIDR        netip.Prefix
	LocalHostname      string
}

// Metadata returns what the metadata service of an instance shows now. It lags
// behind by Timing.IMDSLag, as the real one does: in the first third of the
// lag after an attach the MAC is missing, in the second it is listed without
// values, in the last its device number reads 0; a detached ENI stays listed
// for the whole lag. The primary ENI is there from the start. Addresses, prefixes and
// groups are those of that long ago.
func (c *Cloud) Metadata(instanceID string) (Metadata, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	host, err := c.instance(instanceID)
	if err != nil {
		return Metadata{}, err
	}
	i := host.history.latest()
	m := Metadata{
		InstanceID:    i.ID,
		InstanceType:  i.Type,
		ImageID:       i.ImageID,
		MAC:           i.MAC,
		LocalIPv4:     i.PrivateIP,
		IPv6:          i.IPv6,
		LocalHostname: c.HostName(*i),
		Zone:          i.Zone,
		ZoneID:        i.ZoneID,
		Region:        c.config.Region,
		Partition:     c.config.Partition,
		AccountID:     c.config.AccountID,
		LaunchTime:    i.LaunchTime,
		Tags:          i.Tags,
		UserData:      host.userData,
	}
	now, lag := time.Now(), c.timing.IMDSLag
	for _, e := range host.enis {
		if shown, ok := c.appearing(e.asOf(now.Add(-lag)), now, lag); ok {
			m.Interfaces = append(m.Interfaces, shown)
		}
	}
	for _, g := range slices.Backward(host.ghosts) {
		listed := slices.ContainsFunc(m.Interfaces, func(other MetadataInterface) bool { return other.MAC == g.eni.MAC })
		if now.Sub(g.gone) < lag && !listed {
			m.Interfaces = append(m.Interfaces, c.metadataInterface(g.eni))
		}
	}
	slices.SortFunc(m.Interfaces, func(a, b MetadataInterface) int { return cmp.Compare(a.MAC, b.MAC) })
	return m, nil
}

// asOf is the ENI with the addresses, prefixes and groups that it had at a moment, if
// it existed then.
func (e *eni) asOf(moment time.Time) *Interface {
	i := *e.history.latest()
	if then, existed := e.history.at(moment); existed {
		i.setAssigned(ipv4, then.assigned(ipv4))
		i.setAssigned(ipv6, then.assigned(ipv6))
		i.GroupIDs = then.GroupIDs
	}
	return &i
}

// appearing is how an attached ENI shows while its attachment is younger than
// the lag.
func (c *Cloud) appearing(i *Interface, now time.Time, lag time.Duration) (MetadataInterface, bool) {
	shown := c.metadataInterface(i)
	age := now.Sub(i.Attachment.AttachTime)
	switch {
	case i.Attachment.Primary() || age >= lag:
	case age < lag/3:
		return MetadataInterface{}, false
	case age < lag*2/3:
		shown = MetadataInterface{MAC: i.MAC}
	default:
		shown.DeviceNumber = 0
	}
	return shown, true
}

func (c *Cloud) metadataInterface(i *Interface) MetadataInterface {
	names := make([]string, len(i.GroupIDs))
	for n, id := range i.GroupIDs {
		names[n] = c.groups[id].Name
	}
	return MetadataInterface{
		MAC:                i.MAC,
		Ready:              true,
		DeviceNumber:       i.Attachment.DeviceIndex,
		NetworkCard:        i.Attachment.NetworkCardIndex,
		InterfaceID:        i.ID,
		OwnerID:            c.config.AccountID,
		SubnetID:           i.SubnetID,
		SubnetCIDR:         c.subnets[i.SubnetID].CIDR,
		VPCID:              i.VPCID,
		VPCCIDR:            c.vpcs[i.VPCID].CIDR,
		SecurityGroupIDs:   i.GroupIDs,
		SecurityGroupNames: names,
		LocalIPv4s:         i.PrivateIPs,
		IPv4Prefixes:       i.IPv4Prefixes,
		IPv6s:              i.IPv6Addresses,
		IPv6Prefixes:       i.IPv6Prefixes,
		SubnetIPv6CIDR:     c.subnets[i.SubnetID].IPv6CIDR,
		VPCIPv6CIDR:        c.vpcs[i.VPCID].IPv6CIDR,
		LocalHostname:      c.PrivateDNSName(i.PrivateIP()),
	}
}
