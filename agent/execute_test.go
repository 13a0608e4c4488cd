package agent

import (
	"log/slog"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// EC2 has carried out a request in other words: it is asked for the ENI. When it
// should long have shown it, the ENI is gone and the decision is made again. How
// old the decision is tells nothing: EC2 may have throttled the call for long. Nor
// do other errors in between, or time in which EC2 could not be asked.
func TestMismatch(t *testing.T) {
	now := time.Unix(10_000, 0)
	a := New(Config{Log: slog.New(slog.DiscardHandler)})
	x := wantFor("x", subnetA, 2)
	decided := intent{createdAt: now.Add(-time.Hour), replaces: "eni-old"}
	a.intents[x.Slot] = decided
	for _, step := range []struct {
		at        time.Duration
		code      string
		described time.Duration // when EC2 last told of the instance's ENIs
		again     bool
	}{
		{0, "RequestLimitExceeded", 0, false},
		{time.Second, "IdempotentParameterMismatch", 0, false},
		{inventory.ConsistencyWindow, "IdempotentParameterMismatch", inventory.ConsistencyWindow, false},
		{inventory.ConsistencyWindow, "RequestLimitExceeded", inventory.ConsistencyWindow, false},
		{2 * inventory.ConsistencyWindow, "IdempotentParameterMismatch", inventory.ConsistencyWindow, false},
		{2 * inventory.ConsistencyWindow, "IdempotentParameterMismatch", inventory.ConsistencyWindow + time.Second, true},
	} {
		a.synced(now.Add(step.described))
		a.callFailed(call{verb: create, slot: x.Slot}, ec2Error(step.code, ""), now.Add(step.at))
		rec := a.intents[x.Slot]
		if rec.createdAt.IsZero() != step.again || rec.replaces != "eni-old" {
			t.Errorf("after %v the decision is %+v", step.at, rec)
		}
		if asks := a.asked(now) == 0; asks != (step.code != "RequestLimitExceeded") {
			t.Errorf("after %v EC2 is asked in %v", step.at, a.asked(now))
		}
	}
}

// What EC2 said of one decision does not count against the next.
func TestDecisionBeginsAnew(t *testing.T) {
	now := time.Unix(10_000, 0)
	a := New(Config{Log: slog.New(slog.DiscardHandler)})
	c := call{verb: create, slot: inventory.Slot{UID: "x", SubnetID: subnetA}}
	a.callFailed(c, ec2Error("IdempotentParameterMismatch", ""), now)
	a.intents.record([]inventory.Slot{c.slot}, a.desired, &a.failures, now.Add(time.Hour))
	if f, ok := a.failures.Get(c.key()); ok {
		t.Errorf("the new decision has failed already: %+v", f)
	}
}

// A subnet that lacks room for several addresses, or for a prefix, may have room for an
// ENI that asks for less.
func TestFullSubnet(t *testing.T) {
	for name, test := range map[string]struct {
		code   string
		params eni.CreateParams
		full   bool
	}{
		"no address":            {"InsufficientFreeAddressesInSubnet", eni.CreateParams{}, true},
		"not as many addresses": {"InsufficientFreeAddressesInSubnet", eni.CreateParams{SecondaryAddresses: 9}, false},
		"no range for a prefix": {"InsufficientCidrBlocks", eni.CreateParams{IPv4Prefixes: 1}, false},
		"another error":         {"InternalError", eni.CreateParams{}, false},
	} {
		a := New(Config{Log: slog.New(slog.DiscardHandler)})
		c := call{verb: create, slot: inventory.Slot{UID: "x", SubnetID: subnetA}, params: test.params}
		a.callFailed(c, ec2Error(test.code, ""), time.Unix(10_000, 0))
		if _, full := a.failures.Get(subnetFullKey(subnetA)); full != test.full {
			t.Errorf("%s: the subnet is taken to be full: %v", name, full)
		}
		if a.failures.Err(c.key()) == nil {
			t.Errorf("%s: the call has not failed", name)
		}
	}
}
