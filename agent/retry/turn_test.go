package retry

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

func TestDrawTurn(t *testing.T) {
	now := time.Unix(1000, 0)
	attach := eni.Bucket{Size: 50, PerSecond: 5}
	for _, test := range []struct {
		name    string
		waiting int
		ready   int
		bucket  eni.Bucket
		refused int
		idle    time.Duration
		within  time.Duration
	}{
		{"no other agent waits", 1, 100, attach, 1, 6 * time.Second, soonest},
		{"how many wait is not known", 0, 0, attach, 1, 0, soonest},
		{"served while all waited", 30, 100, attach, 1, 6 * time.Second, soonest},
		{"a crowd", 1000, 50, attach, 1, 0, 200 * time.Second},
		{"the first are ready, but not yet shown", 1000, 0, attach, 1, 0, 190 * time.Second},
		{"and some of them are shown", 1000, 20, attach, 1, 0, 194 * time.Second},
		{"EC2 has calls to spare", 1000, 100, attach, 1, 6 * time.Second, 194 * time.Second},
		{"refused again", 1000, 100, attach, 2, 0, 100 * time.Second},
		{"refused all the while", 1000, 100, attach, 1000, 0, soonest},
		{"describes", 1000, 100, eni.Bucket{Size: 100, PerSecond: 20}, 1, 0, 50 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			var latest time.Duration
			for range 1000 {
				drawn, wait := turn{due: true, idle: now.Add(-test.idle)}.look(Fleet{Waiting: test.waiting, Ready: test.ready}, test.bucket, test.refused, now)
				in := drawn.at.Sub(now)
				if in < 0 || in > test.within || wait != min(in, lookAgain) || drawn.due != (in > lookAgain) {
					t.Fatalf("%+v after %v, want at most %v", drawn, wait, test.within)
				}
				latest = max(latest, in)
			}
			unknown, _ := turn{due: true}.look(Fleet{Unknown: true}, test.bucket, test.refused, now)
			if in := unknown.at.Sub(now); in > lookAgain || unknown.due {
				t.Fatalf("without an answer of the API server %+v", unknown)
			}
			if latest < test.within*9/10 {
				t.Errorf("1000 turns are within %v, want them spread over %v", latest, test.within)
			}
		})
	}
}

// A turn stays as it was drawn, unless the crowd has gone, or the status no longer
// tells of one: the coordinator, which writes it, may be away.
func TestTurnIsLookedAtAgain(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, test := range []struct {
		name  string
		now   Fleet
		low   time.Duration
		until time.Duration
	}{
		{"served as foreseen", Fleet{Waiting: 850, Ready: 150}, 100 * time.Second, 100 * time.Second},
		{"more have come", Fleet{Waiting: 5000, Ready: 150}, 100 * time.Second, 100 * time.Second},
		{"most have gone", Fleet{Waiting: 100, Ready: 150}, 0, 20 * time.Second},
		{"the status is as it was", Fleet{Waiting: 1000, Ready: 0}, 0, 0},
		{"there is no status", Fleet{}, 0, 0},
		{"the API server does not answer", Fleet{Unknown: true}, 100 * time.Second, 100 * time.Second},
	} {
		got, _ := turn{due: true, at: now.Add(100 * time.Second)}.look(test.now, eni.BucketOf("AttachNetworkInterface"), 1, now)
		if in := got.at.Sub(now); in < test.low || in > test.until {
			t.Errorf("%s: in %v, want %v to %v", test.name, in, test.low, test.until)
		}
	}
}

// The first wait lasts until the status knows of the crowd; refusals after that
// make the waits longer, as nothing that is known explains them.
func TestThrottledDelay(t *testing.T) {
	for n, want := range [][2]time.Duration{
		{5500 * time.Millisecond, 7 * time.Second},
		{time.Second, 2 * time.Second}, {2 * time.Second, 4 * time.Second}, {4 * time.Second, 8 * time.Second}, {8 * time.Second, 16 * time.Second},
		{16 * time.Second, 32 * time.Second}, {30 * time.Second, time.Minute}, {30 * time.Second, time.Minute},
	} {
		for range 100 {
			if got := throttledDelay(n); got < want[0] || got > want[1] {
				t.Fatalf("refused %d times in a row: %v, want %v to %v", n+1, got, want[0], want[1])
			}
		}
	}
}

