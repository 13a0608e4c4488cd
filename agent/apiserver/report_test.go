package apiserver

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// A report is created, updated, or written over, whatever has become of it meanwhile. When it
// was collected together with its Node it is lost, and no error.
func TestReportIsWritten(t *testing.T) {
	for _, test := range []struct {
		name    string
		loaded  bool
		noNode  bool
		answers map[string]int // by request; without one it succeeds
		asked   string
		fails   bool
		lost    bool
	}{
		{"the first", false, false, nil, "POST", false, false},
		{"another", true, false, nil, "PUT", false, false},
		{"another one, without a Node", true, true, nil, "PUT", false, false},
		{"the first, without a Node", false, true, nil, "", false, true},
		{"written by others", true, false, map[string]int{"PUT 1": http.StatusConflict}, "PUT GET PUT", false, false},
		{"written by others again and again", true, false, map[string]int{"PUT 1": http.StatusConflict, "PUT 3": http.StatusConflict}, "PUT GET PUT", true, false},
		{"written by others and collected", true, false, map[string]int{"PUT 1": http.StatusConflict, "GET 2": http.StatusNotFound}, "PUT GET", true, false},
		{"the first, and it is there", false, false, map[string]int{"POST 1": http.StatusConflict}, "POST GET PUT", false, false},
		{"deleted", true, false, map[string]int{"PUT 1": http.StatusNotFound}, "PUT POST", false, false},
		{"collected with its Node", true, true, map[string]int{"PUT 1": http.StatusNotFound}, "PUT", false, true},
		{"no such resource", false, false, map[string]int{"POST 1": http.StatusNotFound}, "POST", true, false},
		{"not allowed", true, false, map[string]int{"PUT 1": http.StatusForbidden}, "PUT", true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var asked []string
			var written v1alpha1.NodeENIState
			reasons := map[int]metav1.StatusReason{
				http.StatusConflict: metav1.StatusReasonConflict, http.StatusNotFound: metav1.StatusReasonNotFound, http.StatusForbidden: metav1.StatusReasonForbidden,
			}
			s := newSource(t, func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.Method)
				w.Header().Set("Content-Type", "application/json")
				if code := test.answers[r.Method+" "+string(rune('0'+len(asked)))]; code != 0 {
					w.WriteHeader(code)
					_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reasons[code]})
					return
				}
				if r.Method == http.MethodGet {
					_ = json.NewEncoder(w).Encode(v1alpha1.NodeENIState{TypeMeta: stateType, ObjectMeta: metav1.ObjectMeta{Name: "node-1", ResourceVersion: "7"}})
					return
				}
				written = v1alpha1.NodeENIState{}
				if err := json.NewDecoder(r.Body).Decode(&written); err != nil {
					t.Error(err)
				}
				shown := written
				shown.TypeMeta, shown.ResourceVersion = stateType, "8"
				_ = json.NewEncoder(w).Encode(shown)
			})
			if test.loaded {
				before := &v1alpha1.NodeENIState{ObjectMeta: metav1.ObjectMeta{Name: "node-1", ResourceVersion: "5"}, Status: v1alpha1.NodeENIStateStatus{Zone: "z"}}
				if err := s.report.informer.GetStore().Add(before); err != nil {
					t.Fatal(err)
				}
				if last, err := s.Load(t.Context()); err != nil || last.Zone != "z" {
					t.Fatalf("loaded %+v, %v", last, err)
				}
			}
			if !test.noNode {
				if err := s.node.informer.GetStore().Add(&kube.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", UID: "uid"}}); err != nil {
					t.Fatal(err)
				}
			}
			err := s.Save(t.Context(), v1alpha1.NodeENIStateStatus{InstanceID: me})
			if got := strings.Join(asked, " "); got != test.asked || (err != nil) != test.fails || s.report.isLost() != test.lost {
				t.Errorf("asked %s, error %v, lost %v", got, err, s.report.isLost())
			}
			if err != nil || test.lost {
				return
			}
			if owned := len(written.OwnerReferences) == 1; written.Status.InstanceID != me || owned == test.noNode || s.report.state.ResourceVersion != "8" {
				t.Errorf("written %+v, known %+v", written, s.report.state)
			}
			wantVersion := map[string]string{"POST": "", "PUT POST": "", "PUT": "5", "PUT GET PUT": "7", "POST GET PUT": "7"}[test.asked]
			if written.ResourceVersion != wantVersion {
				t.Errorf("written over version %q, want %q", written.ResourceVersion, wantVersion)
			}
		})
	}
}

var stateType = metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeENIState"}
