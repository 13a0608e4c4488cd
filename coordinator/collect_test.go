package coordinator

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// forever is a grace period that no test waits for.
func forever(cfg *Config) { cfg.ReleaseGrace = time.Hour }

func TestNodeENIDeleted(t *testing.T) {
	const grace = 1500 * time.Millisecond // longer than any sweep waits by itself
	r := newRig(t)
	a, b := r.newNode("node-a"), r.newNode("node-b")
	n, other := r.nodeENI("multi"), r.nodeENI("other")
	enis := []string{r.fullENI(n, "node-a", a, subnetA, 2), r.fullENI(n, "node-b", b, subnetA, 2), r.newENI(owner(n, "node-b", b), subnetB)}
	stays := r.fullENI(other, "node-a", a, subnetA, 3)
	r.startLeading(func(cfg *Config) { cfg.ReleaseGrace = grace })
	r.awaitFinalizer(n)

	deleted := time.Now()
	r.remove(r.kube.API, kube.NodeENIs, "multi")
	r.awaitNoNodeENI("multi", enis...)

	for _, id := range enis {
		r.awaitEvent("ENIDeleted", "Deleted "+id)
		r.awaitEvent("ENIDeleted", id+" of NodeENI multi has been deleted: its NodeENI was deleted")
	}
	r.awaitEvent("ENIDetached", "Normal multi: Detaching "+enis[0]+" from node node-a ("+a+"): its NodeENI was deleted")
	if !r.attached(stays) {
		t.Error("the ENI of another NodeENI was detached")
	}
	for _, c := range r.cloud.Calls() {
		if c.Action == "DetachNetworkInterface" && c.Time.Before(deleted.Add(grace)) {
			t.Errorf("detached %v after the deletion; the agent has %v", c.Time.Sub(deleted), grace)
		}
	}
	if detach, del := r.count("DetachNetworkInterface"), r.count("DeleteNetworkInterface"); detach != 2 || del != 3 {
		t.Errorf("%d Detach and %d Delete calls for 2 attached and 3 ENIs: %v", detach, del, r.calls())
	}
}

func TestReleasedAtOnce(t *testing.T) {
	r, n, a, id := newENIRig(t)
	r.report(n, "node-a", a, v1alpha1.PhaseReady, id)
	r.startLeading(forever)
	r.awaitFinalizer(n)

	r.remove(r.kube.API, kube.NodeENIs, "multi")
	r.awaitSweep()
	if !r.attached(id) {
		t.Fatal("detached while the agent was still using it")
	}
	r.report(n, "node-a", a, v1alpha1.PhaseReleased, id)
	r.awaitGone(id)
	r.awaitNoNodeENI("multi")
}

func TestNodeDeleted(t *testing.T) {
	r := newRig(t)
	a, b := r.newNode("node-a"), r.newNode("node-b")
	n := r.nodeENI("multi")
	gone, stays := r.fullENI(n, "node-a", a, subnetA, 2), r.fullENI(n, "node-b", b, subnetA, 2)
	free := r.newENI(owner(n, "node-a", a), subnetB)
	const nodeGrace = 2 * time.Second
	r.startLeading(forever, func(cfg *Config) { cfg.NodeGrace = nodeGrace })

	deleted := time.Now()
	r.remove(r.kube.Core, kube.Nodes, "node-a")
	r.awaitGone(free, gone)
	freeFirst := false
	for _, c := range r.cloud.Calls() {
		freeFirst = freeFirst || c.Action == "DeleteNetworkInterface" && c.Params["NetworkInterfaceId"] == free
		if c.Action == "DetachNetworkInterface" && (c.Time.Before(deleted.Add(nodeGrace)) || !freeFirst) {
			t.Errorf("detached %v after the Node was deleted, which has %v for coming back; what is attached to nothing was deleted before: %v",
				c.Time.Sub(deleted), nodeGrace, freeFirst)
		}
	}
	r.awaitEvent("ENIDeleted", "its Node was deleted")
	if !r.attached(stays) {
		t.Error("the ENI of another node was detached")
	}
}

