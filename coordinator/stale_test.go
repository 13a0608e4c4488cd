package coordinator

import (
	"errors"
	"fmt"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// A cache that does not catch up, as after a restore of etcd, keeps no status from
// being written; one that is of the future is thrown away.
func TestStatusOfStaleCache(t *testing.T) {
	r := newRig(t)
	old := r.nodeENI("multi")
	r.changeMTU("multi")
	c := r.coordinator()
	old.Finalizers = []string{v1alpha1.CleanupFinalizer}
	if written, err := c.status.write(t.Context(), old); !written || err != nil {
		t.Errorf("written %v, error %v", written, err)
	}
	if now := r.getNodeENI("multi"); now.Status.ObservedGeneration != now.Generation {
		t.Errorf("the status is of generation %d instead of %d", now.Status.ObservedGeneration, now.Generation)
	}
	old.ResourceVersion = "99999999999"
	if written, err := c.status.write(t.Context(), old); written || !errors.Is(err, errStale) {
		t.Errorf("of the future: written %v, error %v", written, err)
	}
}

// The API server gave the Lease in an answer that the candidate did not wait for.
func TestLeaseIsGivenBack(t *testing.T) {
	r := newRig(t)
	cfg, err := fastConfig(t.Context(), r.access, r.ec2URL, "leader")
	if err != nil {
		t.Fatal(err)
	}
	now := metav1.NewMicroTime(time.Now())
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: leaseName}, Spec: coordinationv1.LeaseSpec{
		HolderIdentity: new("leader"), LeaseDurationSeconds: new(int32(15)), RenewTime: &now, AcquireTime: &now,
	}}
	if _, err := r.leases.Leases(testNamespace).Create(t.Context(), lease, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	giveBack(cfg)
	if holder := r.holder(); holder != "" {
		t.Errorf("%q holds the Lease", holder)
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

// TestRestoredEtcd: etcd is restored to an older state, and nothing writes a status whose
// conflict would tell. A full sweep finds that the caches are of the future.
func TestRestoredEtcd(t *testing.T) {
	r := newRig(t)
	r.newNode("node-a")
	r.access = r.cp.AdminConfig()
	c := r.coordinator()
	if err := r.cp.Backup(); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		r.patch(r.kube.Core, kube.Nodes, "node-a", map[string]any{"metadata": map[string]any{"labels": map[string]any{"n": fmt.Sprint(i)}}})
	}
	stop := r.follow(c)
	if err := c.sweeper.sweep(t.Context(), true); err != nil {
		t.Errorf("before: %v", err)
	}
	stop() // as a watch that waits for its version
	if err := r.cp.Restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.sweeper.sweep(t.Context(), true); !errors.Is(err, errStale) {
		t.Errorf("afterwards: %v", err)
	}
}
