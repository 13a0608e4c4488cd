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

var how = []string{
	"Real: the agents' loops with their Kubernetes source, Events, metrics and backoff; client-go with a connection of its own for every agent, TLS, and a token bound to the agent's Node; the AWS SDK with connections of its own for every agent; kube-apiserver and etcd with this project's CRDs, RBAC and admission policy; eni-coordinator, the released program with its default flags, in a process of its own.",
	"Simulated: EC2, over HTTP, with the token buckets that AWS documents and with latencies as they are usually seen (reads 60 ms, writes 300 ms, 0.7 s until a link appears, 1.2 s until an attachment is attached, 2.5 s to detach, describes lagging 0.3 s). Links and the metadata service of each node are in memory, and so the agents' credentials. Up to 1,000 agents share a process; processes, API server, etcd, EC2 and coordinator share this machine, where a real cluster has a machine for each. etcd does not wait for the disk.",
	"Every NodeENI selects all nodes by a label, names subnet and group by name, and wants deleteOnTermination: three changing calls per ENI are the least. From 1,000 nodes on the API server runs with --max-requests-inflight=1600 and --max-mutating-requests-inflight=800.",
	"Label: all agents run and have nothing to do; then every Node gets the label, as fast as the API server takes it. The clock runs from the first label, for every node, to the moment at which a watch shows its NodeENIState with all ENIs Ready. Cold: the same from the moment at which all agents start at once on labelled nodes, their TLS handshakes and lists included.",
	"The bound is what the bucket of AttachNetworkInterface (and of DetachNetworkInterface) allows: 50 calls at once, then 5 a second, so (ENIs − 50)/5 s. It leaves out every latency, which is about 2 s per ENI.",
	"Rolling: a tenth of the nodes at a time comes under new names, with the label; when all of them are ready, as many old instances are terminated and their Nodes deleted. Delete: from the deletion of the NodeENIs until none of them and no ENI is left.",
	"Idle: agents verify with EC2 once an hour, and are started with an interval of a minute for this (agent.Config.VerifyEvery), so that a minute stands for an hour; EC2's buckets are off. Nothing else that an agent does by itself concerns EC2, or writes; client-go renews its watches every five to ten minutes, which are reads. The coordinator's Lease, and its full sweep every 5 minutes with one call for 1,000 ENIs, are not scaled and not counted.",
}

// summarize turns figures into a result.
func summarize(r *result.Result, all []*figures) {
	r.How = how
	for _, f := range all {
		if f.total() >= fullSize || len(all) == 1 {
			r.Figures = append(r.Figures, f.goals()...)
		}
	}
	r.Tables = slices.Concat(timeTable(all), callTable(all), requestTables(all), costTable(all), requestsByResource(all))
	r.Plots = plots(all)
}

