package e2e

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/metadata"
)

// notifySocket is where systemd hears of a service; hear waits until it is told what
// begins so.
func notifySocket(t *testing.T) (path string, hear func(what string)) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	var heard []string
	return path, func(what string) {
		t.Helper()
		buffer := make([]byte, 4096)
		if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		for {
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
}

// A start that waits for IMDS is no start that failed: systemd would end it, again and
// again. It is told what is waited for, and that the agent lives.
func TestStandAloneSystemdWithoutIMDS(t *testing.T) {
	t.Parallel()
	const node = "node-1"
	c := newStandAlone(t, 1, nil)
	n, err := c.Sim.Node(node)
	c.must(err)
	c.must(n.IMDS.Inject(metadata.Fault{Status: 503}))
	path, hear := notifySocket(t)
	p, err := c.StartStandAlone(node, []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=400000"}, "--node-name", node, "--node-labels", "ng=multi-eni")
	c.must(err)
	c.agents[node] = p
	c.remember(p.Log)
	hear("READY=1")
	hear("STATUS=waiting for IMDS: ")
	for range 5 {
		hear("WATCHDOG=1")
	}
	n.IMDS.ClearFaults()
	hear("STATUS=0 of 0 ENIs ready")
	for range 5 {
		hear("WATCHDOG=1")
	}
	c.want(node, "data", c.plain("data"))
	hear("STATUS=1 of 1 ENIs ready")
}

// systemd is told that the agent is ready, that it lives, how it is, and that it
// stops.
func TestStandAloneSystemd(t *testing.T) {
	t.Parallel()
	const node = "node-1"
	c := newStandAlone(t, 1, nil)
	path, hear := notifySocket(t)
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
	hear("STATUS=1 of 1 ENIs ready; not valid: bad.yaml")
	c.must(p.Stop())
	hear("STOPPING=1")
	c.awaitOnly(node, "data")
}
