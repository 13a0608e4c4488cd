package query

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

func (r *rig) inject(f cloud.Fault) {
	r.Helper()
	if err := r.cloud.Inject(f); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) tryCreate(subnet string) error {
	_, err := r.ec2.CreateNetworkInterface(r.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &subnet})
	return err
}

func TestFaultBefore(t *testing.T) {
	for _, test := range []struct {
		fault  cloud.Fault
		status int
	}{
		{cloud.Fault{Code: "RequestLimitExceeded"}, 503},
		{cloud.Fault{Code: "InternalError"}, 500},
		{cloud.Fault{Code: "UnauthorizedOperation"}, 403},
		{cloud.Fault{Code: "InsufficientFreeAddressesInSubnet"}, 400},
		{cloud.Fault{Code: "Unavailable", HTTPStatus: 502, Message: "hello"}, 502},
	} {
		r := newRig(t)
		test.fault.Action, test.fault.Count, test.fault.Skip = "CreateNetworkInterface", 2, 1
		r.inject(test.fault)
		var got []string
		for range 4 {
			code, status := failure(r.tryCreate(subnetA))
			if code == test.fault.Code && status == test.status {
				code = "hit"
			}
			got = append(got, code)
		}
		if text := strings.Join(got, ","); text != ",hit,hit," {
			t.Errorf("%s: got %s", test.fault.Code, text)
		}
		if n := len(r.cloud.Interfaces()); n != 2 {
			t.Errorf("%s: %d ENIs, want 2", test.fault.Code, n)
		}
		if left := r.cloud.Faults(); len(left) != 0 {
			t.Errorf("%s: still in force: %+v", test.fault.Code, left)
		}
	}
}

func TestFaultConditions(t *testing.T) {
	r := newRig(t)
	host := r.host(subnetA)
	one, two := r.create(subnetA), r.create(subnetA)
	attachment := r.attach(one.NetworkInterfaceId, host.ID, 1)
	r.inject(cloud.Fault{ResourceID: *one.NetworkInterfaceId, Code: "Boom"})
	describe := func(id *string) error {
		_, err := r.ec2.DescribeNetworkInterfaces(r.ctx, &ec2.DescribeNetworkInterfacesInput{Filters: filter("network-interface-id", *id)})
		return err
	}
	r.wantCode(describe(one.NetworkInterfaceId), "Boom")
	r.wantCode(describe(two.NetworkInterfaceId), "")
	_, err := r.ec2.DetachNetworkInterface(r.ctx, &ec2.DetachNetworkInterfaceInput{AttachmentId: &attachment})
	r.wantCode(err, "Boom")
	r.cloud.ClearFaults()
	r.wantCode(describe(one.NetworkInterfaceId), "")

	r.inject(cloud.Fault{SourceID: "OTHER", Code: "Boom"})
	r.wantCode(describe(two.NetworkInterfaceId), "")
	_, err = r.client("OTHER").DescribeNetworkInterfaces(r.ctx, &ec2.DescribeNetworkInterfacesInput{})
	r.wantCode(err, "Boom")
	r.cloud.ClearFaults()

	r.inject(cloud.Fault{Action: "*", Code: "Boom", Probability: 0.5})
	hit := 0
	for range 100 {
		if describe(two.NetworkInterfaceId) != nil {
			hit++
		}
	}
	if hit < 20 || hit > 80 {
		t.Errorf("probability 0.5 hit %d of 100", hit)
	}

	for _, bad := range []cloud.Fault{{}, {Code: "x", Probability: 2}, {Code: "x", Count: -1}, {Code: "x", HTTPStatus: 200}, {After: true, Message: "x"}, {Reset: true, Hang: true}} {
		if r.cloud.Inject(bad) == nil {
			t.Errorf("fault %+v was accepted", bad)
		}
	}
}

func TestFaultAfter(t *testing.T) {
	r := newRig(t)
	r.inject(cloud.Fault{Action: "CreateNetworkInterface", After: true, Count: 1})
	err := r.tryCreate(subnetA)
	var api smithy.APIError
	if err == nil || errors.As(err, &api) {
		t.Errorf("a lost reply gave %v, want an error of the connection", err)
	}
	if n := len(r.cloud.Interfaces()); n != 1 {
		t.Errorf("%d ENIs after a lost reply, want 1", n)
	}
	if calls := r.cloud.Calls(); len(calls) != 1 || !calls[0].Lost || calls[0].Code != "" {
		t.Errorf("logged: %+v", calls)
	}
	r.inject(cloud.Fault{Action: "CreateNetworkInterface", After: true, Count: 1, Code: "InternalError"})
	r.wantCode(r.tryCreate(subnetA), "InternalError")
	if n := len(r.cloud.Interfaces()); n != 2 {
		t.Errorf("%d ENIs after a late error, want 2", n)
	}
}

