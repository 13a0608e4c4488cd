package coordinator

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

// Every write of a NodeENI is sent to the agent of every node: no watch leaves out
// what it does not ask about. So what all writes come to, sent to all agents, is so
// many events at once and in the long run so many a second. A thousand agents then
// hear of one write a second, five thousand of one every five seconds, which is what
// agents wait for that take turns.
const (
	fanOutBurst     = 5000
	fanOutPerSecond = 1000
)

// statusWriter keeps finalizer and status of every NodeENI current. Marks come
// from anywhere; one goroutine writes, each status at most once an interval and
// the last state always.
type statusWriter struct {
	kube     *kube.Client
	caches   *caches
	log      *slog.Logger
	metrics  *Metrics
	interval time.Duration
	fanOut   tokenBucket

	heartbeat *program.Heartbeat
	doubts    *doubts
	stale     func() // the caches show what the API server no longer has

	mu     sync.Mutex
	marked map[string]bool // names
	wake   signal
}

// next is when a NodeENI is due, and may be written.
func (w *statusWriter) next(s *schedule) (next time.Time) {
	for name, due := range s.due {
		if !urgent(w.caches.nodeENI(name)) {
			due = latest(due, w.fanOut.next())
		}
		next = earliest(next, due)
	}
	return next
}

// mark says that the status of a NodeENI may have changed.
func (w *statusWriter) mark(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.marked[name] = true
	w.wake.set()
}

func (w *statusWriter) takeMarked() map[string]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := w.marked
	w.marked = map[string]bool{}
	return taken
}

// schedule says when each marked NodeENI is due.
type schedule struct {
	due     map[string]time.Time
	written map[string]time.Time // when its status was written last
	retry   map[string]*backoff
}

func newSchedule() schedule {
	return schedule{due: map[string]time.Time{}, written: map[string]time.Time{}, retry: map[string]*backoff{}}
}

// run writes until ctx ends. Whoever led before may have left anything, so it
// begins with all of them.
func (w *statusWriter) run(ctx context.Context) {
	for _, n := range w.caches.allNodeENIs() {
		w.mark(n.Name)
	}
	s := newSchedule()
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer w.heartbeat.Rest()
	for {
		w.heartbeat.Rest()
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-timer.C:
		}
		now := time.Now()
		for name := range w.takeMarked() {
			if unprotected(w.caches.nodeENI(name)) {
				s.addAtOnce(name, now)
			} else {
				s.add(name, now, w.interval)
			}
		}
		for _, name := range s.whatIsDue(now) {
			w.heartbeat.Beat()
			if time.Now().Before(w.fanOut.next()) && !urgent(w.caches.nodeENI(name)) {
				continue // it keeps its place
			}
			delete(s.due, name)
			w.bringUpToDate(ctx, name, &s)
		}
		if next := w.next(&s); !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// add makes a NodeENI due: after a moment in which more changes gather, and not
// before its interval is over.
func (s *schedule) add(name string, now time.Time, interval time.Duration) {
	if _, ok := s.due[name]; ok {
		return
	}
	due := now.Add(min(settle, interval))
	if free := s.written[name].Add(interval); free.After(due) {
		due = free
	}
	s.due[name] = due
}

// addAtOnce makes a NodeENI due now, unless an error has put it off. Its status
// may have been written a moment ago, when its name was another one's.
func (s *schedule) addAtOnce(name string, now time.Time) {
	if s.retry[name] == nil {
		s.due[name] = now
	}
}

// whatIsDue are the names that are due, the one that has waited longest first.
func (s *schedule) whatIsDue(now time.Time) []string {
	var names []string
	for name, due := range s.due {
		if !now.Before(due) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(s.due[a].Compare(s.due[b]), cmp.Compare(a, b)) })
	return names
}

func (s *schedule) tryAgain(name string, now time.Time) {
	if s.retry[name] == nil {
		s.retry[name] = &backoff{}
	}
	s.due[name] = now.Add(s.retry[name].next())
}

func (s *schedule) forget(name string) {
	delete(s.due, name)
	delete(s.written, name)
	delete(s.retry, name)
}

// bringUpToDate sets the finalizer and writes the status, if they are not what
// they should be.
func (w *statusWriter) bringUpToDate(ctx context.Context, name string, s *schedule) {
	n := w.caches.nodeENI(name)
	if n == nil {
		s.forget(name)
		return
	}
	written, err := w.write(ctx, n)
	now := time.Now()
	switch {
	case ctx.Err() != nil:
		return
	case apierrors.IsConflict(err):
		s.tryAgain(name, now) // the cache is about to show the newer object
		return
	case err != nil:
		w.log.Warn("finalizer or status could not be written; it is tried again", "nodeENI", name, "error", err)
		s.tryAgain(name, now)
		return
	}
	delete(s.retry, name)
	if written {
		s.written[name] = now
		w.fanOut.spend(len(w.caches.allStates()), now)
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
	return n != nil && n.DeletionTimestamp == nil && !slices.Contains(n.Finalizers, v1alpha1.CleanupFinalizer)
}

func (w *statusWriter) write(ctx context.Context, n *v1alpha1.NodeENI) (written bool, err error) {
	if unprotected(n) {
		if err := setFinalizer(ctx, w.kube, n.Name, n.UID, true); err != nil {
			return false, err
		}
		// The object has a newer version now; its arrival marks it again.
		return false, nil
	}
	written, err = w.writeStatus(ctx, n)
	if !apierrors.IsConflict(err) {
		return written, err
	}
	// The cache is behind, or it will never catch up: the newest object tells.
	live, readErr := read[v1alpha1.NodeENI](ctx, w.kube.API, kube.NodeENIs, n.Name)
	switch {
	case readErr != nil:
		return false, readErr
	case live == nil || live.UID != n.UID:
		return false, err
	case older(live, n):
		w.stale()
		return false, err
	}
	return w.writeStatus(ctx, live)
}

func (w *statusWriter) writeStatus(ctx context.Context, n *v1alpha1.NodeENI) (written bool, err error) {
	now := time.Now()
	status := statusOf(n, w.reports(n), now)
	w.doubts.condition(n, &status, now)
	if equality.Semantic.DeepEqual(status, n.Status) {
		return false, nil
	}
	update := n.DeepCopy()
	update.Status = status
	err = w.kube.API.Put().Resource(kube.NodeENIs).Name(n.Name).SubResource("status").Body(update).Timeout(apiTimeout).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	w.metrics.wroteStatus(err)
	return err == nil, err
}

// reports are the selected nodes by name, with the reports of their instances.
func (w *statusWriter) reports(n *v1alpha1.NodeENI) []nodeReport {
	var all []nodeReport
	for _, node := range w.caches.allNodes() {
		if !n.Selects(node.Labels) {
			continue
		}
		nr := nodeReport{node: node}
		// An agent that does nothing, because the Node is another instance's, says so.
		if report := w.caches.state(node.Name); speaksFor(report, node) || report != nil && report.Status.Reason != "" {
			nr.report = report
		}
		all = append(all, nr)
	}
	slices.SortFunc(all, func(a, b nodeReport) int { return cmp.Compare(a.node.Name, b.node.Name) })
	return all
}
