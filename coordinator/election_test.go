package coordinator

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// TestLeaderKilled: a leader dies without a word at each step of a collection;
// the next one ends what it began.
func TestLeaderKilled(t *testing.T) {
	for _, action := range []string{"DetachNetworkInterface", "DeleteNetworkInterface"} {
		for _, after := range []bool{false, true} {
			name := "before " + action
			if after {
				name = "after " + action
			}
			t.Run(name, func(t *testing.T) {
				r, n, a := newNodeRig(t)
				one, two := r.fullENI(n, "node-a", a, subnetA, 2), r.fullENI(n, "node-a", a, subnetA, 3)
				first := r.startProcess("first")
				r.awaitHolder("first")
				r.awaitFinalizer(n)
				// Its second call never returns.
				r.inject(cloud.Fault{SourceID: "first", Action: action, Skip: 1, Hang: true, After: after})
				r.remove(r.kube.API, kube.NodeENIs, "multi")
				r.await("the first leader's second call", func() bool { return r.callsOf("first", action) == 2 })
				if err := first.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				r.start("second")
				r.awaitNoNodeENI("multi", one, two)
				if r.holder() != "second" {
					t.Errorf("%q leads", r.holder())
				}
			})
		}
	}
}

// TestLeaderFrozen: a leader stands still in the middle of a collection, and
// wakes up when the ENIs are wanted again and another one leads.
func TestLeaderFrozen(t *testing.T) {
	r, n, a := newNodeRig(t)
	var enis []string
	for i := range int32(3) {
		enis = append(enis, r.fullENI(n, "node-a", a, subnetA, i+1))
	}
	for range 6 {
		enis = append(enis, r.newENI(owner(n, "node-a", a), subnetA))
	}
	// Three calls at a time, each slow: when the leader is stopped, EC2 has
	// not answered any, and more are waiting for their turn.
	if err := r.cloud.SetTiming(cloud.Timing{Write: time.Second}); err != nil {
		t.Fatal(err)
	}
	first := r.startProcess("first")
	r.awaitHolder("first")
	r.label("node-a", nil)
	r.await("the first leader's calls", func() bool { return r.mutating("first") > 0 })
	if err := first.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	r.label("node-a", "multi-eni")
	r.start("second")
	r.awaitHolder("second")
	r.await("the second leader's first sweep", func() bool { return r.callsOf("second", "DescribeNetworkInterfaces") > 0 })
	if err := first.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := first.Wait(); err == nil {
		t.Error("the leader that lost its Lease ended with success")
	}
	// The three that it was making, sent or not, and none of those after them.
	if made := r.mutating("first"); made > 3 {
		t.Errorf("the leader that lost its Lease made %d changes in EC2, want at most 3", made)
	}
	if left := len(slices.DeleteFunc(enis, func(id string) bool { return !r.exists(id) })); left < 6 {
		t.Errorf("%d of 9 ENIs are left, want at least 6", left)
	}
	if r.mutating("second") > 0 {
		t.Error("the second leader touched ENIs that are wanted")
	}
}

// TestHandover: a leader that is stopped releases the Lease.
func TestHandover(t *testing.T) {
	r := newRig(t)
	long := func(cfg *Config) { cfg.LeaseDuration, cfg.RenewDeadline = time.Hour, 30*time.Minute }
	first := r.start("first", long)
	r.awaitLeading("first")
	second := r.start("second", long)
	first.stop()
	if err := first.wait(); err != nil {
		t.Errorf("stopped, the leader returned %v", err)
	}
	r.awaitLeading("second")
	third := r.start("third", long)
	third.stop()
	if err := third.wait(); err != nil {
		t.Errorf("stopped, a candidate returned %v", err)
	}
	second.stop()
	if err := second.wait(); err != nil {
		t.Errorf("stopped, the leader returned %v", err)
	}
	r.awaitHolder("")
}

func TestLeaseLost(t *testing.T) {
	r := newRig(t)
	c := r.startLeading(shortLease)
	r.await("the Lease taken by another holder", func() bool {
		lease, err := r.leases.Leases(testNamespace).Get(t.Context(), leaseName, metav1.GetOptions{})
		if err != nil {
			return false
		}
		lease.Spec.HolderIdentity = new("another")
		_, err = r.leases.Leases(testNamespace).Update(t.Context(), lease, metav1.UpdateOptions{})
		return err == nil
	})
	if err := c.wait(); !errors.Is(err, ErrLeaseLost) {
		t.Errorf("got %v, want %v", err, ErrLeaseLost)
	}
}

