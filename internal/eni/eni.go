// Package eni makes the EC2 calls about ENIs that agent and coordinator share,
// with the tags and tokens that make those calls safe to repeat.
package eni

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// ENI is an elastic network interface as EC2 shows it.
type ENI struct {
	ID          string
	MAC         string
	SubnetID    string
	VPCID       string
	Account     string // that it belongs to
	Zone        string
	Status      string // pending, available, associated, attaching, in-use, detaching
	Description string
	Groups      []string // ids, sorted
	// Addresses are the IPv4 addresses, the primary one first, and then the IPv6
	// addresses, the primary one first if there is one.
	Addresses []netip.Addr
	// Prefixes are the IPv4 prefixes, and then the IPv6 prefixes, as text.
	Prefixes           []string
	PrimaryIPv6        bool // one of the IPv6 addresses is primary
	SourceDestCheck    bool
	ConnectionTracking ConnectionTracking
	Owner              Owner
	// Name is the Name tag, for messages.
	Name string
	// Attachment is nil while the ENI is attached to nothing.
	Attachment *Attachment
}

// Attachment is the bond of an ENI to an instance.
type Attachment struct {
	ID                  string
	InstanceID          string
	DeviceIndex         int32
	Card                int32
	Status              string // attaching, attached, detaching, detached
	DeleteOnTermination bool
	ENAExpress          ENAExpress
	// ENAQueues is 0 where EC2 does not say how many there are.
	ENAQueues int32
}

// ConnectionTracking are idle timeouts in seconds; 0 is EC2's default. It has the fields
// of the API's type, and so has ENAExpress: they convert into each other.
type ConnectionTracking struct {
	TCPEstablishedTimeout, UDPTimeout, UDPStreamTimeout int32
}

// Or has the other's timeouts where this has none.
func (t ConnectionTracking) Or(other ConnectionTracking) ConnectionTracking {
	return ConnectionTracking{
		TCPEstablishedTimeout: cmp.Or(t.TCPEstablishedTimeout, other.TCPEstablishedTimeout),
		UDPTimeout:            cmp.Or(t.UDPTimeout, other.UDPTimeout),
		UDPStreamTimeout:      cmp.Or(t.UDPStreamTimeout, other.UDPStreamTimeout),
	}
}

// ENAExpress is the use of ENA Express, for TCP and for UDP.
type ENAExpress struct {
	Enabled, UDP bool
}

// UnknownIndex is the device index that EC2's answer lacks. It is not 0, which is the
// primary ENI's.
const UnknownIndex = -1

// Detaching says whether the attachment is on its way out.
func (a *Attachment) Detaching() bool {
	return a != nil && (a.Status == string(types.AttachmentStatusDetaching) || a.Status == string(types.AttachmentStatusDetached))
}

func fromEC2(n types.NetworkInterface) ENI {
	e := ENI{
		ID:              aws.ToString(n.NetworkInterfaceId),
		MAC:             aws.ToString(n.MacAddress),
		SubnetID:        aws.ToString(n.SubnetId),
		VPCID:           aws.ToString(n.VpcId),
		Account:         aws.ToString(n.OwnerId),
		Zone:            aws.ToString(n.AvailabilityZone),
		Status:          string(n.Status),
		Description:     aws.ToString(n.Description),
		SourceDestCheck: n.SourceDestCheck == nil || *n.SourceDestCheck, // EC2's default
		Owner:           ownerOf(n.TagSet),
		Name:            nameTag(n.TagSet),
		Addresses:       addresses(n),
		Prefixes:        prefixes(n),
	}
	for _, a := range n.Ipv6Addresses {
		e.PrimaryIPv6 = e.PrimaryIPv6 || aws.ToBool(a.IsPrimaryIpv6)
	}
	if t := n.ConnectionTrackingConfiguration; t != nil {
		e.ConnectionTracking = ConnectionTracking{
			TCPEstablishedTimeout: aws.ToInt32(t.TcpEstablishedTimeout), UDPTimeout: aws.ToInt32(t.UdpTimeout), UDPStreamTimeout: aws.ToInt32(t.UdpStreamTimeout),
		}
	}
	for _, g := range n.Groups {
		e.Groups = append(e.Groups, aws.ToString(g.GroupId))
	}
	slices.Sort(e.Groups)
	if a := n.Attachment; a != nil && a.Status != types.AttachmentStatusDetached {
		e.Attachment = &Attachment{
			ID:                  aws.ToString(a.AttachmentId),
			InstanceID:          aws.ToString(a.InstanceId),
			DeviceIndex:         UnknownIndex,
			Card:                aws.ToInt32(a.NetworkCardIndex),
			Status:              string(a.Status),
			DeleteOnTermination: aws.ToBool(a.DeleteOnTermination),
			ENAQueues:           aws.ToInt32(a.EnaQueueCount),
		}
		if srd := a.EnaSrdSpecification; srd != nil {
			e.Attachment.ENAExpress.Enabled = aws.ToBool(srd.EnaSrdEnabled)
			// Where ENA Express is off, EC2 may show what was set for UDP while it was on.
			e.Attachment.ENAExpress.UDP = e.Attachment.ENAExpress.Enabled && srd.EnaSrdUdpSpecification != nil && aws.ToBool(srd.EnaSrdUdpSpecification.EnaSrdUdpEnabled)
		}
		if a.DeviceIndex != nil {
			e.Attachment.DeviceIndex = *a.DeviceIndex
		}
	}
	return e
}

func addresses(n types.NetworkInterface) []netip.Addr {
	var all []netip.Addr
	// A primary address goes to the beginning of its family's.
	add := func(text *string, primary *bool, beginning int) {
		switch addr, err := netip.ParseAddr(aws.ToString(text)); {
		case err != nil:
		case aws.ToBool(primary):
			all = slices.Insert(all, beginning, addr)
		default:
			all = append(all, addr)
		}
	}
	for _, p := range n.PrivateIpAddresses {
		add(p.PrivateIpAddress, p.Primary, 0)
	}
	if len(all) == 0 {
		add(n.PrivateIpAddress, nil, 0)
	}
	beginning := len(all)
	for _, a := range n.Ipv6Addresses {
		add(a.Ipv6Address, a.IsPrimaryIpv6, beginning)
	}
	if len(all) == beginning {
		add(n.Ipv6Address, nil, beginning)
	}
	return all
}

// unreadable counts the addresses and prefixes in EC2's answer that the ENI lacks.
func unreadable(n types.NetworkInterface, e ENI) int {
	shown := len(n.PrivateIpAddresses) + len(n.Ipv6Addresses) + len(n.Ipv4Prefixes) + len(n.Ipv6Prefixes)
	return shown - len(e.Addresses) - len(e.Prefixes)
}

func prefixes(n types.NetworkInterface) []string {
	var all []string
	add := func(text *string) { all = appendPrefix(all, text) }
	for _, p := range n.Ipv4Prefixes {
		add(p.Ipv4Prefix)
	}
	for _, p := range n.Ipv6Prefixes {
		add(p.Ipv6Prefix)
	}
	return all
}

// appendPrefix adds what is a prefix. It stays a text, because the coordinator has to
// stay small, and the methods of netip.Prefix take 4 kB.
func appendPrefix(all []string, text *string) []string {
	prefix, err := netip.ParsePrefix(aws.ToString(text))
	if err != nil {
		return all
	}
	return append(all, prefix.String())
}
