package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

const (
	nodes = 12
	// patience bounds every wait.
	patience  = 90 * time.Second
	pollEvery = 5 * time.Millisecond
	labelKey  = "bench"
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
	*result.Bench
	*testbed.Testbed
	nodes map[string]*node
	turn  int
}

// node is a node with what is seen of it.
type node struct {
	sim.Node
	history
}

func newBed(bench *result.Bench) *bed {
	b := &bed{Bench: bench, nodes: map[string]*node{}}
	timing := realistic()
	topology := sim.Topology{
		Timing:        &timing,
		InstanceTypes: []cloud.InstanceType{{Name: "bench.large", MaxENIs: manySpec.enis + 1, IPv4PerENI: 4}},
	}
	for i := range nodes {
		topology.Nodes = append(topology.Nodes, sim.NodeSpec{Name: nodeName(i), Type: "bench.large"})
	}
	var err error
	b.Testbed, err = testbed.Start(b.Context(), testbed.Config{Programs: "bin", Dir: b.TempDir(), Topology: topology})
	b.Must(err)
	b.Cleanup(func() { b.Check(b.Testbed.Stop()) })
	for _, n := range b.Sim.Nodes() {
		b.nodes[n.Name] = &node{Node: n}
		stop, err := b.nodes[n.Name].record(n.Namespace)
		b.Must(err)
		b.Cleanup(stop)
	}
	b.Must(testbed.Watch(b.Context(), b.Client, kube.NodeENIStates, &v1alpha1.NodeENIState{}, func(state *v1alpha1.NodeENIState) {
		b.nodes[state.Name].add(nil, event{enis: state.Status.ENIs})
	}))
	for _, s := range []spec{hostSpec, noneSpec, renamedSpec, manySpec} {
		b.createNodeENIs(s)
	}
	b.startPrograms()
	return b
}

func nodeName(i int) string { return fmt.Sprintf("node-%d", i%nodes+1) }

func (b *bed) createNodeENIs(s spec) {
	for i := range s.enis {
		want := &v1alpha1.NodeENI{}
		want.Name = fmt.Sprintf("%s-%d", s.label, i+1)
		want.Spec = v1alpha1.NodeENISpec{
			NodeSelector: map[string]string{labelKey: s.label},
			SubnetNames:  []string{"data"}, SecurityGroupNames: []string{"data"},
			DeviceIndex: int32(i + 1), MTU: wantedMTU, Addressing: s.addressing, InterfaceName: s.name,
		}
		b.Must(b.Client.API.Post().Resource(kube.NodeENIs).Body(want).Do(b.Context()).Error())
	}
}

func (b *bed) startPrograms() {
	started := func(p *testbed.Process, err error) {
		b.Must(err)
		b.Cleanup(func() {
			b.Check(p.Check())
			p.Kill()
		})
	}
	started(b.StartCoordinator(b.Context(), "coordinator", "--poll-interval", "200ms", "--max-concurrent-eni-cleanup", "20"))
	for name := range b.nodes {
		b.Must(b.CreateNode(b.Context(), name, nil))
		started(b.StartAgent(b.Context(), name))
	}
	for name, n := range b.nodes {
		b.await(name+"'s agent has asked EC2 what is there", func() bool {
			return len(b.calls(n, time.Time{}, time.Now())) > 0
		})
	}
}

