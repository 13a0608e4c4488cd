package agent

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
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
	if !a.certain || a.nextObserve.After(now) {
		t.Errorf("certain of the others %v, EC2 is asked at %v", a.certain, a.nextObserve)
	}
	for i, doubted := range []bool{true, true, false, false} {
		if e := a.enis[i]; e.attached.IsZero() != doubted || e.doubtful() != doubted {
			t.Errorf("%s: doubted %v, want %v", e.ID, e.doubtful(), doubted)
		}
	}
	if a.enis[0].released || !a.enis[3].released {
		t.Error("what is wanted again is released, or what is not is not: its link would stay when it is given up once more")
	}
	a.nextObserve = now.Add(time.Hour)
	if a.doubtReturning(); !a.nextObserve.After(now) {
		t.Error("EC2 is asked again for the same reason")
	}
	after, _ := merge(a.enis, []eni.ENI{a.enis[0].ENI}, func(tracked) bool { return false }, now)
	if after[0].ID != "eni-x" || after[0].doubtful() {
		t.Errorf("%s is still doubted after EC2 has shown it", after[0].ID)
	}
}

// While nothing can be done, nothing is due: a pass would come to nothing and be
// due again.
func TestNothingIsDueBeforeItCanBeDone(t *testing.T) {
	now := time.Unix(10_000, 0)
	fails := func(key retry.Key, err error) func(*Agent) {
		return func(a *Agent) { a.failures.Failed(key, err, now) }
	}
	throttled := func(a *Agent) {
		a.failures.Failed(observeKey, ec2Error("RequestLimitExceeded", ""), now.Add(-10*time.Second))
	}
	nothing := func(*Agent) {}
	for name, test := range map[string]struct {
		started bool
		exists  bool
		problem string
		fails   func(*Agent)
		soon    bool
	}{
		"no snapshot yet":                {false, false, "", nothing, false},
		"there is no Node yet":           {true, false, "", nothing, false},
		"the Node is another instance":   {true, true, "another instance", nothing, false},
		"and that could not be reported": {true, true, "another instance", fails(saveKey, errors.New("away")), true},
		"EC2 has not told what there is": {true, true, "", nothing, true},
		"its turn to ask is looked for":  {true, true, "", throttled, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := New(Config{})
			test.fails(a)
			a.started, a.snapshot.NodeExists, a.snapshot.NodeProblem = test.started, test.exists, test.problem
			if soon := a.nextPass(now).Before(now.Add(time.Minute)); soon != test.soon {
				t.Errorf("the next pass is in %v", a.nextPass(now).Sub(now))
			}
		})
	}
}

// What a describe left open about an ENI is pursued, also while it is not known
// whether the ENI is wanted; afterwards nothing would ask. An ENI that nothing wants
// is pursued as long as only a report names it, because it is not released on that.
func TestDoubtsAreKept(t *testing.T) {
	now := time.Unix(10_000, 0)
	hidden := eniFor("eni-x", "x", subnetA).with(func(t *tracked) { t.hidden, t.absent = true, 1 })
	reported := hidden.with(func(t *tracked) { t.reported = true })
	for name, test := range map[string]struct {
		eni     tracked
		desired desired
		soon    bool
	}{
		"wanted":                    {reported, desired{wants: []want{wantFor("x", subnetA, 2)}}, true},
		"held":                      {reported, desired{held: map[types.UID]bool{"x": true}}, true},
		"not wanted":                {hidden, desired{}, false},
		"not wanted, only reported": {reported, desired{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			a := New(Config{})
			a.desired, a.enis = test.desired, []tracked{test.eni}
			a.schedule(now)
			if soon := a.nextObserve.Before(now.Add(time.Minute)); soon != test.soon {
				t.Errorf("EC2 is asked in %v", a.nextObserve.Sub(now))
			}
		})
	}
}

// A link that a pod has taken, and one that the coordinator has not collected
// yet, make EC2 asked a few times and then every hour, not a few times an hour.
func TestMovedLinksAreLetBe(t *testing.T) {
	for name, test := range map[string]struct {
		wants []want
		set   func(*Agent)
	}{
		"in a pod":       {[]want{wantFor("x", subnetA, 2)}, func(a *Agent) { a.links["eni-x"] = linkState{wait: wait{lost: true}} }},
		"on its way out": {nil, func(a *Agent) { a.enis[0].released, a.enis[0].left = true, true }},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(10_000, 0)
			a := New(Config{Identity: imds.Identity{InstanceID: me}})
			a.desired.wants = test.wants
			a.enis = []tracked{eniFor("eni-x", "x", subnetA).at(me, 2, "attached")}
			test.set(a)
			asked := func(d time.Duration) (n int) {
				for end := now.Add(d); ; n++ {
					a.schedule(now)
					if a.nextObserve.After(end) {
						return n
					}
					now = a.nextObserve
				}
			}
			if n := asked(30 * time.Minute); n != len(doubtSteps) {
				t.Errorf("at first EC2 is asked %d times, want %d", n, len(doubtSteps))
			}
			if n := asked(10 * time.Hour); n > 11 {
				t.Errorf("then %d times in ten hours", n)
			}
			a.doubt() // something new
			if n := asked(30 * time.Minute); n != len(doubtSteps) {
				t.Errorf("after something new EC2 is asked %d times, want %d", n, len(doubtSteps))
			}
		})
	}
}

