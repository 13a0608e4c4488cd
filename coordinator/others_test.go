package coordinator

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// TestAttachedElsewhere: an ENI that a user attached to another instance is not
// taken from it. It goes when the user has detached it.
func TestAttachedElsewhere(t *testing.T) {
	r := newRig(t)
	a, b := r.instance(), r.instance()
	r.node("node-a", a)
	n := r.nodeENI("multi")
	id := r.newENI(owner(n, "node-a", a), subnetA)
	r.attachENI(id, b, 1)
	r.startLeading(func(cfg *Config) { cfg.SweepInterval = 200 * time.Millisecond })
	r.awaitFinalizer(n)
	r.remove(r.kube.API, kube.NodeENIs, "multi")
	r.awaitEvent("ENIRefused", "the coordinator does not detach it from "+b+": it was created for another instance and attached to this one manually")
	if !r.attached(id) || r.getNodeENI("multi") == nil {
		t.Errorf("attached %v, NodeENI %v", r.attached(id), r.getNodeENI("multi"))
	}
	if err := r.cloud.DetachByHand(id); err != nil {
		t.Fatal(err)
	}
	r.awaitGone(id)
	r.awaitNoNodeENI("multi")
}

// TestOneNameForTwoClusters: two clusters of one account have the same
// --cluster-name, and their Nodes the same names. Neither takes what the other uses.
func TestOneNameForTwoClusters(t *testing.T) {
	r := newRig(t)
	ours, theirs, terminated := r.instance(), r.instance(), r.instance()
	r.node("node-a", ours)
	r.nodeENI("multi")
	other := &v1alpha1.NodeENI{ObjectMeta: metav1.ObjectMeta{Name: "multi", UID: "00000000-0000-4000-8000-00000000beef"}}
	used := map[string]string{}
	for node, instance := range map[string]string{"node-a": theirs, "node-z": theirs} {
		o := owner(other, node, instance)
		o.CreatedAt = time.Now().Add(-time.Hour).Truncate(time.Second)
		used[node] = r.newENI(o, subnetA)
		r.attachENI(used[node], instance, int32(len(used)))
	}
	left := owner(other, "node-y", terminated)
	left.CreatedAt = time.Now().Add(-time.Hour).Truncate(time.Second)
	unused := r.newENI(left, subnetA)

	r.startLeading(func(cfg *Config) { cfg.SweepInterval = 100 * time.Millisecond })
	r.awaitGone(unused)
	r.awaitEvent("ENIRefused", "another cluster may have the same --cluster-name")
	for node, id := range used {
		if !r.attached(id) {
			t.Errorf("the ENI of the other cluster's %s was taken from it", node)
		}
	}
}

// TestNodeRenamed: an instance comes back under another Node name. Its ENIs bear the
// old one, and what the new Node and its agent say counts.
func TestNodeRenamed(t *testing.T) {
	r, n, a, id := newENIRig(t)
	r.startLeading(func(cfg *Config) { cfg.SweepInterval = 100 * time.Millisecond })
	r.node("node-b", a)
	r.report(n, "node-b", a, v1alpha1.PhaseReady, id)
	r.remove(r.kube.Core, kube.Nodes, "node-a")
	r.awaitSweep()
	r.awaitSweep()
	if !r.attached(id) {
		t.Fatal("the ENI was taken from the Node that the instance is now")
	}
	r.report(n, "node-b", a, v1alpha1.PhaseReleased, id)
	r.awaitGone(id)
}
