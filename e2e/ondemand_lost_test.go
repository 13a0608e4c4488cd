package e2e

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// lostWithin is when a pod is bound elsewhere, at the latest. The scheduler alone waits for
// 10 minutes.
const lostWithin = 3 * time.Minute

// TestOnDemandNodeLost: a node dies while it attaches an ENI for a pod. The coordinator
// reports that to the claim, the scheduler takes another node, and no ENI is left.
func TestOnDemandNodeLost(t *testing.T) {
	t.Parallel()
	d := newOnDemand(t, 4, nil)
	d.coordinator("coordinator-1", append([]string{"--on-demand"}, eager...)...)
	d.must(d.Apply(t.Context(), appliance("appliance", "")))
	for _, test := range []struct {
		name, dead, other string
		lose              func(node string)
	}{
		{"unreachable", "node-1", "node-2", func(node string) {
			d.setTaints(node, `[{"key":"node.kubernetes.io/unreachable","effect":"NoSchedule"},{"key":"node.kubernetes.io/unreachable","effect":"NoExecute"}]`)
		}},
		{"deleted", "node-3", "node-4", func(node string) { d.must(d.DeleteNode(t.Context(), node)) }},
	} {
		d.run(test.name, func(t *testing.T) { d.testNodeLost(t, test.name, test.dead, test.other, test.lose) })
	}
}

func (d *onDemand) testNodeLost(t *testing.T, pod, dead, other string, lose func(node string)) {
	d.agent(dead)
	d.awaitDevices(dead, "appliance", 3)
	d.fault(dead, cloud.Fault{Action: attachCall, Hang: true, Count: 1})
	d.create("", pod)
	d.awaitCall(dead, attachCall, 1)
	d.agents[dead].Kill()
	d.Sim.Cloud().ClearFaults()
	d.agent(other)
	d.awaitDevices(other, "appliance", 3)
	waiting := d.pod(pod)
	same(t, waiting.Status.NominatedNodeName, dead)
	began := time.Now()
	lose(dead)
	var bound corev1.Pod
	for end := began.Add(lostWithin); bound.Spec.NodeName == ""; time.Sleep(200 * time.Millisecond) {
		if bound = d.pod(pod); time.Now().After(end) {
			t.Fatalf("pod %s is not bound after %v: %s%s", pod, lostWithin, d.conditions(&bound), d.claimText(&bound))
		}
	}
	t.Logf("bound %v after the node was lost", time.Since(began).Round(time.Second))
	bound, e := d.awaitBound(pod)
	same(t, bound.Spec.NodeName, other)
	d.claims(other, pod, e)
	d.awaitPodEvent(pod, "FailedScheduling", "NodeLost")
	claim, _ := d.claimOf(&bound)
	if len(claim.Status.Devices) != 1 || meta.IsStatusConditionTrue(claim.Status.Devices[0].Conditions, driver.ConditionAttachFailed) {
		t.Errorf("the claim still reports the lost node: %+v", claim.Status.Devices)
	}
	// The ENI that the dead node was creating is collected with its Node, as always.
	instance, err := d.Sim.Node(dead)
	d.must(err)
	d.must(d.Sim.Cloud().Terminate(instance.ID))
	_ = d.DeleteNode(t.Context(), dead) // it may be deleted already
	d.awaitMade(dead, 0)
	d.remove(pod)
	d.awaitENIs(0)
	d.must(d.Unlabel(t.Context(), other, "ng")) // the next pod must not be scheduled to it
	d.await(other+" offers nothing", func() string {
		if n := len(d.devices(other)); n > 0 {
			return fmt.Sprintf("%d devices", n)
		}
		return ""
	})
}
