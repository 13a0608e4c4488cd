package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// Whatever happens to files, agents and calls: in the end each node has one ENI
// for each NodeENI that its files hold, and no other; and one that was in the
// files all the while, however wrong they were in between, has kept its ENI.
//
// ENI_SEED, ENI_RUNS and ENI_OPS are as for TestProperty.
func TestStandAloneProperty(t *testing.T) {
	t.Parallel()
	const runs, ops = 1, 30
	seeds := make([]uint64, number(t, "ENI_RUNS", runs))
	for i := range seeds {
		seeds[i] = rand.Uint64N(1_000_000)
	}
	if os.Getenv("ENI_SEED") != "" {
		seeds = []uint64{uint64(number(t, "ENI_SEED", 0))}
	}
	c := newStandAlone(t, 3, func(topology *sim.Topology) {
		topology.Timing.DescribeLag, topology.Timing.DeleteInUse = 300*time.Millisecond, 200*time.Millisecond
		for i := range topology.Nodes {
			topology.Nodes[i].Type = "c5n.18xlarge" // 15 ENIs
		}
	})
	foreign := c.stranger("node-1", 1)
	for _, seed := range seeds {
		ok := c.run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Logf("ENI_SEED=%d repeats this run", seed)
			l := &loners{cluster: c, rand: rand.New(rand.NewPCG(seed, 0))}
			l.run(number(t, "ENI_OPS", ops))
		})
		if !ok {
			return
		}
	}
	if e := c.eni(foreign); e.Attachment == nil || e.Attachment.Status != "attached" {
		t.Errorf("the ENI of somebody else has become %+v", e)
	}
}

// loners are nodes without Kubernetes under random operations.
type loners struct {
	*cluster
	rand  *rand.Rand
	nodes []*loner
}

type loner struct {
	name   string
	up     bool
	wanted map[string]string // the subnet of each NodeENI that counts
	wrong  map[string]bool   // files that are wrong at the moment
	had    map[string]string // the ENI of each when its file became wrong
}

func (l *loners) run(ops int) {
	for _, name := range []string{"node-1", "node-2", "node-3"} {
		n := &loner{name: name, wanted: map[string]string{}, wrong: map[string]bool{}, had: map[string]string{}}
		l.nodes = append(l.nodes, n)
		l.put(n, "a", "data")
		l.start(n)
		l.awaitReady(name, "a", 1)
	}
	for range ops {
		n := l.nodes[l.rand.IntN(len(l.nodes))]
		l.t.Log(n.name, l.step(n))
		time.Sleep(time.Duration(l.rand.IntN(800)) * time.Millisecond)
	}
	l.Sim.Cloud().ClearFaults()
	for _, n := range l.nodes {
		l.start(n)
	}
	l.stays("what is wrong", 4*time.Second, l.lost)
	for _, n := range l.nodes {
		for _, name := range l.names(n, true) {
			l.put(n, name, n.wanted[name])
		}
	}
	for _, n := range l.nodes {
		l.awaitSettled(n)
		for _, name := range l.names(n, false) {
			l.unwrite(n.name, name)
		}
	}
	l.awaitENIs(0)
	for _, n := range l.nodes {
		l.awaitMade(n.name, 0)
		l.await("an empty report of "+n.name, func() string { return phases(l.entries(n.name, "")) })
		if left := l.host(n.name).band(); len(left) > 0 {
			l.t.Errorf("left on %s:\n%s", n.name, strings.Join(left, "\n"))
		}
		l.must(l.agents[n.name].Stop())
	}
}