// goals are the figures that have one, and some beside them.
func (f *figures) goals() []result.Figure {
	var g []result.Figure
	add := func(name string, value float64, unit string, goal *float64, note string) {
		g = append(g, result.Figure{Name: f.nodesAndENIs() + ": " + name, Value: value, Unit: unit, Goal: goal, Note: note})
	}
	bound := attachBound(f.total())
	timed := func(name string, took float64, note string) {
		if bound == 0 {
			add(name, took, "s", nil, note)
			return
		}
		add(name, took, "s", result.Goal(overBound*bound), fmt.Sprintf("%.2f times the bound of %s s%s", took/bound, result.Number(bound), note))
	}
	if a := f.Label; a != nil {
		timed("from the label until all are ready", a.last(), fmt.Sprintf("; nodes' median %.0f s, p99 %.0f s", a.quantile(.5), a.quantile(.99)))
		add("changing EC2 calls per ENI, throttled ones included", a.perENI(f.size, mutating), "", result.Goal(callsPerENI), "")
		add("all EC2 calls of agents per ENI, throttled ones included", a.perENI(f.size, byAgents), "", nil, "describes included")
		add("conflicts of NodeENIState writes per node", float64(a.API.Sum(conflictOf("nodeenistates")))/float64(f.nodes), "", result.Goal(conflictsPerNode), "a node has one writer: only an answer that comes too late makes one")
		add("lists while ENIs came", float64(a.API.Sum(ofVerb("LIST"))), "", result.Goal(0), "")
		add("largest NodeENI", float64(f.LargestNodeENI)/1024, "KiB", result.Goal(objectKiB), "")
		add("largest NodeENIState", float64(f.LargestState)/1024, "KiB", result.Goal(objectKiB), "")
	}
	if f.Cold != nil {
		timed("from a cold start of all agents until all are ready", f.Cold.last(), "")
		add("changing EC2 calls per ENI from a cold start, throttled ones included", f.Cold.perENI(f.size, mutating), "", result.Goal(callsPerENI), "")
	}
	if f.Roll != nil {
		timed("rolling replacement of all nodes", f.Roll.Took.Seconds(), "")
		add("ENIs left behind by it", float64(f.Roll.Leaks), "", result.Goal(0), "")
		add("describes of the coordinator while nodes came and went", round(f.Roll.describesPerSecond(), 100), "/s", result.Goal(describesPerSecond), "throttled ones included")
	}
	if f.Delete != nil {
		timed("from the deletion of the NodeENI until all ENIs are gone", f.Delete.Gone.Seconds(), "")
		add("describes of the coordinator while ENIs went", round(f.Delete.describesPerSecond(), 100), "/s", result.Goal(describesPerSecond), "throttled ones included")
	}
	if f.Idle != nil {
		add("EC2 calls per node in an idle hour", round(f.Idle.perENI(size{f.nodes, 1}, byAgents), 100), "", result.Goal(1), "")
		add("writes to the API server in an idle hour", float64(f.Idle.API.Sum(ourWrites)), "", result.Goal(0), "the Lease apart")
	}
	if restarts := f.restarts(); restarts > 0 {
		add("coordinator ended and was started anew", float64(restarts), "", nil, "it could not renew its Lease: the machine, or the API server, was too slow")
	}
	var memory *float64
	if f.nodes <= 1000 { // the budget is for 1,000 nodes with two ENIs each
		memory = result.Goal(coordinatorMiB)
	}
	add("coordinator's memory at most", mebibytes(f.coordinatorPeak()), "MiB", memory, "resident")
	return g
}

func (f *figures) nodesAndENIs() string {
	if f.enis == 1 {
		return result.Number(float64(f.nodes)) + " nodes"
	}
	return fmt.Sprintf("%s nodes with %d ENIs", result.Number(float64(f.nodes)), f.enis)
}

func (f *figures) coordinatorPeak() int64 {
	var peak int64
	for _, c := range f.counted() {
		peak = max(peak, c.Coordinator.Peak)
	}
	return peak
}

func (f *figures) restarts() int {
	most := 0
	for _, c := range f.counted() {
		most = max(most, c.Restarts)
	}
	return most
}

// counted are the counts of all phases that there were.
func (f *figures) counted() []*counts {
	var all []*counts
	if f.Label != nil {
		all = append(all, &f.Label.counts)
	}
	if f.Cold != nil {
		all = append(all, &f.Cold.counts)
	}
	if f.Idle != nil {
		all = append(all, f.Idle)
	}
	if f.Roll != nil {
		all = append(all, &f.Roll.counts)
	}
	if f.Delete != nil {
		all = append(all, &f.Delete.counts)
	}
	return all
}

func round(v, unit float64) float64 { return float64(int64(v*unit+.5)) / unit }

func mebibytes(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func ofVerb(verb string) func(fleet.Request) bool {
	return func(r fleet.Request) bool { return r.Verb == verb && ours(r) }
}

func conflictOf(resource string) func(fleet.Request) bool {
	return func(r fleet.Request) bool { return r.Resource == resource && r.Code == "409" }
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
