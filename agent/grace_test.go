package agent

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/agent/agenttest"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
)

// What is given up, and when, after a node has had the ENI of a NodeENI: each step is
// what the agent sees at that time, and whether the ENI stays.
func TestPatience(t *testing.T) {
	const delay = 5 * time.Second
	x := nodeENI("x", nil)
	edited, elsewhere, deleted := x, nodeENI("x", nil), x
	edited.Generation++
	elsewhere.Generation++
	elsewhere.Spec.NodeSelector = map[string]string{"ng": "other"}
	deleted.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	with := func(n v1alpha1.NodeENI, labels map[string]string) Snapshot {
		return Snapshot{NodeExists: true, Labels: labels, NodeENIs: []v1alpha1.NodeENI{n}}
	}
	here, unlabelled, relabelled := with(x, matching), with(x, nil), with(x, map[string]string{"ng": "none"})
	noNode, noProvider := Snapshot{NodeENIs: []v1alpha1.NodeENI{x}}, here
	noProvider.NodeProblem, noProvider.Labels = "no providerID", nil
	type step struct {
		at    time.Duration
		sees  Snapshot
		stays bool
	}
	for name, steps := range map[string][]step{
		"a label that is gone for 300 ms":   {{0, here, true}, {1 * time.Second, unlabelled, true}, {1300 * time.Millisecond, here, true}, {time.Minute, here, true}},
		"for three seconds":                 {{0, here, true}, {1 * time.Second, unlabelled, true}, {4 * time.Second, here, true}, {time.Minute, here, true}},
		"again and again":                   {{0, here, true}, {1 * time.Second, unlabelled, true}, {4 * time.Second, here, true}, {5 * time.Second, unlabelled, true}, {9 * time.Second, unlabelled, true}, {10 * time.Second, here, true}},
		"for good":                          {{0, here, true}, {1 * time.Second, unlabelled, true}, {5900 * time.Millisecond, unlabelled, true}, {6 * time.Second, unlabelled, false}},
		"changed for good":                  {{0, here, true}, {1 * time.Second, relabelled, true}, {6 * time.Second, relabelled, false}},
		"another label every second":        {{0, here, true}, {1 * time.Second, unlabelled, true}, {3 * time.Second, relabelled, true}, {6 * time.Second, unlabelled, false}},
		"back after it was lost":            {{0, here, true}, {1 * time.Second, unlabelled, true}, {6 * time.Second, unlabelled, false}, {7 * time.Second, here, true}},
		"the NodeENI selects others":        {{0, here, true}, {1 * time.Second, with(elsewhere, matching), false}},
		"the label is gone, then it does":   {{0, here, true}, {1 * time.Second, unlabelled, true}, {2 * time.Second, with(elsewhere, nil), false}},
		"the label, then an edit":           {{0, here, true}, {1 * time.Second, unlabelled, true}, {2 * time.Second, with(edited, nil), true}, {4 * time.Second, with(edited, matching), true}},
		"an edit together with the label":   {{0, here, true}, {1 * time.Second, with(edited, nil), true}, {5 * time.Second, with(edited, nil), true}, {6 * time.Second, with(edited, nil), false}},
		"the Node, then an edit, no label":  {{0, here, true}, {1 * time.Second, noNode, true}, {2 * time.Second, with(edited, nil), true}, {6 * time.Second, with(edited, matching), true}},
		"the NodeENI is deleted":            {{0, here, true}, {1 * time.Second, with(deleted, matching), false}},
		"the label is gone, then it is":     {{0, here, true}, {1 * time.Second, unlabelled, true}, {2 * time.Second, with(deleted, nil), false}},
		"the NodeENI is gone":               {{0, here, true}, {1 * time.Second, Snapshot{NodeExists: true, Labels: matching}, false}},
		"the Node is deleted":               {{0, here, true}, {1 * time.Second, noNode, true}, {60 * time.Second, noNode, true}, {61 * time.Second, noNode, false}},
		"the Node and its NodeENI":          {{0, here, true}, {1 * time.Second, noNode, true}, {2 * time.Second, Snapshot{NodeENIs: []v1alpha1.NodeENI{deleted}}, false}},
		"the Node comes back":               {{0, here, true}, {1 * time.Second, noNode, true}, {30 * time.Second, here, true}, {2 * time.Minute, here, true}},
		"the Node, and then its label":      {{0, here, true}, {1 * time.Second, noNode, true}, {59 * time.Second, unlabelled, true}, {62 * time.Second, here, true}},
		"the Node without its label":        {{0, here, true}, {1 * time.Second, noNode, true}, {30 * time.Second, unlabelled, true}, {35 * time.Second, unlabelled, false}},
		"the Node, its providerID, a label": {{0, here, true}, {1 * time.Second, noNode, true}, {50 * time.Second, noProvider, true}, {80 * time.Second, noProvider, true}, {81 * time.Second, unlabelled, true}, {83 * time.Second, here, true}},
		"an agent that starts in the gap":   {{0, unlabelled, true}, {2 * time.Second, here, true}},
		"one that starts after it":          {{0, unlabelled, true}, {5 * time.Second, unlabelled, false}},
		"one that starts without a Node":    {{0, noNode, true}, {50 * time.Second, unlabelled, true}, {52 * time.Second, here, true}},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Unix(10_000, 0)
			a := New(Config{Log: slog.New(slog.DiscardHandler), ReleaseDelay: delay, Recorder: &agenttest.Recorder{}, Identity: imds.Identity{InstanceID: me, Zone: "us-east-1a"}})
			a.catalog = testCatalog()
			a.synced(start, eniFor("eni-x", string(x.UID), subnetA).at(me, 2, "attached"))
			for _, step := range steps {
				now := start.Add(step.at)
				a.take(step.sees, now)
				if a.selection.logNodeProblem(); a.selection.idle() {
					continue // nothing is done
				}
				a.resolve()
				if released := slices.Contains(next(a.view(now)).release, "eni-x"); released == step.stays {
					t.Fatalf("after %v it is released: %v", step.at, released)
				}
			}
		})
	}
}

