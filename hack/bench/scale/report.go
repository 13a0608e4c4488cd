package main

import (
	"fmt"
	"slices"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
	"github.com/aws-multi-eni/aws-multi-eni/internal/fleet"
)

// The goals.
const (
	overBound          = 1.25 // times the bucket bound
	callsPerENI        = 4.5
	objectKiB          = 100
	describesPerSecond = 1 // of the coordinator, of 20 that EC2 gives an account
	// conflictsPerNode is far from a storm; where answers come in time there are
	// none.
	conflictsPerNode = 0.01
	coordinatorMiB   = 64
)

// report fills in the result.
func report(r *result.Result, all []*figures) {
	for _, f := range all {
		if f.total() >= fullSize || len(all) == 1 {
			r.Figures = append(r.Figures, f.figures()...)
		}
	}
	r.Tables, r.Plots = tables(all), plots(all)
}

// figures are those that have a goal, and some beside them.
func (f *figures) figures() []result.Figure {
	var all []result.Figure
	add := func(name string, value float64, unit string, goal *float64, note string) {
		all = append(all, result.Figure{Name: f.nodesAndENIs() + ": " + name, Value: value, Unit: unit, Goal: goal, Note: note})
	}
	took := func(name string, o *outcome, note string) {
		seconds, bound := o.done.Seconds(), f.bound()
		if bound == 0 {
			add(name, seconds, "s", nil, note)
			return
		}
		add(name, seconds, "s", new(overBound*bound), fmt.Sprintf("%.2f times the bound of %s s%s", seconds/bound, result.Number(bound), note))
	}
	if o := f.outcomes[phaseLabel]; o != nil {
		took("from the label until all are ready", o, fmt.Sprintf("; nodes' median %.0f s, p99 %.0f s", o.quantile(.5), o.quantile(.99)))
		add("changing EC2 calls per ENI, throttled ones included", f.perENI(o, mutating), "", new(callsPerENI), "")
		add("all EC2 calls of agents per ENI, throttled ones included", f.perENI(o, byAgents), "", nil, "describes included")
		add("conflicts of NodeENIState writes per node", float64(o.api.Sum(conflictOf("nodeenistates")))/float64(f.nodes), "", new(conflictsPerNode), "a node has one writer: only an answer that comes too late makes one")
		add("lists while ENIs came", float64(o.api.Sum(ofVerb("LIST"))), "", new(0.0), "")
		add("largest NodeENI", float64(f.largestNodeENI.Load())/1024, "KiB", new(float64(objectKiB)), "")
		add("largest NodeENIState", float64(f.largestState)/1024, "KiB", new(float64(objectKiB)), "")
	}
	if o := f.outcomes[phaseCold]; o != nil {
		took("from a cold start of all agents until all are ready", o, "")
		add("changing EC2 calls per ENI from a cold start, throttled ones included", f.perENI(o, mutating), "", new(callsPerENI), "")
	}
	if o := f.outcomes[phaseRoll]; o != nil {
		took("rolling replacement of all nodes", o, "")
		add("ENIs left behind by it", float64(o.left), "", new(0.0), "")
		add("describes of the coordinator while nodes came and went", round(o.describesPerSecond()), "/s", new(float64(describesPerSecond)), "throttled ones included")
	}
	if o := f.outcomes[phaseDelete]; o != nil {
		took("from the deletion of the NodeENI until all ENIs are gone", o, "")
		add("describes of the coordinator while ENIs went", round(o.describesPerSecond()), "/s", new(float64(describesPerSecond)), "throttled ones included")
	}
	if o := f.outcomes[phaseIdle]; o != nil {
		add("EC2 calls per node in an idle hour", round(float64(o.calls.Sum(byAgents))/float64(f.nodes)), "", new(1.0), "")
		add("writes to the API server in an idle hour", float64(o.api.Sum(ourWrites)), "", new(0.0), "the Lease apart")
	}
	peak, restarts := f.coordinator()
	if restarts > 0 {
		add("coordinator ended and was started again", float64(restarts), "", nil, "it could not renew its Lease: the machine, or the API server, was too slow")
	}
	var memory *float64
	if f.nodes <= 1000 { // the budget is for 1,000 nodes with two ENIs each
		memory = new(float64(coordinatorMiB))
	}
	add("coordinator's memory at most", peak, "MiB", memory, "resident")
	return all
}

func (f *figures) nodesAndENIs() string {
	if f.enis == 1 {
		return result.Number(float64(f.nodes)) + " nodes"
	}
	return fmt.Sprintf("%s nodes with %d ENIs", result.Number(float64(f.nodes)), f.enis)
}

// coordinator is how much memory it had at most, in MiB, and how often it was started
// again.
func (f *figures) coordinator() (peak float64, restarts int) {
	for _, o := range f.outcomes {
		peak, restarts = max(peak, mebibytes(o.coordinator.Peak)), max(restarts, o.restarts)
	}
	return peak, restarts
}

// perENI is a number of calls divided by the number of ENIs.
func (s size) perENI(o *outcome, match func(fleet.Call) bool) float64 {
	return float64(o.calls.Sum(match)) / float64(s.total())
}

// requestsPerNode are those of agents and coordinator.
func (s size) requestsPerNode(o *outcome) float64 {
	return float64(o.api.Sum(ours)-o.gets) / float64(s.nodes)
}

// describesPerSecond are those of the coordinator.
func (o *outcome) describesPerSecond() float64 {
	return float64(o.calls.Sum(func(c fleet.Call) bool { return c.Coordinator && !c.Mutating() })) / o.took.Seconds()
}

// quantile of the nodes' times in seconds.
func (o *outcome) quantile(q float64) float64 {
	return o.times[int(q*float64(len(o.times)-1)+0.5)].Seconds()
}

func round(v float64) float64 { return float64(int64(v*100+.5)) / 100 }

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// Kinds of calls to EC2.
func byAgents(c fleet.Call) bool   { return !c.Coordinator }
func mutating(c fleet.Call) bool   { return byAgents(c) && c.Mutating() }
func describing(c fleet.Call) bool { return byAgents(c) && !c.Mutating() }

// Kinds of requests to the API server.

func ofVerb(verb string) func(fleet.Request) bool {
	return func(r fleet.Request) bool { return r.Verb == verb && ours(r) }
}

func conflictOf(resources ...string) func(fleet.Request) bool {
	return func(r fleet.Request) bool { return slices.Contains(resources, r.Resource) && r.Code == "409" }
}

// ours are requests about what agents and coordinator have to do with. Nodes are
// written by this program only.
func ours(r fleet.Request) bool {
	switch r.Resource {
	case "nodeenis", "nodeenis/status", "nodeenistates", "events":
		return true
	case "nodes":
		return !r.Writes()
	}
	return false
}

func ourWrites(r fleet.Request) bool { return ours(r) && r.Writes() }
