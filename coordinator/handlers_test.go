package coordinator

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

func TestNeedsSweep(t *testing.T) {
	base := wantedEvidence().NodeENI
	changed := func(f func(*v1alpha1.NodeENI)) *v1alpha1.NodeENI {
		n := base.DeepCopy()
		f(n)
		return n
	}
	deleting := changed(func(n *v1alpha1.NodeENI) { n.DeletionTimestamp = &metav1.Time{} })
	tests := []struct {
		name     string
		old, now *v1alpha1.NodeENI
		want     bool
	}{
		{"new", nil, base, false},
		{"new, and being deleted", nil, deleting, true},
		{"gone", base, nil, true},
		{"begins to be deleted", base, deleting, true},
		{"is still being deleted", deleting, deleting, false},
		{"another object of that name", base, changed(func(n *v1alpha1.NodeENI) { n.UID = "uid-2" }), true},
		{"status", base, changed(func(n *v1alpha1.NodeENI) { n.Status.Nodes.Ready = 3 }), false},
		{"mtu", base, changed(func(n *v1alpha1.NodeENI) { n.Spec.MTU = 9001 }), false},
		{"selector", base, changed(func(n *v1alpha1.NodeENI) { n.Spec.NodeSelector["ng"] = "other" }), true},
		{"subnetID", base, changed(func(n *v1alpha1.NodeENI) { n.Spec.SubnetID = subnetB }), true},
		{"subnetIDs", base, changed(func(n *v1alpha1.NodeENI) { n.Spec.SubnetIDs = []string{subnetB} }), true},
		{"subnetName", base, changed(func(n *v1alpha1.NodeENI) { n.Spec.SubnetName = "a" }), true},
		{"subnetNames", base, changed(func(n *v1alpha1.NodeENI) { n.Spec.SubnetNames = []string{"a"} }), true},
	}
	for _, test := range tests {
		if got := needsSweep(test.old, test.now); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

func TestNewlyReleased(t *testing.T) {
	report := func(id string, phase v1alpha1.Phase) *v1alpha1.NodeENIState {
		return &v1alpha1.NodeENIState{Status: v1alpha1.NodeENIStateStatus{ENIs: []v1alpha1.ENIState{
			{ENIID: "eni-0", Phase: v1alpha1.PhaseReady}, {ENIID: id, Phase: phase},
		}}}
	}
	tests := []struct {
		name     string
		old, now *v1alpha1.NodeENIState
		want     []string
	}{
		{"ready", nil, report("eni-1", v1alpha1.PhaseReady), nil},
		{"releasing", report("eni-1", v1alpha1.PhaseReady), report("eni-1", v1alpha1.PhaseReleasing), []string{"eni-1"}},
		{"released", report("eni-1", v1alpha1.PhaseReleasing), report("eni-1", v1alpha1.PhaseReleased), []string{"eni-1"}},
		{"released as before", report("eni-1", v1alpha1.PhaseReleased), report("eni-1", v1alpha1.PhaseReleased), nil},
		{"another one released", report("eni-1", v1alpha1.PhaseReleased), report("eni-2", v1alpha1.PhaseReleased), []string{"eni-2"}},
		{"first report", nil, report("eni-1", v1alpha1.PhaseReleased), []string{"eni-1"}},
		{"names no ENI", nil, report("", v1alpha1.PhaseReleased), nil},
		{"report gone", report("eni-1", v1alpha1.PhaseReleasing), nil, nil},
	}
	for _, test := range tests {
		if got := newlyReleased(test.old, test.now); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

func TestNodeChanges(t *testing.T) {
	base := wantedEvidence().Node
	changed := func(f func(*kube.Node)) *kube.Node {
		n := base.DeepCopy()
		f(n)
		return n
	}
	tests := []struct {
		name           string
		now            *kube.Node
		same, replaced bool
	}{
		{"heartbeat", changed(func(n *kube.Node) { n.ResourceVersion = "2" }), true, false},
		{"label", changed(func(n *kube.Node) { n.Labels["ng"] = "other" }), false, false},
		{"instance", changed(func(n *kube.Node) { n.Spec.ProviderID = providerID("i-2") }), false, true},
		{"object", changed(func(n *kube.Node) { n.UID = "new" }), false, false},
	}
	for _, test := range tests {
		if same, replaced := nodeUnchanged(base, test.now), instanceReplaced(base, test.now); same != test.same || replaced != test.replaced {
			t.Errorf("%s: got same %v, replaced %v, want %v, %v", test.name, same, replaced, test.same, test.replaced)
		}
	}
	if unset := changed(func(n *kube.Node) { n.Spec.ProviderID = "" }); instanceReplaced(unset, base) {
		t.Error("a Node that gets its providerID is taken for a replaced one")
	}
}

// What a new list does not show any more has not been seen to be deleted: the
// list may be wrong, or etcd restored to an older state.
func TestOnlySeenDeletionsAreProof(t *testing.T) {
	base := wantedEvidence().NodeENI
	leaving := base.DeepCopy()
	leaving.DeletionTimestamp = &metav1.Time{}
	for _, test := range []struct {
		name string
		obj  any
		want bool
	}{
		{"deleted", base, true},
		{"missing from a list", cache.DeletedFinalStateUnknown{Key: base.Name, Obj: base}, false},
		{"missing from a list after it was being deleted", cache.DeletedFinalStateUnknown{Key: base.Name, Obj: leaving}, true},
	} {
		deleted, gone := false, false
		handlerOf(func(_, now *v1alpha1.NodeENI) { gone = now == nil }, func(*v1alpha1.NodeENI) { deleted = true }).OnDelete(test.obj)
		if !gone || deleted != test.want {
			t.Errorf("%s: gone %v, proven %v", test.name, gone, deleted)
		}
	}
}

// One node's reports, whatever they say, have EC2 asked a few times.
func TestReportsAreLimited(t *testing.T) {
	l := newReportLimiter()
	asked := 0
	for range 1000 {
		if l.allow("node-a", func() {}) {
			asked++
		}
	}
	if asked != reportBurst || !l.allow("node-b", func() {}) {
		t.Errorf("asked %d times at once, want %d, and another node's to count", asked, reportBurst)
	}
}

// idleHandlers are those of a coordinator that watches nothing. Its caches hold what a
// test puts there.
func idleHandlers(t *testing.T) *eventHandlers {
	t.Helper()
	client, err := kube.NewClient(&rest.Config{Host: "http://127.0.0.1:1"}, "test")
	if err != nil {
		t.Fatal(err)
	}
	h := &eventHandlers{
		caches:    newCaches(client, slog.New(slog.DiscardHandler), newHistory(time.Minute)),
		describes: newDescribeQueue(), statuses: newStatusQueue(), limiter: newReportLimiter(),
	}
	h.statuses.take() // it leads
	return h
}

func (h *eventHandlers) fill(t *testing.T, nodeENI *v1alpha1.NodeENI, node *kube.Node) {
	t.Helper()
	if err := errors.Join(h.caches.nodeENIs.GetStore().Add(nodeENI), h.caches.nodes.GetStore().Add(node)); err != nil {
		t.Fatal(err)
	}
}

// The report of an agent that does nothing may name no ENI. It changes the status of
// every NodeENI that selects the Node.
func TestProblemsAreShown(t *testing.T) {
	ev := wantedEvidence()
	report := func(reason string, enis ...v1alpha1.ENIState) *v1alpha1.NodeENIState {
		s := &v1alpha1.NodeENIState{Status: v1alpha1.NodeENIStateStatus{InstanceID: "i-1", Reason: reason, ENIs: enis}}
		s.Name = ev.Node.Name
		return s
	}
	other := v1alpha1.ENIState{NodeENI: "other"}
	for _, test := range []struct {
		name     string
		old, now *v1alpha1.NodeENIState
		want     []string
	}{
		{"a problem", nil, report("NotThisInstance"), []string{"multi"}},
		{"the same problem", report("NotThisInstance"), report("NotThisInstance"), nil},
		{"another problem", report("NotThisInstance"), report("WrongRegion"), []string{"multi"}},
		{"no problem any more", report("WrongRegion"), report("", other), []string{"multi", "other"}},
		{"no report any more", report("WrongRegion"), nil, []string{"multi"}},
		{"another NodeENI's ENI", report(""), report("", other), []string{"other"}},
	} {
		h := idleHandlers(t)
		h.fill(t, ev.NodeENI, ev.Node)
		h.stateChanged(test.old, test.now)
		if got := slices.Sorted(maps.Keys(h.statuses.take())); !slices.Equal(got, test.want) {
			t.Errorf("%s: the status of %v is written again, want %v", test.name, got, test.want)
		}
	}
}

// What a coordinator keeps does not grow while it stands by, nor with nodes and NodeENIs
// that come and go.
func TestNothingIsKept(t *testing.T) {
	standby := newStatusQueue()
	standby.add("multi")
	if names := standby.take(); len(names) != 0 {
		t.Errorf("a coordinator that stands by keeps %v", names)
	}
	ev, h := wantedEvidence(), idleHandlers(t)
	report := &v1alpha1.NodeENIState{Status: v1alpha1.NodeENIStateStatus{InstanceID: "i-1", ENIs: []v1alpha1.ENIState{
		{ENIID: "eni-1", Phase: v1alpha1.PhaseReleased},
	}}}
	report.Name = ev.Node.Name
	h.nodeChanged(ev.Node, nil)
	h.stateChanged(nil, report)
	h.stateChanged(report, nil)
	if len(h.limiter.nodes) != 0 {
		t.Errorf("limits of %d nodes that are gone are kept", len(h.limiter.nodes))
	}
	writer := &statusWriter{caches: h.caches, queue: h.statuses, schedule: newSchedule(0), heartbeat: program.NewHeartbeat("status loop", stepLimit)}
	writer.schedule.done("multi", true, testNow)
	h.nodeENIChanged(ev.NodeENI, nil)
	writer.takeQueued(testNow)
	writer.writeDue(t.Context(), testNow)
	if len(writer.schedule.written) != 0 {
		t.Errorf("when the status of %d NodeENIs that are gone was written is kept", len(writer.schedule.written))
	}
}

// A Node was deleted, and another instance has its name now: some cloud controllers set the
// providerID only after the Node has been registered.
func TestProviderIDComesLater(t *testing.T) {
	for _, deleted := range []bool{true, false} {
		h, before := idleHandlers(t), wantedEvidence().Node
		if deleted {
			h.caches.history.nodeDeleted(before, testNow)
		}
		registered, identified := before.DeepCopy(), before.DeepCopy()
		registered.Spec.ProviderID, identified.Spec.ProviderID = "", providerID("i-2")
		h.nodeChanged(nil, registered)
		if named := h.describes.take(); len(named.values) != 0 {
			t.Errorf("deleted %v: a Node that is registered has EC2 asked for %v", deleted, named.values)
		}
		h.nodeChanged(registered, identified)
		if named := h.describes.take(); named.cover(eni.ByNode, before.Name) != deleted {
			t.Errorf("deleted %v: its providerID has EC2 asked for %v", deleted, named.values)
		}
	}
}
