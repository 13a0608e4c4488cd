package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/budget"
	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

func TestMain(m *testing.M) {
	if err := netns.Elevate(netns.Elevation{PrivateNetwork: true}); err != nil {
		fmt.Fprintln(os.Stderr, "the footprint's test needs network namespaces:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// What idle programs use stays within the budget. The benchmark waits until they
// have settled; here they are looked at until they have. Connections to EC2, which
// the SDK keeps for 90 s, are left to the benchmark.
func TestBudget(t *testing.T) {
	m := &measurement{growth: []int{1, budget.ManyENIs}, watched: 2 * time.Second, touches: 4, starts: 1}
	r := &result.Result{Name: "footprint"}
	programs := released(t)
	err := result.Try(t.Context(), func(b *result.Bench) {
		c := startCluster(b, programs, m.growth)
		port := c.ControlPlane.Address.Port()
		many := budget.Agent
		many.RSS += budget.ManyENIsRSS
		t.Run("agent with one ENI", func(t *testing.T) { within(t, budget.Agent, c.servers[nodeWith(1)], port) })
		t.Run("agent with many ENIs", func(t *testing.T) { within(t, many, c.servers[nodeWith(budget.ManyENIs)], port) })
		t.Run("coordinator", func(t *testing.T) { within(t, budget.Coordinator, c.servers[coordinator], port) })
		m.measure(c)
		m.report(r)
	})
	if err != nil {
		t.Fatal(err)
	}
	// The benchmark's way to its result, and what does not have to settle.
	if size := m.idle[nodeWith(budget.ManyENIs)].report; size == 0 || float64(size) > budget.BytesPerReport {
		t.Errorf("the NodeENIState of %d ENIs has %d bytes, want %v at most", budget.ManyENIs, size, budget.BytesPerReport)
	}
	for _, enis := range m.growth {
		i := m.idle[nodeWith(enis)]
		if i.calls > budget.Agent.EC2Calls {
			t.Errorf("with %d ENIs: %v EC2 calls in an idle minute, want %v", enis, i.calls, budget.Agent.EC2Calls)
		}
		if i.usage.Received == 0 || i.usage.Sent == 0 {
			t.Errorf("with %d ENIs: %v bytes received and %v sent, want those of the start", enis, i.usage.Received, i.usage.Sent)
		}
	}
	if err := r.Save(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	r.Print(t.Output())
}

// released builds the programs as they are released, for this machine.
func released(t *testing.T) string {
	t.Helper()
	root, err := testbed.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := testbed.ReadTree(root, ".go", "go.mod", "Makefile"); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	cmd := exec.Command("make", "binaries", "BIN="+bin, "ARCH="+runtime.GOARCH, "VERSION=v0.0.0")
	cmd.Dir = root
	for _, kv := range os.Environ() { // without what make test hands on
		if !strings.HasPrefix(kv, "MAKE") && !strings.HasPrefix(kv, "MFLAGS=") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(bin, "linux-"+runtime.GOARCH)
}

// within waits until a program's usage is within its budget.
func within(t *testing.T, b budget.Program, s *server, apiServer uint16) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Second) {
		u, err := usageOf(s.Pid())
		if err != nil {
			t.Fatal(err)
		}
		problem := over(b, u, apiServer)
		if problem == "" { // asking costs memory
			goroutines, err := s.metric("go_goroutines", "")
			if err != nil {
				t.Fatal(err)
			}
			if goroutines <= b.Goroutines {
				t.Logf("RSS %.1f MiB, %v goroutines, %d threads, %d connections, %d netlink sockets",
					u.RSS/budget.MiB, goroutines, u.Threads, u.to(apiServer), u.Netlink)
				return
			}
			problem = fmt.Sprintf("%v goroutines, want %v at most", goroutines, b.Goroutines)
		}
		if time.Now().After(end) {
			t.Fatalf("after %v: %s; the budget is in hack/bench/budget", patience, problem)
		}
	}
}

// to counts the connections to a port.
func (u usage) to(port uint16) int {
	n := 0
	for _, p := range u.Connections {
		if p == port {
			n++
		}
	}
	return n
}

// over says what is over the budget.
func over(b budget.Program, u usage, apiServer uint16) string {
	for _, part := range []struct {
		what        string
		value, most float64
	}{
		{"MiB of RSS", u.RSS / budget.MiB, b.RSS / budget.MiB},
		{"threads", float64(u.Threads), b.Threads},
		{"connections to the API server", float64(u.to(apiServer)), b.Connections},
		{"netlink sockets", float64(u.Netlink), b.Netlink},
	} {
		if part.value > part.most {
			return fmt.Sprintf("%.4v %s, want %v at most", part.value, part.what, part.most)
		}
	}
	return ""
}

func TestOver(t *testing.T) {
	u := usage{RSS: 10, Threads: 1, Connections: []uint16{443, 80}, Netlink: 1}
	fits := budget.Program{RSS: 10, Threads: 1, Connections: 1, Netlink: 1}
	if problem := over(fits, u, 443); problem != "" {
		t.Errorf("within the budget: %s", problem)
	}
	for name, spoil := range map[string]func(*budget.Program){
		"RSS":         func(b *budget.Program) { b.RSS = 9 },
		"threads":     func(b *budget.Program) { b.Threads = 0 },
		"connections": func(b *budget.Program) { b.Connections = 0 },
		"netlink":     func(b *budget.Program) { b.Netlink = 0 },
	} {
		b := fits
		spoil(&b)
		if over(b, u, 443) == "" {
			t.Errorf("%s over the budget: not noticed", name)
		}
	}
}
