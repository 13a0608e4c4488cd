package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// An ordeal is one thing that goes wrong in the life of an ENI: it is wanted, is
// Ready, is changed, is wanted no more, and is gone.
type ordeal struct {
	name string
	// What goes wrong: a call to EC2, or a request to the API server.
	fault cloud.Fault
	api   *testbed.APIFault
	// ofCoordinator: of its calls, not of the agent's.
	ofCoordinator bool
	// killed: the process ends at that very moment, and starts anew.
	killed bool
	// fixed: nothing goes on before a person changes the NodeENI.
	fixed bool
	// mayMiss: a life need not be so long.
	mayMiss bool

	node  string
	armed func() bool
	hit   time.Time
	told  bool // fixed
}

// effect is what may become of a call to EC2.
type effect struct {
	name  string
	fault cloud.Fault
	fixed bool
}

var effects = []effect{
	{name: "is throttled", fault: cloud.Fault{Code: "RequestLimitExceeded"}},
	{name: "fails", fault: cloud.Fault{Code: "InternalError"}},
	{name: "is refused until fixed", fault: cloud.Fault{Code: "UnauthorizedOperation"}, fixed: true},
	{name: "is done and said to have failed", fault: cloud.Fault{Code: "InternalError", After: true}},
	{name: "is done and the answer is lost", fault: cloud.Fault{After: true}},
	{name: "has its connection reset", fault: cloud.Fault{Reset: true}},
	{name: "hangs", fault: cloud.Fault{Hang: true}},
	{name: "is done and hangs", fault: cloud.Fault{Hang: true, After: true}},
}

// ofCalls are the ordeals of every call: each effect, with the process living on
// and being killed at that moment. n is how many calls of an action are hit, one
// in each ordeal.
func ofCalls(calls map[string]int, ofCoordinator bool) []*ordeal {
	var all []*ordeal
	for _, killed := range []bool{true, false} {
		for _, e := range effects {
			for _, action := range slices.Sorted(maps.Keys(calls)) {
				for i := range calls[action] {
					o := &ordeal{name: fmt.Sprintf("%s %d %s", action, i+1, e.name), fault: e.fault, ofCoordinator: ofCoordinator, killed: killed, fixed: e.fixed && !ofCoordinator}
					if killed {
						o.name += ", and its caller is killed"
					}
					o.fault.Action, o.fault.Skip, o.fault.Count = action, i, 1
					all = append(all, o)
				}
			}
		}
	}
	return all
}

// steps are the ordeals of being killed at the n-th step of a life, from first to
// last: before and after each call to EC2, and each write to the API server.
func steps(first, last int, ofCoordinator, kubernetes bool) []*ordeal {
	var all []*ordeal
	for n := first; n <= last; n++ {
		for _, after := range []bool{false, true} {
			when := map[bool]string{false: "before", true: "after"}[after]
			all = append(all, &ordeal{
				name: fmt.Sprintf("killed %s call %d", when, n), ofCoordinator: ofCoordinator, killed: true, mayMiss: true,
				fault: cloud.Fault{Skip: n - 1, Count: 1, Hang: true, After: after},
			})
			if kubernetes {
				all = append(all, &ordeal{
					name: fmt.Sprintf("killed %s write %d", when, n), ofCoordinator: ofCoordinator, killed: true, mayMiss: true,
					api: &testbed.APIFault{Skip: n - 1, Count: 1, Hang: true, After: after, Write: true, Path: "/apis/networking.k8s.aws/"},
				})
			}
		}
	}
	return all
}

// sample is all ordeals in a campaign, and otherwise n of them at random, of
// those that take no half minute: a call that hangs is given up after that.
func sample(t *testing.T, all []*ordeal, n int) []*ordeal {
	t.Helper()
	if inCampaign() {
		return all
	}
	seed := uint64(number(t, "ENI_SEED", int(rand.Uint64N(1_000_000))))
	t.Logf("ENI_SEED=%d repeats this choice", seed)
	all = slices.DeleteFunc(all, func(o *ordeal) bool { return o.fault.Hang && !o.killed })
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(n, len(all))]
}

