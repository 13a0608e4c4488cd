package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Addressing says what the agent does with the addresses of an ENI.
//
// +kubebuilder:validation:Enum=None;Host
type Addressing string

const (
	// AddressingNone sets MTU and brings the link up; it is what Multus
	// parents want.
	AddressingNone Addressing = "None"
	// AddressingHost puts the ENI's addresses on the link, with source-based
	// policy routing.
	AddressingHost Addressing = "Host"
)

// NodeENISpec describes the ENIs that every selected node shall have: one for
// each listed subnet that lies in the node's zone.
type NodeENISpec struct {
	// NodeSelector selects nodes by their labels; every entry must match.
	NodeSelector map[string]string `json:"nodeSelector"`

	// SubnetID is the id of a subnet, subnet-….
	// +optional
	SubnetID string `json:"subnetID,omitempty"`
	// SubnetIDs are ids of subnets; those outside the node's zone are skipped.
	// +optional
	// +listType=set
	SubnetIDs []string `json:"subnetIDs,omitempty"`
	// SubnetName is the Name tag of a subnet.
	// +optional
	SubnetName string `json:"subnetName,omitempty"`
	// SubnetNames are Name tags of subnets; those outside the node's zone are
	// skipped.
	// +optional
	// +listType=set
	SubnetNames []string `json:"subnetNames,omitempty"`

	// SecurityGroupIDs are ids of security groups, sg-….
	// +optional
	// +listType=set
	SecurityGroupIDs []string `json:"securityGroupIDs,omitempty"`
	// SecurityGroupNames are names of security groups in the node's VPC,
	// merged with SecurityGroupIDs.
	// +optional
	// +listType=set
	SecurityGroupNames []string `json:"securityGroupNames,omitempty"`

	// DeviceIndex is the device index that the first ENI wants; the next one
	// wants the next index. When the index is taken on a node, the ENI takes
	// the next free one above it.
	// +optional
	// +default=1
	DeviceIndex int32 `json:"deviceIndex,omitempty"`
	// MTU of the link in bytes; 0 leaves it as the driver set it.
	// +optional
	MTU int32 `json:"mtu,omitempty"`
	// DeleteOnTermination says whether EC2 deletes the ENI with the instance.
	// +optional
	// +default=true
	DeleteOnTermination *bool `json:"deleteOnTermination,omitempty"`
	// SourceDestCheck says whether EC2 drops packets that are not from or to
	// an address of the ENI. Switch it off for nodes that forward.
	// +optional
	// +default=true
	SourceDestCheck *bool `json:"sourceDestCheck,omitempty"`
	// Description of the ENI in EC2.
	// +optional
	Description string `json:"description,omitempty"`
	// Addressing says what happens to the ENI's addresses on the host.
	// +optional
	// +default="None"
	Addressing Addressing `json:"addressing,omitempty"`
	// InterfaceName renames the link, so that every node has the same name to
	// offer. The second ENI of the NodeENI on a node gets "-1" behind it, the
	// third "-2", and so on.
	// +optional
	InterfaceName string `json:"interfaceName,omitempty"`
	// Tags are added to the ENI in EC2 when it is created.
	// +optional
	Tags map[string]string `json:"tags,omitempty"`
}

// ConditionReady is the type of the NodeENI condition that is True while every
// matching node has every ENI.
const ConditionReady = "Ready"

// NodeENIStatus is written by the coordinator, from the agents' reports.
type NodeENIStatus struct {
	// ObservedGeneration is the generation that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// +optional
	Nodes NodeCounts `json:"nodes,omitempty"`
	// Attachments are the first 100 ENIs, the failed ones first.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Attachments []Attachment `json:"attachments,omitempty"`
}

// NodeCounts counts nodes by what they have of a NodeENI.
type NodeCounts struct {
	// Matching nodes carry the labels of the selector.
	Matching int32 `json:"matching"`
	// Ready nodes have every ENI of the NodeENI ready.
	Ready int32 `json:"ready"`
	// Failed nodes report an ENI that cannot be had without a change.
	Failed int32 `json:"failed"`
}

// Attachment is one ENI of a NodeENI on one node.
type Attachment struct {
	NodeID     string `json:"nodeID"`
	InstanceID string `json:"instanceID"`
	// +optional
	ENIID string `json:"eniID,omitempty"`
	// +optional
	AttachmentID string `json:"attachmentID,omitempty"`
	// +optional
	SubnetID string `json:"subnetID,omitempty"`
	// +optional
	SubnetCIDR string `json:"subnetCIDR,omitempty"`
	// +optional
	DeviceIndex int32 `json:"deviceIndex,omitempty"`
	// +optional
	MTU int32 `json:"mtu,omitempty"`
	// Status is the phase that the node's agent reports.
	Status string `json:"status"`
	// +optional
	Message string `json:"message,omitempty"`
	// +optional
	LastUpdated metav1.Time `json:"lastUpdated,omitempty"`
}

// NodeENI asks for ENIs on every node that its selector matches.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=neni;nodeenis
type NodeENI struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec NodeENISpec `json:"spec"`
	// +optional
	Status NodeENIStatus `json:"status,omitempty"`
}

// NodeENIList is a list of NodeENIs.
//
// +kubebuilder:object:root=true
type NodeENIList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NodeENI `json:"items"`
}
