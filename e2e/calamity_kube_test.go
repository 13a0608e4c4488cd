package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// process picks an agent or a coordinator; source is its access key.
func (tr *trial) process(r *rand.Rand) (name, source string) {
	if r.IntN(3) == 0 {
		name = pick(r, "coordinator-1", "coordinator-2")
		return name, name
	}
	node := pick(r, tr.nodes...)
	return "agent-" + node, tr.source(node)
}

// restartProcess kills a process and starts it anew.
func (tr *trial) restartProcess(name string) {
	if p, ok := tr.coordinators[name]; ok {
		p.Kill()
		tr.startCoordinator(name)
		return
	}
	node := name[len("agent-"):]
	tr.agents[node].Kill()
	tr.agent(node)
}

// stir is a change that makes agents or the coordinator act.
func (tr *trial) stir(r *rand.Rand) string {
	return pick(r, tr.opLabel, tr.opLabel, tr.opCreate, tr.opChange, tr.opDelete, tr.opDetach)(r)
}

// opKillAt kills a process at the moment of a call to EC2 or of a write to the
// API server, before it or after it, with no answer to it.
func (tr *trial) opKillAt(r *rand.Rand) string {
	name, source := tr.process(r)
	after := r.IntN(2) == 0
	var at string
	var armed func() bool
	if r.IntN(3) > 0 {
		actions := []string{createCall, attachCall, modifyCall, describeCall}
		if name == source {
			actions = []string{detachCall, deleteCall, describeCall}
		}
		f := cloud.Fault{Action: pick(r, actions...), SourceID: source, After: after, Hang: true, Count: 1}
		tr.must(tr.Sim.Cloud().Inject(f))
		at, armed = f.Action, func() bool { return slices.Contains(tr.Sim.Cloud().Faults(), f) }
	} else {
		at, armed = "a write", tr.Gate.Inject(testbed.APIFault{Process: name, Write: true, After: after, Hang: true, Count: 1})
	}
	what := tr.stir(r)
	for end := time.Now().Add(3 * time.Second); armed() && time.Now().Before(end); {
		time.Sleep(2 * time.Millisecond)
	}
	if !armed() {
		if after { // it is carried out
			time.Sleep(20 * time.Millisecond)
		}
		tr.restartProcess(name)
	}
	return fmt.Sprintf("kill %s at %s (after %v, reached %v): %s", name, at, after, !armed(), what)
}

// opTwoLeaders freezes coordinators with calls under way for longer than a Lease
// lasts, so that the one that led still believes so when it goes on.
func (tr *trial) opTwoLeaders(r *rand.Rand) string {
	name := pick(r, "coordinator-1", "coordinator-2")
	delay := time.Duration(r.IntN(5000)) * time.Millisecond
	tr.must(tr.Sim.Cloud().Inject(cloud.Fault{Action: pick(r, detachCall, deleteCall), SourceID: name, Delay: delay, Count: 2}))
	what := pick(r, tr.opDelete, tr.opLabel)(r)
	time.Sleep(time.Duration(r.IntN(1500)) * time.Millisecond)
	p, d := tr.coordinators[name], time.Duration(3000+r.IntN(3000))*time.Millisecond
	if p.Exited() {
		return name + " cannot be frozen, it does not run"
	}
	tr.must(p.Pause())
	tr.in(d, func() { _ = p.Resume() })
	return fmt.Sprintf("%s is frozen for %v with calls under way for %v: %s", name, d, delay, what)
}

// opAPI makes requests to the API server go wrong, or has it away.
func (tr *trial) opAPI(r *rand.Rand) string {
	d := time.Duration(300+r.IntN(3000)) * time.Millisecond
	name, _ := tr.process(r)
	gate := func(f testbed.APIFault) string {
		tr.Gate.Inject(f)
		return fmt.Sprintf("requests to the API server: %+v", f)
	}
	switch k := r.IntN(32); {
	case k < 4:
		return gate(testbed.APIFault{Process: name, Write: true, Status: pick(r, 429, 500, 503, 409, 504, 403, 401), Count: 1 + r.IntN(4)})
	case k < 8:
		return gate(testbed.APIFault{Process: name, Write: true, After: true, Count: 1 + r.IntN(3)})
	case k < 10:
		return gate(testbed.APIFault{Process: name, Write: true, After: r.IntN(2) == 0, Hang: true, Count: 1})
	case k < 12:
		return gate(testbed.APIFault{Process: name, Watch: true, Status: pick(r, http.StatusGone, 429, 500), Count: 2})
	case k < 14:
		return gate(testbed.APIFault{Process: name, Delay: time.Duration(r.IntN(700)) * time.Millisecond, Count: 20})
	case k < 17:
		tr.Gate.Cut()
		return "all connections to the API server are cut"
	case k < 20:
		tr.must(tr.ControlPlane.APIServer.Pause())
		tr.in(d, func() { _ = tr.ControlPlane.APIServer.Resume() })
		return fmt.Sprintf("freeze the API server for %v", d)
	case k < 28:
		tr.Gate.Stall(name, d)
		return fmt.Sprintf("the watches of %s tell nothing for %v", name, d)
	case k < 31:
		tr.must(tr.ControlPlane.Etcd.Pause())
		tr.in(d, func() { _ = tr.ControlPlane.Etcd.Resume() })
		return fmt.Sprintf("freeze etcd for %v", d)
	}
	tr.ControlPlane.APIServer.Kill()
	tr.must(tr.ControlPlane.StartAPIServer(tr.t.Context()))
	return "the API server is killed and starts again"
}

