package apiserver

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// What a list no longer shows is gone when a watch has said so, or when the API
// server confirms it; until then its ENIs are left as they are.
func TestAbsence(t *testing.T) {
	backup, other := Object{kube.NodeENIs, "backup"}, Object{kube.NodeENIs, "other"}
	object := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "backup", UID: "uid-1"}}
	for _, test := range []struct {
		name    string
		before  func(*Absences)
		there   map[types.UID]Object // besides other
		leaving bool
		answer  types.UID // of the API server
		err     error
		// Missing and gone at once, and after the wait.
		missing, gone, missingLater, goneLater bool
	}{
		{name: "there", there: map[types.UID]Object{"uid-1": backup}},
		{name: "deleted", before: func(a *Absences) { a.onDelete(object) }, gone: true, goneLater: true},
		{name: "missing from a list", before: func(a *Absences) { a.onDelete(cache.DeletedFinalStateUnknown{Obj: object}) }, missing: true, goneLater: true},
		{name: "missing before its event has come", missing: true, goneLater: true},
		{name: "missing, and the API server has it", answer: "uid-1", missing: true, missingLater: true},
		{name: "missing, and the API server has another one", answer: "uid-2", missing: true, goneLater: true},
		{name: "missing, and the API server is away", err: errors.New("away"), missing: true, missingLater: true},
		{name: "missing after it was being deleted", leaving: true},
		{name: "another one has its name", there: map[types.UID]Object{"uid-2": backup}, gone: true, goneLater: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var changes atomic.Int32
				a := NewAbsences(nil, func() { changes.Add(1) }, slog.New(slog.DiscardHandler))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				a.get = func(context.Context, Object) (types.UID, error) {
					if ctx.Err() != nil { // or it is asked for ever
						return "", nil
					}
					return test.answer, test.err
				}
				a.Observe(map[types.UID]Object{"uid-1": backup, "uid-0": other}, map[types.UID]bool{"uid-1": test.leaving})
				if test.before != nil {
					test.before(a)
				}
				now := map[types.UID]Object{"uid-0": other}
				for uid, object := range test.there {
					now[uid] = object
				}
				if missing, gone := a.Observe(now, nil); missing != test.missing || gone["uid-1"] != test.gone {
					t.Errorf("at once: missing %v, gone %v", missing, gone)
				}
				time.Sleep(absenceTimeout + absenceTimeout/2)
				missing, gone := a.Observe(now, nil)
				if missing != test.missingLater || gone["uid-1"] != test.goneLater {
					t.Errorf("later: missing %v, gone %v", missing, gone)
				}
				if found := test.missing && test.goneLater; (changes.Load() > 0) != found {
					t.Errorf("changed %d times", changes.Load())
				}
				cancel()
				time.Sleep(absenceTimeout)
			})
		})
	}
}

// What comes back was never gone.
func TestAbsenceComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAbsences(nil, func() { t.Error("changed") }, slog.New(slog.DiscardHandler))
		a.get = func(context.Context, Object) (types.UID, error) { t.Error("asked"); return "", nil }
		there := map[types.UID]Object{"uid-1": {kube.Nodes, "node-1"}}
		a.Observe(there, nil)
		if missing, _ := a.Observe(nil, nil); !missing {
			t.Error("not missing")
		}
		if missing, _ := a.Observe(there, nil); missing {
			t.Error("missing though it is there")
		}
		time.Sleep(2 * absenceTimeout)
	})
}

// A process that has just started has seen nothing. What the last report names, and
// the first list lacks, is asked for before it is taken for gone; and at once, so
// that a restart delays nothing.
func TestAbsenceBeforeTheFirstList(t *testing.T) {
	report := v1alpha1.NodeENIStateStatus{ENIs: []v1alpha1.ENIState{
		{NodeENI: "backup", NodeENIUID: "uid-1", Phase: v1alpha1.PhaseReady},
		{NodeENI: "released", NodeENIUID: "uid-2", Phase: v1alpha1.PhaseReleased},
		{NodeENI: "no/name", NodeENIUID: "uid-3", Phase: v1alpha1.PhaseReady},
	}}
	for _, test := range []struct {
		name   string
		answer types.UID
		gone   bool
	}{{"it is there", "uid-1", false}, {"it is gone", "", true}, {"another has its name", "uid-9", true}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := NewAbsences(nil, func() {}, slog.New(slog.DiscardHandler))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				a.get = func(_ context.Context, asked Object) (types.UID, error) {
					if ctx.Err() != nil { // or it is asked for ever
						return "", nil
					}
					if asked != (Object{kube.NodeENIs, "backup"}) {
						t.Errorf("asked for %v", asked)
					}
					return test.answer, nil
				}
				a.Seed(report)
				if missing, gone := a.Observe(nil, nil); !missing || len(gone) > 0 {
					t.Errorf("at first: missing %v, gone %v", missing, gone)
				}
				time.Sleep(time.Second)
				if missing, gone := a.Observe(nil, nil); missing == test.gone || gone["uid-1"] != test.gone {
					t.Errorf("then: missing %v, gone %v", missing, gone)
				}
				cancel()
				time.Sleep(2 * absenceTimeout)
			})
		})
	}
}
