package e2e

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// Pods that claim ENIs are created and deleted while everything around them goes wrong.
// None is ever bound without its ENIs, see inspector, and in the end each pod has them, and
// there are no others.
//
// A run waits for the scheduler most of the time, which looks at claims every five seconds.
// So many runs share a control plane and an account. Each has a namespace, two nodes, two
// NodeENIs, and subnets of its own, and faults that hit only its own agents. What all share
// goes wrong more rarely.
func TestOnDemandProperty(t *testing.T) {
	t.Parallel()
	needsScheduler(t)
	campaign{test: "TestOnDemandProperty", runs: 4, ops: 20, takes: 40 * time.Second, atOnce: 16, begin: newDemandTrials}.run(t)
}

// demandField is what runs share.
type demandField struct {
	*onDemand
	mu sync.Mutex // of the shared processes
}

// demandTrial is where runs are done one after the other.
type demandTrial struct {
	*onDemand // with the nodes of this trial only
	trial     *trial
	field     *demandField
	name      string // of the namespace, and the value of the nodes' label
	nodes     []string
	pods      map[string]int // that are alive, and how many ENIs each may need
	made      int            // pods
	// kept are the claims of pods that outlive them, and retired those that are not used
	// any more.
	kept    map[string]string
	retired map[string]bool
}

// mostENIs is how many ENIs the pods that are alive may need together, of the six for which
// two nodes have room: so any one that needs two finds them on one node.
const mostENIs = 4

func newDemandTrials(t *testing.T, n int) []arena {
	topology := sim.Topology{Nodes: sim.Nodes(2 * n)} // with three ENIs each, in two zones by turns
	for z, zone := range []string{"us-east-1a", "us-east-1b"} {
		subnet := func(name string, third, bits int) {
			cidr := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(128*z + third), 0}), bits)
			topology.Subnets = append(topology.Subnets, sim.Subnet{Name: name, Zone: zone, CIDR: cidr})
		}
		subnet("nodes", 0, 20)
		for i := range n {
			subnet(fmt.Sprint("data-", i+1), 16+2*i, 24)
			subnet(fmt.Sprint("storage-", i+1), 17+2*i, 24)
		}
	}
	c := gated(t, topology)
	f := &demandField{onDemand: c.withScheduler()}
	ctx, cancel := context.WithCancel(context.Background())
	var keeping sync.WaitGroup
	keeping.Go(func() { f.keep(ctx) })
	keeping.Go(func() { f.watchSurplus(ctx) })
	keeping.Go(func() { f.watchBound(ctx) })
	t.Cleanup(func() {
		f.later.Wait()
		cancel()
		keeping.Wait()
	})
	var arenas []arena
	for i := range n {
		arenas = append(arenas, f.newTrial(i+1))
	}
	return arenas
}

func (f *demandField) newTrial(i int) *demandTrial {
	c := &cluster{
		Testbed: f.Testbed, t: f.t, dir: f.dir, warm: f.warm, agents: map[string]*testbed.Process{}, only: []string{fmt.Sprint("node-", 2*i-1), fmt.Sprint("node-", 2*i)},
	}
	f.t.Cleanup(func() {
		for _, p := range c.agents {
			p.Kill()
		}
	})
	d := &demandTrial{
		onDemand: &onDemand{cluster: c, inspector: f.inspector, objects: f.objects},
		trial:    &trial{cluster: c, nodes: c.only}, field: f, name: fmt.Sprint("run-", i), nodes: c.only, pods: map[string]int{}, kept: map[string]string{}, retired: map[string]bool{},
	}
	for _, node := range d.nodes {
		c.must(c.Label(c.t.Context(), node, "run", d.name))
	}
	c.must(d.objects.Create(c.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: d.name}}))
	c.must(c.Apply(c.t.Context(), extendedResource(d.name, "alpha-"+d.name)))
	c.await("pods are admitted to "+d.name, func() string {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: d.name, Name: "default"}}
		if err := d.objects.Get(c.t.Context(), client.ObjectKeyFromObject(account), account); err != nil {
			return err.Error()
		}
		return ""
	})
	return d
}

func (d *demandTrial) shared() *cluster { return d.cluster }

// nodeENIs are the names of those of this trial.
func (d *demandTrial) nodeENIs() []string { return []string{"alpha-" + d.name, "beta-" + d.name} }

func (d *demandTrial) run(seed uint64, ops int) time.Duration {
	d.trial.harsh = seed%2 == 1
	r := rand.New(rand.NewPCG(seed, 1<<32))
	d.skewClocks(r, "agent-"+d.nodes[0], "agent-"+d.nodes[1])
	number, _ := strings.CutPrefix(d.name, "run-")
	for name, subnet := range map[string]string{"alpha-": "data-", "beta-": "storage-"} {
		body := mustJSON(map[string]any{"apiVersion": "networking.k8s.aws/v1alpha1", "kind": "NodeENI", "metadata": map[string]any{"name": name + d.name}, "spec": map[string]any{
			"attach": "OnDemand", "nodeSelector": map[string]any{"run": d.name}, "subnetNames": []string{subnet + number}, "securityGroupNames": []string{"data"},
		}})
		d.must(d.attempt(func() error {
			err := d.Client.API.Post().Resource(kube.NodeENIs).Body(body).Do(d.t.Context()).Error()
			if apierrors.IsAlreadyExists(err) {
				return nil // the answer to the attempt before was lost
			}
			return err
		}))
	}
	d.startAgents()
	for i := range ops {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		d.logf("%s %2d: %s", time.Now().Format("05.000"), i, d.operation(r))
		time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond)
	}
	d.calm()
	settled := d.settle("each pod has its ENIs", d.compare)
	d.inspected()
	d.idle()
	d.clear()
	d.inspected()
	d.sane()
	return settled
}

