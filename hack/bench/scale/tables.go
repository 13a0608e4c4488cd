package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
	"github.com/aws-multi-eni/aws-multi-eni/internal/fleet"
)

// absent stands for what was not measured.
const absent = "–"

// overTheBound is a time and how many times the bound it is.
func overTheBound(took, bound float64) string {
	if bound == 0 {
		return fmt.Sprintf("%.1f", took)
	}
	return fmt.Sprintf("%.1f (%.2f×)", took, took/bound)
}

func timeTable(all []*figures) []result.Table {
	t := result.Table{
		Title:   "Time until all is done, in seconds",
		Columns: []string{"nodes", "bound", "label: all ready", "p50", "p99", "last label", "cold: all ready", "p50", "p99", "rolling", "delete"},
		Note:    "Bound: what the bucket of AttachNetworkInterface or DetachNetworkInterface allows, (ENIs − 50)/5. In parentheses: times the bound.",
	}
	for _, f := range all {
		bound := attachBound(f.total())
		row := []string{f.size.String(), fmt.Sprintf("%.0f", bound)}
		row = append(row, f.Label.times(bound)[:4]...)
		row = append(row, f.Cold.times(bound)[:3]...)
		roll, gone := absent, absent
		if f.Roll != nil {
			roll = overTheBound(f.Roll.Took.Seconds(), bound)
		}
		if f.Delete != nil {
			gone = overTheBound(f.Delete.Gone.Seconds(), bound)
		}
		t.Rows = append(t.Rows, append(row, roll, gone))
	}
	return []result.Table{t}
}

func (a *arrival) times(bound float64) []string {
	if a == nil {
		return []string{absent, absent, absent, absent}
	}
	return []string{
		overTheBound(a.last(), bound),
		fmt.Sprintf("%.1f", a.quantile(.5)), fmt.Sprintf("%.1f", a.quantile(.99)), fmt.Sprintf("%.1f", a.Begun.Seconds()),
	}
}

// callTable has a row for each phase in which agents call EC2 for ENIs.
func callTable(all []*figures) []result.Table {
	actions := []string{"CreateNetworkInterface", "AttachNetworkInterface", "ModifyNetworkInterfaceAttribute"}
	t := result.Table{
		Title:   "EC2 calls of the agents per ENI",
		Columns: []string{"nodes", "phase", "Create", "Attach", "Modify", "changing", "of them throttled", "describes", "of them throttled", "all"},
		Note:    "Throttled calls are among all numbers.",
	}
	for _, f := range all {
		for _, p := range []struct {
			name string
			*counts
		}{{"label", countsOf(f.Label)}, {"cold", countsOf(f.Cold)}} {
			if p.counts == nil {
				continue
			}
			row := []string{f.size.String(), p.name}
			per := func(match func(fleet.Call) bool) { row = append(row, fmt.Sprintf("%.2f", p.perENI(f.size, match))) }
			for _, action := range actions {
				per(func(c fleet.Call) bool { return byAgents(c) && c.Action == action })
			}
			per(mutating)
			per(func(c fleet.Call) bool { return mutating(c) && c.Throttled })
			per(describing)
			per(func(c fleet.Call) bool { return describing(c) && c.Throttled })
			per(byAgents)
			t.Rows = append(t.Rows, row)
		}
	}
	return []result.Table{t, removalTable(all)}
}

func countsOf(a *arrival) *counts {
	if a == nil {
		return nil
	}
	return &a.counts
}

func removalTable(all []*figures) result.Table {
	t := result.Table{
		Title:   "EC2 calls of the coordinator per ENI, from the deletion of the NodeENI",
		Columns: []string{"nodes", "Detach", "Delete", "of them throttled", "describes", "all"},
	}
	for _, f := range all {
		if f.Delete == nil {
			continue
		}
		row := []string{f.size.String()}
		per := func(match func(fleet.Call) bool) {
			row = append(row, fmt.Sprintf("%.2f", f.Delete.perENI(f.size, func(c fleet.Call) bool { return c.Coordinator && match(c) })))
		}
		per(func(c fleet.Call) bool { return c.Action == "DetachNetworkInterface" })
		per(func(c fleet.Call) bool { return c.Action == "DeleteNetworkInterface" })
		per(func(c fleet.Call) bool { return c.Mutating() && c.Throttled })
		per(func(c fleet.Call) bool { return !c.Mutating() })
		per(func(fleet.Call) bool { return true })
		t.Rows = append(t.Rows, row)
	}
	return t
}

