package coordinator

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

const (
	testCluster = "c0ffee00-0000-4000-8000-000000000001"
	subnetA     = "subnet-0aaaaaaaaaaaaaaaa"
	subnetB     = "subnet-0bbbbbbbbbbbbbbbb"
)

func arn(instance string) string { return "arn:aws:ec2:us-east-1:123456789012:instance/" + instance }

func providerID(instance string) string {
	if instance == "" {
		return ""
	}
	return "aws:///us-east-1a/" + instance
}

// wantedENI and wantedEvidence are an ENI that everything speaks for.
func wantedENI() eni.ENI {
	return eni.ENI{
		ID: "eni-1", SubnetID: subnetA, Status: "in-use",
		Attachment: &eni.Attachment{ID: "eni-attach-1", InstanceID: "i-1", DeviceIndex: 2, Status: "attached"},
		Owner: eni.Owner{Cluster: testCluster, Node: "node-a", Instance: arn("i-1"), NodeENI: "multi", NodeENIUID: "uid-1",
			CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
	}
}

func wantedEvidence() evidence {
	return evidence{
		NodeENI: &v1alpha1.NodeENI{
			ObjectMeta: metav1.ObjectMeta{Name: "multi", UID: "uid-1"},
			Spec:       v1alpha1.NodeENISpec{NodeSelector: map[string]string{"ng": "multi-eni"}, SubnetID: subnetA},
		},
		Node: &kube.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "node-a", Labels: map[string]string{"ng": "multi-eni", "zone": "a"}},
			Spec:       kube.NodeSpec{ProviderID: providerID("i-1")},
		},
		Phase: v1alpha1.PhaseReady,
	}
}

