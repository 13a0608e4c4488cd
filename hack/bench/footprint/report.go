package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/budget"
	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/proc"
	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

var how = []string{
	`Programs as they are released: static, stripped, built by ` + "`make binaries`" + `. An image
holds its program and nothing else (FROM scratch), so its size to be pulled is the program in a
tar archive through gzip, as it is computed here; index, manifest and configuration add about 2 kB.
What an image tool writes may differ by a few per cent, as its gzip does.`,

	`Agents run in network namespaces of their own with one capability, as in their pod, against a
real API server; EC2 and IMDS are simulated. Each node has so many ENIs with addresses, routing tables
and rules, and there are 15 NodeENIs whether a node wants them or not. The instance type is invented:
of EC2's, few take 15 ENIs, and an agent does nothing that depends on the type but for that number. After everything is Ready nobody
touches anything for 100 s, until idle connections are closed; the following two minutes are what
*idle* means here, so that one of the collections that Go forces every two minutes is in them.`,

	`RSS and PSS are the kernel's (smaps_rollup); most of RSS is the program itself, whose pages agents
do not share across nodes. CPU is the run time of all threads (schedstat). Wake-ups are the times that a
thread slept and was woken (voluntary context switches). Bytes on the wire are those of the node's
primary link: the API server's watches and nothing else.`,

	`Starts are timed from exec, seven of each, medians. An agent's restart finds one ENI that is there. A new
node's first ENI takes EC2's own time as well: simulated, 0.3 s for each of create, attach and
modify, 0.06 s for a describe, 0.7 s from attach to the link.`,
}

// report fills in the result.
func (m *measurement) report(r *result.Result) {
	r.How = how
	one, many, coordinator := m.idle[nodeWith(1)], m.idle[nodeWith(budget.ManyENIs)], m.idle[""]
	r.Figures = append(r.Figures, programFigures("agent", budget.Agent, m.agent, one)...)
	r.Figures = append(r.Figures,
		result.Figure{Name: "agent, CPU in an idle minute", Value: ms(one.cpu), Unit: "ms"},
		result.Figure{Name: "agent, wake-ups in an idle minute", Value: math.Round(one.wakeUps), Note: "Of all its threads."},
		result.Figure{Name: "agent, bytes on the wire in an idle minute", Value: math.Round(one.received + one.sent), Unit: "B", Note: "Both ways, with the headers of Ethernet, IP and TCP."},
		result.Figure{Name: "agent with 15 ENIs, more RSS than with one", Value: max(0, float64(many.usage.RSS-one.usage.RSS)) / budget.MiB, Unit: "MiB", Goal: result.Goal(budget.ManyENIsRSS / budget.MiB)},
		result.Figure{Name: "agent with 15 ENIs, EC2 calls in an idle minute", Value: many.calls, Goal: result.Goal(budget.Agent.EC2Calls), Note: "There is one in an hour."},
		result.Figure{Name: "agent with 15 ENIs, its NodeENIState", Value: float64(m.reports[nodeWith(budget.ManyENIs)]) / 1e3, Unit: "kB", Goal: result.Goal(budget.BytesPerReport / 1e3)},
		result.Figure{Name: "agent, restart to ready", Value: median(m.times.agentReady).Seconds(), Unit: "s"},
		result.Figure{Name: "agent, start on a new node to the first ENI Ready", Value: median(m.times.firstReady).Seconds(), Unit: "s", Note: "EC2's own, simulated time is in it."},
	)
	r.Figures = append(r.Figures, programFigures("coordinator", budget.Coordinator, m.coordinator, coordinator)...)
	r.Figures = append(r.Figures,
		result.Figure{Name: "coordinator, CPU in an idle minute", Value: ms(coordinator.cpu), Unit: "ms", Note: "It renews its Lease every few seconds."},
		result.Figure{Name: "coordinator, start to leading", Value: median(m.times.coordinator).Seconds(), Unit: "s", Note: "When its forerunner has given the Lease back."},
	)
	r.Tables = []result.Table{m.sizeTable(), m.idleTable(), m.growthTable(), m.startTable()}
	r.Plots = []result.Plot{m.sizePlot(), m.memoryPlot()}
}

