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

// NodeENISpec describes the ENIs that every selected node gets: one for each listed
// subnet that is in the node's zone. While the NodeENI exists, everything but
// networkCard and deviceIndex can change, with four limits: tags are given to new ENIs
// only, numbers of addresses and prefixes can only grow, primaryIPv6 stays true, and a
// timeout or a number of queues that is taken out again stays on the ENIs that have it.
//
// +kubebuilder:validation:XValidation:rule="self.?ipv4.?secondaryAddresses.orValue(0) >= oldSelf.?ipv4.?secondaryAddresses.orValue(0)",fieldPath=".ipv4.secondaryAddresses",message="secondaryAddresses cannot be lowered or removed, because pods may hold the addresses: delete the NodeENI and create it again"
// +kubebuilder:validation:XValidation:rule="self.?ipv4.?prefixes.orValue(0) >= oldSelf.?ipv4.?prefixes.orValue(0)",fieldPath=".ipv4.prefixes",message="prefixes cannot be lowered or removed, because pods may hold addresses of them: delete the NodeENI and create it again"
// +kubebuilder:validation:XValidation:rule="self.?ipv6.?addresses.orValue(0) >= oldSelf.?ipv6.?addresses.orValue(0)",fieldPath=".ipv6.addresses",message="addresses cannot be lowered or removed, because pods may hold them: delete the NodeENI and create it again"
// +kubebuilder:validation:XValidation:rule="self.?ipv6.?prefixes.orValue(0) >= oldSelf.?ipv6.?prefixes.orValue(0)",fieldPath=".ipv6.prefixes",message="prefixes cannot be lowered or removed, because pods may hold addresses of them: delete the NodeENI and create it again"
// +kubebuilder:validation:XValidation:rule="self.?ipv6.?primaryIPv6.orValue(false) || !oldSelf.?ipv6.?primaryIPv6.orValue(false)",fieldPath=".ipv6.primaryIPv6",message="primaryIPv6 cannot be taken back, because EC2 has no way to do that: delete the NodeENI and create it again"
// +kubebuilder:validation:XValidation:rule="(has(self.subnetID) && self.subnetID.size() > 0) || (has(self.subnetName) && self.subnetName.size() > 0) || (has(self.subnetIDs) && self.subnetIDs.size() > 0) || (has(self.subnetNames) && self.subnetNames.size() > 0)",message="at least one subnet is needed: set subnetID, subnetIDs, subnetName or subnetNames",reason=FieldValueRequired
// +kubebuilder:validation:XValidation:rule="(has(self.securityGroupIDs) && self.securityGroupIDs.size() > 0) || (has(self.securityGroupNames) && self.securityGroupNames.size() > 0)",message="at least one security group is needed: set securityGroupIDs or securityGroupNames",reason=FieldValueRequired
type NodeENISpec struct {
	// NodeSelector selects nodes by their labels; every entry must match.
	//
	// +kubebuilder:validation:MaxProperties=10
	// +kubebuilder:validation:XValidation:rule="self.size() >= 1",message="must have at least one label, so that only chosen nodes get ENIs"
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.indexOf('/') <= 253 && k.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="every key must be that of a Kubernetes label: an optional DNS name and '/', then at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends"
	// +kubebuilder:validation:XValidation:rule="!self.exists(k, self[k].matches(r'[^-\\w.]'))",message="every value must be that of a Kubernetes label: at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends"
	// +kubebuilder:validation:XValidation:rule="self.all(k, self[k].size() <= 63 && !['-', '_', '.'].exists(c, self[k].startsWith(c) || self[k].endsWith(c)))",message="every value must be that of a Kubernetes label: at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends"
	// +kubebuilder:validation:XValidation:rule="!self.exists(k, k.startsWith('nodeeni.networking.k8s.aws/'))",message="keys that begin with 'nodeeni.networking.k8s.aws/' cannot select nodes: agents set such labels once a node has its ENIs"
	NodeSelector map[string]string `json:"nodeSelector"`

	// SubnetID is the id of a subnet, such as subnet-0123456789abcdef0.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^(subnet-[0-9a-f]{8,17})?$')",message="must be a subnet's id: 'subnet-' and 8 to 17 digits or letters a to f, in lower case"
	SubnetID string `json:"subnetID,omitempty"`
	// SubnetIDs are ids of subnets; those outside the node's zone are skipped.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^subnet-[0-9a-f]{8,17}$')",message="must be a subnet's id: 'subnet-' and 8 to 17 digits or letters a to f, in lower case"
	SubnetIDs []string `json:"subnetIDs,omitempty"`
	// SubnetName is the Name tag of a subnet of the node's VPC. Several subnets
	// may bear it; those outside the node's zone are skipped.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=256
	SubnetName string `json:"subnetName,omitempty"`
	// SubnetNames are Name tags of subnets of the node's VPC; those outside the
	// node's zone are skipped.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:XValidation:rule="self.size() >= 1",message="must be the Name tag of a subnet, not an empty string"
	SubnetNames []string `json:"subnetNames,omitempty"`

	// SecurityGroupIDs are ids of security groups, such as sg-0123456789abcdef0.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^sg-[0-9a-f]{8,17}$')",message="must be a security group's id: 'sg-' and 8 to 17 digits or letters a to f, in lower case"
	SecurityGroupIDs []string `json:"securityGroupIDs,omitempty"`
	// SecurityGroupNames are names of security groups in the node's VPC, merged
	// with SecurityGroupIDs. A name is looked for among the group names, and where
	// no group has it, among the Name tags. All groups with that Name tag count.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=255
	// +kubebuilder:validation:items:XValidation:rule="self.size() >= 1",message="must be the name of a security group, not an empty string"
	SecurityGroupNames []string `json:"securityGroupNames,omitempty"`

	// NetworkCard is the index of the network card that the ENIs are attached to, on
	// instance types that have several. Device indexes count on each card by itself.
	// It cannot be changed.
	//
	// +optional
	// +default=0
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 31",message="must be from 0 to 31; 0 is the network card of the node's primary interface"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed, because an attached ENI keeps its network card: delete the NodeENI and create it again"
	NetworkCard int32 `json:"networkCard,omitempty"`
	// DeviceIndex is the device index that the first ENI wants; the next one
	// wants the next index. When the index is taken on a node, the ENI takes
	// the next free one above it. It cannot be changed.
	//
	// +optional
	// +default=1
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 31",message="must be from 1 to 31; 0 is the node's primary interface"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed, because an attached ENI keeps its device index: delete the NodeENI and create it again"
	DeviceIndex int32 `json:"deviceIndex,omitempty"`
	// MTU of the link in bytes; 0 leaves it as the driver set it, unless the agent
	// has a --default-mtu.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == 0 || (self >= 576 && self <= 9216)",message="must be 0, which leaves the MTU as it is, or from 576 to 9216; EC2's jumbo frames have 9001"
	MTU int32 `json:"mtu,omitempty"`
	// DeleteOnTermination says whether EC2 deletes the ENI with the instance.
	//
	// +optional
	// +default=true
	DeleteOnTermination *bool `json:"deleteOnTermination,omitempty"`
	// SourceDestCheck says whether EC2 drops packets that are not from or to
	// an address of the ENI. Switch it off for nodes that forward.
	//
	// +optional
	// +default=true
	SourceDestCheck *bool `json:"sourceDestCheck,omitempty"`
	// IPv4 gives each ENI secondary IPv4 addresses or IPv4 prefixes.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="!(self.?secondaryAddresses.orValue(0) > 0 && self.?prefixes.orValue(0) > 0)",fieldPath=".prefixes",message="must not be set beside secondaryAddresses: EC2 creates an ENI with one of the two"
	IPv4 *IPv4 `json:"ipv4,omitempty"`
	// IPv6 gives each ENI IPv6 addresses or IPv6 prefixes. Without it, an ENI gets an
	// IPv6 address if its subnet assigns one to each new ENI
	// (AssignIpv6AddressOnCreation).
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="!(has(self.addresses) && self.?prefixes.orValue(0) > 0)",fieldPath=".prefixes",message="must not be set beside addresses: EC2 creates an ENI with one of the two"
	// +kubebuilder:validation:XValidation:rule="!self.?primaryIPv6.orValue(false) || (self.?addresses.orValue(1) > 0 && self.?prefixes.orValue(0) == 0)",fieldPath=".primaryIPv6",message="primaryIPv6 needs an IPv6 address, and a prefix is none: set addresses to 1 or more"
	IPv6 *IPv6 `json:"ipv6,omitempty"`
	// ConnectionTracking sets how long EC2 tracks idle connections for the security
	// groups of the ENI.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.?tcpEstablishedTimeout.orValue(0) == 0 || (self.tcpEstablishedTimeout >= 60 && self.tcpEstablishedTimeout <= 432000)",fieldPath=".tcpEstablishedTimeout",message="must be 0, which is EC2's default, or from 60 to 432000 seconds"
	// +kubebuilder:validation:XValidation:rule="self.?udpTimeout.orValue(0) == 0 || (self.udpTimeout >= 30 && self.udpTimeout <= 60)",fieldPath=".udpTimeout",message="must be 0, which is EC2's default, or from 30 to 60 seconds"
	// +kubebuilder:validation:XValidation:rule="self.?udpStreamTimeout.orValue(0) == 0 || (self.udpStreamTimeout >= 60 && self.udpStreamTimeout <= 180)",fieldPath=".udpStreamTimeout",message="must be 0, which is EC2's default, or from 60 to 180 seconds"
	ConnectionTracking *ConnectionTracking `json:"connectionTracking,omitempty"`
	// ENAExpress switches ENA Express on, which the instance types at both ends of a
	// connection must support. It is off by default.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.?enabled.orValue(false) || !self.?udp.orValue(false)",fieldPath=".udp",message="needs enabled: true, because ENA Express carries UDP only where it is on"
	ENAExpress *ENAExpress `json:"enaExpress,omitempty"`
	// ENAQueues is the number of ENA queues of each ENI, on instance types that let it
	// be chosen; 0 is the type's default.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 256",message="must be 0, which is the instance type's default, or from 1 to 256"
	ENAQueues int32 `json:"enaQueues,omitempty"`
	// Description of the ENI in EC2.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f]*$')",message="must not contain control characters"
	Description string `json:"description,omitempty"`
	// Addressing says what happens to the ENI's addresses on the host: None
	// sets the MTU and brings the link up, which is what Multus parents want;
	// Host puts the addresses on the link, with source-based policy routing.
	//
	// +optional
	// +default="None"
	Addressing Addressing `json:"addressing,omitempty"`
	// Pods says that the ENIs are for pods, by the CNI plugin eni: its secondary
	// addresses and prefixes are given to pods and not to the host, and the node offers
	// them as the extended resource networking.k8s.aws/NAME. It needs pods.enabled in the
	// Helm chart (--pods of the agent).
	//
	// +optional
	Pods *Pods `json:"pods,omitempty"`
	// InterfaceName renames the link, so that every node has the same name to
	// offer. The second ENI of the NodeENI on a node gets "-1" behind it, the
	// third "-2", and so on.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^([A-Za-z0-9_][-A-Za-z0-9_.]{0,14})?$')",message="must be a name for a network interface: at most 15 letters, digits, '-', '_' and '.', beginning with a letter, a digit or '_'"
	// +kubebuilder:validation:XValidation:rule="!(self in ['eth0', 'lo', 'all', 'default'])",message="must not be eth0 or lo, which the node itself uses, nor all or default, which the kernel refuses"
	InterfaceName string `json:"interfaceName,omitempty"`
	// Tags are added to the ENI in EC2 when it is created. EC2 allows 50 tags;
	// the rest is for our own.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=40
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.size() >= 1 && k.size() <= 128)",message="a tag's key must have 1 to 128 characters"
	// +kubebuilder:validation:XValidation:rule="self.all(k, self[k].size() <= 256)",message="a tag's value must have at most 256 characters"
	// +kubebuilder:validation:XValidation:rule="!self.exists(k, k.matches('^(?i:aws:)'))",message="keys that begin with 'aws:' are reserved by AWS"
	// +kubebuilder:validation:XValidation:rule="!self.exists(k, k.startsWith('networking.k8s.aws/') || k.startsWith('node.k8s.amazonaws.com/'))",message="keys that begin with 'networking.k8s.aws/' or 'node.k8s.amazonaws.com/' say who owns an ENI and are set by the agent"
	Tags map[string]string `json:"tags,omitempty"`

	// InterfaceType can only be interface, which is also the default: EC2 attaches no
	// EFA to a running instance.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self in ['', 'interface']",message="must be interface: EC2 attaches efa and efa-only interfaces only when it launches an instance, so put them into the launch template"
	InterfaceType string `json:"interfaceType,omitempty"`
	// PrivateIPAddress cannot be set; it is known so that it can be refused with the
	// reason.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self == ''",message="cannot be set, because a NodeENI makes an ENI on every node that it selects, and no two ENIs of a VPC can have one address: EC2 chooses the addresses from the subnet"
	PrivateIPAddress string `json:"privateIPAddress,omitempty"`
	// AssociatePublicIPAddress cannot be true; it is known so that it can be refused
	// with the reason.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self",message="cannot be true, because EC2 gives public addresses to primary interfaces only, when it launches an instance: associate an Elastic IP address with the ENI in EC2, or use a NAT gateway"
	AssociatePublicIPAddress bool `json:"associatePublicIPAddress,omitempty"`
}

