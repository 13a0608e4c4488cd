package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// me is this instance.
const me = "i-0123456789abcdef0"

// newSource is the Source of node-1, whose API server is the handler.
func newSource(t *testing.T, handler http.HandlerFunc) *Source {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	cfg := &rest.Config{Host: server.URL}
	client, err := kube.NewClient(cfg, "test")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, client, "node-1", me, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A report that is collected together with its Node cannot be written again until the
// Node is back. It is then, though nothing in it has changed; and the agent does not
// save without end meanwhile.
func TestReportLostWithItsNode(t *testing.T) {
	for name, lose := range map[string]func(*Source){
		"collected, then saved": func(s *Source) { s.report.deleted(); save(t, s) },
		"saved, then collected": func(s *Source) { save(t, s); s.report.deleted() },
		"collected":             func(s *Source) { s.report.deleted() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if r.Method == http.MethodPut { // the watch has not shown it yet
					w.WriteHeader(http.StatusNotFound)
					_ = json.NewEncoder(w).Encode(apierrors.NewNotFound(schema.GroupResource{}, "node-1").Status())
					return
				}
				_, _ = io.Copy(w, r.Body)
			})
			s.report.state = &v1alpha1.NodeENIState{ObjectMeta: metav1.ObjectMeta{Name: "node-1", ResourceVersion: "1"}}
			see := func(when string, want bool) {
				t.Helper()
				if snapshot, ok := s.Snapshot(); !ok || snapshot.ReportLost != want {
					t.Errorf("%s: the report is lost: %v", when, snapshot.ReportLost)
				}
			}
			lose(s)
			see("without a Node", false)
			if err := s.node.informer.GetStore().Add(&kube.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", UID: "new"}}); err != nil {
				t.Fatal(err)
			}
			see("with its Node", true)
			save(t, s)
			see("saved again", false)
			if s.report.state == nil || s.report.state.OwnerReferences[0].UID != "new" {
				t.Errorf("saved %+v", s.report.state)
			}
		})
	}
}

func save(t *testing.T, s *Source) {
	t.Helper()
	if err := s.Save(t.Context(), v1alpha1.NodeENIStateStatus{InstanceID: me}); err != nil {
		t.Fatal(err)
	}
}

// A report that changes without end is not written without end.
func TestSavesAreLimited(t *testing.T) {
	s, err := New(&rest.Config{}, &kube.Client{}, "node-1", me, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.node.informer.GetStore().Add(&kube.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}); err != nil {
		t.Fatal(err)
	}
	for range savesAtOnce {
		if !s.report.limiter.TryAccept() {
			t.Fatal("a node that starts is held up")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := s.Save(ctx, v1alpha1.NodeENIStateStatus{}); err == nil {
		t.Error("saved at once")
	}
}

// A report that is edited is written again, but not at once and for ever:
// another agent by the same name may be the one that writes.
func TestReportWrittenByOthers(t *testing.T) {
	status := func(zone string) v1alpha1.NodeENIStateStatus {
		return v1alpha1.NodeENIStateStatus{InstanceID: me, Zone: zone}
	}
	for _, test := range []struct {
		name, version string
		shown         v1alpha1.NodeENIStateStatus
		lost          bool
	}{
		{"ours", "9", status("a"), false},
		{"older than ours", "8", status("b"), false},
		{"its labels only", "10", status("a"), false},
		{"edited", "10", status("b"), true},
		{"emptied", "10", v1alpha1.NodeENIStateStatus{}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				object := func(version string, s v1alpha1.NodeENIStateStatus) *v1alpha1.NodeENIState {
					return &v1alpha1.NodeENIState{ObjectMeta: metav1.ObjectMeta{Name: "node-1", ResourceVersion: version}, Status: s}
				}
				r := &report{
					node: "node-1", informer: informer(&cache.ListWatch{}, &v1alpha1.NodeENIState{}), changed: make(chan struct{}, 1),
					state: object("9", status("a")), log: slog.New(slog.DiscardHandler),
				}
				if err := r.informer.GetStore().Add(object(test.version, test.shown)); err != nil {
					t.Fatal(err)
				}
				r.written()
				r.written()
				if r.isLost() {
					t.Error("it is not given time to be our own")
				}
				time.Sleep(stateCheck + time.Millisecond)
				if r.isLost() != test.lost {
					t.Errorf("lost %v", r.isLost())
				}
			})
		})
	}
}

