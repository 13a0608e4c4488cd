package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Addressing controls who puts the addresses of an ENI on its link.
//
// +kubebuilder:validation:Enum=None;Host
type Addressing string

const (
	// AddressingNone brings the link up and sets its MTU, as a Multus parent needs.
	AddressingNone Addressing = "None"
	// AddressingHost adds the ENI's addresses to the link and sets up policy routing.
	AddressingHost Addressing = "Host"
)

// Attach controls when nodes get the ENIs.
//
// +kubebuilder:validation:Enum=Always;OnDemand
type Attach string

const (
	// AttachAlways gives each selected node its ENIs at once.
	AttachAlways Attach = "Always"
	// AttachOnDemand gives a node an ENI when a pod claims one.
	AttachOnDemand Attach = "OnDemand"
)

// NodeENISpec describes the ENIs of each selected node: one for each listed subnet in
// the node's zone. You can change all fields of an existing NodeENI except attach,
// networkCard, and deviceIndex, with four limits: tags apply to new ENIs only, the numbers
// of addresses and prefixes can only be raised, primaryIPv6 cannot be set back to false,
// and a connectionTracking timeout or enaQueues that you remove keeps its last value on
// existing ENIs.
//
// +kubebuilder:validation:XValidation:rule="self.?ipv4.?secondaryAddresses.orValue(0) >= oldSelf.?ipv4.?secondaryAddresses.orValue(0)",fieldPath=".ipv4.secondaryAddresses",message="secondaryAddresses cannot be lowered or removed, because pods may use the addresses: delete the NodeENI and create it again"
// +kubebuilder:validation:XValidation:rule="self.?ipv4.?prefixes.orValue(0) >= oldSelf.?ipv4.?prefixes.orValue(0)",fieldPath=".ipv4.prefixes",message="prefixes cannot be lowered or removed, because pods may use addresses from them: delete the NodeENI and create it again"
// +kubebuilder:validation:XValidation:rule="self.?ipv6.?addresses.orValue(0) >= oldSelf.?ipv6.?addresses.orValue(0)",fieldPath=".ipv6.addresses",message="addresses cannot be lowered or removed, because pods may use them: delete the NodeENI and create it again"
// +kubebuilder:validation:XValidation:rule="self.?ipv6.?prefixes.orValue(0) >= oldSelf.?ipv6.?prefixes.orValue(0)",fieldPath=".ipv6.prefixes",message="prefixes cannot be lowered or removed, because pods may use addresses from them: delete the NodeENI and create it again"
// +kubebuilder:validation:XValidation:rule="self.?ipv6.?primaryIPv6.orValue(false) || !oldSelf.?ipv6.?primaryIPv6.orValue(false)",fieldPath=".ipv6.primaryIPv6",message="primaryIPv6 cannot be set back to false, because EC2 cannot undo it: delete the NodeENI and create it again"
// +kubebuilder:validation:XValidation:rule="!(self.?attach.orValue('Always') == 'OnDemand' && has(self.pods))",fieldPath=".pods",message="must not be set with attach: OnDemand, which gives the whole ENI to the pod that claims it"
// +kubebuilder:validation:XValidation:rule="!(self.?attach.orValue('Always') == 'OnDemand' && self.?addressing.orValue('None') == 'Host')",fieldPath=".addressing",message="must be None with attach: OnDemand, because the pod that claims the ENI gets its addresses"
// +kubebuilder:validation:XValidation:rule="!(self.?attach.orValue('Always') == 'OnDemand' && has(self.interfaceName) && self.interfaceName.size() > 0)",fieldPath=".interfaceName",message="must not be set with attach: OnDemand: set interfaceName in the parameters of the ResourceClaim"
// +kubebuilder:validation:XValidation:rule="(has(self.subnetID) && self.subnetID.size() > 0) || (has(self.subnetName) && self.subnetName.size() > 0) || (has(self.subnetIDs) && self.subnetIDs.size() > 0) || (has(self.subnetNames) && self.subnetNames.size() > 0)",message="at least one subnet is required: set subnetID, subnetIDs, subnetName, or subnetNames",reason=FieldValueRequired
// +kubebuilder:validation:XValidation:rule="(has(self.securityGroupIDs) && self.securityGroupIDs.size() > 0) || (has(self.securityGroupNames) && self.securityGroupNames.size() > 0)",message="at least one security group is required: set securityGroupIDs or securityGroupNames",reason=FieldValueRequired
type NodeENISpec struct {
	// nodeSelector is a map of labels. A node gets the ENIs if it has all of them with
	// these values. Required; 1 to 10 entries, whose keys must not start with
	// nodeeni.networking.k8s.aws/. When a node stops matching, its ENIs are released: the
	// agent deconfigures their links, and the coordinator detaches and deletes them.
	//
	// +kubebuilder:validation:MaxProperties=10
	// +kubebuilder:validation:XValidation:rule="self.size() >= 1",message="must have at least one label, so that only the nodes that you choose get ENIs"
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.indexOf('/') <= 253 && k.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",message="every key must be a valid Kubernetes label key: an optional DNS name and '/', then at most 63 letters, digits, '-', '_', and '.', starting and ending with a letter or digit"
	// +kubebuilder:validation:XValidation:rule="!self.exists(k, self[k].matches(r'[^-\\w.]'))",message="every value must be a valid Kubernetes label value: at most 63 letters, digits, '-', '_', and '.', starting and ending with a letter or digit"
	// +kubebuilder:validation:XValidation:rule="self.all(k, self[k].size() <= 63 && !['-', '_', '.'].exists(c, self[k].startsWith(c) || self[k].endsWith(c)))",message="every value must be a valid Kubernetes label value: at most 63 letters, digits, '-', '_', and '.', starting and ending with a letter or digit"
	// +kubebuilder:validation:XValidation:rule="!self.exists(k, k.startsWith('nodeeni.networking.k8s.aws/'))",message="keys that start with 'nodeeni.networking.k8s.aws/' cannot select nodes, because agents set these labels after a node has its ENIs"
	NodeSelector map[string]string `json:"nodeSelector"`

	// subnetID is the ID of a subnet, such as subnet-0123456789abcdef0. It is the short
	// form of subnetIDs with one entry. Optional; a NodeENI must list at least one subnet
	// in subnetID, subnetIDs, subnetName, or subnetNames.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^(subnet-[0-9a-f]{8,17})?$')",message="must be a subnet ID: 'subnet-' and 8 to 17 lowercase hexadecimal digits"
	SubnetID string `json:"subnetID,omitempty"`
	// subnetIDs are the IDs of subnets. Each node gets one ENI in each listed subnet that
	// is in its zone; subnets in other zones are ignored, but at least one must be in the
	// node's zone. Adding a subnet creates ENIs, and removing one releases its ENIs.
	// Optional; at most 64.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^subnet-[0-9a-f]{8,17}$')",message="must be a subnet ID: 'subnet-' and 8 to 17 lowercase hexadecimal digits"
	SubnetIDs []string `json:"subnetIDs,omitempty"`
	// subnetName is the value of the Name tag of subnets in the node's VPC. Several subnets
	// can have the same name if they are in different zones; those outside of the node's
	// zone are ignored. Optional; at most 256 characters.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=256
	SubnetName string `json:"subnetName,omitempty"`
	// subnetNames are the values of the Name tags of subnets in the node's VPC. The rules
	// for subnetName apply to each entry. Optional; at most 64.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:XValidation:rule="self.size() >= 1",message="must not be empty; set the value of a subnet's Name tag"
	SubnetNames []string `json:"subnetNames,omitempty"`

	// securityGroupIDs are the IDs of security groups, such as sg-0123456789abcdef0.
	// Changes apply to existing ENIs. Optional; at most 16. A NodeENI must list at least
	// one security group in securityGroupIDs or securityGroupNames.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^sg-[0-9a-f]{8,17}$')",message="must be a security group ID: 'sg-' and 8 to 17 lowercase hexadecimal digits"
	SecurityGroupIDs []string `json:"securityGroupIDs,omitempty"`
	// securityGroupNames are the names of security groups in the node's VPC, in addition to
	// securityGroupIDs. Each entry is a group name or, if no group has that name, the value
	// of a Name tag; then all groups with that tag are used. Changes apply to existing
	// ENIs. Optional; at most 16.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=255
	// +kubebuilder:validation:items:XValidation:rule="self.size() >= 1",message="must not be empty; set the name of a security group"
	SecurityGroupNames []string `json:"securityGroupNames,omitempty"`

	// networkCard is the index of the network card to attach the ENIs to, on instance types
	// that have several. Each network card has its own device indexes. From 0 to 31,
	// default 0. Immutable.
	//
	// +optional
	// +default=0
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 31",message="must be from 0 to 31; 0 is the network card of the primary ENI"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed, because an attached ENI keeps its network card: delete the NodeENI and create it again"
	NetworkCard int32 `json:"networkCard,omitempty"`
	// deviceIndex is the preferred device index of the node's first ENI. Each further ENI
	// of this NodeENI on the node prefers the next index. If an index is taken, the ENI
	// gets the next free one above it, and if there is none, the lowest free one. From 1 to
	// 31, default 1. Immutable.
	//
	// +optional
	// +default=1
	// +kubebuilder:validation:XValidation:rule="self >= 1 && self <= 31",message="must be from 1 to 31; the primary ENI has index 0"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed, because an attached ENI keeps its device index: delete the NodeENI and create it again"
	DeviceIndex int32 `json:"deviceIndex,omitempty"`
	// mtu is the MTU of the links, in bytes, from 576 to 9216. Changes apply to existing
	// links. The default of 0 selects the agent's --default-mtu; if that is 0 too, the
	// agent does not change the MTU.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self == 0 || (self >= 576 && self <= 9216)",message="must be 0, which leaves the MTU unchanged, or from 576 to 9216 bytes; EC2's jumbo frames are 9001 bytes"
	MTU int32 `json:"mtu,omitempty"`
	// deleteOnTermination controls whether EC2 deletes the ENIs when it terminates the
	// instance. If false, the ENIs outlive the instance until the coordinator deletes them.
	// Changes apply to existing ENIs. Default true.
	//
	// +optional
	// +default=true
	DeleteOnTermination *bool `json:"deleteOnTermination,omitempty"`
	// sourceDestCheck controls whether EC2 drops packets that are neither from nor to an
	// address of the ENI. Set it to false for nodes that forward packets. Changes apply to
	// existing ENIs. Default true.
	//
	// +optional
	// +default=true
	SourceDestCheck *bool `json:"sourceDestCheck,omitempty"`
	// ipv4 requests secondary IPv4 addresses or IPv4 prefixes in addition to each ENI's
	// primary IPv4 address. Changes apply to existing ENIs. Optional.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="!(self.?secondaryAddresses.orValue(0) > 0 && self.?prefixes.orValue(0) > 0)",fieldPath=".prefixes",message="must not be set together with secondaryAddresses: EC2 creates an ENI with one or the other"
	IPv4 *IPv4 `json:"ipv4,omitempty"`
	// ipv6 requests IPv6 addresses or IPv6 prefixes for each ENI. If unset, a new ENI gets
	// an IPv6 address if its subnet assigns one to every new ENI
	// (AssignIpv6AddressOnCreation). Changes apply to existing ENIs. Optional.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="!(has(self.addresses) && self.?prefixes.orValue(0) > 0)",fieldPath=".prefixes",message="must not be set together with addresses: EC2 creates an ENI with one or the other"
	// +kubebuilder:validation:XValidation:rule="!self.?primaryIPv6.orValue(false) || (self.?addresses.orValue(1) > 0 && self.?prefixes.orValue(0) == 0)",fieldPath=".primaryIPv6",message="primaryIPv6 requires an IPv6 address, and a prefix does not count as one: set addresses to 1 or more"
	IPv6 *IPv6 `json:"ipv6,omitempty"`
	// connectionTracking sets how long EC2 tracks idle connections for the ENI's security
	// groups. Nitro instance types only. Changes apply to existing ENIs, but removing a
	// timeout or setting it to 0 does not reset it. Optional.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.?tcpEstablishedTimeout.orValue(0) == 0 || (self.tcpEstablishedTimeout >= 60 && self.tcpEstablishedTimeout <= 432000)",fieldPath=".tcpEstablishedTimeout",message="must be 0, which means EC2's default, or from 60 to 432000 seconds"
	// +kubebuilder:validation:XValidation:rule="self.?udpTimeout.orValue(0) == 0 || (self.udpTimeout >= 30 && self.udpTimeout <= 60)",fieldPath=".udpTimeout",message="must be 0, which means EC2's default, or from 30 to 60 seconds"
	// +kubebuilder:validation:XValidation:rule="self.?udpStreamTimeout.orValue(0) == 0 || (self.udpStreamTimeout >= 60 && self.udpStreamTimeout <= 180)",fieldPath=".udpStreamTimeout",message="must be 0, which means EC2's default, or from 60 to 180 seconds"
	ConnectionTracking *ConnectionTracking `json:"connectionTracking,omitempty"`
	// enaExpress enables ENA Express. The instance types at both ends of a connection must
	// support it. Changes apply to existing ENIs. Optional; ENA Express is disabled by
	// default.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self.?enabled.orValue(false) || !self.?udp.orValue(false)",fieldPath=".udp",message="requires enabled: true, because ENA Express carries UDP only where it is enabled"
	ENAExpress *ENAExpress `json:"enaExpress,omitempty"`
	// enaQueues is the number of ENA queues of each ENI, from 1 to 256, on instance types
	// with flexible ENA queues. The default of 0 selects the instance type's default for
	// new ENIs and does not change existing ones.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 256",message="must be 0, which means the instance type's default, or from 1 to 256"
	ENAQueues int32 `json:"enaQueues,omitempty"`
	// description is the description of the ENIs in EC2. Changes apply to existing ENIs.
	// Optional; at most 255 characters, without control characters. Default "NodeENI" and
	// the name of this NodeENI.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:XValidation:rule="self.matches('^[^\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f]*$')",message="must not contain control characters"
	Description string `json:"description,omitempty"`
	// addressing controls who puts the ENI's addresses on its link. With None, nothing
	// does: the agent only brings the link up and sets its MTU, as a Multus parent needs.
	// With Host, the agent adds the addresses and sets up policy routing. Changes apply to
	// existing links. Default None.
	//
	// +optional
	// +default="None"
	Addressing Addressing `json:"addressing,omitempty"`
	// pods reserves the ENI's secondary addresses and prefixes for pods, which the CNI
	// plugin eni attaches. The node advertises them as the extended resource
	// networking.k8s.aws/NAME, where NAME is the name of this NodeENI. Requires agents with
	// --pods (pods.enabled in the Helm chart). Optional; set it to {}.
	//
	// +optional
	Pods *Pods `json:"pods,omitempty"`
	// attach controls when nodes get the ENIs. With Always, each selected node gets them at
	// once. With OnDemand, a node gets an ENI only when a pod claims one with a
	// ResourceClaim, and the pod gets the whole ENI. Cannot be changed. Default Always.
	//
	// +optional
	// +default="Always"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="cannot be changed, because pods may use the ENIs: delete the NodeENI and create it again"
	Attach Attach `json:"attach,omitempty"`
	// interfaceName is the name of the link, so that it is the same on every node. Changes
	// rename existing links. If the node has several ENIs of this NodeENI, the second is
	// named with the suffix "-1", the third with "-2", and so on. Optional; at most 15
	// letters, digits, '-', '_', and '.', including the suffix, and not eth0, lo, all, or
	// default. By default, the link keeps the name that the operating system gave it.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^([A-Za-z0-9_][-A-Za-z0-9_.]{0,14})?$')",message="must be a valid link name: at most 15 letters, digits, '-', '_', and '.', starting with a letter, a digit, or '_'"
	// +kubebuilder:validation:XValidation:rule="!(self in ['eth0', 'lo', 'all', 'default'])",message="must not be eth0 or lo, which the node itself uses, or all or default, which the kernel refuses"
	InterfaceName string `json:"interfaceName,omitempty"`
	// tags are added to each ENI when it is created. Changes apply only to ENIs created
	// afterwards. Optional; at most 40, because EC2 allows 50 and aws-multi-eni adds its
	// own. A key has 1 to 128 characters, and a value at most 256. Keys must not start with
	// aws:, networking.k8s.aws/, or node.k8s.amazonaws.com/.
	//
	// +optional
	// +kubebuilder:validation:MaxProperties=40
	// +kubebuilder:validation:XValidation:rule="self.all(k, k.size() >= 1 && k.size() <= 128)",message="a tag key must have 1 to 128 characters"
	// +kubebuilder:validation:XValidation:rule="self.all(k, self[k].size() <= 256)",message="a tag value must have at most 256 characters"
	// +kubebuilder:validation:XValidation:rule="!self.exists(k, k.matches('^(?i:aws:)'))",message="keys that start with 'aws:' are reserved for AWS"
	// +kubebuilder:validation:XValidation:rule="!self.exists(k, k.startsWith('networking.k8s.aws/') || k.startsWith('node.k8s.amazonaws.com/'))",message="keys that start with 'networking.k8s.aws/' or 'node.k8s.amazonaws.com/' are reserved for the agent, which marks its ENIs with them"
	Tags map[string]string `json:"tags,omitempty"`

	// interfaceType is the type of the ENIs. The only allowed value is interface, which is
	// also the default. The field exists so that other types are refused with an
	// explanation: EC2 cannot attach an EFA to a running instance.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self in ['', 'interface']",message="must be interface: EC2 attaches efa and efa-only interfaces only when it launches an instance, so add them to the launch template"
	InterfaceType string `json:"interfaceType,omitempty"`
	// privateIPAddress must not be set. The field exists so that a fixed address is refused
	// with an explanation.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self == ''",message="cannot be set, because a NodeENI creates an ENI on every node that it selects, and two ENIs in a VPC cannot have the same address: EC2 chooses addresses from the subnet"
	PrivateIPAddress string `json:"privateIPAddress,omitempty"`
	// associatePublicIPAddress must not be true. The field exists so that a public address
	// is refused with an explanation.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self",message="cannot be true, because EC2 assigns public addresses only to primary ENIs, and only when it launches an instance: associate an Elastic IP address with the ENI in EC2, or use a NAT gateway"
	AssociatePublicIPAddress bool `json:"associatePublicIPAddress,omitempty"`
}

