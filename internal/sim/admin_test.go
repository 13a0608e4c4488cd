package sim

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/metadata"
)

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func hostEC2(s *Simulator) *ec2.Client {
	return ec2.New(ec2.Options{
		BaseEndpoint: aws.String(s.EC2URL()), Region: "us-east-1", RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDTEST", "x", ""),
	})
}

func TestAdminInstances(t *testing.T) {
	s := start(t, Config{Topology: Topology{Nodes: Nodes(1)}})
	ctx, client := t.Context(), NewClient(s.AdminURL())
	check(t, client.Healthy(ctx))
	info := must[Info](t)(client.Info(ctx))
	if info.EC2URL != s.EC2URL() || info.NodeEC2URL != s.NodeEC2URL() || len(info.Topology.Subnets) != 6 || len(info.Services) != 1 {
		t.Errorf("info %+v", info)
	}
	added := must[InstanceInfo](t)(client.AddInstance(ctx, NodeSpec{Name: "extra", Zone: "us-east-1b"}))
	if added.Zone != "us-east-1b" || !strings.HasPrefix(added.Namespace, "/proc/") || added.ProviderID != "aws:///us-east-1b/"+added.ID {
		t.Errorf("added %+v", added)
	}
	check(t, client.SetInstanceState(ctx, "extra", cloud.InstanceStopped))
	if got := must[InstanceInfo](t)(client.Instance(ctx, added.ID)); got.State != cloud.InstanceStopped {
		t.Errorf("state %q", got.State)
	}
	check(t, client.Terminate(ctx, "extra"))
	eventually(t, "one instance is left", func() bool { return len(must[[]InstanceInfo](t)(client.Instances(ctx))) == 1 })
	if drops, err := client.Drops(ctx); err != nil || drops == nil {
		t.Errorf("drops %v, %v", drops, err)
	}
	for want, err := range map[string]error{
		`no node "extra", only node-1`: client.Terminate(ctx, "extra"),
		"m0.none": func() error {
			_, err := client.AddInstance(ctx, NodeSpec{Type: "m0.none"})
			return err
		}(),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
}

func TestAdminENIs(t *testing.T) {
	s := start(t, Config{NoNetwork: true, Topology: Topology{Nodes: Nodes(1)}})
	ctx, client, api := t.Context(), NewClient(s.AdminURL()), hostEC2(s)
	created, err := api.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &s.Topology().Subnets[1].ID})
	check(t, err)
	id := *created.NetworkInterface.NetworkInterfaceId
	_, err = api.AttachNetworkInterface(ctx, &ec2.AttachNetworkInterfaceInput{
		NetworkInterfaceId: &id, InstanceId: aws.String(node(t, s, "node-1").ID), DeviceIndex: aws.Int32(1),
	})
	check(t, err)
	status := func() string {
		for _, i := range must[[]cloud.Interface](t)(client.Interfaces(ctx)) {
			if i.ID == id {
				return i.Status
			}
		}
		return "gone"
	}
	if got := status(); got != cloud.StatusInUse {
		t.Errorf("status %q", got)
	}
	eventually(t, "detached by hand", func() bool {
		_ = client.Detach(ctx, id)
		return status() == cloud.StatusAvailable
	})
	eventually(t, "deleted by hand", func() bool {
		_ = client.Delete(ctx, id)
		return status() == "gone"
	})
	if err := client.Delete(ctx, id); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("second delete: %v", err)
	}
	counts := must[Counts](t)(client.Counts(ctx))
	if len(counts) != 2 || counts["AttachNetworkInterface"]["ok"] != 1 {
		t.Errorf("what is done by hand is counted: %v", counts)
	}
}

func TestAdminFaultsAndCalls(t *testing.T) {
	s := start(t, Config{NoNetwork: true, Topology: Topology{Nodes: Nodes(1)}})
	ctx, client, api := t.Context(), NewClient(s.AdminURL()), hostEC2(s)
	describe := func() error {
		_, err := api.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{})
		return err
	}
	check(t, client.Inject(ctx, cloud.Fault{Action: "DescribeSubnets", Code: "RequestLimitExceeded", Delay: time.Millisecond}))
	if faults := must[[]cloud.Fault](t)(client.Faults(ctx)); len(faults) != 1 || faults[0].Delay != time.Millisecond {
		t.Errorf("faults %+v", faults)
	}
	if err := describe(); err == nil || !strings.Contains(err.Error(), "RequestLimitExceeded") {
		t.Errorf("with a fault: %v", err)
	}
	check(t, client.ClearFaults(ctx))
	between := time.Now()
	check(t, describe())
	if counts := must[Counts](t)(client.Counts(ctx)); counts["DescribeSubnets"]["ok"] != 1 || counts["DescribeSubnets"]["RequestLimitExceeded"] != 1 {
		t.Errorf("counts %v", counts)
	}
	all, late := must[[]cloud.Call](t)(client.Calls(ctx, time.Time{})), must[[]cloud.Call](t)(client.Calls(ctx, between))
	if len(all) != 2 || len(late) != 1 || late[0].Code != "" || late[0].SourceID != "AKIDTEST" {
		t.Errorf("calls %+v, late ones %+v", all, late)
	}
	check(t, client.ResetCalls(ctx))
	if calls := must[[]cloud.Call](t)(client.Calls(ctx, time.Time{})); len(calls) != 0 {
		t.Errorf("calls after a reset: %+v", calls)
	}
	if err := client.Inject(ctx, cloud.Fault{}); err == nil || !strings.Contains(err.Error(), "no effect") {
		t.Errorf("a fault without effect: %v", err)
	}
	if err := client.Inject(ctx, cloud.Fault{Action: "DescribeSubnet", Code: "x"}); err == nil || !strings.Contains(err.Error(), `no action "DescribeSubnet"`) {
		t.Errorf("a fault of an unknown action: %v", err)
	}
	check(t, client.Inject(ctx, cloud.Fault{Action: "*", Code: "x"}))
}