// People are told to detach an ENI from another instance; nothing but EC2 tells
// that they have.
func TestAttachedElsewhereIsPursued(t *testing.T) {
	now := time.Unix(10_000, 0)
	a := New(Config{Identity: imds.Identity{InstanceID: me}})
	a.desired.wants = []want{wantFor("x", subnetA, 2)}
	a.enis = []tracked{eniFor("eni-x", "x", subnetA).at(other, 2, "attached")}
	for range 20 {
		a.schedule(now)
		if in := a.nextObserve.Sub(now); in > 5*time.Minute {
			t.Fatalf("EC2 is asked in %v", in)
		}
		now = a.nextObserve
	}
}

// lastReport is a Source that has just a report.
type lastReport struct {
	Source
	report v1alpha1.NodeENIStateStatus
	saves  chan v1alpha1.NodeENIStateStatus
}

func (s lastReport) Load(context.Context) (v1alpha1.NodeENIStateStatus, error) { return s.report, nil }

func (s lastReport) Save(_ context.Context, report v1alpha1.NodeENIStateStatus) error {
	s.saves <- report
	return nil
}

// The report of an instance that had this node's name is written over, also when
// there is nothing to report.
func TestReportOfAnotherInstanceIsReplaced(t *testing.T) {
	for name, test := range map[string]struct {
		instance string
		saved    bool
	}{
		"of another instance": {other, true},
		"of this one":         {me, false},
		"none":                {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			last := v1alpha1.NodeENIStateStatus{InstanceID: test.instance, Zone: "us-east-1a"}
			source := lastReport{report: last, saves: make(chan v1alpha1.NodeENIStateStatus, 1)}
			a := New(Config{Source: source, Log: slog.New(slog.DiscardHandler), Identity: imds.Identity{InstanceID: me, Zone: "us-east-1a"}})
			if err := a.load(t.Context()); err != nil {
				t.Fatal(err)
			}
			now := time.Unix(10_000, 0)
			a.report(t.Context(), plan{}, now) // EC2 has not told
			if a.saving {
				t.Fatal("saved before anything is known")
			}
			a.certain = true
			a.report(t.Context(), plan{}, now)
			if a.saving != test.saved {
				t.Fatalf("saving %v", a.saving)
			}
			if test.saved {
				if r := <-source.saves; r.InstanceID != me || len(r.ENIs) > 0 {
					t.Errorf("saved %+v", r)
				}
			}
		})
	}
}

// A wrong name, and a kubelet that is late, are told, once, and keep the agent from
// everything; so does not a Node that has been seen and is deleted.
func TestMissingNodeIsTold(t *testing.T) {
	var logged strings.Builder
	a := New(Config{Node: "node-a", Log: slog.New(slog.NewTextHandler(&logged, nil))})
	for i, step := range []struct {
		exists, idle    bool
		absent, deleted int // times told
	}{{false, true, 1, 0}, {false, true, 1, 0}, {true, false, 1, 0}, {false, false, 1, 1}, {false, false, 1, 1}, {true, false, 1, 1}, {false, false, 1, 2}} {
		a.snapshot.NodeExists = step.exists
		if idle := a.tellNodeProblem(); idle != step.idle {
			t.Errorf("step %d: nothing is done: %v", i, idle)
		}
		absent, deleted := strings.Count(logged.String(), "no Node of this name"), strings.Count(logged.String(), "has been deleted")
		if absent != step.absent || deleted != step.deleted {
			t.Errorf("step %d: told %d and %d times, want %d and %d", i, absent, deleted, step.absent, step.deleted)
		}
	}
}

// Why nothing is done stands in the report, beside what that said of ENIs; the report of
// another instance is not written over.
func TestProblemIsReported(t *testing.T) {
	entries := []v1alpha1.ENIState{{NodeENI: "x", ENIID: "eni-x", Phase: v1alpha1.PhaseReady}}
	own := v1alpha1.NodeENIStateStatus{InstanceID: me, Zone: "us-east-1a", ENIs: entries}
	other := v1alpha1.NodeENIStateStatus{InstanceID: "i-other", Zone: "us-east-1a", ENIs: entries}
	const k3s = "the Node's providerID names no EC2 instance"
	for name, test := range map[string]struct {
		last    v1alpha1.NodeENIStateStatus
		node    string
		problem Problem
		reason  string // "" when nothing is saved
		words   string
	}{
		"none":                      {own, "", Problem{}, "", ""},
		"the Node's":                {v1alpha1.NodeENIStateStatus{}, k3s, Problem{}, "NotThisInstance", k3s},
		"with ENIs":                 {own, k3s, Problem{}, "NotThisInstance", k3s},
		"the agent's own":           {own, k3s, Problem{"WrongRegion", "elsewhere"}, "WrongRegion", "elsewhere"},
		"another instance's report": {other, k3s, Problem{}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			source := lastReport{report: test.last, saves: make(chan v1alpha1.NodeENIStateStatus, 1)}
			a := New(Config{Source: source, Log: slog.New(slog.DiscardHandler), Recorder: unheard{}, Problem: test.problem, Identity: imds.Identity{InstanceID: me, Zone: "us-east-1a", Region: "us-east-1"}})
			if err := a.load(t.Context()); err != nil {
				t.Fatal(err)
			}
			a.snapshot = Snapshot{NodeExists: true, NodeProblem: test.node}
			if idle := a.tellNodeProblem(); idle != (test.node != "") {
				t.Errorf("nothing is done: %v", idle)
			}
			if a.reportProblem(t.Context(), time.Now()); a.saving != (test.reason != "") {
				t.Fatalf("saved: %v", a.saving)
			}
			if test.reason == "" {
				return
			}
			r := <-source.saves
			if r.Reason != test.reason || !strings.Contains(r.Message, test.words) || r.Region != "us-east-1" || len(r.ENIs) != len(test.last.ENIs) {
				t.Errorf("saved %+v", r)
			}
		})
	}
}
