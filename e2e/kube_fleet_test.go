package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/fleet"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// A fleet gets the ENIs of two NodeENIs at once, and loses them. `make
// bench-scale` has larger ones, and EC2's limits.
//
// It has the machine for itself: where the API server has no time to answer, all
// ask again.
func TestScenario27Fleet(t *testing.T) {
	const nodes, enisPerNode = 100, 2
	f := newFleet(t, nodes, enisPerNode)
	before := f.requests()
	access, err := f.Nodes(t.Context(), f.names)
	f.must(err)
	servers := f.Servers()
	servers.AtOnce = 10
	f.must(f.agents.Start(servers, access))
	f.await("all agents have heard from EC2", func() bool { return f.agents.Unready() == 0 })
	// An agent has three informers, and so has the coordinator; each lists once.
	f.atMost("lists by agents that start", f.requests().Since(before).Sum(lists), 3*nodes+3)

	before, calls, began := f.requests(), f.Calls(), time.Now()
	f.reports.Begin(enisPerNode)
	f.must(f.Label(t.Context(), f.names))
	f.must(f.reports.Await(f.patience(), f.names))
	f.await("the NodeENIs' status", f.statusReady)
	took := time.Since(began)
	came := f.requests().Since(before)
	f.atMost("lists while ENIs come", came.Sum(lists), 0)
	// A report has one writer. Only an answer that comes too late makes a conflict.
	f.atMost("conflicts of reports", came.Conflicts(kube.NodeENIStates), nodes/4)
	f.atMost("reports written", came.Writes(kube.NodeENIStates), 6*nodes*enisPerNode)
	f.atMost("conflicts of NodeENIs", came.Conflicts(kube.NodeENIs, kube.NodeENIs+"/status"), enisPerNode)
	// The finalizer, a status at once, and then one every 5 s.
	f.atMost("writes of NodeENIs", came.Writes(kube.NodeENIs, kube.NodeENIs+"/status"), enisPerNode*(2+int(took/(5*time.Second))))
	f.atMost("bytes of a report", f.reports.Largest(kube.NodeENIStates), 100<<10)
	f.atMost("bytes of a NodeENI", f.reports.Largest(kube.NodeENIs), 100<<10)
	if got, want := f.Calls().Since(calls).Sum(fleet.Call.Mutating), 3*nodes*enisPerNode; got != want {
		t.Errorf("%d changing EC2 calls, want %d", got, want)
	}

	before = f.requests()
	f.must(f.Empty(f.patience(), enisPerNode))
	went := f.requests().Since(before)
	f.atMost("lists while ENIs go", went.Sum(lists), 0)
	f.atMost("conflicts of reports while ENIs go", went.Conflicts(kube.NodeENIStates), nodes/4)
	f.atMost("reports written while ENIs go", went.Writes(kube.NodeENIStates), 2*nodes*enisPerNode)
}

// fleetTest is a fleet for a test.
type fleetTest struct {
	*fleet.Cluster
	t       *testing.T
	agents  *fleet.Agents
	reports *fleet.Reports

	names    []string
	nodeENIs int
}

// newFleet starts a cluster with a coordinator and NodeENIs, and registers nodes
// without labels, whose agents do not run yet.
func newFleet(t *testing.T, nodes, nodeENIs int) *fleetTest {
	t.Helper()
	if err := built(); err != nil {
		t.Fatal(err)
	}
	f := &fleetTest{t: t, nodeENIs: nodeENIs, agents: fleet.NewAgents(slog.New(slog.DiscardHandler))}
	var err error
	f.Cluster, err = fleet.StartCluster(t.Context(), fleet.ClusterConfig{Dir: logsOf(t), Hosts: f.agents, Timing: quick})
	f.must(err)
	t.Cleanup(func() { f.check(f.Stop()) })
	coordinator, err := f.StartCoordinator(t.Context(), filepath.Join(programs, "eni-coordinator"), "--poll-interval", "500ms", "--max-concurrent-eni-cleanup", "20")
	f.must(err)
	t.Cleanup(func() {
		if coordinator.Kill(); t.Failed() {
			t.Log(coordinator.Tail(50))
		}
	})
	t.Cleanup(func() { f.check(f.agents.Stop(f.names)) })
	f.reports, err = f.Follow(t.Context())
	f.must(err)
	for i := range nodes {
		f.names = append(f.names, fmt.Sprintf("node-%d", i+1))
	}
	f.must(f.AddNodes(t.Context(), f.names, nil))
	f.must(f.WantENIs(t.Context(), nodeENIs))
	return f
}

func (f *fleetTest) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleetTest) check(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Error(err)
	}
}

func (f *fleetTest) patience() context.Context {
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	f.t.Cleanup(cancel)
	return ctx
}

func (f *fleetTest) await(what string, yes func() bool) {
	f.t.Helper()
	for end := time.Now().Add(patience); !yes(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func (f *fleetTest) atMost(what string, got, most int) {
	f.t.Helper()
	f.t.Logf("%s: %d, at most %d", what, got, most)
	if got > most {
		f.t.Errorf("%s: %d, want at most %d", what, got, most)
	}
}

func (f *fleetTest) requests() fleet.APIServer {
	f.t.Helper()
	s, err := f.Requests(f.t.Context())
	f.must(err)
	return s
}

// statusReady: the status of every NodeENI says that all nodes are ready.
func (f *fleetTest) statusReady() bool {
	for _, name := range fleet.NodeENIs(f.nodeENIs) {
		counts, err := f.Client.NodeCounts(f.t.Context(), name)
		f.must(err)
		if int(counts.Ready) != len(f.names) {
			return false
		}
	}
	return true
}

// lists are those of agents and coordinator; the API server has some of its own.
func lists(r fleet.Request) bool {
	return r.Verb == "LIST" && slices.Contains([]string{kube.NodeENIs, kube.NodeENIStates, kube.Nodes}, r.Resource)
}
