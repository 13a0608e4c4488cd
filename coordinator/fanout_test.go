package coordinator

import (
	"bufio"
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// agentsWatch counts what the watch of one agent hears of NodeENIs, after what is
// there at the start.
func (r *rig) agentsWatch(ctx context.Context, there int) (events, bytes *atomic.Int64) {
	r.Helper()
	stream, err := r.kube.API.Get().Resource(kube.NodeENIs).Param("watch", "true").
		SetHeader("Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").Stream(ctx)
	if err != nil {
		r.Fatal(err)
	}
	events, bytes = &atomic.Int64{}, &atomic.Int64{}
	ready := make(chan struct{})
	go func() {
		defer stream.Close()
		lines := bufio.NewScanner(stream)
		lines.Buffer(nil, 1<<20)
		for n := 0; lines.Scan(); n++ {
			if n >= there {
				events.Add(1)
				bytes.Add(int64(len(lines.Bytes())) + 1)
			}
			if n == there-1 {
				close(ready)
			}
		}
	}()
	<-ready
	return events, bytes
}

// TestStatusFanOut: ten NodeENIs under churn. What their writes come to at all
// agents stays within the limit, the last state of each is written, and a change
// of a spec does not wait.
func TestStatusFanOut(t *testing.T) {
	const nodeENIs, agents = 10, 20
	r := newRig(t)
	a := r.newNode("node-a")
	var all []*v1alpha1.NodeENI
	for i := range nodeENIs {
		all = append(all, r.nodeENI(fmt.Sprintf("multi-%d", i), func(n *v1alpha1.NodeENI) { n.Finalizers = []string{v1alpha1.CleanupFinalizer} }))
	}
	for i := range agents - 1 {
		r.report(all[0], fmt.Sprintf("node-%d", i), fmt.Sprintf("i-%017x", i), v1alpha1.PhaseReady, "eni-0")
	}
	report := func(phase v1alpha1.Phase, id int) {
		status := v1alpha1.NodeENIStateStatus{InstanceID: a, Zone: "us-east-1a"}
		for _, n := range all {
			status.ENIs = append(status.ENIs, v1alpha1.ENIState{
				NodeENI: n.Name, NodeENIUID: n.UID, ObservedGeneration: n.Generation, ENIID: fmt.Sprintf("eni-%d", id), Phase: phase, LastTransitionTime: metav1.Now().Rfc3339Copy(),
			})
		}
		r.patch(r.kube.API, kube.NodeENIStates, "node-a", map[string]any{"status": status})
	}
	r.report(all[0], "node-a", a, v1alpha1.PhasePending, "eni-0")
	report(v1alpha1.PhasePending, 0)

	ctx, stop := context.WithCancel(t.Context())
	c := r.coordinator()
	unfollow := r.follow(c)
	c.status.fanOut = tokenBucket{burst: 2 * agents, perSecond: 2 * agents} // two writes a second
	done := make(chan struct{})
	go func() { defer close(done); c.status.run(ctx) }()
	defer func() { stop(); <-done; unfollow() }()
	r.await("the first status of each, which does not wait", func() bool {
		for _, n := range all {
			if r.getNodeENI(n.Name).Status.ObservedGeneration == 0 {
				return false
			}
		}
		return true
	})
	began := time.Now()
	events, bytes := r.agentsWatch(ctx, nodeENIs)
	for i := 1; time.Since(began) < 3*time.Second; i++ {
		report(v1alpha1.PhaseConfiguring, i)
		time.Sleep(20 * time.Millisecond)
	}
	took := time.Since(began).Seconds()
	if most := int64(2*took) + 3; events.Load() > most {
		t.Errorf("an agent heard of %d writes in %.1f s, want %d at most", events.Load(), took, most)
	}
	r.changeMTU(all[9].Name)
	r.await("the changed spec in the status, before the others' turn", func() bool {
		now := r.getNodeENI(all[9].Name)
		return now.Status.ObservedGeneration == now.Generation
	})
	all[9] = r.getNodeENI(all[9].Name)
	report(v1alpha1.PhaseReady, 7777)
	r.await("the last state of each", func() bool {
		for _, n := range all {
			if s := r.getNodeENI(n.Name).Status; s.Nodes.Ready != 1 || s.Attachments[0].ENIID != "eni-7777" {
				return false
			}
		}
		return true
	})
	t.Logf("an agent heard of %d writes, %d bytes each", events.Load(), bytes.Load()/max(events.Load(), 1))
}
