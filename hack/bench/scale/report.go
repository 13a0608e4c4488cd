package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
	"github.com/aws-multi-eni/aws-multi-eni/internal/fleet"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// The goals.
const (
	overBound          = 1.25 // times the bucket bound
	callsPerENI        = 4.5
	objectKiB          = 100.0
	describesPerSecond = 1.0 // of the coordinator, of 20 that EC2 gives an account
	// conflictsPerNode is far from a storm; where answers come in time there are
	// none.
	conflictsPerNode = 0.01
	// coordinatorMiB is for 1,000 nodes with two ENIs each.
	coordinatorMiB = 64.0
)

func report(r *result.Result, all []*figures) {
	for _, f := range all {
		if f.total() >= 1000 || len(all) == 1 {
			r.Figures = append(r.Figures, f.figures()...)
		}
	}
	r.Tables, r.Plots = tables(all), plots(all)
}

// figures are those that have a goal, and some beside them.
func (f *figures) figures() []result.Figure {
	var all []result.Figure
	name := result.Number(float64(f.nodes)) + " nodes"
	if f.enis > 1 {
		name += fmt.Sprintf(" with %d ENIs", f.enis)
	}
	add := func(what string, value float64, unit string, goal *float64, note string) {
		all = append(all, result.Figure{Name: name + ": " + what, Value: value, Unit: unit, Goal: goal, Note: note})
	}
	took := func(what string, o *outcome, note string) {
		seconds, bound := o.done.Seconds(), f.bound()
		if bound == 0 {
			add(what, seconds, "s", nil, note)
			return
		}
		add(what, seconds, "s", new(overBound*bound), fmt.Sprintf("%.2f times the bound of %s s%s", seconds/bound, result.Number(bound), note))
	}
	if o := f.outcomes[phaseLabel]; o != nil {
		took("from the label until all are ready", o, fmt.Sprintf("; nodes' median %.0f s, p99 %.0f s", o.quantile(.5), o.quantile(.99)))
		add("changing EC2 calls per ENI, throttled ones included", f.perENI(o, mutating), "", new(callsPerENI), "")
		add("all EC2 calls of agents per ENI, throttled ones included", f.perENI(o, byAgents), "", nil, "describes included")
		add("conflicts of NodeENIState writes per node", float64(o.api.Conflicts(kube.NodeENIStates))/float64(f.nodes), "", new(conflictsPerNode), "a node has one writer: only an answer that comes too late makes one")
		add("lists while ENIs came", float64(o.api.Sum(ofVerb("LIST"))), "", new(0.0), "")
		add("largest NodeENI", float64(f.reports.Largest(kube.NodeENIs))/1024, "KiB", new(objectKiB), "")
		add("largest NodeENIState", float64(f.reports.Largest(kube.NodeENIStates))/1024, "KiB", new(objectKiB), "")
	}
	if o := f.outcomes[phaseCold]; o != nil {
		took("from a cold start of all agents until all are ready", o, "")
		add("changing EC2 calls per ENI from a cold start, throttled ones included", f.perENI(o, mutating), "", new(callsPerENI), "")
	}
	if o := f.outcomes[phaseRoll]; o != nil {
		took("rolling replacement of all nodes", o, "")
		add("ENIs left behind by it", float64(o.left), "", new(0.0), "")
		add("describes of the coordinator while nodes came and went", o.describesPerSecond(), "/s", new(describesPerSecond), "throttled ones included")
	}
	if o := f.outcomes[phaseDelete]; o != nil {
		took("from the deletion of the NodeENI until all ENIs are gone", o, "")
		add("describes of the coordinator while ENIs went", o.describesPerSecond(), "/s", new(describesPerSecond), "throttled ones included")
	}
	if o := f.outcomes[phaseIdle]; o != nil {
		add("EC2 calls per node in an idle hour", round(float64(o.calls.Sum(byAgents))/float64(f.nodes)), "", new(1.0), "")
		add("writes to the API server in an idle hour", float64(o.api.Writes(written...)), "", new(0.0), "the Lease apart")
	}
	if f.restarts > 0 {
		add("coordinator ended and was started again", float64(f.restarts), "", nil, "it could not renew its Lease: the machine, or the API server, was too slow")
	}
	var memory *float64
	if f.nodes <= 1000 {
		memory = new(coordinatorMiB)
	}
	add("coordinator's memory at most", mebibytes(f.coordinator.Peak), "MiB", memory, "resident")
	return all
}

