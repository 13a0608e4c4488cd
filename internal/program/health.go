package program

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Health answers /healthz, whether the program is to be restarted, and
// /readyz, whether it does its work. A nil Health has no use for checks.
type Health struct {
	log *slog.Logger
	mux *http.ServeMux

	mu          sync.Mutex
	live, ready []check
}

type check struct {
	name string
	run  func() error
}

// NewHealth makes a Health without checks. It logs what makes /healthz fail: who
// looks for the reason of a restart looks there.
func NewHealth(log *slog.Logger) *Health {
	h := &Health{log: log, mux: http.NewServeMux()}
	h.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if failed := answer(w, h.checks(&h.live)); len(failed) > 0 {
			h.log.Error("not healthy", "error", errors.Join(failed...))
		}
	})
	h.mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		checks := h.checks(&h.ready)
		if len(checks) == 0 {
			checks = []check{{"start", func() error { return errors.New("still starting; the log shows what the program is waiting for") }}}
		}
		answer(w, checks)
	})
	return h
}

// Live adds a check to /healthz.
func (h *Health) Live(name string, run func() error) {
	if h != nil {
		h.add(&h.live, check{name, run})
	}
}

// Ready adds a check to /readyz, which fails as long as there is none: then the
// program is still starting.
func (h *Health) Ready(name string, run func() error) {
	if h != nil {
		h.add(&h.ready, check{name, run})
	}
}

func (h *Health) add(to *[]check, c check) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*to = slices.DeleteFunc(slices.Clone(*to), func(o check) bool { return o.name == c.name })
	*to = append(*to, c)
}

func (h *Health) checks(of *[]check) []check {
	h.mu.Lock()
	defer h.mu.Unlock()
	return *of
}

// answer writes a line for each check, and 503 when one fails.
func answer(w http.ResponseWriter, checks []check) (failed []error) {
	var body strings.Builder
	for _, c := range checks {
		if err := c.run(); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", c.name, err))
			fmt.Fprintf(&body, "[-] %s: %v\n", c.name, err)
		} else {
			fmt.Fprintf(&body, "[+] %s\n", c.name)
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	result := "ok"
	if len(failed) > 0 {
		result = "failed"
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintf(w, "%s%s\n", &body, result)
	return failed
}

// Serve serves at an address such as 127.0.0.1:9480 until ctx ends; with no address,
// not at all. It returns an error when it cannot listen there.
func (h *Health) Serve(ctx context.Context, address string) error {
	if address == "" {
		return nil
	}
	listener, err := listen(ctx, address)
	if err != nil {
		return fmt.Errorf("--http-address %s: %w; use an address of this host and a free port, or \"\" to disable it", address, err)
	}
	server := &http.Server{
		Handler:           h.mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    4 << 10,
		ErrorLog:          slog.NewLogLogger(h.log.Handler(), slog.LevelWarn),
	}
	context.AfterFunc(ctx, func() { server.Close() })
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			h.log.Error("stopped serving /healthz, /readyz, and /metrics", "error", err)
		}
	}()
	h.log.Debug("serving /healthz, /readyz, and /metrics", "address", listener.Addr().String())
	return nil
}