// opFlap takes a label away and gives it back, again and again.
func (tr *trial) opFlap(r *rand.Rand) string {
	node, n := pick(r, tr.nodes...), 2+r.IntN(5)
	for range n {
		tr.must(tr.Unlabel(tr.t.Context(), node, "ng"))
		time.Sleep(time.Duration(r.IntN(pick(r, 150, 150, 4000))) * time.Millisecond)
		tr.must(tr.Label(tr.t.Context(), node, "ng", "multi-eni"))
		time.Sleep(time.Duration(r.IntN(150)) * time.Millisecond)
	}
	return fmt.Sprintf("the label of %s comes and goes %d times", node, n)
}

// opRecreate deletes a NodeENI and creates one of the same name, as soon as it
// can be.
func (tr *trial) opRecreate(r *rand.Rand) string {
	name := pick(r, nodeENINames...)
	err := tr.DeleteNodeENI(tr.t.Context(), name)
	body, spec := tr.newNodeENI(r, name)
	var created error
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if created = tr.Client.API.Post().Resource(kube.NodeENIs).Body(body).Do(tr.t.Context()).Error(); created == nil {
			break
		}
	}
	return fmt.Sprintf("delete NodeENI %s: %v, and create it anew %s: %v", name, err, spec, created)
}

// opLoseReport deletes what an agent has reported, while it lives.
func (tr *trial) opLoseReport(r *rand.Rand) string {
	node := pick(r, tr.nodes...)
	err := tr.Client.API.Delete().Resource(kube.NodeENIStates).Name(node).Do(tr.t.Context()).Error()
	return fmt.Sprintf("the report of %s is deleted: %v", node, err)
}

// opSubnetFull takes a subnet's last addresses until everything is let go.
func (tr *trial) opSubnetFull(r *rand.Rand) string {
	if !tr.harsh {
		return "no subnet is full in this run"
	}
	s := pick(r, tr.Sim.Topology().Subnets...)
	if s.Name == "nodes" {
		return "the subnets of nodes are not full"
	}
	tr.must(tr.Sim.Cloud().SetFreeAddresses(s.ID, 0))
	tr.full = append(tr.full, s.ID)
	return "the subnet " + s.ID + " is full"
}

// roomy is how many addresses a subnet gets that has been full.
const roomy = 60

// opReplace has another instance take a node's name, before or after the old one
// has gone.
func (tr *trial) opReplace(r *rand.Rand) string {
	node, ctx := pick(r, tr.nodes...), tr.t.Context()
	// A new link of ours may be taken for a stranger's for a moment.
	tr.await("what is foreign is as it was", func() string { return tr.foreigners().diff(tr.before) })
	old, err := tr.Sim.Node(node)
	tr.must(err)
	labels := tr.labels(ctx, node)
	tr.agents[node].Kill()
	tr.must(tr.Sim.Cloud().Terminate(old.ID))
	var lost error
	switch r.IntN(3) {
	case 0: // a moment later, as the cloud controller does
		time.Sleep(time.Duration(r.IntN(1000)) * time.Millisecond)
		fallthrough
	case 1: // the garbage collector is as fast
		tr.must(tr.DeleteNode(ctx, node))
		lost = tr.Client.API.Delete().Resource(kube.NodeENIStates).Name(node).Do(ctx).Error()
	default: // it is slower than the new instance
		tr.must(tr.DeleteNode(ctx, node))
	}
	tr.await("the instance is terminated", func() string {
		for _, n := range tr.Sim.Nodes() {
			if n.ID == old.ID {
				return "it is not"
			}
		}
		return ""
	})
	specs := tr.Sim.Topology().Nodes
	spec := specs[slices.IndexFunc(specs, func(s sim.NodeSpec) bool { return s.Name == node })]
	spec.ID = ""
	_, err = tr.Sim.AddNode(spec)
	tr.must(err)
	tr.addForeignTo(node)
	tr.before = tr.foreigners()
	tr.must(tr.CreateNode(ctx, node, labels))
	tr.agent(node)
	return fmt.Sprintf("%s is another instance; its report: %v", node, lost)
}
