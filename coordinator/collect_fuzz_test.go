package coordinator

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// drawWorld is an ENI and the evidence about it.
func drawWorld(c *draw.Choices) (eni.ENI, evidence) {
	e := wantedENI()
	e.Owner.Cluster = draw.Of(c, testCluster, testCluster, testCluster, "other", "")
	e.Owner.Instance = draw.Of(c, arn("i-1"), arn("i-1"), arn("i-2"), "")
	e.Attachment.InstanceID = draw.Of(c, e.Owner.InstanceID(), e.Owner.InstanceID(), "i-1")
	e.SubnetID = draw.Of(c, subnetA, subnetB)
	ev := evidence{
		NodeENIDeleted: c.Rarely(4), NodeDeleted: c.Rarely(4),
		Phase: draw.Of(c, v1alpha1.PhaseReady, v1alpha1.PhaseReleased, v1alpha1.PhaseReleasing, v1alpha1.PhaseFailed, "",
			v1alpha1.PhasePending, v1alpha1.PhaseAttaching, v1alpha1.PhaseConfiguring),
	}
	if !c.Rarely(5) {
		ev.NodeENI = &v1alpha1.NodeENI{
			ObjectMeta: metav1.ObjectMeta{Name: "multi", UID: types.UID("uid-1")},
			Spec: v1alpha1.NodeENISpec{
				NodeSelector: draw.Of(c, map[string]string{"ng": "multi-eni"}, map[string]string{"ng": "multi-eni", "zone": "a"}),
				SubnetID:     draw.Of(c, subnetA, subnetA, ""),
				SubnetIDs:    draw.Of(c, nil, nil, []string{subnetB}, []string{subnetA, subnetB}),
				SubnetNames:  draw.Of(c, nil, nil, nil, []string{"a"}),
			},
		}
		if c.Rarely(5) {
			ev.NodeENI.DeletionTimestamp = &metav1.Time{}
		}
	}
	if !c.Rarely(5) {
		ev.Node = &kube.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "node-a", Labels: draw.Of(c,
				map[string]string{"ng": "multi-eni", "zone": "a"}, map[string]string{"ng": "multi-eni"}, map[string]string{"ng": "no"}, nil)},
			Spec: kube.NodeSpec{ProviderID: providerID(draw.Of(c, "i-1", "i-1", "i-2", ""))},
		}
	}
	return e, ev
}

// fuzzTimes are those that a coordinator has.
var fuzzTimes = timing{ReleaseGrace: 15 * time.Second, NodeGrace: time.Minute, OrphanAge: 10 * time.Minute, Poll: 2 * time.Second}

// FuzzCollect looks at one ENI, sweep after sweep, while the world around it
// changes. It is detached and deleted only for a reason, after the time that the
// reason asks for; and what stays left over goes in the end.
func FuzzCollect(f *testing.F) {
	draw.Fuzz(f, 300, func(t *testing.T, c *draw.Choices) {
		w := &watched{}
		w.eni, w.evidence = drawWorld(c)
		w.now = w.eni.Owner.CreatedAt
		if c.Rarely(8) {
			w.eni.Attachment.DeviceIndex = 0
		}
		for c.More() {
			if c.Rarely(3) {
				_, w.evidence = drawWorld(c)
			}
			w.now = w.now.Add(draw.Of(c, 5*time.Minute, 2*time.Second, 20*time.Second))
			w.sweep(t, c.Bool())
			if w.gone {
				return
			}
			w.settle(c.Bool())
			if c.Rarely(3) {
				w.attach()
			}
		}
		for range 12 { // the world stands still
			w.now = w.now.Add(5 * time.Minute)
			next := w.sweep(t, true)
			w.settle(true)
			if w.gone || w.track == nil || next.Act == actRefuse {
				return
			}
		}
		t.Fatalf("left over as %+v, and not collected: %+v %+v", w.track.Decision, w.eni, w.evidence)
	})
}

// watched is one ENI in EC2, and what sweeps have seen of it.
type watched struct {
	eni      eni.ENI
	evidence evidence
	now      time.Time
	track    *track
	gone     bool

	proven   time.Time // since when a reason is proven, without a break
	nodeless time.Time // since when that is that its Node was deleted
	detached time.Time // when it was detached last
	detaches int       // how often, since it is left over
	orphaned int       // full sweeps in a row in which only absence did
}

