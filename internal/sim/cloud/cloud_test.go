package cloud

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const (
	testVPC    = "vpc-00000000000000001"
	testSubnet = "subnet-0000000000000000a"
	testZoneB  = "subnet-0000000000000000b"
)

func testConfig() Config {
	return Config{
		VPCs: []VPC{{ID: testVPC, CIDR: netip.MustParsePrefix("10.0.0.0/16")}},
		Subnets: []Subnet{
			{ID: testSubnet, VPCID: testVPC, Zone: "us-east-1a", CIDR: netip.MustParsePrefix("10.0.1.0/24")},
			{ID: testZoneB, VPCID: testVPC, Zone: "us-east-1b", CIDR: netip.MustParsePrefix("10.0.2.0/28")},
		},
	}
}

func newCloud(t *testing.T, change ...func(*Config)) *Cloud {
	t.Helper()
	config := testConfig()
	for _, f := range change {
		f(&config)
	}
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func must[T any](t *testing.T) func(T, error) T {
	return func(out T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatalf("unexpected error: %v", err)
		}
		return out
	}
}

func launch(t *testing.T, c *Cloud) Instance {
	t.Helper()
	return must[Instance](t)(c.RunInstance(RunInstance{Name: "node", Type: "m5.large", SubnetID: testSubnet}))
}

