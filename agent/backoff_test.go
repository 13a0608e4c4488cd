package agent

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// EC2 in trouble: it answers with one error, then with another, then not at all.
// The waits grow all the same, those of each pace by themselves, and each error is
// told once.
func TestErrorsThatAlternate(t *testing.T) {
	now := time.Unix(10_000, 0)
	var told strings.Builder
	a := New(Config{Log: slog.New(slog.NewTextHandler(&told, nil))})
	trouble := []error{
		ec2Error("InternalError", ""), ec2Error("Unavailable", ""), errors.New("timed out"), ec2Error("RequestLimitExceeded", ""),
	}
	for range 10 {
		for _, err := range trouble {
			a.fail("k", "CreateNetworkInterface", err, now)
		}
	}
	for _, test := range []struct {
		err      error
		attempts int
		pace     pace
	}{
		{trouble[0], 31, briskPace},
		{trouble[3], 11, crowdPace},
		{trouble[2], 32, briskPace},
	} {
		a.fail("k", "CreateNetworkInterface", test.err, now)
		f := a.failures["k"]
		if wait := f.until.Sub(now); f.attempts != test.attempts || wait < test.pace.max/2 || wait > test.pace.max {
			t.Errorf("%v: attempt %d, tried again in %v; want %d and about %v", test.err, f.attempts, wait, test.attempts, test.pace.max)
		}
	}
	if n := strings.Count(told.String(), "level=WARN"); n != len(trouble) {
		t.Errorf("told %d times of %d errors:\n%s", n, len(trouble), told.String())
	}
	a.fail("k", "CreateNetworkInterface", ec2Error("UnauthorizedOperation", ""), now)
	if wait := a.failures["k"].until.Sub(now); wait > slowPace.first {
		t.Errorf("the first error that people have to mend is tried again only in %v", wait)
	}
	delete(a.failures, "k") // a success
	a.fail("k", "CreateNetworkInterface", trouble[0], now)
	if f := a.failures["k"]; f.attempts != 1 || f.until.Sub(now) > briskPace.first {
		t.Errorf("after a success the next error is attempt %d, tried again in %v", f.attempts, f.until.Sub(now))
	}
}

// What only people can change is tried again once an hour in the end. But a describe
// is not: after a reboot no link of the node is configured before EC2 has told, and
// a changed policy changes no NodeENI.
func TestPaceOfWhatPeopleMend(t *testing.T) {
	now := time.Unix(10_000, 0)
	for _, test := range []struct {
		action string
		err    error
		most   time.Duration
	}{
		{string(create), ec2Error("UnauthorizedOperation", ""), 10 * time.Minute},
		{string(create), ec2Error("InvalidParameterValue", "wrong"), time.Hour},
		{observeKey, ec2Error("UnauthorizedOperation", ""), 5 * time.Minute},
		{"DescribeSubnets", ec2Error("UnauthorizedOperation", ""), 5 * time.Minute},
		{"DescribeSecurityGroups", ec2Error("UnauthorizedOperation", ""), 5 * time.Minute},
		{"DescribeSubnets", errAbsent, time.Hour},
		{string(create), ec2Error("AuthFailure", ""), 5 * time.Minute},
		{string(create), ec2Error("RequestExpired", ""), 5 * time.Minute},
		{string(attach), ec2Error("ExpiredToken", ""), 5 * time.Minute},
		// EC2's codes that nothing here lists: a refusal may last, a failure passes.
		{string(create), answerWith(400, "OptInRequired"), time.Hour},
		{string(attach), answerWith(403, "PendingVerification"), time.Hour},
		{observeKey, answerWith(400, "SomethingNew"), time.Hour},
		{string(create), answerWith(500, "SomethingNew"), 30 * time.Second},
		{string(create), answerWith(503, "Unavailable"), 30 * time.Second},
		{string(create), errors.New("connection reset"), 30 * time.Second},
		{string(attach), answerWith(400, "InvalidNetworkInterface.InUse"), 30 * time.Second},
		{string(attach), answerWith(408, "SomethingNew"), 30 * time.Second},
		{string(attach), answerWith(429, "SomethingNew"), time.Minute},
	} {
		f := failures{}
		for range 20 {
			f.add("k", test.action, test.err, now)
		}
		if wait := f["k"].until.Sub(now); wait < test.most/2 || wait > test.most {
			t.Errorf("%s, %v: tried again in %v, want about %v", test.action, test.err, wait, test.most)
		}
	}
}

// answerWith is EC2's answer as the SDK gives it.
func answerWith(status int, code string) error {
	return &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: ec2Error(code, ""),
	}
}

// A thousand nodes whose calls are all refused for ever leave EC2's buckets to others:
// after a quarter of an hour they take less than half of the smallest one.
func TestAFleetThatIsRefused(t *testing.T) {
	const nodes, perSecond = 1000, 5.0
	for _, err := range []error{answerWith(400, "SomethingNew"), ec2Error("UnauthorizedOperation", ""), ec2Error("AttachmentLimitExceeded", "")} {
		calls, window := 0, 45*time.Minute
		for range nodes {
			f, start := failures{}, time.Unix(10_000, 0)
			for now := start; now.Before(start.Add(15*time.Minute + window)); now = f["k"].until {
				if now.After(start.Add(15 * time.Minute)) {
					calls++
				}
				f.add("k", string(create), err, now)
			}
		}
		if rate := float64(calls) / window.Seconds(); rate > perSecond/2 {
			t.Errorf("%v: %.1f calls a second", err, rate)
		}
	}
}
