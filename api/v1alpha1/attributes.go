package v1alpha1

// IPv4 is what an ENI has in IPv4 in addition to its primary address: secondary
// addresses or prefixes. The instance type limits how many.
type IPv4 struct {
	// SecondaryAddresses is the number of secondary IPv4 addresses, which EC2 chooses.
	// It can only grow.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 128",message="must be from 0 to 128; the instance type limits how many an ENI can have"
	SecondaryAddresses int32 `json:"secondaryAddresses,omitempty"`
	// Prefixes is the number of IPv4 prefixes (/28), each of which has 16 addresses and
	// counts as one address of the instance type's limit. It can only grow.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 128",message="must be from 0 to 128; the instance type limits how many an ENI can have"
	Prefixes int32 `json:"prefixes,omitempty"`
}

// IPv6 is what an ENI has in IPv6: addresses or prefixes. The instance type limits how
// many.
type IPv6 struct {
	// Addresses is the number of IPv6 addresses, which EC2 chooses. With 0, a new ENI
	// gets none even if its subnet assigns one to each. It can only grow.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 128",message="must be from 0 to 128; the instance type limits how many an ENI can have"
	Addresses *int32 `json:"addresses,omitempty"`
	// Prefixes is the number of IPv6 prefixes (/80), each of which counts as one address of the
	// instance type's limit. It can only grow.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 128",message="must be from 0 to 128; the instance type limits how many an ENI can have"
	Prefixes int32 `json:"prefixes,omitempty"`
	// PrimaryIPv6 makes the first IPv6 address the primary one (EnablePrimaryIpv6),
	// which does not change while the ENI is attached. Once true, it stays true.
	//
	// +optional
	PrimaryIPv6 bool `json:"primaryIPv6,omitempty"`
}

// ConnectionTracking are the idle timeouts of EC2's connection tracking, in seconds.
type ConnectionTracking struct {
	// TCPEstablishedTimeout is the timeout of established TCP connections. 0 is EC2's
	// default: 350 on Nitro v6 instance types, and 432000, five days, on others.
	//
	// +optional
	TCPEstablishedTimeout int32 `json:"tcpEstablishedTimeout,omitempty"`
	// UDPTimeout is the timeout of UDP flows with traffic in one direction only, or with
	// a single request and response. 0 is EC2's default: 30.
	//
	// +optional
	UDPTimeout int32 `json:"udpTimeout,omitempty"`
	// UDPStreamTimeout is the timeout of UDP flows with more than one request and
	// response. 0 is EC2's default: 180.
	//
	// +optional
	UDPStreamTimeout int32 `json:"udpStreamTimeout,omitempty"`
}

// ENAExpress is the use of ENA Express (SRD).
type ENAExpress struct {
	// Enabled switches ENA Express on, for TCP.
	//
	// +optional
	Enabled bool `json:"enabled,omitempty"`
	// UDP switches it on for UDP, too.
	//
	// +optional
	UDP bool `json:"udp,omitempty"`
}

// Pods says how pods use an ENI. It has no fields yet: what a pod's interface is like is
// said by the NetworkAttachmentDefinition.
type Pods struct{}
