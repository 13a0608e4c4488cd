package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
	"github.com/aws-multi-eni/aws-multi-eni/internal/fleet"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

const (
	// idle is how long ENIs stay that no claim has, as by default.
	idle = time.Minute
	// quiet is how long the fleet is watched while nothing happens.
	quiet = time.Minute
	// settle is how long the last reports may take.
	settle = 12 * time.Second
	// without is how many agents are started without --on-demand, to compare their memory.
	without = 100
	// startAtOnce is how many agents connect in parallel, unmeasured.
	startAtOnce = 20
)

// figures is what was found.
type figures struct {
	size
	memoryWithout, memoryWith float64 // per agent, heap and stacks in bytes
	watches                   map[string]int
	offered                   outcome // from the labels until all nodes offer devices
	sliceBytes                int     // of a node's slices
	quiet, cold, warm, wave   outcome
	released                  outcome
	left                      int // ENIs in the end
}

// outcome is what a phase has come to.
type outcome struct {
	done      time.Duration
	times     []time.Duration // of pods
	calls     fleet.Calls
	api       fleet.APIServer
	scheduler time.Duration // CPU
}

type bench struct {
	*result.Bench
	*figures
	cluster   *fleet.Cluster
	agents    *fleet.Agents
	scheduler *testbed.Process
	objects   client.WithWatch
	pods      *pods
	nodes     []string
	dir       string
}

func measure(t *result.Bench, s size) *figures {
	b := &bench{Bench: t, figures: &figures{size: s}}
	b.start()
	b.compareMemory()
	b.offer()
	b.Say("nothing happens for %v ...", quiet)
	b.count(&b.quiet, func() { b.Sleep(quiet) })
	b.cluster.Cloud.SetThrottle(true)
	b.Say("%d pods, one after the other ...", b.single)
	singles := b.run(&b.cold, "cold", b.single, 500*time.Millisecond)
	b.Must(b.pods.delete(b.Context(), singles))
	b.await("claims are gone", func() bool { return b.claims() == 0 })
	b.Sleep(2 * time.Second) // the slices show that their ENIs are attached
	b.Say("the same again, while their ENIs are attached ...")
	singles = b.run(&b.warm, "warm", b.single, 500*time.Millisecond)
	b.Must(b.pods.delete(b.Context(), singles))
	b.await("ENIs are released", func() bool { return len(b.cluster.ENIs()) == 0 })
	b.Sleep(settle) // the buckets fill
	b.Say("%d pods at once ...", b.size.pods)
	names := b.run(&b.wave, "wave", b.size.pods, 0)
	b.Say("all pods are deleted ...")
	b.count(&b.released, func() {
		b.Must(b.pods.delete(b.Context(), names))
		b.await("ENIs are released", func() bool { return len(b.cluster.ENIs()) == 0 })
	})
	b.left = len(b.cluster.ENIs())
	return b.figures
}