// step does something to a node, and says what.
func (l *loners) step(n *loner) string {
	name := []string{"a", "b", "c"}[l.rand.IntN(3)]
	subnet := []string{"data", "storage", "nodes"}[l.rand.IntN(3)]
	_, there := n.wanted[name]
	// What is wrong stays so for a while: a loss takes seconds to be believed.
	spared := n.wrong[name] && l.rand.IntN(4) > 0
	switch k := l.rand.IntN(12); {
	case !n.up && k < 6:
		l.start(n)
		return "started"
	case k < 2 && !spared:
		l.put(n, name, subnet)
		return name + " in " + subnet
	case k < 3 && there && !spared:
		l.unwrite(n.name, name)
		delete(n.wanted, name)
		delete(n.wrong, name)
		delete(n.had, name)
		return name + " removed"
	case k < 8 && !n.wrong[name] && l.taken(n, name):
		n.wrong[name], n.had[name] = true, l.entries(n.name, name)[0].ENIID
		l.write(n.name, name, []string{"", "a typo", "kind: NodeENI", nodeENI(name, l.plain("data")+"\nmtu: 1")}[l.rand.IntN(4)])
		return name + " wrong"
	case k < 10 && n.up:
		l.agents[n.name].Kill()
		n.up = false
		return "killed"
	default:
		f := l.anyFault()
		l.fault(n.name, f)
		return fmt.Sprintf("fault %+v", f)
	}
}

// anyFault is one that passes.
func (l *loners) anyFault() cloud.Fault {
	actions := []string{createCall, attachCall, modifyCall, detachCall, deleteCall, describeCall}
	f := []cloud.Fault{
		{After: true}, {Code: "RequestLimitExceeded"}, {Code: "InternalError"}, {After: true, Code: "InternalError"},
		{Hang: true}, {After: true, Hang: true}, {Delay: time.Second},
	}[l.rand.IntN(7)]
	f.Action, f.Count = actions[l.rand.IntN(len(actions))], 1
	return f
}

func (l *loners) start(n *loner) {
	if !n.up {
		l.agent(n.name)
		n.up = true
	}
}

// put makes a good file. One for another subnet ends the ENI that was.
func (l *loners) put(n *loner, name, subnet string) {
	if n.wanted[name] != subnet {
		delete(n.had, name)
	}
	n.wanted[name] = subnet
	delete(n.wrong, name)
	l.write(n.name, name, nodeENI(name, l.plain(subnet)))
}

// lost says which ENI has gone though its file has only become wrong.
func (l *loners) lost() string {
	for _, n := range l.nodes {
		for _, name := range l.names(n, true) {
			if e, ok := l.Sim.Cloud().Interface(n.had[name]); !ok || e.Attachment == nil || e.Attachment.Status == "detaching" {
				return fmt.Sprintf("%s has lost %s of %s", n.name, n.had[name], name)
			}
		}
	}
	return ""
}

// taken says whether the agent has taken the file in as it is. Before that it
// does not know what to hold when the file becomes wrong.
func (l *loners) taken(n *loner, name string) bool {
	entries := l.entries(n.name, name)
	return n.up && n.wanted[name] != "" && len(entries) == 1 && entries[0].Phase == "Ready" && entries[0].SubnetID == l.subnet(n.wanted[name], n.name)
}

// names are those of a node's files, or of those that are wrong.
func (l *loners) names(n *loner, wrong bool) []string {
	var all []string
	for name := range n.wanted {
		if !wrong || n.wrong[name] {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// awaitSettled waits until the node has what its files hold.
func (l *loners) awaitSettled(n *loner) {
	l.t.Helper()
	for _, name := range l.names(n, false) {
		l.await(name+" of "+n.name, func() string {
			entries := l.entries(n.name, name)
			if len(entries) != 1 || entries[0].Phase != "Ready" || entries[0].SubnetID != l.subnet(n.wanted[name], n.name) {
				return fmt.Sprintf("%+v", entries)
			}
			return l.configured(n.name, l.eni(entries[0].ENIID), false, 0)
		})
		if id := l.entries(n.name, name)[0].ENIID; n.had[name] != "" && n.had[name] != id {
			l.t.Errorf("%s of %s has %s, and had %s all the while", name, n.name, id, n.had[name])
		}
	}
	l.await("only these ENIs of "+n.name, func() string {
		var got []string
		for _, e := range l.made(n.name) {
			got = append(got, e.Tags[eni.TagNodeENI])
		}
		if slices.Sort(got); !slices.Equal(got, l.names(n, false)) {
			return fmt.Sprintf("%v, want %v\n%s", got, l.names(n, false), l.enis())
		}
		return ""
	})
}
