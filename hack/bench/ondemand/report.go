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
	tick       = 5.0 // seconds, of the scheduler
	own        = 0.3 // seconds that aws-multi-eni takes itself
	ec2        = 1.3 // seconds that an ENI takes: Create, Attach, and the link
	overBound  = 1.25
	callsOfENI = 3 // Create, Attach, Modify
)

func report(r *result.Result, f *figures) {
	r.Figures, r.Tables = f.figures(), []result.Table{f.podTable(), f.requestTable(), f.callTable()}
}

func (f *figures) figures() []result.Figure {
	var all []result.Figure
	add := func(what string, value float64, unit string, goal *float64, note string) {
		all = append(all, result.Figure{Name: what, Value: value, Unit: unit, Goal: goal, Note: note})
	}
	add("pod created to bound, no ENI attached: p50", f.cold.quantile(.5), "s", new(ec2+tick+own), "")
	add("pod created to bound, no ENI attached: p99", f.cold.quantile(.99), "s", new(ec2+tick+own), "")
	add("pod created to bound, an ENI attached: p50", f.warm.quantile(.5), "s", new(tick+own), "")
	add("pod created to bound, an ENI attached: p99", f.warm.quantile(.99), "s", new(tick+own), "")
	var goal *float64
	note := ""
	if bound := f.bound(); bound > 0 {
		goal, note = new(overBound*bound), fmt.Sprintf("%.2f times the bound of %s s", f.wave.done.Seconds()/bound, result.Number(bound))
	}
	add("wave of pods: until all are bound", f.wave.done.Seconds(), "s", goal, note)
	add("wave of pods: EC2 calls that change something, without throttled ones, per pod", float64(f.wave.calls.Sum(changing))/float64(f.pods), "", new(float64(callsOfENI)), "")
	add("wave of pods: throttled EC2 calls per pod", round(float64(f.wave.calls.Sum(throttled))/float64(f.pods)), "", nil, "")
	add("wave of pods: ENIs left after their deletion", float64(f.left), "", new(0.0), "")
	add("slices written per node when it is selected", float64(f.offered.api.Writes(kube.ResourceSlices))/float64(f.nodes), "", new(4.0), "Two, each after a dry run.")
	add("slices written per pod", round(float64(f.wave.api.Writes(kube.ResourceSlices))/float64(f.pods)), "", new(2.0), "")
	add("slices of a node", float64(f.sliceBytes)/1024, "KiB", nil, "As JSON, with metadata.")
	add("claims' status written per pod", round(float64(f.wave.api.Writes(kube.ResourceClaims+"/status"))/float64(f.pods)), "", nil, "The scheduler's writes are among them.")
	add("EC2 calls in a minute without events", float64(f.quiet.calls.Sum(byAgents)), "", new(0.0), "Of all agents.")
	add("writes to the API server in a minute without events", float64(f.quiet.api.Writes(written...)), "", new(0.0), "Of all agents.")
	add("reads of the API server in a minute without events", float64(f.quiet.api.Sum(reads)), "", new(0.0), "Of all agents.")
	add("watches of Pods and ResourceSlices per node", round(float64(f.watches[kube.Pods]+f.watches[kube.ResourceSlices])/float64(f.nodes)), "", new(3.2), "Others have some, too.")
	add("watches of ResourceClaims per node without a claim", round(float64(f.watches[kube.ResourceClaims])/float64(f.nodes)), "", new(0.1), "Others have some.")
	add("scheduler's CPU time per pod", round(float64(f.wave.scheduler.Milliseconds())/float64(f.pods)), "ms", nil, fmt.Sprintf("Of a wave of pods on %s nodes.", result.Number(float64(f.nodes))))
	add("agent's heap and stacks without --on-demand", f.memoryWithout/1024, "KiB", nil, "")
	add("agent's heap and stacks with --on-demand", f.memoryWith/1024, "KiB", nil, "")
	return all
}

func (f *figures) podTable() result.Table {
	t := result.Table{Title: "From pod created to bound, in seconds", Columns: []string{"pods", "number", "p50", "p99", "slowest", "until all are bound"}}
	for _, row := range []struct {
		what string
		n    int
		*outcome
	}{
		{"one each half second, no ENI attached", f.single, &f.cold},
		{"one each half second, ENIs attached", f.single, &f.warm},
		{"all at once, no ENI attached", f.pods, &f.wave},
	} {
		t.Rows = append(t.Rows, []string{
			row.what, strconv.Itoa(row.n), fmt.Sprintf("%.2f", row.quantile(.5)), fmt.Sprintf("%.2f", row.quantile(.99)), fmt.Sprintf("%.2f", row.quantile(1)), fmt.Sprintf("%.1f", row.done.Seconds()),
		})
	}
	return t
}

func (f *figures) requestTable() result.Table {
	t := result.Table{Title: "Requests to the API server", Columns: []string{
		"phase", "ResourceSlice writes", "claim status writes", "NodeENIState writes", "Events", "lists", "gets", "API server's CPU", "scheduler's CPU",
	}}
	for _, row := range []struct {
		what string
		*outcome
	}{{"all nodes are selected", &f.offered}, {"a minute without events", &f.quiet}, {"a wave of pods", &f.wave}, {"the wave is deleted", &f.released}} {
		of := func(verb string) string {
			return strconv.Itoa(row.api.Sum(func(r fleet.Request) bool { return r.Verb == verb && ours(r) }))
		}
		writes := func(resource string) string { return strconv.Itoa(row.api.Writes(resource)) }
		t.Rows = append(t.Rows, []string{
			row.what, writes(kube.ResourceSlices), writes(kube.ResourceClaims + "/status"), writes(kube.NodeENIStates), writes("events"), of("LIST"), of("GET"),
			fmt.Sprintf("%.1f s", row.api.CPU.Seconds()), fmt.Sprintf("%.1f s", row.scheduler.Seconds()),
		})
	}
	return t
}

func (f *figures) callTable() result.Table {
	t := result.Table{Title: "EC2 calls of a wave of pods", Columns: []string{"call", "answered", "throttled"}}
	names := map[string]bool{}
	for c := range f.wave.calls {
		names[c.Action] = true
	}
	for c := range f.released.calls {
		names[c.Action] = true
	}
	for name := range names {
		count := func(throttled bool) string {
			of := func(c fleet.Call) bool { return c.Action == name && c.Throttled == throttled }
			return strconv.Itoa(f.wave.calls.Sum(of) + f.released.calls.Sum(of))
		}
		t.Rows = append(t.Rows, []string{name, count(false), count(true)})
	}
	slices.SortFunc(t.Rows, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	return t
}

func changing(c fleet.Call) bool  { return !c.Coordinator && c.Mutating() && !c.Throttled }
func throttled(c fleet.Call) bool { return !c.Coordinator && c.Throttled }
func byAgents(c fleet.Call) bool  { return !c.Coordinator }

// reads are those of agents; the scheduler and the controllers watch.
func reads(r fleet.Request) bool { return (r.Verb == "LIST" || r.Verb == "GET") && ours(r) }

func ours(r fleet.Request) bool {
	return slices.Contains([]string{kube.NodeENIs, kube.NodeENIStates, kube.ResourceSlices, kube.ResourceClaims}, r.Resource)
}

func round(v float64) float64 { return float64(int64(v*100+.5)) / 100 }
