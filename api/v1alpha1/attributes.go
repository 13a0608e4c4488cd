package v1alpha1

// IPv4 is the number of secondary IPv4 addresses or IPv4 prefixes of an ENI. The
// instance type limits how many an ENI can have.
type IPv4 struct {
	// secondaryAddresses is the number of secondary IPv4 addresses. EC2 chooses the
	// addresses. From 0 to 128, default 0; the instance type limits it further. It can be
	// raised, but not lowered. Mutually exclusive with prefixes.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 128",message="must be from 0 to 128; the instance type limits how many an ENI can have"
	SecondaryAddresses int32 `json:"secondaryAddresses,omitempty"`
	// prefixes is the number of IPv4 prefixes (/28). A prefix has 16 addresses and counts
	// as one address toward the instance type's limit. Nitro instance types only. From 0 to
	// 128, default 0. It can be raised, but not lowered.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 128",message="must be from 0 to 128; the instance type limits how many an ENI can have"
	Prefixes int32 `json:"prefixes,omitempty"`
}

// IPv6 is the number of IPv6 addresses or IPv6 prefixes of an ENI. The instance type
// limits how many an ENI can have.
type IPv6 struct {
	// addresses is the number of IPv6 addresses. EC2 chooses the addresses. From 0 to 128;
	// the instance type limits it further. With 0, a new ENI gets no IPv6 address even if
	// its subnet assigns one to every new ENI. It can be raised, but not lowered. Mutually
	// exclusive with prefixes.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 128",message="must be from 0 to 128; the instance type limits how many an ENI can have"
	Addresses *int32 `json:"addresses,omitempty"`
	// prefixes is the number of IPv6 prefixes (/80). A prefix counts as one address toward
	// the instance type's limit. Nitro instance types only. From 0 to 128, default 0. It
	// can be raised, but not lowered.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="self >= 0 && self <= 128",message="must be from 0 to 128; the instance type limits how many an ENI can have"
	Prefixes int32 `json:"prefixes,omitempty"`
	// primaryIPv6 makes the first IPv6 address the ENI's primary one (EnablePrimaryIpv6 in
	// EC2), which does not change while the ENI is attached. If addresses is unset, it also
	// requests one address. It cannot be set back to false. Default false.
	//
	// +optional
	PrimaryIPv6 bool `json:"primaryIPv6,omitempty"`
}

// ConnectionTracking are the idle timeouts of EC2's connection tracking.
type ConnectionTracking struct {
	// tcpEstablishedTimeout is the idle timeout of established TCP connections, in seconds,
	// from 60 to 432000 (5 days). The default of 0 selects EC2's default: 350 on Nitro v6
	// instance types, 432000 on others.
	//
	// +optional
	TCPEstablishedTimeout int32 `json:"tcpEstablishedTimeout,omitempty"`
	// udpTimeout is the idle timeout, in seconds, of UDP flows that have traffic in only
	// one direction, or a single request and response, from 30 to 60. The default of 0
	// selects EC2's default, 30.
	//
	// +optional
	UDPTimeout int32 `json:"udpTimeout,omitempty"`
	// udpStreamTimeout is the idle timeout, in seconds, of UDP flows with more than one
	// request and response, from 60 to 180. The default of 0 selects EC2's default, 180.
	//
	// +optional
	UDPStreamTimeout int32 `json:"udpStreamTimeout,omitempty"`
}

// ENAExpress is the ENA Express (SRD) setting of an ENI.
type ENAExpress struct {
	// enabled turns on ENA Express for TCP. Default false.
	//
	// +optional
	Enabled bool `json:"enabled,omitempty"`
	// udp also turns on ENA Express for UDP. Requires enabled. Default false.
	//
	// +optional
	UDP bool `json:"udp,omitempty"`
}

// Pods marks an ENI as one for pods. It has no fields: the NetworkAttachmentDefinition
// describes the pod's interface.
type Pods struct{}
