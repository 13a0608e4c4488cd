package cni

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// UPDATE=1 go test ./cni -run TestDelegate writes what is now made.
func TestDelegate(t *testing.T) {
	ipv4 := []netip.Addr{netip.MustParseAddr("10.0.0.16")}
	ipv6 := []netip.Addr{netip.MustParseAddr("2001:db8:0:1:5::")}
	both := slices.Concat(ipv4, ipv6)
	for name, c := range map[string]struct {
		fields string
		pod    []netip.Addr
		ipv6   bool // the ENI has no other family
	}{
		"ipvlan":           {`"mode": "ipvlan"`, ipv4, false},
		"ipvlan-ipv6":      {`"mode": "ipvlan"`, ipv6, true},
		"ipvlan-both":      {`"mode": "ipvlan", "routeVPC": true`, both, false},
		"ptp":              {`"mode": "ptp"`, ipv4, false},
		"ptp-ipv6":         {`"mode": "ptp"`, ipv6, true},
		"ptp-both":         {`"mode": "ptp", "mtu": 1500, "dns": {"nameservers": ["10.0.0.2"]}`, both, false},
		"ptp-routes":       {`"mode": "ptp", "routeVPC": true, "routes": [{"dst": "0.0.0.0/0", "priority": 5}, {"dst": "10.0.1.0/24"}]`, ipv4, false},
		"host-device":      {`"mode": "host-device"`, ipv4, false},
		"host-device-both": {`"mode": "host-device"`, both, false},
	} {
		t.Run(name, func(t *testing.T) {
			conf, err := parse([]byte(`{"cniVersion": "1.0.0", "name": "net", "type": "eni", "nodeENI": "storage", ` + c.fields + `}`))
			if err == nil {
				err = conf.validate()
			}
			if err != nil {
				t.Fatal(err)
			}
			e := eniOf("10.0.0.16/28", "2001:db8:0:1:5::/80")
			// The VPC is as large as one of its subnets.
			e.VPC = append(e.VPC, e.OtherSubnets[0], e.Subnets[0])
			if c.ipv6 {
				e.Subnets, e.Gateways = e.Subnets[1:], e.Gateways[1:]
			}
			content, err := conf.delegate(e, "eth1", c.pod)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, content, "", "  "); err != nil {
				t.Fatal(err)
			}
			got.WriteByte('\n')
			file := filepath.Join("testdata", name+".json")
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("the delegate gets\n%swant\n%s", got.Bytes(), want)
			}
		})
	}
}

func TestDelegateRefuses(t *testing.T) {
	for fields, want := range map[string]string{
		`"mode": "ptp", "mtu": 9002`:                                            `network "net": mtu: 9002 is more than the 9001 of ENI eni-1`,
		`"mode": "ptp", "routes": [{"dst": "::/0"}]`:                            `network "net": routes[0]: pods get no address of the same family as ::/0 from NodeENI storage`,
		`"mode": "ptp", "routes": [{"dst": "fd00::/8"}, {"dst": "10.0.0.0/8"}]`: `routes[0]`,
	} {
		conf, err := parse([]byte(`{"name": "net", "nodeENI": "storage", ` + fields + `}`))
		if err != nil {
			t.Fatal(err)
		}
		_, err = conf.delegate(eniOf("10.0.0.16/28"), "eth1", []netip.Addr{netip.MustParseAddr("10.0.0.16")})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", fields, err, want)
		}
	}
}

