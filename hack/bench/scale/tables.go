package main

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
	"github.com/aws-multi-eni/aws-multi-eni/internal/fleet"
)

// row is what a row of a table is about.
type row struct {
	*figures
	phase    phase
	*outcome // nil if the table is about all phases
}

type column struct {
	title string
	cell  func(row) string
}

// table has a row for each size, or for each size and phase that was measured.
func table(title string, all []*figures, about []phase, columns ...column) result.Table {
	t := result.Table{Title: title}
	var rows []row
	for _, f := range all {
		if about == nil {
			rows = append(rows, row{f, "", nil})
		}
		for _, p := range about {
			if o := f.outcomes[p]; o != nil {
				rows = append(rows, row{f, p, o})
			}
		}
	}
	for _, c := range slices.Concat([]column{{"nodes", func(r row) string { return r.size.String() }}}, columns) {
		t.Columns = append(t.Columns, c.title)
		for i, r := range rows {
			if len(t.Rows) <= i {
				t.Rows = append(t.Rows, nil)
			}
			t.Rows[i] = append(t.Rows[i], c.cell(r))
		}
	}
	return t
}

// in is a column about one phase; what was not measured is absent.
func in(p phase, title string, cell func(row) string) column {
	return column{title, func(r row) string {
		if r.outcome = r.outcomes[p]; r.outcome == nil {
			return "–"
		}
		return cell(r)
	}}
}

// done is the time until everything was as it should be, and how many times the bound
// that is.
func done(r row) string {
	if r.bound() == 0 {
		return fmt.Sprintf("%.1f", r.done.Seconds())
	}
	return fmt.Sprintf("%.1f (%.2f×)", r.done.Seconds(), r.done.Seconds()/r.bound())
}

func quantile(q float64) func(row) string {
	return func(r row) string { return fmt.Sprintf("%.1f", r.quantile(q)) }
}

// calls is a column of calls to EC2 per ENI.
func calls(title string, match func(fleet.Call) bool) column {
	return column{title, func(r row) string { return fmt.Sprintf("%.2f", r.perENI(r.outcome, match)) }}
}

func action(name string) func(fleet.Call) bool {
	return func(c fleet.Call) bool { return c.Action == name+"NetworkInterface" }
}

func both(a, b func(fleet.Call) bool) func(fleet.Call) bool {
	return func(c fleet.Call) bool { return a(c) && b(c) }
}

func throttled(c fleet.Call) bool     { return c.Throttled }
func byCoordinator(c fleet.Call) bool { return c.Coordinator }

// requests is a column of requests to the API server, per node if it says so.
func requests(title string, perNode bool, match func(fleet.Request) bool) column {
	return column{title, func(r row) string {
		n := r.api.Sum(match)
		if perNode {
			return fmt.Sprintf("%.2f", float64(n)/float64(r.nodes))
		}
		return strconv.Itoa(n)
	}}
}

func writeOf(resources ...string) func(fleet.Request) bool {
	return func(r fleet.Request) bool { return slices.Contains(resources, r.Resource) && r.Writes() }
}

func tables(all []*figures) []result.Table {
	coordinator := func(match func(fleet.Call) bool) func(fleet.Call) bool { return both(byCoordinator, match) }
	return []result.Table{
		table("Time until all is done, in seconds", all, nil,
			column{"bound", func(r row) string { return fmt.Sprintf("%.0f", r.bound()) }},
			in(phaseLabel, "label: all ready", done), in(phaseLabel, "p50", quantile(.5)), in(phaseLabel, "p99", quantile(.99)),
			in(phaseLabel, "last label", func(r row) string { return fmt.Sprintf("%.1f", r.begun.Seconds()) }),
			in(phaseCold, "cold: all ready", done), in(phaseCold, "p50", quantile(.5)), in(phaseCold, "p99", quantile(.99)),
			in(phaseRoll, "rolling", done), in(phaseDelete, "delete", done)),
		table("EC2 calls of the agents per ENI", all, []phase{phaseLabel, phaseCold},
			column{"phase", func(r row) string { return string(r.phase) }},
			calls("Create", both(byAgents, action("Create"))), calls("Attach", both(byAgents, action("Attach"))),
			calls("Modify", both(byAgents, func(c fleet.Call) bool { return c.Action == "ModifyNetworkInterfaceAttribute" })),
			calls("changing", mutating), calls("of them throttled", both(mutating, throttled)),
			calls("describes", describing), calls("of them throttled", both(describing, throttled)), calls("all", byAgents)),
		table("EC2 calls of the coordinator per ENI, from the deletion of the NodeENI", all, []phase{phaseDelete},
			calls("Detach", coordinator(action("Detach"))), calls("Delete", coordinator(action("Delete"))),
			calls("of them throttled", coordinator(both(fleet.Call.Mutating, throttled))),
			calls("describes", coordinator(func(c fleet.Call) bool { return !c.Mutating() })), calls("all", byCoordinator)),
		requestTable(all), costTable(all),
	}
}

