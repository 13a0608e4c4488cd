package coordinator

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// apiTimeout is how long to wait for an answer of the API server.
const apiTimeout = 10 * time.Second

// leaving is a NodeENI that is being deleted and waits for its ENIs to go.
type leaving struct {
	since time.Time // as first noticed
	ask   time.Time // EC2 for its ENIs, not before
}

// noteDeleting lists the NodeENIs that wait for their ENIs to go.
func (s *sweeper) noteDeleting(now time.Time) []*v1alpha1.NodeENI {
	var deleting []*v1alpha1.NodeENI
	waiting := map[types.UID]bool{}
	for _, n := range s.caches.allNodeENIs() {
		if n.DeletionTimestamp == nil || !slices.Contains(n.Finalizers, v1alpha1.CleanupFinalizer) {
			continue
		}
		deleting = append(deleting, n)
		waiting[n.UID] = true
		if s.leaving[n.UID] == nil {
			s.leaving[n.UID] = &leaving{since: now, ask: now}
		}
	}
	maps.DeleteFunc(s.leaving, func(uid types.UID, _ *leaving) bool { return !waiting[uid] })
	return deleting
}

// dueNodeENI is when EC2 is to be asked whether a NodeENI that is being deleted has
// ENIs; zero as long as one of them is known, for its steps come first.
func (s *sweeper) dueNodeENI(uid types.UID) time.Time {
	for _, t := range s.tracks {
		if t.NodeENI == uid && !t.Deleted {
			return time.Time{}
		}
	}
	return s.leaving[uid].ask
}

// withoutENIs are the NodeENIs that EC2, asked for their ENIs, shows none of.
func (s *sweeper) withoutENIs(deleting []*v1alpha1.NodeENI, seen sight, left map[types.UID]int) map[types.UID]bool {
	none := map[types.UID]bool{}
	for _, n := range deleting {
		if !seen.covers(eni.ByNodeENI, string(n.UID)) {
			continue // and so its absence proves nothing
		}
		now := time.Now()
		waits := s.leaving[n.UID]
		waits.ask = now.Add(max(s.times.Poll, min(now.Sub(waits.since)/4, maxPatience)))
		if left[n.UID] == 0 {
			none[n.UID] = true
		}
	}
	return none
}

// freeNodeENIs takes the finalizer off the NodeENIs that EC2 shows no ENI of, unless
// a report contradicts that. An agent that is still making an ENI, and one that names
// an ENI which EC2 has never shown, hold it for the release grace at least: EC2 may
// show it later.
func (s *sweeper) freeNodeENIs(ctx context.Context, deleting []*v1alpha1.NodeENI, waiting map[types.UID]bool, claims []claim) {
	var reports []*v1alpha1.NodeENIState
	if len(waiting) > 0 {
		reports = s.caches.allStates()
	}
	unseen := map[types.UID]bool{}
	for _, c := range claims {
		if !s.doubts.shown[c.ENI] {
			unseen[c.NodeENI] = true
		}
	}
	for _, n := range deleting {
		if !waiting[n.UID] || s.doubts.of(n.UID) != (contradiction{}) {
			continue
		}
		s.heartbeat.Beat()
		early := time.Now().Before(s.leaving[n.UID].since.Add(s.times.ReleaseGrace))
		if early && (unseen[n.UID] || inTheMaking(n.UID, reports, s.caches.node)) {
			continue
		}
		if err := setFinalizer(ctx, s.kube, n.Name, n.UID, false); err != nil {
			if ctx.Err() == nil {
				s.log.Warn("the finalizer could not be removed; it is tried again", "nodeENI", n.Name, "error", err)
				s.events.Event(refOf(n), kube.EventWarning, "FinalizerNotRemoved",
					"EC2 shows no ENI of it any more, but the finalizer %s could not be removed, which is tried again and again: %v. The coordinator needs the right to patch nodeenis",
					v1alpha1.CleanupFinalizer, err)
			}
			continue
		}
		s.log.Info("NodeENI is free to go: EC2 shows no ENI of it", "nodeENI", n.Name)
	}
}

// inTheMaking says whether the agent of a living node reports an ENI of the
// NodeENI that it has not begun to release: the call that creates it may be on
// its way while EC2 does not show it yet.
func inTheMaking(uid types.UID, reports []*v1alpha1.NodeENIState, nodeOf func(string) *kube.Node) bool {
	for _, report := range reports {
		if !speaksFor(report, nodeOf(report.Name)) {
			continue
		}
		for _, entry := range report.Status.ENIs {
			if entry.NodeENIUID == uid && entry.Phase != v1alpha1.PhaseReleasing && entry.Phase != v1alpha1.PhaseReleased {
				return true
			}
		}
	}
	return false
}

// speaksFor says whether the report is of the instance that the Node is now.
func speaksFor(report *v1alpha1.NodeENIState, node *kube.Node) bool {
	if report == nil || node == nil {
		return false
	}
	id := kube.InstanceID(node.Spec.ProviderID)
	return id == "" || id == report.Status.InstanceID
}

// setFinalizer puts the cleanup finalizer onto a living NodeENI, or takes it off
// one that is being deleted. It asks the API server for the newest object, and
// does nothing when that is another one.
func setFinalizer(ctx context.Context, client *kube.Client, name string, uid types.UID, present bool) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		n, err := read[v1alpha1.NodeENI](ctx, client.API, kube.NodeENIs, name)
		if n == nil || err != nil {
			return err
		}
		has := slices.Contains(n.Finalizers, v1alpha1.CleanupFinalizer)
		if n.UID != uid || present == has || present == (n.DeletionTimestamp != nil) {
			return nil
		}
		finalizers := slices.DeleteFunc(n.Finalizers, func(f string) bool { return f == v1alpha1.CleanupFinalizer })
		if present {
			finalizers = append(finalizers, v1alpha1.CleanupFinalizer)
		}
		// With the resource version: a list in a merge patch replaces the list.
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"resourceVersion": n.ResourceVersion, "finalizers": finalizers,
		}})
		if err != nil {
			return fmt.Errorf("encoding a patch of NodeENI %s: %w", name, err)
		}
		err = client.API.Patch(types.MergePatchType).Resource(kube.NodeENIs).Name(name).Body(patch).Timeout(apiTimeout).Do(ctx).Error()
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
}