func requestTables(all []*figures) []result.Table {
	t := result.Table{
		Title:   "Requests to the API server from the label until all are ready",
		Columns: []string{"nodes", "LIST", "GET", "writes of NodeENIStates per node", "their conflicts", "NodeENI writes", "their conflicts", "Events per node", "all per node", "KiB per node", "watches now", "largest NodeENI", "largest NodeENIState"},
		Note:    "KiB per node: what went over the agents' connections, both ways, TLS included. The label itself, and what this program asks for, are left out.",
	}
	for _, f := range all {
		if f.Label == nil {
			continue
		}
		api := f.Label.API
		per := func(n int) string { return fmt.Sprintf("%.2f", float64(n)/float64(f.nodes)) }
		number := func(n int) string { return fmt.Sprint(n) }
		wire := f.AgentsReady.API.Sent + f.AgentsReady.API.Received - f.Agents.API.Sent - f.Agents.API.Received
		watches := 0
		for _, n := range api.Watches {
			watches += n
		}
		t.Rows = append(t.Rows, []string{
			f.size.String(),
			number(api.Sum(ofVerb("LIST"))),
			number(api.Sum(ofVerb("GET")) - f.Label.OwnGets),
			per(api.Sum(func(r fleet.Request) bool { return r.Resource == "nodeenistates" && r.Writes() })),
			number(api.Sum(conflictOf("nodeenistates"))),
			number(api.Sum(func(r fleet.Request) bool {
				return strings.HasPrefix(r.Resource, "nodeenis") && r.Resource != "nodeenistates" && r.Writes()
			})),
			number(api.Sum(conflictOf("nodeenis")) + api.Sum(conflictOf("nodeenis/status"))),
			per(api.Sum(func(r fleet.Request) bool { return r.Resource == "events" && r.Writes() })),
			fmt.Sprintf("%.2f", f.Label.requestsPerNode(f.nodes)),
			fmt.Sprintf("%.1f", float64(wire)/1024/float64(f.nodes)),
			number(watches),
			fmt.Sprintf("%.1f KiB", float64(f.LargestNodeENI)/1024),
			fmt.Sprintf("%.1f KiB", float64(f.LargestState)/1024),
		})
	}
	return []result.Table{t}
}

// requestsPerNode are those of agents and coordinator.
func (c counts) requestsPerNode(nodes int) float64 {
	return float64(c.API.Sum(ours)-c.OwnGets) / float64(nodes)
}

func costTable(all []*figures) []result.Table {
	t := result.Table{
		Title:   "What it costs",
		Columns: []string{"nodes", "heap and stacks per agent", "goroutines per agent", "connections per agent: API", "EC2", "coordinator's memory at most", "its CPU: label", "delete", "API server's memory", "its CPU: label"},
		Note:    "Of agents with their ENIs ready; 1,000 of them share a process, whose own part weighs more in small fleets. Heap is what is in use after a collection, other memory is resident; CPU is time on this machine, for the whole phase. The API server's memory grows with its watches, three for each agent.",
	}
	for _, f := range all {
		a := f.AgentsReady
		if a.Agents == 0 {
			a = f.Agents
		}
		per := func(n int64) float64 { return float64(n) / float64(max(1, a.Agents)) }
		row := []string{
			f.size.String(),
			fmt.Sprintf("%.0f KiB", per(a.Heap+a.Stacks)/1024),
			fmt.Sprintf("%.0f", per(int64(a.Goroutines))),
			fmt.Sprintf("%.2f", per(a.API.Open)),
			fmt.Sprintf("%.2f", per(a.EC2.Open)),
			fmt.Sprintf("%.1f MiB", mebibytes(f.coordinatorPeak())),
		}
		label, gone, memory, cpu := absent, absent, absent, absent
		if f.Label != nil {
			label = fmt.Sprintf("%.1f s", f.Label.Coordinator.CPU.Seconds())
			memory = fmt.Sprintf("%.0f MiB", mebibytes(f.Label.API.RSS))
			cpu = fmt.Sprintf("%.0f s", f.Label.API.CPU.Seconds())
		}
		if f.Delete != nil {
			gone = fmt.Sprintf("%.1f s", f.Delete.Coordinator.CPU.Seconds())
		}
		t.Rows = append(t.Rows, append(row, label, gone, memory, cpu))
	}
	return []result.Table{t}
}

// requestsByResource has the requests of the largest fleet one by one.
func requestsByResource(all []*figures) []result.Table {
	var largest *figures
	for _, f := range all {
		if f.Label != nil && (largest == nil || f.total() > largest.total()) {
			largest = f
		}
	}
	if largest == nil {
		return nil
	}
	t := result.Table{
		Title:   "Requests to the API server at " + largest.nodesAndENIs() + ", from the label until all are ready",
		Columns: []string{"verb", "resource", "code", "requests", "per node"},
		Note:    "Everything that the API server counted: also the labels (PATCH nodes), and what this program asks for (some GETs of nodeenis, the metrics).",
	}
	order := func(a, b fleet.Request) int {
		return strings.Compare(a.Verb+" "+a.Resource+" "+a.Code, b.Verb+" "+b.Resource+" "+b.Code)
	}
	requests := largest.Label.API.Requests
	for _, r := range slices.SortedFunc(maps.Keys(requests), order) {
		n := requests[r]
		t.Rows = append(t.Rows, []string{r.Verb, r.Resource, r.Code, fmt.Sprint(n), fmt.Sprintf("%.2f", float64(n)/float64(largest.nodes))})
	}
	return []result.Table{t}
}