// lives are those of ENIs that go on side by side, one on each node.
type lives struct {
	*cluster
	test    string
	ordeals []*ordeal
	made    map[string]map[string]bool // the ENIs that each node ever had
	before  map[string][]string        // what is foreign on each host
}

// undergo puts the ordeals through their lives, as many at a time as there are
// nodes, and tells how many were reached.
func (c *cluster) undergo(test string, all []*ordeal, nodes []string) (reached int) {
	began := time.Now()
	for batch := range slices.Chunk(all, len(nodes)) {
		var names []string
		for i, o := range batch {
			o.node = nodes[i]
			names = append(names, o.node+": "+o.name)
		}
		ok := c.run(batch[0].name, func(t *testing.T) {
			for _, name := range names {
				c.logf("%s", name)
			}
			l := &lives{cluster: c, test: test, ordeals: batch, made: map[string]map[string]bool{}, before: map[string][]string{}}
			l.live()
		})
		for _, o := range batch {
			if !o.hit.IsZero() {
				reached++
			}
		}
		if inCampaign() {
			fmt.Fprintf(os.Stderr, "%s %s: %v: %d ordeals from %q: ok %v\n", time.Now().Format(time.TimeOnly), test, time.Since(began).Round(time.Second), len(batch), batch[0].name, ok)
		}
		if !ok {
			return reached
		}
	}
	return reached
}

// life is the name of a node's NodeENI.
func life(node string) string { return "life-of-" + node }

func (l *lives) spec(description, group string) string {
	return fmt.Sprintf("subnetNames: [data]\nsecurityGroupNames: [%s]\ndeviceIndex: 2\nmtu: 9001\naddressing: Host\nsourceDestCheck: false\ndescription: %s", group, description)
}

func (l *lives) live() {
	stop := sync.OnceValue(l.watchInvariant())
	defer stop()
	defer l.Sim.Cloud().ClearFaults()
	if l.Gate != nil {
		defer l.Gate.Clear()
	}
	for _, o := range l.ordeals {
		l.made[o.node] = map[string]bool{}
		l.before[o.node] = l.host(o.node).foreign(nil)
		l.arm(o)
	}
	for _, o := range l.ordeals {
		l.agent(o.node)
		defer func() { l.agents[o.node].Kill() }() // there must not be two, whatever fails
		l.want(o.node, life(o.node), l.spec("first", "data"))
	}
	l.all("ready", func(o *ordeal) string { return l.have(o, "first", "data") })
	for _, o := range l.ordeals {
		l.want(o.node, life(o.node), l.spec("second", "storage"))
	}
	l.all("changed", func(o *ordeal) string { return l.have(o, "second", "storage") })
	for _, o := range l.ordeals {
		l.unwant(o.node)
	}
	l.all("gone", l.gone)
	if !l.alone {
		for _, o := range l.ordeals {
			l.must(l.DeleteNodeENI(l.t.Context(), life(o.node)))
		}
		l.all("its NodeENI is gone", l.freed)
	}
	for _, problem := range stop() {
		l.errorf("%s", problem)
	}
	for _, o := range l.ordeals {
		if n := len(l.made[o.node]); n != 1 {
			l.errorf("%s: the life of one ENI has seen %v", o.name, slices.Sorted(maps.Keys(l.made[o.node])))
		}
		if o.hit.IsZero() && !o.mayMiss {
			l.errorf("%s: no call has been hit", o.name)
		}
		l.must(l.agents[o.node].Stop())
	}
	l.sane()
}

// arm makes the fault wait for its call.
func (l *lives) arm(o *ordeal) {
	process, source := "agent-"+o.node, l.source(o.node)
	if o.ofCoordinator {
		process, source = "coordinator-1", "coordinator-1"
	}
	if o.api != nil {
		f := *o.api
		f.Process = process
		o.armed = l.Gate.Inject(f)
		return
	}
	f := o.fault
	f.SourceID = source
	l.must(l.Sim.Cloud().Inject(f))
	o.armed = func() bool { return slices.Contains(l.Sim.Cloud().Faults(), f) }
}

// unwant ends the wish for the node's ENI.
func (l *lives) unwant(node string) {
	if l.alone {
		l.unwrite(node, life(node))
		return
	}
	l.must(l.Unlabel(l.t.Context(), node, life(node)))
}