// A kubelet that is started again registers its Node again.
func TestNodeDeletedAndBack(t *testing.T) {
	r, n, a, id := newENIRig(t)
	const nodeGrace = 5 * time.Second
	r.startLeading(func(cfg *Config) { cfg.NodeGrace = nodeGrace })
	r.awaitFinalizer(n)
	before := r.count("DescribeNetworkInterfaces")
	r.remove(r.kube.Core, kube.Nodes, "node-a")
	r.await("a sweep because of it", func() bool { return r.count("DescribeNetworkInterfaces") > before })
	r.node("node-a", a)
	time.Sleep(nodeGrace + settleTime) // absence has no event to wait for
	r.awaitSweep()
	if !r.attached(id) || r.count("DetachNetworkInterface") > 0 {
		t.Error("the ENI of a Node that came back was detached")
	}
}

func TestNodeReplaced(t *testing.T) {
	r := newRig(t)
	before, after := r.instance(), r.instance()
	n := r.nodeENI("multi")
	old := r.fullENI(n, "node-a", before, subnetA, 2)
	r.node("node-a", after)
	current := r.fullENI(n, "node-a", after, subnetA, 2)
	// The report of the instance before says nothing about the new one's.
	r.report(n, "node-a", before, v1alpha1.PhaseReleased, current)
	r.startLeading(forever)

	r.awaitGone(old)
	r.awaitEvent("ENIDeleted", "its Node now belongs to another instance")
	r.awaitSweep()
	if !r.attached(current) {
		t.Error("the ENI of the new instance was detached")
	}
}

func TestNodeReplacedWhileWatched(t *testing.T) {
	r := newRig(t)
	before, after := r.instance(), r.instance()
	n := r.nodeENI("multi")
	r.node("node-a", before)
	old := r.fullENI(n, "node-a", before, subnetA, 2)
	r.startLeading(forever)

	r.remove(r.kube.Core, kube.Nodes, "node-a")
	r.node("node-a", after)
	current := r.fullENI(n, "node-a", after, subnetA, 2)
	r.awaitGone(old)
	r.awaitSweep()
	if !r.attached(current) {
		t.Error("the ENI of the new instance was detached")
	}
}

func TestLabelLost(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*Config)
		report bool
	}{
		{"the agent releases", forever, true},
		{"no agent", func(*Config) {}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, n, a, id := newENIRig(t)
			r.startLeading(test.change)
			r.label("node-a", nil)
			if test.report {
				r.report(n, "node-a", a, v1alpha1.PhaseReleasing, id)
				r.awaitSweep()
				if !r.attached(id) {
					t.Fatal("detached while the agent was releasing it")
				}
				r.report(n, "node-a", a, v1alpha1.PhaseReleased, id)
			}
			r.awaitGone(id)
			r.awaitEvent("ENIDeleted", "the labels of its Node no longer match the nodeSelector")
		})
	}
}

func TestLabelComesBack(t *testing.T) {
	r, _, _, id := newENIRig(t)
	r.startLeading(forever)
	r.label("node-a", nil)
	r.awaitSweep()
	r.label("node-a", "multi-eni")
	r.awaitSweep()
	if !r.attached(id) || r.count("DetachNetworkInterface") > 0 {
		t.Error("detached although the label came back in time")
	}
}

