// Command footprint measures what agent and coordinator take when nothing happens:
// sizes, memory, CPU, connections, calls, and how that grows with a node's ENIs.
// Run it with `make bench-footprint`.
package main

import (
	"debug/buildinfo"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/budget"
	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

func main() {
	if err := netns.Elevate(netns.Elevation{}); err != nil {
		fmt.Fprintln(os.Stderr, "footprint:", err)
		os.Exit(1)
	}
	m := measurement{
		growth: []int{0, 1, 3, 7, budget.ManyENIs},
		settle: 100 * time.Second, // the SDK closes a connection that is idle for 90 s
		// Go forces a garbage collection every two minutes.
		watched: 2 * time.Minute,
		touches: 50, starts: 7,
	}
	result.Main("footprint", false, func(b *result.Bench, r *result.Result) {
		m.agent, m.coordinator, m.plugin = sizes(b, "eni-agent"), sizes(b, "eni-coordinator"), sizes(b, "eni-cni")
		m.measure(startCluster(b, "bin/linux-"+runtime.GOARCH, m.growth))
		m.report(r)
	})
}

// measurement is how much is measured, and all that is found.
type measurement struct {
	growth          []int // ENIs that nodes have: 1 and ManyENIs are among them
	settle, watched time.Duration
	touches         int // of each host
	starts          int // of agents and coordinators

	agent, coordinator, plugin map[string]size // by architecture

	idle  map[string]idle // by server
	times starts
}

func (m *measurement) measure(c *cluster) {
	c.Say("watching them idle for %v, after %v to settle ...", m.watched, m.settle)
	m.idle = c.watchIdle(m.settle, m.watched)
	c.Say("touching each host %d times ...", m.touches)
	for _, enis := range m.growth {
		node := nodeWith(enis)
		i := m.idle[node]
		i.pass, i.report = c.pass(node, m.touches), c.reportSize(node)
		m.idle[node] = i
	}
	c.Say("starting agents and coordinators %d times ...", m.starts)
	m.times = c.measureStarts(nodeWith(1), m.starts)
}

var architectures = []string{"amd64", "arm64"}

type size struct {
	binary, image float64
	modules       int // that it is made of
}

// sizes are those of a program for each architecture, where make binaries puts it.
func sizes(b *result.Bench, name string) map[string]size {
	all := map[string]size{}
	for _, arch := range architectures {
		path := filepath.Join("bin", "linux-"+arch, name)
		program, err := os.ReadFile(path)
		b.Must(err)
		image, err := budget.ImageSize(name, program)
		b.Must(err)
		info, err := buildinfo.ReadFile(path)
		b.Must(err)
		all[arch] = size{float64(len(program)), image, len(info.Deps)}
	}
	return all
}

func (m *measurement) report(r *result.Result) {
	one, many, leader := m.idle[nodeWith(1)], m.idle[nodeWith(budget.ManyENIs)], m.idle[coordinator]
	r.Figures = slices.Concat(
		programFigures("agent", budget.Agent, m.agent, one),
		[]result.Figure{
			{Name: "agent, CPU in an idle minute", Value: ms(one.cpu), Unit: "ms"},
			{Name: "agent, wake-ups in an idle minute", Value: math.Round(one.wakeUps), Note: "Of all its threads."},
			{Name: "agent, bytes on the wire in an idle minute", Value: math.Round(one.received + one.sent), Unit: "B", Note: "Both ways, with the headers of Ethernet, IP and TCP."},
			{Name: "agent with 15 ENIs, more RSS than with one", Value: max(0, many.usage.RSS-one.usage.RSS) / budget.MiB, Unit: "MiB", Goal: new(budget.ManyENIsRSS / budget.MiB)},
			{Name: "agent with 15 ENIs, EC2 calls in an idle minute", Value: many.calls, Goal: new(budget.Agent.EC2Calls), Note: "There is one in an hour."},
			{Name: "agent with 15 ENIs, its NodeENIState", Value: float64(many.report) / 1e3, Unit: "kB", Goal: new(budget.BytesPerReport / 1e3)},
			{Name: "agent, restart to ready", Value: median(m.times.agentReady), Unit: "s"},
			{Name: "agent, start on a new node to the first ENI Ready", Value: median(m.times.firstReady), Unit: "s", Note: "EC2's own, simulated time is in it."},
		},
		programFigures("coordinator", budget.Coordinator, m.coordinator, leader),
		[]result.Figure{
			{Name: "coordinator, CPU in an idle minute", Value: ms(leader.cpu), Unit: "ms", Note: "It renews its Lease every few seconds."},
			{Name: "coordinator, start to leading", Value: median(m.times.coordinator), Unit: "s", Note: "When its forerunner has given the Lease back."},
		},
		sizeFigures("CNI plugin", budget.Plugin, m.plugin))
	r.Tables = []result.Table{m.sizeTable(), idleTable(one, leader, len(m.growth)), m.growthTable(), m.startTable()}
}

// programFigures are those with a budget.
func programFigures(name string, b budget.Program, sizes map[string]size, i idle) []result.Figure {
	return append(sizeFigures(name, b, sizes), []result.Figure{
		{Name: name + ", RSS when idle", Value: i.usage.RSS / budget.MiB, Unit: "MiB", Goal: new(b.RSS / budget.MiB)},
		{Name: name + ", goroutines", Value: i.goroutines, Goal: &b.Goroutines, Note: "Those that answer the question are among them."},
		{Name: name + ", threads", Value: float64(i.usage.Threads), Goal: &b.Threads},
		{Name: name + ", TCP connections", Value: float64(len(i.usage.Connections)), Goal: &b.Connections, Note: "To the API server; those to EC2 and IMDS are closed when they are not used."},
		{Name: name + ", EC2 calls in an idle minute", Value: i.calls, Goal: &b.EC2Calls},
	}...)
}

// sizeFigures are of layers where an image has several: the agent's has the plugin, too.
func sizeFigures(name string, b budget.Program, sizes map[string]size) []result.Figure {
	var larger size // of both architectures
	for _, s := range sizes {
		larger.binary, larger.image = max(larger.binary, s.binary), max(larger.image, s.image)
	}
	return []result.Figure{
		{Name: name + ", binary", Value: larger.binary / budget.MB, Unit: "MB", Goal: new(b.Binary / budget.MB)},
		{Name: name + ", image, compressed", Value: larger.image / budget.MB, Unit: "MB", Goal: new(b.Image / budget.MB)},
	}
}

func (m *measurement) sizeTable() result.Table {
	t := result.Table{Title: "Sizes", Columns: []string{"program", "architecture", "binary", "image", "modules"}}
	mb := func(n float64) string { return fmt.Sprintf("%.2f MB", n/budget.MB) }
	for i, sizes := range []map[string]size{m.agent, m.coordinator, m.plugin} {
		for _, arch := range architectures {
			s := sizes[arch]
			t.Rows = append(t.Rows, []string{[]string{"agent", "coordinator", "CNI plugin"}[i], arch, mb(s.binary), mb(s.image), strconv.Itoa(s.modules)})
		}
	}
	return t
}

func idleTable(agent, coordinator idle, nodes int) result.Table {
	t := result.Table{Title: "Idle", Columns: []string{"figure", "agent, 1 ENI", fmt.Sprintf("coordinator, %d nodes", nodes)}}
	add := func(what string, of func(idle) string) {
		t.Rows = append(t.Rows, []string{what, of(agent), of(coordinator)})
	}
	add("RSS", func(i idle) string { return mib(i.usage.RSS) })
	add("PSS", func(i idle) string { return mib(i.usage.PSS) })
	add("heap in use", func(i idle) string { return mib(i.heap) })
	add("goroutines", func(i idle) string { return count(i.goroutines) })
	add("threads", func(i idle) string { return strconv.Itoa(i.usage.Threads) })
	add("open files", func(i idle) string { return strconv.Itoa(i.usage.Files) })
	add("TCP connections", func(i idle) string { return strconv.Itoa(len(i.usage.Connections)) })
	add("netlink sockets", func(i idle) string { return strconv.Itoa(i.usage.Netlink) })
	add("CPU in a minute", func(i idle) string { return fmt.Sprintf("%.1f ms", ms(i.cpu)) })
	add("wake-ups in a minute", func(i idle) string { return count(i.wakeUps) })
	add("EC2 calls in a minute", func(i idle) string { return count(i.calls) })
	return t
}

func (m *measurement) growthTable() result.Table {
	t := result.Table{Title: "Growth with the ENIs of a node", Columns: []string{
		"ENIs", "RSS", "heap in use", "goroutines", "CPU in an idle minute", "received", "sent", "EC2 calls in an idle minute", "CPU of a pass", "NodeENIState",
	}}
	for _, enis := range m.growth {
		i := m.idle[nodeWith(enis)]
		report := "none" // of a node that never had an ENI
		if i.report > 0 {
			report = strconv.Itoa(i.report) + " B"
		}
		t.Rows = append(t.Rows, []string{
			strconv.Itoa(enis), mib(i.usage.RSS), mib(i.heap), count(i.goroutines), fmt.Sprintf("%.1f ms", ms(i.cpu)),
			count(i.received) + " B", count(i.sent) + " B", count(i.calls), fmt.Sprintf("%.2f ms", ms(i.pass)), report,
		})
	}
	return t
}

func (m *measurement) startTable() result.Table {
	t := result.Table{Title: "Starts", Columns: []string{"from exec to", "fastest", "median", "slowest"}}
	add := func(what string, times []time.Duration) {
		row := []string{what}
		for _, part := range []float64{0, .5, 1} {
			row = append(row, fmt.Sprintf("%.0f ms", ms(result.Quantile(times, part))))
		}
		t.Rows = append(t.Rows, row)
	}
	add("the agent is ready, on a node with one ENI", m.times.agentReady)
	add("it knows that this ENI is Ready", m.times.agentKnown)
	add("the first ENI of a new node is Ready", m.times.firstReady)
	add("the coordinator leads", m.times.coordinator)
	return t
}

func median(times []time.Duration) float64 { return result.Quantile(times, .5).Seconds() }
func ms(d time.Duration) float64           { return float64(d) / float64(time.Millisecond) }
func mib(n float64) string                 { return fmt.Sprintf("%.1f MiB", n/budget.MiB) }
func count(n float64) string               { return strconv.Itoa(int(math.Round(n))) }