func TestLeftOver(t *testing.T) {
	tests := []struct {
		name   string
		change func(*eni.ENI, *evidence)
		want   decision
	}{
		{"wanted", func(*eni.ENI, *evidence) {}, decision{}},
		{"no report yet", func(_ *eni.ENI, ev *evidence) { ev.Phase = "" }, decision{}},
		{"failed but wanted", func(_ *eni.ENI, ev *evidence) { ev.Phase = v1alpha1.PhaseFailed }, decision{}},
		{"another cluster's", func(e *eni.ENI, ev *evidence) { e.Owner.Cluster = "other"; *ev = evidence{NodeENIDeleted: true} }, decision{}},
		{"no cluster tag", func(e *eni.ENI, ev *evidence) { e.Owner.Cluster = ""; *ev = evidence{NodeENIDeleted: true} }, decision{}},

		{"NodeENI being deleted", func(_ *eni.ENI, ev *evidence) { ev.NodeENI.DeletionTimestamp = &metav1.Time{} },
			decision{reasonNodeENIDeleted, graceAgent}},
		{"NodeENI being deleted, agent is still releasing", func(_ *eni.ENI, ev *evidence) {
			ev.NodeENI.DeletionTimestamp = &metav1.Time{}
			ev.Phase = v1alpha1.PhaseReleasing
		}, decision{reasonNodeENIDeleted, graceAgent}},
		{"NodeENI being deleted, agent has released", func(_ *eni.ENI, ev *evidence) {
			ev.NodeENI.DeletionTimestamp = &metav1.Time{}
			ev.Phase = v1alpha1.PhaseReleased
		}, decision{reasonNodeENIDeleted, graceNone}},
		{"NodeENI being deleted, no Node", func(_ *eni.ENI, ev *evidence) {
			ev.NodeENI.DeletionTimestamp = &metav1.Time{}
			ev.Node = nil
		}, decision{reasonNodeENIDeleted, graceNone}},
		{"NodeENI's deletion seen", func(_ *eni.ENI, ev *evidence) { ev.NodeENI, ev.NodeENIDeleted = nil, true },
			decision{reasonNodeENIDeleted, graceAgent}},
		{"NodeENI unknown", func(_ *eni.ENI, ev *evidence) { ev.NodeENI = nil }, decision{reasonNodeENIUnknown, graceOrphan}},
		{"NodeENI unknown, agent has released", func(_ *eni.ENI, ev *evidence) {
			ev.NodeENI, ev.Phase = nil, v1alpha1.PhaseReleased
		}, decision{reasonReleased, graceNone}},

		{"Node's deletion seen", func(_ *eni.ENI, ev *evidence) { ev.Node, ev.NodeDeleted = nil, true },
			decision{reasonNodeDeleted, graceNode}},
		{"Node unknown", func(_ *eni.ENI, ev *evidence) { ev.Node = nil }, decision{reasonNodeUnknown, graceOrphan}},
		{"Node deleted and back", func(_ *eni.ENI, ev *evidence) { ev.NodeDeleted = true }, decision{}},
		{"neither known, Node's deletion seen", func(_ *eni.ENI, ev *evidence) { *ev = evidence{NodeDeleted: true} },
			decision{reasonNodeDeleted, graceNode}},
		{"Node's deletion seen, and the NodeENI is being deleted", func(_ *eni.ENI, ev *evidence) {
			ev.Node, ev.NodeDeleted, ev.NodeENI.DeletionTimestamp = nil, true, &metav1.Time{}
		}, decision{reasonNodeENIDeleted, graceNone}},
		{"Node is another instance", func(_ *eni.ENI, ev *evidence) { ev.Node.Spec.ProviderID = providerID("i-2") },
			decision{reasonNodeReplaced, graceNone}},
		{"neither known", func(_ *eni.ENI, ev *evidence) { *ev = evidence{} }, decision{reasonBothUnknown, graceOrphan}},
		{"NodeENI unknown, and another cluster's Node has the name", func(_ *eni.ENI, ev *evidence) {
			ev.NodeENI, ev.Node.Spec.ProviderID = nil, providerID("i-2")
		}, decision{reasonBothUnknown, graceOrphan}},
		{"Node has no providerID yet", func(_ *eni.ENI, ev *evidence) { ev.Node.Spec.ProviderID = "" }, decision{}},
		{"instance tag is garbled", func(e *eni.ENI, _ *evidence) { e.Owner.Instance = "" }, decision{}},

		{"label lost", func(_ *eni.ENI, ev *evidence) { delete(ev.Node.Labels, "ng") }, decision{reasonNotSelected, graceAgent}},
		{"label changed, released", func(_ *eni.ENI, ev *evidence) {
			ev.Node.Labels["ng"], ev.Phase = "other", v1alpha1.PhaseReleased
		}, decision{reasonNotSelected, graceNone}},
		{"empty selector", func(_ *eni.ENI, ev *evidence) { ev.NodeENI.Spec.NodeSelector = nil }, decision{}},

		{"subnet unlisted", func(_ *eni.ENI, ev *evidence) { ev.NodeENI.Spec.SubnetID = subnetB },
			decision{reasonSubnetUnlisted, graceAgent}},
		{"subnet listed among ids", func(_ *eni.ENI, ev *evidence) {
			ev.NodeENI.Spec.SubnetID, ev.NodeENI.Spec.SubnetIDs = subnetB, []string{subnetA}
		}, decision{}},
		{"subnets by name too", func(_ *eni.ENI, ev *evidence) {
			ev.NodeENI.Spec.SubnetID, ev.NodeENI.Spec.SubnetNames = subnetB, []string{"a"}
		}, decision{}},
		{"subnets by name, released", func(_ *eni.ENI, ev *evidence) {
			ev.NodeENI.Spec.SubnetID, ev.NodeENI.Spec.SubnetName = "", "a"
			ev.Phase = v1alpha1.PhaseReleased
		}, decision{reasonReleased, graceNone}},
		{"no subnet at all", func(_ *eni.ENI, ev *evidence) { ev.NodeENI.Spec.SubnetID = "" }, decision{}},

		{"agent is releasing", func(_ *eni.ENI, ev *evidence) { ev.Phase = v1alpha1.PhaseReleasing }, decision{reasonReleased, graceAgent}},
		{"agent has released", func(_ *eni.ENI, ev *evidence) { ev.Phase = v1alpha1.PhaseReleased }, decision{reasonReleased, graceNone}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e, ev := wantedENI(), wantedEvidence()
			test.change(&e, &ev)
			if got := leftOver(testCluster, e, ev); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

// TestLeftOverKeeps holds leftOver to what must never happen, in random worlds:
// it never collects another cluster's ENI or a wanted one, and never by absence
// alone without the patience of an orphan.
func TestLeftOverKeeps(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	collected := 0
	for range 50_000 {
		data := make([]byte, 32)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		e, ev := drawWorld(draw.From(data))
		got := leftOver(testCluster, e, ev)
		if got.collect() {
			collected++
		}
		switch {
		case got.collect() && e.Owner.Cluster != testCluster:
			t.Fatalf("seed %d: another cluster's ENI is collected: %+v %+v", seed, e, ev)
		case got.collect() && isWanted(e, ev):
			t.Fatalf("seed %d: a wanted ENI is collected as %+v: %+v %+v", seed, got, e, ev)
		case got.collect() && got.GracePeriod != graceOrphan && !isProven(e, ev):
			t.Fatalf("seed %d: collected as %+v on absence alone: %+v %+v", seed, got, e, ev)
		case leftOver("", e, ev).collect():
			t.Fatalf("seed %d: collected without a cluster name", seed)
		}
	}
	if collected < 1000 {
		t.Errorf("only %d of the random ENIs were collected; the worlds are too tame", collected)
	}
}

// isWanted states, in other words than the code, when an ENI must stay.
func isWanted(e eni.ENI, ev evidence) bool {
	if ev.NodeENI == nil || ev.NodeENI.DeletionTimestamp != nil || ev.Node == nil {
		return false
	}
	if ev.Node.Spec.ProviderID != "" && e.Owner.Instance != "" && providerID(e.Owner.InstanceID()) != ev.Node.Spec.ProviderID {
		return false
	}
	for key, value := range ev.NodeENI.Spec.NodeSelector {
		if ev.Node.Labels[key] != value {
			return false
		}
	}
	ids := append([]string{ev.NodeENI.Spec.SubnetID}, ev.NodeENI.Spec.SubnetIDs...)
	listed, anyID := false, false
	for _, id := range ids {
		listed, anyID = listed || id == e.SubnetID, anyID || id != ""
	}
	if anyID && !listed && len(ev.NodeENI.Spec.SubnetNames) == 0 {
		return false
	}
	return ev.Phase != v1alpha1.PhaseReleasing && ev.Phase != v1alpha1.PhaseReleased
}

// isProven: an object or a seen deletion speaks against the ENI.
func isProven(e eni.ENI, ev evidence) bool {
	full := ev
	if full.NodeENI == nil && !full.NodeENIDeleted {
		full.NodeENI = wantedEvidence().NodeENI
		full.NodeENI.Spec.NodeSelector = nil // selects anything, lists anything
		full.NodeENI.Spec.SubnetID = e.SubnetID
	}
	if full.Node == nil && !full.NodeDeleted {
		full.Node = wantedEvidence().Node
		full.Node.Spec.ProviderID = ""
		full.Node.Labels = map[string]string{"ng": "multi-eni", "zone": "a"}
	}
	return !isWanted(e, full)
}

func TestReportedPhase(t *testing.T) {
	report := func(node, instance string) *v1alpha1.NodeENIState {
		return &v1alpha1.NodeENIState{
			ObjectMeta: metav1.ObjectMeta{Name: node},
			Status: v1alpha1.NodeENIStateStatus{InstanceID: instance, ENIs: []v1alpha1.ENIState{
				{ENIID: "eni-0", Phase: v1alpha1.PhaseReady},
				{ENIID: "eni-1", Phase: v1alpha1.PhaseReleased},
			}},
		}
	}
	tests := []struct {
		name   string
		report *v1alpha1.NodeENIState
		want   v1alpha1.Phase
	}{
		{"none", nil, ""},
		{"its own node's", report("node-a", "i-1"), v1alpha1.PhaseReleased},
		{"of the instance before", report("node-a", "i-0"), ""},
		{"silent about it", &v1alpha1.NodeENIState{ObjectMeta: metav1.ObjectMeta{Name: "node-a"},
			Status: v1alpha1.NodeENIStateStatus{InstanceID: "i-1"}}, ""},
	}
	for _, test := range tests {
		if got := reportedPhase(wantedENI(), test.report); got != test.want {
			t.Errorf("report %s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestSeenDeletions(t *testing.T) {
	created := wantedENI().Owner.CreatedAt
	node := func(instance string) *kube.Node {
		return &kube.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-a"}, Spec: kube.NodeSpec{ProviderID: providerID(instance)}}
	}
	tests := []struct {
		name          string
		see           func(*history)
		nodeENI, node bool
	}{
		{"nothing", func(*history) {}, false, false},
		{"its NodeENI", func(h *history) { h.nodeENIDeleted("uid-1", created) }, true, false},
		{"a NodeENI of that name", func(h *history) { h.nodeENIDeleted("uid-0", created) }, false, false},
		{"its Node", func(h *history) { h.nodeDeleted(node("i-1"), created.Add(time.Minute)) }, false, true},
		{"its Node, without providerID", func(h *history) { h.nodeDeleted(node(""), created.Add(time.Minute)) }, false, true},
		{"a Node of that name, another instance", func(h *history) { h.nodeDeleted(node("i-0"), created.Add(time.Minute)) }, false, false},
		{"its Node, before the ENI was made", func(h *history) { h.nodeDeleted(node("i-1"), created.Add(-time.Minute)) }, false, false},
		{"both, as long ago as a grace period", func(h *history) {
			h.nodeENIDeleted("uid-1", created)
			h.nodeDeleted(node("i-1"), created)
			h.prune(created.Add(deletionTTL + time.Minute))
		}, true, true},
		{"both, long ago", func(h *history) {
			h.nodeENIDeleted("uid-1", created)
			h.nodeDeleted(node("i-1"), created)
			h.prune(created.Add(deletionTTL + time.Minute + time.Second))
		}, false, false},
	}
	for _, test := range tests {
		h := newHistory(time.Minute)
		test.see(h)
		if nodeENI, node := h.seenDeletions(wantedENI().Owner); nodeENI != test.nodeENI || node != test.node {
			t.Errorf("%s: got %v, %v, want %v, %v", test.name, nodeENI, node, test.nodeENI, test.node)
		}
	}
}

// TestHistoryIsForgotten: on a coordinator that stands by no sweep does it.
func TestHistoryIsForgotten(t *testing.T) {
	h := newHistory(time.Minute)
	for i := range 100 {
		now := testNow.Add(time.Duration(i) * time.Hour)
		h.nodeENIDeleted(types.UID(fmt.Sprint("uid-", i)), now)
		h.nodeDeleted(&kube.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("node-", i)}}, now)
		h.nodeUnselected(types.UID(fmt.Sprint("uid-", i)), "node", now)
	}
	if len(h.nodeENIs) > 2 || len(h.nodes) > 2 || len(h.unselected) > 1 {
		t.Errorf("%d NodeENIs, %d Nodes and %d lost selections are remembered, one of each a gone hour", len(h.nodeENIs), len(h.nodes), len(h.unselected))
	}
}