// A throttled call is not made before its turn.
func TestTurns(t *testing.T) {
	start := time.Unix(1000, 0)
	var f Failures
	throttled, other := Key{Action: "CreateNetworkInterface"}, Key{Action: "CreateNetworkInterface", Subnet: "other"}
	f.Failed(throttled, ec2Error("RequestLimitExceeded"), start)
	f.Failed(other, ec2Error("Unavailable"), start)
	if f.TurnDue(start.Add(5 * time.Second)) {
		t.Error("its turn is drawn before the status can know of the crowd")
	}
	now := start.Add(7 * time.Second)
	if !f.TurnDue(now) || !f.Blocks(throttled, now) || f.Blocks(other, now) {
		t.Errorf("after the wait the throttled call, and only that, waits for its turn: %+v", f)
	}
	f.DrawTurns(Fleet{Waiting: 1_000_000}, now)
	if f.byKey[throttled].Until.Sub(now) != lookAgain || !f.byKey[throttled].turn.due {
		t.Errorf("a turn far ahead is not looked at again: %+v", f.byKey[throttled])
	}
	now = now.Add(lookAgain)
	f.DrawTurns(Fleet{Waiting: 10, Ready: 150}, now)
	if at := f.byKey[throttled].Until; f.byKey[throttled].turn.due || at.Before(now) || at.Sub(now) > 2*time.Second || f.Blocks(throttled, at) {
		t.Errorf("the turn is %+v", f.byKey[throttled])
	}
}

// A fleet that asks at once is served as fast as EC2 serves, no agent waits much
// longer than the last has to, and few are refused twice. When the status is not
// written it takes more calls, and no longer.
func TestTurnsShareABucket(t *testing.T) {
	for name, test := range map[string]struct {
		written bool
		each    float64
	}{
		"with a status":                     {true, 2.5},
		"with a status that is not written": {false, 8},
	} {
		t.Run(name, func(t *testing.T) { shareBucket(t, test.written, test.each) })
	}
}

func shareBucket(t *testing.T, written bool, most float64) {
	const nodes, perSecond, burst = 1000, 5, 100
	const statusEvery = 5 * time.Second
	bound := (nodes - burst) / perSecond * time.Second
	start := time.Unix(100_000, 0)
	key := Key{Action: "CreateNetworkInterface"}
	bucket := rate.NewLimiter(perSecond, burst)
	var served []time.Time
	calls := 0
	waiting := make([]*Failures, nodes)
	for i := range waiting {
		waiting[i] = &Failures{}
	}
	shown := func(now time.Time) Fleet { // in the newest status
		at := now.Add(-now.Sub(start) % statusEvery)
		if !written {
			at = start.Add(statusEvery)
		}
		before := slices.IndexFunc(append(served, now), func(s time.Time) bool { return !s.Before(at) })
		return Fleet{Waiting: nodes - before, Ready: before}
	}
	for now := start; len(served) < nodes && now.Sub(start) < 2*bound; now = now.Add(20 * time.Millisecond) {
		for i, f := range waiting {
			if f == nil {
				continue
			}
			if f.TurnDue(now) {
				f.DrawTurns(shown(now), now)
			}
			if f.Blocks(key, now) {
				continue
			}
			calls++
			if bucket.AllowN(now, 1) {
				served, waiting[i] = append(served, now), nil
			} else {
				f.Failed(key, ec2Error("RequestLimitExceeded"), now)
			}
		}
	}
	if len(served) < nodes {
		t.Fatalf("after %v only %d of %d have been served", 2*bound, len(served), nodes)
	}
	took, each := served[nodes-1].Sub(start), float64(calls)/nodes
	t.Logf("%d nodes in %v, %.2f of the bound, with %.2f calls each", nodes, took, took.Seconds()/bound.Seconds(), each)
	if took > bound*5/4 || each > most {
		t.Errorf("%d nodes took %v with %.2f calls each; want at most %v, and %v", nodes, took, each, bound*5/4, most)
	}
}
