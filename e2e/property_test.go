package e2e

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/vpc"
)

// The invariants of the design hold whatever happens: random operations on a
// living cluster, then everything is let go, and EC2, the hosts and the reports
// are compared with what the objects ask for.
func TestProperty(t *testing.T) {
	t.Parallel()
	campaign{test: "TestProperty", runs: 3, ops: 20, takes: 15 * time.Second, begin: newTrial}.run(t)
}

// newTrial is a cluster with things of others beside ours.
func newTrial(t *testing.T, _ int) []arena {
	topology := sim.Topology{Nodes: sim.Nodes(3)}
	for i := range topology.Nodes {
		topology.Nodes[i].Type = "c5n.18xlarge" // 15 ENIs
	}
	topology.Links = vpc.Links{Names: "ens%d", First: 5, Rename: true}
	tr := &trial{cluster: gated(t, topology)}
	for _, node := range topology.Nodes {
		tr.nodes = append(tr.nodes, node.Name)
	}
	tr.addForeign()
	tr.startAll()
	return []arena{tr}
}

// trial is a cluster under random operations.
type trial struct {
	*cluster
	nodes  []string
	before foreigners
	timing cloud.Timing
	full   []string // subnets without an address
	harsh  bool     // faults that only a change of spec ends are among the operations
}

func (tr *trial) shared() *cluster { return tr.cluster }

// run does random operations, lets everything settle, compares, and cleans up.
func (tr *trial) run(seed uint64, ops int) time.Duration {
	// Errors that only people can fix are not tried again before a spec changes,
	// so they are for some runs only: in the others nothing may hang on that.
	tr.harsh = seed%2 == 1
	tr.before = tr.foreigners()
	stop := sync.OnceValue(tr.watchInvariant())
	defer stop()
	r := rand.New(rand.NewPCG(seed, 1<<32))
	tr.skewClocks(r, "agent-node-1", "agent-node-2", "agent-node-3", "coordinator-1", "coordinator-2")
	tr.begin(r)
	for i := range ops {
		// Each operation draws from numbers of its own, so that the ones after
		// it stay the same whatever it finds.
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		tr.logf("%s %2d: %s", time.Now().Format("05.000"), i, tr.operation(r))
		time.Sleep(time.Duration(r.IntN(500)) * time.Millisecond)
	}
	tr.calm()
	settled := tr.settle()
	for _, problem := range stop() {
		tr.errorf("%s", problem)
	}
	tr.idle()
	tr.clear()
	tr.sane()
	return settled
}

// settle waits until all is as it must be, and tells what it waited for.
func (tr *trial) settle() time.Duration {
	tr.t.Helper()
	began, last := time.Now(), ""
	tr.awaitWithin(settleWithin, "after everything has settled", func() string {
		tr.startAll() // as a kubelet does
		problem := tr.compare()
		if problem != last {
			last = problem
			tr.awaited = cmp.Or(problem, tr.awaited)
			tr.logf("%s %s", time.Now().Format("05.000"), cmp.Or(problem, "settled"))
		}
		return problem
	})
	settled := time.Since(began)
	tr.logf("settled after %v", settled.Round(10*time.Millisecond))
	return settled
}

// calm ends all faults and has all processes running.
func (tr *trial) calm() {
	tr.t.Helper()
	tr.later.Wait()
	tr.must(tr.Sim.Cloud().SetTiming(tr.timing))
	tr.Sim.Cloud().SetThrottle(false)
	tr.Sim.Cloud().ClearFaults()
	tr.Gate.Clear()
	for _, id := range tr.full {
		tr.must(tr.Sim.Cloud().SetFreeAddresses(id, roomy))
	}
	tr.full = nil
	for _, node := range tr.nodes {
		n, err := tr.Sim.Node(node)
		tr.must(err)
		n.IMDS.ClearFaults()
	}
	tr.startAll()
	if tr.harsh {
		all, err := tr.NodeENIs(tr.t.Context())
		tr.must(err)
		for _, n := range all {
			err := tr.PatchNodeENI(tr.t.Context(), n.Name, `{"spec":{"description":"fixed"}}`)
			if !apierrors.IsNotFound(err) { // it may have been on its way out
				tr.must(err)
			}
		}
	}
}

// startAll starts what does not run.
func (tr *trial) startAll() {
	tr.t.Helper()
	for _, node := range tr.nodes {
		if p := tr.agents[node]; p == nil || p.Exited() {
			tr.agent(node)
		}
	}
	for _, name := range []string{"coordinator-1", "coordinator-2"} {
		if p := tr.coordinators[name]; p == nil || p.Exited() {
			tr.startCoordinator(name)
		}
	}
}

func (tr *trial) startCoordinator(name string) {
	tr.coordinator(name, "--sweep-interval", "3s", "--poll-interval", "500ms", "--orphan-age", "20s")
}

// clear takes everything away and checks that nothing is left anywhere.
func (tr *trial) clear() {
	tr.t.Helper()
	all, err := tr.NodeENIs(tr.t.Context())
	tr.must(err)
	for _, n := range all {
		tr.must(tr.DeleteNodeENI(tr.t.Context(), n.Name))
	}
	tr.awaitWithin(settleWithin, "everything is gone", func() string {
		tr.startAll()
		all, err := tr.NodeENIs(tr.t.Context())
		if err != nil || len(all) > 0 || len(tr.managed()) > 0 {
			return fmt.Sprintf("%v, NodeENIs %d, ENIs\n%s", err, len(all), tr.enis())
		}
		for _, node := range tr.nodes {
			if left := tr.host(node).band(); len(left) > 0 {
				return node + " has left\n\t" + strings.Join(left, "\n\t")
			}
		}
		return tr.foreigners().diff(tr.before)
	})
	for _, node := range tr.nodes {
		tr.must(tr.Unlabel(tr.t.Context(), node, "ng"))
		tr.must(tr.Unlabel(tr.t.Context(), node, "role"))
	}
	tr.Sim.Cloud().ResetCalls()
}
