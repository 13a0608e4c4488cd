package query

import "github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"

type describeInstanceTypesResponse struct {
	envelope
	Types     []xmlInstanceType `xml:"instanceTypeSet>item"`
	NextToken string            `xml:"nextToken,omitempty"`
}

type xmlInstanceType struct {
	Name              string         `xml:"instanceType"`
	CurrentGeneration bool           `xml:"currentGeneration"`
	BareMetal         bool           `xml:"bareMetal"`
	Hypervisor        string         `xml:"hypervisor"`
	Network           xmlNetworkInfo `xml:"networkInfo"`
}

type xmlNetworkInfo struct {
	MaxInterfaces       int                  `xml:"maximumNetworkInterfaces"`
	MaxCards            int                  `xml:"maximumNetworkCards"`
	DefaultCard         int                  `xml:"defaultNetworkCardIndex"`
	Cards               []xmlNetworkCard     `xml:"networkCards>item"`
	IPv4PerInterface    int                  `xml:"ipv4AddressesPerInterface"`
	IPv6PerInterface    int                  `xml:"ipv6AddressesPerInterface"`
	IPv6Supported       bool                 `xml:"ipv6Supported"`
	ENASupport          string               `xml:"enaSupport"`
	EnaSrdSupported     bool                 `xml:"enaSrdSupported"`
	FlexibleQueues      string               `xml:"flexibleEnaQueuesSupport"`
	EFASupported        bool                 `xml:"efaSupported"`
	EncryptionInTransit bool                 `xml:"encryptionInTransitSupported"`
	ConnectionTracking  *xmlDefaultConntrack `xml:"connectionTrackingConfiguration"`
}

type xmlDefaultConntrack struct {
	TCPEstablished int32 `xml:"defaultTcpEstablishedTimeout"`
	UDPStream      int32 `xml:"defaultUdpStreamTimeout"`
	UDP            int32 `xml:"defaultUdpTimeout"`
}

type xmlNetworkCard struct {
	Index         int      `xml:"networkCardIndex"`
	MaxInterfaces int      `xml:"maximumNetworkInterfaces"`
	Additional    int      `xml:"additionalFlexibleNetworkInterfaces"`
	Types         []string `xml:"interfaceTypeSet>item"`
	DefaultQueues int32    `xml:"defaultEnaQueueCountPerInterface"`
	MaxQueues     int32    `xml:"maximumEnaQueueCount"`
	MaxPerENI     int32    `xml:"maximumEnaQueueCountPerInterface"`
}

func showInstanceType(t cloud.InstanceType) xmlInstanceType {
	network := xmlNetworkInfo{
		MaxInterfaces:    t.MaxENIs,
		MaxCards:         t.NetworkCards,
		IPv4PerInterface: t.IPv4PerENI,
		IPv6PerInterface: t.IPv6PerENI,
		IPv6Supported:    !t.NoIPv6,
		ENASupport:       "unsupported",
		EnaSrdSupported:  t.EnaSrd,
		EFASupported:     t.EFA,
		FlexibleQueues:   "unsupported",
	}
	if t.Hypervisor == cloud.HypervisorNitro {
		network.ENASupport = "required"
		network.ConnectionTracking = &xmlDefaultConntrack{TCPEstablished: t.TCPEstablishedTimeout, UDPStream: 180, UDP: 30}
	}
	if t.EnaQueues.Flexible {
		network.FlexibleQueues = "supported"
	}
	interfaceTypes := []string{cloud.TypeInterface}
	if t.EFA {
		interfaceTypes = append(interfaceTypes, cloud.TypeEFA, cloud.TypeEFAOnly)
	}
	for card := range t.NetworkCards {
		network.Cards = append(network.Cards, xmlNetworkCard{
			Index:         card,
			MaxInterfaces: t.PerCard(),
			Additional:    t.EnaQueues.AdditionalENIs,
			Types:         interfaceTypes,
			DefaultQueues: t.EnaQueues.Default,
			MaxQueues:     t.EnaQueues.MaxPerCard,
			MaxPerENI:     t.EnaQueues.MaxPerENI,
		})
	}
	return xmlInstanceType{Name: t.Name, CurrentGeneration: true, Hypervisor: t.Hypervisor, Network: network}
}
