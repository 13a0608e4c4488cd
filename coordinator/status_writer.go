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
// so many events at once, and per second in the long run: a thousand agents are sent one a
// second, five thousand one every five seconds, which they await when they take turns.
const (
	fanOutBurst     = 5000
	fanOutPerSecond = 1000
)

// statusWriter keeps finalizer and status of every NodeENI current. One goroutine writes,
// each status at most once an interval, and the last state always.
type statusWriter struct {
	caches         *caches
	queue          *statusQueue
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
	w.queue.take()
	for _, n := range w.caches.nodeENIs.list() {
		w.queue.add(n.Name)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer w.heartbeat.Rest()
	for {
		w.heartbeat.Rest()
		select {
		case <-ctx.Done():
			return
		case <-w.queue.wake:
		case <-timer.C:
		}
		now := time.Now()
		w.takeQueued(now)
		w.writeDue(ctx, now)
		if next := w.next(); !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

func (w *statusWriter) takeQueued(now time.Time) {
	for name := range w.queue.take() {
		if needsFinalizer(w.caches.nodeENIs.get(name)) {
			w.schedule.addNow(name, now)
		} else {
			w.schedule.add(name, now)
		}
	}
}

func (w *statusWriter) writeDue(ctx context.Context, now time.Time) {
	for _, name := range w.schedule.dueNow(now) {
		w.heartbeat.Beat()
		if time.Now().Before(w.fanOut.next()) && !urgent(w.caches.nodeENIs.get(name)) {
			continue // it stays due
		}
		w.sync(ctx, name)
	}
}

// next is when a NodeENI is due and may be written.
func (w *statusWriter) next() (next time.Time) {
	for name, due := range w.schedule.due {
		if !urgent(w.caches.nodeENIs.get(name)) {
			due = latest(due, w.fanOut.next())
		}
		next = earliest(next, due)
	}
	return next
}

// sync sets the finalizer, or writes the status, if it is not what it should be.
func (w *statusWriter) sync(ctx context.Context, name string) {
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
		w.schedule.retryLater(name, now) // the cache is about to show the newer object
	case err != nil:
		w.log.Warn("cannot write the finalizer or status of a NodeENI; retrying", "nodeENI", name, "error", err)
		w.schedule.retryLater(name, now)
	default:
		if w.schedule.done(name, written, now); written {
			w.fanOut.spend(len(w.caches.states.list()), now)
		}
	}
}

// urgent says whether the status is of an older spec: a user who has just created, changed
// or deleted the NodeENI looks at it.
func urgent(n *v1alpha1.NodeENI) bool {
	return n == nil || needsFinalizer(n) || n.Status.ObservedGeneration != n.Generation
}

// needsFinalizer says whether a NodeENI could go before its ENIs: agents create those
// without waiting for the finalizer.
func needsFinalizer(n *v1alpha1.NodeENI) bool {
	return n != nil && n.DeletionTimestamp == nil && !hasFinalizer(n)
}

func (w *statusWriter) write(ctx context.Context, n *v1alpha1.NodeENI) (written bool, err error) {
	if needsFinalizer(n) {
		// The watch then brings a newer version, which queues it again.
		_, err = setFinalizer(ctx, w.caches.client, n.Name, n.UID, true)
		return false, err
	}
	written, err = w.writeStatus(ctx, n)
	if !apierrors.IsConflict(err) {
		return written, err
	}
	// The cache is behind the API server, perhaps for good, or ahead of it after a restore
	// of etcd.
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

// reports are the selected nodes, sorted by name, with the reports of their instances.
func (w *statusWriter) reports(n *v1alpha1.NodeENI) []nodeReport {
	var all []nodeReport
	nodes := w.caches.nodes.list()
	slices.SortFunc(nodes, func(a, b *kube.Node) int { return cmp.Compare(a.Name, b.Name) })
	for _, node := range nodes {
		if !n.Selects(node.Labels) {
			continue
		}
		nr := nodeReport{node: node}
		// An agent that does nothing because the Node is another instance reports that.
		if report := w.caches.states.get(node.Name); isReportOf(report, node) || report != nil && report.Status.Reason != "" {
			nr.report = report
		}
		all = append(all, nr)
	}
	return all
}