// sweep looks once, and does what is due.
func (w *watched) sweep(t *testing.T, full bool) step {
	t.Helper()
	v := leftOver(testCluster, w.eni, w.evidence)
	if !v.collect() {
		w.track, w.proven, w.nodeless, w.orphaned, w.detaches = nil, time.Time{}, time.Time{}, 0, 0
		return step{}
	}
	if v.Reason != reasonNodeDeleted {
		w.nodeless = time.Time{}
	} else if w.nodeless.IsZero() {
		w.nodeless = w.now
	}
	if v.GracePeriod != graceOrphan {
		w.orphaned = 0
		if w.proven.IsZero() {
			w.proven = w.now
		}
	} else if w.proven = (time.Time{}); full {
		w.orphaned++
	}
	if w.track == nil {
		w.track = &track{FoundAt: w.now}
	}
	w.track.observe(w.eni, v, full, w.now)
	next := nextStep(w.eni, w.track, fuzzTimes, w.now)
	if next.Act == actWait && !next.Until.IsZero() && !next.Until.After(w.now) {
		t.Fatalf("waits until %v at %v", next.Until, w.now)
	}
	if next.Act == actDetach || next.Act == actDelete {
		w.justified(t, next.Act)
	}
	if next.Act == actDetach {
		leaving := *w.eni.Attachment
		leaving.Status = "detaching"
		w.eni.Attachment = &leaving
		w.detached = w.now
		w.detaches++
		w.track.Detached = leaving.ID
	}
	w.gone = next.Act == actDelete
	return next
}

// settle lets EC2 finish a detach.
func (w *watched) settle(finish bool) {
	if finish && w.eni.Attachment.Detaching() {
		w.eni.Attachment, w.eni.Status = nil, "available"
	}
}

// attach attaches the ENI again, as a user may.
func (w *watched) attach() {
	if w.eni.Attachment == nil {
		w.eni.Status = "in-use"
		w.eni.Attachment = &eni.Attachment{
			ID: fmt.Sprint("eni-attach-", w.detaches+1), InstanceID: w.eni.Owner.InstanceID(), DeviceIndex: 2, Status: "attached",
		}
	}
}

func (w *watched) justified(t *testing.T, what act) {
	t.Helper()
	e, ev := w.eni, w.evidence
	switch {
	case e.Owner.Cluster != testCluster || isWanted(e, ev):
		t.Fatalf("%s of an ENI that stays: %+v %+v", what, e, ev)
	case e.Attachment != nil && e.Attachment.DeviceIndex == 0:
		t.Fatal("a primary ENI is touched")
	case what == actDetach && e.Owner.Instance != "" && e.Attachment.InstanceID != e.Owner.InstanceID():
		t.Fatalf("detached from %s: %+v", e.Attachment.InstanceID, e)
	case what == actDetach && ev.NodeENI == nil && ev.Node == nil && !isProven(e, ev):
		t.Fatalf("nothing of it is known, and it is taken from %s", e.Attachment.InstanceID)
	case !isProven(e, ev) && (w.orphaned < 2 || w.now.Sub(e.Owner.CreatedAt) < fuzzTimes.OrphanAge):
		t.Fatalf("an orphan goes after %d full sweeps at the age of %v", w.orphaned, w.now.Sub(e.Owner.CreatedAt))
	case what == actDetach && w.nodeless != (time.Time{}) && w.now.Sub(w.nodeless) < fuzzTimes.NodeGrace:
		t.Fatalf("the Node had only %v to come back", w.now.Sub(w.nodeless))
	case what == actDetach && w.detaches >= 2 && w.now.Sub(w.detached) < reattachedRetry*9/10:
		t.Fatalf("detached %d times, the last time %v ago", w.detaches, w.now.Sub(w.detached))
	case isProven(e, ev) && nodeExists(e, ev) && ev.Phase != v1alpha1.PhaseReleased && w.now.Sub(w.proven) < fuzzTimes.ReleaseGrace:
		t.Fatalf("the agent had only %v", w.now.Sub(w.proven))
	}
}
