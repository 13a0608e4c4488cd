package agent

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Every ENI that was given up and is wanted again may be on its way out, not only
// the first one.
func TestReturningENIsAreDoubted(t *testing.T) {
	now := time.Unix(10_000, 0)
	x, y, z := wantFor("x", subnetA, 2), wantFor("y", subnetA, 3), wantFor("z", subnetA, 4)
	ours := func(id, uid string, released bool) tracked {
		return eniFor(id, uid, subnetA).at(me, 2, "attached").with(func(t *tracked) {
			t.released, t.changed, t.attached = released, now, now
		})
	}
	a := New(Config{})
	a.certain, a.nextObserve = true, now.Add(time.Hour)
	a.desired.wants = []want{x, y, z}
	a.enis = []tracked{ours("eni-x", "x", true), ours("eni-y", "y", true), ours("eni-z", "z", false), ours("eni-gone", "gone", true)}
	a.doubtReturning()
	if a.certain || a.nextObserve.After(now) {
		t.Errorf("certain %v, EC2 is asked at %v", a.certain, a.nextObserve)
	}
	for i, doubted := range []bool{true, true, false, false} {
		if e := a.enis[i]; e.attached.IsZero() != doubted {
			t.Errorf("%s: doubted %v, want %v", e.ID, e.attached.IsZero(), doubted)
		}
	}
}

// While nothing can be done, nothing is due: a pass would come to nothing and be
// due again.
func TestNothingIsDueBeforeItCanBeDone(t *testing.T) {
	now := time.Unix(10_000, 0)
	for name, test := range map[string]struct {
		started bool
		problem string
		soon    bool
	}{
		"no snapshot yet":                {false, "", false},
		"the Node is another instance":   {true, "another instance", false},
		"EC2 has not told what there is": {true, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			a := New(Config{})
			a.started, a.snapshot.NodeProblem = test.started, test.problem
			if soon := a.nextPass(now).Before(now.Add(time.Minute)); soon != test.soon {
				t.Errorf("the next pass is in %v", a.nextPass(now).Sub(now))
			}
		})
	}
}

// What a describe left open about an ENI is pursued, also while it is not known
// whether the ENI is wanted; afterwards nobody would ask.
func TestDoubtsAreKept(t *testing.T) {
	now := time.Unix(10_000, 0)
	hidden := eniFor("eni-x", "x", subnetA).with(func(t *tracked) { t.reported, t.hidden = true, true })
	for name, test := range map[string]struct {
		desired desired
		soon    bool
	}{
		"wanted":     {desired{wants: []want{wantFor("x", subnetA, 2)}}, true},
		"held":       {desired{held: map[types.UID]bool{"x": true}}, true},
		"not wanted": {desired{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := New(Config{})
			a.desired, a.enis = test.desired, []tracked{hidden}
			a.schedule(now)
			if soon := a.nextObserve.Before(now.Add(time.Minute)); soon != test.soon {
				t.Errorf("EC2 is asked in %v", a.nextObserve.Sub(now))
			}
		})
	}
}
