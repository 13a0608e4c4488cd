package imds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

const (
	primary   = "02:00:00:00:00:01"
	secondary = "02:00:00:00:00:02"
)

const document = `{
  "accountId": "123456789012", "architecture": "x86_64", "availabilityZone": "us-east-1a",
  "instanceId": "i-0123456789abcdef0", "instanceType": "m5.large", "pendingTime": "2024-05-01T12:00:00Z",
  "privateIp": "10.0.0.5", "region": "us-east-1", "version": "2017-09-30", "marketplaceProductCodes": null
}`

// service answers as IMDSv2 does. Keys are paths below /latest/meta-data/,
// or absolute.
type service struct {
	values   map[string]string
	requests atomic.Int32
}

func newService(edit func(map[string]string)) *service {
	values := map[string]string{
		"/latest/dynamic/instance-identity/document": document,
		"services/partition":                         "aws",
		"mac":                                        primary,
		"network/interfaces/macs/":                   primary + "/\n" + secondary + "/",
	}
	add := func(mac string, index int, eni string) {
		for name, value := range map[string]string{
			"device-number": fmt.Sprint(index), "interface-id": eni, "subnet-id": "subnet-1", "vpc-id": "vpc-1",
		} {
			values["network/interfaces/macs/"+mac+"/"+name] = value
		}
	}
	add(primary, 0, "eni-1")
	add(secondary, 1, "eni-2")
	edit(values)
	return &service{values: values}
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	const token = "AQAEAtoken"
	if r.URL.Path == "/latest/api/token" {
		if r.Method != http.MethodPut || r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds") == "" {
			http.Error(w, "bad request for a token", http.StatusBadRequest)
			return
		}
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
		_, _ = w.Write([]byte(token))
		return
	}
	if r.Header.Get("X-Aws-Ec2-Metadata-Token") != token {
		http.Error(w, "no token", http.StatusUnauthorized)
		return
	}
	value, ok := s.values[strings.TrimPrefix(r.URL.Path, "/latest/meta-data/")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write([]byte(value))
}

// serve returns a client of what the handler answers, which asks once only.
func serve(t *testing.T, h http.Handler) *Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return clientOf(server.URL)
}

func clientOf(endpoint string) *Client {
	return newClient(aws.Config{
		ConfigSources: []any{config.LoadOptions{EC2IMDSEndpoint: endpoint}},
		Retryer:       func() aws.Retryer { return aws.NopRetryer{} },
	})
}

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

func TestIdentity(t *testing.T) {
	s := newService(func(map[string]string) {})
	got, err := serve(t, s).Identity(t.Context())
	want := Identity{
		InstanceID: "i-0123456789abcdef0", InstanceType: "m5.large", Zone: "us-east-1a", Region: "us-east-1",
		Partition: "aws", AccountID: "123456789012", MAC: mac(primary), VPCID: "vpc-1",
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Identity = %+v, %v; want %+v", got, err, want)
	}
	const arn = "arn:aws:ec2:us-east-1:123456789012:instance/i-0123456789abcdef0"
	if got.InstanceARN() != arn {
		t.Errorf("ARN is %s, want %s", got.InstanceARN(), arn)
	}
	if n := s.requests.Load(); n != 5 {
		t.Errorf("it took %d requests, want 5", n)
	}
}

func TestIdentityVariants(t *testing.T) {
	region := func(name string) string { return strings.ReplaceAll(document, "us-east-1", name) }
	const documentPath = "/latest/dynamic/instance-identity/document"
	tests := []struct {
		name string
		edit func(map[string]string)
		arn  string
		err  string
	}{
		{"China", func(v map[string]string) {
			v[documentPath], v["services/partition"] = region("cn-north-1"), "aws-cn"
		}, "arn:aws-cn:ec2:cn-north-1:123456789012:instance/i-0123456789abcdef0", ""},
		{"GovCloud", func(v map[string]string) {
			v[documentPath], v["services/partition"] = region("us-gov-west-1"), "aws-us-gov"
		}, "arn:aws-us-gov:ec2:us-gov-west-1:123456789012:instance/i-0123456789abcdef0", ""},
		{"no VPC", func(v map[string]string) { delete(v, "network/interfaces/macs/"+primary+"/vpc-id") },
			"arn:aws:ec2:us-east-1:123456789012:instance/i-0123456789abcdef0", ""},
		{"no account", func(v map[string]string) {
			v[documentPath] = strings.Replace(document, `"123456789012"`, `""`, 1)
		}, "", "nothing for accountId"},
		{"document with the account alone", func(v map[string]string) {
			v[documentPath] = `{"accountId": "123456789012"}`
			v["instance-id"], v["instance-type"] = "i-0123456789abcdef0", "m5.large"
			v["placement/availability-zone"], v["placement/region"] = "us-east-1a", "us-east-1"
		}, "arn:aws:ec2:us-east-1:123456789012:instance/i-0123456789abcdef0", ""},
		{"empty document", func(v map[string]string) { v[documentPath] = "{}" }, "", "nothing for instanceId, instanceType, availabilityZone, region, accountId"},
		{"no document", func(v map[string]string) { delete(v, documentPath) }, "", "404 for the instance identity document"},
		{"document that is none", func(v map[string]string) { v[documentPath] = "<html>" }, "", "instance identity document"},
		{"no document, and what to do", func(v map[string]string) { delete(v, documentPath) }, "", "make it serve"},
		{"no partition", func(v map[string]string) { delete(v, "services/partition") },
			"arn:aws:ec2:us-east-1:123456789012:instance/i-0123456789abcdef0", ""},
		{"no partition, in GovCloud", func(v map[string]string) {
			v[documentPath] = region("us-gov-west-1")
			delete(v, "services/partition")
		}, "arn:aws-us-gov:ec2:us-gov-west-1:123456789012:instance/i-0123456789abcdef0", ""},
		{"no MAC", func(v map[string]string) { v["mac"] = "none" }, "", "MAC for the primary ENI"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, err := serve(t, newService(tt.edit)).Identity(t.Context())
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error is %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil || id.InstanceARN() != tt.arn {
				t.Errorf("ARN is %s, %v; want %s", id.InstanceARN(), err, tt.arn)
			}
		})
	}
}