func requestTable(all []*figures) result.Table {
	kib := func(bytes int64) string { return fmt.Sprintf("%.1f KiB", float64(bytes)/1024) }
	return table("Requests to the API server from the label until all are ready", all, []phase{phaseLabel},
		requests("LIST", false, ofVerb("LIST")),
		column{"GET", func(r row) string { return strconv.Itoa(r.api.Sum(ofVerb("GET")) - r.gets) }},
		requests("writes of NodeENIStates per node", true, writeOf("nodeenistates")),
		requests("their conflicts", false, conflictOf("nodeenistates")),
		requests("NodeENI writes", false, writeOf("nodeenis", "nodeenis/status")),
		requests("their conflicts", false, conflictOf("nodeenis", "nodeenis/status")),
		requests("Events per node", true, writeOf("events")),
		column{"all per node", func(r row) string { return fmt.Sprintf("%.2f", r.requestsPerNode(r.outcome)) }},
		column{"KiB per node", func(r row) string {
			before, after := r.agents.API, r.agentsReady.API
			return fmt.Sprintf("%.1f", float64(after.Sent+after.Received-before.Sent-before.Received)/1024/float64(r.nodes))
		}},
		column{"watches now", func(r row) string {
			watches := 0
			for _, n := range r.api.Watches {
				watches += n
			}
			return strconv.Itoa(watches)
		}},
		column{"largest NodeENI", func(r row) string { return kib(r.largestNodeENI.Load()) }},
		column{"largest NodeENIState", func(r row) string { return kib(int64(r.largestState)) }})
}

func costTable(all []*figures) result.Table {
	perAgent := func(title, format string, of func(fleet.Stats) float64) column {
		return column{title, func(r row) string {
			stats := r.agentsReady
			if stats.Agents == 0 {
				stats = r.agents
			}
			return fmt.Sprintf(format, of(stats)/float64(max(1, stats.Agents)))
		}}
	}
	cpu := func(r row) string { return fmt.Sprintf("%.1f s", r.outcome.coordinator.CPU.Seconds()) }
	return table("What it costs", all, nil,
		perAgent("heap and stacks per agent", "%.0f KiB", func(s fleet.Stats) float64 { return float64(s.Heap+s.Stacks) / 1024 }),
		perAgent("goroutines per agent", "%.0f", func(s fleet.Stats) float64 { return float64(s.Goroutines) }),
		perAgent("connections per agent: API", "%.2f", func(s fleet.Stats) float64 { return float64(s.API.Open) }),
		perAgent("EC2", "%.2f", func(s fleet.Stats) float64 { return float64(s.EC2.Open) }),
		column{"coordinator's memory at most", func(r row) string {
			peak, _ := r.figures.coordinator()
			return fmt.Sprintf("%.1f MiB", peak)
		}},
		in(phaseLabel, "its CPU: label", cpu), in(phaseDelete, "delete", cpu),
		in(phaseLabel, "API server's memory", func(r row) string { return fmt.Sprintf("%.0f MiB", mebibytes(r.api.RSS)) }),
		in(phaseLabel, "its CPU: label", func(r row) string { return fmt.Sprintf("%.0f s", r.api.CPU.Seconds()) }))
}

// plots show the growth of fleets with one ENI per node.
func plots(all []*figures) []result.Plot {
	growth := slices.DeleteFunc(slices.Clone(all), func(f *figures) bool { return f.enis != 1 || f.outcomes[phaseLabel] == nil })
	if len(growth) < 2 {
		return nil
	}
	slices.SortFunc(growth, func(a, b *figures) int { return a.nodes - b.nodes })
	plot := func(title, unit, bars, line string, bar, limit func(*figures, *outcome) float64) result.Plot {
		p := result.Plot{Title: title, XLabel: "nodes, one ENI each", YLabel: unit, Series: []result.Series{{Name: bars}, {Name: line, Line: true}}}
		for _, f := range growth {
			o := f.outcomes[phaseLabel]
			p.Categories = append(p.Categories, strconv.Itoa(f.nodes))
			p.Series[0].Y, p.Series[1].Y = append(p.Series[0].Y, bar(f, o)), append(p.Series[1].Y, limit(f, o))
		}
		return p
	}
	return []result.Plot{
		plot("Until all nodes are ready", "s", "from the label", "what EC2's bucket allows",
			func(_ *figures, o *outcome) float64 { return o.done.Seconds() },
			func(f *figures, _ *outcome) float64 { return f.bound() }),
		plot("EC2 calls per ENI, from the label", "calls per ENI", "changing calls, throttled ones included", "goal",
			func(f *figures, o *outcome) float64 { return f.perENI(o, mutating) },
			func(*figures, *outcome) float64 { return callsPerENI }),
	}
}
