package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/budget"
	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

// report fills in the result.
func (m *measurement) report(r *result.Result) {
	one, many, coordinator := m.idle[nodeWith(1)], m.idle[nodeWith(budget.ManyENIs)], m.idle[""]
	r.Figures = slices.Concat(
		programFigures("agent", budget.Agent, m.agent, one),
		[]result.Figure{
			{Name: "agent, CPU in an idle minute", Value: ms(one.cpu), Unit: "ms"},
			{Name: "agent, wake-ups in an idle minute", Value: math.Round(one.wakeUps), Note: "Of all its threads."},
			{Name: "agent, bytes on the wire in an idle minute", Value: math.Round(one.received + one.sent), Unit: "B", Note: "Both ways, with the headers of Ethernet, IP and TCP."},
			{Name: "agent with 15 ENIs, more RSS than with one", Value: max(0, many.usage.RSS-one.usage.RSS) / budget.MiB, Unit: "MiB", Goal: new(budget.ManyENIsRSS / budget.MiB)},
			{Name: "agent with 15 ENIs, EC2 calls in an idle minute", Value: many.calls, Goal: new(budget.Agent.EC2Calls), Note: "There is one in an hour."},
			{Name: "agent with 15 ENIs, its NodeENIState", Value: float64(many.report) / 1e3, Unit: "kB", Goal: new(budget.BytesPerReport / 1e3)},
			{Name: "agent, restart to ready", Value: median(m.times.agentReady).Seconds(), Unit: "s"},
			{Name: "agent, start on a new node to the first ENI Ready", Value: median(m.times.firstReady).Seconds(), Unit: "s", Note: "EC2's own, simulated time is in it."},
		},
		programFigures("coordinator", budget.Coordinator, m.coordinator, coordinator),
		[]result.Figure{
			{Name: "coordinator, CPU in an idle minute", Value: ms(coordinator.cpu), Unit: "ms", Note: "It renews its Lease every few seconds."},
			{Name: "coordinator, start to leading", Value: median(m.times.coordinator).Seconds(), Unit: "s", Note: "When its forerunner has given the Lease back."},
		})
	r.Tables = []result.Table{m.sizeTable(), m.idleTable(one, coordinator), m.growthTable(), m.startTable()}
}

// programFigures are those with a budget.
func programFigures(name string, b budget.Program, sizes map[string]size, i idle) []result.Figure {
	var figures []result.Figure
	add := func(what string, value, goal float64, unit, note string) {
		figures = append(figures, result.Figure{Name: name + ", " + what, Value: value, Unit: unit, Goal: &goal, Note: note})
	}
	// The larger of both architectures.
	binary, image := 0.0, 0.0
	for _, s := range sizes {
		binary, image = max(binary, s.binary), max(image, s.image)
	}
	add("binary", binary/budget.MB, b.Binary/budget.MB, "MB", "")
	add("image, compressed", image/budget.MB, b.Image/budget.MB, "MB", "")
	add("RSS when idle", i.usage.RSS/budget.MiB, b.RSS/budget.MiB, "MiB", "")
	add("goroutines", i.goroutines, b.Goroutines, "", "Those that answer the question are among them.")
	add("threads", float64(i.usage.Threads), b.Threads, "", "")
	add("TCP connections", float64(len(i.usage.Connections)), b.Connections, "", "To the API server; those to EC2 and IMDS are closed when they are not used.")
	add("EC2 calls in an idle minute", i.calls, b.EC2Calls, "", "")
	return figures
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func mb(n float64) string    { return fmt.Sprintf("%.2f MB", n/budget.MB) }
func mib(n float64) string   { return fmt.Sprintf("%.1f MiB", n/budget.MiB) }
func count(n float64) string { return strconv.Itoa(int(math.Round(n))) }

func (m *measurement) sizeTable() result.Table {
	t := result.Table{Title: "Sizes", Columns: []string{"program", "architecture", "binary", "image", "modules"}}
	for _, arch := range architectures {
		for name, s := range map[string]size{"agent": m.agent[arch], "coordinator": m.coordinator[arch]} {
			t.Rows = append(t.Rows, []string{name, arch, mb(s.binary), mb(s.image), strconv.Itoa(s.modules)})
		}
	}
	slices.SortFunc(t.Rows, slices.Compare)
	return t
}

func (m *measurement) idleTable(agent, coordinator idle) result.Table {
	t := result.Table{Title: "Idle", Columns: []string{"", "agent, 1 ENI", fmt.Sprintf("coordinator, %d nodes", len(m.growth))}}
	for _, line := range []struct {
		what string
		of   func(idle) string
	}{
		{"RSS", func(i idle) string { return mib(i.usage.RSS) }},
		{"PSS", func(i idle) string { return mib(i.usage.PSS) }},
		{"heap in use", func(i idle) string { return mib(i.heap) }},
		{"goroutines", func(i idle) string { return count(i.goroutines) }},
		{"threads", func(i idle) string { return strconv.Itoa(i.usage.Threads) }},
		{"open files", func(i idle) string { return strconv.Itoa(i.usage.Files) }},
		{"TCP connections", func(i idle) string { return strconv.Itoa(len(i.usage.Connections)) }},
		{"netlink sockets", func(i idle) string { return strconv.Itoa(i.usage.Netlink) }},
		{"CPU in a minute", func(i idle) string { return fmt.Sprintf("%.1f ms", ms(i.cpu)) }},
		{"wake-ups in a minute", func(i idle) string { return count(i.wakeUps) }},
		{"EC2 calls in a minute", func(i idle) string { return count(i.calls) }},
	} {
		t.Rows = append(t.Rows, []string{line.what, line.of(agent), line.of(coordinator)})
	}
	return t
}

func (m *measurement) growthTable() result.Table {
	t := result.Table{
		Title: "Growth with the ENIs of a node",
		Columns: []string{"ENIs", "RSS", "heap in use", "goroutines", "CPU in an idle minute", "received", "sent",
			"EC2 calls in an idle minute", "CPU of a pass", "NodeENIState"},
	}
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
