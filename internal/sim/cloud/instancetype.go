package cloud

import "slices"

// Hypervisors, by EC2's names.
const (
	HypervisorNitro = "nitro"
	HypervisorXen   = "xen"
)

// InstanceType says which ENIs an instance can carry.
type InstanceType struct {
	Name string `json:"name"`
	// Hypervisor is nitro (default) or xen, which has no prefixes, no settings of
	// connection tracking and no ENA Express.
	Hypervisor   string `json:"hypervisor,omitempty"`
	MaxENIs      int    `json:"maxENIs"`                // over all cards
	NetworkCards int    `json:"networkCards,omitempty"` // default 1; each takes the same number of ENIs
	// MaxDeviceIndex is the highest device index; 0: any is taken.
	MaxDeviceIndex int32 `json:"maxDeviceIndex,omitempty"`
	// IPv4PerENI and IPv6PerENI count an ENI's addresses and prefixes together, with
	// its primary address.
	IPv4PerENI int  `json:"ipv4PerENI"`
	IPv6PerENI int  `json:"ipv6PerENI,omitempty"` // default: as many as of IPv4
	NoIPv6     bool `json:"noIPv6,omitempty"`
	EnaSrd     bool `json:"enaSrd,omitempty"` // ENA Express
	EFA        bool `json:"efa,omitempty"`    // Elastic Fabric Adapters, on every card
	// TCPEstablishedTimeout of connection tracking in seconds, where an ENI sets
	// none: 350 on Nitro v6, 432000 (default) before.
	TCPEstablishedTimeout int32     `json:"tcpEstablishedTimeout,omitempty"`
	EnaQueues             EnaQueues `json:"enaQueues,omitzero"`
}

// EnaQueues are an instance type's numbers of ENA queues.
type EnaQueues struct {
	Flexible   bool  `json:"flexible,omitempty"`   // an attachment can choose its number
	Default    int32 `json:"default,omitempty"`    // of an ENI; default 2
	MaxPerENI  int32 `json:"maxPerENI,omitempty"`  // default: Default
	MaxPerCard int32 `json:"maxPerCard,omitempty"` // default: MaxPerENI on every ENI
	// AdditionalENIs is how many more ENIs than its share of MaxENIs a card takes,
	// "when using flexible Elastic Network Adapter (ENA) queues": here, those that are
	// attached with a number of queues.
	// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkCardInfo.html
	AdditionalENIs int `json:"additionalENIs,omitempty"`
}

// builtinTypes are real instance types. Their ENIs, addresses and cards are those
// that AWS documents, but for the addresses of m8i, which are those of m7i here. The
// queues of m6i are those of
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ena-queues.html, those of the
// other types are not verified.
var builtinTypes = []InstanceType{
	{Name: "t2.micro", Hypervisor: HypervisorXen, MaxENIs: 2, IPv4PerENI: 2},
	{Name: "t3.nano", MaxENIs: 2, IPv4PerENI: 2},
	{Name: "t3.micro", MaxENIs: 2, IPv4PerENI: 2},
	{Name: "t3.small", MaxENIs: 3, IPv4PerENI: 4},
	{Name: "t3.medium", MaxENIs: 3, IPv4PerENI: 6},
	{Name: "t3.large", MaxENIs: 3, IPv4PerENI: 12},
	{Name: "m4.large", Hypervisor: HypervisorXen, MaxENIs: 2, IPv4PerENI: 10},
	{Name: "m5.large", MaxENIs: 3, IPv4PerENI: 10},
	{Name: "m5.xlarge", MaxENIs: 4, IPv4PerENI: 15},
	{Name: "m5.2xlarge", MaxENIs: 4, IPv4PerENI: 15},
	{Name: "m5.4xlarge", MaxENIs: 8, IPv4PerENI: 30},
	{Name: "m6i.large", MaxENIs: 3, IPv4PerENI: 10, EnaQueues: EnaQueues{Flexible: true, Default: 2, MaxPerENI: 2, MaxPerCard: 6}},
	{Name: "m6i.xlarge", MaxENIs: 4, IPv4PerENI: 15, EnaQueues: EnaQueues{Flexible: true, Default: 4, MaxPerENI: 4, MaxPerCard: 16}},
	{Name: "m6i.8xlarge", MaxENIs: 8, IPv4PerENI: 30, EnaSrd: true, EnaQueues: EnaQueues{Flexible: true, Default: 8, MaxPerENI: 32, MaxPerCard: 64}},
	{Name: "m8i.large", MaxENIs: 3, IPv4PerENI: 10, TCPEstablishedTimeout: 350},
	{Name: "m8i.24xlarge", MaxENIs: 15, IPv4PerENI: 50, EnaSrd: true, TCPEstablishedTimeout: 350, EnaQueues: EnaQueues{Flexible: true, Default: 8, MaxPerENI: 32, MaxPerCard: 128}},
	{Name: "c5.large", MaxENIs: 3, IPv4PerENI: 10},
	{Name: "c5.xlarge", MaxENIs: 4, IPv4PerENI: 15},
	{Name: "c5.4xlarge", MaxENIs: 8, IPv4PerENI: 30, EnaQueues: EnaQueues{Default: 8}},
	{Name: "c5n.18xlarge", MaxENIs: 15, IPv4PerENI: 50, EFA: true, EnaQueues: EnaQueues{Default: 8}},
	{Name: "p4d.24xlarge", MaxENIs: 60, IPv4PerENI: 50, NetworkCards: 4, EFA: true, EnaQueues: EnaQueues{Default: 8}},
}

