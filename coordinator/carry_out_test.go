package coordinator

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// TestCarryOut: between a decision and its call things may have changed.
func TestCarryOut(t *testing.T) {
	r, n, a := newNodeRig(t)
	unselected, reported := decision{reasonNotSelected, graceNone}, decision{reasonReleased, graceNone}
	tests := []struct {
		name     string
		decision decision
		released bool
		leads    bool
		cluster  string
		want     outcome
	}{
		{"confirmed", reported, true, true, testCluster, outcomeDone},
		{"wanted again", unselected, false, true, testCluster, outcomeDropped},
		{"for another reason", unselected, true, true, testCluster, outcomeDropped},
		{"no longer leading", reported, true, false, testCluster, outcomeDropped},
		{"another cluster's", reported, true, true, "another", outcomeDropped},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			id := r.newENI(owner(n, "node-a", a), subnetA)
			phase := v1alpha1.PhaseReady
			if test.released {
				phase = v1alpha1.PhaseReleased
			}
			r.report(n, "node-a", a, phase, id)
			s := r.sweeperAsOf()
			s.executor.holdsLease = func() bool { return test.leads }
			e := available(id, owner(n, "node-a", a))
			e.Owner.Cluster = test.cluster
			got := s.executor.carryOut(t.Context(), job{e, test.decision, actDelete}, s.executor.newBatch())
			if got.outcome != test.want {
				t.Errorf("got %s (%v), want %s", got.outcome, got.err, test.want)
			}
			if r.exists(id) != (test.want == outcomeDropped) {
				t.Errorf("outcome %s, and the ENI exists: %v", got.outcome, r.exists(id))
			}
		})
	}
}

// TestNotConfirmed: a coordinator with roles that a user wrote, which allow list and watch
// and no more, deletes nothing, and the NodeENI's Events say why.
func TestNotConfirmed(t *testing.T) {
	r := newRig(t)
	n := r.nodeENI("multi")
	id := r.newENI(owner(n, "node-a", "i-0fffffffffffffff0"), subnetA)
	s := r.sweeperAsOf()
	cfg, err := r.cp.UserConfig("list-and-watch")
	if err != nil {
		t.Fatal(err)
	}
	if s.caches.client, err = kube.NewClient(cfg, "test"); err != nil {
		t.Fatal(err)
	}
	e := available(id, owner(n, "node-a", "i-0fffffffffffffff0"))
	e.Owner.Cluster = testCluster
	if got := s.executor.carryOut(t.Context(), job{e, decision{reasonNodeENIDeleted, graceNone}, actDelete}, s.executor.newBatch()); got.outcome != outcomeDropped || !r.exists(id) {
		t.Errorf("got %s; the ENI exists: %v", got.outcome, r.exists(id))
	}
	r.awaitEvent("NotConfirmed", "Warning multi: "+id+" of node node-a is a leftover ENI (its NodeENI was deleted), but the coordinator does not delete it")

	s.deletions.byUID = map[types.UID]*deletion{n.UID: {nodeENI: n}}
	s.deletions.release(t.Context(), map[types.UID]bool{n.UID: true}, nil)
	r.awaitEvent("FinalizerNotRemoved", "Warning multi: all ENIs of the NodeENI are deleted, but the coordinator cannot remove the finalizer "+v1alpha1.CleanupFinalizer+": ")
}

