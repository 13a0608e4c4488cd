// Command footprint measures what agent and coordinator take when nothing happens:
// sizes, memory, CPU, connections, calls, and how that grows with a node's ENIs.
// Run it with `make bench-footprint`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"k8s.io/klog/v2"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/budget"
	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

func main() {
	programs := flag.String("programs", "bin", "directory with linux-ARCH/eni-agent and eni-coordinator, as make binaries fills it")
	flag.Parse()
	if err := netns.Elevate(netns.Elevation{}); err != nil {
		fmt.Fprintln(os.Stderr, "footprint:", err)
		os.Exit(1)
	}
	klog.SetSlogLogger(slog.New(slog.DiscardHandler)) // client-go's; errors are returned too
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, *programs)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "footprint:", err)
		os.Exit(1)
	}
}

// run measures, saves and prints. A size or a count over its budget is an error.
func run(ctx context.Context, programs string) error {
	r, err := result.New(ctx, "footprint", "Footprint")
	if err != nil {
		return err
	}
	m, err := measure(ctx, programs)
	if err != nil {
		return err
	}
	m.report(r)
	if err := r.Save(result.Dir); err != nil {
		return err
	}
	r.Print(os.Stdout)
	return r.Err()
}

// scope is how much is measured.
type scope struct {
	growth          []int // ENIs that nodes have: 1 and ManyENIs are among them
	settle, watched time.Duration
	touches         int // of each host
	starts          int // of agents and coordinators
}

var whole = scope{
	growth: []int{0, 1, 3, 7, budget.ManyENIs},
	settle: 100 * time.Second, // the SDK closes a connection that is idle for 90 s
	// So long are pauses between the collections of garbage that Go forces.
	watched: 2 * time.Minute,
	touches: 50, starts: 7,
}

func nodeWith(enis int) string { return "enis-" + strconv.Itoa(enis) }

// measurement is all that is found.
type measurement struct {
	scope
	agent, coordinator map[string]size // by architecture
	idle               map[string]idle // by node; "" is the coordinator
	pass               map[string]time.Duration
	reports            map[string]int
	times              starts
}

func measure(ctx context.Context, programs string) (m *measurement, err error) {
	m = newMeasurement(whole)
	if m.agent, err = measureSizes(programs, "eni-agent"); err != nil {
		return nil, err
	}
	if m.coordinator, err = measureSizes(programs, "eni-coordinator"); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "aws-multi-eni-footprint-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	programs, err = filepath.Abs(filepath.Join(programs, "linux-"+runtime.GOARCH))
	if err != nil {
		return nil, err
	}
	say("starting an API server, simulated EC2, a coordinator, and nodes with %v ENIs", m.growth)
	c, err := startCluster(ctx, programs, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	if err := c.addNodes(ctx, m.growth); err != nil {
		return nil, err
	}
	return m, m.running(ctx, c)
}

func newMeasurement(s scope) *measurement {
	return &measurement{scope: s, pass: map[string]time.Duration{}, reports: map[string]int{}}
}

// running measures running programs, whose ENIs are Ready.
func (m *measurement) running(ctx context.Context, c *cluster) (err error) {
	say("watching them idle for %v, after %v to settle", m.watched, m.settle)
	if m.idle, err = c.watchIdle(ctx, m.settle, m.watched); err != nil {
		return err
	}
	say("touching each host %d times", m.touches)
	for node := range c.agents {
		if m.pass[node], err = c.pass(ctx, node, m.touches); err != nil {
			return err
		}
		if m.reports[node], err = c.reportSize(ctx, node); err != nil {
			return err
		}
	}
	say("starting agents and coordinators %d times", m.scope.starts)
	m.times, err = c.measureStarts(ctx, nodeWith(1), m.scope.starts)
	return err
}

// say tells what is being done, which takes minutes.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+" ...\n", args...) }