// A connection that is reset before the call is carried out looks the same to
// the caller, and has changed nothing.
func TestFaultReset(t *testing.T) {
	r := newRig(t)
	r.inject(cloud.Fault{Action: "CreateNetworkInterface", Reset: true, Count: 1})
	err := r.tryCreate(subnetA)
	var api smithy.APIError
	if err == nil || errors.As(err, &api) {
		t.Errorf("a reset connection gave %v, want an error of the connection", err)
	}
	if calls := r.cloud.Calls(); len(r.cloud.Interfaces()) != 0 || len(calls) != 1 || !calls[0].Lost {
		t.Errorf("%d ENIs; logged: %+v", len(r.cloud.Interfaces()), calls)
	}
}

func TestFaultHang(t *testing.T) {
	r := newRig(t)
	r.inject(cloud.Fault{Action: "CreateNetworkInterface", Hang: true})
	ctx, cancel := context.WithCancel(r.ctx)
	ended := make(chan error)
	create := func(ctx context.Context) {
		_, err := r.ec2.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: aws.String(subnetA)})
		ended <- err
	}
	go create(ctx)
	r.eventually("the call hangs", func() bool { return len(r.cloud.Calls()) == 1 && r.cloud.Calls()[0].Pending })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	r.eventually("the call has ended here, too", func() bool { return r.cloud.Calls()[0].Lost })

	go create(r.ctx)
	r.eventually("the second call hangs", func() bool { return len(r.cloud.Calls()) == 2 })
	r.cloud.ClearFaults()
	if err := <-ended; err == nil {
		t.Error("a call that hung was answered")
	}
	if n := len(r.cloud.Interfaces()); n != 0 {
		t.Errorf("%d ENIs, want none", n)
	}
}

// A call is carried out even if its caller has gone, as in EC2.
func TestCallerGoesAway(t *testing.T) {
	r := newRig(t)
	r.inject(cloud.Fault{Action: "CreateNetworkInterface", Delay: 50 * time.Millisecond})
	ctx, cancel := context.WithCancel(r.ctx)
	ended := make(chan error)
	go func() {
		_, err := r.ec2.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: aws.String(subnetA)})
		ended <- err
	}()
	r.eventually("the call has come", func() bool { return len(r.cloud.Calls()) == 1 })
	cancel()
	if err := <-ended; err == nil {
		t.Error("the call that its caller gave up has an answer")
	}
	r.eventually("it was carried out", func() bool { return len(r.cloud.Interfaces()) == 1 })
}

func TestDelayAndLatency(t *testing.T) {
	r := newRig(t, func(c *cloud.Config) { c.Timing.Read, c.Timing.Write = 20*time.Millisecond, 40*time.Millisecond })
	r.inject(cloud.Fault{Action: "CreateNetworkInterface", Delay: 30 * time.Millisecond})
	r.wantCode(r.tryCreate(subnetA), "")
	r.list(&ec2.DescribeNetworkInterfacesInput{})
	calls := r.cloud.Calls()
	if got := calls[0].Latency; got < 70*time.Millisecond {
		t.Errorf("create took %v, want 70 ms or more", got)
	}
	if got := calls[1].Latency; got < 20*time.Millisecond {
		t.Errorf("describe took %v, want 20 ms or more", got)
	}
}

func TestThrottle(t *testing.T) {
	r := newRig(t, func(c *cloud.Config) { c.Throttle = true })
	const calls = 130
	throttled := func(call func() error) (n int) {
		t.Helper()
		for range calls {
			switch code, status := failure(call()); {
			case code == "RequestLimitExceeded" && status == 503:
				n++
			case code != "":
				t.Fatalf("got %s", code)
			}
		}
		return n
	}
	begin := time.Now()
	describeAll := func() error {
		_, err := r.ec2.DescribeNetworkInterfaces(r.ctx, &ec2.DescribeNetworkInterfacesInput{})
		return err
	}
	unfiltered := throttled(describeAll)
	paged := throttled(func() error {
		_, err := r.ec2.DescribeNetworkInterfaces(r.ctx, &ec2.DescribeNetworkInterfacesInput{MaxResults: aws.Int32(5)})
		return err
	})
	created := throttled(func() error { return r.tryCreate(subnetA) })
	// What may have dropped into the buckets meanwhile, the fastest one.
	refilled := int(time.Since(begin).Seconds()*20) + 1
	for _, test := range []struct {
		what          string
		got, expected int
	}{{"create", created, 30}, {"unfiltered describe", unfiltered, 80}, {"paged describe", paged, 30}} {
		if test.got > test.expected || test.got < test.expected-refilled {
			t.Errorf("%s: %d of %d calls were throttled, want %d", test.what, test.got, calls, test.expected)
		}
	}
	if n := cloud.CountCalls(r.cloud.Calls()); n["CreateNetworkInterface"] != calls || n["DescribeNetworkInterfaces"] != 2*calls {
		t.Errorf("logged: %v", n)
	}
	r.cloud.SetThrottle(false)
	if n := throttled(func() error { return r.tryCreate(subnetA2) }); n != 0 {
		t.Errorf("%d calls were throttled with throttling off", n)
	}
}