// A NodeENI is read when the watch shows another generation of it than is known; a
// lower one, too, which etcd has after it was restored from a backup.
func TestSpecsAreRead(t *testing.T) {
	object := func(generation int64) v1alpha1.NodeENI {
		return v1alpha1.NodeENI{
			TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeENI"},
			ObjectMeta: metav1.ObjectMeta{Name: "x", UID: "uid-x", Generation: generation},
		}
	}
	var served int64
	reads := 0
	s := newSource(t, func(w http.ResponseWriter, _ *http.Request) {
		reads++
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(object(served))
	})
	for _, step := range []struct {
		name          string
		shown, served int64
		reads         int
	}{
		{"new", 3, 3, 1},
		{"its status has changed", 3, 3, 0},
		{"changed, and again before it was read", 4, 5, 1},
		{"the watch has come to that", 5, 5, 0},
		{"restored from a backup", 3, 3, 1},
		{"changed after that", 4, 4, 1},
	} {
		shown := object(step.shown).ObjectMeta
		if err := s.nodeENIs.informer.GetStore().Update(&metav1.PartialObjectMetadata{ObjectMeta: shown}); err != nil {
			t.Fatal(err)
		}
		served, reads = step.served, 0
		if err := s.nodeENIs.fetchOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		if known, _ := s.nodeENIs.spec("x"); reads != step.reads || known.Generation != step.served {
			t.Errorf("%s: read %d times, generation %d is known", step.name, reads, known.Generation)
		}
		if len(s.nodeENIs.fetch) > 0 {
			t.Errorf("%s: a read has another one follow", step.name)
		}
	}
}

// A NodeENI that cannot be read, because a field of it has a type that this version does
// not know, holds up no other one, and nothing is released because of it.
func TestNodeENIThatCannotBeRead(t *testing.T) {
	unreadable := map[string]bool{}
	s := newSource(t, func(w http.ResponseWriter, r *http.Request) {
		name := path.Base(r.URL.Path)
		selector := `{"with":"` + name + `"}`
		if unreadable[name] {
			selector = `["a list"]`
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"apiVersion":%q,"kind":"NodeENI","metadata":{"name":%q,"uid":%q,"generation":1},"spec":{"nodeSelector":%s}}`,
			v1alpha1.GroupVersion, name, "uid-"+name, selector)
	})
	for _, step := range []struct {
		name       string
		added      string
		unreadable bool
		snapshot   bool
		read       []string
		incomplete bool
	}{
		{"the only one cannot be read", "first", true, false, nil, false},
		{"it can be read", "first", false, true, []string{"first"}, false},
		{"another one cannot be read", "second", true, true, []string{"first"}, true},
		{"a third one can", "third", false, true, []string{"first", "third"}, true},
		{"all can be read", "second", false, true, []string{"first", "second", "third"}, false},
	} {
		unreadable[step.added] = step.unreadable
		added := metav1.ObjectMeta{Name: step.added, UID: types.UID("uid-" + step.added), Generation: 1}
		if err := s.nodeENIs.informer.GetStore().Update(&metav1.PartialObjectMetadata{ObjectMeta: added}); err != nil {
			t.Fatal(err)
		}
		if err := s.nodeENIs.fetchOnce(t.Context()); (err != nil) != (step.incomplete || !step.snapshot) {
			t.Errorf("%s: read with error %v", step.name, err)
		}
		snapshot, ok := s.Snapshot()
		var read []string
		for _, n := range snapshot.NodeENIs {
			read = append(read, n.Name)
		}
		slices.Sort(read)
		if ok != step.snapshot || !slices.Equal(read, step.read) || snapshot.Incomplete != step.incomplete || len(snapshot.Deleted) > 0 {
			t.Errorf("%s: snapshot %v with %v, incomplete %v, deleted %v", step.name, ok, read, snapshot.Incomplete, snapshot.Deleted)
		}
	}
}

// A status is written for the whole fleet every few seconds. No agent does anything
// about it: neither a read, nor a reconcile.
func TestStatusWakesNoAgent(t *testing.T) {
	n := &nodeENIs{fetch: make(chan struct{}, 1), absences: NewAbsences(nil, nil, nil)}
	base := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "x", UID: "uid-x", Generation: 3, ResourceVersion: "7"}}
	for _, test := range []struct {
		name   string
		change func(*metav1.PartialObjectMetadata)
		wakes  bool
	}{
		{"status", func(o *metav1.PartialObjectMetadata) { o.ResourceVersion = "8" }, false},
		{"label and finalizer", func(o *metav1.PartialObjectMetadata) {
			o.Labels, o.Finalizers = map[string]string{"a": "b"}, []string{"c"}
		}, false},
		{"spec", func(o *metav1.PartialObjectMetadata) { o.Generation = 4 }, true},
		{"restored from a backup", func(o *metav1.PartialObjectMetadata) { o.Generation = 2 }, true},
		{"another object", func(o *metav1.PartialObjectMetadata) { o.UID = "uid-y" }, true},
		{"being deleted", func(o *metav1.PartialObjectMetadata) { o.DeletionTimestamp = &metav1.Time{Time: time.Now()} }, true},
	} {
		now := base.DeepCopy()
		test.change(now)
		n.handler().OnUpdate(base, now)
		wakes := len(n.fetch) > 0
		if wakes {
			<-n.fetch
		}
		if wakes != test.wakes {
			t.Errorf("%s: wakes the agent: %v, want %v", test.name, wakes, test.wakes)
		}
	}
	for name, event := range map[string]func(){
		"added":   func() { n.handler().OnAdd(base, false) },
		"deleted": func() { n.handler().OnDelete(base) },
	} {
		if event(); len(n.fetch) == 0 {
			t.Errorf("%s: does not wake the agent", name)
			continue
		}
		<-n.fetch
	}
}

// A NodeENI is confirmed when the API server itself says that it selects the node.
func TestConfirm(t *testing.T) {
	for _, test := range []struct {
		name, node, nodeENI string // the answers; "" is none
		want                string // in the error
	}{
		{"wanted", `{"metadata":{"name":"node-1","labels":{"a":"b"}}}`, `{"metadata":{"name":"x","uid":"uid-x"},"spec":{"nodeSelector":{"a":"b"}}}`, ""},
		{"of other labels", `{"metadata":{"name":"node-1"}}`, `{"metadata":{"name":"x","uid":"uid-x"},"spec":{"nodeSelector":{"a":"b"}}}`, "no longer selects"},
		{"another of its name", `{"metadata":{"name":"node-1","labels":{"a":"b"}}}`, `{"metadata":{"name":"x","uid":"uid-y"},"spec":{"nodeSelector":{"a":"b"}}}`, "no longer selects"},
		{"being deleted", `{"metadata":{"name":"node-1","labels":{"a":"b"}}}`, `{"metadata":{"name":"x","uid":"uid-x","deletionTimestamp":"2026-01-01T00:00:00Z"},"spec":{"nodeSelector":{"a":"b"}}}`, "no longer selects"},
		{"gone", `{"metadata":{"name":"node-1","labels":{"a":"b"}}}`, "", "NodeENI x"},
		{"no Node", "", `{"metadata":{"name":"x","uid":"uid-x"},"spec":{"nodeSelector":{"a":"b"}}}`, "get the Node"},
	} {
		s := newSource(t, func(w http.ResponseWriter, r *http.Request) {
			answer := test.nodeENI
			if path.Base(r.URL.Path) == "node-1" {
				answer = test.node
			}
			w.Header().Set("Content-Type", "application/json")
			if answer == "" {
				w.WriteHeader(http.StatusNotFound)
				answer = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","message":"not found","code":404}`
			}
			_, _ = io.WriteString(w, answer)
		})
		err := s.Confirm(t.Context(), "uid-x", "x")
		if got := fmt.Sprint(err); (err == nil) != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: %s, want %q", test.name, got, test.want)
		}
	}
}

