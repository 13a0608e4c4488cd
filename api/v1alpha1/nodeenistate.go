package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Phase is how far an ENI has come on its node.
//
// +kubebuilder:validation:Enum=Pending;Attaching;Configuring;Ready;Failed;Releasing;Released
type Phase string

const (
	// PhasePending: decided and recorded, not yet in EC2.
	PhasePending Phase = "Pending"
	// PhaseAttaching: the ENI exists and is being attached.
	PhaseAttaching Phase = "Attaching"
	// PhaseConfiguring: attached; its link or its configuration is awaited.
	PhaseConfiguring Phase = "Configuring"
	// PhaseReady: attributes in EC2 and the link on the host are as wanted.
	PhaseReady Phase = "Ready"
	// PhaseFailed: cannot go on without a change; Message says which.
	PhaseFailed Phase = "Failed"
	// PhaseReleasing: no longer wanted; the link is being deconfigured.
	PhaseReleasing Phase = "Releasing"
	// PhaseReleased: the node no longer uses the ENI; it may be collected.
	PhaseReleased Phase = "Released"
)

// ENIState is what an agent reports of one ENI.
type ENIState struct {
	// NodeENI is the name of the NodeENI that wants, or wanted, the ENI.
	//
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-.0-9a-z]*$`
	NodeENI string `json:"nodeENI"`
	// NodeENIUID tells it from another one that had the name before.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[-0-9A-Za-z]*$`
	NodeENIUID types.UID `json:"nodeENIUID"`
	// ObservedGeneration is the generation of the NodeENI that the entry
	// speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// SubnetID is the subnet that the ENI is in, or will be in.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^(subnet-[0-9a-z]+)?$`
	SubnetID string `json:"subnetID,omitempty"`
	// SubnetCIDR is the IPv4 range of that subnet.
	// +optional
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:Pattern=`^[0-9A-Fa-f:./]*$`
	SubnetCIDR string `json:"subnetCIDR,omitempty"`
	// SubnetIPv6CIDRs are the IPv6 ranges of that subnet.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:Pattern=`^[0-9A-Fa-f:./]*$`
	SubnetIPv6CIDRs []string `json:"subnetIPv6CIDRs,omitempty"`
	// ENIID is empty while there is no ENI yet.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^(eni-[0-9a-z]+)?$`
	ENIID string `json:"eniID,omitempty"`
	// AttachmentID is empty while the ENI is attached to nothing.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^(eni-attach-[0-9a-z]+)?$`
	AttachmentID string `json:"attachmentID,omitempty"`
	// NetworkCard is the index of the network card that the ENI is, or will be,
	// attached to.
	// +optional
	NetworkCard int32 `json:"networkCard,omitempty"`
	// DeviceIndex is the one that the ENI has, or will have, on that card.
	// +optional
	DeviceIndex int32 `json:"deviceIndex,omitempty"`
	// MAC finds the ENI's link on the host.
	// +optional
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:Pattern=`^([0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5})?$`
	MAC string `json:"mac,omitempty"`
	// Addresses are the ENI's IPv4 addresses, the primary one first, and then its
	// IPv6 addresses.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:Pattern=`^[0-9A-Fa-f:./]*$`
	Addresses []string `json:"addresses,omitempty"`
	// Prefixes are the ENI's IPv4 prefixes and then its IPv6 prefixes.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:Pattern=`^[0-9A-Fa-f:./]*$`
	Prefixes []string `json:"prefixes,omitempty"`
	// PrimaryIPv6 is true when the first of the IPv6 addresses is a primary one.
	// +optional
	PrimaryIPv6 bool `json:"primaryIPv6,omitempty"`
	// ConnectionTracking are the idle timeouts of the ENI, as EC2 shows them.
	// +optional
	ConnectionTracking *ConnectionTracking `json:"connectionTracking,omitempty"`
	// ENAExpress is the ENI's use of ENA Express, as EC2 shows it.
	// +optional
	ENAExpress *ENAExpress `json:"enaExpress,omitempty"`
	// ENAQueues is the number of the ENI's ENA queues, as EC2 shows it.
	// +optional
	ENAQueues int32 `json:"enaQueues,omitempty"`
	// InterfaceName is the name that the link has on the host.
	// +optional
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^[^\pC\p{Zl}\p{Zp}]*$`
	InterfaceName string `json:"interfaceName,omitempty"`
	// MTU that the link has, in bytes.
	// +optional
	MTU int32 `json:"mtu,omitempty"`
	// Phase is how far the ENI has come.
	Phase Phase `json:"phase"`
	// Reason is one CamelCase word for machines.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[-0-9A-Za-z_.:/]*$`
	Reason string `json:"reason,omitempty"`
	// Message says for people what is awaited or wrong, and what to do.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^[^\pC\p{Zl}\p{Zp}]*$`
	Message string `json:"message,omitempty"`
	// LastTransitionTime is when phase or reason last changed.
	LastTransitionTime metav1.Time `json:"lastTransitionTime"`

	// CreatedAt is when the agent decided to create the ENI; it is the ENI's
	// created-at tag. It is recorded before EC2 is asked, so that an agent
	// that was killed asks with the same parameters again.
	// +optional
	CreatedAt *metav1.Time `json:"createdAt,omitempty"`
	// Replaces is the ENI that was gone and that this one stands in for.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^(eni-[0-9a-z]+)?$`
	Replaces string `json:"replaces,omitempty"`
}

