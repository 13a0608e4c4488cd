package query

import (
	"maps"
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

type assignPrivateIPAddressesResponse struct {
	envelope
	Return      bool              `xml:"return"`
	InterfaceID string            `xml:"networkInterfaceId"`
	Assigned    []assignedAddress `xml:"assignedPrivateIpAddressesSet>item"`
}

type assignedAddress struct {
	Address string `xml:"privateIpAddress"`
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
	ID               string         `xml:"networkInterfaceId"`
	SubnetID         string         `xml:"subnetId"`
	VPCID            string         `xml:"vpcId"`
	Zone             string         `xml:"availabilityZone,omitempty"`
	ZoneID           string         `xml:"availabilityZoneId,omitempty"`
	Description      string         `xml:"description"`
	OwnerID          string         `xml:"ownerId"`
	RequesterManaged *bool          `xml:"requesterManaged"`
	Status           string         `xml:"status"`
	MAC              string         `xml:"macAddress"`
	PrivateIP        string         `xml:"privateIpAddress"`
	PrivateDNSName   string         `xml:"privateDnsName"`
	SourceDestCheck  bool           `xml:"sourceDestCheck"`
	Groups           []xmlGroup     `xml:"groupSet>item"`
	Attachment       *xmlAttachment `xml:"attachment"`
	Tags             []xmlTag       `xml:"tagSet>item"`
	Addresses        []xmlAddress   `xml:"privateIpAddressesSet>item"`
	IPv6Addresses    []string       `xml:"ipv6AddressesSet>item"` // none
	InterfaceType    string         `xml:"interfaceType"`
	Managed          bool           `xml:"operator>managed"` // no: the account manages it
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

type xmlAttachment struct {
	ID                  string `xml:"attachmentId"`
	InstanceID          string `xml:"instanceId,omitempty"`
	InstanceOwnerID     string `xml:"instanceOwnerId,omitempty"`
	DeviceIndex         int32  `xml:"deviceIndex"`
	NetworkCardIndex    int32  `xml:"networkCardIndex"`
	Status              string `xml:"status"`
	AttachTime          string `xml:"attachTime"`
	DeleteOnTermination bool   `xml:"deleteOnTermination"`
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
		PrivateIP:        eni.PrivateIPs[0].String(),
		PrivateDNSName:   c.PrivateDNSName(eni.PrivateIPs[0]),
		SourceDestCheck:  eni.SourceDestCheck,
		Tags:             showTags(eni.Tags),
		InterfaceType:    eni.InterfaceType,
	}
	for _, id := range eni.GroupIDs {
		shown.Groups = append(shown.Groups, xmlGroup{ID: id, Name: c.SecurityGroupName(id)})
	}
	for i, a := range eni.PrivateIPs {
		shown.Addresses = append(shown.Addresses, xmlAddress{Address: a.String(), PrivateDNSName: c.PrivateDNSName(a), Primary: i == 0})
	}
	if a := eni.Attachment; a != nil {
		shown.Attachment = &xmlAttachment{
			ID:                  a.ID,
			InstanceID:          a.InstanceID,
			InstanceOwnerID:     account,
			DeviceIndex:         a.DeviceIndex,
			NetworkCardIndex:    a.NetworkCardIndex,
			Status:              a.Status,
			AttachTime:          showTime(a.AttachTime),
			DeleteOnTermination: a.DeleteOnTermination,
		}
	}
	return shown
}

// showInstanceInterface leaves out what the instance says itself.
func showInstanceInterface(c *cloud.Cloud, eni cloud.Interface) xmlInterface {
	shown := showInterface(c, eni)
	shown.Zone, shown.ZoneID, shown.RequesterManaged, shown.Tags = "", "", nil, nil
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
