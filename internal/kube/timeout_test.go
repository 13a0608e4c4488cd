package kube

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

// TestRequestsEnd: a server that says nothing, or stops in the middle of its
// answer, is not waited for; a watch that says nothing for long is.
func TestRequestsEnd(t *testing.T) {
	const timeout = 200 * time.Millisecond
	served := make(chan struct{}) // closed when the test ends
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") != "" || r.URL.Path == "/half" {
			_, _ = w.Write([]byte("{"))
			w.(http.Flusher).Flush()
		}
		select {
		case <-served:
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	defer close(served)
	client := http.Client{Transport: bounded{http.DefaultTransport, timeout}}
	for _, test := range []struct {
		path string
		ends bool
	}{{"/mute", true}, {"/half", true}, {"/x?watch=true", false}} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*timeout)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		for buffer := make([]byte, 8); err == nil; {
			_, err = response.Body.Read(buffer)
		}
		if response != nil {
			response.Body.Close()
		}
		if ended := ctx.Err() == nil; ended != test.ends {
			t.Errorf("%s: ended by itself: %v (%v)", test.path, ended, err)
		}
		cancel()
	}
}

// TestClientIsBounded: the client of both programs has it.
func TestClientIsBounded(t *testing.T) {
	client, err := NewClient(&rest.Config{Host: "http://127.0.0.1:1"}, "test")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]rest.Interface{"API": client.API, "Core": client.Core} {
		transport := c.(*rest.RESTClient).Client.Transport
		if outer, ok := transport.(utilnet.RoundTripperWrapper); ok { // which adds the user agent
			transport = outer.WrappedRoundTripper()
		}
		if _, ok := transport.(bounded); !ok {
			t.Errorf("%s: requests have no end: %T", name, transport)
		}
	}
}