// await polls until something is so.
func (b *bed) await(what string, is func() bool) {
	for end := time.Now().Add(patience); !is(); b.Sleep(pollEvery) {
		if time.Now().After(end) {
			b.Must(fmt.Errorf("not within %v: %s", patience, what))
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

// lap is what was seen of a node that had nothing, from its label to Ready and back.
type lap struct {
	node string
	spec spec

	labelled time.Time // when the label was sent
	answered time.Time // when the API server had it
	ready    time.Time // when a watch has shown that all are Ready
	writes   int       // of the node's report until then
	enis     []v1alpha1.ENIState
	calls    []cloud.Call // until Ready
	events   []event      // until the label went

	unlabelled time.Time
	down       time.Time // when the last link was down
	released   time.Time // when a watch has shown that
}

// leaveApart keeps what a node does when it loses its label apart from what the next does.
const leaveApart = 100 * time.Millisecond

// run takes the laps of a series. Nodes leave together once all have had their turn: so
// the release delay passes once for all of them.
func (b *bed) run(s *series) {
	timing := quick
	if s.slow {
		timing = realistic()
	}
	b.Must(b.Sim.Cloud().SetTiming(timing))
	if s.crowded {
		defer b.disturb()()
	}
	for left := s.times; left > 0; {
		var laps []*lap
		for ; left > 0 && len(laps)+s.atOnce <= nodes; left-- {
			laps = append(laps, b.arriveTogether(s.spec, s.atOnce)...)
		}
		var leaving errgroup.Group
		for _, l := range laps {
			leaving.Go(func() error { return b.leave(l) })
			b.Sleep(leaveApart)
		}
		b.Must(leaving.Wait())
		for _, l := range laps {
			b.Must(s.add(l))
		}
		// The kernel takes links away under a lock that all namespaces share, and real
		// nodes have a kernel each.
		b.await("EC2 has nothing of earlier laps", func() bool { return len(b.ENIs()) == 0 })
	}
}

// next is a lap of the node whose turn it is.
func (b *bed) next(s spec) *lap {
	b.turn++
	return &lap{node: nodeName(b.turn), spec: s}
}

// arriveTogether begins laps of several nodes at once.
func (b *bed) arriveTogether(s spec, n int) []*lap {
	laps := make([]*lap, n)
	var group errgroup.Group
	for i := range laps {
		laps[i] = b.next(s)
		group.Go(func() error { return b.arrive(laps[i]) })
	}
	b.Must(group.Wait())
	return laps
}

// arrive labels a node and waits until its ENIs are Ready.
func (b *bed) arrive(l *lap) error {
	node := b.nodes[l.node]
	l.labelled = time.Now()
	if err := b.Label(b.Context(), l.node, labelKey, l.spec.label); err != nil {
		return fmt.Errorf("label %s: %w", l.node, err)
	}
	l.answered = time.Now()
	ready, err := node.await(b.Context(), l.labelled, l.node+" is Ready", reported(v1alpha1.PhaseReady, l.spec.enis))
	if err != nil {
		return err
	}
	l.ready, l.enis = ready.at, slices.DeleteFunc(slices.Clone(ready.enis), func(e v1alpha1.ENIState) bool { return e.ENIID == "" })
	l.calls = b.calls(node, l.labelled, l.ready)
	return nil
}

// leave takes the label off again, waits until the links are down, and then until
// the node reports nothing of this lap.
func (b *bed) leave(l *lap) error {
	node := b.nodes[l.node]
	l.unlabelled = time.Now()
	if err := b.Unlabel(b.Context(), l.node, labelKey); err != nil {
		return fmt.Errorf("unlabel %s: %w", l.node, err)
	}
	released, err := node.await(b.Context(), l.unlabelled, l.node+" is Released", reported(v1alpha1.PhaseReleased, len(l.enis)))
	if err != nil {
		return err
	}
	l.released = released.at
	for _, e := range l.enis {
		down, err := node.await(b.Context(), l.unlabelled, l.node+"'s link goes down", func(event event) bool {
			return event.message == unix.RTM_NEWLINK && event.mac == e.MAC && (event.gone || !event.up)
		})
		if err != nil {
			return err
		}
		if down.at.After(l.down) {
			l.down = down.at
		}
	}
	// What else it has names no ENI.
	if _, err := node.await(b.Context(), l.released, l.node+" reports nothing", reported(v1alpha1.PhaseReleased, 0)); err != nil {
		return err
	}
	l.events, err = node.since(l.labelled)
	l.events = slices.DeleteFunc(l.events, func(e event) bool { return e.at.After(l.unlabelled) })
	for _, e := range l.events {
		if e.message == 0 && !e.at.After(l.ready) {
			l.writes++
		}
	}
	return err
}

// repairsApart is the least time between a repair and the next deletion: longer than
// twice the agent's pace, which also looks at what its own change has come to.
const repairsApart = 250 * time.Millisecond

// repaired are what is deleted of an ENI, and the messages that tell of their return.
var repaired = []struct {
	what    string
	message uint16
}{{"rule", unix.RTM_NEWRULE}, {"route", unix.RTM_NEWROUTE}, {"address", unix.RTM_NEWADDR}}

// measureRepairs deletes the rule, the last route and the address of an ENI that is
// Ready, again and again.
func (b *bed) measureRepairs(m *measurement) {
	l := b.next(hostSpec)
	b.Must(b.arrive(l))
	node, eni := b.nodes[l.node], l.enis[0]
	h, err := node.Namespace.Netlink()
	b.Must(err)
	defer h.Close()
	table := firstTable + int(eni.DeviceIndex)
	rules, errRules := h.RuleListFiltered(unix.AF_INET, &netlink.Rule{Table: table}, netlink.RT_FILTER_TABLE)
	routes, errRoutes := h.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
	addresses, errAddresses := h.AddrList(nil, unix.AF_INET)
	b.Must(errors.Join(errRules, errRoutes, errAddresses))
	addresses = slices.DeleteFunc(addresses, func(a netlink.Addr) bool { return !slices.Contains(eni.Addresses, a.IP.String()) })
	if len(rules) == 0 || len(routes) == 0 || len(addresses) == 0 {
		b.Must(fmt.Errorf("%s was Ready with the rules %v, the routes %v and the addresses %v", l.node, rules, routes, addresses))
	}
	deletions := []func() error{
		func() error { return h.RuleDel(&rules[0]) },
		func() error { return h.RouteDel(&routes[len(routes)-1]) },
		func() error { return h.AddrDel(nil, &addresses[0]) },
	}
	for i, object := range repaired {
		for range m.repairs {
			b.Sleep(repairsApart + rand.N(100*time.Millisecond))
			deleted := time.Now()
			b.Must(deletions[i]())
			back, err := node.await(b.Context(), deleted, object.what+" comes back", func(e event) bool { return e.message == object.message && !e.gone })
			b.Must(err)
			m.back[i] = append(m.back[i], ms(back.at.Sub(deleted)))
		}
	}
	b.Must(b.leave(l))
}

// disturb changes what is none of the agent's business on all nodes until stop.
func (b *bed) disturb() (stop func()) {
	ctx, cancel := context.WithCancel(b.Context())
	var running errgroup.Group
	for name := range b.nodes {
		running.Go(func() error { return b.Disturb(ctx, name, 5*time.Millisecond) })
	}
	return func() {
		cancel()
		b.Must(running.Wait())
	}
}
