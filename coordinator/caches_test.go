package coordinator

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// TestPagedLists: an API server that does not stream lists, as those before
// Kubernetes 1.34 may not, is asked for pages that it cannot answer from its memory
// all at once.
func TestPagedLists(t *testing.T) {
	const pages = 3
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		q := req.URL.Query()
		answer := func(code int, obj any) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			if err := json.NewEncoder(w).Encode(obj); err != nil {
				t.Error(err)
			}
		}
		switch {
		case q.Get("sendInitialEvents") == "true":
			status := apierrors.NewBadRequest("sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled").Status()
			status.Reason, status.Code = metav1.StatusReasonInvalid, http.StatusUnprocessableEntity
			answer(int(status.Code), status)
		case q.Get("watch") != "":
			<-req.Context().Done()
		default:
			if q.Get("limit") != "500" || q.Get("resourceVersion") == "0" {
				t.Errorf("listed with %s", req.URL.RawQuery)
			}
			page := 0
			fmt.Sscan(q.Get("continue"), &page) //nolint:errcheck // there is none at first
			list := kube.NodeList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NodeList"}, ListMeta: metav1.ListMeta{ResourceVersion: "7"}}
			list.Items = []kube.Node{{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("node-", page)}}}
			if page+1 < pages {
				list.Continue = fmt.Sprint(page + 1)
			}
			answer(http.StatusOK, list)
		}
	}))
	t.Cleanup(server.Close) // after the watch has ended with the test
	client, err := kube.NewClient(&rest.Config{Host: server.URL}, "test")
	if err != nil {
		t.Fatal(err)
	}
	nodes := store[kube.Node]{newInformer(kube.NewReach(slog.New(slog.DiscardHandler)), client.Core, kube.Nodes, &kube.Node{}, cache.Indexers{})}
	go nodes.RunWithContext(t.Context())
	for end := time.Now().Add(20 * time.Second); len(nodes.GetStore().ListKeys()) < pages; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after 20 s there are %v", nodes.GetStore().ListKeys())
		}
	}
}
