package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Phase is how far an ENI is on its node.
//
// +kubebuilder:validation:Enum=Pending;Attaching;Configuring;Ready;Failed;Releasing;Released
type Phase string

const (
	// PhasePending: the agent has decided to create the ENI, and EC2 has not created it yet.
	PhasePending Phase = "Pending"
	// PhaseAttaching: EC2 has created the ENI and attaches it.
	PhaseAttaching Phase = "Attaching"
	// PhaseConfiguring: the ENI is attached, and the agent waits for its link or configures it.
	PhaseConfiguring Phase = "Configuring"
	// PhaseReady: the ENI's attributes in EC2 and its link are as the NodeENI requests.
	PhaseReady Phase = "Ready"
	// PhaseFailed: the agent cannot continue until you fix the cause that Message describes.
	PhaseFailed Phase = "Failed"
	// PhaseReleasing: the node no longer needs the ENI, and the agent deconfigures its link.
	PhaseReleasing Phase = "Releasing"
	// PhaseReleased: the node no longer uses the ENI, which can be detached and deleted.
	PhaseReleased Phase = "Released"
)

// ENIState is the agent's report of one ENI.
type ENIState struct {
	// nodeENI is the name of the NodeENI that the ENI belongs to.
	//
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-.0-9a-z]*$`
	NodeENI string `json:"nodeENI"`
	// nodeENIUID is the UID of that NodeENI. It distinguishes the NodeENI from an earlier
	// one with the same name.
	//
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[-0-9A-Za-z]*$`
	NodeENIUID types.UID `json:"nodeENIUID"`
	// observedGeneration is the generation of the NodeENI that this entry describes.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// subnetID is the ID of the ENI's subnet.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^(subnet-[0-9a-z]+)?$`
	SubnetID string `json:"subnetID,omitempty"`
	// subnetCIDR is the IPv4 range of the subnet.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:Pattern=`^[0-9A-Fa-f:./]*$`
	SubnetCIDR string `json:"subnetCIDR,omitempty"`
	// subnetIPv6CIDRs are the IPv6 ranges of the subnet.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:Pattern=`^[0-9A-Fa-f:./]*$`
	SubnetIPv6CIDRs []string `json:"subnetIPv6CIDRs,omitempty"`
	// place is the number of the place that the ENI is for, from 0. Only set if the NodeENI
	// has attach: OnDemand.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=127
	Place *int32 `json:"place,omitempty"`
	// claim is the ResourceClaim that uses the ENI, if the NodeENI has attach: OnDemand. Not
	// set while no claim does.
	//
	// +optional
	Claim *ClaimReference `json:"claim,omitempty"`
	// eniID is the ID of the ENI. Empty until EC2 has created it.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^(eni-[0-9a-z]+)?$`
	ENIID string `json:"eniID,omitempty"`
	// attachmentID is the ID of the attachment. Empty while the ENI is not attached.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^(eni-attach-[0-9a-z]+)?$`
	AttachmentID string `json:"attachmentID,omitempty"`
	// networkCard is the index of the ENI's network card.
	//
	// +optional
	NetworkCard int32 `json:"networkCard,omitempty"`
	// deviceIndex is the ENI's device index on the network card, or the one that it will
	// get.
	//
	// +optional
	DeviceIndex int32 `json:"deviceIndex,omitempty"`
	// mac is the ENI's MAC address, by which the agent finds the link.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:Pattern=`^([0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5})?$`
	MAC string `json:"mac,omitempty"`
	// addresses are the ENI's IPv4 addresses, the primary one first, followed by its IPv6
	// addresses. At most 64 are listed.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:Pattern=`^[0-9A-Fa-f:./]*$`
	Addresses []string `json:"addresses,omitempty"`
	// prefixes are the ENI's IPv4 prefixes, followed by its IPv6 prefixes. At most 32 are
	// listed.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:Pattern=`^[0-9A-Fa-f:./]*$`
	Prefixes []string `json:"prefixes,omitempty"`
	// primaryIPv6 is true if the first IPv6 address is a primary one.
	//
	// +optional
	PrimaryIPv6 bool `json:"primaryIPv6,omitempty"`
	// connectionTracking are the ENI's idle timeouts in EC2.
	//
	// +optional
	ConnectionTracking *ConnectionTracking `json:"connectionTracking,omitempty"`
	// enaExpress is the ENI's ENA Express setting in EC2.
	//
	// +optional
	ENAExpress *ENAExpress `json:"enaExpress,omitempty"`
	// enaQueues is the number of the ENI's ENA queues in EC2.
	//
	// +optional
	ENAQueues int32 `json:"enaQueues,omitempty"`
	// interfaceName is the current name of the link.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^[^\pC\p{Zl}\p{Zp}]*$`
	InterfaceName string `json:"interfaceName,omitempty"`
	// mtu is the current MTU of the link, in bytes.
	//
	// +optional
	MTU int32 `json:"mtu,omitempty"`
	// phase is the stage that the ENI has reached.
	Phase Phase `json:"phase"`
	// reason is one CamelCase word that says why the ENI is not Ready.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[-0-9A-Za-z_.:/]*$`
	Reason string `json:"reason,omitempty"`
	// message describes what the agent is waiting for, or what is wrong and how to fix it.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[^\pC\p{Zl}\p{Zp}]*$`
	Message string `json:"message,omitempty"`
	// lastTransitionTime is the time at which phase or reason last changed.
	LastTransitionTime metav1.Time `json:"lastTransitionTime"`

	// createdAt is the time at which the agent decided to create the ENI, which is also the
	// value of the ENI's tag networking.k8s.aws/created-at. The agent records it before it
	// calls EC2, so that it repeats the same request after a restart.
	//
	// +optional
	CreatedAt *metav1.Time `json:"createdAt,omitempty"`
	// replaces is the ID of the deleted ENI that this ENI replaces.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^(eni-[0-9a-z]+)?$`
	Replaces string `json:"replaces,omitempty"`
}

