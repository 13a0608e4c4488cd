// Package eni makes the EC2 calls about ENIs that agent and coordinator share,
// with the tags and tokens that make those calls safe to repeat.
package eni

import (
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
	// Addresses are the IPv4 addresses, the primary one first.
	Addresses       []netip.Addr
	SourceDestCheck bool
	Owner           Owner
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
		}
		if a.DeviceIndex != nil {
			e.Attachment.DeviceIndex = *a.DeviceIndex
		}
	}
	return e
}

func addresses(n types.NetworkInterface) []netip.Addr {
	var all []netip.Addr
	for _, p := range n.PrivateIpAddresses {
		addr, err := netip.ParseAddr(aws.ToString(p.PrivateIpAddress))
		if err != nil {
			continue
		}
		if aws.ToBool(p.Primary) {
			all = slices.Insert(all, 0, addr)
		} else {
			all = append(all, addr)
		}
	}
	if len(all) == 0 {
		if addr, err := netip.ParseAddr(aws.ToString(n.PrivateIpAddress)); err == nil {
			all = append(all, addr)
		}
	}
	return all
}