// all waits until something holds for each ordeal, while faults hit.
func (l *lives) all(what string, check func(*ordeal) string) {
	l.t.Helper()
	l.awaitWithin(settleWithin, what, func() string {
		for _, e := range l.managed() {
			if made := l.made[e.Tags[eni.TagNode]]; made != nil {
				made[e.ID] = true
			}
		}
		if p := l.coordinators["coordinator-1"]; p != nil && p.Exited() { // it lost the Lease on a machine that is busy
			l.coordinator("coordinator-1", eager...)
		}
		var problems []string
		for _, o := range l.ordeals {
			l.strike(o)
			if problem := check(o); problem != "" {
				problems = append(problems, o.node+": "+problem)
			}
		}
		return strings.Join(problems, "\n")
	})
}

// strike does what is to be done when the fault has hit.
func (l *lives) strike(o *ordeal) {
	if o.hit.IsZero() && o.armed() {
		return
	}
	first := o.hit.IsZero()
	if first {
		o.hit = time.Now()
		l.logf("%s %s: hit", o.hit.Format("05.000"), o.node)
	}
	if first && o.killed {
		time.Sleep(20 * time.Millisecond) // what is to be carried out is
		if o.ofCoordinator {
			l.coordinators["coordinator-1"].Kill()
			l.coordinator("coordinator-1", eager...)
		} else {
			l.restart(o.node)
		}
	}
	if o.fixed && !o.told && time.Since(o.hit) > 300*time.Millisecond {
		o.told = true
		l.fix(o.node)
	}
}

// fix changes something that matters to no ENI which is there.
func (l *lives) fix(node string) {
	if !l.alone {
		l.must(l.PatchNodeENI(l.t.Context(), life(node), `{"spec":{"tags":{"fixed":"yes"}}}`))
		return
	}
	path := filepath.Join(l.NodeENIDir(node), life(node)+".yaml")
	if text, err := os.ReadFile(path); err == nil { // or it is gone, and nothing has to be fixed
		l.write(node, life(node), string(text)+"  tags: {fixed: \"yes\"}\n")
	}
}

// have says what is not as it must be of the node's ENI.
func (l *lives) have(o *ordeal, description, group string) string {
	entries := l.entries(o.node, life(o.node))
	if len(entries) != 1 || entries[0].Phase != v1alpha1.PhaseReady {
		return fmt.Sprintf("reports %+v", entries)
	}
	e, ok := l.Sim.Cloud().Interface(entries[0].ENIID)
	switch {
	case !ok || e.Attachment == nil:
		return entries[0].ENIID + " is not attached"
	case e.Description != description || !slices.Equal(e.GroupIDs, []string{l.group(group)}) || e.SourceDestCheck || !e.Attachment.DeleteOnTermination:
		return fmt.Sprintf("it is %+v", e)
	}
	return l.configured(o.node, e, true, 9001)
}

// freed says whether the node's NodeENI is still there.
func (l *lives) freed(o *ordeal) string {
	all, err := l.NodeENIs(l.t.Context())
	if err != nil || slices.ContainsFunc(all, func(n v1alpha1.NodeENI) bool { return n.Name == life(o.node) }) {
		return fmt.Sprintf("there is its NodeENI: %v", err)
	}
	return ""
}

// gone says what is left of the node's ENI.
func (l *lives) gone(o *ordeal) string {
	for _, e := range l.managed() {
		if e.Tags[eni.TagNode] == o.node {
			return fmt.Sprintf("there is %s, %s", e.ID, e.Status)
		}
	}
	if entries := phases(l.entries(o.node, "")); entries != "" && (l.alone || entries != "Released") {
		return "reports " + entries
	}
	h := l.host(o.node)
	if left := h.band(); len(left) > 0 {
		return strings.Join(left, "\n")
	}
	if now := h.foreign(nil); !slices.Equal(now, l.before[o.node]) {
		return fmt.Sprintf("what is foreign is\n%s\nand was\n%s", strings.Join(now, "\n"), strings.Join(l.before[o.node], "\n"))
	}
	return ""
}