// TestTwoLeaders: two that both believe they lead end in the same as one.
func TestTwoLeaders(t *testing.T) {
	r := newRig(t, func(c *cloud.Config) {
		c.Timing.Detach, c.Timing.DeleteInUse = 100*time.Millisecond, 100*time.Millisecond
	})
	a := r.newNode("node-a")
	n, stays := r.nodeENI("multi"), r.nodeENI("stays")
	one, two := r.fullENI(n, "node-a", a, subnetA, 2), r.newENI(owner(n, "node-a", a), subnetA)
	wanted := r.fullENI(stays, "node-a", a, subnetA, 3)
	// A Lease each, in namespaces of their own.
	r.start("first")
	r.start("second", func(cfg *Config) { cfg.Namespace, cfg.Leases = "default", r.leases })
	t.Cleanup(func() {
		if err := r.leases.Leases("default").Delete(context.Background(), leaseName, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	r.awaitFinalizer(n)
	r.await("both lead", func() bool {
		return r.callsOf("first", "DescribeNetworkInterfaces") > 0 && r.callsOf("second", "DescribeNetworkInterfaces") > 0
	})
	r.remove(r.kube.API, kube.NodeENIs, "multi")
	r.awaitNoNodeENI("multi", one, two)
	if !r.attached(wanted) {
		t.Error("a wanted ENI was detached")
	}
}

// TestAPIServerAway: collection goes on where it was when the API server is back.
func TestAPIServerAway(t *testing.T) {
	r, n, _, id := newENIRig(t)
	c := r.startLeading(shortLease)
	r.awaitFinalizer(n)
	r.cp.APIServer.Kill()
	if err := c.wait(); !errors.Is(err, ErrLeaseLost) {
		t.Errorf("got %v, want %v", err, ErrLeaseLost)
	}
	if !r.attached(id) {
		t.Error("an ENI was detached because the API server is away")
	}
	// Started while there is none, a coordinator waits.
	r.start("second")
	if err := r.cp.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.awaitHolder("second")
	r.remove(r.kube.API, kube.NodeENIs, "multi")
	r.awaitNoNodeENI("multi", id)
}

func TestConfigIsChecked(t *testing.T) {
	err := Run(t.Context(), Config{Concurrency: -1})
	for _, want := range []string{"cluster name", "namespace of the Lease", "--max-concurrent-eni-cleanup -1", "--sweep-interval 0s", "--orphan-age"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %q", err, want)
		}
	}
	cfg := Config{
		Cluster: testCluster, Namespace: testNamespace, Concurrency: 1, SweepInterval: 1, ReleaseGrace: 1, NodeGrace: 1, OrphanAge: 1, StatusInterval: 1, PollInterval: 1,
	}
	for _, test := range []struct {
		lease, renew, retry time.Duration
		want                string
	}{
		{15 * time.Second, 10 * time.Second, 2 * time.Second, ""},
		{10 * time.Second, 10 * time.Second, 2 * time.Second, "--lease-duration 10s must be longer than --lease-renew-deadline 10s"},
		{15 * time.Second, 2 * time.Second, 2 * time.Second, "--lease-renew-deadline 2s must be longer than 1.2 times --lease-retry-period 2s"},
		{15 * time.Second, 10 * time.Second, 0, "--lease-retry-period 0s"},
		{900 * time.Millisecond, 500 * time.Millisecond, 100 * time.Millisecond, "at least 1s"},
	} {
		cfg.LeaseDuration, cfg.RenewDeadline, cfg.RetryPeriod = test.lease, test.renew, test.retry
		if err := cfg.validate(); test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%v: got %v, want %q", test, err, test.want)
		}
	}
}

// TestRenewalHangs: a renewal that is never answered does not end the leader: there
// is time for another one.
func TestRenewalHangs(t *testing.T) {
	r := newRig(t)
	access := rest.CopyConfig(r.access)
	var hung atomic.Int32
	access.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			if req.Method == http.MethodPut && hung.CompareAndSwap(1, 2) {
				<-req.Context().Done()
				return nil, req.Context().Err()
			}
			return next.RoundTrip(req)
		})
	})
	c := r.startLeading(func(cfg *Config) {
		cfg.LeaseDuration, cfg.RenewDeadline = 6*time.Second, 4*time.Second
		var err error
		if cfg.Leases, err = LeaseClient(access, cfg.RenewDeadline); err != nil {
			t.Fatal(err)
		}
	})
	hung.Store(1)
	r.await("a renewal that hangs", func() bool { return hung.Load() == 2 })
	held := time.Now()
	r.await("a renewal after that", func() bool {
		lease, err := r.leases.Leases(testNamespace).Get(t.Context(), leaseName, metav1.GetOptions{})
		return err == nil && lease.Spec.RenewTime.After(held.Add(time.Second))
	})
	select {
	case err := <-c.done:
		c.done <- err
		t.Errorf("the leader ended: %v", err)
	default:
	}
}

// TestLeaseIsReleased: the API server gave the Lease in an answer that the candidate did
// not wait for.
func TestLeaseIsReleased(t *testing.T) {
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
	releaseLease(cfg)
	if holder := r.holder(); holder != "" {
		t.Errorf("%q holds the Lease", holder)
	}
}
