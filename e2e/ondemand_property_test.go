package e2e

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// Pods that claim ENIs are created and deleted while everything around them goes wrong.
// None is ever bound without its ENI, and in the end each pod has one, and there is no
// other.
func TestOnDemandProperty(t *testing.T) {
	t.Parallel()
	needsScheduler(t)
	campaign{test: "TestOnDemandProperty", runs: 2, ops: 20, takes: 30 * time.Second, begin: newDemandTrial}.run(t)
}

// demandTrial is a cluster with pods that claim ENIs, under random operations.
type demandTrial struct {
	*trial
	*onDemand
	alive map[string]bool // pods
	made  int             // pods
}

// morePods is how many pods are alive at most: two less than there is room for.
const morePods = 7

func newDemandTrial(t *testing.T) arena {
	tr := &trial{cluster: gated(t, sim.Topology{Nodes: sim.Nodes(3)})} // with three ENIs each
	d := &demandTrial{trial: tr, onDemand: tr.withScheduler(), alive: map[string]bool{}}
	tr.nodes = nodesOf(3)
	tr.startAll()
	return d
}

func (d *demandTrial) shared() *cluster { return d.trial.cluster }

// The same cluster is that of both.
func (d *demandTrial) c() *cluster { return d.trial.cluster }

func (d *demandTrial) run(seed uint64, ops int) time.Duration {
	c := d.c()
	d.harsh = seed%2 == 1
	stop := sync.OnceValue(c.watchInvariant())
	defer stop()
	r := rand.New(rand.NewPCG(seed, 1<<32))
	c.skewClocks(r, "agent-node-1", "agent-node-2", "agent-node-3", "coordinator-1", "coordinator-2")
	for name, subnet := range map[string]string{"alpha": "data", "beta": "storage"} {
		c.must(c.Apply(c.t.Context(), appliance(name, fmt.Sprintf("subnetNames: [%s]\nsecurityGroupNames: [data]", subnet))))
	}
	for i := range ops {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		c.logf("%s %2d: %s", time.Now().Format("05.000"), i, d.operation(r))
		time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond)
	}
	d.calm()
	d.startScheduling()
	settled := d.settle("each pod has its ENI", d.compare)
	for _, problem := range append(stop(), d.boundEarly()...) {
		c.errorf("%s", problem)
	}
	c.idle()
	for name := range d.alive {
		d.remove(name)
	}
	clear(d.alive)
	for _, name := range []string{"alpha", "beta"} {
		c.must(c.DeleteNodeENI(c.t.Context(), name))
	}
	d.settle("everything is gone", func() string {
		if all, err := c.NodeENIs(c.t.Context()); err != nil || len(all) > 0 || len(c.managed()) > 0 {
			return fmt.Sprintf("%v, NodeENIs %d, ENIs\n%s", err, len(all), c.enis())
		}
		return ""
	})
	c.sane()
	c.Sim.Cloud().ResetCalls()
	return settled
}

// settle waits until there is no problem any more, and returns how long that took.
func (d *demandTrial) settle(what string, problem func() string) time.Duration {
	began, last := time.Now(), ""
	d.c().awaitWithin(settleWithin, what, func() string {
		d.startAll()
		now := problem()
		if now != last {
			last = now
			d.c().awaited = cmp.Or(now, d.c().awaited)
			d.c().logf("%s %s", time.Now().Format("05.000"), cmp.Or(now, what))
		}
		return now
	})
	return time.Since(began)
}

// operation does something at random and says what.
func (d *demandTrial) operation(r *rand.Rand) string {
	ops := []struct {
		weight int
		do     func(*rand.Rand) string
	}{
		{30, d.opPod},
		{18, d.opPodGone},
		{8, d.opAgent},
		{4, d.opCoordinator},
		{10, d.opFault},
		{4, d.c().opStorm},
		{4, d.opLag},
		{8, d.opKilledWhile},
		{8, d.opAPI},
		{4, d.opSubnetFull},
		{4, d.opScheduling},
	}
	total := 0
	for _, op := range ops {
		total += op.weight
	}
	n := r.IntN(total)
	for _, op := range ops {
		if n -= op.weight; n < 0 {
			return op.do(r)
		}
	}
	return "" // not reached
}

