package kube

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// failingReads fail with each error in turn, and then succeed.
func failingReads(at *[]time.Time, errs ...error) cache.ListerWatcher {
	next := func() error {
		*at = append(*at, time.Now())
		if len(errs) == 0 {
			return nil
		}
		err := errs[0]
		errs = errs[1:]
		return err
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(context.Context, metav1.ListOptions) (runtime.Object, error) {
			return &NodeList{}, next()
		},
		WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) {
			return watch.NewFake(), next()
		},
	}
}

// An API server that is away is tried again every few seconds, and that is logged
// once at its beginning and once at its end.
func TestReach(t *testing.T) {
	refused, down := error(syscall.ECONNREFUSED), apierrors.NewServiceUnavailable("no backend")
	nodes := schema.GroupResource{Resource: "nodes"}
	for _, test := range []struct {
		name string
		errs []error
		err  bool   // is passed on
		logs string // words of the log, in their order
	}{
		{"there", nil, false, ""},
		{"away", []error{refused, io.ErrUnexpectedEOF, refused, refused, refused, refused}, true, "cannot reach|reached the API server again"},
		{"a balancer without an API server", []error{down, refused}, true, "cannot reach|reached the API server again"},
		{"forbidden", []error{apierrors.NewForbidden(nodes, "", errors.New("no"))}, true, "refused a read"},
		{"forbidden when it is back", []error{refused, apierrors.NewForbidden(nodes, "", errors.New("no"))}, true, "cannot reach|reached the API server again|refused a read"},
		{"too old", []error{apierrors.NewResourceExpired("old")}, true, ""},
		{"busy", []error{apierrors.NewTooManyRequests("later", 1)}, true, ""},
		{"without streamed lists", []error{apierrors.NewInvalid(schema.GroupKind{Kind: "ListOptions"}, "", nil)}, true, ""},
		{"without the CRDs", []error{apierrors.NewNotFound(nodes, "")}, true, "install the CustomResourceDefinitions"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logged strings.Builder
				var at []time.Time
				lw := cache.ToListerWatcherWithContext(NewReach(slog.New(slog.NewTextHandler(&logged, nil))).Of("Nodes", failingReads(&at, test.errs...)))
				_, err := lw.WatchWithContext(t.Context(), metav1.ListOptions{})
				if (err != nil) != test.err {
					t.Errorf("the error is %v", err)
				}
				for i := 1; i < len(at); i++ {
					if gap := at[i].Sub(at[i-1]); gap < reachBackoff.First/2 || gap > reachBackoff.Max {
						t.Errorf("try %d comes after %v", i, gap)
					}
				}
				rest := logged.String()
				for word := range strings.SplitSeq(test.logs, "|") {
					before, after, found := strings.Cut(rest, word)
					if !found || strings.Count(before, "\n") > 1 {
						t.Errorf("logged is\n%s, want %q", logged.String(), test.logs)
					}
					rest = after
				}
				if n := strings.Count(logged.String(), "\n"); test.logs == "" && n > 0 || n > 3 {
					t.Errorf("logged is\n%s", logged.String())
				}
			})
		})
	}
}

// A watch goes on where the informer was only if the API server was there all the time:
// etcd may have been restored from a backup. The informer lists, and then watches again.
func TestReachListsAgain(t *testing.T) {
	const timeout = 5 * time.Minute
	seconds, initial := int64(timeout/time.Second), true
	for _, test := range []struct {
		name    string
		lasted  time.Duration // the first watch
		errs    []error       // of reads after it
		expired bool          // the second watch
	}{
		{"its time was over", timeout, nil, false},
		{"its time was over a little early", timeout - time.Second, nil, false},
		{"the API server stopped and is back already", time.Minute, nil, true},
		{"the API server is away when its time is over", timeout, []error{syscall.ECONNREFUSED}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var at []time.Time
				lw := cache.ToListerWatcherWithContext(NewReach(slog.New(slog.DiscardHandler)).Of("Nodes", failingReads(&at, slices.Insert(test.errs, 0, error(nil))...)))
				watch := func(o metav1.ListOptions) error {
					o.TimeoutSeconds = &seconds
					_, err := lw.WatchWithContext(t.Context(), o)
					return err
				}
				if err := watch(metav1.ListOptions{SendInitialEvents: &initial}); err != nil {
					t.Fatalf("the first watch: %v", err)
				}
				time.Sleep(test.lasted)
				if err := watch(metav1.ListOptions{}); apierrors.IsResourceExpired(err) != test.expired {
					t.Errorf("the second watch: %v, want expired: %v", err, test.expired)
				}
				// It lists in one of two ways, and each ends what was before.
				if _, err := lw.ListWithContext(t.Context(), metav1.ListOptions{}); err != nil {
					t.Errorf("the list: %v", err)
				}
				if err := watch(metav1.ListOptions{}); err != nil {
					t.Errorf("the watch after the list: %v", err)
				}
				time.Sleep(time.Minute)
				if err := watch(metav1.ListOptions{SendInitialEvents: &initial}); err != nil {
					t.Errorf("a watch that begins with a list: %v", err)
				}
			})
		})
	}
}