// TestStaleCaches: the caches have stopped following the API server, which
// they do not show, and speak against an ENI that is wanted by now.
func TestStaleCaches(t *testing.T) {
	tests := []struct {
		name string
		// seen is what the caches have seen, meanwhile what they have missed.
		seen, meanwhile func(r *rig, n *v1alpha1.NodeENI, instance, id string)
		decision        decision
		want            outcome
	}{
		{"nothing missed", func(r *rig, _ *v1alpha1.NodeENI, _, _ string) { r.label("node-a", nil) },
			func(*rig, *v1alpha1.NodeENI, string, string) {},
			decision{reasonNotSelected, graceAgent}, outcomeDone},
		{"the label is back", func(r *rig, _ *v1alpha1.NodeENI, _, _ string) { r.label("node-a", nil) },
			func(r *rig, _ *v1alpha1.NodeENI, _, _ string) { r.label("node-a", "multi-eni") },
			decision{reasonNotSelected, graceAgent}, outcomeDropped},
		{"the Node has come", func(r *rig, _ *v1alpha1.NodeENI, _, _ string) { r.remove(r.kube.Core, kube.Nodes, "node-a") },
			func(r *rig, _ *v1alpha1.NodeENI, instance, _ string) { r.node("node-a", instance) },
			decision{reasonNodeUnknown, graceOrphan}, outcomeDropped},
		{"the Node is the instance again", func(r *rig, _ *v1alpha1.NodeENI, _, _ string) {
			r.remove(r.kube.Core, kube.Nodes, "node-a")
			r.node("node-a", "i-0fffffffffffffff0")
		}, func(r *rig, _ *v1alpha1.NodeENI, instance, _ string) {
			r.remove(r.kube.Core, kube.Nodes, "node-a")
			r.node("node-a", instance)
		}, decision{reasonNodeReplaced, graceNone}, outcomeDropped},
		{"the agent uses it again", func(r *rig, n *v1alpha1.NodeENI, instance, id string) {
			r.report(n, "node-a", instance, v1alpha1.PhaseReleased, id)
		}, func(r *rig, n *v1alpha1.NodeENI, instance, id string) {
			r.report(n, "node-a", instance, v1alpha1.PhaseReady, id)
		}, decision{reasonReleased, graceNone}, outcomeDropped},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, n, a := newNodeRig(t)
			id := r.newENI(owner(n, "node-a", a), subnetA)
			test.seen(r, n, a, id)
			s := r.sweeperAsOf()
			test.meanwhile(r, n, a, id)
			e := available(id, owner(n, "node-a", a))
			if got := leftOver(testCluster, e, s.caches.evidence(e)); got != test.decision {
				t.Fatalf("by the caches it is %+v, want %+v", got, test.decision)
			}
			if got := s.executor.carryOut(t.Context(), job{e, test.decision, actDelete}, s.executor.newBatch()); got.outcome != test.want {
				t.Errorf("got %s (%v), want %s", got.outcome, got.err, test.want)
			}
			if r.exists(id) != (test.want == outcomeDropped) {
				t.Errorf("the ENI exists: %v", r.exists(id))
			}
		})
	}
}

// TestStaleNodeENIs: a cache without the newest NodeENIs makes orphans of the
// ENIs of a whole fleet.
func TestStaleNodeENIs(t *testing.T) {
	r := newRig(t)
	a := r.newNode("node-a")
	s := r.sweeperAsOf()
	n := r.nodeENI("multi")
	id := r.newENI(owner(n, "node-a", a), subnetA)
	e := available(id, owner(n, "node-a", a))
	orphan := decision{reasonNodeENIUnknown, graceOrphan}
	if got := leftOver(testCluster, e, s.caches.evidence(e)); got != orphan {
		t.Fatalf("by the caches it is %+v, want %+v", got, orphan)
	}
	if got := s.executor.carryOut(t.Context(), job{e, orphan, actDelete}, s.executor.newBatch()); got.outcome != outcomeDropped || !r.exists(id) {
		t.Errorf("got %s (%v), and the ENI exists: %v", got.outcome, got.err, r.exists(id))
	}
	// One whose tags name no object that there could be is an orphan indeed.
	e.Owner.NodeENI, e.Owner.NodeENIUID = "../nodes", "garbage"
	if got := s.executor.carryOut(t.Context(), job{e, orphan, actDelete}, s.executor.newBatch()); got.outcome != outcomeDone || r.exists(id) {
		t.Errorf("garbled tags: got %s (%v), and the ENI exists: %v", got.outcome, got.err, r.exists(id))
	}
}