// tables have a row for each size, or for each size and phase that was measured.
func tables(all []*figures) []result.Table {
	times := result.Table{Title: "Time until all is done, in seconds", Columns: []string{
		"nodes", "bound", "label: all ready", "p50", "p99", "last label", "cold: all ready", "p50", "p99", "rolling", "delete",
	}}
	agents := result.Table{Title: "EC2 calls of the agents per ENI", Columns: []string{
		"nodes", "phase", "Create", "Attach", "Modify", "changing", "of them throttled", "describes", "of them throttled", "all",
	}}
	coordinator := result.Table{Title: "EC2 calls of the coordinator per ENI, from the deletion of the NodeENI", Columns: []string{
		"nodes", "Detach", "Delete", "of them throttled", "describes", "all",
	}}
	requests := result.Table{Title: "Requests to the API server from the label until all are ready", Columns: []string{
		"nodes", "LIST", "GET", "writes of NodeENIStates per node", "their conflicts", "NodeENI writes", "their conflicts",
		"Events per node", "all per node", "KiB per node", "watches now", "largest NodeENI", "largest NodeENIState",
	}}
	costs := result.Table{Title: "What it costs", Columns: []string{
		"nodes", "heap and stacks per agent", "goroutines per agent", "connections per agent: API", "EC2",
		"coordinator's memory at most", "its CPU: label", "delete", "API server's memory", "its CPU: label",
	}}
	for _, f := range all {
		times.Rows = append(times.Rows, f.times())
		costs.Rows = append(costs.Rows, f.costs())
		for _, p := range []phase{phaseLabel, phaseCold} {
			if o := f.outcomes[p]; o != nil {
				agents.Rows = append(agents.Rows, f.calls(o, []string{f.String(), string(p)},
					both(byAgents, action("Create")), both(byAgents, action("Attach")), both(byAgents, action("Modify")), mutating, both(mutating, throttled),
					describing, both(describing, throttled), byAgents))
			}
		}
		if o := f.outcomes[phaseDelete]; o != nil {
			coordinator.Rows = append(coordinator.Rows, f.calls(o, []string{f.String()},
				both(byCoordinator, action("Detach")), both(byCoordinator, action("Delete")), both(byCoordinator, both(fleet.Call.Mutating, throttled)), coordinatorDescribing, byCoordinator))
		}
		if o := f.outcomes[phaseLabel]; o != nil {
			requests.Rows = append(requests.Rows, f.requests(o))
		}
	}
	return []result.Table{times, agents, coordinator, requests, costs}
}

// of is a cell about a phase; what was not measured is absent.
func of(o *outcome, cell func(*outcome) string) string {
	if o == nil {
		return "–"
	}
	return cell(o)
}

func (f *figures) times() []string {
	label, cold, roll, deletion := f.outcomes[phaseLabel], f.outcomes[phaseCold], f.outcomes[phaseRoll], f.outcomes[phaseDelete]
	done := func(o *outcome) string {
		if f.bound() == 0 {
			return fmt.Sprintf("%.1f", o.done.Seconds())
		}
		return fmt.Sprintf("%.1f (%.2f×)", o.done.Seconds(), o.done.Seconds()/f.bound())
	}
	p50 := func(o *outcome) string { return fmt.Sprintf("%.1f", o.quantile(.5)) }
	p99 := func(o *outcome) string { return fmt.Sprintf("%.1f", o.quantile(.99)) }
	begun := func(o *outcome) string { return fmt.Sprintf("%.1f", o.begun.Seconds()) }
	return []string{
		f.String(), fmt.Sprintf("%.0f", f.bound()),
		of(label, done), of(label, p50), of(label, p99), of(label, begun),
		of(cold, done), of(cold, p50), of(cold, p99),
		of(roll, done), of(deletion, done),
	}
}

// calls adds calls to EC2 per ENI, of each of these kinds, to a row.
func (f *figures) calls(o *outcome, row []string, kinds ...func(fleet.Call) bool) []string {
	for _, kind := range kinds {
		row = append(row, fmt.Sprintf("%.2f", f.perENI(o, kind)))
	}
	return row
}

func (f *figures) requests(o *outcome) []string {
	perNode := func(n int) string { return fmt.Sprintf("%.2f", float64(n)/float64(f.nodes)) }
	kib := func(bytes int) string { return fmt.Sprintf("%.1f KiB", float64(bytes)/1024) }
	nodeENIs := []string{kube.NodeENIs, kube.NodeENIs + "/status"}
	before, after := f.agents.API, f.agentsReady.API
	bytes := after.Sent + after.Received - before.Sent - before.Received
	watches := 0
	for _, n := range o.api.Watches {
		watches += n
	}
	return []string{
		f.String(),
		strconv.Itoa(o.api.Sum(ofVerb("LIST"))), strconv.Itoa(o.api.Sum(ofVerb("GET"))),
		perNode(o.api.Writes(kube.NodeENIStates)), strconv.Itoa(o.api.Conflicts(kube.NodeENIStates)),
		strconv.Itoa(o.api.Writes(nodeENIs...)), strconv.Itoa(o.api.Conflicts(nodeENIs...)),
		perNode(o.api.Writes("events")), perNode(o.api.Sum(ours)),
		fmt.Sprintf("%.1f", float64(bytes)/1024/float64(f.nodes)), strconv.Itoa(watches),
		kib(f.reports.Largest(kube.NodeENIs)), kib(f.reports.Largest(kube.NodeENIStates)),
	}
}

