package agent

import (
	"errors"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// An ENI that may have been created for a file that has gone is looked for, and
// the file, when it comes back, gets it.
func TestDecisionOutlivesItsFile(t *testing.T) {
	now := time.Unix(10_000, 0)
	s := inventory.Slot{UID: "x", SubnetID: subnetA}
	for _, test := range []struct {
		name string
		rec  intent
		err  error
		kept bool
	}{
		{"not asked for", intent{createdAt: now}, nil, false},
		{"no answer", intent{createdAt: now}, errors.New("reset"), true},
		{"an answer that leaves it open", intent{createdAt: now}, ec2Error("InternalError", ""), true},
		{"refused", intent{createdAt: now}, ec2Error("InvalidSubnetID.NotFound", ""), false},
		{"throttled", intent{createdAt: now}, ec2Error("RequestLimitExceeded", ""), false},
		{"no answer, long ago", intent{createdAt: now.Add(-time.Hour), unanswered: now.Add(-inventory.ConsistencyWindow)}, nil, false},
		{"decided long ago, no answer just now", intent{createdAt: now.Add(-time.Hour)}, errors.New("reset"), true},
		{"no answer yet", intent{createdAt: now.Add(-time.Hour)}, errPending, true},
		{"what was here is gone", intent{replaces: "eni-old"}, nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := loner()
			a.selection.snapshot.NodeExists = true
			a.intents[s] = test.rec
			asking := call{verb: create, slot: s}
			switch {
			case test.err == nil:
			case errors.Is(test.err, errPending):
				a.calls.running[asking.key()] = asking
			default:
				a.callFailed(asking, test.err, now)
			}
			v := a.view(now)
			a.intents.expire(v, a.selection)
			if _, kept := a.intents[s]; kept != test.kept {
				t.Errorf("kept %v, want %v", kept, test.kept)
			}
			p := next(v)
			searched := p.open.MayHaveCreated[s]
			if looked := test.kept && test.rec.replaces == ""; searched != looked {
				t.Errorf("EC2 is asked %v, want %v", searched, looked)
			}
			r := report(situationOf(v, nil, nil), v1alpha1.NodeENIStateStatus{}, now)
			if told := len(r.ENIs) == 1; told != searched {
				t.Errorf("the report says %+v", r.ENIs)
			}
			if searched && !intentsIn(r)[s].is(test.rec) {
				t.Errorf("a restart would not know the decision from %+v", r.ENIs)
			}
			a.Collector = nil
			if a.intents.expire(a.view(now), a.selection); len(a.intents) > 0 {
				t.Error("kept in a cluster, where the UID never comes back")
			}
		})
	}
}

// errPending stands for a call under way.
var errPending = errors.New("no answer yet")

// After a restart the agent does not know whether EC2 was asked once more, unless it
// had refused before.
func TestDecisionIsRecalled(t *testing.T) {
	now := time.Unix(10_000, 0)
	created := metav1.NewTime(now.Add(-time.Hour))
	s := inventory.Slot{UID: "x", SubnetID: subnetA}
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
			a.intents = restoredFrom(last, self.InstanceARN(), now).intents
			if open := a.view(now).mayHaveCreated(s); open != test.open {
				t.Errorf("looked for %v, want %v", open, test.open)
			}
		})
	}
}

// An agent that starts looks for what one before it may have left in EC2: what
// was decided and not heard of; and, without a report, anything.
func TestLoadOfLoner(t *testing.T) {
	created := metav1.Now()
	decided := v1alpha1.ENIState{NodeENI: "x", NodeENIUID: "x", SubnetID: subnetA, CreatedAt: &created, Phase: v1alpha1.PhasePending, Reason: "Creating"}
	released := v1alpha1.ENIState{NodeENI: "x", NodeENIUID: "x", SubnetID: subnetA, CreatedAt: &created, ENIID: "eni-x", Phase: v1alpha1.PhaseReleased}
	ready := released
	ready.Phase = v1alpha1.PhaseReady
	for _, test := range []struct {
		name    string
		report  v1alpha1.NodeENIStateStatus
		alone   bool
		looked  bool // for the ENI of the decision
		settles bool // whatever there is
	}{
		{"no report", v1alpha1.NodeENIStateStatus{}, true, false, true},
		{"a decision", v1alpha1.NodeENIStateStatus{InstanceID: me, ENIs: []v1alpha1.ENIState{decided}}, true, true, false},
		{"an ENI that is released", v1alpha1.NodeENIStateStatus{InstanceID: me, ENIs: []v1alpha1.ENIState{released}}, true, false, false},
		{"an ENI in use", v1alpha1.NodeENIStateStatus{InstanceID: me, ENIs: []v1alpha1.ENIState{ready}}, true, false, false},
		{"no report in a cluster", v1alpha1.NodeENIStateStatus{}, false, false, false},
		{"a decision in a cluster", v1alpha1.NodeENIStateStatus{InstanceID: me, ENIs: []v1alpha1.ENIState{decided}}, false, false, false},
		{"an ENI in a cluster", v1alpha1.NodeENIStateStatus{InstanceID: me, ENIs: []v1alpha1.ENIState{released}}, false, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := loner()
			a.Source = &source{Report: test.report}
			if !test.alone {
				a.Collector = nil
			}
			if err := a.restore(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			if looked := a.view(now).mayHaveCreated(inventory.Slot{UID: "x", SubnetID: subnetA}); looked != test.looked {
				t.Errorf("looks for the ENI of the decision: %v", looked)
			}
			a.inventory.Describe(nil, a.linkMayBeHere, now)
			if a.inventory.Schedule(inventory.Open{}, now); len(test.report.ENIs) == 0 && a.asked(now) < 10*time.Minute != test.settles {
				t.Errorf("looks for anything in %v", a.asked(now))
			}
		})
	}
}

// What was asked for without an answer is looked for as soon as nothing wants it any
// more, whichever of the two comes first; in a cluster the coordinator does.
func TestUnansweredIsLookedForOnceUnwanted(t *testing.T) {
	now := time.Unix(10_000, 0)
	w := wantFor("x", subnetA, 2)
	unanswered := func(a *Agent) { a.intents.unanswered(w.Slot, now) }
	for _, test := range []struct {
		name  string
		steps []func(a *Agent) // with a reconcile after each
		alone bool
		want  bool
	}{
		{"still wanted", []func(*Agent){func(a *Agent) { a.desired.wants = []want{w}; unanswered(a) }}, true, false},
		{"unwanted, then unanswered", []func(*Agent){func(*Agent) {}, unanswered}, true, true},
		{"unanswered, then unwanted", []func(*Agent){
			func(a *Agent) { a.desired.wants = []want{w}; unanswered(a) }, func(a *Agent) { a.desired.wants = nil },
		}, true, true},
		{"in a cluster", []func(*Agent){unanswered}, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := loner()
			if !test.alone {
				a.Collector = nil
			}
			a.intents[w.Slot] = intent{createdAt: now}
			a.synced(now)
			for _, step := range test.steps {
				step(a)
				a.inventory.Schedule(next(a.view(now)).open, now)
			}
			if looks := a.asked(now) < time.Minute; looks != test.want {
				t.Errorf("EC2 is asked in %v", a.asked(now))
			}
		})
	}
}