// inspected fails the run if something was, for a moment at least, as it must never be.
func (d *demandTrial) inspected() {
	for _, problem := range d.take(append(d.nodes, d.name)...) {
		d.errorf("%s", problem)
	}
}

func (d *demandTrial) startAgents() {
	for _, node := range d.nodes {
		if p := d.agents[node]; p == nil || p.Exited() {
			d.agent(node)
		}
	}
}

// calm ends the faults of this run.
func (d *demandTrial) calm() {
	d.later.Wait()
	for _, node := range d.nodes {
		d.Sim.Cloud().ClearFaultsOf(d.source(node))
		d.Gate.ClearOf("agent-" + node)
	}
	for _, id := range d.trial.full {
		d.must(d.Sim.Cloud().SetFreeAddresses(id, roomy))
	}
	d.trial.full = nil
	d.startAgents()
	if d.trial.harsh { // what only people can fix waits for a change
		for _, name := range d.nodeENIs() {
			d.must(d.attempt(func() error { return d.PatchNodeENI(d.t.Context(), name, `{"spec":{"description":"fixed"}}`) }))
		}
	}
}

// clear deletes all objects of the run, and waits until everything is gone.
func (d *demandTrial) clear() {
	for _, object := range []client.Object{&corev1.Pod{}, &resourcev1.ResourceClaimTemplate{}, &resourcev1.ResourceClaim{}} {
		d.must(d.attempt(func() error {
			return d.objects.DeleteAllOf(d.t.Context(), object, client.InNamespace(d.name), client.GracePeriodSeconds(0))
		}))
	}
	clear(d.pods)
	clear(d.kept)
	awaited := d.awaited // by what has been settled before
	defer func() { d.awaited = awaited }()
	for _, name := range d.nodeENIs() {
		d.must(d.attempt(func() error { return client.IgnoreNotFound(d.DeleteNodeENI(d.t.Context(), name)) }))
	}
	d.settle("everything is gone", func() string {
		var claims resourcev1.ResourceClaimList
		if err := d.objects.List(d.t.Context(), &claims, client.InNamespace(d.name)); err != nil || len(claims.Items) > 0 {
			return fmt.Sprintf("%v, %d claims", err, len(claims.Items))
		}
		if left := d.managed(); len(left) > 0 {
			return fmt.Sprintf("%d ENIs, such as %s: %+v", len(left), left[0].ID, left[0].Attachment)
		}
		for _, name := range d.nodeENIs() {
			if err := d.Client.API.Get().Resource(kube.NodeENIs).Name(name).Do(d.t.Context()).Error(); !kube.IsNotFound(err) {
				return fmt.Sprintf("NodeENI %s: %v", name, err)
			}
		}
		return ""
	})
}

// settle waits until there is no problem any more, and returns how long that took.
func (d *demandTrial) settle(what string, problem func() string) time.Duration {
	began, last := time.Now(), ""
	d.awaitWithin(settleWithin, what, func() string {
		d.startAgents()
		now := problem()
		if now != last {
			last = now
			d.awaited = cmp.Or(now, d.awaited)
			d.logf("%s %s", time.Now().Format("05.000"), cmp.Or(now, what))
		}
		if now != "" {
			time.Sleep(time.Second) // the API server has other runs to serve
		}
		return now
	})
	return time.Since(began)
}

// compare says what is not as it must be: each pod that is alive is bound and has ENIs of
// its own on its node, and there are no others.
func (d *demandTrial) compare() string {
	holders := map[string]string{} // claims, by ENI
	for _, name := range slices.Sorted(maps.Keys(d.pods)) {
		var pod corev1.Pod
		if err := d.objects.Get(d.t.Context(), client.ObjectKey{Namespace: d.name, Name: name}, &pod); err != nil {
			return err.Error()
		}
		if pod.Spec.NodeName == "" {
			return fmt.Sprintf("pod %s is not bound: %s%s", name, d.conditions(&pod), d.claimText(&pod))
		}
		names := claimNames(&pod)
		if len(names) == 0 {
			return fmt.Sprintf("pod %s has no claim", name)
		}
		for _, claimName := range names {
			var claim resourcev1.ResourceClaim
			if err := d.objects.Get(d.t.Context(), client.ObjectKey{Namespace: d.name, Name: claimName}, &claim); err != nil {
				return err.Error()
			}
			enis, problem := d.enisOf(&claim)
			if problem != "" {
				return fmt.Sprintf("pod %s: %s", name, problem)
			}
			for _, device := range claim.Status.Devices {
				if !meta.IsStatusConditionTrue(device.Conditions, driver.ConditionAttached) {
					return fmt.Sprintf("pod %s: device %s: %+v", name, device.Device, device.Conditions)
				}
			}
			for _, e := range enis {
				if other := holders[e.ID]; other != "" && other != claimName {
					return fmt.Sprintf("claims %s and %s have %s", other, claimName, e.ID)
				}
				holders[e.ID] = claimName
				if problem := d.configured(pod.Spec.NodeName, e, false, 0); problem != "" {
					return problem
				}
			}
		}
	}
	for _, e := range d.managed() {
		if holders[e.ID] == "" {
			return fmt.Sprintf("no pod claims %s of place %s on %s", e.ID, e.Tags[eni.TagPlace], e.Tags[eni.TagNode])
		}
	}
	return ""
}