// NodeENIStateStatus is the agent's report of one node.
type NodeENIStateStatus struct {
	// instanceID is the ID of the node's EC2 instance.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^i-[0-9a-z]+$`
	InstanceID string `json:"instanceID"`
	// zone is the instance's availability zone.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[-0-9a-z]+$`
	Zone string `json:"zone"`
	// region is the instance's Region according to IMDS.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[-0-9A-Za-z]*$`
	Region string `json:"region,omitempty"`
	// account is the instance's AWS account according to IMDS.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[-0-9A-Za-z]*$`
	Account string `json:"account,omitempty"`
	// reason is one CamelCase word that says why the agent does nothing on this node. Empty
	// while the agent works.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reason string `json:"reason,omitempty"`
	// message describes that reason and how to fix it.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// enis lists the node's ENIs, at most 128.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	ENIs []ENIState `json:"enis,omitempty"`
}

// NodeENIState is the agent's report of one node. It has the name of the Node, which
// owns it. The agent of that node is its only writer and replaces it as a whole, so it
// does not have a status subresource.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName=nenistate
// +kubebuilder:printcolumn:name="Instance",type=string,JSONPath=`.status.instanceID`,description="ID of the EC2 instance"
// +kubebuilder:printcolumn:name="Zone",type=string,JSONPath=`.status.zone`,description="Availability zone of the instance"
// +kubebuilder:printcolumn:name="Region",type=string,JSONPath=`.status.region`,priority=1,description="Region of the instance"
// +kubebuilder:printcolumn:name="Account",type=string,JSONPath=`.status.account`,priority=1,description="AWS account of the instance"
// +kubebuilder:printcolumn:name="ENI-1",type=string,JSONPath=`.status.enis[0].eniID`,description="ID of the first ENI"
// +kubebuilder:printcolumn:name="Phase-1",type=string,JSONPath=`.status.enis[0].phase`,description="Phase of the first ENI"
// +kubebuilder:printcolumn:name="Card-1",type=integer,JSONPath=`.status.enis[0].networkCard`,priority=1,description="Network card of the first ENI"
// +kubebuilder:printcolumn:name="Addresses-1",type=string,JSONPath=`.status.enis[0].addresses`,priority=1,description="Addresses of the first ENI"
// +kubebuilder:printcolumn:name="Prefixes-1",type=string,JSONPath=`.status.enis[0].prefixes`,priority=1,description="Prefixes of the first ENI"
// +kubebuilder:printcolumn:name="ENI-2",type=string,JSONPath=`.status.enis[1].eniID`,description="ID of the second ENI"
// +kubebuilder:printcolumn:name="Phase-2",type=string,JSONPath=`.status.enis[1].phase`,description="Phase of the second ENI"
// +kubebuilder:printcolumn:name="Card-2",type=integer,JSONPath=`.status.enis[1].networkCard`,priority=1,description="Network card of the second ENI"
// +kubebuilder:printcolumn:name="Addresses-2",type=string,JSONPath=`.status.enis[1].addresses`,priority=1,description="Addresses of the second ENI"
// +kubebuilder:printcolumn:name="Prefixes-2",type=string,JSONPath=`.status.enis[1].prefixes`,priority=1,description="Prefixes of the second ENI"
// +kubebuilder:printcolumn:name="ENI-3",type=string,JSONPath=`.status.enis[2].eniID`,priority=1,description="ID of the third ENI"
// +kubebuilder:printcolumn:name="Phase-3",type=string,JSONPath=`.status.enis[2].phase`,priority=1,description="Phase of the third ENI"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type NodeENIState struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`
	// +optional
	Status NodeENIStateStatus `json:"status,omitempty"`
}

// NodeENIStateList is a list of NodeENIStates.
//
// +kubebuilder:object:root=true
type NodeENIStateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NodeENIState `json:"items"`
}

// ClaimReference names a ResourceClaim.
type ClaimReference struct {
	// namespace is the namespace of the claim.
	//
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[-0-9a-z]+$`
	Namespace string `json:"namespace"`
	// name is the name of the claim.
	//
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-.0-9a-z]+$`
	Name string `json:"name"`
	// uid is the UID of the claim.
	//
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[-0-9A-Za-z]+$`
	UID types.UID `json:"uid"`
}
