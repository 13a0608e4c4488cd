package agent

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

func TestDrawTurn(t *testing.T) {
	for _, test := range []struct {
		name      string
		backlog   int
		perSecond float64
		idle      time.Duration
		within    time.Duration
	}{
		{"nobody else waits", 1, 5, 6 * time.Second, soonest},
		{"how many wait is not known", 0, 5, 0, soonest},
		{"served while all waited", 30, 5, 6 * time.Second, soonest},
		{"a crowd", 1000, 5, 0, 180 * time.Second},
		{"EC2 has calls to spare", 1000, 5, 6 * time.Second, 174 * time.Second},
		{"describes", 1000, 20, 0, 45 * time.Second},
		{"a status of another time", -3, 5, 0, soonest},
	} {
		t.Run(test.name, func(t *testing.T) {
			var latest time.Duration
			for range 1000 {
				turn := drawTurn(test.backlog, test.perSecond, test.idle)
				if turn < 0 || turn > test.within {
					t.Fatalf("%v, want at most %v", turn, test.within)
				}
				latest = max(latest, turn)
			}
			if latest < test.within*9/10 {
				t.Errorf("1000 turns are within %v, want them spread over %v", latest, test.within)
			}
		})
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

// A throttled call is not made before its turn has been drawn, and a turn far
// ahead is drawn again.
func TestTurns(t *testing.T) {
	start := time.Unix(1000, 0)
	f := failures{}
	f.add("k", "CreateNetworkInterface", ec2Error("RequestLimitExceeded", ""), start)
	f.add("other", "CreateNetworkInterface", ec2Error("Unavailable", ""), start)
	if f.findTurn(start.Add(5 * time.Second)) {
		t.Error("its turn is drawn before the status can know of the crowd")
	}
	now := start.Add(7 * time.Second)
	if !f.findTurn(now) || !f.blocks("k", now) || f.blocks("other", now) {
		t.Errorf("after the wait the throttled call, and only that, waits for its turn: %+v", f)
	}
	f.giveTurns(1_000_000, now)
	if f["k"].until.Sub(now) != lookAgain || !f["k"].queued {
		t.Errorf("a turn far ahead is not drawn again: %+v", f["k"])
	}
	now = now.Add(lookAgain)
	f.add("again", "CreateNetworkInterface", ec2Error("RequestLimitExceeded", ""), start)
	f.add("again", "CreateNetworkInterface", ec2Error("RequestLimitExceeded", ""), start.Add(20*time.Second))
	f.giveTurns(60, now)
	if turn := f["again"].until.Sub(now); turn > 6*time.Second {
		t.Errorf("who was refused twice comes after %v, want the first half of those who wait", turn)
	}
	f.add("k", "CreateNetworkInterface", ec2Error("Unavailable", ""), start)
	f.add("k", "CreateNetworkInterface", ec2Error("RequestLimitExceeded", ""), start)
	f.giveTurns(10, now)
	if turn := f["k"].until; f["k"].queued || turn.Before(now) || turn.Sub(now) > 2*time.Second || f.blocks("k", turn) {
		t.Errorf("the turn is %+v", f["k"])
	}
}

// A fleet that asks at once is served as fast as EC2 serves anybody, nobody waits
// much longer than the last has to, and few are refused twice.
func TestTurnsShareABucket(t *testing.T) {
	const nodes, perSecond, burst = 1000, 5, 100
	const statusEvery = 5 * time.Second
	bound := (nodes - burst) / perSecond * time.Second
	start := time.Unix(100_000, 0)
	bucket := rate.NewLimiter(perSecond, burst)
	var served []time.Time
	calls := 0
	waiting := make([]failures, nodes)
	for i := range waiting {
		waiting[i] = failures{}
	}
	shown := func(now time.Time) int { // the backlog in the newest status
		written := now.Add(-now.Sub(start) % statusEvery)
		before := slices.IndexFunc(append(served, now), func(at time.Time) bool { return !at.Before(written) })
		return nodes - before
	}
	for now := start; len(served) < nodes && now.Sub(start) < 2*bound; now = now.Add(20 * time.Millisecond) {
		for i, f := range waiting {
			if f == nil {
				continue
			}
			if f.findTurn(now) {
				f.giveTurns(shown(now), now)
			}
			if f.blocks("k", now) {
				continue
			}
			calls++
			if bucket.AllowN(now, 1) {
				served, waiting[i] = append(served, now), nil
			} else {
				f.add("k", "CreateNetworkInterface", ec2Error("RequestLimitExceeded", ""), now)
			}
		}
	}
	if len(served) < nodes {
		t.Fatalf("after %v only %d of %d have been served", 2*bound, len(served), nodes)
	}
	took, each := served[nodes-1].Sub(start), float64(calls)/nodes
	t.Logf("%d nodes in %v, %.2f of the bound, with %.2f calls each", nodes, took, took.Seconds()/bound.Seconds(), each)
	if took > bound*5/4 || each > 2.5 {
		t.Errorf("%d nodes took %v with %.2f calls each; want at most %v, and 2.5", nodes, took, each, bound*5/4)
	}
}

// What a node adds to the backlog: what its NodeENIs give it.
func TestENIsPerNode(t *testing.T) {
	a := New(Config{})
	a.selecting = map[types.UID]bool{"uid-x": true, "uid-new": true}
	a.snapshot = Snapshot{NodeENIs: []v1alpha1.NodeENI{nodeENI("x", nil), nodeENI("new", nil), nodeENI("elsewhere", nil)}}
	a.desired.wants = []want{wantFor("uid-x", subnetA, 1), wantFor("uid-x", subnetB, 2)}
	got := a.enisPerNode()
	if len(got) != 2 || got["x"] != 2 || got["new"] != 1 {
		t.Errorf("got %v", got)
	}
}
