package coordinator

import (
	"context"
	"testing"
	"time"

	"github.com/aws/smithy-go"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// deleteUnderFaults deletes a NodeENI with two attached ENIs and waits until
// everything is gone.
func deleteUnderFaults(t *testing.T, config func(*cloud.Config), faults ...cloud.Fault) *rig {
	t.Helper()
	r := newRig(t, config)
	a := r.newNode("node-a")
	n := r.nodeENI("multi", func(n *v1alpha1.NodeENI) { n.Spec.SubnetIDs = []string{subnetB} })
	one, two := r.fullENI(n, "node-a", a, subnetA, 2), r.fullENI(n, "node-a", a, subnetB, 3)
	r.startLeading()
	r.awaitFinalizer(n)
	for _, f := range faults {
		f.SourceID = "leader"
		r.inject(f)
	}
	r.remove(r.kube.API, kube.NodeENIs, "multi")
	r.awaitNoNodeENI("multi", one, two)
	return r
}

func TestFaults(t *testing.T) {
	const detach, del, describe = "DetachNetworkInterface", "DeleteNetworkInterface", "DescribeNetworkInterfaces"
	timing := func(change func(*cloud.Timing)) func(*cloud.Config) {
		return func(c *cloud.Config) { change(&c.Timing) }
	}
	tests := []struct {
		name   string
		config func(*cloud.Config)
		faults []cloud.Fault
	}{
		{"none", nil, nil},
		{"the reply of Detach is lost", nil, []cloud.Fault{{Action: detach, Count: 1, After: true}}},
		{"the reply of Delete is lost", nil, []cloud.Fault{{Action: del, Count: 1, After: true}}},
		{"every reply is lost once", nil, []cloud.Fault{
			{Action: detach, Count: 2, After: true}, {Action: del, Count: 2, After: true}, {Action: describe, Count: 1, After: true}}},
		{"Detach and Delete are throttled", nil, []cloud.Fault{
			{Action: detach, Code: "RequestLimitExceeded", Count: 2}, {Action: del, Code: "RequestLimitExceeded", Count: 2}}},
		{"describes are throttled", nil, []cloud.Fault{{Action: describe, Code: "RequestLimitExceeded", Count: 2}}},
		{"internal errors", nil, []cloud.Fault{{Code: "InternalError", Count: 2}}},
		{"detaching takes a while", timing(func(t *cloud.Timing) { t.Detach = 500 * time.Millisecond }), nil},
		{"in use for a while after the detach", timing(func(t *cloud.Timing) { t.DeleteInUse = 500 * time.Millisecond }), nil},
		{"in use, in the other words", func(c *cloud.Config) {
			c.Timing.DeleteInUse, c.InUse = 500*time.Millisecond, cloud.InUseParameter
		}, nil},
		{"slow calls", timing(func(t *cloud.Timing) { t.Read, t.Write = 60*time.Millisecond, 300*time.Millisecond }), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			config := test.config
			if config == nil {
				config = func(*cloud.Config) {}
			}
			r := deleteUnderFaults(t, config, test.faults...)
			if left := len(r.cloud.Faults()); left > 0 {
				t.Errorf("%d of the faults never hit", left)
			}
		})
	}
}

// TestThrottledForLong: EC2 is asked ever more slowly, but always again.
func TestThrottledForLong(t *testing.T) {
	r := newRig(t)
	n := r.nodeENI("multi")
	for range 12 {
		r.newENI(owner(n, "node-a", "i-0fffffffffffffff0"), subnetA)
	}
	r.startLeading()
	r.awaitFinalizer(n)
	before := r.count("DescribeNetworkInterfaces")
	r.inject(cloud.Fault{Action: "DeleteNetworkInterface", Code: "RequestLimitExceeded"})
	r.remove(r.kube.API, kube.NodeENIs, "multi")
	r.await("a third try", func() bool { return r.count("DescribeNetworkInterfaces") >= before+3 })
	if tries := r.count("DeleteNetworkInterface"); tries > 3*3 {
		t.Errorf("%d calls in 3 sweeps: one that is throttled must stop the others", tries)
	}
	var at []time.Time
	for _, c := range r.cloud.Calls() {
		if c.Action == "DescribeNetworkInterfaces" {
			at = append(at, c.Time)
		}
	}
	if pause := at[before+2].Sub(at[before+1]); pause < 1500*time.Millisecond {
		t.Errorf("%v between the second and the third try, want about 2 s", pause)
	}
	r.cloud.ClearFaults()
	r.awaitNoNodeENI("multi")
	if refused := r.events("ENIRefused"); len(refused) > 0 {
		t.Errorf("throttling is nothing a user can fix: %q", refused)
	}
}

