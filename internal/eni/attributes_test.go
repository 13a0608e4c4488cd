package eni

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// heard answers as heedless does, and keeps the parameters of each request, but for
// those that all requests have.
type heard struct {
	heedless
	requests []string
}

func (h *heard) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	var parts []string
	for key, values := range form {
		if key != "Version" && key != "ClientToken" && !strings.HasPrefix(key, "TagSpecification") {
			parts = append(parts, key+"="+strings.Join(values, ","))
		}
	}
	slices.Sort(parts)
	h.requests = append(h.requests, strings.Join(parts, " "))
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	return h.heedless.Do(r)
}

func (h *heard) client() *Client {
	return NewClient(aws.Config{Region: "us-east-1", HTTPClient: h, Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")})
}

// Each attribute is one call, or part of the create or attach call, and what is left to
// EC2 is not in the request.
func TestRequests(t *testing.T) {
	const create = "Action=CreateNetworkInterface Description=d SecurityGroupId.1=sg-1 SecurityGroupId.2=sg-2 SubnetId=subnet-1"
	const attach = "Action=AttachNetworkInterface DeviceIndex=2"
	const modify = "Action=ModifyNetworkInterfaceAttribute"
	creating := func(change func(*CreateParams)) func(c *Client) error {
		return func(c *Client) error {
			p := params()
			change(&p)
			_, err := c.Create(t.Context(), p)
			return err
		}
	}
	attaching := func(p AttachParams) func(c *Client) error {
		return func(c *Client) error {
			p.ENIID, p.InstanceID, p.DeviceIndex = "eni-1", "i-1", 2
			_, err := c.Attach(t.Context(), p)
			return err
		}
	}
	for _, test := range []struct {
		name string
		call func(c *Client) error
		want string // the one request
	}{
		{"create", creating(func(*CreateParams) {}), create},
		{"create with secondary addresses", creating(func(p *CreateParams) { p.SecondaryAddresses = 4 }), create + " SecondaryPrivateIpAddressCount=4"},
		{"create with prefixes", creating(func(p *CreateParams) { p.IPv4Prefixes, p.IPv6Prefixes = 2, 1 }), create + " Ipv4PrefixCount=2 Ipv6PrefixCount=1"},
		{"create with IPv6 addresses", creating(func(p *CreateParams) { p.IPv6Addresses, p.PrimaryIPv6 = aws.Int32(2), true }), create + " EnablePrimaryIpv6=true Ipv6AddressCount=2"},
		{"create without IPv6 addresses, whatever the subnet's default", creating(func(p *CreateParams) { p.IPv6Addresses = aws.Int32(0) }), create + " Ipv6AddressCount=0"},
		{"create with timeouts", creating(func(p *CreateParams) {
			p.ConnectionTracking = ConnectionTracking{TCPEstablishedTimeout: 350, UDPTimeout: 30, UDPStreamTimeout: 60}
		}),
			create + " ConnectionTrackingSpecification.TcpEstablishedTimeout=350 ConnectionTrackingSpecification.UdpStreamTimeout=60 ConnectionTrackingSpecification.UdpTimeout=30"},
		{"create with one timeout", creating(func(p *CreateParams) { p.ConnectionTracking.TCPEstablishedTimeout = 350 }),
			create + " ConnectionTrackingSpecification.TcpEstablishedTimeout=350"},

		{"attach", attaching(AttachParams{}), attach + " InstanceId=i-1 NetworkCardIndex=0 NetworkInterfaceId=eni-1"},
		{"attach to another card", attaching(AttachParams{Card: 3}), attach + " InstanceId=i-1 NetworkCardIndex=3 NetworkInterfaceId=eni-1"},
		{"attach with ENA Express", attaching(AttachParams{ENAExpress: ENAExpress{Enabled: true}}),
			attach + " EnaSrdSpecification.EnaSrdEnabled=true EnaSrdSpecification.EnaSrdUdpSpecification.EnaSrdUdpEnabled=false InstanceId=i-1 NetworkCardIndex=0 NetworkInterfaceId=eni-1"},
		{"attach with ENA queues", attaching(AttachParams{ENAQueues: 8}), attach + " EnaQueueCount=8 InstanceId=i-1 NetworkCardIndex=0 NetworkInterfaceId=eni-1"},

		{"timeouts", func(c *Client) error {
			return c.SetConnectionTracking(t.Context(), "eni-1", ConnectionTracking{UDPTimeout: 60})
		}, modify + " ConnectionTrackingSpecification.UdpTimeout=60 NetworkInterfaceId=eni-1"},
		{"ENA Express on", func(c *Client) error { return c.SetENAExpress(t.Context(), "eni-1", ENAExpress{true, true}) },
			modify + " EnaSrdSpecification.EnaSrdEnabled=true EnaSrdSpecification.EnaSrdUdpSpecification.EnaSrdUdpEnabled=true NetworkInterfaceId=eni-1"},
		{"ENA Express off", func(c *Client) error { return c.SetENAExpress(t.Context(), "eni-1", ENAExpress{}) },
			modify + " EnaSrdSpecification.EnaSrdEnabled=false EnaSrdSpecification.EnaSrdUdpSpecification.EnaSrdUdpEnabled=false NetworkInterfaceId=eni-1"},
		{"ENA queues", func(c *Client) error { return c.SetENAQueues(t.Context(), "eni-1", "eni-attach-1", 4) },
			modify + " Attachment.AttachmentId=eni-attach-1 Attachment.EnaQueueCount=4 NetworkInterfaceId=eni-1"},
		{"the default number of ENA queues", func(c *Client) error { return c.SetENAQueues(t.Context(), "eni-1", "eni-attach-1", 0) },
			modify + " Attachment.AttachmentId=eni-attach-1 Attachment.DefaultEnaQueueCount=true NetworkInterfaceId=eni-1"},
		{"a primary IPv6 address", func(c *Client) error { return c.SetPrimaryIPv6(t.Context(), "eni-1") }, modify + " EnablePrimaryIpv6=true NetworkInterfaceId=eni-1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := &heard{heedless: heedless{
				"CreateNetworkInterface":          "<networkInterface><networkInterfaceId>eni-1</networkInterfaceId></networkInterface>",
				"AttachNetworkInterface":          "<attachmentId>eni-attach-1</attachmentId>",
				"ModifyNetworkInterfaceAttribute": "<return>true</return>",
			}}
			if err := test.call(h.client()); err != nil {
				t.Fatal(err)
			}
			want := strings.Fields(test.want)
			slices.Sort(want)
			if want := strings.Join(want, " "); !slices.Equal(h.requests, []string{want}) {
				t.Errorf("got  %q\nwant %q", h.requests, want)
			}
		})
	}
}

