package agent

import (
	"log/slog"
	"maps"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// Device indexes are taken by ENIs of others, not by one of ours that this
// process has not seen yet.
func TestLearnHolders(t *testing.T) {
	a := New(Config{Cluster: "c", Identity: imds.Identity{
		InstanceID: me, Partition: "aws", Region: "us-east-1", AccountID: "1",
	}})
	a.known["eni-known"] = true
	a.taken[9] = "eni-formerly"
	at := func(id string, index int32, owner eni.Owner) eni.ENI {
		return eni.ENI{ID: id, Owner: owner, Attachment: &eni.Attachment{InstanceID: me, DeviceIndex: index}}
	}
	arn := a.Identity.InstanceARN()
	a.learnHolders([]eni.ENI{
		at("eni-primary", 0, eni.Owner{}),
		at("eni-cni", 1, eni.Owner{}),
		at("eni-known", 2, eni.Owner{}),
		at("eni-unseen", 3, eni.Owner{Cluster: "c", Instance: arn}),
		at("eni-other-cluster", 4, eni.Owner{Cluster: "d", Instance: arn}),
	})
	want := map[int32]string{1: "eni-cni", 4: "eni-other-cluster"}
	if !maps.Equal(a.taken, want) {
		t.Errorf("taken are %v, want %v", a.taken, want)
	}
}

// EC2 has carried out a request in other words: it is asked for the ENI. When it
// should long have shown it, the ENI is gone and the decision is made anew. How
// old the decision is tells nothing: EC2 may have throttled the call for long. Nor
// do other errors in between, or time in which EC2 could not be asked.
func TestMismatch(t *testing.T) {
	now := time.Unix(10_000, 0)
	a := New(Config{Log: slog.New(slog.DiscardHandler)})
	x := wantFor("x", subnetA, 2)
	decided := record{createdAt: now.Add(-time.Hour), replaces: "eni-old"}
	a.records[x.slot] = decided
	for _, step := range []struct {
		at        time.Duration
		code      string
		described time.Duration // when EC2 last told of the instance's ENIs
		anew      bool
	}{
		{0, "RequestLimitExceeded", 0, false},
		{time.Second, "IdempotentParameterMismatch", 0, false},
		{consistencyWindow, "IdempotentParameterMismatch", consistencyWindow, false},
		{consistencyWindow, "RequestLimitExceeded", consistencyWindow, false},
		{2 * consistencyWindow, "IdempotentParameterMismatch", consistencyWindow, false},
		{2 * consistencyWindow, "IdempotentParameterMismatch", consistencyWindow + time.Second, true},
	} {
		a.nextObserve, a.described = now.Add(time.Hour), now.Add(step.described)
		a.failedCall(call{verb: create, slot: x.slot}, ec2Error(step.code, ""), now.Add(step.at))
		rec := a.records[x.slot]
		if rec.createdAt.IsZero() != step.anew || rec.replaces != "eni-old" {
			t.Errorf("after %v the decision is %+v", step.at, rec)
		}
		if asks := !a.nextObserve.After(now); asks != (step.code != "RequestLimitExceeded") {
			t.Errorf("after %v EC2 is asked at %v", step.at, a.nextObserve)
		}
	}
}

// EC2 is asked every hour, and once when describes must show what was made.
func TestVerification(t *testing.T) {
	now := time.Unix(100_000, 0)
	expect := func(at time.Time, low, high time.Duration) {
		t.Helper()
		if in := at.Sub(now); in < low || in > high {
			t.Errorf("EC2 is asked in %v, want %v to %v", in, low, high)
		}
	}
	a := New(Config{})
	a.schedule(now)
	expect(a.nextObserve, 60*time.Minute, 72*time.Minute)
	a.reckon(now)
	expect(a.nextObserve, 5*time.Minute, 6*time.Minute)
	first := a.nextObserve
	a.schedule(now.Add(time.Minute)) // another observation between
	if !a.nextObserve.Equal(first) {
		t.Errorf("EC2 is asked at %v, want %v", a.nextObserve, first)
	}
	now = first
	a.schedule(now)
	expect(a.nextObserve, 60*time.Minute, 72*time.Minute)
}

// An answer to Create without the MAC leaves the link unknown: EC2 is asked for it.
func TestCreatedWithoutMAC(t *testing.T) {
	now := time.Unix(10_000, 0)
	for mac, asked := range map[string]bool{"02:00:00:00:00:01": false, "": true} {
		a := New(Config{Log: slog.New(slog.DiscardHandler)})
		a.nextObserve = now.Add(time.Hour)
		e := eniFor("eni-x", "x", subnetA).ENI
		e.MAC = mac
		a.created(e, now)
		if soon := a.nextObserve.Before(now); soon != asked {
			t.Errorf("with the MAC %q EC2 is asked: %v, want %v", mac, soon, asked)
		}
		e.MAC = "02:00:00:00:00:01"
		if after, _ := merge(a.enis, []eni.ENI{e}, func(tracked) bool { return false }, now); after[0].MAC != e.MAC {
			t.Errorf("the MAC is %q after EC2 has told it", after[0].MAC)
		}
	}
}

// What EC2 said of one decision does not count against the next.
func TestDecisionBeginsAnew(t *testing.T) {
	now := time.Unix(10_000, 0)
	a := New(Config{Log: slog.New(slog.DiscardHandler)})
	c := call{verb: create, slot: slot{"x", subnetA}}
	a.failedCall(c, ec2Error("IdempotentParameterMismatch", ""), now)
	a.decide([]slot{c.slot}, now.Add(time.Hour))
	if f, ok := a.failures.Get(c.key()); ok {
		t.Errorf("the new decision has failed already: %+v", f)
	}
}
