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
	refused map[string]string // answers that are errors, as told
}

// NewReach makes a Reach.
func NewReach(log *slog.Logger) *Reach {
	return &Reach{log: log, failing: map[string]bool{}, refused: map[string]string{}}
}

// Of is lw that does not give up; what names what it reads. Answers of the API
// server, errors too, are passed on.
func (r *Reach) Of(what string, lw cache.ListerWatcher) cache.ListerWatcher {
	lister, watcher := cache.ToListerWithContext(lw), cache.ToWatcherWithContext(lw)
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return reach(ctx, r, what, func() (runtime.Object, error) { return lister.ListWithContext(ctx, o) })
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return reach(ctx, r, what, func() (watch.Interface, error) { return watcher.WatchWithContext(ctx, o) })
		},
	}
}

var errNoAnswer = errors.New("the connection ended without an answer")

// isEmptyWatch recognizes what client-go makes of a connection that ends, or
// times out, before the API server answers. The reader lists anew after it, so it
// is told of and handed on.
func isEmptyWatch(read any) bool {
	return reflect.TypeOf(read) == reflect.TypeOf(watch.NewEmptyWatch())
}

func reach[T any](ctx context.Context, r *Reach, what string, read func() (T, error)) (T, error) {
	for n := 0; ; n++ {
		result, err := read()
		if ctx.Err() != nil {
			return result, err
		}
		if isEmptyWatch(result) {
			r.missed(what, errNoAnswer)
			return result, err
		}
		if err == nil || !unreachable(err) {
			r.reached(what, err)
			return result, err
		}
		r.missed(what, err)
		if err := reachBackoff.Wait(ctx, n); err != nil {
			return result, err
		}
	}
}

// unreachable says whether no API server has answered: nobody, or somebody before
// it who could not reach one either.
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
		r.log.Warn("the API server cannot be reached; what is there stays, and changes are heard of when it is back", "reading", what, "error", err, "do", readAdvice(err))
	}
	r.failing[what] = true
}

// reached notes an answer. An error that it is, is told when it is news, but for
// those that are part of every watch's life.
func (r *Reach) reached(what string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failing[what] {
		delete(r.failing, what)
		if len(r.failing) == 0 {
			r.log.Info("the API server can be reached again", "after", time.Since(r.since).Round(time.Second))
		}
	}
	told := ""
	if err != nil && !errors.Is(err, context.Canceled) && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) && !apierrors.IsTooManyRequests(err) {
		told = string(apierrors.ReasonForError(err))
	}
	if told != "" && told != r.refused[what] {
		r.log.Warn("the API server refuses a read; it is tried again", "reading", what, "error", err, "do", readAdvice(err))
	}
	r.refused[what] = told
}
