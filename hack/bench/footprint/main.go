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

// growth are the numbers of ENIs that nodes have.
var growth = []int{0, 1, 3, 7, 15}

func nodeWith(enis int) string { return "enis-" + strconv.Itoa(enis) }

// measurement is all that is found.
type measurement struct {
	agent, coordinator map[string]size // by architecture
	idle               map[string]idle // by node; "" is the coordinator
	pass               map[string]time.Duration
	reports            map[string]int
	starts             starts
}

func measure(ctx context.Context, programs string) (m *measurement, err error) {
	m = &measurement{pass: map[string]time.Duration{}, reports: map[string]int{}}
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
	say("starting an API server, simulated EC2, a coordinator, and nodes with %v ENIs", growth)
	c, err := startCluster(ctx, programs, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	return m, m.inCluster(ctx, c)
}

// inCluster measures running programs.
func (m *measurement) inCluster(ctx context.Context, c *cluster) (err error) {
	for _, enis := range growth {
		if err := c.addNode(ctx, nodeWith(enis), enis); err != nil {
			return err
		}
		if _, err := c.startAgent(ctx, nodeWith(enis)); err != nil {
			return err
		}
	}
	if err := c.allReady(ctx); err != nil {
		return err
	}
	say("watching them idle for %v, after %v to settle", watched, settle)
	if m.idle, err = c.watchIdle(ctx, settle, watched); err != nil {
		return err
	}
	say("touching each host 50 times")
	for node := range c.agents {
		if m.pass[node], err = c.pass(ctx, node, 50); err != nil {
			return err
		}
		if m.reports[node], err = c.reportSize(ctx, node); err != nil {
			return err
		}
	}
	newNodes := []string{"new-1", "new-2", "new-3", "new-4", "new-5", "new-6", "new-7"}
	say("starting agents and coordinators %d times", len(newNodes))
	m.starts, err = c.measureStarts(ctx, nodeWith(1), newNodes)
	return err
}

// say tells what is being done, which takes minutes.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+" ...\n", args...) }