// ConditionReady is the type of the NodeENI condition that is True while every
// matching node has every ENI.
const ConditionReady = "Ready"

// ConditionCleanupBlocked is the type of the NodeENI condition that is there, and
// True, while the coordinator deletes no ENIs of the NodeENI because what EC2 shows it
// contradicts what it knows otherwise.
const ConditionCleanupBlocked = "CleanupBlocked"

// NodeENIStatus is written by the coordinator, from the agents' reports.
type NodeENIStatus struct {
	// ObservedGeneration is the generation that this status speaks of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions hold Ready: every matching node has every ENI; and CleanupBlocked
	// while ENIs are not deleted because EC2 and the agents contradict each other.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Nodes counts the nodes that the selector matches.
	//
	// +optional
	Nodes NodeCounts `json:"nodes,omitempty"`
	// Attachments are the first 100 ENIs: one of each node, the failed ones first,
	// before any node has a second.
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
	// NodeID is the node's name.
	//
	// +kubebuilder:validation:MaxLength=253
	NodeID string `json:"nodeID"`
	// InstanceID is the EC2 instance that the node is.
	// +kubebuilder:validation:MaxLength=64
	InstanceID string `json:"instanceID"`
	// ENIID is empty while there is no ENI yet.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ENIID string `json:"eniID,omitempty"`
	// AttachmentID is empty while the ENI is attached to nothing.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	AttachmentID string `json:"attachmentID,omitempty"`
	// SubnetID is the subnet that the ENI is in, or will be in.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	SubnetID string `json:"subnetID,omitempty"`
	// SubnetCIDR is the IPv4 range of that subnet.
	// +optional
	// +kubebuilder:validation:MaxLength=43
	SubnetCIDR string `json:"subnetCIDR,omitempty"`
	// NetworkCard is the index of the network card that the ENI is, or will be,
	// attached to.
	//
	// +optional
	NetworkCard int32 `json:"networkCard,omitempty"`
	// DeviceIndex is the one that the ENI has, or will have, on that card.
	//
	// +optional
	DeviceIndex int32 `json:"deviceIndex,omitempty"`
	// MTU that the link has, in bytes.
	//
	// +optional
	MTU int32 `json:"mtu,omitempty"`
	// Status is the phase that the node's agent reports.
	// +kubebuilder:validation:MaxLength=64
	Status string `json:"status"`
	// Message says for people what is awaited or wrong, and what to do.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// LastUpdated is when the status last changed.
	//
	// +optional
	LastUpdated metav1.Time `json:"lastUpdated,omitempty"`
}

