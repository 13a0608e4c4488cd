package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

const (
	nodes = 12
	// patience bounds every wait.
	patience = 90 * time.Second
	labelKey = "bench"
)

// quick is an EC2 that costs next to nothing, so that the agent's own time shows. An
// answer in no time at all would have the SDK close connections.
var quick = cloud.Timing{
	Read: 2 * time.Millisecond, Write: 2 * time.Millisecond, PlugDelay: 2 * time.Millisecond,
	Attach: 2 * time.Millisecond, Detach: 50 * time.Millisecond,
}

// realistic is an EC2 as slow as EC2 is. What comes after the last ENI is Ready need
// not take as long.
func realistic() cloud.Timing {
	t := sim.RealisticTiming()
	t.Detach, t.DeleteInUse = quick.Detach, 0
	return t
}

// bed is a cluster whose nodes are labelled again and again, in turn.
type bed struct {
	result.Bench
	*testbed.Testbed
	processes []*testbed.Process
	nodes     map[string]*node
	turn      int
}

// node is a node with what is seen of it.
type node struct {
	sim.Node
	host    *recorder
	reports *history[report]
}

func newBed(t result.Bench, programs string) *bed {
	b := &bed{Bench: t, nodes: map[string]*node{}}
	dir, err := os.MkdirTemp("", "aws-multi-eni-latency-")
	b.Must(err)
	b.Cleanup(func() { os.RemoveAll(dir) })
	if programs == "" {
		programs = dir
		b.Must(testbed.Build(b.Context(), programs, false))
	}
	programs, err = filepath.Abs(programs)
	b.Must(err)
	timing := realistic()
	topology := sim.Topology{
		Timing:        &timing,
		InstanceTypes: []cloud.InstanceType{{Name: "bench.large", MaxENIs: manySpec.enis + 1, IPv4PerENI: 4}},
	}
	for i := range nodes {
		topology.Nodes = append(topology.Nodes, sim.NodeSpec{Name: nodeName(i), Type: "bench.large"})
	}
	b.Testbed, err = testbed.Start(b.Context(), testbed.Config{Programs: programs, Dir: dir, Topology: topology})
	b.Must(err)
	b.Cleanup(b.stop)
	for _, n := range b.Sim.Nodes() {
		host, err := record(n.Namespace)
		b.Must(err)
		b.nodes[n.Name] = &node{n, host, newHistory[report]()}
	}
	b.Must(testbed.WatchStates(b.Context(), b.Client, func(state *v1alpha1.NodeENIState) {
		b.nodes[state.Name].reports.add(nil, report{time.Now(), state.Status.ENIs})
	}))
	b.Must(b.Apply(b.Context(), nodeENIs()))
	b.startPrograms()
	return b
}

func nodeName(i int) string { return fmt.Sprintf("node-%d", i%nodes+1) }

func (b *bed) startPrograms() {
	coordinator, err := b.StartCoordinator(b.Context(), "coordinator", "--poll-interval", "200ms", "--max-concurrent-eni-cleanup", "20")
	b.Must(err)
	b.processes = append(b.processes, coordinator)
	for name := range b.nodes {
		b.Must(b.CreateNode(b.Context(), name, nil))
		agent, err := b.StartAgent(b.Context(), name)
		b.Must(err)
		b.processes = append(b.processes, agent)
	}
	for name, n := range b.nodes {
		b.await(name+"'s agent has asked EC2 what is there", func() bool {
			return len(b.calls(n, time.Time{}, time.Now())) > 0
		})
	}
}

// stop says of the processes that have ended what they said, and ends the others.
func (b *bed) stop() {
	for _, p := range b.processes {
		if p.Exited() {
			b.Errorf("%s has ended: %s", p.Name, p.Tail(5))
		}
		p.Kill()
	}
	for _, n := range b.nodes {
		n.host.socket.Close()
	}
	if err := b.Stop(); err != nil {
		b.Errorf("%v", err)
	}
}

// nodeENIs are manifests of what each spec selects.
func nodeENIs() (manifests string) {
	for _, s := range []spec{hostSpec, noneSpec, renamedSpec, manySpec} {
		more := "addressing: None"
		if s.host {
			more = "addressing: Host"
		}
		if s.name != "" {
			more += ", interfaceName: " + s.name
		}
		for i := range s.enis {
			manifests += fmt.Sprintf(`---
apiVersion: networking.k8s.aws/v1alpha1
kind: NodeENI
metadata: {name: %[1]s-%[2]d}
spec: {nodeSelector: {%[3]s: %[1]s}, subnetNames: [data], securityGroupNames: [data], mtu: %[4]d, deviceIndex: %[2]d, %[5]s}
`, s.label, i+1, labelKey, wantedMTU, more)
		}
	}
	return manifests
}

// await polls until something is so.
func (b *bed) await(what string, is func() bool) {
	for end := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		b.Must(b.Context().Err())
		if time.Now().After(end) || slices.ContainsFunc(b.processes, (*testbed.Process).Exited) {
			b.Fatalf("not within %v, or not before a process ended: %s", patience, what)
		}
	}
}

// calls are the EC2 calls of a node's agent that began between two moments.
func (b *bed) calls(n *node, from, to time.Time) []cloud.Call {
	var calls []cloud.Call
	for _, c := range b.Sim.Cloud().Calls() {
		if c.SourceID == cloud.AccessKeyID(n.ID) && !c.Time.Before(from) && c.Time.Before(to) {
			calls = append(calls, c)
		}
	}
	return calls
}
