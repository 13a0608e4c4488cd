package e2e

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// systemd is told that the agent is ready, that it lives, how it is, and that it
// stops.
func TestStandAloneSystemd(t *testing.T) {
	t.Parallel()
	const node = "node-1"
	c := newStandAlone(t, 1, nil)
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	c.must(err)
	defer socket.Close()
	var heard []string
	hear := func(what string) {
		t.Helper()
		buffer := make([]byte, 4096)
		for end := time.Now().Add(patience); ; {
			c.must(socket.SetReadDeadline(end))
			n, err := socket.Read(buffer)
			if err != nil {
				t.Fatalf("systemd was not told %q: %v; it was told %q", what, err, heard)
			}
			text := string(buffer[:n])
			if heard = append(heard, text); strings.HasPrefix(text, what) {
				return
			}
		}
	}
	p, err := c.StartStandAlone(node, []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=400000"}, "--node-name", node, "--node-labels", "ng=multi-eni")
	c.must(err)
	c.agents[node] = p
	c.remember(p.Log)
	hear("READY=1")
	c.want(node, "data", c.plain("data"))
	hear("STATUS=1 of 1 ENIs ready")
	for range 3 {
		hear("WATCHDOG=1")
	}
	c.write(node, "bad", "a typo")
	hear("STATUS=1 of 1 ENIs ready; wrong: bad.yaml")
	c.must(p.Stop())
	hear("STOPPING=1")
	c.awaitOnly(node, "data")
}