func TestUnauthorized(t *testing.T) {
	r := newRig(t)
	n := r.nodeENI("multi")
	id := r.newENI(owner(n, "node-a", "i-0fffffffffffffff0"), subnetA)
	r.startLeading()
	r.awaitFinalizer(n)
	r.inject(cloud.Fault{Action: "DeleteNetworkInterface", Code: "UnauthorizedOperation"})
	r.remove(r.kube.API, kube.NodeENIs, "multi")
	r.awaitEvent("ENIRefused", "Warning multi: "+id+" of node node-a: IAM does not allow ec2:DeleteNetworkInterface: EC2 refused DeleteNetworkInterface (UnauthorizedOperation")
	for range 3 {
		r.awaitAnotherSweep(n)
	}
	if tries := r.count("DeleteNetworkInterface"); tries != 1 {
		t.Errorf("%d tries without a chance; the next one is due in an interval", tries)
	}
	if r.getNodeENI("multi") == nil {
		t.Error("the NodeENI went though its ENI could not be deleted")
	}
}

// A role that may not detach is given the right. It is used within a minute, for which an
// uninstall waits. Until then EC2 gets few calls, however many ENIs there are.
func TestPermissionIsGranted(t *testing.T) {
	r := newRig(t)
	a, n := r.instance(), r.nodeENI("multi")
	ids := []string{r.fullENI(n, "node-a", a, subnetA, 2)}
	for range 20 {
		ids = append(ids, r.newENI(owner(n, "node-a", a), subnetA))
	}
	r.startLeading()
	r.awaitFinalizer(n)
	r.inject(cloud.Fault{Action: "DetachNetworkInterface", Code: "UnauthorizedOperation"})
	r.inject(cloud.Fault{Action: "DeleteNetworkInterface", Code: "AuthFailure"})
	r.remove(r.kube.API, kube.NodeENIs, "multi")
	r.awaitEvent("ENIRefused", "EC2 refused DetachNetworkInterface (UnauthorizedOperation")
	r.awaitEvent("ENIRefused", "EC2 refused DeleteNetworkInterface (AuthFailure")
	if detach, del := r.count("DetachNetworkInterface"), r.count("DeleteNetworkInterface"); detach != 1 || del > maxRefusals+2 {
		t.Errorf("%d Detach and %d Delete calls, all refused; want 1 and a few", detach, del)
	}
	r.cloud.ClearFaults()
	granted := time.Now()
	r.awaitNoNodeENI("multi")
	if took := time.Since(granted); took > time.Minute {
		t.Errorf("the right was used after %v; the second try is due after 20 s at most", took)
	}
}

