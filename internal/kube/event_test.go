package kube

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/client-go/rest"
)

func TestEventName(t *testing.T) {
	const number = 1_700_000_000_000_000_001
	for _, about := range []string{"data", strings.Repeat("n", 253), strings.Repeat("n", 235) + "-." + strings.Repeat("n", 16)} {
		name := eventName(about, number)
		if problems := validation.NameIsDNSSubdomain(name, false); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
		if name == eventName(about, number+1) {
			t.Errorf("%s is not unique", name)
		}
	}
}

func TestTruncate(t *testing.T) {
	for text, want := range map[string]string{
		"short":            "short",
		"ten and more":     "ten and...",
		"from \u201331 on": "from ...",
	} {
		if got := truncate(text, 10); got != want || !utf8.ValidString(got) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestWord(t *testing.T) {
	for reason, want := range map[string]string{
		"ENIReady":                   "ENIReady",
		"InvalidSubnetID.NotFound":   "InvalidSubnetID.NotFound",
		"Internal Error\n\x1b[2J":    "InternalError2J",
		"Zürich":                     "Zrich",
		strings.Repeat("long ", 100): strings.Repeat("long", 32),
		"":                           "",
	} {
		if got := word(reason); got != want {
			t.Errorf("%q: got %q, want %q", reason, got, want)
		}
	}
}

// TestDroppedEventIsNotMuted: an Event that found no room in the queue, or that the
// API server did not take, is written when it is reported again.
func TestDroppedEventIsNotMuted(t *testing.T) {
	var down atomic.Bool
	var written, refused atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if down.Load() {
			refused.Add(1)
			http.Error(w, "away", http.StatusForbidden)
			return
		}
		written.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"kind":"Event","apiVersion":"v1"}`))
	}))
	defer server.Close()
	client, err := NewClient(&rest.Config{Host: server.URL}, "test")
	if err != nil {
		t.Fatal(err)
	}
	await := func(what string, holds func() bool) {
		t.Helper()
		for range 1000 {
			if holds() {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Fatalf("not within 5 s: %s (%d written, %d refused)", what, written.Load(), refused.Load())
	}
	r := &Recorder{client: client, log: slog.New(slog.DiscardHandler), queue: make(chan queued, 1), last: map[string]time.Time{}}
	for _, words := range []string{"one", "two", "two"} { // there is room for one
		r.Event(NodeRef("node-a"), EventNormal, "Test", "%s", words)
	}
	go r.run(t.Context())
	await("the first", func() bool { return written.Load() == 1 })
	r.Event(NodeRef("node-a"), EventNormal, "Test", "one") // said already
	r.Event(NodeRef("node-a"), EventNormal, "Test", "two")
	await("the one that was dropped", func() bool { return written.Load() == 2 })

	down.Store(true)
	r.Event(NodeRef("node-a"), EventNormal, "Test", "three")
	await("a refusal", func() bool { return refused.Load() > 0 })
	down.Store(false)
	await("the one that was refused", func() bool {
		r.Event(NodeRef("node-a"), EventNormal, "Test", "three")
		return written.Load() == 3
	})
}