// While a label is gone nothing is made for it, and nothing is asked of EC2; nor when
// it is back.
func TestPatienceCostsNothing(t *testing.T) {
	now := time.Unix(10_000, 0)
	x := nodeENI("x", func(s *v1alpha1.NodeENISpec) { s.SubnetIDs = []string{subnetA2} })
	var log bytes.Buffer
	a := New(Config{Log: slog.New(slog.NewTextHandler(&log, nil)), ReleaseDelay: 5 * time.Second, Identity: imds.Identity{InstanceID: me, Zone: "us-east-1a"}})
	a.selection.read, a.catalog = true, testCatalog()
	one := eniFor("eni-x", string(x.UID), subnetA)
	one.Groups = []string{"sg-of-a-user"}
	a.synced(now, one)
	for i, labels := range []map[string]string{matching, nil, matching} {
		a.take(Snapshot{NodeExists: true, Labels: labels, NodeENIs: []v1alpha1.NodeENI{x}}, now)
		a.selection.logNodeProblem()
		a.resolve()
		p := next(a.view(now))
		if works := len(p.calls) > 0; works != (labels != nil) {
			t.Errorf("step %d: calls %+v", i, p.calls)
		}
		if decides := len(p.decide) > 0; decides != (labels != nil) || len(p.release) > 0 {
			t.Errorf("step %d: decided on %v, released %v", i, p.decide, p.release)
		}
		if missing := a.desired.missing; len(missing) > 0 {
			t.Errorf("step %d: EC2 is asked for %+v", i, missing)
		}
		if at := a.next(now); labels == nil && at.After(now.Add(5*time.Second)) {
			t.Errorf("step %d: the next reconcile is at %v", i, at)
		}
	}
	for _, words := range []string{"no longer selects this node", "selects this node again; its ENIs were not released"} {
		if n := strings.Count(log.String(), words); n != 1 {
			t.Errorf("%q is logged %d times:\n%s", words, n, log.String())
		}
	}
}

// Whoever reads that the Node is missing wants to read how that ended.
func TestNodeIsThereAgain(t *testing.T) {
	var log bytes.Buffer
	a := New(Config{Log: slog.New(slog.NewTextHandler(&log, nil)), Identity: imds.Identity{InstanceID: me}})
	for i, step := range []struct {
		snapshot Snapshot
		want     string
	}{
		{Snapshot{NodeExists: true}, ""},
		{Snapshot{}, "the Node was deleted"},
		{Snapshot{Incomplete: true}, ""}, // which says nothing
		{Snapshot{}, "the Node was deleted"},
		{Snapshot{NodeExists: true}, "the Node exists again"},
	} {
		log.Reset()
		a.take(step.snapshot, time.Unix(10_000, 0))
		a.selection.logNodeProblem()
		if got := log.String(); (got == "") != (step.want == "") || !strings.Contains(got, step.want) {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
	}
}
