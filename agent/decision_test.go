package agent

import (
	"context"
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// An ENI that may have been created for a file that has gone is looked for, and
// the file, when it comes back, gets it.
func TestDecisionOutlivesItsFile(t *testing.T) {
	now := time.Unix(10_000, 0)
	s := slot{"x", subnetA}
	for _, test := range []struct {
		name string
		rec  record
		err  error
		kept bool
	}{
		{"not asked for", record{createdAt: now}, nil, false},
		{"no answer", record{createdAt: now}, errors.New("reset"), true},
		{"an answer that leaves it open", record{createdAt: now}, ec2Error("InternalError", ""), true},
		{"refused", record{createdAt: now}, ec2Error("InvalidSubnetID.NotFound", ""), false},
		{"throttled", record{createdAt: now}, ec2Error("RequestLimitExceeded", ""), false},
		{"no answer, long ago", record{createdAt: now.Add(-time.Hour), unheard: now.Add(-consistencyWindow)}, nil, false},
		{"decided long ago, no answer just now", record{createdAt: now.Add(-time.Hour)}, errors.New("reset"), true},
		{"no answer yet", record{createdAt: now.Add(-time.Hour)}, errPending, true},
		{"what was here is gone", record{replaces: "eni-old"}, nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := loner()
			a.snapshot.NodeExists = true
			a.records[s] = test.rec
			asking := call{verb: create, slot: s}
			switch {
			case test.err == nil:
			case errors.Is(test.err, errPending):
				a.running[asking.key()] = asking
			default:
				a.failedCall(asking, test.err, now)
			}
			a.dropRecords(now)
			if _, kept := a.records[s]; kept != test.kept {
				t.Errorf("kept %v, want %v", kept, test.kept)
			}
			open, _ := a.inDoubt(now)
			if looked := test.kept && test.rec.replaces == ""; open != looked {
				t.Errorf("EC2 is asked %v, want %v", open, looked)
			}
			r := report(situationOf(a.view(now), nil, nil), v1alpha1.NodeENIStateStatus{}, now)
			if told := len(r.ENIs) == 1; told != open {
				t.Errorf("the report says %+v", r.ENIs)
			}
			if open && !savedRecords(r)[s].is(test.rec) {
				t.Errorf("a restart would not know the decision from %+v", r.ENIs)
			}
			a.Collector = nil
			a.dropRecords(now)
			if len(a.records) > 0 {
				t.Error("kept in a cluster, where the UID never comes back")
			}
		})
	}
}

// errPending stands for a call under way.
var errPending = errors.New("no answer yet")

// After a restart nobody knows whether EC2 was asked once more, unless it had
// refused before.
func TestDecisionIsRecalled(t *testing.T) {
	now := time.Unix(10_000, 0)
	created := metav1.NewTime(now.Add(-time.Hour))
	s := slot{"x", subnetA}
	for _, test := range []struct {
		name  string
		entry v1alpha1.ENIState
		open  bool
	}{
		{"decided", v1alpha1.ENIState{CreatedAt: &created, Phase: v1alpha1.PhasePending, Reason: "Creating"}, true},
		{"no answer", v1alpha1.ENIState{CreatedAt: &created, Phase: v1alpha1.PhasePending, Reason: "NoAnswer"}, true},
		{"looked for", v1alpha1.ENIState{CreatedAt: &created, Phase: v1alpha1.PhasePending, Reason: "Verifying"}, true},
		{"throttled", v1alpha1.ENIState{CreatedAt: &created, Phase: v1alpha1.PhasePending, Reason: "RequestLimitExceeded"}, false},
		{"subnet full", v1alpha1.ENIState{CreatedAt: &created, Phase: v1alpha1.PhasePending, Reason: "InsufficientFreeAddressesInSubnet"}, false},
		{"refused", v1alpha1.ENIState{CreatedAt: &created, Phase: v1alpha1.PhaseFailed, Reason: "UnauthorizedOperation"}, false},
		{"not decided", v1alpha1.ENIState{Phase: v1alpha1.PhasePending, Reason: "Creating"}, false},
		{"created", v1alpha1.ENIState{CreatedAt: &created, ENIID: "eni-x", Phase: v1alpha1.PhaseAttaching, Reason: "Attaching"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.entry.NodeENI, test.entry.NodeENIUID, test.entry.SubnetID = "x", "x", subnetA
			last := v1alpha1.NodeENIStateStatus{InstanceID: me, ENIs: []v1alpha1.ENIState{test.entry}}
			a := loner()
			a.records = savedRecords(last)
			a.recallUnheard(last, now)
			if open := a.view(now).lookingFor(s, now); open != test.open {
				t.Errorf("looked for %v, want %v", open, test.open)
			}
		})
	}
}