// programFigures are those with a budget.
func programFigures(name string, b budget.Program, sizes map[string]size, i idle) []result.Figure {
	var figures []result.Figure
	add := func(what string, value, goal float64, unit, note string) {
		figures = append(figures, result.Figure{Name: name + ", " + what, Value: value, Unit: unit, Goal: result.Goal(goal), Note: note})
	}
	// The larger of both architectures.
	binary, image := 0.0, 0.0
	for _, arch := range architectures {
		binary, image = max(binary, float64(sizes[arch].binary)), max(image, float64(sizes[arch].image))
	}
	add("binary", binary/budget.MB, b.Binary/budget.MB, "MB", "")
	add("image, compressed", image/budget.MB, b.Image/budget.MB, "MB", "")
	add("RSS when idle", float64(i.usage.RSS)/budget.MiB, b.RSS/budget.MiB, "MiB", "")
	add("goroutines", i.goroutines, b.Goroutines, "", "Those that answer the question are among them.")
	add("threads", float64(i.usage.Threads), b.Threads, "", "")
	add("TCP connections", float64(i.usage.Connections(0)), b.Connections, "", "To the API server; those to EC2 and IMDS are closed when they are not used.")
	add("EC2 calls in an idle minute", i.calls, b.EC2Calls, "", "")
	return figures
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func mb(n int64) string      { return fmt.Sprintf("%.2f MB", float64(n)/budget.MB) }
func mib(n float64) string   { return fmt.Sprintf("%.1f MiB", n/budget.MiB) }
func count(n float64) string { return strconv.Itoa(int(math.Round(n))) }

func (m *measurement) sizeTable() result.Table {
	t := result.Table{
		Title: "Sizes", Columns: []string{"program", "architecture", "binary", "image", "modules"},
		Note: "MB are 1,000,000 bytes. Modules are those of Go's that the program is made of, beside this one and the standard library.",
	}
	for _, p := range m.programs() {
		for _, arch := range architectures {
			s := p.sizes[arch]
			t.Rows = append(t.Rows, []string{p.name, arch, mb(s.binary), mb(s.image), count(float64(s.modules))})
		}
	}
	return t
}

type program struct {
	name  string
	sizes map[string]size
	idle  idle
}

func (m *measurement) programs() []program {
	return []program{
		{"agent", m.agent, m.idle[nodeWith(1)]},
		{"coordinator", m.coordinator, m.idle[""]},
	}
}

func (m *measurement) idleTable() result.Table {
	t := result.Table{Title: "Idle", Columns: []string{"", "agent, 1 ENI", "coordinator, " + count(float64(len(m.growth))) + " nodes"}}
	for _, line := range []struct {
		what string
		of   func(idle) string
	}{
		{"RSS", func(i idle) string { return mib(float64(i.usage.RSS)) }},
		{"PSS", func(i idle) string { return mib(float64(i.usage.PSS)) }},
		{"heap in use", func(i idle) string { return mib(i.heap) }},
		{"goroutines", func(i idle) string { return count(i.goroutines) }},
		{"threads", func(i idle) string { return count(float64(i.usage.Threads)) }},
		{"open files", func(i idle) string { return count(float64(i.usage.Files)) }},
		{"TCP connections", func(i idle) string { return count(float64(i.usage.Connections(0))) }},
		{"netlink sockets", func(i idle) string { return count(float64(i.usage.Count(proc.Netlink))) }},
		{"CPU in a minute", func(i idle) string { return fmt.Sprintf("%.1f ms", ms(i.cpu)) }},
		{"wake-ups in a minute", func(i idle) string { return count(i.wakeUps) }},
		{"EC2 calls in a minute", func(i idle) string { return count(i.calls) }},
	} {
		row := []string{line.what}
		for _, p := range m.programs() {
			row = append(row, line.of(p.idle))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func (m *measurement) growthTable() result.Table {
	t := result.Table{
		Title: "Growth with the ENIs of a node",
		Columns: []string{"ENIs", "RSS", "heap in use", "goroutines", "CPU in an idle minute", "received", "sent",
			"EC2 calls in an idle minute", "CPU of a pass", "NodeENIState"},
		Note: "A pass is a turn of the agent's loop after a change on the host: it reads links, addresses, rules and routes, compares them with what is wanted, and finds nothing to do. Bytes are those of an idle minute; the NodeENIState is as the API server hands it out, as JSON.",
	}
	for _, enis := range m.growth {
		i := m.idle[nodeWith(enis)]
		t.Rows = append(t.Rows, []string{
			count(float64(enis)), mib(float64(i.usage.RSS)), mib(i.heap), count(i.goroutines), fmt.Sprintf("%.1f ms", ms(i.cpu)),
			count(i.received) + " B", count(i.sent) + " B", count(i.calls),
			fmt.Sprintf("%.2f ms", ms(m.pass[nodeWith(enis)])), reportOf(m.reports[nodeWith(enis)]),
		})
	}
	return t
}

// reportOf is a size. A node that never had an ENI has no report.
func reportOf(bytes int) string {
	if bytes == 0 {
		return "none"
	}
	return strconv.Itoa(bytes) + " B"
}

func (m *measurement) startTable() result.Table {
	t := result.Table{Title: "Starts", Columns: []string{"from exec to", "fastest", "median", "slowest"}}
	for _, line := range []struct {
		what  string
		times []time.Duration
	}{
		{"the agent is ready, on a node with one ENI", m.times.agentReady},
		{"it knows that this ENI is Ready", m.times.agentKnown},
		{"the first ENI of a new node is Ready", m.times.firstReady},
		{"the coordinator leads", m.times.coordinator},
	} {
		row := []string{line.what}
		for _, d := range []time.Duration{slices.Min(line.times), median(line.times), slices.Max(line.times)} {
			row = append(row, fmt.Sprintf("%.0f ms", ms(d)))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func (m *measurement) sizePlot() result.Plot {
	p := result.Plot{File: "footprint-sizes.svg", Title: "Sizes of programs and of their images, amd64", YLabel: "MB", Kind: result.Bar}
	binary, image := result.Series{Name: "program"}, result.Series{Name: "image, compressed"}
	for _, of := range m.programs() {
		p.Categories = append(p.Categories, of.name)
		binary.Y = append(binary.Y, float64(of.sizes["amd64"].binary)/budget.MB)
		image.Y = append(image.Y, float64(of.sizes["amd64"].image)/budget.MB)
	}
	p.Series = []result.Series{binary, image}
	return p
}

func (m *measurement) memoryPlot() result.Plot {
	p := result.Plot{File: "footprint-memory.svg", Title: "Memory when idle", YLabel: "MiB", Kind: result.Bar}
	rss, heap := result.Series{Name: "RSS"}, result.Series{Name: "heap in use"}
	add := func(category string, i idle) {
		p.Categories = append(p.Categories, category)
		rss.Y = append(rss.Y, float64(i.usage.RSS)/budget.MiB)
		heap.Y = append(heap.Y, i.heap/budget.MiB)
	}
	for _, enis := range m.growth {
		plural := "s"
		if enis == 1 {
			plural = ""
		}
		add(fmt.Sprintf("agent, %d ENI%s", enis, plural), m.idle[nodeWith(enis)])
	}
	add("coordinator", m.idle[""])
	p.Series = []result.Series{rss, heap}
	return p
}