// plug makes an ENI and begins to attach it.
func plug(t *testing.T, c *Cloud, host string, index int32) (Interface, Attachment) {
	t.Helper()
	eni := must[Interface](t)(c.CreateNetworkInterface(CreateNetworkInterfaceInput{SubnetID: testSubnet}))
	a := must[Attachment](t)(c.AttachNetworkInterface(AttachNetworkInterfaceInput{NetworkInterfaceID: eni.ID, InstanceID: host, DeviceIndex: index}))
	return eni, a
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, test := range []struct {
		change func(*Config)
		want   string // part of the error
	}{
		{func(c *Config) { c.AccountID = "1" }, `accountID "1": want 12 digits`},
		{func(c *Config) { c.VPCs[0].ID = "vpc" }, `id "vpc": want vpc- and 8 to 17`},
		{func(c *Config) { c.Subnets[0].VPCID = "vpc-2" }, `vpcID "vpc-2": no such VPC, there are [` + testVPC},
		{func(c *Config) { c.Subnets[0].Zone = "eu-west-1a" }, `want a zone of region us-east-1`},
		{func(c *Config) { c.Subnets[0].CIDR = netip.Prefix{} }, "want an IPv4 range between /16 and /28"},
		{func(c *Config) { c.Subnets[0].CIDR = netip.MustParsePrefix("10.0.1.1/24") }, "want 10.0.1.0/24"},
		{func(c *Config) { c.Subnets[0].CIDR = netip.MustParsePrefix("10.9.1.0/24") }, "not in VPC"},
		{func(c *Config) { c.Subnets[0].CIDR = netip.MustParsePrefix("10.0.2.0/24") }, "overlaps subnet"},
		{func(c *Config) { c.Subnets[1].Capacity = 12 }, "want 0 to 11"},
		{func(c *Config) { c.Subnets[1].ID = testSubnet }, "is used twice"},
		{func(c *Config) {
			c.SecurityGroups = []SecurityGroup{{ID: "sg-00000001", VPCID: testVPC, Name: "x"}, {ID: "sg-00000002", VPCID: testVPC, Name: "x"}}
		}, "no other group of the VPC has"},
		{func(c *Config) { c.InstanceTypes = []InstanceType{{Name: "a.b"}} }, "instance type a.b"},
		{func(c *Config) {
			c.InstanceTypes = []InstanceType{{Name: "a.b", MaxENIs: 2, IPv4PerENI: 2, Hypervisor: "kvm"}}
		}, `hypervisor "kvm"`},
		{func(c *Config) {
			c.InstanceTypes = []InstanceType{{Name: "a.b", MaxENIs: 2, IPv4PerENI: 2, EnaQueues: EnaQueues{Default: 8, MaxPerENI: 4}}}
		}, "enaQueues"},
		{func(c *Config) { c.VPCs[0].IPv6CIDR = netip.MustParsePrefix("2001:db8::/64") }, "want an IPv6 range of /44"},
		{func(c *Config) { c.Subnets[0].IPv6CIDR = netip.MustParsePrefix("2001:db8::/64") }, "not in VPC"},
		{func(c *Config) { c.Subnets[0].IPv6CIDR = netip.MustParsePrefix("2001:db8::/80") }, "or /64"},
		{func(c *Config) { c.Subnets[0].AssignIPv6AddressOnCreation = true }, "goes with an ipv6CIDR"},
		{func(c *Config) { c.Subnets[0].IPv6Native = true }, "without cidr"},
		{func(c *Config) {
			c.VPCs[0].IPv6CIDR = netip.MustParsePrefix("2001:db8::/56")
			c.Subnets[0].IPv6CIDR, c.Subnets[1].IPv6CIDR = netip.MustParsePrefix("2001:db8::/64"), netip.MustParsePrefix("2001:db8::/60")
		}, "ipv6CIDR 2001:db8::/60: overlaps subnet"},
		{func(c *Config) { c.Timing.Attach = -time.Second }, "timing.attach -1s"},
		{func(c *Config) { c.Quotas.GroupsPerInterface = 17 }, "want 1 to 16"},
		{func(c *Config) { c.InUse = "x" }, `inUse "x"`},
	} {
		config := testConfig()
		test.change(&config)
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
}

func TestZoneIDs(t *testing.T) {
	for zone, want := range map[string]string{
		"us-east-1a": "use1-az1", "eu-central-1b": "euc1-az2", "ap-northeast-2c": "apne2-az3", "us-gov-west-1a": "usgw1-az1", "odd": "odd",
	} {
		if got := zoneID(zone); got != want {
			t.Errorf("%s: got %s, want %s", zone, got, want)
		}
	}
}

func TestGlob(t *testing.T) {
	for _, test := range []struct {
		pattern, value string
		want           bool
	}{
		{"", "", true}, {"*", "", true}, {"?", "", false}, {"a", "ab", false},
		{"a*", "abc", true}, {"*c", "abc", true}, {"a*c", "abbc", true}, {"a*c*", "abbcdc", true}, {"a*b?d", "axbxbcd", true}, {"a*b", "abc", false},
		{`\*`, "*", true}, {`\*`, "x", false}, {`a\?*`, "a?b", true}, {`a\?*`, "axb", false}, {`\\`, `\`, true}, {`*\`, `x\`, true}, {"**", "x", true},
	} {
		if got := matcher([]string{"no such", test.pattern})(test.value); got != test.want {
			t.Errorf("%q matches %q: %v, want %v", test.pattern, test.value, got, test.want)
		}
	}
}

func TestHistory(t *testing.T) {
	start := time.Now()
	at := func(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }
	var h history[string]
	h.put(at(10), 5*time.Second, "born")
	h.put(at(20), 5*time.Second, "changed")
	h.put(at(22), 5*time.Second, "changed again")
	h.end(at(24), 5*time.Second)
	for n, want := range map[int]string{21: "changed", 22: "changed again", 23: "changed again", 24: "", 30: ""} {
		if got, ok := h.at(at(n)); ok != (want != "") || ok && got != want {
			t.Errorf("at %d: %q, %v, want %q", n, got, ok, want)
		}
	}
	if len(h.versions) != 4 || h.latest() != "changed again" || !h.gone() {
		t.Errorf("remembers %+v", h)
	}
	if _, ok := h.at(at(9)); ok {
		t.Error("it was there before it was born")
	}

	// Once shortened, it says the oldest that it knows.
	var short history[string]
	for _, n := range []int{10, 20, 60} {
		short.put(at(n), 5*time.Second, fmt.Sprint("of ", n))
	}
	if got, ok := short.at(at(15)); !ok || got != "of 20" || len(short.versions) != 2 {
		t.Errorf("after shortening: %q, %v, remembers %+v", got, ok, short)
	}
}

func TestJSON(t *testing.T) {
	timing := Timing{Read: time.Second, IMDSLag: time.Minute}
	if err := json.Unmarshal([]byte(`{"read":"60ms","describeLag":"1.5s"}`), &timing); err != nil {
		t.Fatal(err)
	}
	if want := (Timing{Read: 60 * time.Millisecond, DescribeLag: 1500 * time.Millisecond, IMDSLag: time.Minute}); timing != want {
		t.Errorf("got %+v, want %+v", timing, want)
	}
	fault := Fault{Action: "CreateTags", Delay: 2 * time.Second, After: true, Probability: 0.5}
	text := must[[]byte](t)(json.Marshal(fault))
	if want := `"delay":"2s"`; !strings.Contains(string(text), want) {
		t.Errorf("%s: want %s", text, want)
	}
	var again Fault
	if err := json.Unmarshal(text, &again); err != nil || again != fault {
		t.Errorf("%s became %+v, %v", text, again, err)
	}
	text = must[[]byte](t)(json.Marshal(timing))
	var same Timing
	if err := json.Unmarshal(text, &same); err != nil || same != timing {
		t.Errorf("%s became %+v, %v", text, same, err)
	}
	for _, bad := range []string{`{"red":"1s"}`, `{"read":1}`, `{"read":"soon"}`} {
		if err := json.Unmarshal([]byte(bad), &timing); err == nil {
			t.Errorf("timing %s was accepted", bad)
		}
	}
	for _, bad := range []string{`{"colour":"red"}`, `{"delay":5}`} {
		if err := json.Unmarshal([]byte(bad), &fault); err == nil {
			t.Errorf("fault %s was accepted", bad)
		}
	}
	var config Config
	if err := json.Unmarshal([]byte(`{"subnets":[{"id":"subnet-1","cidr":"10.0.0.0/24"}],"timing":{"attach":"2s"}}`), &config); err != nil ||
		config.Subnets[0].CIDR.Bits() != 24 || config.Timing.Attach != 2*time.Second {
		t.Errorf("config: %+v, %v", config, err)
	}
}

func TestSmallSubnet(t *testing.T) {
	c := newCloud(t)
	seen := make(map[netip.Addr]bool)
	create := func() (Interface, error) {
		return c.CreateNetworkInterface(CreateNetworkInterfaceInput{SubnetID: testZoneB})
	}
	var last Interface
	for range 11 {
		last = must[Interface](t)(create())
		if a := last.PrivateIPs[0]; seen[a] || a.Less(netip.MustParseAddr("10.0.2.4")) || !a.Less(netip.MustParseAddr("10.0.2.15")) {
			t.Errorf("address %s", a)
		}
		seen[last.PrivateIPs[0]] = true
	}
	if _, err := create(); err == nil {
		t.Error("a /28 gave 12 addresses")
	}
	if err := c.DeleteByHand(last.ID); err != nil {
		t.Fatal(err)
	}
	if again := must[Interface](t)(create()); again.PrivateIPs[0] != last.PrivateIPs[0] || again.MAC == last.MAC {
		t.Errorf("got %+v after %+v was deleted", again, last)
	}
	if err := c.SetFreeAddresses(testZoneB, 1); err == nil {
		t.Error("a full subnet was given a free address")
	}
}

func TestByHand(t *testing.T) {
	c := newCloud(t)
	host := launch(t, c)
	eni, _ := plug(t, c, host.ID, 1)
	if err := c.DeleteByHand(eni.ID); err == nil {
		t.Error("an attached ENI was deleted")
	}
	if err := c.DetachByHand(eni.ID); err != nil {
		t.Error(err)
	}
	if err := c.DetachByHand(eni.ID); err == nil {
		t.Error("an ENI was detached twice")
	}
	if err := c.DeleteByHand(eni.ID); err != nil {
		t.Error(err)
	}
	if _, ok := c.Interface(eni.ID); ok {
		t.Error("a deleted ENI is still there")
	}
}

// 3,000 ENIs and a filter, as a start of the agent does it.
func BenchmarkDescribeByTag(b *testing.B) {
	config := testConfig()
	config.Subnets[0].CIDR = netip.MustParsePrefix("10.0.16.0/20")
	c, err := New(config)
	if err != nil {
		b.Fatal(err)
	}
	for n := range 3000 {
		_, err := c.CreateNetworkInterface(CreateNetworkInterfaceInput{SubnetID: testSubnet, Tags: map[string]string{
			"networking.k8s.aws/cluster": "c", "networking.k8s.aws/instance": fmt.Sprint("i-", n), "Name": "x",
		}})
		if err != nil {
			b.Fatal(err)
		}
	}
	in := DescribeInput{Filters: []Filter{
		{Name: "tag:networking.k8s.aws/cluster", Values: []string{"c"}},
		{Name: "tag:networking.k8s.aws/instance", Values: []string{"i-77"}},
	}}
	for b.Loop() {
		if enis, _, err := c.DescribeNetworkInterfaces(in); err != nil || len(enis) != 1 {
			b.Fatal(enis, err)
		}
	}
}
