package agent

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// stateNames are the names of the states in tests.
var stateNames = map[readinessState]string{notReady: "not ready", degraded: "degraded", allReady: "ready"}

func (s nodeENIReadiness) text() string {
	text := s.nodeENI + " " + stateNames[s.state]
	if !s.since.IsZero() {
		text += fmt.Sprintf(" since %d", s.since.Unix())
	}
	return text
}

func textOf(standings map[types.UID]nodeENIReadiness) string {
	var lines []string
	for _, s := range standings {
		lines = append(lines, s.text())
	}
	slices.Sort(lines)
	return strings.Join(lines, ", ")
}

// entriesIn are report entries of the NodeENI x, one for each phase, of the
// subnets A, A2.
func entriesIn(phases ...v1alpha1.Phase) []v1alpha1.ENIState {
	var entries []v1alpha1.ENIState
	for i, phase := range phases {
		entries = append(entries, v1alpha1.ENIState{
			NodeENI: "x", NodeENIUID: "x", ENIID: fmt.Sprintf("eni-%d", i), SubnetID: []string{subnetA, subnetA2}[i], Phase: phase,
		})
	}
	return entries
}

func TestReadinessOf(t *testing.T) {
	const up, configuring, failed = v1alpha1.PhaseReady, v1alpha1.PhaseConfiguring, v1alpha1.PhaseFailed
	now := time.Unix(1000, 0)
	one := desired{wants: []want{wantFor("x", subnetA, 2)}}
	two := desired{wants: []want{wantFor("x", subnetA, 2), wantFor("x", subnetA2, 3)}}
	beside := func(d desired, reason string) desired {
		d.problems = []problem{{"x", "x", 1, reason, "a message"}}
		return d
	}
	was := func(state readinessState, since ...time.Time) map[types.UID]nodeENIReadiness {
		return map[types.UID]nodeENIReadiness{"x": {"x", state, append(since, time.Time{})[0]}}
	}
	for _, test := range []struct {
		name      string
		before    map[types.UID]nodeENIReadiness
		desired   desired
		entries   []v1alpha1.ENIState
		uncertain bool
		want      string
	}{
		{"nothing is wanted", was(allReady), desired{}, entriesIn(up), false, ""},
		{"a new one", nil, one, entriesIn(configuring), false, "x not ready"},
		{"not reported yet", nil, one, nil, false, "x not ready"},
		{"it comes up", was(notReady), one, entriesIn(up), false, "x ready"},
		{"one of two is up", was(notReady), two, entriesIn(up, configuring), false, "x not ready"},
		{"only one of two is reported", was(notReady), two, entriesIn(up), false, "x not ready"},
		{"both are up", was(notReady), two, entriesIn(up, up), false, "x ready"},
		{"another NodeENI's is up", was(notReady), desired{wants: []want{wantFor("y", subnetA, 2)}}, entriesIn(up), false, "y not ready"},
		{"a second ENI is wanted", was(allReady), two, entriesIn(up), false, "x degraded since 1000"},
		{"one ceases to be", was(allReady), two, entriesIn(up, failed), false, "x degraded since 1000"},
		{"for a while", was(degraded, now.Add(1-time.Minute)), one, entriesIn(configuring), false, "x degraded since 940"},
		{"for too long", was(degraded, now.Add(-time.Minute)), one, entriesIn(configuring), false, "x not ready"},
		{"and stays so", was(notReady), one, entriesIn(configuring), false, "x not ready"},
		{"it comes back in time", was(degraded, now.Add(-time.Second)), one, entriesIn(up), false, "x ready"},

		{"after a restart, EC2 has not told", was(degraded), one, entriesIn(up), true, "x degraded"},
		{"EC2 has told that it is up", was(degraded), one, entriesIn(up), false, "x ready"},
		{"EC2 has told that it is not", was(degraded), one, entriesIn(configuring), false, "x degraded since 1000"},
		{"a new one, EC2 has not told", nil, one, entriesIn(up), true, "x not ready"},

		{"its names are looked up", nil, beside(desired{}, reasonResolving), nil, false, "x not ready"},
		{"they are looked up again", was(allReady), beside(one, reasonResolving), entriesIn(up), false, "x degraded"},
		{"however long that takes", was(degraded, now.Add(-time.Hour)), beside(one, reasonResolving), entriesIn(up), false, "x degraded since -2600"},
		{"no subnet in the zone", nil, beside(desired{}, reasonNoSubnetInZone), nil, false, "x not ready"},
		{"one of its subnets does not exist", was(notReady), beside(one, "SubnetNotFound"), entriesIn(up), false, "x not ready"},
		{"it becomes invalid", was(allReady), beside(one, "InvalidSpec"), entriesIn(up), false, "x degraded since 1000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := textOf(readinessOf(test.before, test.desired, test.entries, !test.uncertain, now)); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// After a restart a label stays that the last report speaks for: not one of a
// NodeENI that was deleted meanwhile, even if it was created again.
func TestStood(t *testing.T) {
	last := v1alpha1.NodeENIStateStatus{InstanceID: me, ENIs: []v1alpha1.ENIState{
		{NodeENI: "ready", NodeENIUID: "1", Phase: v1alpha1.PhaseReady},
		{NodeENI: "being-repaired", NodeENIUID: "2", Phase: v1alpha1.PhaseAttaching},
		{NodeENI: "releasing", NodeENIUID: "3", Phase: v1alpha1.PhaseReleasing},
		{NodeENI: "released", NodeENIUID: "4", Phase: v1alpha1.PhaseReleased},
	}}
	for instance, want := range map[string]string{me: "being-repaired degraded, ready degraded", other: ""} {
		a := New(Config{Source: &source{Report: last}, Log: slog.New(slog.DiscardHandler), Identity: imds.Identity{InstanceID: instance}})
		if err := a.restore(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		if got := textOf(a.node.byUID); got != want {
			t.Errorf("on %s %q, want %q", instance, got, want)
		}
	}
}

func (c nodeChange) text() string {
	var words []string
	if len(c.untaint) > 0 {
		words = append(words, fmt.Sprint("untaint ", c.untaint))
	}
	for _, key := range c.set {
		words = append(words, "set "+key)
	}
	for _, key := range c.remove {
		words = append(words, "remove "+key)
	}
	return strings.Join(words, ", ")
}

func TestChangeNode(t *testing.T) {
	const x, y, long = v1alpha1.ReadyLabelPrefix + "x", v1alpha1.ReadyLabelPrefix + "y", "a-name-of-seventy-characters-is-more-than-a-label-may-have-of-such-text"
	ours, other := kube.Taint{Key: v1alpha1.StartupTaint, Effect: "NoSchedule"}, kube.Taint{Key: "example.com/starting", Effect: "NoSchedule"}
	ours2 := kube.Taint{Key: v1alpha1.StartupTaint, Effect: "NoExecute"}
	standings := func(states ...readinessState) map[types.UID]nodeENIReadiness {
		all := map[types.UID]nodeENIReadiness{}
		for i, state := range states {
			name := string("xyz"[i])
			all[types.UID(name)] = nodeENIReadiness{nodeENI: name, state: state}
		}
		return all
	}
	labels := func(keys ...string) map[string]string {
		all := maps.Clone(matching)
		for _, key := range keys {
			all[key] = v1alpha1.ReadyLabelValue
		}
		return all
	}
	taints := func(all ...kube.Taint) []kube.Taint { return all }
	for _, test := range []struct {
		name      string
		show      string // both unless given
		labels    map[string]string
		taints    []kube.Taint
		standings map[types.UID]nodeENIReadiness
		want      string
	}{
		{"nothing to do", "", labels(), nil, nil, ""},
		{"all ready", "", labels(), taints(ours), standings(allReady, allReady), "untaint [0], set " + x + ", set " + y},
		{"only one of two", "", labels(), taints(ours), standings(allReady, notReady), "set " + x},
		{"one is degraded", "", labels(x, y), taints(ours), standings(allReady, degraded), ""},
		{"nothing is wanted", "", labels(), taints(ours), nil, "untaint [0]"},
		{"among others", "", labels(x), taints(other, ours, other), standings(allReady), "untaint [1]"},
		{"with two effects, the last first", "", labels(x), taints(ours, other, ours2), standings(allReady), "untaint [2 0]"},
		{"others only", "", labels(x), taints(other), standings(allReady), ""},
		{"all done", "", labels(x), nil, standings(allReady), ""},

		{"not ready any more", "", labels(x, y), nil, standings(notReady, allReady), "remove " + x},
		{"not wanted any more", "", labels(x, y), nil, standings(allReady), "remove " + y},
		{"nothing is wanted any more", "", labels(x, y), nil, nil, "remove " + x + ", remove " + y},
		{"another value", "", map[string]string{x: "no"}, nil, standings(allReady), "set " + x},
		{"another value that may stay", "", map[string]string{x: "no"}, nil, standings(degraded), ""},
		{"no labels at all", "", nil, nil, standings(allReady), "set " + x},
		{"labels of others", "", map[string]string{"networking.k8s.aws/x": "ready", "x": "ready"}, nil, nil, ""},
		{"a long name", "", labels(), nil, map[types.UID]nodeENIReadiness{"1": {nodeENI: long, state: allReady}}, "set " + v1alpha1.ReadyLabelPrefix + long[:52] + "-2f0c969b6a"},
		{"and that it stays", "", labels(v1alpha1.ReadyLabelPrefix + long[:52] + "-2f0c969b6a"), nil, map[types.UID]nodeENIReadiness{"1": {nodeENI: long, state: degraded}}, ""},

		{"only the taint", "taint", labels(y), taints(ours), standings(allReady), "untaint [0]"},
		{"only the labels", "labels", labels(y), taints(ours), standings(allReady), "set " + x + ", remove " + y},
		{"no Node", "none", nil, taints(ours), standings(allReady), ""},
		{"another instance's Node", "other", nil, taints(ours), standings(allReady), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := Snapshot{NodeExists: test.show != "none", Labels: test.labels, Taints: test.taints}
			if test.show == "other" {
				s.NodeProblem = "another instance"
			}
			show := NodeReadiness{StartupTaint: test.show != "labels", Labels: test.show != "taint"}
			if got := changeNode(show, s, test.standings).text(); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// A NodeENI that a list lacks may be the one that the taint waits for.
func TestNodeStaysWhileObjectsAreMissing(t *testing.T) {
	s := Snapshot{NodeExists: true, Incomplete: true, Taints: []kube.Taint{{Key: v1alpha1.StartupTaint, Effect: "NoSchedule"}}}
	if c := changeNode(NodeReadiness{StartupTaint: true, Labels: true}, s, nil); !c.empty() {
		t.Errorf("the Node is changed: %+v", c)
	}
}