// ConditionReady is the type of the NodeENI condition that is True while every
// matching node has every ENI.
const ConditionReady = "Ready"

// ConditionCleanupBlocked is the type of the NodeENI condition that exists, and is True,
// while the coordinator deletes no ENIs of the NodeENI because EC2 contradicts the Nodes
// or the agents' reports.
const ConditionCleanupBlocked = "CleanupBlocked"

// NodeENIStatus is the status of a NodeENI. The coordinator writes it from the agents'
// reports.
type NodeENIStatus struct {
	// observedGeneration is the metadata.generation that this status describes.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions are Ready, which is True when every matching node has every ENI, and
	// CleanupBlocked, which is present and True while the coordinator does not delete ENIs
	// because EC2 contradicts the Nodes or the agents' reports.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// nodes counts the nodes that the selector matches.
	//
	// +optional
	Nodes NodeCounts `json:"nodes,omitempty"`
	// attachments lists up to 100 ENIs. It shows one ENI of each node, Failed ones first,
	// before a second ENI of any node.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Attachments []Attachment `json:"attachments,omitempty"`
}

// NodeCounts counts the nodes of a NodeENI.
type NodeCounts struct {
	// matching is the number of nodes that the selector matches.
	Matching int32 `json:"matching"`
	// ready is the number of matching nodes on which every ENI of the NodeENI is Ready.
	Ready int32 `json:"ready"`
	// failed is the number of matching nodes that report a problem which you must fix, such
	// as an ENI in the phase Failed.
	Failed int32 `json:"failed"`
}

