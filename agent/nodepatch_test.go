package agent

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/agenttest"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// TestNodePatch applies patches as an API server does, to Nodes that have changed
// since they were looked at.
func TestNodePatch(t *testing.T) {
	const x, y, before = v1alpha1.ReadyLabelPrefix + "x", v1alpha1.ReadyLabelPrefix + "y", `{"metadata":{"uid":"1","labels":{"ng":"multi-eni","` +
		v1alpha1.ReadyLabelPrefix + `y":"ready"}},"spec":{"taints":[{"key":"a","effect":"NoSchedule","value":"v"},` +
		`{"key":"networking.k8s.aws/eni-not-ready","effect":"NoSchedule"},{"key":"b","effect":"NoSchedule"},` +
		`{"key":"networking.k8s.aws/eni-not-ready","effect":"NoExecute","timeAdded":"2026-01-01T00:00:00Z"}]}}`
	change := nodeChange{untaint: []int{3, 1}, set: []string{x}, remove: []string{y}}
	const done = `{"metadata":{"uid":"1","labels":{"ng":"multi-eni","` + x + `":"ready"}},"spec":{"taints":[{"key":"a","effect":"NoSchedule","value":"v"},{"key":"b","effect":"NoSchedule"}]}}`
	for _, test := range []struct {
		name   string
		change nodeChange
		seen   string // the Node as the agent saw it
		old    string // replaced in the Node since
		new    string
		want   string // "" where the patch must be refused
	}{
		{"nothing has changed", change, before, "", "", done},
		{"another taint came behind", change, before, `00Z"}]`, `00Z"},{"key":"c","effect":"NoExecute"}]`, strings.Replace(done, `}]`, `},{"key":"c","effect":"NoExecute"}]`, 1)},
		{"another taint has changed", change, before, `"value":"v"`, `"value":"w"`, strings.Replace(done, `"v"`, `"w"`, 1)},
		{"another taint came before ours", change, before, `"taints":[`, `"taints":[{"key":"c","effect":"NoExecute"},`, ""},
		{"another taint has gone", change, before, `{"key":"a","effect":"NoSchedule","value":"v"},`, "", ""},
		{"ours has gone", change, before, `{"key":"networking.k8s.aws/eni-not-ready","effect":"NoSchedule"},`, "", ""},
		{"ours have changed places", change, before, `"NoSchedule"},{"key":"b"`, `"NoExecute"},{"key":"b"`, ""},
		{"another label came", change, before, `"ng":`, `"new":"n","ng":`, strings.Replace(done, `"ng":`, `"new":"n","ng":`, 1)},
		{"the label that goes has gone", change, before, `,"` + y + `":"ready"`, "", ""},
		{"it is another Node of that name", change, before, `"uid":"1"`, `"uid":"2"`, ""},

		{"the first labels of all", nodeChange{set: []string{x, y}}, `{"metadata":{"uid":"1"}}`, "", "",
			`{"metadata":{"uid":"1","labels":{"` + x + `":"ready","` + y + `":"ready"}}}`},
		{"there are labels now", nodeChange{set: []string{x}}, `{"metadata":{"uid":"1"}}`, `"uid"`, `"labels":{"a":"b"},"uid"`, ""},
		{"the last taint", nodeChange{untaint: []int{0}}, `{"metadata":{"uid":"1"},"spec":{"taints":[{"key":"networking.k8s.aws/eni-not-ready","effect":"NoSchedule"}]}}`, "", "",
			`{"metadata":{"uid":"1"},"spec":{"taints":[]}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var seen kube.Node
			if err := json.Unmarshal([]byte(test.seen), &seen); err != nil {
				t.Fatal(err)
			}
			patch, err := jsonpatch.DecodePatch(test.change.patch(Snapshot{NodeUID: seen.UID, Labels: seen.Labels, Taints: seen.Spec.Taints}))
			if err != nil {
				t.Fatal(err)
			}
			now := strings.Replace(test.seen, test.old, test.new, 1)
			got, err := patch.Apply([]byte(now))
			switch {
			case test.want == "" && err == nil:
				t.Errorf("%s\nbecomes %s", now, got)
			case test.want != "" && (err != nil || !jsonpatch.Equal(got, []byte(test.want))):
				t.Errorf("%s\nbecomes %s (%v), want\n%s", now, got, err, test.want)
			}
		})
	}
}

// patcher answers each patch with the next of its errors, and with none in the end.
type patcher struct {
	errs    []error
	patches []string
	parts   []string // of the Node, that the patches were for
}

func (p *patcher) PatchNode(_ context.Context, patch []byte, subresources ...string) error {
	p.patches, p.parts = append(p.patches, string(patch)), append(p.parts, strings.Join(subresources, "/"))
	if len(p.errs) == 0 {
		return nil
	}
	err := p.errs[0]
	p.errs = p.errs[1:]
	return err
}

var (
	tooLate   = apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", "testing value failed", 0, false)
	forbidden = apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "node-a", nil)
)

// shower is an agent whose node has what the NodeENI x wants, and a Node that
// does not show it.
func shower(p *patcher) (*Agent, *agenttest.Recorder, *strings.Builder) {
	logged, events := &strings.Builder{}, &agenttest.Recorder{}
	a := New(Config{
		Node: "node-a", Log: slog.New(slog.NewTextHandler(logged, nil)), Recorder: events,
		NodeReadiness: NodeReadiness{StartupTaint: true, Labels: true, Patcher: p},
	})
	a.synced(time.Now())
	a.desired.wants = []want{wantFor("x", subnetA, 2)}
	a.reporter.current.ENIs = entriesIn(v1alpha1.PhaseReady)
	a.selection.snapshot = Snapshot{NodeExists: true, NodeUID: "1", Labels: matching, Taints: []kube.Taint{{Key: v1alpha1.StartupTaint, Effect: "NoSchedule"}}}
	return a, events, logged
}

// updateNode lets the Node be looked at.
func (a *Agent) updateNode(t *testing.T, complete bool) {
	t.Helper()
	a.node.take(a.desired, a.reporter.current.ENIs, a.inventory.Synced(), time.Now())
	a.node.update(t.Context(), a.selection.snapshot, complete, time.Now())
}

// show lets the Node be looked at, and waits for a patch.
func (a *Agent) show(t *testing.T) {
	t.Helper()
	a.updateNode(t, true)
	for a.calls.patchingNode() {
		(<-a.calls.results)()
	}
}

// One change is one patch, also while the answer is awaited.
func TestOnePatchPerChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &patcher{}
		a, events, logged := shower(p)
		a.updateNode(t, false)
		if a.calls.busy(nodePart.key) {
			t.Fatal("patched before all NodeENIs have been read")
		}
		for range 3 {
			a.updateNode(t, true)
			synctest.Wait()
		}
		(<-a.calls.results)()
		want := `[{"op":"test","path":"/metadata/uid","value":"1"},` +
			`{"op":"test","path":"/spec/taints/0/key","value":"networking.k8s.aws/eni-not-ready"},{"op":"test","path":"/spec/taints/0/effect","value":"NoSchedule"},{"op":"remove","path":"/spec/taints/0"},` +
			`{"op":"add","path":"/metadata/labels/nodeeni.networking.k8s.aws~1x","value":"ready"}]`
		if !slices.Equal(p.patches, []string{want}) {
			t.Errorf("patches %s\nwant one, %s", p.patches, want)
		}
		if !slices.Equal(events.Reasons, []string{"StartupTaintRemoved"}) || !strings.Contains(logged.String(), "removed the startup taint") {
			t.Errorf("Events %v, log %s", events.Reasons, logged)
		}
	})
}

// A patch that comes too late is made again of what the Node is then, and that is
// not worth a word; a refusal is told, once, and what to do.
func TestPatchesAreTriedAgain(t *testing.T) {
	for name, test := range map[string]struct {
		errs   []error
		events []string
		log    string
	}{
		"too late":            {[]error{tooLate, apierrors.NewConflict(schema.GroupResource{}, "", nil)}, []string{"StartupTaintRemoved"}, ""},
		"too late every time": {slices.Repeat([]error{tooLate}, conflictsBeforeWarning+2), []string{"NodeNotPatched", "StartupTaintRemoved"}, "another client changed the Node at the same time"},
		"forbidden":           {[]error{forbidden, forbidden}, []string{"NodeNotPatched", "StartupTaintRemoved"}, "manifests/node-readiness"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := len(test.errs)
				p := &patcher{errs: test.errs}
				a, events, logged := shower(p)
				for range n {
					a.show(t)
					made := len(p.patches)
					if a.show(t); len(p.patches) != made {
						t.Fatal("tried again at once")
					}
					time.Sleep(time.Minute)
				}
				if a.show(t); len(p.patches) != n+1 || len(a.failures.Times()) > 0 {
					t.Errorf("%d patches, want %d; failed until %v", len(p.patches), n+1, a.failures.Times())
				}
				if !slices.Equal(events.Reasons, test.events) || test.log != "" && strings.Count(logged.String(), test.log) != 1 {
					t.Errorf("Events %v, want %v; log\n%s", events.Reasons, test.events, logged)
				}
			})
		})
	}
}

// The agent wakes when a NodeENI is to be no longer taken for ready, and only then.
func TestLabelsFade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &patcher{}
		a, _, _ := shower(p)
		a.selection.read = true
		a.selection.snapshot.Labels, a.selection.snapshot.Taints = map[string]string{v1alpha1.ReadyLabel("x"): v1alpha1.ReadyLabelValue}, nil
		a.show(t)
		time.Sleep(30 * time.Minute) // an idle agent starts no reconcile
		a.reporter.current.ENIs = entriesIn(v1alpha1.PhaseAttaching)
		if a.show(t); len(p.patches) > 0 {
			t.Fatalf("a short repair changes the Node: %s", p.patches)
		}
		next := func() time.Duration { return time.Until(a.next(time.Now())) }
		if next() != readyPatience {
			t.Fatalf("the next reconcile is in %v, want %v", next(), readyPatience)
		}
		time.Sleep(readyPatience)
		if a.show(t); len(p.patches) != 1 || !strings.Contains(p.patches[0], `"op":"remove"`) {
			t.Fatalf("patches %s, want the label to be removed", p.patches)
		}
		if next() < time.Minute {
			t.Errorf("and the next one in %v", next())
		}
		// While nothing is known, waiting tells nothing.
		a.node.byUID = map[types.UID]nodeENIReadiness{"x": {"x", degraded, time.Now().Add(-time.Hour)}}
		if next() < time.Minute {
			t.Errorf("while nothing is known in %v", next())
		}
	})
}

// An agent whose node does not match any more leaves no label behind: no
// other program would remove it. It tries a few times, and then it goes.
func TestLastPassRemovesLabels(t *testing.T) {
	for name, test := range map[string]struct {
		errs     []error
		attempts int
	}{
		"at once":             {nil, 1},
		"while others change": {[]error{tooLate, tooLate}, 3},
		"too late every time": {slices.Repeat([]error{tooLate}, 50), shutDownAttempts},
		"forbidden":           {[]error{forbidden, forbidden}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := &patcher{errs: test.errs}
			a, _, _ := shower(p)
			source := &source{Known: true, Desired: Snapshot{NodeExists: true, NodeUID: "1", Labels: map[string]string{v1alpha1.ReadyLabel("x"): "ready"}}}
			source.Desired.NodeENIs = []v1alpha1.NodeENI{nodeENI("x", nil)}
			a.Source = source
			a.failures.Failed(nodePart.key, forbidden, time.Now()) // of a moment ago
			a.shutDown(t.Context())
			if len(p.patches) != test.attempts || source.Refreshed() != test.attempts || !strings.Contains(p.patches[0], `"op":"remove"`) {
				t.Errorf("%d patches %s after %d looks, want %d", len(p.patches), p.patches, source.Refreshed(), test.attempts)
			}
		})
	}
}