// withDefaults fills in what the type leaves open.
func (t InstanceType) withDefaults() InstanceType {
	setDefault(&t.Hypervisor, HypervisorNitro)
	setDefault(&t.NetworkCards, 1)
	setDefault(&t.TCPEstablishedTimeout, 432000)
	if !t.NoIPv6 {
		setDefault(&t.IPv6PerENI, t.IPv4PerENI)
	}
	setDefault(&t.EnaQueues.Default, 2)
	setDefault(&t.EnaQueues.MaxPerENI, t.EnaQueues.Default)
	setDefault(&t.EnaQueues.MaxPerCard, t.EnaQueues.MaxPerENI*int32(t.PerCard()))
	return t
}

// PerCard is how many ENIs each network card takes.
func (t InstanceType) PerCard() int { return t.MaxENIs / max(1, t.NetworkCards) }

// validate reports what is wrong with a type whose defaults are filled in.
func (t InstanceType) validate(wrong func(string, ...any)) {
	if t.MaxENIs < 1 || t.IPv4PerENI < 1 || t.IPv6PerENI < 0 || t.NetworkCards < 1 || t.NetworkCards > t.MaxENIs {
		wrong("instance type %s: maxENIs %d, ipv4PerENI %d, ipv6PerENI %d, networkCards %d: want 1 or more, and an ENI per card",
			t.Name, t.MaxENIs, t.IPv4PerENI, t.IPv6PerENI, t.NetworkCards)
	}
	if !slices.Contains([]string{HypervisorNitro, HypervisorXen}, t.Hypervisor) {
		wrong("instance type %s: hypervisor %q: want %s or %s", t.Name, t.Hypervisor, HypervisorNitro, HypervisorXen)
	}
	q := t.EnaQueues
	if q.Default < 1 || q.MaxPerENI < q.Default || q.MaxPerCard < q.MaxPerENI {
		wrong("instance type %s: enaQueues: default %d, maxPerENI %d, maxPerCard %d: want 1 or more, in rising order",
			t.Name, q.Default, q.MaxPerENI, q.MaxPerCard)
	}
	if q.AdditionalENIs < 0 || q.AdditionalENIs > 0 && !q.Flexible {
		wrong("instance type %s: enaQueues: additionalENIs %d: want 0 or more, and flexible queues", t.Name, q.AdditionalENIs)
	}
}

// checkHost says whether an ENI's instance, if it has one, can carry it as it is to
// be.
func (c *Cloud) checkHost(i *Interface) error {
	if i.Attachment == nil {
		return nil
	}
	return c.typeOf(i.Attachment.InstanceID).checkENI(i)
}

// typeOf is the type of an existing instance.
func (c *Cloud) typeOf(instanceID string) InstanceType {
	return c.types[c.instances[instanceID].history.latest().Type]
}

// checkENI says whether an instance of the type can carry an ENI. Only the code for
// too many IPv4 addresses is verified:
// https://github.com/aws/amazon-vpc-cni-k8s/issues/989
func (t InstanceType) checkENI(i *Interface) error {
	prefixes := len(i.IPv4Prefixes) + len(i.IPv6Prefixes)
	switch {
	case i.assigned(ipv4).slots() > t.IPv4PerENI:
		return Errorf("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")
	case i.assigned(ipv6).slots() > t.IPv6PerENI:
		return Errorf("PrivateIpAddressLimitExceeded", "Number of IPv6 addresses will exceed limit.")
	case i.isEFA() && !t.EFA:
		return t.unsupported("Elastic Fabric Adapters")
	case t.Hypervisor == HypervisorXen && prefixes > 0:
		return t.unsupported("prefixes")
	case t.Hypervisor == HypervisorXen && i.ConnectionTracking != (ConnectionTracking{}):
		return t.unsupported("a connection tracking specification")
	}
	return nil
}

// unsupported refuses what the type does not have. EC2's codes for that are not
// verified.
func (t InstanceType) unsupported(what string) error {
	return Errorf("UnsupportedOperation", "The instance type '%s' does not support %s", t.Name, what)
}