func (d *demandTrial) opPod(r *rand.Rand) string {
	if len(d.alive) == morePods {
		return "there are pods enough"
	}
	d.made++
	name := fmt.Sprint("pod-", d.made)
	selector := pick(r, "", ofNodeENI("alpha"), ofNodeENI("beta"))
	d.alive[name] = true
	d.create(selector, name)
	return fmt.Sprintf("pod %s claims %q", name, selector)
}

func (d *demandTrial) opPodGone(r *rand.Rand) string {
	if len(d.alive) == 0 {
		return "there is no pod"
	}
	name := pick(r, slices.Sorted(maps.Keys(d.alive))...)
	delete(d.alive, name)
	d.remove(name)
	return fmt.Sprintf("pod %s is deleted", name)
}

// opKilledWhile kills an agent at the moment of a call for a pod.
func (d *demandTrial) opKilledWhile(r *rand.Rand) string {
	node := pick(r, d.nodes...)
	f := cloud.Fault{Action: pick(r, createCall, attachCall, modifyCall), SourceID: d.c().source(node), After: r.IntN(2) == 0, Hang: true, Count: 1}
	d.c().must(d.c().Sim.Cloud().Inject(f))
	armed := func() bool { return slices.Contains(d.c().Sim.Cloud().Faults(), f) }
	what := d.opPod(r)
	for end := time.Now().Add(3 * time.Second); armed() && time.Now().Before(end); {
		time.Sleep(2 * time.Millisecond)
	}
	if f.After {
		time.Sleep(20 * time.Millisecond)
	}
	reached := !armed()
	d.c().restart(node)
	return fmt.Sprintf("kill the agent of %s at %s (after %v, reached %v): %s", node, f.Action, f.After, reached, what)
}

// opScheduling kills what decides where pods run, or who has claims.
func (d *demandTrial) opScheduling(r *rand.Rand) string {
	name := pick(r, "kube-scheduler", "kube-controller-manager")
	d.c().coordinators[name].Kill()
	time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
	d.startScheduling()
	return name + " is killed and starts again"
}

func (d *demandTrial) startScheduling() {
	for name, start := range map[string]func(context.Context) (*testbed.Process, error){"kube-scheduler": d.c().StartScheduler, "kube-controller-manager": func(ctx context.Context) (*testbed.Process, error) { return d.c().StartControllerManager(ctx) }} {
		if p := d.c().coordinators[name]; p.Exited() {
			p, err := start(d.c().t.Context())
			d.c().must(err)
			d.c().coordinators[name] = p
		}
	}
}

// compare says what is not as it must be: each pod that is alive is bound and has an ENI
// of its own on its node, and there are no others.
func (d *demandTrial) compare() string {
	c := d.c()
	holders := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(d.alive)) {
		var pod corev1.Pod
		if err := d.objects.Get(c.t.Context(), types.NamespacedName{Namespace: "default", Name: name}, &pod); err != nil {
			return err.Error()
		}
		if pod.Spec.NodeName == "" {
			return fmt.Sprintf("pod %s is not bound: %s%s", name, d.conditions(&pod), d.claimText(&pod))
		}
		if problem := d.unattached(&pod); problem != "" {
			return problem
		}
		claim, ok := d.claimOf(&pod)
		if !ok {
			return fmt.Sprintf("pod %s has no claim", name)
		}
		e, _, ok := d.eniOf(&claim)
		if other := holders[e.ID]; !ok || other != "" {
			return fmt.Sprintf("pod %s has the ENI %q, which is also that of %q", name, e.ID, other)
		}
		holders[e.ID] = name
		if problem := c.configured(pod.Spec.NodeName, e, false, 0); problem != "" {
			return problem
		}
	}
	for _, e := range c.managed() {
		if holders[e.ID] == "" {
			return fmt.Sprintf("no pod claims %s of place %s on %s", e.ID, e.Tags[eni.TagPlace], e.Tags[eni.TagNode])
		}
	}
	return ""
}