// NodeENIStateStatus is an agent's whole report.
type NodeENIStateStatus struct {
	// InstanceID is the EC2 instance that the node is.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^i-[0-9a-z]+$`
	InstanceID string `json:"instanceID"`
	// Zone is the instance's availability zone.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[-0-9a-z]+$`
	Zone string `json:"zone"`
	// Region is the instance's Region, as IMDS has it. Its ENIs exist there and
	// nowhere else.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[-0-9A-Za-z]*$`
	Region string `json:"region,omitempty"`
	// Account is the AWS account that the instance belongs to, as IMDS has it.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[-0-9A-Za-z]*$`
	Account string `json:"account,omitempty"`
	// Reason is one CamelCase word that says why the agent does nothing on this node;
	// empty when it works.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Reason string `json:"reason,omitempty"`
	// Message says the same in words, and what to do about it.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	ENIs []ENIState `json:"enis,omitempty"`
}

// NodeENIState is the report of one node's agent. It bears the node's name and
// is owned by the Node. The agent is its only writer and writes it whole, so it
// has no status subresource: one write per change instead of two.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:scope=Cluster,shortName=nenistate
// +kubebuilder:printcolumn:name="Instance",type=string,JSONPath=`.status.instanceID`
// +kubebuilder:printcolumn:name="Zone",type=string,JSONPath=`.status.zone`
// +kubebuilder:printcolumn:name="Region",type=string,JSONPath=`.status.region`,priority=1
// +kubebuilder:printcolumn:name="Account",type=string,JSONPath=`.status.account`,priority=1
// +kubebuilder:printcolumn:name="ENI-1",type=string,JSONPath=`.status.enis[0].eniID`
// +kubebuilder:printcolumn:name="Phase-1",type=string,JSONPath=`.status.enis[0].phase`
// +kubebuilder:printcolumn:name="Card-1",type=integer,JSONPath=`.status.enis[0].networkCard`,priority=1
// +kubebuilder:printcolumn:name="Addresses-1",type=string,JSONPath=`.status.enis[0].addresses`,priority=1
// +kubebuilder:printcolumn:name="Prefixes-1",type=string,JSONPath=`.status.enis[0].prefixes`,priority=1
// +kubebuilder:printcolumn:name="ENI-2",type=string,JSONPath=`.status.enis[1].eniID`
// +kubebuilder:printcolumn:name="Phase-2",type=string,JSONPath=`.status.enis[1].phase`
// +kubebuilder:printcolumn:name="Card-2",type=integer,JSONPath=`.status.enis[1].networkCard`,priority=1
// +kubebuilder:printcolumn:name="Addresses-2",type=string,JSONPath=`.status.enis[1].addresses`,priority=1
// +kubebuilder:printcolumn:name="Prefixes-2",type=string,JSONPath=`.status.enis[1].prefixes`,priority=1
// +kubebuilder:printcolumn:name="ENI-3",type=string,JSONPath=`.status.enis[2].eniID`,priority=1
// +kubebuilder:printcolumn:name="Phase-3",type=string,JSONPath=`.status.enis[2].phase`,priority=1
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
