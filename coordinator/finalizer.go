package coordinator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

// deletions are the NodeENIs that are being deleted and wait for their ENIs to go.
type deletions struct {
	caches         *caches
	contradictions *contradictions
	recorder       *recorder
	heartbeat      *program.Heartbeat
	times          timing

	byUID map[types.UID]*deletion
}

type deletion struct {
	nodeENI *v1alpha1.NodeENI
	since   time.Time // when first seen
	due     time.Time // when EC2 is asked for its ENIs
}

// refresh updates which there are.
func (d *deletions) refresh(now time.Time) {
	before := d.byUID
	d.byUID = map[types.UID]*deletion{}
	for _, n := range d.caches.nodeENIs.list() {
		if n.DeletionTimestamp == nil || !hasFinalizer(n) {
			continue
		}
		entry := before[n.UID]
		if entry == nil {
			entry = &deletion{since: now, due: now}
		}
		entry.nodeENI = n
		d.byUID[n.UID] = entry
	}
}

func (d *deletions) nodeENIs() (all []*v1alpha1.NodeENI) {
	for _, entry := range d.byUID {
		all = append(all, entry.nodeENI)
	}
	return all
}

// next is when EC2 is to be asked whether one of them has ENIs; zero is never. As long as it
// has one that is left over, the steps of that one come first.
func (d *deletions) next(tracks tracks) (next time.Time) {
	for uid, entry := range d.byUID {
		if !tracks.has(uid) {
			next = earliest(next, entry.due)
		}
	}
	return next
}

// due are those that EC2 is to be asked about now.
func (d *deletions) due(tracks tracks, now time.Time) (uids []string) {
	for uid, entry := range d.byUID {
		if !tracks.has(uid) && !now.Before(entry.due) {
			uids = append(uids, string(uid))
		}
	}
	return uids
}

// eniDeleted has EC2 asked whether that ENI was the last one.
func (d *deletions) eniDeleted(nodeENI types.UID, now time.Time) {
	if entry := d.byUID[nodeENI]; entry != nil {
		entry.due = now
	}
}

// empty are those that EC2 was asked for and shows no ENI of.
func (d *deletions) empty(seen listing, now time.Time) map[types.UID]bool {
	has, empty := map[types.UID]bool{}, map[types.UID]bool{}
	for _, e := range seen.enis {
		has[e.Owner.NodeENIUID] = true
	}
	for uid, entry := range d.byUID {
		if !seen.cover(eni.ByNodeENI, string(uid)) {
			continue // EC2 was not asked for them
		}
		entry.due = now.Add(pollDelay(entry.since, d.times.Poll, now))
		if !has[uid] {
			empty[uid] = true
		}
	}
	return empty
}

// release removes the finalizer from the NodeENIs that EC2 shows no ENI of, unless a report
// contradicts that. If an agent is still creating an ENI, or reports one that EC2 has never
// shown, the finalizer stays for the release grace period at least: EC2 may show it later.
func (d *deletions) release(ctx context.Context, empty, unseen map[types.UID]bool) {
	for uid, entry := range d.byUID {
		if !empty[uid] || d.contradictions.of(uid) != (contradiction{}) {
			continue
		}
		d.heartbeat.Beat()
		early := time.Now().Before(entry.since.Add(d.times.ReleaseGrace))
		if early && (unseen[uid] || beingCreated(uid, d.caches.states.list(), d.caches.nodes.get)) {
			continue
		}
		switch removed, err := setFinalizer(ctx, d.caches.client, entry.nodeENI.Name, uid, false); {
		case removed:
			d.recorder.log.Info("removed the finalizer of a NodeENI: EC2 shows no ENI of it", "nodeENI", entry.nodeENI.Name)
		case err != nil && ctx.Err() == nil:
			d.recorder.finalizerNotRemoved(entry.nodeENI, err)
		}
	}
}

// beingCreated says whether the agent of an existing Node reports an ENI of the NodeENI that
// it has not begun to release: EC2 may not show yet what it is creating.
func beingCreated(uid types.UID, reports []*v1alpha1.NodeENIState, nodeOf func(string) *kube.Node) bool {
	return slices.ContainsFunc(reports, func(report *v1alpha1.NodeENIState) bool {
		return isReportOf(report, nodeOf(report.Name)) && slices.ContainsFunc(report.Status.ENIs, func(entry v1alpha1.ENIState) bool {
			return entry.NodeENIUID == uid && !isReleasing(entry.Phase)
		})
	})
}

// hasFinalizer says whether the NodeENI has the cleanup finalizer.
func hasFinalizer(n *v1alpha1.NodeENI) bool {
	return slices.Contains(n.Finalizers, v1alpha1.CleanupFinalizer)
}

// setFinalizer adds the cleanup finalizer to a NodeENI that is not being deleted, or removes
// it from one that is. It reads the object from the API server first, and changes nothing if
// that is another one, or is not in that state.
func setFinalizer(ctx context.Context, client *kube.Client, name string, uid types.UID, present bool) (changed bool, err error) {
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		n, err := read[v1alpha1.NodeENI](ctx, client.API, kube.NodeENIs, name)
		if n == nil || err != nil {
			return err
		}
		if n.UID != uid || present == hasFinalizer(n) || present == (n.DeletionTimestamp != nil) {
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
			return fmt.Errorf("encode a patch of NodeENI %s: %w", name, err)
		}
		err = client.API.Patch(types.MergePatchType).Resource(kube.NodeENIs).Name(name).Body(patch).Timeout(apiTimeout).Do(ctx).Error()
		if apierrors.IsNotFound(err) {
			return nil
		}
		changed = err == nil
		return err
	})
	return changed, err
}