// A label, or a Node, that comes back and goes again within one grace has another whole
// grace: the sweep that the first one asked for finds it gone, and has not seen it between.
func TestGoneAgain(t *testing.T) {
	const grace = 3 * time.Second
	for _, test := range []struct {
		name       string
		lose, back func(r *rig, instance string)
	}{
		{
			"label", func(r *rig, _ string) { r.label("node-a", nil) },
			func(r *rig, _ string) { r.label("node-a", "multi-eni") },
		}, {
			"Node", func(r *rig, _ string) { r.remove(r.kube.Core, kube.Nodes, "node-a") },
			func(r *rig, instance string) { r.node("node-a", instance) },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, n, a, id := newENIRig(t)
			r.startLeading(func(cfg *Config) { cfg.ReleaseGrace, cfg.NodeGrace = grace, grace })
			r.awaitFinalizer(n)
			before := r.count("DescribeNetworkInterfaces")
			test.lose(r, a)
			r.await("a sweep because of it", func() bool { return r.count("DescribeNetworkInterfaces") > before })
			test.back(r, a)
			time.Sleep(grace / 2) // two losses within one grace are what is tested
			test.lose(r, a)
			again := time.Now()
			r.awaitGone(id)
			for _, c := range r.cloud.Calls() {
				if c.Action == "DetachNetworkInterface" && c.Time.Sub(again) < grace {
					t.Errorf("detached %v after it was lost again, want %v", c.Time.Sub(again), grace)
				}
			}
		})
	}
}

func TestSubnetUnlisted(t *testing.T) {
	r := newRig(t)
	a := r.newNode("node-a")
	n := r.nodeENI("multi", func(n *v1alpha1.NodeENI) { n.Spec.SubnetID, n.Spec.SubnetIDs = "", []string{subnetA, subnetB} })
	stays, gone := r.fullENI(n, "node-a", a, subnetA, 2), r.fullENI(n, "node-a", a, subnetB, 3)
	r.startLeading()
	r.patch(r.kube.API, kube.NodeENIs, "multi", map[string]any{"spec": map[string]any{"subnetIDs": []string{subnetA}}})
	r.awaitGone(gone)
	r.awaitEvent("ENIDeleted", "its NodeENI no longer lists its subnet")
	if !r.attached(stays) {
		t.Error("the ENI in the subnet that is still listed was detached")
	}
}

// TestSurplusReleased: the agent decides about subnets by name and about duplicates.
func TestSurplusReleased(t *testing.T) {
	r := newRig(t)
	a := r.newNode("node-a")
	n := r.nodeENI("multi", func(n *v1alpha1.NodeENI) { n.Spec.SubnetID, n.Spec.SubnetName = "", "data" })
	kept, surplus := r.fullENI(n, "node-a", a, subnetA, 2), r.fullENI(n, "node-a", a, subnetA, 3)
	r.startLeading(forever)
	r.awaitSweep()
	if !r.attached(kept) || !r.attached(surplus) {
		t.Fatal("detached without a report")
	}
	r.report(n, "node-a", a, v1alpha1.PhaseReleased, surplus)
	r.awaitGone(surplus)
	r.awaitSweep()
	if !r.attached(kept) {
		t.Error("the ENI that was not reported was detached")
	}
}

// TestForgedReport: an agent can only let go of its own node's ENIs.
func TestForgedReport(t *testing.T) {
	r := newRig(t)
	a, b := r.newNode("node-a"), r.newNode("node-b")
	n := r.nodeENI("multi")
	id := r.fullENI(n, "node-a", a, subnetA, 2)
	r.startLeading()
	r.report(n, "node-b", b, v1alpha1.PhaseReleased, id)
	r.awaitSweep()
	if !r.attached(id) {
		t.Error("the agent of another node had it detached")
	}
}

