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
	caches    *caches
	found     *contradictions
	report    *reporter
	heartbeat *program.Heartbeat
	times     timing

	byUID map[types.UID]*deletion
}

type deletion struct {
	nodeENI *v1alpha1.NodeENI
	since   time.Time // when first seen
	ask     time.Time // EC2 for its ENIs, not before
}

// refresh takes in which there are.
func (d *deletions) refresh(now time.Time) {
	before := d.byUID
	d.byUID = map[types.UID]*deletion{}
	for _, n := range d.caches.nodeENIs.list() {
		if n.DeletionTimestamp == nil || !protected(n) {
			continue
		}
		entry := before[n.UID]
		if entry == nil {
			entry = &deletion{since: now, ask: now}
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

// next is when EC2 is to be asked whether one of them has ENIs; zero is never. As long
// as an ENI of it is known, that one's steps come first.
func (d *deletions) next(tracks tracks) (next time.Time) {
	for uid, entry := range d.byUID {
		if !tracks.has(uid) {
			next = earliest(next, entry.ask)
		}
	}
	return next
}

// due are those that EC2 is to be asked about now.
func (d *deletions) due(tracks tracks, now time.Time) (uids []string) {
	for uid, entry := range d.byUID {
		if !tracks.has(uid) && !now.Before(entry.ask) {
			uids = append(uids, string(uid))
		}
	}
	return uids
}

// eniDeleted has EC2 asked whether that was the last one.
func (d *deletions) eniDeleted(nodeENI types.UID, now time.Time) {
	if entry := d.byUID[nodeENI]; entry != nil {
		entry.ask = now
	}
}

// empty are those that EC2, asked for their ENIs, shows none of.
func (d *deletions) empty(seen listing, now time.Time) map[types.UID]bool {
	has, empty := map[types.UID]bool{}, map[types.UID]bool{}
	for _, e := range seen.enis {
		has[e.Owner.NodeENIUID] = true
	}
	for uid, entry := range d.byUID {
		if !seen.cover(eni.ByNodeENI, string(uid)) {
			continue // and so its absence proves nothing
		}
		entry.ask = now.Add(pollDelay(entry.since, d.times.Poll, now))
		if !has[uid] {
			empty[uid] = true
		}
	}
	return empty
}

// release takes the finalizer off the NodeENIs that EC2 shows no ENI of, unless
// a report contradicts that. An agent that is still making an ENI, and one that names
// an ENI which EC2 has never shown, keep it for the release grace at least: EC2 may
// show it later.
func (d *deletions) release(ctx context.Context, empty, unseen map[types.UID]bool) {
	var reports []*v1alpha1.NodeENIState
	if len(empty) > 0 {
		reports = d.caches.states.list()
	}
	for uid, entry := range d.byUID {
		if !empty[uid] || d.found.of(uid) != (contradiction{}) {
			continue
		}
		d.heartbeat.Beat()
		early := time.Now().Before(entry.since.Add(d.times.ReleaseGrace))
		if early && (unseen[uid] || inTheMaking(uid, reports, d.caches.nodes.get)) {
			continue
		}
		if err := setFinalizer(ctx, d.caches.client, entry.nodeENI.Name, uid, false); err == nil {
			d.report.log.Info("NodeENI is free to go: EC2 shows no ENI of it", "nodeENI", entry.nodeENI.Name)
		} else if ctx.Err() == nil {
			d.report.finalizerNotRemoved(entry.nodeENI, err)
		}
	}
}

// inTheMaking says whether the agent of a living node reports an ENI of the
// NodeENI that it has not begun to release: the call that creates it may be on
// its way while EC2 does not show it yet.
func inTheMaking(uid types.UID, reports []*v1alpha1.NodeENIState, nodeOf func(string) *kube.Node) bool {
	return slices.ContainsFunc(reports, func(report *v1alpha1.NodeENIState) bool {
		return speaksFor(report, nodeOf(report.Name)) && slices.ContainsFunc(report.Status.ENIs, func(entry v1alpha1.ENIState) bool {
			return entry.NodeENIUID == uid && !releases(entry.Phase)
		})
	})
}

// protected says whether the NodeENI has the cleanup finalizer.
func protected(n *v1alpha1.NodeENI) bool {
	return slices.Contains(n.Finalizers, v1alpha1.CleanupFinalizer)
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
		if n.UID != uid || present == protected(n) || present == (n.DeletionTimestamp != nil) {
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