// told is a Source with a report.
type told struct {
	deaf
	report v1alpha1.NodeENIStateStatus
}

func (s told) Load(context.Context) (v1alpha1.NodeENIStateStatus, error) { return s.report, nil }

// An agent that starts looks for what one before it may have left in EC2: what
// was decided and not heard of; and, without a report, anything.
func TestLoadOfLoner(t *testing.T) {
	created := metav1.Now()
	decided := v1alpha1.ENIState{NodeENI: "x", NodeENIUID: "x", SubnetID: subnetA, CreatedAt: &created, Phase: v1alpha1.PhasePending, Reason: "Creating"}
	released := v1alpha1.ENIState{NodeENI: "x", NodeENIUID: "x", SubnetID: subnetA, CreatedAt: &created, ENIID: "eni-x", Phase: v1alpha1.PhaseReleased}
	ready := released
	ready.Phase = v1alpha1.PhaseReady
	for _, test := range []struct {
		name      string
		report    v1alpha1.NodeENIStateStatus
		alone     bool
		looked    bool // for the ENI of the decision
		reckoned  bool // whatever there is
		collected bool
	}{
		{"no report", v1alpha1.NodeENIStateStatus{}, true, false, true, false},
		{"a decision", v1alpha1.NodeENIStateStatus{InstanceID: me, ENIs: []v1alpha1.ENIState{decided}}, true, true, false, false},
		{"an ENI that is released", v1alpha1.NodeENIStateStatus{InstanceID: me, ENIs: []v1alpha1.ENIState{released}}, true, false, false, true},
		{"an ENI in use", v1alpha1.NodeENIStateStatus{InstanceID: me, ENIs: []v1alpha1.ENIState{ready}}, true, false, false, false},
		{"no report in a cluster", v1alpha1.NodeENIStateStatus{}, false, false, false, false},
		{"a decision in a cluster", v1alpha1.NodeENIStateStatus{InstanceID: me, ENIs: []v1alpha1.ENIState{decided}}, false, false, false, false},
		{"an ENI in a cluster", v1alpha1.NodeENIStateStatus{InstanceID: me, ENIs: []v1alpha1.ENIState{released}}, false, false, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := loner()
			a.Source = told{report: test.report}
			if !test.alone {
				a.Collector = nil
			}
			if err := a.load(t.Context()); err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			if looked := a.view(now).lookingFor(slot{"x", subnetA}, now); looked != test.looked {
				t.Errorf("looks for the ENI of the decision: %v", looked)
			}
			if reckoned := a.reckoning.After(now); reckoned != test.reckoned {
				t.Errorf("looks for anything: %v", reckoned)
			}
			if collected := len(a.enis) == 1 && a.enis[0].collected; collected != test.collected {
				t.Errorf("takes it out of EC2: %v", collected)
			}
		})
	}
}

// What was asked for and not heard of is looked for as soon as nothing wants it
// any more, whichever of the two comes first; in a cluster the coordinator does.
func TestUnheardIsLookedForOnceUnwanted(t *testing.T) {
	now := time.Unix(10_000, 0)
	later := now.Add(time.Hour)
	w := wantFor("x", subnetA, 2)
	for _, test := range []struct {
		name  string
		steps func(a *Agent)
		alone bool
		want  time.Time
	}{
		{"still wanted", func(a *Agent) { a.desired.wants = []want{w}; a.unheard(w.slot, now) }, true, later},
		{"unwanted, then unheard", func(a *Agent) { a.unheard(w.slot, now) }, true, now.Add(doubtSteps[0])},
		{"unheard, then unwanted", func(a *Agent) {
			a.desired.wants = []want{w}
			a.unheard(w.slot, now)
			before := a.desired.slots()
			a.desired.wants = nil
			a.lookForUnwanted(before, now)
		}, true, now.Add(doubtSteps[0])},
		{"in a cluster", func(a *Agent) { a.unheard(w.slot, now) }, false, later},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := loner()
			if !test.alone {
				a.Collector = nil
			}
			a.records[w.slot] = record{createdAt: now}
			a.nextObserve = later
			test.steps(a)
			if !a.nextObserve.Equal(test.want) {
				t.Errorf("EC2 is asked at %v, want %v", a.nextObserve, test.want)
			}
		})
	}
}
