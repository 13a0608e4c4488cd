// Command footprint measures what agent and coordinator take when nothing happens:
// sizes, memory, CPU, connections, calls, and how that grows with a node's ENIs.
// Run it with `make bench-footprint`.
package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

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
	result.Main("footprint", func(ctx context.Context, r *result.Result) (bool, error) {
		m := measurement{scope: whole}
		if err := m.measure(ctx, *programs); err != nil {
			return false, err
		}
		m.report(r)
		return true, nil
	})
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
	// Go forces a garbage collection every two minutes.
	watched: 2 * time.Minute,
	touches: 50, starts: 7,
}

// measurement is all that is found.
type measurement struct {
	scope
	agent, coordinator map[string]size // by architecture
	idle               map[string]idle // by node; "" is the coordinator
	starts             starts
}

func (m *measurement) measure(ctx context.Context, programs string) (err error) {
	if m.agent, err = sizes(programs, "eni-agent"); err != nil {
		return err
	}
	if m.coordinator, err = sizes(programs, "eni-coordinator"); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "aws-multi-eni-footprint-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if programs, err = filepath.Abs(filepath.Join(programs, "linux-"+runtime.GOARCH)); err != nil {
		return err
	}
	say("starting an API server, simulated EC2, a coordinator, and nodes with %v ENIs", m.growth)
	c, err := startCluster(ctx, programs, dir, m.growth)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	return m.running(ctx, c)
}

// running measures running programs, whose ENIs are Ready.
func (m *measurement) running(ctx context.Context, c *cluster) (err error) {
	say("watching them idle for %v, after %v to settle", m.watched, m.settle)
	if m.idle, err = c.watchIdle(ctx, m.settle, m.watched); err != nil {
		return err
	}
	say("touching each host %d times", m.touches)
	for node := range c.agents {
		i := m.idle[node]
		if i.pass, err = c.pass(ctx, node, m.touches); err != nil {
			return err
		}
		if i.report, err = c.reportSize(ctx, node); err != nil {
			return err
		}
		m.idle[node] = i
	}
	say("starting agents and coordinators %d times", m.scope.starts)
	m.starts, err = c.measureStarts(ctx, nodeWith(1), m.scope.starts)
	return err
}

// say tells what is being done, which takes minutes.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+" ...\n", args...) }

// architectures are those that are released.
var architectures = []string{"amd64", "arm64"}

// size is that of a program as it is released.
type size struct {
	binary, image float64
	modules       int // that it is made of
}

// sizes are those of a program in each linux-ARCH of the directory.
func sizes(dir, name string) (map[string]size, error) {
	all := map[string]size{}
	for _, arch := range architectures {
		path := filepath.Join(dir, "linux-"+arch, name)
		program, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("%w; make binaries builds it", err)
		}
		image, err := budget.ImageSize(name, program)
		if err != nil {
			return nil, err
		}
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all[arch] = size{float64(len(program)), image, len(info.Deps)}
	}
	return all, nil
}
