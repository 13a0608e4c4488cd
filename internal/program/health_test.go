package program

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestHealth(t *testing.T) {
	var log bytes.Buffer
	h := NewHealth(slog.New(slog.NewTextHandler(&log, nil)))
	address := freeAddress(t)
	ctx, stop := context.WithCancel(t.Context())
	if err := h.Serve(ctx, address); err != nil {
		t.Fatal(err)
	}
	expect := func(path string, status int, body string) {
		t.Helper()
		if gotStatus, gotBody := get(t, address, path); gotStatus != status || gotBody != body {
			t.Errorf("%s answers %d\n%s\nwant %d\n%s", path, gotStatus, gotBody, status, body)
		}
	}
	expect("/healthz", 200, "ok\n")
	expect("/readyz", 503, "[-] start: still starting; the log shows what the program is waiting for\nfailed\n")

	var loop, ec2 error
	h.Live("loop", func() error { return loop })
	h.Live("leader election", func() error { return nil })
	h.Ready("EC2", func() error { return ec2 })
	expect("/healthz", 200, "[+] loop\n[+] leader election\nok\n")
	expect("/readyz", 200, "[+] EC2\nok\n")
	if log.Len() > 0 {
		t.Errorf("all is well, and it logs %s", &log)
	}

	loop, ec2 = errors.New("is stuck"), errors.New("has not answered")
	expect("/healthz", 503, "[-] loop: is stuck\n[+] leader election\nfailed\n")
	expect("/readyz", 503, "[-] EC2: has not answered\nfailed\n")
	if !strings.Contains(log.String(), "loop: is stuck") {
		t.Errorf("the log does not say why: %s", &log)
	}

	metrics := prometheus.NewRegistry()
	metrics.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "up", Help: "Is it?"}))
	h.serveMetrics(metrics)
	expect("/metrics", 200, "# HELP up Is it?\n# TYPE up gauge\nup 0\n")
	expect("/", 404, "404 page not found\n")

	stop()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			break
		}
		conn.Close()
		if time.Now().After(end) {
			t.Fatal("it still serves after the end")
		}
	}
}

func TestHealthAddress(t *testing.T) {
	h := NewHealth(slog.New(slog.DiscardHandler))
	if err := h.Serve(t.Context(), ""); err != nil {
		t.Errorf("no address: %v", err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, address := range []string{taken.Addr().String(), "nonsense", "127.0.0.1:99999"} {
		if err := h.Serve(t.Context(), address); err == nil || !strings.Contains(err.Error(), "--http-address "+address) {
			t.Errorf("address %s: %v", address, err)
		}
	}
}

func TestNoHealth(t *testing.T) {
	var h *Health
	h.Live("loop", nil)
	h.Ready("loop", nil)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func get(t *testing.T, address, path string) (status int, body string) {
	t.Helper()
	resp, err := http.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}
