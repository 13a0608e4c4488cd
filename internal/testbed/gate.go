package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
)

// APIFault makes requests to the API server go wrong. All conditions must be
// met; of several faults that match, the one that was injected first hits.
type APIFault struct {
	// Conditions.
	Process string // as the process is named; "": any
	Write   bool   // only requests that change something
	Watch   bool   // only watches
	Path    string // only paths that hold this
	Skip    int    // let the first n matching requests pass
	Count   int    // hit that many requests; 0: until cleared

	// Effects.
	Delay  time.Duration
	Status int  // is answered instead, for example 429 or 500
	After  bool // the request is carried out first
	Hang   bool // there is no answer, until the fault is cleared
	Reset  bool // the stream is reset instead of an answer
}

// Gate stands between the programs and the API server, whose certificate it
// shows, and makes requests go wrong.
type Gate struct {
	server  *http.Server
	address string
	proxy   *httputil.ReverseProxy

	mu        sync.Mutex
	processes map[string]string // by their tokens
	faults    []*APIFault
	released  chan struct{}        // closed when requests that hang are let go
	stalled   map[string]time.Time // processes whose watches tell nothing until then
	isolated  map[string]time.Time // processes that get no answer until then
	conns     map[net.Conn]bool
}

// newGate starts a gate on a port of its own.
func newGate(ctx context.Context, cp *controlplane.ControlPlane) (*Gate, error) {
	admin := cp.AdminConfig()
	target, err := url.Parse(admin.Host)
	if err != nil {
		return nil, err
	}
	transport, err := rest.TransportFor(&rest.Config{Host: admin.Host, TLSClientConfig: rest.TLSClientConfig{CAData: admin.CAData}})
	if err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &Gate{
		address:   listener.Addr().String(),
		processes: map[string]string{}, released: make(chan struct{}), stalled: map[string]time.Time{}, isolated: map[string]time.Time{}, conns: map[net.Conn]bool{},
	}
	quiet := log.New(discard{}, "", 0)
	g.proxy = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1, // watches
		ErrorLog:      quiet,
		// The API server is away: so is the gate.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	g.server = &http.Server{Handler: g, ReadHeaderTimeout: 10 * time.Second, ErrorLog: quiet, ConnState: g.connState}
	cert, key := cp.ServingCertificate()
	go func() { _ = g.server.ServeTLS(listener, cert, key) }() // ends with close
	return g, nil
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func (g *Gate) close() error {
	g.Clear()
	if err := g.server.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("gate of the API server: %w", err)
	}
	return nil
}

func (g *Gate) connState(conn net.Conn, state http.ConnState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch state {
	case http.StateNew:
		g.conns[conn] = true
	case http.StateClosed, http.StateHijacked:
		delete(g.conns, conn)
	}
}

// Inject adds a fault. What it returns says whether that is still there: neither
// cleared nor used up.
func (g *Gate) Inject(f APIFault) (armed func() bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.faults = append(g.faults, &f)
	return func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return slices.Contains(g.faults, &f)
	}
}

// Clear removes all faults and resets the requests that hang.
func (g *Gate) Clear() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.faults = nil
	clear(g.stalled)
	clear(g.isolated)
	close(g.released)
	g.released = make(chan struct{})
}

// ClearOf removes the faults that concern only these processes, and resets all requests
// that hang.
func (g *Gate) ClearOf(processes ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.faults = slices.DeleteFunc(g.faults, func(f *APIFault) bool { return slices.Contains(processes, f.Process) })
	for _, process := range processes {
		delete(g.stalled, process)
		delete(g.isolated, process)
	}
	close(g.released)
	g.released = make(chan struct{})
}

// Stall holds back what watches tell a process, for a while: its caches are stale,
// and what it reads is not.
func (g *Gate) Stall(process string, d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stalled[process] = time.Now().Add(d)
}

// Isolate cuts a process off from the API server for a while.
func (g *Gate) Isolate(process string, d time.Duration) {
	g.Stall(process, d)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.isolated[process] = time.Now().Add(d)
}

// late is an answer that a stalled process gets later.
type late struct {
	http.ResponseWriter
	ctx  context.Context
	wait func() time.Duration
}

func (l late) Write(p []byte) (int, error) {
	select {
	case <-time.After(l.wait()):
		return l.ResponseWriter.Write(p)
	case <-l.ctx.Done():
		return 0, l.ctx.Err()
	}
}

// Unwrap lets net/http find what can be flushed.
func (l late) Unwrap() http.ResponseWriter { return l.ResponseWriter }

// Cut breaks all connections, watches among them.
func (g *Gate) Cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for conn := range g.conns {
		_ = conn.Close()
	}
}

// know notes which process a token is of.
func (g *Gate) know(token, process string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.processes[token] = process
}

// match finds the fault that hits a request and uses up one of its counts.
func (g *Gate) match(r *http.Request) (APIFault, <-chan struct{}) {
	watch := r.URL.Query().Get("watch") != ""
	write := r.Method != http.MethodGet && r.Method != http.MethodHead
	process := g.process(r)
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Now().Before(g.isolated[process]) {
		return APIFault{Reset: true}, g.released
	}
	for i, f := range g.faults {
		switch {
		case f.Process != "" && f.Process != process, f.Write && !write, f.Watch && !watch, !strings.Contains(r.URL.Path, f.Path):
			continue
		case f.Skip > 0:
			f.Skip--
			continue
		}
		hit := *f
		if f.Count == 1 {
			g.faults = slices.Delete(g.faults, i, i+1)
		} else if f.Count > 1 {
			f.Count--
		}
		return hit, g.released
	}
	return APIFault{}, g.released
}

func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, released := g.match(r)
	select {
	case <-time.After(f.Delay):
	case <-r.Context().Done():
		return
	}
	if f.After {
		// Begun is done: the request goes on though its sender has gone.
		g.proxy.ServeHTTP(blackHole{header: http.Header{}}, r.WithContext(context.WithoutCancel(r.Context())))
	}
	switch {
	case f.Hang:
		select {
		case <-r.Context().Done():
		case <-released:
		}
		panic(http.ErrAbortHandler)
	case f.Reset, f.After && f.Status == 0:
		panic(http.ErrAbortHandler)
	case f.Status != 0:
		refuse(w, f.Status)
	case r.URL.Query().Get("watch") != "":
		process := g.process(r)
		g.proxy.ServeHTTP(late{w, r.Context(), func() time.Duration {
			g.mu.Lock()
			defer g.mu.Unlock()
			return time.Until(g.stalled[process])
		}}, r)
	default:
		g.proxy.ServeHTTP(w, r)
	}
}

// process is the one that sends a request.
func (g *Gate) process(r *http.Request) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.processes[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
}

// refuse answers in the API server's form.
func refuse(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(metav1.Status{ // the client may have gone
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: int32(status), Message: "injected fault",
	})
}

// blackHole drops an answer.
type blackHole struct{ header http.Header }

func (b blackHole) Header() http.Header         { return b.header }
func (b blackHole) Write(p []byte) (int, error) { return len(p), nil }
func (b blackHole) WriteHeader(int)             {}