func addrs(texts ...string) (all []netip.Addr) {
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

// An answer that does not hold what was asked for tells nothing: a describe has to.
func TestAssign(t *testing.T) {
	set := func(name, element string, values ...string) string {
		var items strings.Builder
		for _, v := range values {
			if element != "" {
				v = fmt.Sprintf("<%[1]s>%[2]s</%[1]s>", element, v)
			}
			fmt.Fprintf(&items, "<item>%s</item>", v)
		}
		return fmt.Sprintf("<%[1]s>%[2]s</%[1]s>", name, &items)
	}
	const v4, v6 = "AssignPrivateIpAddresses", "AssignIpv6Addresses"
	address4, prefix4 := "assignedPrivateIpAddressesSet", "assignedIpv4PrefixSet"
	address6, prefix6 := "assignedIpv6Addresses", "assignedIpv6PrefixSet"
	for _, test := range []struct {
		name                string
		action              string
		addresses, prefixes int32
		answer              string
		request             string
		want                Assigned // none of it is an error
	}{
		{"two addresses", v4, 2, 0, set(address4, "privateIpAddress", "10.0.0.7", "10.0.0.8"), "SecondaryPrivateIpAddressCount=2", Assigned{Addresses: addrs("10.0.0.7", "10.0.0.8")}},
		{"a prefix", v4, 0, 1, set(prefix4, "ipv4Prefix", "10.0.0.16/28"), "Ipv4PrefixCount=1", Assigned{Prefixes: []string{"10.0.0.16/28"}}},
		{"an IPv6 address", v6, 1, 0, set(address6, "", "2001:db8::7"), "Ipv6AddressCount=1", Assigned{Addresses: addrs("2001:db8::7")}},
		{"two IPv6 prefixes", v6, 0, 2, set(prefix6, "", "2001:db8::/80", "2001:db8:0:0:1::/80"), "Ipv6PrefixCount=2", Assigned{Prefixes: []string{"2001:db8::/80", "2001:db8:0:0:1::/80"}}},

		{"one address of two", v4, 2, 0, set(address4, "privateIpAddress", "10.0.0.7"), "SecondaryPrivateIpAddressCount=2", Assigned{}},
		{"nothing", v4, 2, 0, "", "SecondaryPrivateIpAddressCount=2", Assigned{}},
		{"an address where a prefix was asked for", v4, 0, 1, set(address4, "privateIpAddress", "10.0.0.7"), "Ipv4PrefixCount=1", Assigned{}},
		{"what is no address", v6, 1, 0, set(address6, "", "none"), "Ipv6AddressCount=1", Assigned{}},
		{"what is no prefix", v6, 0, 1, set(prefix6, "", "2001:db8::"), "Ipv6PrefixCount=1", Assigned{}},
		{"more than was asked for", v6, 1, 0, set(address6, "", "2001:db8::7", "2001:db8::8"), "Ipv6AddressCount=1", Assigned{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := &heard{heedless: heedless{test.action: test.answer}}
			assign := map[string]func() (Assigned, error){
				v4: func() (Assigned, error) {
					return h.client().AssignIPv4(t.Context(), "eni-1", test.addresses, test.prefixes)
				},
				v6: func() (Assigned, error) {
					return h.client().AssignIPv6(t.Context(), "eni-1", test.addresses, test.prefixes)
				},
			}[test.action]
			got, err := assign()
			complete := len(test.want.Addresses)+len(test.want.Prefixes) > 0
			if !reflect.DeepEqual(got, test.want) || (err == nil) != complete {
				t.Errorf("got %v, %v", got, err)
			}
			if err != nil && (Code(err) != "" || IsTerminal(err) || !strings.Contains(err.Error(), "eni-1")) {
				t.Errorf("taken for EC2's word: %v", err)
			}
			request := strings.Fields(h.requests[0])
			if slices.Sort(request); len(h.requests) != 1 || !slices.Contains(request, test.request) || len(request) != 3 {
				t.Errorf("asked %q, want %s in it", h.requests, test.request)
			}
		})
	}
}

// What EC2 shows of an ENI.
func TestAttributesFromEC2(t *testing.T) {
	const eni = "<networkInterfaceId>eni-1</networkInterfaceId><subnetId>subnet-1</subnetId>"
	const v4 = "<privateIpAddressesSet><item><privateIpAddress>10.0.0.8</privateIpAddress></item><item><privateIpAddress>10.0.0.7</privateIpAddress><primary>true</primary></item></privateIpAddressesSet>"
	v6 := func(second string) string {
		return "<ipv6AddressesSet><item><ipv6Address>2001:db8::1</ipv6Address></item><item><ipv6Address>2001:db8::2</ipv6Address>" + second + "</item></ipv6AddressesSet>"
	}
	for _, test := range []struct {
		name, shown string
		want        ENI
	}{
		{"dual stack", v4 + v6(""), ENI{Addresses: addrs("10.0.0.7", "10.0.0.8", "2001:db8::1", "2001:db8::2")}},
		{"a primary IPv6 address", v4 + v6("<isPrimaryIpv6>true</isPrimaryIpv6>"), ENI{Addresses: addrs("10.0.0.7", "10.0.0.8", "2001:db8::2", "2001:db8::1"), PrimaryIPv6: true}},
		{"IPv6 only", v6(""), ENI{Addresses: addrs("2001:db8::1", "2001:db8::2")}},
		{"the primary addresses and no list", "<privateIpAddress>10.0.0.7</privateIpAddress><ipv6Address>2001:db8::1</ipv6Address>", ENI{Addresses: addrs("10.0.0.7", "2001:db8::1")}},
		{"prefixes", "<ipv6PrefixSet><item><ipv6Prefix>2001:db8:0:0:1::/80</ipv6Prefix></item></ipv6PrefixSet><ipv4PrefixSet><item><ipv4Prefix>10.0.0.16/28</ipv4Prefix></item></ipv4PrefixSet>",
			ENI{Prefixes: []string{"10.0.0.16/28", "2001:db8:0:0:1::/80"}}},
		{"timeouts", "<connectionTrackingConfiguration><tcpEstablishedTimeout>350</tcpEstablishedTimeout><udpTimeout>30</udpTimeout><udpStreamTimeout>180</udpStreamTimeout></connectionTrackingConfiguration>",
			ENI{ConnectionTracking: ConnectionTracking{TCPEstablishedTimeout: 350, UDPTimeout: 30, UDPStreamTimeout: 180}}},
		{"ENA Express for TCP", "<attachment><deviceIndex>1</deviceIndex><enaSrdSpecification><enaSrdEnabled>true</enaSrdEnabled></enaSrdSpecification></attachment>",
			ENI{Attachment: &Attachment{DeviceIndex: 1, ENAExpress: ENAExpress{Enabled: true}}}},
		{"ENA Express off, and UDP still set", "<attachment><deviceIndex>1</deviceIndex><enaSrdSpecification><enaSrdEnabled>false</enaSrdEnabled>" +
			"<enaSrdUdpSpecification><enaSrdUdpEnabled>true</enaSrdUdpEnabled></enaSrdUdpSpecification></enaSrdSpecification></attachment>",
			ENI{Attachment: &Attachment{DeviceIndex: 1}}},
		{"ENA Express, queues and a card", "<attachment><deviceIndex>1</deviceIndex><networkCardIndex>2</networkCardIndex><enaQueueCount>8</enaQueueCount>" +
			"<enaSrdSpecification><enaSrdEnabled>true</enaSrdEnabled><enaSrdUdpSpecification><enaSrdUdpEnabled>true</enaSrdUdpEnabled></enaSrdUdpSpecification></enaSrdSpecification></attachment>",
			ENI{Attachment: &Attachment{DeviceIndex: 1, Card: 2, ENAQueues: 8, ENAExpress: ENAExpress{Enabled: true, UDP: true}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := always(200, describeAnswer("<networkInterfaceSet><item>"+eni+test.shown+"</item></networkInterfaceSet>")).client()
			all, err := c.Any(t.Context(), ByID, []string{"eni-1"})
			if err != nil || len(all) != 1 {
				t.Fatal(all, err)
			}
			test.want.ID, test.want.SubnetID, test.want.SourceDestCheck = "eni-1", "subnet-1", true
			if !reflect.DeepEqual(all[0], test.want) {
				t.Errorf("got  %+v\nwant %+v", all[0], test.want)
			}
		})
	}
}

func TestConnectionTrackingOr(t *testing.T) {
	defaults := ConnectionTracking{TCPEstablishedTimeout: 432000, UDPTimeout: 30, UDPStreamTimeout: 180}
	for given, want := range map[ConnectionTracking]ConnectionTracking{
		{}:                                     defaults,
		{TCPEstablishedTimeout: 350}:           {TCPEstablishedTimeout: 350, UDPTimeout: 30, UDPStreamTimeout: 180},
		{UDPTimeout: 60, UDPStreamTimeout: 60}: {TCPEstablishedTimeout: 432000, UDPTimeout: 60, UDPStreamTimeout: 60},
	} {
		if got := given.Or(defaults); got != want {
			t.Errorf("%v is %v, want %v", given, got, want)
		}
	}
}

// Only ranges that the subnet has count.
func TestSubnetIPv6(t *testing.T) {
	s, err := subnetFromEC2(types.Subnet{
		SubnetId: aws.String("subnet-1"), AvailabilityZone: aws.String("us-east-1a"), CidrBlock: aws.String("10.0.1.0/24"), AssignIpv6AddressOnCreation: aws.Bool(true),
		Ipv6CidrBlockAssociationSet: []types.SubnetIpv6CidrBlockAssociation{
			{Ipv6CidrBlock: aws.String("2001:db8:1::/64"), Ipv6CidrBlockState: &types.SubnetCidrBlockState{State: types.SubnetCidrBlockStateCodeDisassociated}},
			{Ipv6CidrBlock: aws.String("2001:db8:2::/64"), Ipv6CidrBlockState: &types.SubnetCidrBlockState{State: types.SubnetCidrBlockStateCodeAssociated}},
			{Ipv6CidrBlock: aws.String("2001:db8:3::/64")}, // as emulators of EC2 show it
		},
	})
	if err != nil || !slices.Equal(s.IPv6CIDRs, []string{"2001:db8:2::/64", "2001:db8:3::/64"}) || s.IPv6Only || !s.AssignsIPv6 {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestInstanceType(t *testing.T) {
	const card0 = "<item><networkCardIndex>0</networkCardIndex><maximumNetworkInterfaces>8</maximumNetworkInterfaces><additionalFlexibleNetworkInterfaces>4</additionalFlexibleNetworkInterfaces>" +
		"<maximumEnaQueueCount>64</maximumEnaQueueCount><maximumEnaQueueCountPerInterface>32</maximumEnaQueueCountPerInterface><defaultEnaQueueCountPerInterface>8</defaultEnaQueueCountPerInterface>" +
		"<interfaceTypeSet><item>interface</item><item>efa-only</item></interfaceTypeSet></item>"
	const card1 = "<item><networkCardIndex>1</networkCardIndex><maximumNetworkInterfaces>7</maximumNetworkInterfaces></item>"
	for _, test := range []struct {
		name, shown string
		want        InstanceType
	}{
		{"a type with two cards", "<hypervisor>nitro</hypervisor><networkInfo><maximumNetworkInterfaces>15</maximumNetworkInterfaces><ipv4AddressesPerInterface>50</ipv4AddressesPerInterface>" +
			"<ipv6AddressesPerInterface>49</ipv6AddressesPerInterface><ipv6Supported>true</ipv6Supported><enaSrdSupported>true</enaSrdSupported><flexibleEnaQueuesSupport>supported</flexibleEnaQueuesSupport>" +
			"<connectionTrackingConfiguration><defaultTcpEstablishedTimeout>350</defaultTcpEstablishedTimeout><defaultUdpTimeout>30</defaultUdpTimeout><defaultUdpStreamTimeout>180</defaultUdpStreamTimeout></connectionTrackingConfiguration>" +
			"<networkCards>" + card0 + card1 + "</networkCards></networkInfo>",
			InstanceType{
				MaxENIs: 15, IPv4Addresses: 50, IPv6Addresses: 49, IPv6: new(true), ENAExpress: new(true), FlexibleENAQueues: new(true),
				ConnectionTracking: ConnectionTracking{TCPEstablishedTimeout: 350, UDPTimeout: 30, UDPStreamTimeout: 180},
				Cards: []Card{
					{Index: 0, MaxENIs: 8, MoreENIs: 4, InterfaceTypes: []string{"interface", "efa-only"}, MaxENAQueues: 64, MaxENAQueuesPerENI: 32, DefaultENAQueues: 8},
					{Index: 1, MaxENIs: 7},
				},
			}},
		{"a Xen type", "<hypervisor>xen</hypervisor><networkInfo><maximumNetworkInterfaces>2</maximumNetworkInterfaces><ipv6Supported>false</ipv6Supported><enaSrdSupported>false</enaSrdSupported>" +
			"<flexibleEnaQueuesSupport>unsupported</flexibleEnaQueuesSupport></networkInfo>",
			InstanceType{Xen: true, MaxENIs: 2, IPv6: new(false), ENAExpress: new(false), FlexibleENAQueues: new(false)}},
		{"a type of which little is told", "<networkInfo><maximumNetworkInterfaces>3</maximumNetworkInterfaces></networkInfo>", InstanceType{MaxENIs: 3}},
		{"a type of which nothing is told", "", InstanceType{}},
		{"another type", "<networkInfo><maximumNetworkInterfaces>3</maximumNetworkInterfaces></networkInfo><instanceType>m5.metal</instanceType>", InstanceType{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := heedless{"DescribeInstanceTypes": "<instanceTypeSet><item><instanceType>m5.large</instanceType>" + test.shown + "</item></instanceTypeSet>"}.client()
			got, err := c.InstanceType(t.Context(), "m5.large")
			test.want.Name = "m5.large"
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v, %v\nwant %+v", got, err, test.want)
			}
		})
	}
}

func TestMaxENIsOn(t *testing.T) {
	cards := InstanceType{MaxENIs: 15, Cards: []Card{{Index: 0, MaxENIs: 8}, {Index: 1}}}
	for _, test := range []struct {
		of   InstanceType
		card int32
		want int32
	}{
		{cards, 0, 8},
		{cards, 1, 0}, // not told
		{cards, 2, 0}, // it has none
		{InstanceType{MaxENIs: 3}, 0, 3},
		{InstanceType{MaxENIs: 3}, 1, 0},
		{InstanceType{MaxENIs: 3, Cards: []Card{{}}}, 0, 3}, // the only card
		{InstanceType{}, 0, 0},
	} {
		if got := test.of.MaxENIsOn(test.card); got != test.want {
			t.Errorf("%+v: %d on card %d, want %d", test.of, got, test.card, test.want)
		}
	}
}
