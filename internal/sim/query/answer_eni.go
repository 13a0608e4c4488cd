package query

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

type returnResponse struct {
	envelope
	Return bool `xml:"return"`
}

type createNetworkInterfaceResponse struct {
	envelope
	Interface   xmlInterface `xml:"networkInterface"`
	ClientToken string       `xml:"clientToken,omitempty"`
}

type attachNetworkInterfaceResponse struct {
	envelope
	AttachmentID     string `xml:"attachmentId"`
	NetworkCardIndex int32  `xml:"networkCardIndex"`
}

type describeNetworkInterfacesResponse struct {
	envelope
	Interfaces []xmlInterface `xml:"networkInterfaceSet>item"`
	NextToken  string         `xml:"nextToken,omitempty"`
}

type describeNetworkInterfaceAttributeResponse struct {
	envelope
	InterfaceID     string         `xml:"networkInterfaceId"`
	Description     *textValue     `xml:"description"`
	Groups          *groupSet      `xml:"groupSet"`
	SourceDestCheck *flagValue     `xml:"sourceDestCheck"`
	Attachment      *xmlAttachment `xml:"attachment"`
}

type textValue struct {
	Value string `xml:"value"`
}

type flagValue struct {
	Value bool `xml:"value"`
}

type groupSet struct {
	Items []xmlGroup `xml:"item"`
}

// xmlInterface is an ENI as both EC2's descriptions of ENIs and, with less of
// it, those of instances show it.
type xmlInterface struct {
	ID                 string                 `xml:"networkInterfaceId"`
	SubnetID           string                 `xml:"subnetId"`
	VPCID              string                 `xml:"vpcId"`
	Zone               string                 `xml:"availabilityZone,omitempty"`
	ZoneID             string                 `xml:"availabilityZoneId,omitempty"`
	Description        string                 `xml:"description"`
	OwnerID            string                 `xml:"ownerId"`
	RequesterManaged   *bool                  `xml:"requesterManaged"`
	Status             string                 `xml:"status"`
	MAC                string                 `xml:"macAddress"`
	PrivateIP          string                 `xml:"privateIpAddress,omitempty"`
	PrivateDNSName     string                 `xml:"privateDnsName,omitempty"`
	IPv6               string                 `xml:"ipv6Address,omitempty"`
	SourceDestCheck    bool                   `xml:"sourceDestCheck"`
	Groups             []xmlGroup             `xml:"groupSet>item"`
	Attachment         *xmlAttachment         `xml:"attachment"`
	Tags               []xmlTag               `xml:"tagSet>item"`
	Addresses          []xmlAddress           `xml:"privateIpAddressesSet>item"`
	IPv4Prefixes       []xmlIPv4Prefix        `xml:"ipv4PrefixSet>item"`
	IPv6Addresses      []xmlIPv6Address       `xml:"ipv6AddressesSet>item"`
	IPv6Prefixes       []xmlIPv6Prefix        `xml:"ipv6PrefixSet>item"`
	ConnectionTracking *xmlConnectionTracking `xml:"connectionTrackingConfiguration"`
	InterfaceType      string                 `xml:"interfaceType"`
	Managed            bool                   `xml:"operator>managed"` // no: the account manages it
}

type xmlGroup struct {
	ID   string `xml:"groupId"`
	Name string `xml:"groupName"`
}

type xmlTag struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

type xmlAddress struct {
	Address        string `xml:"privateIpAddress"`
	PrivateDNSName string `xml:"privateDnsName"`
	Primary        bool   `xml:"primary"`
}

type xmlIPv4Prefix struct {
	Prefix string `xml:"ipv4Prefix"`
}

type xmlIPv6Address struct {
	Address string `xml:"ipv6Address"`
	Primary bool   `xml:"isPrimaryIpv6"`
}

type xmlIPv6Prefix struct {
	Prefix string `xml:"ipv6Prefix"`
}

type xmlConnectionTracking struct {
	TCPEstablished int32 `xml:"tcpEstablishedTimeout,omitempty"`
	UDPStream      int32 `xml:"udpStreamTimeout,omitempty"`
	UDP            int32 `xml:"udpTimeout,omitempty"`
}

type xmlEnaSrd struct {
	Enabled bool `xml:"enaSrdEnabled"`
	UDP     bool `xml:"enaSrdUdpSpecification>enaSrdUdpEnabled"`
}