func (f *figures) costs() []string {
	label, deletion := f.outcomes[phaseLabel], f.outcomes[phaseDelete]
	perAgent := func(format string, sum int64) string {
		return fmt.Sprintf(format, float64(sum)/float64(max(1, f.agentsReady.Agents)))
	}
	cpu := func(o *outcome) string { return fmt.Sprintf("%.1f s", o.cpu.Seconds()) }
	return []string{
		f.String(),
		perAgent("%.0f KiB", (f.agentsReady.Heap+f.agentsReady.Stacks)/1024),
		perAgent("%.0f", int64(f.agentsReady.Goroutines)),
		perAgent("%.2f", f.agentsReady.API.Open),
		perAgent("%.2f", f.agentsReady.EC2.Open),
		fmt.Sprintf("%.1f MiB", mebibytes(f.coordinator.Peak)), of(label, cpu), of(deletion, cpu),
		of(label, func(o *outcome) string { return fmt.Sprintf("%.0f MiB", mebibytes(o.api.RSS)) }),
		of(label, func(o *outcome) string { return fmt.Sprintf("%.0f s", o.api.CPU.Seconds()) }),
	}
}

// plots show the growth of fleets with one ENI per node.
func plots(all []*figures) []result.Plot {
	var nodes []string
	var took, bounds, changing, goals []float64
	for _, f := range all {
		if o := f.outcomes[phaseLabel]; o != nil && f.enis == 1 {
			nodes, took, bounds = append(nodes, f.String()), append(took, o.done.Seconds()), append(bounds, f.bound())
			changing, goals = append(changing, f.perENI(o, mutating)), append(goals, callsPerENI)
		}
	}
	if len(nodes) == 0 {
		return nil
	}
	const label = "nodes, one ENI each"
	return []result.Plot{
		{Title: "Until all nodes are ready", XLabel: label, YLabel: "s", Categories: nodes, Series: []result.Series{
			{Name: "from the label", Y: took}, {Name: "what EC2's bucket allows", Y: bounds, Line: true},
		}},
		{Title: "EC2 calls per ENI, from the label", XLabel: label, YLabel: "calls per ENI", Categories: nodes, Series: []result.Series{
			{Name: "changing calls, throttled ones included", Y: changing}, {Name: "goal", Y: goals, Line: true},
		}},
	}
}

func (f *figures) perENI(o *outcome, match func(fleet.Call) bool) float64 {
	return float64(o.calls.Sum(match)) / float64(f.total())
}

// describesPerSecond are those of the coordinator.
func (o *outcome) describesPerSecond() float64 {
	return round(float64(o.calls.Sum(coordinatorDescribing)) / o.took.Seconds())
}

// quantile of the nodes' times in seconds.
func (o *outcome) quantile(q float64) float64 { return result.Quantile(o.times, q).Seconds() }

func round(v float64) float64 { return float64(int64(v*100+.5)) / 100 }

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// Kinds of calls to EC2.
func byAgents(c fleet.Call) bool              { return !c.Coordinator }
func mutating(c fleet.Call) bool              { return !c.Coordinator && c.Mutating() }
func describing(c fleet.Call) bool            { return !c.Coordinator && !c.Mutating() }
func byCoordinator(c fleet.Call) bool         { return c.Coordinator }
func coordinatorDescribing(c fleet.Call) bool { return c.Coordinator && !c.Mutating() }
func throttled(c fleet.Call) bool             { return c.Throttled }

// action is one with a network interface, or with an attribute of it.
func action(verb string) func(fleet.Call) bool {
	return func(c fleet.Call) bool { return strings.HasPrefix(c.Action, verb+"NetworkInterface") }
}

func both(a, b func(fleet.Call) bool) func(fleet.Call) bool {
	return func(c fleet.Call) bool { return a(c) && b(c) }
}

// written is what agents and coordinator write.
var written = []string{kube.NodeENIs, kube.NodeENIs + "/status", kube.NodeENIStates, "events"}

// ours are requests of agents and coordinator; Nodes are written by this program only.
func ours(r fleet.Request) bool {
	return slices.Contains(written, r.Resource) || r.Resource == kube.Nodes && !r.Writes()
}

func ofVerb(verb string) func(fleet.Request) bool {
	return func(r fleet.Request) bool { return r.Verb == verb && ours(r) }
}
