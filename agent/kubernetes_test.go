package agent

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// A report that was collected together with its Node cannot be written again.
// That it is lost is told once, or the agent saves without end.
func TestReportLostWithItsNode(t *testing.T) {
	k := &Kubernetes{
		node:     "node-1",
		nodeENIs: informer(&cache.ListWatch{}, &metav1.PartialObjectMetadata{}),
		nodes:    informer(&cache.ListWatch{}, &kube.Node{}),
		changed:  make(chan struct{}, 1),
		vanished: newVanished(nil, nil, nil),
		state:    &v1alpha1.NodeENIState{},
	}
	lost := func() bool {
		s, ok := k.Snapshot()
		if !ok {
			t.Fatal("no snapshot")
		}
		return s.ReportLost
	}
	k.stateDeleted()
	if !lost() {
		t.Fatal("the loss is not told")
	}
	if err := k.Save(t.Context(), v1alpha1.NodeENIStateStatus{InstanceID: me}); err != nil {
		t.Fatal(err)
	}
	if lost() {
		t.Error("the loss is told again after the agent has saved")
	}
}

// A report that changes without end is not written without end.
func TestSavesAreLimited(t *testing.T) {
	k, err := NewKubernetes(&rest.Config{}, &kube.Client{}, "node-1", me, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.nodes.GetStore().Add(&kube.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}); err != nil {
		t.Fatal(err)
	}
	for range savesAtOnce {
		if !k.limiter.TryAccept() {
			t.Fatal("a node that starts is held up")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := k.Save(ctx, v1alpha1.NodeENIStateStatus{}); err == nil {
		t.Error("saved at once")
	}
}
