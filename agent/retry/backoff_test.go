package retry

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// EC2 in trouble: it answers with one error, then with another, then not at all.
// The waits grow all the same, those of each backoff by themselves, and each error is
// new once.
func TestErrorsThatAlternate(t *testing.T) {
	now := time.Unix(10_000, 0)
	key := Key{Action: "CreateNetworkInterface"}
	var f Failures
	trouble := []error{
		ec2Error("InternalError"), ec2Error("Unavailable"), errors.New("timed out"), ec2Error("RequestLimitExceeded"),
	}
	fresh := 0
	for range 10 {
		for _, err := range trouble {
			if _, repeated := f.Failed(key, err, now); !repeated {
				fresh++
			}
		}
	}
	if fresh != len(trouble) {
		t.Errorf("%d of %d errors are new", fresh, len(trouble))
	}
	for _, test := range []struct {
		err      error
		attempts int
		backoff  Backoff
	}{
		{trouble[0], 31, transientBackoff},
		{trouble[3], 11, throttledBackoff},
		{trouble[2], 32, transientBackoff},
	} {
		failed, _ := f.Failed(key, test.err, now)
		if wait := failed.Until.Sub(now); failed.Attempts != test.attempts || wait < test.backoff.Max/2 || wait > test.backoff.Max {
			t.Errorf("%v: attempt %d, tried again in %v; want %d and about %v", test.err, failed.Attempts, wait, test.attempts, test.backoff.Max)
		}
	}
	failed, _ := f.Failed(key, ec2Error("UnauthorizedOperation"), now)
	if wait := failed.Until.Sub(now); wait > Terminal.First {
		t.Errorf("the first error that people have to end is tried again only in %v", wait)
	}
	f.Reset(key) // a success
	failed, _ = f.Failed(key, trouble[0], now)
	if failed.Attempts != 1 || failed.Until.Sub(now) > transientBackoff.First {
		t.Errorf("after a success the next error is attempt %d, tried again in %v", failed.Attempts, failed.Until.Sub(now))
	}
}

// What only people can change is tried again once an hour in the end. But a describe
// is not: after a reboot no link of the node is configured before EC2 has answered, and
// a changed policy changes no NodeENI.
func TestBackoffOfWhatPeopleEnd(t *testing.T) {
	now := time.Unix(10_000, 0)
	for _, test := range []struct {
		action string
		err    error
		most   time.Duration
	}{
		{"CreateNetworkInterface", ec2Error("UnauthorizedOperation"), 10 * time.Minute},
		{"CreateNetworkInterface", ec2Error("InvalidParameterValue"), time.Hour},
		{"DescribeNetworkInterfaces", ec2Error("UnauthorizedOperation"), 5 * time.Minute},
		{"DescribeSubnets", ec2Error("UnauthorizedOperation"), 5 * time.Minute},
		{"DescribeSecurityGroups", ec2Error("UnauthorizedOperation"), 5 * time.Minute},
		{"DescribeSubnets", With(Terminal, errors.New("not found")), time.Hour},
		{"node", fmt.Errorf("the Node: %w", With(Conflict, errors.New("outrun"))), 5 * time.Second},
		{"CreateNetworkInterface", ec2Error("AuthFailure"), 5 * time.Minute},
		{"CreateNetworkInterface", ec2Error("RequestExpired"), 5 * time.Minute},
		{"AttachNetworkInterface", ec2Error("ExpiredToken"), 5 * time.Minute},
		// EC2's codes that nothing here lists: a refusal may last, a failure passes.
		{"CreateNetworkInterface", answerWith(400, "OptInRequired"), time.Hour},
		{"AttachNetworkInterface", answerWith(403, "PendingVerification"), time.Hour},
		{"DescribeNetworkInterfaces", answerWith(400, "SomethingNew"), time.Hour},
		{"CreateNetworkInterface", answerWith(500, "SomethingNew"), 30 * time.Second},
		{"CreateNetworkInterface", answerWith(503, "Unavailable"), 30 * time.Second},
		{"CreateNetworkInterface", errors.New("connection reset"), 30 * time.Second},
		{"AttachNetworkInterface", answerWith(400, "InvalidNetworkInterface.InUse"), 30 * time.Second},
		{"AttachNetworkInterface", answerWith(408, "SomethingNew"), 30 * time.Second},
		{"AttachNetworkInterface", answerWith(429, "SomethingNew"), time.Minute},
	} {
		var f Failures
		key := Key{Action: test.action}
		for range 20 {
			f.Failed(key, test.err, now)
		}
		if wait := f.byKey[key].Until.Sub(now); wait < test.most/2 || wait > test.most {
			t.Errorf("%s, %v: tried again in %v, want about %v", test.action, test.err, wait, test.most)
		}
	}
}

// answerWith is EC2's answer as the SDK gives it.
func answerWith(status int, code string) error {
	return &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: ec2Error(code),
	}
}

// A thousand nodes whose calls are all refused for ever leave EC2's buckets to others:
// after a quarter of an hour they take less than half of the smallest one.
func TestAFleetThatIsRefused(t *testing.T) {
	const nodes, perSecond = 1000, 5.0
	for _, err := range []error{answerWith(400, "SomethingNew"), ec2Error("UnauthorizedOperation"), ec2Error("AttachmentLimitExceeded")} {
		calls, window := 0, 45*time.Minute
		for range nodes {
			var f Failures
			start, key := time.Unix(10_000, 0), Key{Action: "CreateNetworkInterface"}
			for now := start; now.Before(start.Add(15*time.Minute + window)); now = f.byKey[key].Until {
				if now.After(start.Add(15 * time.Minute)) {
					calls++
				}
				f.Failed(key, err, now)
			}
		}
		if rate := float64(calls) / window.Seconds(); rate > perSecond/2 {
			t.Errorf("%v: %.1f calls a second", err, rate)
		}
	}
}

// A failure blocks what failed, and nothing else, until its wait is over.
func TestBlocks(t *testing.T) {
	now := time.Unix(1000, 0)
	create, attach := Key{Action: "CreateNetworkInterface", Subnet: "a"}, Key{Action: "AttachNetworkInterface", ENI: "eni-x", Index: 2}
	var f Failures
	if f.Blocks(create, now) || f.Err(create) != nil || len(f.Times()) > 0 {
		t.Error("what has not failed waits")
	}
	failed, _ := f.Failed(create, ec2Error("UnauthorizedOperation"), now)
	if !f.Blocks(create, now.Add(4*time.Second)) || f.Blocks(create, now.Add(time.Minute)) || f.Blocks(attach, now) || !slices.Equal(f.Times(), []time.Time{failed.Until}) {
		t.Error("what IAM does not allow is tried again after some seconds, not before, and holds up nothing else")
	}
	if !f.Terminal(create) || f.Terminal(attach) {
		t.Error("what IAM does not allow does not wait for people")
	}
}

func ec2Error(code string) error { return &smithy.GenericAPIError{Code: code} }