// NodeENI asks for ENIs on every node that its selector matches.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=neni
// +kubebuilder:printcolumn:name="Matching",type=integer,JSONPath=`.status.nodes.matching`,description="Nodes that the selector matches"
// +kubebuilder:printcolumn:name="Ready",type=integer,JSONPath=`.status.nodes.ready`,description="Nodes with every ENI ready"
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.nodes.failed`,description="Nodes that report an ENI that cannot be had without a change"
// +kubebuilder:printcolumn:name="Subnets",type=string,JSONPath=`.spec['subnetIDs','subnetNames','subnetID','subnetName']`
// +kubebuilder:printcolumn:name="Card",type=integer,JSONPath=`.spec.networkCard`,priority=1
// +kubebuilder:printcolumn:name="Device",type=integer,JSONPath=`.spec.deviceIndex`,priority=1
// +kubebuilder:printcolumn:name="Addressing",type=string,JSONPath=`.spec.addressing`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type NodeENI struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec NodeENISpec `json:"spec"`
	// +optional
	// +structType=atomic
	Status NodeENIStatus `json:"status,omitempty"`
}

// Selects says whether the NodeENI wants ENIs on a node with these labels. An
// empty selector, which the schema refuses, selects nothing.
func (n *NodeENI) Selects(nodeLabels map[string]string) bool {
	for key, value := range n.Spec.NodeSelector {
		if got, ok := nodeLabels[key]; !ok || got != value {
			return false
		}
	}
	return len(n.Spec.NodeSelector) > 0
}

// NodeENIList is a list of NodeENIs.
//
// +kubebuilder:object:root=true
type NodeENIList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []NodeENI `json:"items"`
}