// What a watch shows to be deleted is deleted, and need not be asked for. What only a new
// list lacks is not; and the snapshot says why the Node is not this instance.
func TestSnapshotAfterDeletions(t *testing.T) {
	s := newSource(t, func(http.ResponseWriter, *http.Request) {})
	node := &kube.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", UID: "uid-node"}, Spec: kube.NodeSpec{ProviderID: "aws:///us-east-1a/i-0fedcba9876543210"}}
	if err := s.node.informer.GetStore().Add(node); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"deleted", "missed"} {
		meta := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name)}}
		if err := s.nodeENIs.informer.GetStore().Add(meta); err != nil {
			t.Fatal(err)
		}
		s.nodeENIs.specs[name] = v1alpha1.NodeENI{ObjectMeta: meta.ObjectMeta}
	}
	snapshot, ok := s.Snapshot()
	if !ok || len(snapshot.NodeENIs) != 2 || snapshot.Incomplete || !snapshot.NodeExists || !strings.Contains(snapshot.NodeProblem, me) {
		t.Fatalf("snapshot %v: %+v", ok, snapshot)
	}
	for _, o := range s.nodeENIs.list() {
		var last any = o
		if o.Name == "missed" {
			last = cache.DeletedFinalStateUnknown{Key: o.Name, Obj: o}
		}
		if err := s.nodeENIs.informer.GetStore().Delete(o); err != nil {
			t.Fatal(err)
		}
		s.nodeENIs.handler().OnDelete(last)
	}
	snapshot, ok = s.Snapshot()
	if !ok || len(snapshot.NodeENIs) > 0 || !snapshot.Incomplete || !snapshot.Deleted["uid-deleted"] || snapshot.Deleted["uid-missed"] {
		t.Errorf("snapshot %v: %+v", ok, snapshot)
	}
}
