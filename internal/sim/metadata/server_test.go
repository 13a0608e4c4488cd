package metadata

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

const (
	instanceID = "i-0123456789abcdef0"
	subnetID   = "subnet-0123456789abcdef0"
)

func newCloud(t *testing.T) (*cloud.Cloud, cloud.Instance) {
	t.Helper()
	c, err := cloud.New(cloud.Config{
		VPCs: []cloud.VPC{{ID: "vpc-0123456789abcdef0", CIDR: netip.MustParsePrefix("10.0.0.0/16")}},
		Subnets: []cloud.Subnet{{
			ID: subnetID, VPCID: "vpc-0123456789abcdef0", Zone: "us-east-1a", ZoneID: "use1-az4",
			CIDR: netip.MustParsePrefix("10.0.1.0/24"),
		}},
		SecurityGroups: []cloud.SecurityGroup{{ID: "sg-0123456789abcdef0", Name: "nodes", VPCID: "vpc-0123456789abcdef0"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	i, err := c.RunInstance(cloud.RunInstance{
		ID: instanceID, Name: "node-1", Type: "m5.large", SubnetID: subnetID,
		GroupIDs: []string{"sg-0123456789abcdef0"}, UserData: "#!/bin/sh\n", Tags: map[string]string{"Name": "node-1", "ng": "multi-eni", "empty": "", "a/b": "hidden", "a b": "hidden"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, i
}

func serve(t *testing.T, c *cloud.Cloud) (*Server, string) {
	t.Helper()
	s := New(c, instanceID)
	endpoint := httptest.NewServer(s)
	t.Cleanup(endpoint.Close)
	return s, endpoint.URL
}

// request returns the status and the body of an answer.
func request(t *testing.T, method, url string, headers map[string]string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range headers {
		r.Header.Set(key, value)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func token(t *testing.T, url string) string {
	t.Helper()
	status, token := request(t, http.MethodPut, url+"/latest/api/token", map[string]string{ttlHeader: "60"})
	if status != http.StatusOK {
		t.Fatalf("token: %d %s", status, token)
	}
	return token
}

func TestTokens(t *testing.T) {
	c, _ := newCloud(t)
	s, url := serve(t, c)
	for name, test := range map[string]struct {
		method  string
		headers map[string]string
		want    int
	}{
		"good":            {http.MethodPut, map[string]string{ttlHeader: "21600"}, 200},
		"no lifetime":     {http.MethodPut, nil, 400},
		"too long":        {http.MethodPut, map[string]string{ttlHeader: "21601"}, 400},
		"zero":            {http.MethodPut, map[string]string{ttlHeader: "0"}, 400},
		"through a proxy": {http.MethodPut, map[string]string{ttlHeader: "60", "X-Forwarded-For": "10.0.0.1"}, 403},
		"not put":         {http.MethodGet, map[string]string{ttlHeader: "60"}, 405},
	} {
		if status, body := request(t, test.method, url+"/latest/api/token", test.headers); status != test.want {
			t.Errorf("%s: %d %s, want %d", name, status, body, test.want)
		}
	}
	const path = "/latest/meta-data/instance-id"
	for name, headers := range map[string]map[string]string{
		"no token":      nil,
		"invented":      {tokenHeader: "x"},
		"expired token": {tokenHeader: s.newToken(-time.Second)},
	} {
		if status, _ := request(t, http.MethodGet, url+path, headers); status != http.StatusUnauthorized {
			t.Errorf("%s: %d, want 401", name, status)
		}
	}
	if status, body := request(t, http.MethodGet, url+path, map[string]string{tokenHeader: token(t, url)}); status != 200 || body != instanceID {
		t.Errorf("with a token: %d %s", status, body)
	}
	if status, _ := request(t, http.MethodPost, url+path, map[string]string{tokenHeader: token(t, url)}); status != 405 {
		t.Errorf("POST: %d, want 405", status)
	}
}

func TestPaths(t *testing.T) {
	c, instance := newCloud(t)
	_, url := serve(t, c)
	mac := "/latest/meta-data/network/interfaces/macs/" + instance.MAC
	interfaceID := c.Interfaces()[0].ID
	credentials := map[string]string{tokenHeader: token(t, url)}
	for path, want := range map[string]string{
		"/":                                  "latest/",
		"/latest":                            "dynamic/\nmeta-data/\nuser-data",
		"/latest/user-data":                  "#!/bin/sh\n",
		"/latest/meta-data/mac":              instance.MAC,
		"/latest/meta-data/instance-type":    "m5.large",
		"/latest/meta-data/placement/":       "availability-zone\navailability-zone-id\nregion",
		"/latest/meta-data/placement/region": "us-east-1",
		"/latest/meta-data/placement/availability-zone":    "us-east-1a",
		"/latest/meta-data/placement/availability-zone-id": "use1-az4",
		"/latest/meta-data/services/partition":             "aws",
		"/latest/meta-data/network/interfaces/macs/":       instance.MAC + "/",
		mac + "/device-number":                             "0",
		mac + "/network-card":                              "0",
		mac + "/interface-id":                              interfaceID,
		mac + "/subnet-id":                                 subnetID,
		mac + "/subnet-ipv4-cidr-block":                    "10.0.1.0/24",
		mac + "/vpc-ipv4-cidr-blocks":                      "10.0.0.0/16",
		mac + "/local-ipv4s":                               instance.PrivateIP.String(),
		mac + "/security-group-ids":                        "sg-0123456789abcdef0",
		mac + "/security-groups":                           "nodes",
		mac + "/subnet-ipv6-cidr-blocks":                   "404",
		"/latest/meta-data/tags/instance":                  "Name\nempty\nng",
		"/latest/meta-data/tags/instance/ng":               "multi-eni",
		"/latest/meta-data/tags/instance/empty":            "",
		"/latest/meta-data/tags/instance/a%20b":            "404",
		"/latest/meta-data/tags/instance/none":             "404",
		"/latest/meta-data/iam/security-credentials/":      role,
		"/latest/meta-data/instance-id/":                   "404",
		"/latest/meta-data/inst":                           "404",
		"/latest/meta-data/spot/instance-action":           "404",
		"/2020-01-01/meta-data/mac":                        "404",
	} {
		status, body := request(t, http.MethodGet, url+path, credentials)
		if want == "404" {
			if status != http.StatusNotFound {
				t.Errorf("%s: %d %q, want 404", path, status, body)
			}
		} else if status != http.StatusOK || body != want {
			t.Errorf("%s: %d %q, want %q", path, status, body, want)
		}
	}
}

func TestIPv6Paths(t *testing.T) {
	const dual, only = "subnet-0000000000000000d", "subnet-0000000000000000e"
	c, err := cloud.New(cloud.Config{
		VPCs: []cloud.VPC{{ID: "vpc-0123456789abcdef0", CIDR: netip.MustParsePrefix("10.0.0.0/16"), IPv6CIDR: netip.MustParsePrefix("2001:db8::/56")}},
		Subnets: []cloud.Subnet{
			{ID: dual, VPCID: "vpc-0123456789abcdef0", Zone: "us-east-1a", CIDR: netip.MustParsePrefix("10.0.1.0/24"), IPv6CIDR: netip.MustParsePrefix("2001:db8:0:1::/64")},
			{ID: only, VPCID: "vpc-0123456789abcdef0", Zone: "us-east-1a", IPv6CIDR: netip.MustParsePrefix("2001:db8:0:2::/64"), IPv6Native: true},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.RunInstance(cloud.RunInstance{ID: instanceID, Type: "p4d.24xlarge", SubnetID: dual}); err != nil {
		t.Fatal(err)
	}
	attach := func(in cloud.CreateNetworkInterfaceInput, card int32) cloud.Interface {
		eni, err := c.CreateNetworkInterface(in)
		if err == nil {
			_, err = c.AttachNetworkInterface(cloud.AttachNetworkInterfaceInput{NetworkInterfaceID: eni.ID, InstanceID: instanceID, DeviceIndex: 1, NetworkCardIndex: card})
		}
		if err != nil {
			t.Fatal(err)
		}
		return eni
	}
	two := 2
	both := attach(cloud.CreateNetworkInterfaceInput{SubnetID: dual, IPv4PrefixCount: 1, IPv6: cloud.AddressRequest{Count: &two}}, 0)
	v6 := attach(cloud.CreateNetworkInterfaceInput{SubnetID: only, IPv6: cloud.AddressRequest{PrefixCount: &two}}, 3)
	_, url := serve(t, c)
	credentials := map[string]string{tokenHeader: token(t, url)}
	for eni, paths := range map[*cloud.Interface]map[string]string{
		&both: {
			"ipv6s":                   both.IPv6Addresses[0].String() + "\n" + both.IPv6Addresses[1].String(),
			"subnet-ipv6-cidr-blocks": "2001:db8:0:1::/64",
			"vpc-ipv6-cidr-blocks":    "2001:db8::/56",
			"ipv4-prefix":             both.IPv4Prefixes[0].String(),
			"ipv6-prefix":             "404",
			"local-ipv4s":             both.PrivateIPs[0].String(),
			"network-card":            "0",
		},
		&v6: {
			"ipv6s":                   "404",
			"subnet-ipv6-cidr-blocks": "2001:db8:0:2::/64",
			"subnet-ipv4-cidr-block":  "404",
			"ipv4-prefix":             "404",
			"ipv6-prefix":             v6.IPv6Prefixes[0].String() + "\n" + v6.IPv6Prefixes[1].String(),
			"local-ipv4s":             "404",
			"local-hostname":          "404",
			"network-card":            "3",
		},
	} {
		for path, want := range paths {
			status, body := request(t, http.MethodGet, url+"/latest/meta-data/network/interfaces/macs/"+eni.MAC+"/"+path, credentials)
			if want == "404" && status != http.StatusNotFound || want != "404" && body != want {
				t.Errorf("%s: %d %q, want %q", path, status, body, want)
			}
		}
	}
	if status, body := request(t, http.MethodGet, url+"/latest/meta-data/ipv6", credentials); status != http.StatusNotFound {
		t.Errorf("the primary ENI has no IPv6 address, but ipv6: %d %s", status, body)
	}
}

func TestListedBeforeItsValues(t *testing.T) {
	m := cloud.Metadata{Interfaces: []cloud.MetadataInterface{{MAC: "0a:00:00:00:00:01"}}}
	tree := newTree(m, time.Now())
	const macs = "/latest/meta-data/network/interfaces/macs/"
	if list, ok := tree.get(macs); !ok || list != "0a:00:00:00:00:01/" {
		t.Errorf("list = %q, %v", list, ok)
	}
	for _, path := range []string{"0a:00:00:00:00:01/", "0a:00:00:00:00:01/device-number"} {
		if value, ok := tree.get(macs + path); ok {
			t.Errorf("%s = %q, want none", path, value)
		}
	}
}

// The real client is the judge of the protocol.
func TestSDK(t *testing.T) {
	c, instance := newCloud(t)
	_, url := serve(t, c)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_PROFILE", "AWS_EC2_METADATA_DISABLED"} {
		t.Setenv(name, "")
	}
	ctx := context.Background()
	client := imds.New(imds.Options{Endpoint: url, EnableFallback: aws.FalseTernary})
	document, err := client.GetInstanceIdentityDocument(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if document.AccountID != "123456789012" || document.InstanceID != instanceID || document.PrivateIP != instance.PrivateIP.String() {
		t.Errorf("identity document: %+v", document)
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithEC2IMDSRegion())
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Region != "us-east-1" || credentials.AccessKeyID != "ASIA123456789ABCDEF0" || credentials.Expired() {
		t.Errorf("region %q, credentials %+v", cfg.Region, credentials)
	}
}

func TestFaults(t *testing.T) {
	c, _ := newCloud(t)
	s, url := serve(t, c)
	credentials := map[string]string{tokenHeader: token(t, url)}
	get := func(path string) int {
		t.Helper()
		status, _ := request(t, http.MethodGet, url+path, credentials)
		return status
	}
	inject := func(f Fault) {
		t.Helper()
		if err := s.Inject(f); err != nil {
			t.Fatal(err)
		}
	}
	inject(Fault{Path: "/latest/meta-data/network", Status: 503, Skip: 1, Count: 2})
	const macs, id = "/latest/meta-data/network/interfaces/macs/", "/latest/meta-data/instance-id"
	for i, want := range []int{200, 503, 503, 200} {
		if got := get(macs); got != want {
			t.Errorf("request %d: %d, want %d", i, got, want)
		}
	}
	if len(s.Faults()) != 0 {
		t.Errorf("a fault that is used up is still there: %+v", s.Faults())
	}

	inject(Fault{Status: 404})
	if got := get(id); got != 404 {
		t.Errorf("%d, want 404", got)
	}
	s.ClearFaults()

	inject(Fault{Body: "i-0", Count: 2})
	if status, body := request(t, http.MethodGet, url+"/latest/meta-data/none", credentials); status != 404 {
		t.Errorf("a lie about nothing: %d %s", status, body)
	}
	if status, body := request(t, http.MethodGet, url+id, credentials); status != 200 || body != "i-0" {
		t.Errorf("a lie: %d %s", status, body)
	}

	inject(Fault{Hang: true, Count: 1})
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+id, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := http.DefaultClient.Do(r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a request that hangs ended with %v", err)
	}
	if got := get(id); got != 200 {
		t.Errorf("afterwards: %d, want 200", got)
	}
}

func TestFaultErrors(t *testing.T) {
	c, _ := newCloud(t)
	s, _ := serve(t, c)
	for want, f := range map[string]Fault{
		"no effect":       {},
		"status 200":      {Status: 200},
		"begins with":     {Path: "latest", Status: 503},
		"want 0 or more":  {Count: -1, Status: 503},
		"body goes with":  {Body: "x", Status: 503},
		"delay -1s: want": {Delay: Duration(-time.Second)},
	} {
		if err := s.Inject(f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Inject(%+v) = %v, want an error with %q", f, err, want)
		}
	}
	var f Fault
	if err := json.Unmarshal([]byte(`{"delay":"1.5s","status":503}`), &f); err != nil || f.Delay != Duration(1500*time.Millisecond) {
		t.Errorf("from JSON: %+v, %v", f, err)
	}
}