// TestAttachedAgain: an agent that reaches EC2 and not the API server attaches again what was
// detached. The two make few calls, and once the agent has stopped, the ENI goes.
func TestAttachedAgain(t *testing.T) {
	r, n, a, id := newENIRig(t)
	r.report(n, "node-a", a, v1alpha1.PhaseReady, id)
	if err := r.cloud.SetTiming(cloud.Timing{DeleteInUse: 300 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	r.startLeading()
	r.awaitFinalizer(n)
	agent, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		for agent.Err() == nil {
			_, _ = r.ec2.Attach(agent, eni.AttachParams{ENIID: id, InstanceID: a, DeviceIndex: 2})
			time.Sleep(5 * time.Millisecond)
		}
	}()
	r.remove(r.kube.API, kube.NodeENIs, "multi")
	r.awaitEvent("ENIAttachedAgain", id+" of node node-a is a leftover ENI (its NodeENI was deleted). The coordinator detached it, but it was attached to "+a+" again (2 times so far)")
	time.Sleep(5 * time.Second)
	if detach, describe := r.count("DetachNetworkInterface"), r.count("DescribeNetworkInterfaces"); detach != 2 || describe > 25 {
		t.Errorf("%d Detach and %d Describe calls; want 2 and a few: %v", detach, describe, r.calls())
	}
	stop()
	r.report(n, "node-a", a, v1alpha1.PhaseReleased, id) // it is back
	r.awaitNoNodeENI("multi", id)
}

func TestDescribeUnauthorized(t *testing.T) {
	r := newRig(t)
	n := r.nodeENI("multi")
	r.startLeading()
	r.awaitFinalizer(n)
	r.inject(cloud.Fault{Action: "DescribeNetworkInterfaces", Code: "UnauthorizedOperation"})
	r.remove(r.kube.API, kube.NodeENIs, "multi")
	r.awaitEvent("EC2Unavailable", "cannot list the ENIs of the NodeENI in EC2, so its deletion waits: IAM does not allow ec2:DescribeNetworkInterfaces")
	if r.getNodeENI("multi") == nil {
		t.Fatal("the NodeENI went though it is not known what EC2 has")
	}
	r.cloud.ClearFaults()
	r.awaitNoNodeENI("multi")
}

// TestFailingDescribes: an EC2 that fails is asked ever more slowly.
func TestFailingDescribes(t *testing.T) {
	r := newRig(t)
	s := r.sweeperAsOf()
	r.inject(cloud.Fault{Action: "DescribeNetworkInterfaces", Code: "UnauthorizedOperation"})
	for range 6 {
		err := s.sweep(t.Context(), true)
		if err == nil {
			t.Fatal("EC2 fails, and the sweep does not")
		}
		s.backoff.swept(err)
	}
	if wait := time.Until(s.backoff.until); wait < 10*time.Second {
		t.Errorf("after the sixth failure in a row EC2 is asked again in %v", wait)
	}
	r.cloud.ClearFaults()
	s.backoff.swept(s.sweep(t.Context(), true))
	s.backoff.extend()
	if wait := time.Until(s.backoff.until); wait > 3*time.Second {
		t.Errorf("after a sweep that succeeded, the first pause is %v", wait)
	}
}

// TestStrangers: ENIs of others are never touched, whatever they are called.
func TestStrangers(t *testing.T) {
	r, n, a := newNodeRig(t)
	ours := r.fullENI(n, "node-a", a, subnetA, 2)
	as := func(cluster string) eni.Owner {
		o := owner(n, "node-a", a)
		o.Cluster, o.CreatedAt = cluster, time.Now().Add(-time.Hour).Truncate(time.Second)
		return o
	}
	// The same names in another cluster, one that our name would match were it
	// a pattern, and one without any tag of ours.
	strangers := []string{r.newENI(as("another"), subnetA), r.newENI(as("c0ffee"), subnetA), r.newENI(as("untagged"), subnetA)}
	if err := r.cloud.DeleteTags([]string{strangers[2]}, []cloud.TagDeletion{{Key: eni.TagCluster}}); err != nil {
		t.Fatal(err)
	}
	r.attachENI(strangers[0], a, 3)
	r.startLeading(func(cfg *Config) { cfg.SweepInterval = 100 * time.Millisecond })
	r.awaitFinalizer(n)
	r.remove(r.kube.API, kube.NodeENIs, "multi")
	r.remove(r.kube.Core, kube.Nodes, "node-a")
	r.awaitGone(ours)
	r.awaitNoNodeENI("multi")
	r.awaitSweep()
	assertUntouched(t, r, strangers)
	if !r.attached(strangers[0]) {
		t.Error("another cluster's ENI was detached")
	}
}

// TestPatternForName: EC2 takes * in a filter for anything, so a cluster of such
// a name is shown the ENIs of others.
func TestPatternForName(t *testing.T) {
	r := newRig(t)
	n := r.nodeENI("multi")
	stranger := r.newENI(owner(n, "node-a", "i-0fffffffffffffff0"), subnetA)
	r.startLeading(func(cfg *Config) { cfg.Cluster = "c*" })
	r.awaitFinalizer(n)
	r.remove(r.kube.API, kube.NodeENIs, "multi")
	r.awaitNoNodeENI("multi") // it is not held by an ENI that is not ours, either
	assertUntouched(t, r, []string{stranger})
}

// TestPrimaryTagged: a user put our tags onto a primary ENI.
func TestPrimaryTagged(t *testing.T) {
	r := newRig(t)
	a := r.instance()
	n := r.nodeENI("multi")
	primary := r.tagPrimary(n, a)
	r.startLeading()
	r.awaitFinalizer(n)
	r.remove(r.kube.API, kube.NodeENIs, "multi")
	r.awaitEvent("ENIRefused", "is the primary ENI of "+a)
	if !r.attached(primary) || r.count("DetachNetworkInterface") > 0 {
		t.Error("a primary ENI was asked to be detached")
	}
}

func TestStuckDetach(t *testing.T) {
	r := newRig(t)
	n := r.nodeENI("multi")
	c := r.coordinator()
	e := wantedENI()
	e.Owner.NodeENIUID = n.UID
	e.Attachment.Status = "detaching"
	report := func(since time.Duration) {
		c.sweeper.recorder.stuck(e, &track{Decision: decision{reasonNodeReplaced, graceNone}, StateSince: time.Now().Add(-since)}, nil)
	}
	report(stuckAfter - 10*time.Second)
	at := 3 * time.Minute
	report(at)
	since := time.Now().Add(-at).UTC().Format("15:04")
	r.awaitEvent("ENIStuck", "Warning multi: eni-1 of node node-a has been detaching on i-1 since "+since)
	r.awaitEvent("ENIStuck", "aws ec2 detach-network-interface --force --attachment-id eni-attach-1")
	free := wantedENI()
	free.ID, free.Attachment, free.Owner.NodeENIUID = "eni-2", nil, n.UID
	c.sweeper.recorder.stuck(free, &track{Decision: decision{reasonNodeReplaced, graceNone}, StateSince: time.Now().Add(-at)},
		&smithy.GenericAPIError{Code: "InvalidNetworkInterface.InUse", Message: "Interface is in use by vpce-1"})
	r.awaitEvent("ENIStuck", "InvalidNetworkInterface.InUse: Interface is in use by vpce-1")
	e.ID, e.Attachment.Status = "eni-3", "attached"
	c.sweeper.recorder.stuck(e, &track{Decision: decision{reasonNodeReplaced, graceNone}, StateSince: time.Now().Add(-at)},
		&smithy.GenericAPIError{Code: "IncorrectState", Message: "instance i-1 is not in a valid state"})
	r.awaitEvent("ENIStuck", "IncorrectState: instance i-1 is not in a valid state")
	if all := r.events("ENIStuck"); len(all) != 3 {
		t.Errorf("got %d Events, want 3: %q", len(all), all)
	}
}

// TestIdle: what happens in a quiet cluster makes no EC2 call.
func TestIdle(t *testing.T) {
	r, n, a, id := newENIRig(t)
	r.startLeading()
	r.awaitFinalizer(n)
	before := r.count("DescribeNetworkInterfaces")

	heartbeat := map[string]any{"metadata": map[string]any{"labels": map[string]any{"beat": time.Now().Format("150405")}}}
	r.patch(r.kube.Core, kube.Nodes, "node-a", heartbeat)
	r.newNode("node-b")
	r.report(n, "node-a", a, v1alpha1.PhaseConfiguring, id)
	r.report(n, "node-a", a, v1alpha1.PhaseReady, id)
	r.nodeENI("another")
	r.changeMTU("multi")
	r.report(r.getNodeENI("multi"), "node-a", a, v1alpha1.PhaseReady, id)
	// Its status shows that the coordinator has seen all of that, and more
	// than a sweep's delay ago once the second change is in it.
	r.await("the new generation in the status", func() bool {
		now := r.getNodeENI("multi")
		return now.Status.ObservedGeneration == now.Generation && now.Status.Nodes == v1alpha1.NodeCounts{Matching: 2, Ready: 1}
	})
	time.Sleep(settleTime + minSweepGap) // absence has no event to wait for
	if calls := r.count("DescribeNetworkInterfaces") - before; calls != 0 {
		t.Errorf("%d EC2 calls without need", calls)
	}
	if n := r.count("DetachNetworkInterface") + r.count("DeleteNetworkInterface"); n != 0 {
		t.Errorf("%d mutating calls", n)
	}
}
