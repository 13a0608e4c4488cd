package kube

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/client-go/rest"
)

// Only the API server's word about an object counts.
func TestIsNotFound(t *testing.T) {
	for name, test := range map[string]struct {
		contentType, body string
		want              bool
	}{
		"no such object":   {"application/json", `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","details":{"name":"node-1","kind":"nodes"},"code":404}`, true},
		"no such resource": {"text/plain", "404 page not found\n", false},
		"a proxy's page":   {"text/html", "<html>Not Found</html>", false},
		"nothing":          {"", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", test.contentType)
				w.WriteHeader(http.StatusNotFound)
				_, _ = w.Write([]byte(test.body))
			}))
			defer server.Close()
			client, err := NewClient(&rest.Config{Host: server.URL}, "test")
			if err != nil {
				t.Fatal(err)
			}
			err = client.Core.Get().Resource(Nodes).Name("node-1").Do(t.Context()).Into(&Node{})
			if err == nil || IsNotFound(err) != test.want {
				t.Errorf("%v", err)
			}
			if uid, err := client.UID(t.Context(), Nodes, "node-1"); uid != "" || (err == nil) != test.want {
				t.Errorf("the UID is %q (%v)", uid, err)
			}
			if object, err := client.Metadata(t.Context(), "/api/v1/nodes/node-1"); object != nil || (err == nil) != test.want {
				t.Errorf("the object is %v (%v)", object, err)
			}
		})
	}
}