type xmlAttachment struct {
	ID                  string     `xml:"attachmentId"`
	InstanceID          string     `xml:"instanceId,omitempty"`
	InstanceOwnerID     string     `xml:"instanceOwnerId,omitempty"`
	DeviceIndex         int32      `xml:"deviceIndex"`
	NetworkCardIndex    int32      `xml:"networkCardIndex"`
	Status              string     `xml:"status"`
	AttachTime          string     `xml:"attachTime"`
	DeleteOnTermination bool       `xml:"deleteOnTermination"`
	EnaSrd              *xmlEnaSrd `xml:"enaSrdSpecification"`
	EnaQueueCount       int32      `xml:"enaQueueCount,omitempty"`
}

func showInterface(c *cloud.Cloud, eni cloud.Interface) xmlInterface {
	account := c.Config().AccountID
	shown := xmlInterface{
		ID:               eni.ID,
		SubnetID:         eni.SubnetID,
		VPCID:            eni.VPCID,
		Zone:             eni.Zone,
		ZoneID:           eni.ZoneID,
		Description:      eni.Description,
		OwnerID:          account,
		RequesterManaged: &eni.RequesterManaged,
		Status:           eni.Status,
		MAC:              eni.MAC,
		SourceDestCheck:  eni.SourceDestCheck,
		Tags:             showTags(eni.Tags),
		InterfaceType:    eni.InterfaceType,
		Attachment:       showAttachment(eni.Attachment, account),
	}
	if t := eni.ConnectionTracking; t != (cloud.ConnectionTracking{}) {
		shown.ConnectionTracking = &xmlConnectionTracking{t.TCPEstablished, t.UDPStream, t.UDP}
	}
	for _, id := range eni.GroupIDs {
		shown.Groups = append(shown.Groups, xmlGroup{ID: id, Name: c.SecurityGroupName(id)})
	}
	shown.addAddresses(c, eni)
	return shown
}

func (x *xmlInterface) addAddresses(c *cloud.Cloud, eni cloud.Interface) {
	for i, a := range eni.PrivateIPs {
		name := c.PrivateDNSName(a)
		if i == 0 {
			x.PrivateIP, x.PrivateDNSName = a.String(), name
		}
		x.Addresses = append(x.Addresses, xmlAddress{Address: a.String(), PrivateDNSName: name, Primary: i == 0})
	}
	x.IPv4Prefixes = showIPv4Prefixes(eni.IPv4Prefixes)
	for i, a := range eni.IPv6Addresses {
		if i == 0 {
			x.IPv6 = a.String()
		}
		x.IPv6Addresses = append(x.IPv6Addresses, xmlIPv6Address{Address: a.String(), Primary: i == 0 && eni.PrimaryIPv6})
	}
	for _, prefix := range eni.IPv6Prefixes {
		x.IPv6Prefixes = append(x.IPv6Prefixes, xmlIPv6Prefix{prefix.String()})
	}
}

func showIPv4Prefixes(prefixes []netip.Prefix) []xmlIPv4Prefix {
	var shown []xmlIPv4Prefix
	for _, prefix := range prefixes {
		shown = append(shown, xmlIPv4Prefix{prefix.String()})
	}
	return shown
}

func showAttachment(a *cloud.Attachment, account string) *xmlAttachment {
	if a == nil {
		return nil
	}
	shown := &xmlAttachment{
		ID:                  a.ID,
		InstanceID:          a.InstanceID,
		InstanceOwnerID:     account,
		DeviceIndex:         a.DeviceIndex,
		NetworkCardIndex:    a.NetworkCardIndex,
		Status:              a.Status,
		AttachTime:          showTime(a.AttachTime),
		DeleteOnTermination: a.DeleteOnTermination,
		EnaQueueCount:       a.EnaQueueCount,
	}
	if a.EnaSrd != nil {
		shown.EnaSrd = &xmlEnaSrd{a.EnaSrd.Enabled, a.EnaSrd.UDP}
	}
	return shown
}

// showInstanceInterface leaves out what the instance says itself.
func showInstanceInterface(c *cloud.Cloud, eni cloud.Interface) xmlInterface {
	shown := showInterface(c, eni)
	shown.Zone, shown.ZoneID, shown.RequesterManaged, shown.Tags, shown.IPv6 = "", "", nil, nil, ""
	if shown.Attachment != nil {
		shown.Attachment.InstanceID, shown.Attachment.InstanceOwnerID = "", ""
	}
	return shown
}

func showTags(tags map[string]string) []xmlTag {
	var shown []xmlTag
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		shown = append(shown, xmlTag{Key: key, Value: tags[key]})
	}
	return shown
}

// showTime is a time as EC2 shows it: in whole seconds, with milliseconds.
func showTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05") + ".000Z" }
