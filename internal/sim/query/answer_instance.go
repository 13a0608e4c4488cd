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
	IPv6            string         `xml:"ipv6Address,omitempty"`
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
	shown.PrivateDNSName = c.HostName(i.Instance)
	shown.SubnetID, shown.VPCID = i.SubnetID, i.VPCID
	if i.PrivateIP.IsValid() {
		shown.PrivateIP = i.PrivateIP.String()
	}
	if i.IPv6.IsValid() {
		shown.IPv6 = i.IPv6.String()
	}
	for _, eni := range i.Interfaces {
		shownENI := showInstanceInterface(c, eni)
		if shownENI.Attachment.DeviceIndex == 0 && shownENI.Attachment.NetworkCardIndex == 0 {
			shown.Groups, shown.SourceDestCheck = shownENI.Groups, shownENI.SourceDestCheck
		}
		shown.Interfaces = append(shown.Interfaces, shownENI)
	}
	return shown
}