func TestCallLog(t *testing.T) {
	r := newRig(t)
	eni := r.create(subnetA)
	must[*ec2.DeleteNetworkInterfaceOutput](r)(r.client("AKIDOTHER").DeleteNetworkInterface(r.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: eni.NetworkInterfaceId}))
	calls := r.cloud.Calls()
	if len(calls) != 2 {
		t.Fatalf("logged: %+v", calls)
	}
	if c := calls[0]; c.Action != "CreateNetworkInterface" || c.SourceID != accessKey || !strings.Contains(c.UserAgent, "aws-sdk-go-v2") ||
		!strings.Contains(c.UserAgent, "rig") || c.Params["SubnetId"] != subnetA || c.Code != "" || c.Pending || c.Time.IsZero() || c.RequestID == "" {
		t.Errorf("first: %+v", c)
	}
	if c := calls[1]; c.SourceID != "AKIDOTHER" || c.Params["NetworkInterfaceId"] != *eni.NetworkInterfaceId {
		t.Errorf("second: %+v", c)
	}
	if err := r.cloud.DeleteByHand(*r.create(subnetA).NetworkInterfaceId); err != nil {
		t.Fatal(err)
	}
	if n := cloud.CountCalls(r.cloud.Calls()); n["DeleteNetworkInterface"] != 1 {
		t.Errorf("a delete by hand was logged: %v", n)
	}
	r.cloud.ResetCalls()
	if n := len(r.cloud.Calls()); n != 0 {
		t.Errorf("%d calls after a reset", n)
	}
}

// Many nodes at once, each with its own ENIs: nothing gets mixed up, and their
// latencies pass side by side.
func TestConcurrency(t *testing.T) {
	const nodes = 40
	r := newRig(t, func(c *cloud.Config) {
		c.Timing = cloud.Timing{Read: time.Millisecond, Write: 5 * time.Millisecond, Attach: 3 * time.Millisecond, Detach: 3 * time.Millisecond}
	})
	var wg sync.WaitGroup
	for n := range nodes {
		host := r.host(subnetA)
		wg.Go(func() {
			if err := r.oneNode(host.ID, fmt.Sprint("node-", n)); err != nil {
				t.Errorf("node %d: %v", n, err)
			}
		})
	}
	wg.Wait()
	if left := len(r.cloud.Interfaces()); left != nodes {
		t.Errorf("%d ENIs left, want the %d primary ones", left, nodes)
	}
	var spent time.Duration
	calls := r.cloud.Calls()
	for _, call := range calls {
		spent += call.Latency
	}
	if passed := calls[len(calls)-1].Time.Sub(calls[0].Time); passed > spent/2 {
		t.Errorf("%v of latency took %v: the calls waited for each other", spent, passed)
	}
}

func (r *rig) oneNode(host, name string) error {
	client := r.client(name)
	created, err := client.CreateNetworkInterface(r.ctx, &ec2.CreateNetworkInterfaceInput{
		SubnetId: aws.String(subnetA2), ClientToken: &name, TagSpecifications: tagSpec("node", name),
	})
	if err != nil {
		return err
	}
	eni := created.NetworkInterface.NetworkInterfaceId
	attached, err := client.AttachNetworkInterface(r.ctx, attachInput(eni, host, 1))
	if err != nil {
		return err
	}
	for status := ""; status != "attached"; {
		out, err := client.DescribeNetworkInterfaces(r.ctx, &ec2.DescribeNetworkInterfacesInput{Filters: filter("tag:node", name)})
		if err != nil {
			return err
		}
		if len(out.NetworkInterfaces) != 1 || *out.NetworkInterfaces[0].NetworkInterfaceId != *eni {
			return fmt.Errorf("found %d ENIs, want %s", len(out.NetworkInterfaces), *eni)
		}
		status = string(out.NetworkInterfaces[0].Attachment.Status)
	}
	if _, err := client.DetachNetworkInterface(r.ctx, &ec2.DetachNetworkInterfaceInput{AttachmentId: attached.AttachmentId}); err != nil {
		return err
	}
	for {
		_, err := client.DeleteNetworkInterface(r.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: eni})
		if code, _ := failure(err); code != "InvalidParameterValue" {
			return err
		}
	}
}
