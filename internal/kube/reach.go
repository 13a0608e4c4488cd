package kube

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/aws-multi-eni/aws-multi-eni/internal/backoff"
)

// How soon an API server that cannot be reached is tried again: client-go waits for up
// to a minute in the end, which is how late changes then come.
var reachBackoff = backoff.Exponential{First: time.Second, Max: 10 * time.Second}

// Reach keeps lists and watches at it while the API server cannot be reached, and
// logs when that begins and when it ends. All of a program share one.
type Reach struct {
	log *slog.Logger

	mu      sync.Mutex
	failing map[string]bool // what cannot be read
	since   time.Time
	refused map[string]string // answers that are errors, as logged last
}

// NewReach makes a Reach.
func NewReach(log *slog.Logger) *Reach {
	return &Reach{log: log, failing: map[string]bool{}, refused: map[string]string{}}
}

// Of is lw that does not give up; what names what it reads. Answers of the API
// server, errors too, are passed on. It is for one informer.
func (r *Reach) Of(what string, lw cache.ListerWatcher) cache.ListerWatcher {
	reads := &reader{reach: r, what: what, lister: cache.ToListerWithContext(lw), watcher: cache.ToWatcherWithContext(lw)}
	return &cache.ListWatch{ListWithContextFunc: reads.list, WatchFuncWithContext: reads.watch}
}

// reader is what one informer reads. An informer does one thing after the other.
type reader struct {
	reach   *Reach
	what    string
	lister  cache.ListerWithContext
	watcher cache.WatcherWithContext
	ends    time.Time // when the last watch has to end
}

// errRestored has the informer list again. While the API server was away, etcd may have
// been restored from a backup: a watch that went on from the resourceVersion it had
// reached would miss everything that happens until the restored etcd gets there.
var errRestored = apierrors.NewResourceExpired("the API server was unavailable, and etcd may have been restored from a backup; listing all objects again")

// list asks for what etcd has now. An informer that lists again asks for nothing older
// than it has seen, which a restored etcd does not have.
func (r *reader) list(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	o.ResourceVersion, o.ResourceVersionMatch = "", ""
	r.ends = time.Time{}
	list, _, err := reach(ctx, r.reach, r.what, func() (runtime.Object, error) { return r.lister.ListWithContext(ctx, o) })
	return list, err
}

// watch goes on where the informer was only if the API server was there all the time: the
// last watch took as long as it was asked to, and this one is answered at once. A watch
// that begins with a list has nothing to go on from.
func (r *reader) watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	asked, broken := time.Now(), time.Until(r.ends) > time.Second
	r.ends = time.Time{}
	goesOn := o.SendInitialEvents == nil || !*o.SendInitialEvents
	if goesOn && broken {
		return nil, errRestored
	}
	if !goesOn {
		o.ResourceVersion = "" // see list
	}
	w, away, err := reach(ctx, r.reach, r.what, func() (watch.Interface, error) { return r.watcher.WatchWithContext(ctx, o) })
	if err != nil {
		return nil, err
	}
	if goesOn && away {
		w.Stop()
		return nil, errRestored
	}
	if o.TimeoutSeconds != nil {
		r.ends = asked.Add(time.Duration(*o.TimeoutSeconds) * time.Second)
	}
	return w, nil
}

var errNoAnswer = errors.New("the connection was closed without a response")

// isEmptyWatch recognizes what client-go makes of a connection that ends, or
// times out, before the API server answers. The informer lists again after it, so it
// is logged and handed on.
func isEmptyWatch(read any) bool {
	return reflect.TypeOf(read) == reflect.TypeOf(watch.NewEmptyWatch())
}

// reach reads until there is an answer. away says that there was none at first.
func reach[T any](ctx context.Context, r *Reach, what string, read func() (T, error)) (result T, away bool, err error) {
	for n := 0; ; n++ {
		result, err = read()
		if ctx.Err() != nil {
			return result, n > 0, err
		}
		if isEmptyWatch(result) {
			r.missed(what, errNoAnswer)
			return result, false, err
		}
		if err == nil || !unreachable(err) {
			r.reached(what, err)
			return result, n > 0, err
		}
		r.missed(what, err)
		if err := reachBackoff.Wait(ctx, n); err != nil {
			return result, true, err
		}
	}
}

// unreachable says whether no API server has answered: there was no answer, or it came
// from a load balancer that could not reach one either.
func unreachable(err error) bool {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		return true
	}
	switch answer.Status().Code {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func (r *Reach) missed(what string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.failing) == 0 {
		r.since = time.Now()
		r.log.Warn("cannot reach the API server; ENIs and links stay as they are, and changes take effect when it is back", "reading", what, "error", err, "advice", readAdvice(err))
	}
	r.failing[what] = true
}

// reached notes an answer. An error is logged when it is another one than before, except
// for those that every watch meets, and the one of an API server that cannot stream a list.
func (r *Reach) reached(what string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failing[what] {
		delete(r.failing, what)
		if len(r.failing) == 0 {
			r.log.Info("reached the API server again", "after", time.Since(r.since).Round(time.Second))
		}
	}
	reason := ""
	if err != nil && !errors.Is(err, context.Canceled) && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) && !apierrors.IsTooManyRequests(err) && !apierrors.IsInvalid(err) {
		reason = string(apierrors.ReasonForError(err))
	}
	if reason != "" && reason != r.refused[what] {
		r.log.Warn("the API server refused a read; retrying", "reading", what, "error", err, "advice", readAdvice(err))
	}
	r.refused[what] = reason
}
