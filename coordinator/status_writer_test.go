package coordinator

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

func TestStatusIsWritten(t *testing.T) {
	const interval = time.Second
	r, n, a := newNodeRig(t)
	r.startLeading(func(cfg *Config) { cfg.StatusInterval = interval })
	r.awaitFinalizer(n)
	r.awaitReady(n, metav1.ConditionFalse, "NodesNotReady")

	// The phases flap; every version of the status is seen with the time of
	// its first sight.
	var writes []time.Time
	var last v1alpha1.NodeENIStatus
	seen := ""
	look := func() {
		now := r.getNodeENI("multi")
		if now.ResourceVersion != seen {
			writes = append(writes, time.Now())
			seen, last = now.ResourceVersion, now.Status
		}
	}
	began := time.Now()
	for i := 0; time.Since(began) < 3*interval; i++ {
		phase := []v1alpha1.Phase{v1alpha1.PhaseConfiguring, v1alpha1.PhaseFailed}[i%2]
		r.report(n, "node-a", a, phase, "eni-1")
		look()
	}
	r.report(n, "node-a", a, v1alpha1.PhaseReady, "eni-1")
	r.await("the last state in the status", func() bool {
		look()
		return len(last.Attachments) == 1 && last.Attachments[0].Status == "Ready" && last.Nodes.Ready == 1
	})
	// The first look is no write; then one at the start, one an interval, and
	// the last.
	most := int(time.Since(began)/interval) + 2
	if got := len(writes) - 1; got < 2 || got > most {
		t.Errorf("%d status updates in %v, want 2 to %d", got, time.Since(began), most)
	}
	condition := last.Conditions[0]
	if condition.Status != metav1.ConditionTrue || condition.Message != "1 of 1 nodes are ready" {
		t.Errorf("got condition %+v", condition)
	}
}

// TestSetFinalizer: the log tells that a finalizer was removed only when it was.
func TestSetFinalizer(t *testing.T) {
	r := newRig(t)
	n := r.nodeENI("multi")
	for i, step := range []struct{ present, deleted, changed bool }{
		{true, false, true},
		{true, false, false},  // it has the finalizer
		{false, false, false}, // it is not being deleted
		{false, true, true},
		{false, true, false}, // it is gone
	} {
		if step.deleted && step.changed {
			r.remove(r.kube.API, kube.NodeENIs, n.Name)
		}
		if changed, err := setFinalizer(t.Context(), r.kube, n.Name, n.UID, step.present); changed != step.changed || err != nil {
			t.Errorf("step %d: changed %v, %v; want %v", i, changed, err, step.changed)
		}
	}
}

// TestFinalizerDoesNotWaitForStatus: a NodeENI deleted and made again would go before
// its ENIs for as long as the status of the one before it had been written.
func TestFinalizerDoesNotWaitForStatus(t *testing.T) {
	r := newRig(t)
	n := r.nodeENI("multi")
	r.startLeading(func(cfg *Config) { cfg.StatusInterval = time.Hour })
	r.awaitReady(n, metav1.ConditionFalse, "NoMatchingNodes")
	for range 2 {
		r.remove(r.kube.API, kube.NodeENIs, n.Name)
		r.awaitNoNodeENI(n.Name)
		n = r.nodeENI("multi")
		r.awaitFinalizer(n)
	}
}

// TestStatusRepaired: another client wrote the status.
func TestStatusRepaired(t *testing.T) {
	r := newRig(t)
	n := r.nodeENI("multi")
	r.startLeading()
	r.awaitReady(n, metav1.ConditionFalse, "NoMatchingNodes")
	now := r.getNodeENI("multi")
	now.Status = v1alpha1.NodeENIStatus{Nodes: v1alpha1.NodeCounts{Matching: 42}}
	if err := r.kube.API.Put().Resource(kube.NodeENIs).Name("multi").SubResource("status").Body(now).Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
	r.await("the true status", func() bool { return r.getNodeENI("multi").Status.Nodes.Matching == 0 })
	if got := r.getNodeENI("multi").Finalizers; !slices.Equal(got, []string{v1alpha1.CleanupFinalizer}) {
		t.Errorf("got finalizers %q", strings.Join(got, ","))
	}
}