// start starts everything but the agents.
func (b *bench) start() {
	b.dir = b.TempDir()
	b.agents = fleet.NewAgents(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	ctx := b.Context()
	var limits []string // as control planes of that size have them
	if b.size.nodes >= 1000 {
		limits = []string{"--max-requests-inflight=1600", "--max-mutating-requests-inflight=800"}
	}
	var err error
	b.cluster, err = fleet.StartCluster(ctx, fleet.ClusterConfig{Dir: b.dir, Hosts: b.agents, Timing: sim.RealisticTiming(), APIServerArgs: limits})
	b.Must(err)
	b.Cleanup(func() { b.Check(b.cluster.Stop()) })
	b.Must(testbed.InstallOnDemand(ctx, b.cluster.ControlPlane))
	kill := func(p *testbed.Process, err error) *testbed.Process {
		b.Must(err)
		b.Cleanup(p.Kill)
		return p
	}
	leader, err := b.cluster.KeepCoordinator(ctx, filepath.Join("bin", "eni-coordinator"))
	b.Must(err)
	b.Cleanup(leader.Stop)
	kill(testbed.StartControllerManager(ctx, b.cluster.ControlPlane, b.cluster.Client, b.dir))
	b.scheduler = kill(testbed.StartScheduler(ctx, b.cluster.ControlPlane, b.dir))
	for i := range b.size.nodes {
		b.nodes = append(b.nodes, fmt.Sprint("node-", i+1))
	}
	b.Cleanup(func() { b.Check(b.agents.Stop(b.nodes)) })
	b.Must(b.cluster.AddNodes(ctx, b.nodes, nil))
	for _, name := range b.nodes {
		b.Must(testbed.OfferRoom(ctx, b.cluster.Client, name))
	}
	b.objects, err = client.NewWithWatch(b.cluster.ControlPlane.AdminConfig(), client.Options{})
	b.Must(err)
	b.pods, err = followPods(ctx, b.objects)
	b.Must(err)
	b.Must(b.cluster.ControlPlane.Apply(ctx, fmt.Appendf(nil, `
apiVersion: networking.k8s.aws/v1alpha1
kind: NodeENI
metadata: {name: appliance}
spec:
  attach: OnDemand
  nodeSelector: {ng: multi-eni}
  subnetNames: [%[1]s]
  securityGroupNames: [%[1]s]
`, fleet.NodeENIs(1)[0])))
}

// startAgents starts agents, and waits until each has heard from EC2.
func (b *bench) startAgents(names []string, onDemand time.Duration) {
	access, err := b.cluster.Nodes(b.Context(), names)
	b.Must(err)
	servers := b.cluster.Servers()
	servers.AtOnce, servers.OnDemand, servers.Dir = startAtOnce, onDemand, b.dir
	b.Must(b.agents.Start(servers, access))
	b.await("all agents have heard from EC2", func() bool { return b.agents.Unready() == 0 })
	b.Sleep(settle)
}

// compareMemory starts some agents without --on-demand, and then all with it.
func (b *bench) compareMemory() {
	perAgent := func(names []string, before fleet.Stats) float64 {
		after := b.agents.Stats()
		return float64(after.Heap+after.Stacks-before.Heap-before.Stacks) / float64(len(names))
	}
	some := b.nodes[:min(without, len(b.nodes))]
	b.Say("%d agents start without --on-demand ...", len(some))
	empty := b.agents.Stats()
	b.startAgents(some, 0)
	b.memoryWithout = perAgent(some, empty)
	b.Must(b.agents.Stop(some))
	b.Sleep(time.Second)
	empty = b.agents.Stats()
	b.Say("%d agents start with --on-demand ...", len(b.nodes))
	b.startAgents(b.nodes, idle)
	b.memoryWith = perAgent(b.nodes, empty)
}

// offer selects all nodes, and waits until each offers its devices.
func (b *bench) offer() {
	b.Say("all nodes are selected ...")
	b.count(&b.offered, func() {
		b.Must(b.cluster.Label(b.Context(), b.nodes))
		for len(b.offering()) < len(b.nodes) { // which is a large list
			b.Sleep(3 * time.Second)
		}
		b.Sleep(settle)
	})
	b.watches = b.offered.api.Watches
	for _, size := range b.offering() {
		b.sliceBytes = max(b.sliceBytes, size)
	}
}

// offering are the bytes of the slices of each node that offers devices.
func (b *bench) offering() map[string]int {
	var list resourcev1.ResourceSliceList
	b.Must(b.objects.List(b.Context(), &list))
	bytes, devices := map[string]int{}, map[string]bool{}
	for _, s := range list.Items {
		data, err := json.Marshal(s)
		b.Must(err)
		bytes[s.Spec.Pool.Name] += len(data)
		devices[s.Spec.Pool.Name] = devices[s.Spec.Pool.Name] || len(s.Spec.Devices) > 0
	}
	for node := range bytes {
		if !devices[node] {
			delete(bytes, node)
		}
	}
	return bytes
}

func (b *bench) claims() int {
	var list resourcev1.ResourceClaimList
	b.Must(b.objects.List(b.Context(), &list))
	return len(list.Items)
}

// run creates pods, and measures until all are bound.
func (b *bench) run(o *outcome, prefix string, n int, interval time.Duration) (names []string) {
	b.count(o, func() {
		var err error
		names, err = b.pods.create(b.Context(), prefix, n, interval)
		b.Must(err)
		b.await("all pods are bound", func() bool {
			var all bool
			o.times, all = b.pods.times(names)
			return all
		})
	})
	b.Say("all are bound after %.1f s: p50 %.2f s, p99 %.2f s", o.done.Seconds(), o.quantile(.5), o.quantile(.99))
	return names
}

// count carries out a phase, and counts until it has ended, with the last reports.
func (b *bench) count(o *outcome, do func()) {
	before, err := b.cluster.Requests(b.Context())
	b.Must(err)
	calls, cpu, began := b.cluster.Calls(), fleet.ReadProcess(b.scheduler.Pid()).CPU, time.Now()
	do()
	o.done = time.Since(began)
	if o != &b.quiet && o != &b.warm && o != &b.cold {
		b.Sleep(2 * time.Second)
	}
	after, err := b.cluster.Requests(b.Context())
	b.Must(err)
	o.calls, o.api = b.cluster.Calls().Since(calls), after.Since(before)
	o.scheduler = fleet.ReadProcess(b.scheduler.Pid()).CPU - cpu
}

// await waits until something is so, a few times as long as the buckets allow.
func (b *bench) await(what string, yes func() bool) {
	for end := time.Now().Add(10*time.Minute + 4*time.Duration(b.bound())*time.Second); !yes(); b.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			b.Must(fmt.Errorf("%s: not in time; EC2 has %d ENIs, pods wait since %v", what, len(b.cluster.ENIs()), b.waiting()))
		}
	}
}

// waiting are times of pods that are not bound, for messages.
func (b *bench) waiting() (since []time.Duration) {
	b.pods.mu.Lock()
	defer b.pods.mu.Unlock()
	for name, began := range b.pods.created {
		if b.pods.took[name] == 0 {
			since = append(since, time.Since(began).Round(time.Second))
		}
	}
	slices.Sort(since)
	return since[:min(len(since), 5)]
}

func (o *outcome) quantile(q float64) float64 { return result.Quantile(o.times, q).Seconds() }

// written is what agents write.
var written = []string{kube.NodeENIStates, kube.ResourceSlices, kube.ResourceClaims + "/status", "events"}
