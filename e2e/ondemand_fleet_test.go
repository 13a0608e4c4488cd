package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aws-multi-eni/aws-multi-eni/internal/fleet"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// A wave of pods that claim ENIs, on a fleet. ENI_FLEET=1000 ENI_PODS=500 makes it a large
// one, within EC2's limits.
func TestOnDemandFleet(t *testing.T) {
	needsScheduler(t)
	nodes, pods := number(t, "ENI_FLEET", 20), number(t, "ENI_PODS", 30)
	f := newFleet(t, nodes, 0)
	f.must(testbed.InstallOnDemand(t.Context(), f.ControlPlane))
	dir := logsOf(t)
	manager, err := testbed.StartControllerManager(t.Context(), f.ControlPlane, f.Client, dir)
	f.must(err)
	t.Cleanup(manager.Kill)
	scheduler, err := testbed.StartScheduler(t.Context(), f.ControlPlane, dir)
	f.must(err)
	t.Cleanup(scheduler.Kill)
	for _, name := range f.names {
		f.must(testbed.OfferRoom(t.Context(), f.Client, name))
	}
	subnet := fleet.NodeENIs(1)[0]
	f.must(f.ControlPlane.Apply(t.Context(), []byte(appliance("appliance", fmt.Sprintf("subnetNames: [%s]\nsecurityGroupNames: [%[1]s]", subnet)))))
	access, err := f.Nodes(t.Context(), f.names)
	f.must(err)
	servers := f.Servers()
	servers.AtOnce, servers.OnDemand, servers.Dir = 10, 10*time.Minute, dir
	f.must(f.agents.Start(servers, access))
	f.await("all agents have heard from EC2", func() bool { return f.agents.Unready() == 0 })

	before := f.requests()
	f.must(f.Label(t.Context(), f.names))
	slicesWritten := func() int { return f.requests().Since(before).Writes(kube.ResourceSlices) }
	f.awaitWithin(patience+time.Duration(nodes)*time.Second/2, "all nodes offer places", func() bool { return slicesWritten() >= 4*nodes })
	f.atMost("slices written when nodes are selected", slicesWritten(), 4*nodes) // devices and counters, with a dry run of each
	f.Cloud.SetThrottle(nodes >= 1000)
	f.wave(pods)
}

// wave creates pods, and waits until each is bound.
func (f *fleetTest) wave(pods int) {
	objects, err := client.New(f.ControlPlane.AdminConfig(), client.Options{})
	f.must(err)
	before, calls, began := f.requests(), f.Calls(), time.Now()
	for i := range pods {
		f.must(f.ControlPlane.Apply(f.t.Context(), []byte(claimed(fmt.Sprint("pod-", i), ofNodeENI("appliance")))))
	}
	var took []time.Duration
	f.awaitWithin(patience+time.Duration(pods)*time.Second, "all pods are bound", func() bool {
		var list corev1.PodList
		f.must(objects.List(f.t.Context(), &list, client.InNamespace("default")))
		took = nil
		for _, pod := range list.Items {
			for _, c := range pod.Status.Conditions {
				if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue {
					took = append(took, c.LastTransitionTime.Sub(pod.CreationTimestamp.Time))
				}
			}
		}
		return len(took) == pods
	})
	slices.Sort(took)
	came := f.requests().Since(before)
	f.t.Logf("%d pods on %d nodes after %v; bound after p50 %v, p99 %v", pods, len(f.names), time.Since(began).Round(time.Second), took[pods/2], took[pods*99/100])
	if got, want := f.Calls().Since(calls).Sum(fleet.Call.Mutating), 3*pods; got != want {
		f.t.Errorf("%d changing EC2 calls, want %d", got, want)
	}
	// Once when it is allocated, and once when its ENI is attached.
	f.atMost("slices written", came.Writes(kube.ResourceSlices), 2*pods)
	f.atMost("claims' status written by agents", came.Writes("resourceclaims/status"), 5*pods) // with the scheduler's and the controller's
	f.atMost("reports written", came.Writes(kube.NodeENIStates), 6*pods)
	f.atMost("lists of claims", came.Sum(func(r fleet.Request) bool { return r.Verb == "LIST" && r.Resource == kube.ResourceClaims }), 2*pods)
	f.t.Logf("API server: %d MiB, %v of CPU time, %d watches of claims, %d of pods", came.RSS>>20, came.CPU, came.Watches[kube.ResourceClaims], came.Watches[kube.Pods])
}

func (f *fleetTest) awaitWithin(d time.Duration, what string, yes func() bool) {
	f.t.Helper()
	for end := time.Now().Add(d); !yes(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("%s: not within %v", what, d)
		}
	}
}