// Attachment is one ENI of a NodeENI on one node.
type Attachment struct {
	// nodeID is the name of the node.
	//
	// +kubebuilder:validation:MaxLength=253
	NodeID string `json:"nodeID"`
	// instanceID is the ID of the node's EC2 instance.
	//
	// +kubebuilder:validation:MaxLength=64
	InstanceID string `json:"instanceID"`
	// eniID is the ID of the ENI. Empty until EC2 has created it.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ENIID string `json:"eniID,omitempty"`
	// attachmentID is the ID of the attachment. Empty while the ENI is not attached.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	AttachmentID string `json:"attachmentID,omitempty"`
	// subnetID is the ID of the ENI's subnet.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=64
	SubnetID string `json:"subnetID,omitempty"`
	// subnetCIDR is the IPv4 range of the subnet.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=43
	SubnetCIDR string `json:"subnetCIDR,omitempty"`
	// networkCard is the index of the ENI's network card.
	//
	// +optional
	NetworkCard int32 `json:"networkCard,omitempty"`
	// deviceIndex is the ENI's device index on the network card, or the one that it will
	// get.
	//
	// +optional
	DeviceIndex int32 `json:"deviceIndex,omitempty"`
	// mtu is the current MTU of the link, in bytes.
	//
	// +optional
	MTU int32 `json:"mtu,omitempty"`
	// status is the phase that the node's agent reports.
	//
	// +kubebuilder:validation:MaxLength=64
	Status string `json:"status"`
	// message describes what the agent is waiting for, or what is wrong and how to fix it.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// lastUpdated is the time at which the phase or its reason last changed.
	//
	// +optional
	LastUpdated metav1.Time `json:"lastUpdated,omitempty"`
}

