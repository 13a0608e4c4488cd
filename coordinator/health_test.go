package coordinator

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// serveHealth makes a Health and returns what it answers.
func (r *rig) serveHealth() (health *program.Health, ask func(path string) string) {
	r.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	address := free.Addr().String()
	free.Close()
	health = program.NewHealth(slog.New(slog.DiscardHandler))
	if err := health.Serve(r.Context(), address); err != nil {
		r.Fatal(err)
	}
	return health, func(path string) string {
		resp, err := http.Get("http://" + address + path)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return fmt.Sprintf("%d %s", resp.StatusCode, strings.ReplaceAll(string(body), "\n", " ")) + errorText(err)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestHealthChecks: one that waits for leadership is as healthy and as ready as
// the leader.
func TestHealthChecks(t *testing.T) {
	r := newRig(t)
	for _, identity := range []string{"first", "second"} {
		health, ask := r.serveHealth()
		r.start(identity, func(cfg *Config) { cfg.Health = health })
		r.await(identity+" is ready", func() bool { return ask("/readyz") == "200 [+] caches [+] region ok " })
		r.await(identity+" is healthy", func() bool { return ask("/healthz") == "200 [+] sweep [+] status [+] leader election ok " })
		r.awaitHolder("first")
	}
}

// TestNotReady: without the API server's answers nothing can be decided; to
// start again would not help.
func TestNotReady(t *testing.T) {
	r := newRig(t)
	r.cp.APIServer.Kill()
	health, ask := r.serveHealth()
	r.start("first", func(cfg *Config) { cfg.Health = health })
	r.await("it says what is missing", func() bool {
		return strings.HasPrefix(ask("/readyz"), "503 [-] caches: not all NodeENIs, NodeENIStates, and Nodes have been read")
	})
	if got := ask("/healthz"); !strings.HasPrefix(got, "200 ") {
		t.Error(got)
	}
	if err := r.cp.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.await("it is ready", func() bool { return strings.HasPrefix(ask("/readyz"), "200 ") })
}

// TestStuckLoop: a leader whose sweep stands still does not look healthy.
func TestStuckLoop(t *testing.T) {
	r := newRig(t)
	c := r.coordinator()
	c.sweeper.heartbeat = program.NewHeartbeat("sweep loop", 100*time.Millisecond)
	health, ask := r.serveHealth()
	c.cfg.Health = health
	c.register()
	r.inject(cloud.Fault{Action: "DescribeNetworkInterfaces", Hang: true})
	ctx, stop := context.WithCancel(t.Context())
	unfollow := r.follow(c)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.lead(ctx, func() bool { return true })
	}()
	r.await("it says what is stuck", func() bool {
		got := ask("/healthz")
		return strings.HasPrefix(got, "503 [-] sweep: the sweep loop is stuck") && strings.Contains(got, "[+] status")
	})
	stop()
	<-ended
	unfollow()
	if got := ask("/healthz"); !strings.HasPrefix(got, "200 ") {
		t.Errorf("its loops have ended, and it answers %s", got)
	}
}
