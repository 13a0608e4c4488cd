package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/agenttest"
	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
)

// sizes are the numbers of ENIs that a node has in benchmarks: one, what a common
// instance type takes, and what a large one does.
var sizes = []int{1, 4, 15}

func benchNodeENIs(n int) []v1alpha1.NodeENI {
	var all []v1alpha1.NodeENI
	for i := range n {
		one := nodeENI(fmt.Sprintf("data-%02d", i), func(s *v1alpha1.NodeENISpec) {
			s.DeviceIndex, s.Addressing = int32(i+1), v1alpha1.AddressingHost
		})
		all = append(all, one)
	}
	return all
}

func benchDesired(n int) desired {
	return desire(benchNodeENIs(n), matching, "us-east-1a", testCatalog(), nil)
}

// settledView is a node that has what it wants.
func settledView(n int) view {
	v := coldView(n)
	for i, w := range v.desired.wants {
		e := eniFor(fmt.Sprintf("eni-%02d", i), string(w.UID), w.SubnetID).at(me, w.deviceIndex, "attached")
		e.Description, e.Owner.NodeENI = w.description, w.nodeENI
		e.MAC = fmt.Sprintf("02:00:00:00:00:%02x", i+1)
		e.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 1, byte(i + 10)})}
		v.enis = append(v.enis, e.ENI)
	}
	return v
}

// coldView is a node that has nothing yet, and knows it.
func coldView(n int) view {
	return view{cluster: "c", node: "node-a", instanceID: me, synced: true, desired: benchDesired(n), intents: map[inventory.Slot]intent{}, saved: map[inventory.Slot]intent{}}
}

func settledLinks(v view) map[string]linkState {
	links := map[string]linkState{}
	for _, e := range v.enis {
		links[e.ID] = linkState{Status: hostnet.Status{Present: true, Name: "eth1", MTU: 9001}}
	}
	return links
}

// benchSizes runs a benchmark for each number of ENIs.
func benchSizes(b *testing.B, name string, f func(b *testing.B, n int)) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("%s=%d", name, n), func(b *testing.B) {
			b.ReportAllocs()
			f(b, n)
		})
	}
}

func BenchmarkNextSettled(b *testing.B) {
	benchSizes(b, "enis", func(b *testing.B, n int) {
		v := settledView(n)
		for b.Loop() {
			if p := next(v); len(p.calls) > 0 || len(p.assigned) != n {
				b.Fatal(p.text())
			}
		}
	})
}

func BenchmarkNextCold(b *testing.B) {
	benchSizes(b, "enis", func(b *testing.B, n int) {
		v := coldView(n)
		for b.Loop() {
			if p := next(v); len(p.decide) != n {
				b.Fatal(p.text())
			}
		}
	})
}

func BenchmarkDesire(b *testing.B) {
	benchSizes(b, "nodeenis", func(b *testing.B, n int) {
		all, known := benchNodeENIs(n), testCatalog()
		for b.Loop() {
			if d := desire(all, matching, "us-east-1a", known, nil); len(d.wants) != n {
				b.Fatal(d.text())
			}
		}
	})
}

// The report of a node where nothing is new, and finding that out.
func BenchmarkReport(b *testing.B) {
	benchSizes(b, "enis", func(b *testing.B, n int) {
		v := settledView(n)
		s := situationOf(v, settledLinks(v), nil)
		now := time.Unix(100_000, 0)
		last := report(s, v1alpha1.NodeENIStateStatus{}, now)
		for b.Loop() {
			if r := report(s, last, now); len(r.ENIs) != n || !equality.Semantic.DeepEqual(r, last) {
				b.Fatal(r)
			}
		}
	})
}

// settledAgent is an agent that has nothing to do.
func settledAgent(n int) *Agent {
	all := benchNodeENIs(n)
	a := New(Config{
		Cluster: "c", Node: "node-a", Identity: imds.Identity{InstanceID: me, Zone: "us-east-1a"}, Log: slog.New(slog.DiscardHandler),
		Source: &source{Known: true, Desired: Snapshot{NodeExists: true, NodeUID: types.UID("node"), Labels: matching, NodeENIs: all}}, Links: &agenttest.Links{All: true}, Recorder: &agenttest.Recorder{},
	})
	a.catalog = testCatalog()
	now := time.Unix(100_000, 0)
	a.synced(now)
	a.inventory.Restore(settledView(n).enis, now)
	a.calls.running[saveKey] = call{} // by the first reconcile, or it would be started
	a.reconcile(context.Background(), now)
	delete(a.calls.running, saveKey)
	a.reporter.saved = a.reporter.current
	return a
}

// What each change on the host costs a node that has nothing to do, without netlink.
func BenchmarkPassSettled(b *testing.B) {
	benchSizes(b, "enis", func(b *testing.B, n int) {
		a := settledAgent(n)
		now := time.Unix(100_000, 0)
		for b.Loop() {
			a.reconcile(context.Background(), now)
		}
		if len(a.calls.running) > 0 {
			b.Fatal("there was something to do")
		}
	})
}

// A change on the host starts a reconcile, also where nothing has to be done: it must not
// cost more with every ENI than the ENI's own share.
func TestSettledPassAllocates(t *testing.T) {
	now := time.Unix(100_000, 0)
	allocs := func(n int) float64 {
		a := settledAgent(n)
		return testing.AllocsPerRun(20, func() { a.reconcile(context.Background(), now) })
	}
	const mostOfOne = 200
	one, fifteen := allocs(1), allocs(15)
	if one > mostOfOne || fifteen > 15*one {
		t.Errorf("%v allocations with one ENI, %v with 15; want at most %d, and at most 15 times as many", one, fifteen, mostOfOne)
	}
}
