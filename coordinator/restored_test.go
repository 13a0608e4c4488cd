package coordinator

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/rest"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// A cache that does not catch up, or that is ahead of the API server after a restore of
// etcd, keeps no status from being written.
func TestStatusOfStaleCache(t *testing.T) {
	r := newRig(t)
	old := r.nodeENI("multi")
	old.Finalizers = []string{v1alpha1.CleanupFinalizer}
	c := r.coordinator()
	for mtu, version := range map[int]string{9001: old.ResourceVersion, 1500: "99999999999"} {
		r.patch(r.kube.API, kube.NodeENIs, "multi", map[string]any{"spec": map[string]any{"mtu": mtu}})
		old.ResourceVersion = version
		if written, err := c.status.write(t.Context(), old); !written || err != nil {
			t.Errorf("with the version %s: written %v, error %v", version, written, err)
		}
		if now := r.getNodeENI("multi"); now.Status.ObservedGeneration != now.Generation {
			t.Errorf("with the version %s the status is of generation %d instead of %d", version, now.Status.ObservedGeneration, now.Generation)
		}
	}
}

// withoutAPIServer lets the coordinator reach the API server only while away is not set.
func (r *rig) withoutAPIServer() (away *atomic.Bool) {
	away = new(atomic.Bool)
	r.access = rest.CopyConfig(r.cp.AdminConfig())
	r.access.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			if away.Load() {
				return nil, syscall.ECONNREFUSED
			}
			return next.RoundTrip(req)
		})
	})
	return away
}

// changeLabels writes a Node until its resourceVersion is newer than the given one, and so
// many times at least.
func (r *rig) changeLabels(node, newerThan string, times int) {
	r.Helper()
	for i := 0; ; i++ {
		r.patch(r.kube.Core, kube.Nodes, node, map[string]any{"metadata": map[string]any{"labels": map[string]any{"n": fmt.Sprint(i)}}})
		order, err := resourceversion.CompareResourceVersion(get[kube.Node](r, r.kube.Core, kube.Nodes, node).ResourceVersion, newerThan)
		if err != nil {
			r.Fatal(err)
		}
		if order > 0 && i+1 >= times {
			return
		}
	}
}

// TestRestoredEtcd: etcd is restored to an older state. When the coordinator reaches the
// API server again, its resourceVersions have passed the ones that the caches have seen,
// so that a watch could go on from there. The caches show what there is now.
func TestRestoredEtcd(t *testing.T) {
	r := newRig(t)
	instance := r.newNode("node-a")
	away := r.withoutAPIServer()
	c := r.coordinator()
	defer r.follow(c)()
	if err := r.cp.Backup(); err != nil {
		t.Fatal(err)
	}
	r.node("node-gone", instance)
	r.changeLabels("node-a", "1", 300)
	last := get[kube.Node](r, r.kube.Core, kube.Nodes, "node-a")
	r.await("the caches show that", func() bool {
		return c.caches.nodes.get("node-gone") != nil && c.caches.nodes.get("node-a").ResourceVersion == last.ResourceVersion
	})
	away.Store(true)
	if err := r.cp.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.node("node-late", instance)
	r.changeLabels("node-a", c.caches.nodes.LastSyncResourceVersion(), 1)
	away.Store(false)
	r.await("the caches show the Node that came after the restore, and not the one that went with it", func() bool {
		return c.caches.nodes.get("node-late") != nil && c.caches.nodes.get("node-gone") == nil
	})
	if _, seen := c.caches.history.seenDeletions(eni.Owner{Node: "node-gone", Instance: arn(instance)}); seen {
		t.Error("a Node that a restored etcd lacks is taken for deleted")
	}
}

// TestSweepBeforeCachesFollow: until the caches have followed a restore of etcd, they show
// NodeENIs that are being deleted, and the restored ones are not. No ENI goes, and no
// finalizer.
func TestSweepBeforeCachesFollow(t *testing.T) {
	r := newRig(t)
	r.access = r.cp.AdminConfig()
	instance := r.newNode("node-a")
	withFinalizer := func(n *v1alpha1.NodeENI) { n.Finalizers = []string{v1alpha1.CleanupFinalizer} }
	n, empty := r.nodeENI("multi", withFinalizer), r.nodeENI("empty", withFinalizer)
	id := r.fullENI(n, "node-a", instance, subnetA, 2)
	if err := r.cp.Backup(); err != nil {
		t.Fatal(err)
	}
	r.remove(r.kube.API, kube.NodeENIs, n.Name)
	r.remove(r.kube.API, kube.NodeENIs, empty.Name)
	s := r.sweeperAsOf()
	if err := r.cp.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := s.sweep(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // longer than the grace period
	}
	if !r.attached(id) || r.mutating("leader") > 0 {
		t.Errorf("an ENI was touched that is wanted again: %v", r.calls())
	}
	if s.tracks[id] == nil || s.tracks[id].NotBefore.IsZero() {
		t.Fatal("nothing was tried: the caches did not show that its NodeENI is being deleted")
	}
	for _, name := range []string{n.Name, empty.Name} {
		if now := r.getNodeENI(name); now == nil || now.DeletionTimestamp != nil || !hasFinalizer(now) {
			t.Errorf("NodeENI %s has lost its finalizer: %+v", name, now)
		}
	}
}