// What an informer has seen may be newer than all that a restored etcd has.
func TestReachListsWhatThereIsNow(t *testing.T) {
	var asked []metav1.ListOptions
	lw := cache.ToListerWatcherWithContext(NewReach(slog.New(slog.DiscardHandler)).Of("Nodes", &cache.ListWatch{
		ListWithContextFunc: func(_ context.Context, o metav1.ListOptions) (runtime.Object, error) {
			asked = append(asked, o)
			return &NodeList{}, nil
		},
		WatchFuncWithContext: func(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
			asked = append(asked, o)
			return watch.NewFake(), nil
		},
	}))
	initial := true
	_, errList := lw.ListWithContext(t.Context(), metav1.ListOptions{ResourceVersion: "7", ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan})
	_, errFirst := lw.WatchWithContext(t.Context(), metav1.ListOptions{ResourceVersion: "7", ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, SendInitialEvents: &initial})
	_, errWatch := lw.WatchWithContext(t.Context(), metav1.ListOptions{ResourceVersion: "7"})
	if err := errors.Join(errList, errFirst, errWatch); err != nil {
		t.Fatal(err)
	}
	want := []metav1.ListOptions{{}, {ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, SendInitialEvents: &initial}, {ResourceVersion: "7"}}
	if !reflect.DeepEqual(asked, want) {
		t.Errorf("asked is\n%+v, want\n%+v", asked, want)
	}
}

// A connection that ends without an answer is client-go's empty watch: the reader
// has to list again, so it is logged and passed on at once.
func TestReachTellsOfEmptyWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged strings.Builder
		watches := []watch.Interface{watch.NewEmptyWatch(), watch.NewEmptyWatch(), watch.NewFake()}
		lw := cache.ToListerWatcherWithContext(NewReach(slog.New(slog.NewTextHandler(&logged, nil))).Of("Nodes", &cache.ListWatch{
			WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) {
				w := watches[0]
				watches = watches[1:]
				return w, nil
			},
		}))
		began := time.Now()
		for i, want := range []string{"cannot reach", "cannot reach", "reached the API server again"} {
			handed := watches[0]
			if w, err := lw.WatchWithContext(t.Context(), metav1.ListOptions{}); w != handed || err != nil {
				t.Errorf("watch %d is %v, %v", i, w, err)
			}
			if lines := strings.Split(strings.TrimSpace(logged.String()), "\n"); !strings.Contains(lines[len(lines)-1], want) || len(lines) > 2 {
				t.Errorf("after watch %d logged is\n%s, want %q", i, logged.String(), want)
			}
		}
		if waited := time.Since(began); waited > 0 {
			t.Errorf("they were held for %v", waited)
		}
	})
}

func TestReachEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var at []time.Time
		errs := make([]error, 1000)
		for i := range errs {
			errs[i] = syscall.ECONNREFUSED
		}
		lw := cache.ToListerWatcherWithContext(NewReach(slog.New(slog.DiscardHandler)).Of("Nodes", failingReads(&at, errs...)))
		if _, err := lw.ListWithContext(ctx, metav1.ListOptions{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the end is %v", err)
		}
		if n := len(at); n < 7 || n > 20 {
			t.Errorf("%d tries in a minute", n)
		}
	})
}