func TestOffers(t *testing.T) {
	second := eniOf("10.0.0.32/28")
	second.ID = "eni-2"
	unready := podnetwork.ENI{ID: "eni-3", Reason: "SubnetFull", Message: "subnet subnet-1 is full"}
	bare := eniOf()
	held := podnetwork.Attachment{ENI: "eni-1", Mode: PTP, Pod: "default/web", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.17")}}
	whole := podnetwork.Attachment{ENI: "eni-1", Mode: HostDevice, Pod: "default/web", Addresses: bare.Addresses[:1]}
	for name, c := range map[string]struct {
		mode        string
		enis        []podnetwork.ENI
		attachments []podnetwork.Attachment
		wanted      string
		offers      string // the ENIs
		refusals    string
	}{
		"both":                           {PTP, []podnetwork.ENI{eniOf("10.0.0.16/28"), second}, nil, "", "eni-1 eni-2", ""},
		"not Ready":                      {PTP, []podnetwork.ENI{unready, second}, nil, "", "eni-2", "eni-3 is not Ready: SubnetFull: subnet subnet-1 is full"},
		"requested":                      {PTP, []podnetwork.ENI{eniOf("10.0.0.16/28"), second}, nil, "10.0.0.33", "eni-2", "eni-1 does not have the requested address 10.0.0.33, only [10.0.0.16/28]"},
		"requested, and held":            {PTP, []podnetwork.ENI{eniOf("10.0.0.16/28")}, []podnetwork.Attachment{held}, "10.0.0.17", "", "eni-1 has the requested address 10.0.0.17, but default/web uses it"},
		"no addresses":                   {PTP, []podnetwork.ENI{bare}, nil, "", "", "eni-1 has no addresses for pods; set addresses or prefixes in spec.ipv4 or spec.ipv6 of the NodeENI, or use mode host-device"},
		"the whole ENI":                  {HostDevice, []podnetwork.ENI{bare}, nil, "", "eni-1", ""},
		"the whole ENI, others use it":   {HostDevice, []podnetwork.ENI{eniOf("10.0.0.16/28"), second}, []podnetwork.Attachment{held}, "", "eni-2", "eni-1 is used by default/web, but mode host-device needs the whole ENI"},
		"one has the whole ENI":          {PTP, []podnetwork.ENI{eniOf("10.0.0.16/28")}, []podnetwork.Attachment{whole}, "", "", "eni-1 is used by default/web, but mode host-device needs the whole ENI"},
		"host-device, another requested": {HostDevice, []podnetwork.ENI{bare}, nil, "10.0.0.9", "", "eni-1 does not have the requested address 10.0.0.9, only [10.0.0.4/32 2001:db8:0:1::4/128]"},
	} {
		t.Run(name, func(t *testing.T) {
			var wanted []netip.Addr
			if c.wanted != "" {
				wanted = append(wanted, netip.MustParseAddr(c.wanted))
			}
			offers, refusals := offersOf(Config{Mode: c.mode}, podnetwork.Network{ENIs: c.enis}, podsWith(c.attachments), wanted)
			var ids []string
			for _, o := range offers {
				ids = append(ids, o.eni.ID)
			}
			if got := strings.Join(ids, " "); got != c.offers {
				t.Errorf("offers are %q, want %q", got, c.offers)
			}
			if got := strings.Join(refusals, "; "); got != c.refusals {
				t.Errorf("refusals are %q, want %q", got, c.refusals)
			}
		})
	}
}

// podsWith are the holders of these attachments.
type podsWith []podnetwork.Attachment

func (p podsWith) Attachments() []podnetwork.Attachment { return p }

func (p podsWith) Holds(address netip.Addr) bool {
	return slices.ContainsFunc(p, func(a podnetwork.Attachment) bool { return slices.Contains(a.Addresses, address) })
}

func TestExhausted(t *testing.T) {
	hold := func(addresses ...string) []podnetwork.Attachment {
		var a podnetwork.Attachment
		for _, address := range addresses {
			a.Addresses = append(a.Addresses, netip.MustParseAddr(address))
		}
		return []podnetwork.Attachment{a}
	}
	for want, c := range map[string]struct {
		ranges string
		held   []podnetwork.Attachment
	}{
		"2 of 2 are in use; increase spec.ipv4.secondaryAddresses of the NodeENI":         {"10.0.0.16/32 10.0.0.20/32", hold("10.0.0.16", "10.0.0.20", "10.0.0.21")},
		"2 of 2 are in use; increase spec.ipv4.prefixes of the NodeENI":                   {"10.0.0.16/31 2001:db8::/80", hold("10.0.0.16", "10.0.0.17")},
		"1 of 1 are in use; increase spec.ipv6.addresses of the NodeENI":                  {"10.0.0.16/31 2001:db8::/128", hold("10.0.0.16", "2001:db8::")},
		"the free addresses belong to ENIs that have no free address of the other family": {"10.0.0.16/31", hold("10.0.0.16")},
	} {
		var o offer
		for text := range strings.FieldsSeq(c.ranges) {
			o.ranges = append(o.ranges, []netip.Prefix{netip.MustParsePrefix(text)})
		}
		if got := exhausted([]offer{o}, c.held); got != want {
			t.Errorf("%s, %v held: %s, want %s", c.ranges, c.held[0].Addresses, got, want)
		}
	}
}