func TestPartitionOf(t *testing.T) {
	for region, want := range map[string]string{
		"us-east-1": "aws", "eu-central-2": "aws", "cn-northwest-1": "aws-cn", "us-gov-east-1": "aws-us-gov",
		"us-iso-east-1": "aws-iso", "us-isob-east-1": "aws-iso-b", "us-isof-south-1": "aws-iso-f", "eu-isoe-west-1": "aws-iso-e", "eusc-de-east-1": "aws-eusc",
	} {
		if got := partitionOf(region); got != want {
			t.Errorf("%s is in %s, want %s", region, got, want)
		}
	}
	id, err := serve(t, newService(func(v map[string]string) { delete(v, "services/partition") })).Identity(t.Context())
	if err != nil || !id.PartitionAssumed {
		t.Errorf("the identity does not say that the partition is assumed: %+v, %v", id, err)
	}
}

// The lags of IMDS.
func TestInterfaces(t *testing.T) {
	at := func(mac, name string) string { return "network/interfaces/macs/" + mac + "/" + name }
	first := Interface{MAC: mac(primary), Settled: true, ENIID: "eni-1", SubnetID: "subnet-1"}
	second := Interface{MAC: mac(secondary), Settled: true, DeviceIndex: 1, ENIID: "eni-2", SubnetID: "subnet-1"}
	unsettled := Interface{MAC: mac(secondary)}
	edited := func(i Interface, edit func(*Interface)) Interface { edit(&i); return i }

	tests := []struct {
		name string
		edit func(map[string]string)
		want []Interface
		err  string
	}{
		{name: "settled", edit: func(map[string]string) {}, want: []Interface{first, second}},
		{name: "attached, not listed yet", edit: func(v map[string]string) {
			v["network/interfaces/macs/"] = primary + "/"
		}, want: []Interface{first}},
		{name: "listed, no value there yet", edit: func(v map[string]string) {
			for path := range v {
				if strings.HasPrefix(path, at(secondary, "")) {
					delete(v, path)
				}
			}
		}, want: []Interface{first, unsettled}},
		{name: "no device number yet", edit: func(v map[string]string) { delete(v, at(secondary, "device-number")) },
			want: []Interface{first, unsettled}},
		{name: "no ENI yet", edit: func(v map[string]string) { delete(v, at(secondary, "interface-id")) },
			want: []Interface{first, unsettled}},
		{name: "no subnet yet", edit: func(v map[string]string) { delete(v, at(secondary, "subnet-id")) },
			want: []Interface{first, unsettled}},
		{name: "device number 0 before the attach has propagated", edit: func(v map[string]string) { v[at(secondary, "device-number")] = "0" },
			want: []Interface{first, edited(second, func(i *Interface) { i.DeviceIndex, i.Settled = 0, false })}},
		{name: "first of the second card", edit: func(v map[string]string) {
			v[at(secondary, "device-number")], v[at(secondary, "network-card")] = "0", "1"
		}, want: []Interface{first, edited(second, func(i *Interface) { i.DeviceIndex, i.Card = 0, 1 })}},
		{name: "card under its other name", edit: func(v map[string]string) { v[at(secondary, "network-card-index")] = "2" },
			want: []Interface{first, edited(second, func(i *Interface) { i.Card = 2 })}},
		{name: "nothing listed", edit: func(v map[string]string) { v["network/interfaces/macs/"] = "" }},
		{name: "without slashes", edit: func(v map[string]string) { v["network/interfaces/macs/"] = primary + "\n" + secondary + "\n" },
			want: []Interface{first, second}},
		{name: "not a number", edit: func(v map[string]string) { v[at(secondary, "device-number")] = "one" }, err: "an invalid number for network/interfaces"},
		{name: "not a MAC", edit: func(v map[string]string) { v["network/interfaces/macs/"] = "x/" }, err: "with an invalid MAC"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := serve(t, newService(tt.edit)).Interfaces(t.Context())
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error is %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Interfaces = %+v, %v\nwant %+v", got, err, tt.want)
			}
		})
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	status := func(code int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	}
	// What a hop limit of 1 does to a container: requests come in, answers
	// do not come out.
	hung := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	// An emulator, or a proxy, that speaks version 1 only.
	v1 := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte(document))
	})
	dropped := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	tests := []struct {
		name    string
		handler http.Handler
		want    string
	}{
		{"switched off", status(http.StatusForbidden), "HttpEndpoint"},
		{"version 1 only", v1, "does not support IMDSv2"},
		{"refuses the token", status(http.StatusUnauthorized), "refused the session token"},
		{"throttled", status(http.StatusTooManyRequests), "overloaded"},
		{"broken", status(http.StatusInternalServerError), "overloaded or failing"},
		{"does not answer", hung, "HttpPutResponseHopLimit"},
		{"knows no PUT", status(http.StatusNotImplemented), "does not support IMDSv2"},
		{"hangs up", dropped, "check AWS_EC2_METADATA_SERVICE_ENDPOINT"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, tt.handler)
			_, err := c.Identity(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Identity: %v\nwant an error with %q", err, tt.want)
			}
			_, err = c.Interfaces(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Interfaces: %v\nwant an error with %q", err, tt.want)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close() // its port refuses connections now
	_, err := clientOf(server.URL).Identity(t.Context())
	if err == nil || !strings.Contains(err.Error(), "check that this is an EC2 instance") {
		t.Errorf("Identity: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := clientOf(server.URL).Identity(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestEndpointThatIsNoURL(t *testing.T) {
	_, err := clientOf("169.254.169.254").Identity(t.Context())
	if err == nil || !strings.Contains(err.Error(), "check AWS_EC2_METADATA_SERVICE_ENDPOINT") {
		t.Errorf("Identity: %v", err)
	}
}

func TestNewUsesTheEnvironment(t *testing.T) {
	server := httptest.NewServer(newService(func(map[string]string) {}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.URL)
	c, err := New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if id, err := c.Identity(t.Context()); err != nil || id.InstanceID != "i-0123456789abcdef0" {
		t.Errorf("Identity = %+v, %v", id, err)
	}

	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	if c, err = New(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Identity(t.Context()); err == nil || !strings.Contains(err.Error(), "AWS_EC2_METADATA_DISABLED") {
		t.Errorf("disabled: %v", err)
	}
}

// New's client must not fall back to version 1 either.
func TestNewDoesNotFallBack(t *testing.T) {
	var unauthenticated atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			unauthenticated.Add(1)
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.URL)
	c, err := New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Identity(t.Context()); err == nil || unauthenticated.Load() != 0 {
		t.Errorf("Identity: %v, with %d requests without a token", err, unauthenticated.Load())
	}
}

// What others may change about an ENI; what IMDS does not show is nothing.
func TestAssigned(t *testing.T) {
	dir := "network/interfaces/macs/" + secondary + "/"
	for _, test := range []struct {
		name      string
		addresses string
		ipv6      string
		groups    string
		want      string
		err       string
	}{
		{"two addresses", "10.0.0.7\n10.0.0.9", "", "sg-1\nsg-2", "{[10.0.0.7 10.0.0.9] [sg-1 sg-2]}", ""},
		{"of both IP families", "10.0.0.7", "fd00::7\nfd00::9", "sg-1", "{[10.0.0.7 fd00::7 fd00::9] [sg-1]}", ""},
		{"of IPv6 only", "", "fd00::7", "sg-1", "{[fd00::7] [sg-1]}", ""},
		{"not shown", "", "", "", "{[] []}", ""},
		{"no addresses", "", "", "sg-1", "{[] [sg-1]}", ""},
		{"a page of a proxy", "<html>", "", "sg-1", "", "<html>"},
		{"a page of a proxy, for IPv6", "10.0.0.7", "<html>", "sg-1", "", "<html>"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newService(func(v map[string]string) {
				for name, value := range map[string]string{"local-ipv4s": test.addresses, "ipv6s": test.ipv6, "security-group-ids": test.groups} {
					if value != "" {
						v[dir+name] = value
					}
				}
			})
			got, err := serve(t, s).Assigned(t.Context(), mac(secondary))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v, want one about %q", err, test.err)
				}
				return
			}
			if text := fmt.Sprint(got); err != nil || text != test.want {
				t.Errorf("%s, %v, want %s", text, err, test.want)
			}
			if n := s.requests.Load(); n != 4 {
				t.Errorf("it took %d requests, want 4 with that for a token", n)
			}
		})
	}
}

// Between two rounds of questions, half a minute apart, no connection is kept.
func TestClosesItsConnection(t *testing.T) {
	closed := make(chan struct{}, 16)
	server := httptest.NewUnstartedServer(newService(func(map[string]string) {}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed <- struct{}{}
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	if _, err := clientOf(server.URL).Identity(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Error("the connection is still open after 20 s")
	}
}
