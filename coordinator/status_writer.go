package coordinator

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

// Every write of a NodeENI is sent to the agent of every node. All writes together come to
// so many events at once and in the long run so many a second: a thousand agents are sent
// one a second, five thousand one every five seconds, which agents wait for that take turns.
const (
	fanOutBurst     = 5000
	fanOutPerSecond = 1000
)

// statusWriter keeps finalizer and status of every NodeENI current. Marks come
// from anywhere; one goroutine writes, each status at most once an interval and
// the last state always.
type statusWriter struct {
	caches         *caches
	marks          *marks
	schedule       schedule
	contradictions *contradictions
	fanOut         tokenBucket
	log            *slog.Logger
	metrics        *Metrics
	heartbeat      *program.Heartbeat
}

// run writes until ctx ends. The leader before may have left anything, so it begins with
// all of them.
func (w *statusWriter) run(ctx context.Context) {
	w.marks.take()
	for _, n := range w.caches.nodeENIs.list() {
		w.marks.add(n.Name)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer w.heartbeat.Rest()
	for {
		w.heartbeat.Rest()
		select {
		case <-ctx.Done():
			return
		case <-w.marks.wake:
		case <-timer.C:
		}
		now := time.Now()
		w.addMarked(now)
		w.writeDue(ctx, now)
		if next := w.next(); !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

func (w *statusWriter) addMarked(now time.Time) {
	for name := range w.marks.take() {
		if unprotected(w.caches.nodeENIs.get(name)) {
			w.schedule.addAtOnce(name, now)
		} else {
			w.schedule.add(name, now)
		}
	}
}

func (w *statusWriter) writeDue(ctx context.Context, now time.Time) {
	for _, name := range w.schedule.whatIsDue(now) {
		w.heartbeat.Beat()
		if time.Now().Before(w.fanOut.next()) && !urgent(w.caches.nodeENIs.get(name)) {
			continue // it keeps its place
		}
		w.bringUpToDate(ctx, name)
	}
}

// next is when a NodeENI is due, and may be written.
func (w *statusWriter) next() (next time.Time) {
	for name, due := range w.schedule.due {
		if !urgent(w.caches.nodeENIs.get(name)) {
			due = latest(due, w.fanOut.next())
		}
		next = earliest(next, due)
	}
	return next
}

// bringUpToDate sets the finalizer and writes the status, if they are not what
// they should be.
func (w *statusWriter) bringUpToDate(ctx context.Context, name string) {
	n := w.caches.nodeENIs.get(name)
	if n == nil {
		w.schedule.forget(name)
		return
	}
	written, err := w.write(ctx, n)
	now := time.Now()
	switch {
	case ctx.Err() != nil:
	case apierrors.IsConflict(err):
		w.schedule.tryAgain(name, now) // the cache is about to show the newer object
	case err != nil:
		w.log.Warn("finalizer or status could not be written; it is tried again", "nodeENI", name, "error", err)
		w.schedule.tryAgain(name, now)
	default:
		if w.schedule.done(name, written, now); written {
			w.fanOut.spend(len(w.caches.states.list()), now)
		}
	}
}

// urgent says whether the status is not that of the spec yet: somebody has just
// made, changed or deleted the NodeENI, and looks at it.
func urgent(n *v1alpha1.NodeENI) bool {
	return n == nil || unprotected(n) || n.Status.ObservedGeneration != n.Generation
}

// unprotected says whether a NodeENI could be deleted before its ENIs: agents
// make those without waiting for the finalizer.
func unprotected(n *v1alpha1.NodeENI) bool {
	return n != nil && n.DeletionTimestamp == nil && !protected(n)
}

func (w *statusWriter) write(ctx context.Context, n *v1alpha1.NodeENI) (written bool, err error) {
	if unprotected(n) {
		// The object has a newer version then; its arrival marks it again.
		return false, setFinalizer(ctx, w.caches.client, n.Name, n.UID, true)
	}
	written, err = w.writeStatus(ctx, n)
	if !apierrors.IsConflict(err) {
		return written, err
	}
	// The cache is behind the API server, which may also be for good, or ahead of it after
	// a restore of etcd.
	live, readErr := read[v1alpha1.NodeENI](ctx, w.caches.client.API, kube.NodeENIs, n.Name)
	switch {
	case readErr != nil:
		return false, readErr
	case live == nil || live.UID != n.UID:
		return false, err
	}
	return w.writeStatus(ctx, live)
}

func (w *statusWriter) writeStatus(ctx context.Context, n *v1alpha1.NodeENI) (written bool, err error) {
	now := time.Now()
	status := statusOf(n, w.reports(n), now)
	w.contradictions.condition(n, &status, now)
	if equality.Semantic.DeepEqual(status, n.Status) {
		return false, nil
	}
	update := n.DeepCopy()
	update.Status = status
	err = w.caches.client.API.Put().Resource(kube.NodeENIs).Name(n.Name).SubResource("status").Body(update).Timeout(apiTimeout).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	w.metrics.wroteStatus(err)
	return err == nil, err
}

// reports are the selected nodes by name, with the reports of their instances.
func (w *statusWriter) reports(n *v1alpha1.NodeENI) []nodeReport {
	var all []nodeReport
	nodes := w.caches.nodes.list()
	slices.SortFunc(nodes, func(a, b *kube.Node) int { return cmp.Compare(a.Name, b.Name) })
	for _, node := range nodes {
		if !n.Selects(node.Labels) {
			continue
		}
		nr := nodeReport{node: node}
		// An agent that does nothing, because the Node is another instance's, says so.
		if report := w.caches.states.get(node.Name); speaksFor(report, node) || report != nil && report.Status.Reason != "" {
			nr.report = report
		}
		all = append(all, nr)
	}
	return all
}