// NodeENI requests ENIs for every node that its selector matches.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=neni
// +kubebuilder:printcolumn:name="Matching",type=integer,JSONPath=`.status.nodes.matching`,description="Number of nodes that the selector matches"
// +kubebuilder:printcolumn:name="Ready",type=integer,JSONPath=`.status.nodes.ready`,description="Number of nodes on which every ENI is ready"
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.nodes.failed`,description="Number of nodes that report a problem which you must fix"
// +kubebuilder:printcolumn:name="Subnets",type=string,JSONPath=`.spec['subnetIDs','subnetNames','subnetID','subnetName']`,description="Subnets, by ID and by Name tag"
// +kubebuilder:printcolumn:name="Card",type=integer,JSONPath=`.spec.networkCard`,priority=1,description="Index of the network card"
// +kubebuilder:printcolumn:name="Device",type=integer,JSONPath=`.spec.deviceIndex`,priority=1,description="Preferred device index of the first ENI"
// +kubebuilder:printcolumn:name="Addressing",type=string,JSONPath=`.spec.addressing`,priority=1,description="Who puts the ENIs' addresses on the links"
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1,description="Message of the condition Ready"
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

// Selects reports whether the NodeENI selects a node with these labels. An empty selector,
// which the schema refuses, selects no node.
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
