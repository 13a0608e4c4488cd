// Command footprint measures what agent and coordinator take when nothing happens:
// sizes, memory, CPU, connections, calls, and how that grows with a node's ENIs.
// Run it with `make bench-footprint`.
package main

import (
	"debug/buildinfo"
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
	result.Main("footprint", func(t result.Bench, r *result.Result) bool {
		m := measurement{scope: whole, agent: sizes(t, *programs, "eni-agent"), coordinator: sizes(t, *programs, "eni-coordinator")}
		dir, err := os.MkdirTemp("", "aws-multi-eni-footprint-")
		t.Must(err)
		t.Cleanup(func() { os.RemoveAll(dir) })
		native, err := filepath.Abs(filepath.Join(*programs, "linux-"+runtime.GOARCH))
		t.Must(err)
		say("starting an API server, simulated EC2, a coordinator, and nodes with %v ENIs", m.growth)
		m.measure(startCluster(t, native, dir, m.growth))
		m.report(r)
		return true
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
	times              starts
}

// measure measures running programs, whose ENIs are Ready.
func (m *measurement) measure(c *cluster) {
	say("watching them idle for %v, after %v to settle", m.watched, m.settle)
	m.idle = c.watchIdle(m.settle, m.watched)
	say("touching each host %d times", m.touches)
	for node := range c.agents {
		i := m.idle[node]
		i.pass, i.report = c.pass(node, m.touches), c.reportSize(node)
		m.idle[node] = i
	}
	say("starting agents and coordinators %d times", m.starts)
	m.times = c.measureStarts(nodeWith(1), m.starts)
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

// sizes are those of a program in each linux-ARCH of the directory, which make
// binaries fills.
func sizes(t result.Bench, dir, name string) map[string]size {
	all := map[string]size{}
	for _, arch := range architectures {
		path := filepath.Join(dir, "linux-"+arch, name)
		program, err := os.ReadFile(path)
		t.Must(err)
		image, err := budget.ImageSize(name, program)
		t.Must(err)
		info, err := buildinfo.ReadFile(path)
		t.Must(err)
		all[arch] = size{float64(len(program)), image, len(info.Deps)}
	}
	return all
}