func TestAdminMetadataFaults(t *testing.T) {
	s := start(t, Config{NoNetwork: true, Topology: Topology{Nodes: Nodes(2)}})
	ctx, client := t.Context(), NewClient(s.AdminURL())
	check(t, client.InjectMetadata(ctx, "node-1", metadata.Fault{Status: http.StatusServiceUnavailable}))
	tokenStatus := func(name string) int {
		t.Helper()
		r := must[*http.Request](t)(http.NewRequestWithContext(ctx, http.MethodPut, node(t, s, name).IMDSURL+"/latest/api/token", nil))
		r.Header.Set("X-aws-ec2-metadata-token-ttl-seconds", "60")
		answer := must[*http.Response](t)(http.DefaultClient.Do(r))
		_ = answer.Body.Close()
		return answer.StatusCode
	}
	if one, two := tokenStatus("node-1"), tokenStatus("node-2"); one != 503 || two != 200 {
		t.Errorf("with a fault of node-1: %d and %d", one, two)
	}
	if faults := must[[]metadata.Fault](t)(client.MetadataFaults(ctx, "node-1")); len(faults) != 1 {
		t.Errorf("faults %+v", faults)
	}
	check(t, client.ClearMetadataFaults(ctx, "node-1"))
	if one := tokenStatus("node-1"); one != 200 {
		t.Errorf("without: %d", one)
	}
}

func TestAdminSettings(t *testing.T) {
	s := start(t, Config{NoNetwork: true, Topology: Topology{Nodes: Nodes(1), Timing: &cloud.Timing{Read: time.Millisecond}}})
	ctx, client := t.Context(), NewClient(s.AdminURL())
	put := func(path, body string) (int, string) {
		t.Helper()
		r := must[*http.Request](t)(http.NewRequestWithContext(ctx, http.MethodPut, s.AdminURL()+path, strings.NewReader(body)))
		answer := must[*http.Response](t)(http.DefaultClient.Do(r))
		defer answer.Body.Close()
		return answer.StatusCode, string(must[[]byte](t)(io.ReadAll(answer.Body)))
	}
	if status, body := put("/timing", `{"attach":"2s"}`); status != 200 {
		t.Errorf("timing: %d %s", status, body)
	}
	if got := must[cloud.Timing](t)(client.Timing(ctx)); got != (cloud.Timing{Read: time.Millisecond, Attach: 2 * time.Second}) {
		t.Errorf("timing %+v", got)
	}
	check(t, client.SetTiming(ctx, cloud.Timing{}))
	check(t, client.SetThrottle(ctx, true))

	subnet := s.Topology().Subnets[1]
	check(t, client.SetFreeAddresses(ctx, subnet.ID, 0))
	_, err := hostEC2(s).CreateNetworkInterface(context.Background(), &ec2.CreateNetworkInterfaceInput{SubnetId: &subnet.ID})
	if err == nil || !strings.Contains(err.Error(), "InsufficientFreeAddressesInSubnet") {
		t.Errorf("a used-up subnet: %v", err)
	}
	for path, want := range map[string][]string{
		"/timing {\"atach\":\"2s\"}":                      {"400", "atach"},
		"/timing {\"attach\":2}":                          {"400", "quotes"},
		"/throttle {\"enable\":true}":                     {"400", "enable"},
		"/throttle {} {}":                                 {"400", "more than one"},
		"/subnets/subnet-12345678/free-addresses {}":      {"404", "does not exist"},
		"/instances/node-9/state {\"state\":\"stopped\"}": {"404", "node-9"},
		"/throttle/now {}":                                {"404", `"error": "not found: PUT /throttle/now; docs/simulator.md`},
		"/faults {}":                                      {"404", "not found: PUT /faults;"},
	} {
		path, body, _ := strings.Cut(path, " ")
		status, text := put(path, body)
		if got := http.StatusText(status); !slices.Contains([]string{"Bad Request", "Not Found"}, got) || !strings.Contains(text, want[1]) || (status == 404) != (want[0] == "404") {
			t.Errorf("PUT %s %s: %d %s, want %v", path, body, status, text, want)
		}
	}
}
