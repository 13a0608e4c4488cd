package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/vpc"
)

// Whatever happens to files, agents and calls: in the end each node has one ENI
// for each NodeENI that its files hold, and no other; and one that was in the
// files all the while, however wrong they were in between, has kept its ENI.
func TestStandAloneProperty(t *testing.T) {
	t.Parallel()
	campaign{test: "TestStandAloneProperty", runs: 1, ops: 30, takes: 30 * time.Second, begin: newLoners}.run(t)
}

// loners are nodes without Kubernetes under random operations.
type loners struct {
	*cluster
	rand     *rand.Rand
	nodes    []*loner
	stranger string              // an ENI that is not ours
	before   map[string][]string // what is foreign on each host
}

func newLoners(t *testing.T, _ int) []arena {
	c := newStandAlone(t, 3, func(topology *sim.Topology) {
		topology.Timing.DescribeLag, topology.Timing.DeleteInUse = 300*time.Millisecond, 200*time.Millisecond
		topology.Timing.DescribeSpread = 500 * time.Millisecond
		topology.Links = vpc.Links{Names: "ens%d", First: 5, Rename: true}
		for i := range topology.Nodes {
			topology.Nodes[i].Type = "c5n.18xlarge" // 15 ENIs
		}
	})
	l := &loners{cluster: c, before: map[string][]string{}}
	l.stranger = c.stranger("node-1", 1)
	c.named("node-1", c.eni(l.stranger).MAC)
	return []arena{l}
}

func (l *loners) shared() *cluster { return l.cluster }

type loner struct {
	name   string
	up     bool
	wanted map[string]string // the subnet of each NodeENI that counts
	wrong  map[string]bool   // files that are wrong at the moment
	had    map[string]string // the ENI of each when its file became wrong
}

func (l *loners) run(seed uint64, ops int) time.Duration {
	l.rand, l.nodes = rand.New(rand.NewPCG(seed, 0)), nil
	l.skewClocks(l.rand, "agent-node-1", "agent-node-2", "agent-node-3")
	for _, name := range []string{"node-1", "node-2", "node-3"} {
		l.before[name] = l.host(name).foreign(l.ourMACs(name))
		n := &loner{name: name, wanted: map[string]string{}, wrong: map[string]bool{}, had: map[string]string{}}
		l.nodes = append(l.nodes, n)
		l.put(n, "a", "data")
		l.start(n)
		l.awaitWithin(settleWithin, "a of "+name, func() string {
			if entries := l.entries(name, "a"); phases(entries) != "Ready" {
				return fmt.Sprintf("reports %+v", entries)
			}
			return ""
		})
	}
	for i := range ops {
		n := l.nodes[l.rand.IntN(len(l.nodes))]
		l.logf("%s %2d: %s %s", time.Now().Format("05.000"), i, n.name, l.step(n))
		time.Sleep(time.Duration(l.rand.IntN(800)) * time.Millisecond)
	}
	l.later.Wait()
	l.Sim.Cloud().ClearFaults()
	l.Sim.Cloud().SetThrottle(false)
	for _, n := range l.nodes {
		l.start(n)
	}
	l.stays("what is wrong", 4*time.Second, l.lost)
	began := time.Now()
	for _, n := range l.nodes {
		for _, name := range l.names(n, true) {
			l.put(n, name, n.wanted[name])
		}
	}
	for _, n := range l.nodes {
		l.awaitSettled(n)
	}
	settled := time.Since(began)
	l.logf("settled after %v", settled.Round(10*time.Millisecond))
	l.idle()
	for _, n := range l.nodes {
		for _, name := range l.names(n, false) {
			l.unwrite(n.name, name)
		}
	}
	l.clear()
	l.sane()
	return settled
}

// clear waits until nothing is left, and ends the agents.
func (l *loners) clear() {
	l.awaitWithin(settleWithin, "no ENI is left", func() string {
		if len(l.managed()) > 0 {
			return l.enis()
		}
		return ""
	})
	for _, n := range l.nodes {
		l.awaitWithin(settleWithin, "an empty report of "+n.name, func() string { return phases(l.entries(n.name, "")) })
		if left := l.host(n.name).band(); len(left) > 0 {
			l.errorf("left on %s:\n%s", n.name, strings.Join(left, "\n"))
		}
		if now := l.host(n.name).foreign(l.ourMACs(n.name)); !slices.Equal(now, l.before[n.name]) {
			l.errorf("what is foreign on %s is\n\t%s\nand was\n\t%s", n.name, strings.Join(now, "\n\t"), strings.Join(l.before[n.name], "\n\t"))
		}
		l.must(l.agents[n.name].Stop())
		n.up = false
	}
	if e := l.eni(l.stranger); e.Attachment == nil || e.Attachment.Status != cloud.AttachmentAttached {
		l.errorf("the foreign ENI has become %+v", e)
	}
}

