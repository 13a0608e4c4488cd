package agent

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

// What a list no longer shows is gone when somebody has said so, or when the API
// server confirms it; until then its ENIs are left as they are.
func TestVanished(t *testing.T) {
	backup, other := thing{kube.NodeENIs, "backup"}, thing{kube.NodeENIs, "other"}
	object := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "backup", UID: "uid-1"}}
	for _, test := range []struct {
		name    string
		before  func(*vanished)
		there   map[types.UID]thing // besides other
		leaving bool
		answer  types.UID // of the API server
		err     error
		// Missing and gone at once, and after everybody has waited.
		missing, gone, missingLater, goneLater bool
	}{
		{name: "there", there: map[types.UID]thing{"uid-1": backup}},
		{name: "deleted", before: func(v *vanished) { v.onDelete(object) }, gone: true, goneLater: true},
		{name: "missing from a list", before: func(v *vanished) { v.onDelete(cache.DeletedFinalStateUnknown{Obj: object}) }, missing: true, goneLater: true},
		{name: "missing before its event has come", missing: true, goneLater: true},
		{name: "missing, and the API server has it", answer: "uid-1", missing: true, missingLater: true},
		{name: "missing, and the API server has another one", answer: "uid-2", missing: true, goneLater: true},
		{name: "missing, and the API server is away", err: errors.New("away"), missing: true, missingLater: true},
		{name: "missing after it was being deleted", leaving: true},
		{name: "another one has its name", there: map[types.UID]thing{"uid-2": backup}, gone: true, goneLater: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told atomic.Int32
				v := newVanished(nil, func() { told.Add(1) }, slog.New(slog.DiscardHandler))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				v.ask = func(context.Context, thing) (types.UID, error) {
					if ctx.Err() != nil { // or it is asked for ever
						return "", nil
					}
					return test.answer, test.err
				}
				v.look(map[types.UID]thing{"uid-1": backup, "uid-0": other}, map[types.UID]bool{"uid-1": test.leaving})
				if test.before != nil {
					test.before(v)
				}
				now := map[types.UID]thing{"uid-0": other}
				for uid, thing := range test.there {
					now[uid] = thing
				}
				if missing, gone := v.look(now, nil); missing != test.missing || gone["uid-1"] != test.gone {
					t.Errorf("at once: missing %v, gone %v", missing, gone)
				}
				time.Sleep(vanishPatience + vanishPatience/2)
				missing, gone := v.look(now, nil)
				if missing != test.missingLater || gone["uid-1"] != test.goneLater {
					t.Errorf("later: missing %v, gone %v", missing, gone)
				}
				if found := test.missing && test.goneLater; (told.Load() > 0) != found {
					t.Errorf("told %d times", told.Load())
				}
				cancel()
				time.Sleep(vanishPatience)
			})
		})
	}
}

// What comes back was never gone.
func TestVanishedComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVanished(nil, func() { t.Error("told") }, slog.New(slog.DiscardHandler))
		v.ask = func(context.Context, thing) (types.UID, error) { t.Error("asked"); return "", nil }
		there := map[types.UID]thing{"uid-1": {kube.Nodes, "node-1"}}
		v.look(there, nil)
		if missing, _ := v.look(nil, nil); !missing {
			t.Error("not missing")
		}
		if missing, _ := v.look(there, nil); missing {
			t.Error("missing though it is there")
		}
		time.Sleep(2 * vanishPatience)
	})
}

// A process that has just started has seen nothing. What the last report names, and
// the first list lacks, is asked for before it is taken for gone; and at once, so
// that a restart delays nothing.
func TestVanishedBeforeTheFirstList(t *testing.T) {
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
				v := newVanished(nil, func() {}, slog.New(slog.DiscardHandler))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				v.ask = func(_ context.Context, asked thing) (types.UID, error) {
					if ctx.Err() != nil { // or it is asked for ever
						return "", nil
					}
					if asked != (thing{kube.NodeENIs, "backup"}) {
						t.Errorf("asked for %v", asked)
					}
					return test.answer, nil
				}
				v.remember(report)
				if missing, gone := v.look(nil, nil); !missing || len(gone) > 0 {
					t.Errorf("at first: missing %v, gone %v", missing, gone)
				}
				time.Sleep(time.Second)
				if missing, gone := v.look(nil, nil); missing == test.gone || gone["uid-1"] != test.gone {
					t.Errorf("then: missing %v, gone %v", missing, gone)
				}
				cancel()
				time.Sleep(2 * vanishPatience)
			})
		})
	}
}