func TestOrphans(t *testing.T) {
	r, n, a := newNodeRig(t)
	unknown := &v1alpha1.NodeENI{ObjectMeta: metav1.ObjectMeta{Name: "gone", UID: "00000000-dead-4000-8000-000000000000"}}
	aged := func(o eni.Owner, age time.Duration) eni.Owner {
		o.CreatedAt = time.Now().Add(-age).Truncate(time.Second)
		return o
	}
	old := r.newENI(aged(owner(unknown, "node-a", a), time.Hour), subnetA)
	nodeless := r.newENI(aged(owner(n, "node-z", "i-0fffffffffffffff0"), time.Hour), subnetA)
	ageless := r.newENI(owner(unknown, "node-a", a), subnetA)
	if err := r.cloud.CreateTags([]string{ageless}, map[string]string{eni.TagCreatedAt: "yesterday"}); err != nil {
		t.Fatal(err)
	}
	young := r.newENI(aged(owner(unknown, "node-a", a), time.Minute), subnetA)

	// One full sweep and any number of others do not suffice.
	c := r.startLeading()
	r.awaitSweep()
	r.awaitSweep()
	for _, id := range []string{old, nodeless, ageless, young} {
		if !r.exists(id) {
			t.Fatalf("%s was collected after one full sweep", id)
		}
	}
	c.end()

	r.cloud.ResetCalls()
	r.startLeading(func(cfg *Config) { cfg.SweepInterval = 200 * time.Millisecond })
	r.awaitGone(old, nodeless, ageless)
	calls := r.calls()
	first := slices.IndexFunc(calls, func(c string) bool { return c[:6] == "Delete" })
	if first < 2 {
		t.Errorf("collected before the second full sweep: %v", calls)
	}
	r.awaitEvent("ENIDeleted", "no Node has the name in its tag")
	r.awaitEvent("ENIDeleted", "no NodeENI has the UID in its tag")
	if !r.exists(young) {
		t.Error("an orphan of a minute was collected")
	}
}

// TestCreatedTooLate: an agent's create was on its way while the NodeENI went. What
// no report names is found by the next full sweep.
func TestCreatedTooLate(t *testing.T) {
	r, n, a := newNodeRig(t)
	r.startLeading(forever, func(cfg *Config) { cfg.SweepInterval = 2 * time.Second })
	r.awaitFinalizer(n)
	r.remove(r.kube.API, kube.NodeENIs, "multi")
	r.awaitNoNodeENI("multi")
	id := r.newENI(owner(n, "node-a", a), subnetA)
	unreported := r.newENI(owner(n, "node-z", "i-0fffffffffffffff0"), subnetA)
	r.report(n, "node-a", a, v1alpha1.PhaseReleased, id)
	r.awaitGone(id, unreported)
}

// TestFinalizerWaitsForAgent: an agent that says it is creating an ENI holds the
// NodeENI, but not for ever.
func TestFinalizerWaitsForAgent(t *testing.T) {
	r := newRig(t)
	a, b := r.newNode("node-a"), r.newNode("node-b")
	n, stuck := r.nodeENI("multi"), r.nodeENI("stuck")
	r.report(n, "node-a", a, v1alpha1.PhasePending, "")
	c := r.startLeading(forever)
	r.awaitFinalizer(n)
	r.remove(r.kube.API, kube.NodeENIs, "multi")
	r.awaitSweep()
	if r.getNodeENI("multi") == nil {
		t.Fatal("the NodeENI went while its agent was creating an ENI")
	}
	id := r.newENI(owner(n, "node-a", a), subnetA)
	r.report(n, "node-a", a, v1alpha1.PhaseReleased, id)
	r.awaitNoNodeENI("multi", id)
	c.end()

	r.report(stuck, "node-b", b, v1alpha1.PhasePending, "")
	r.startLeading(func(cfg *Config) { cfg.ReleaseGrace = 300 * time.Millisecond })
	r.remove(r.kube.API, kube.NodeENIs, "stuck")
	r.awaitNoNodeENI("stuck")
}

// TestDescribeLags: EC2 does not show the newest state yet.
func TestDescribeLags(t *testing.T) {
	r := newRig(t, func(c *cloud.Config) { c.Timing.DescribeLag = 300 * time.Millisecond })
	a := r.newNode("node-a")
	n := r.nodeENI("multi")
	id := r.fullENI(n, "node-a", a, subnetA, 2)
	r.startLeading()
	r.awaitFinalizer(n)
	r.remove(r.kube.API, kube.NodeENIs, "multi")
	r.awaitNoNodeENI("multi", id)
}