// step does something to a node, and says what.
func (l *loners) step(n *loner) string {
	name := []string{"a", "b", "c"}[l.rand.IntN(3)]
	subnet := []string{"data", "storage", "nodes"}[l.rand.IntN(3)]
	_, there := n.wanted[name]
	// What is wrong stays so for a while: a loss takes seconds to be believed.
	spared := n.wrong[name] && l.rand.IntN(4) > 0
	switch k := l.rand.IntN(18); {
	case !n.up && k < 9:
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
	case k < 9 && n.up:
		l.agents[n.name].Kill()
		n.up = false
		return "killed"
	case k < 10 && n.up:
		l.must(l.agents[n.name].Pause())
		p, d := l.agents[n.name], time.Duration(l.rand.IntN(3000))*time.Millisecond
		l.in(d, func() { _ = p.Resume() })
		return fmt.Sprintf("frozen for %v", d)
	case k < 14:
		return l.calamity(n)
	default:
		f := anyFault(l.rand)
		f.Action = pick(l.rand, createCall, attachCall, modifyCall, detachCall, deleteCall, describeCall)
		l.must(l.Sim.Cloud().Inject(withSource(f, l.source(n.name))))
		return fmt.Sprintf("fault %+v", f)
	}
}

// calamity is something that befalls the node.
func (l *loners) calamity(n *loner) string {
	all := []func(string, *rand.Rand) string{l.opDamage, l.opDaemon, l.opFlood, l.opVanish, l.opInstanceState, l.opForeign, l.opStormOn, l.opKilledAt, l.opReaddress, l.opRegroup}
	if n.up { // these start the agent
		all = append(all, l.opReboot, l.opMetadata, l.opKilledAt)
	}
	return pick(l.rand, all...)(n.name, l.rand)
}

func (l *loners) opStormOn(_ string, r *rand.Rand) string { return l.opStorm(r) }

func (l *loners) opForeign(node string, r *rand.Rand) string {
	text, lines := l.stranded(node, r)
	l.before[node] = slices.Sorted(slices.Values(append(l.before[node], lines...)))
	return text
}

// opKilledAt kills the agent at the moment of its next call, if it comes soon, and
// starts it anew.
func (l *loners) opKilledAt(node string, r *rand.Rand) string {
	f := cloud.Fault{
		Action:   pick(r, "", createCall, attachCall, modifyCall, detachCall, deleteCall),
		SourceID: l.source(node), After: r.IntN(2) == 0, Hang: true, Count: 1,
	}
	l.must(l.Sim.Cloud().Inject(f))
	armed := func() bool { return slices.Contains(l.Sim.Cloud().Faults(), f) }
	for end := time.Now().Add(time.Second); armed() && time.Now().Before(end); {
		time.Sleep(2 * time.Millisecond)
	}
	if armed() || l.agents[node].Exited() {
		return fmt.Sprintf("is not killed at %s", f.Action)
	}
	time.Sleep(20 * time.Millisecond) // it is carried out
	l.restart(node)
	return fmt.Sprintf("killed at %s (after %v)", f.Action, f.After)
}

func withSource(f cloud.Fault, source string) cloud.Fault {
	f.SourceID = source
	return f
}

func (l *loners) start(n *loner) {
	if p := l.agents[n.name]; !n.up || p == nil || p.Exited() {
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
		l.awaitWithin(settleWithin, name+" of "+n.name, func() string {
			entries := l.entries(n.name, name)
			if len(entries) != 1 || entries[0].Phase != "Ready" || entries[0].SubnetID != l.subnet(n.wanted[name], n.name) {
				return fmt.Sprintf("%+v", entries)
			}
			return l.configured(n.name, l.eni(entries[0].ENIID), false, 0)
		})
		if id := l.entries(n.name, name)[0].ENIID; n.had[name] != "" && n.had[name] != id {
			l.errorf("%s of %s has %s, and had %s all the while", name, n.name, id, n.had[name])
		}
	}
	l.awaitWithin(settleWithin, "only these ENIs of "+n.name, func() string {
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
