package agent

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/agenttest"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
)

// While nothing can be done, nothing is due: a reconcile would come to nothing and be
// due again.
func TestNothingIsDueBeforeItCanBeDone(t *testing.T) {
	now := time.Unix(10_000, 0)
	fails := func(key retry.Key, err error) func(*Agent) {
		return func(a *Agent) { a.failures.Failed(key, err, now) }
	}
	throttled := func(a *Agent) {
		a.failures.Failed(describeKey, ec2Error("RequestLimitExceeded", ""), now.Add(-10*time.Second))
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
			a.selection.read, a.selection.snapshot.NodeExists, a.selection.snapshot.NodeProblem = test.started, test.exists, test.problem
			if soon := a.next(now).Before(now.Add(time.Minute)); soon != test.soon {
				t.Errorf("the next reconcile is in %v", a.next(now).Sub(now))
			}
		})
	}
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
			source := &source{Report: last, Saves: make(chan v1alpha1.NodeENIStateStatus, 1)}
			a := New(Config{Source: source, Log: slog.New(slog.DiscardHandler), Identity: imds.Identity{InstanceID: me, Zone: "us-east-1a"}})
			if err := a.restore(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
			now := time.Unix(10_000, 0)
			a.reporter.report(t.Context(), a.view(now), plan{}, nil, now) // EC2 has not told
			if a.calls.busy(saveKey) {
				t.Fatal("saved before anything is known")
			}
			a.synced(now)
			a.reporter.report(t.Context(), a.view(now), plan{}, nil, now)
			if a.calls.busy(saveKey) != test.saved {
				t.Fatalf("saving %v", a.calls.busy(saveKey))
			}
			if test.saved {
				if r := <-source.Saves; r.InstanceID != me || len(r.ENIs) > 0 {
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
		a.selection.snapshot.NodeExists = step.exists
		if a.selection.logNodeProblem(); a.selection.idle() != step.idle {
			t.Errorf("step %d: nothing is done: %v", i, !step.idle)
		}
		absent, deleted := strings.Count(logged.String(), "the Node does not exist"), strings.Count(logged.String(), "the Node was deleted")
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
	const k3s = "the Node's providerID does not name an EC2 instance"
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
			source := &source{Report: test.last, Saves: make(chan v1alpha1.NodeENIStateStatus, 1)}
			a := New(Config{Source: source, Log: slog.New(slog.DiscardHandler), Recorder: &agenttest.Recorder{}, Problem: test.problem, Identity: imds.Identity{InstanceID: me, Zone: "us-east-1a", Region: "us-east-1"}})
			if err := a.restore(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
			a.selection.snapshot = Snapshot{NodeExists: true, NodeProblem: test.node}
			if a.selection.logNodeProblem(); a.selection.idle() != (test.node != "") {
				t.Errorf("nothing is done: %v", a.selection.idle())
			}
			if a.reporter.reportProblem(t.Context(), a.selection.problem(), time.Now()); a.calls.busy(saveKey) != (test.reason != "") {
				t.Fatalf("saved: %v", a.calls.busy(saveKey))
			}
			if test.reason == "" {
				return
			}
			r := <-source.Saves
			if r.Reason != test.reason || !strings.Contains(r.Message, test.words) || r.Region != "us-east-1" || len(r.ENIs) != len(test.last.ENIs) {
				t.Errorf("saved %+v", r)
			}
		})
	}
}

// What the host refuses may work a moment later, without anything that tells.
func TestHostErrorsAreTriedAgain(t *testing.T) {
	now := time.Unix(10_000, 0)
	a := New(Config{})
	a.selection.read, a.selection.nodeSeen = true, true
	a.synced(now)
	a.host.links["eni-x"] = linkState{}
	if in := a.next(now).Sub(now); in < 30*time.Minute {
		t.Errorf("without an error, the next reconcile is in %v", in)
	}
	a.host.links["eni-x"] = linkState{err: errors.New("out of memory")}
	if in := a.next(now).Sub(now); in > linkRetry {
		t.Errorf("with an error, the next reconcile is in %v", in)
	}
}
