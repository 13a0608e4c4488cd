package query

import (
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

type runInstancesResponse struct {
	envelope
	xmlReservation
}

type describeInstancesResponse struct {
	envelope
	Reservations []xmlReservation `xml:"reservationSet>item"`
	NextToken    string           `xml:"nextToken,omitempty"`
}

type terminateInstancesResponse struct {
	envelope
	Changes []xmlStateChange `xml:"instancesSet>item"`
}

type describeInstanceTypesResponse struct {
	envelope
	Types     []xmlInstanceType `xml:"instanceTypeSet>item"`
	NextToken string            `xml:"nextToken,omitempty"`
}

type xmlReservation struct {
	ID        string        `xml:"reservationId"`
	OwnerID   string        `xml:"ownerId"`
	Groups    []xmlGroup    `xml:"groupSet>item"`
	Instances []xmlInstance `xml:"instancesSet>item"`
}

type xmlInstance struct {
	ID              string         `xml:"instanceId"`
	ImageID         string         `xml:"imageId"`
	State           xmlState       `xml:"instanceState"`
	PrivateDNSName  string         `xml:"privateDnsName"`
	Type            string         `xml:"instanceType"`
	LaunchTime      string         `xml:"launchTime"`
	Zone            string         `xml:"placement>availabilityZone"`
	ZoneID          string         `xml:"placement>availabilityZoneId"`
	Tenancy         string         `xml:"placement>tenancy"`
	SubnetID        string         `xml:"subnetId,omitempty"`
	VPCID           string         `xml:"vpcId,omitempty"`
	PrivateIP       string         `xml:"privateIpAddress,omitempty"`
	SourceDestCheck bool           `xml:"sourceDestCheck"`
	Groups          []xmlGroup     `xml:"groupSet>item"`
	Architecture    string         `xml:"architecture"`
	Virtualization  string         `xml:"virtualizationType"`
	Hypervisor      string         `xml:"hypervisor"`
	ENASupport      bool           `xml:"enaSupport"`
	Tags            []xmlTag       `xml:"tagSet>item"`
	Interfaces      []xmlInterface `xml:"networkInterfaceSet>item"`
}

type xmlState struct {
	Code int    `xml:"code"`
	Name string `xml:"name"`
}

type xmlStateChange struct {
	ID       string   `xml:"instanceId"`
	Current  xmlState `xml:"currentState"`
	Previous xmlState `xml:"previousState"`
}

type xmlInstanceType struct {
	Name              string         `xml:"instanceType"`
	CurrentGeneration bool           `xml:"currentGeneration"`
	Network           xmlNetworkInfo `xml:"networkInfo"`
}

type xmlNetworkInfo struct {
	MaxInterfaces       int              `xml:"maximumNetworkInterfaces"`
	MaxCards            int              `xml:"maximumNetworkCards"`
	DefaultCard         int              `xml:"defaultNetworkCardIndex"`
	Cards               []xmlNetworkCard `xml:"networkCards>item"`
	IPv4PerInterface    int              `xml:"ipv4AddressesPerInterface"`
	IPv6PerInterface    int              `xml:"ipv6AddressesPerInterface"`
	IPv6Supported       bool             `xml:"ipv6Supported"`
	ENASupport          string           `xml:"enaSupport"`
	EFASupported        bool             `xml:"efaSupported"`
	EncryptionInTransit bool             `xml:"encryptionInTransitSupported"`
}

type xmlNetworkCard struct {
	Index         int `xml:"networkCardIndex"`
	MaxInterfaces int `xml:"maximumNetworkInterfaces"`
}

// stateCodes are the numbers of the API's instance states.
var stateCodes = map[string]int{
	cloud.InstancePending:      0,
	cloud.InstanceRunning:      16,
	cloud.InstanceShuttingDown: 32,
	cloud.InstanceTerminated:   48,
	cloud.InstanceStopping:     64,
	cloud.InstanceStopped:      80,
}

func showState(state string) xmlState { return xmlState{Code: stateCodes[state], Name: state} }

func showReservation(c *cloud.Cloud, i cloud.InstanceDescription) xmlReservation {
	return xmlReservation{ID: i.ReservationID, OwnerID: c.Config().AccountID, Instances: []xmlInstance{showInstance(c, i)}}
}

func showInstance(c *cloud.Cloud, i cloud.InstanceDescription) xmlInstance {
	shown := xmlInstance{
		ID:             i.ID,
		ImageID:        i.ImageID,
		State:          showState(i.State),
		Type:           i.Type,
		LaunchTime:     showTime(i.LaunchTime),
		Zone:           i.Zone,
		ZoneID:         i.ZoneID,
		Tenancy:        "default",
		Architecture:   "x86_64",
		Virtualization: "hvm",
		Hypervisor:     "xen",
		ENASupport:     true,
		Tags:           showTags(i.Tags),
	}
	if i.State == cloud.InstanceTerminated {
		return shown
	}
	shown.PrivateDNSName = c.PrivateDNSName(i.PrivateIP)
	shown.SubnetID, shown.VPCID, shown.PrivateIP = i.SubnetID, i.VPCID, i.PrivateIP.String()
	for _, eni := range i.Interfaces {
		shownENI := showInstanceInterface(c, eni)
		if shownENI.Attachment.DeviceIndex == 0 && shownENI.Attachment.NetworkCardIndex == 0 {
			shown.Groups, shown.SourceDestCheck = shownENI.Groups, shownENI.SourceDestCheck
		}
		shown.Interfaces = append(shown.Interfaces, shownENI)
	}
	return shown
}

func showInstanceType(t cloud.InstanceType) xmlInstanceType {
	network := xmlNetworkInfo{
		MaxInterfaces:    t.MaxENIs,
		MaxCards:         t.NetworkCards,
		IPv4PerInterface: t.IPv4PerENI,
		IPv6PerInterface: t.IPv4PerENI,
		IPv6Supported:    true,
		ENASupport:       "required",
	}
	for card := range t.NetworkCards {
		network.Cards = append(network.Cards, xmlNetworkCard{Index: card, MaxInterfaces: t.MaxENIs / t.NetworkCards})
	}
	return xmlInstanceType{Name: t.Name, CurrentGeneration: true, Network: network}
}
