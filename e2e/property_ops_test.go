package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// operation does something at random and says what.
func (tr *trial) operation(r *rand.Rand) string {
	return choose(r, []operation{
		{14, tr.opLabel},
		{10, tr.opCreate},
		{14, tr.opChange},
		{4, tr.opDelete},
		{8, tr.opDetach},
		{6, tr.opDeleteENI},
		{10, tr.opAgent},
		{7, tr.opCoordinator},
		{6, tr.onNode(tr.opDamage)},
		{3, tr.onNode(tr.opDaemon)},
		{1, tr.onNode(tr.opFlood)},
		{3, tr.onNode(tr.opForeign)},
		{4, tr.onNode(tr.opVanish)},
		{3, tr.onNode(tr.opReboot)},
		{5, tr.onNode(tr.opMetadata)},
		{2, tr.onNode(tr.opInstanceState)},
		{14, tr.opFault},
		{3, tr.opStorm},
		{4, tr.opLag},
		{8, tr.opKillAt},
		{4, tr.opTwoLeaders},
		{10, tr.opAPI},
		{3, tr.opFlap},
		{4, tr.opRecreate},
		{3, tr.opSubnetFull},
		{2, tr.opLoseNode},
		{3, tr.opReplace},
		{3, tr.opLoseReport},
		{3, tr.onNode(tr.opReaddress)},
		{2, tr.onNode(tr.opRegroup)},
		{3, tr.onNode(tr.opIsolate)},
	})
}

// operation is something that is done as often as its weight.
type operation struct {
	weight int
	do     func(*rand.Rand) string
}

// choose does one of the operations.
func choose(r *rand.Rand, operations []operation) string {
	total := 0
	for _, o := range operations {
		total += o.weight
	}
	n := r.IntN(total)
	for _, o := range operations {
		if n -= o.weight; n < 0 {
			return o.do(r)
		}
	}
	return "" // not reached
}

func pick[T any](r *rand.Rand, all ...T) T { return all[r.IntN(len(all))] }

// some picks at least one.
func some(r *rand.Rand, all ...string) []string {
	var chosen []string
	for _, v := range all {
		if r.IntN(2) == 0 {
			chosen = append(chosen, v)
		}
	}
	if len(chosen) == 0 {
		chosen = []string{pick(r, all...)}
	}
	r.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	return chosen
}

// begin gives the operations something to work on.
func (tr *trial) begin(r *rand.Rand) {
	for _, node := range tr.nodes {
		tr.must(tr.Label(tr.t.Context(), node, "ng", "multi-eni"))
	}
	tr.logf("%s", tr.opCreate(r))
	tr.logf("%s", tr.opCreate(r))
}

func (tr *trial) opLabel(r *rand.Rand) string {
	node := pick(r, tr.nodes...)
	key, value := "ng", "multi-eni"
	if r.IntN(4) == 0 {
		key, value = "role", "storage"
	}
	if r.IntN(3) == 0 {
		tr.must(tr.Unlabel(tr.t.Context(), node, key))
		return fmt.Sprintf("unlabel %s %s", node, key)
	}
	tr.must(tr.Label(tr.t.Context(), node, key, value))
	return fmt.Sprintf("label %s %s", node, key)
}

// nodeENINames are the NodeENIs that come and go.
var nodeENINames = []string{"alpha", "beta", "gamma"}

// spec is a change of every part of a spec, or of one.
func (tr *trial) spec(r *rand.Rand, name string, all bool) map[string]any {
	parts := []func(spec map[string]any){
		func(spec map[string]any) { // as ids or as names
			names := some(r, "data", "storage")
			if r.IntN(2) == 0 {
				spec["subnetNames"], spec["subnetIDs"] = names, nil
				return
			}
			var ids []string
			for _, s := range tr.Sim.Topology().Subnets {
				if slices.Contains(names, s.Name) {
					ids = append(ids, s.ID)
				}
			}
			spec["subnetNames"], spec["subnetIDs"] = nil, ids
		},
		func(spec map[string]any) {
			spec["securityGroupNames"], spec["securityGroupIDs"] = some(r, "data", "storage"), nil
			if r.IntN(2) == 0 {
				spec["securityGroupIDs"] = []string{tr.group("nodes")}
			}
		},
		func(spec map[string]any) { spec["addressing"] = pick(r, "None", "Host", "Host") },
		func(spec map[string]any) { spec["mtu"] = pick(r, 1500, 3000, 9001) },
		func(spec map[string]any) { spec["interfaceName"] = pick(r, "", "", name, name+"0") },
		func(spec map[string]any) { spec["description"] = pick(r, "", "one", "two") },
		func(spec map[string]any) { spec["deleteOnTermination"] = r.IntN(2) == 0 },
		func(spec map[string]any) { spec["sourceDestCheck"] = r.IntN(2) == 0 },
		func(spec map[string]any) {
			spec["nodeSelector"] = pick(r,
				map[string]any{"ng": "multi-eni", "role": nil}, map[string]any{"ng": "multi-eni", "role": nil}, map[string]any{"role": "storage", "ng": nil})
		},
	}
	spec := map[string]any{}
	if !all {
		parts[r.IntN(len(parts))](spec)
		return spec
	}
	for _, part := range parts {
		part(spec)
	}
	return spec
}

func (tr *trial) opCreate(r *rand.Rand) string {
	name := pick(r, nodeENINames...)
	body, spec := tr.newNodeENI(r, name)
	// It may be there already, or still be on its way out.
	err := tr.Client.API.Post().Resource(kube.NodeENIs).Body(body).Do(tr.t.Context()).Error()
	return fmt.Sprintf("create NodeENI %s %s: %v", name, spec, err)
}

func (tr *trial) newNodeENI(r *rand.Rand, name string) (body, specText []byte) {
	spec := tr.spec(r, name, true)
	spec["deviceIndex"] = 1 + r.IntN(4)
	delete(spec, "nodeSelector")
	spec["nodeSelector"] = pick(r, map[string]any{"ng": "multi-eni"}, map[string]any{"ng": "multi-eni"}, map[string]any{"role": "storage"})
	for key, value := range spec {
		if value == nil {
			delete(spec, key)
		}
	}
	return mustJSON(map[string]any{
		"apiVersion": "networking.k8s.aws/v1alpha1", "kind": "NodeENI",
		"metadata": map[string]any{"name": name}, "spec": spec,
	}), mustJSON(spec)
}

func (tr *trial) opChange(r *rand.Rand) string {
	name := pick(r, nodeENINames...)
	patch := mustJSON(map[string]any{"spec": tr.spec(r, name, false)})
	return fmt.Sprintf("change NodeENI %s %s: %v", name, patch, tr.PatchNodeENI(tr.t.Context(), name, string(patch)))
}

func (tr *trial) opDelete(r *rand.Rand) string {
	name := pick(r, nodeENINames...)
	return fmt.Sprintf("delete NodeENI %s: %v", name, tr.DeleteNodeENI(tr.t.Context(), name))
}

// someENI is one that is there for people to see: ready, and shown by EC2. What
// happens to an ENI within moments of its birth looks like a lag to its agent,
// which then is patient for as long as lags may last.
func (tr *trial) someENI(r *rand.Rand) string {
	shown, _, err := tr.Sim.Cloud().DescribeNetworkInterfaces(cloud.DescribeInput{})
	tr.must(err)
	ready := map[string]bool{}
	for _, node := range tr.nodes {
		for _, entry := range tr.entries(node, "") {
			ready[entry.ENIID] = entry.Phase == v1alpha1.PhaseReady
		}
	}
	shown = slices.DeleteFunc(shown, func(e cloud.Interface) bool {
		_, there := tr.Sim.Cloud().Interface(e.ID)
		return !there || !ready[e.ID]
	})
	if len(shown) == 0 {
		return ""
	}
	return pick(r, shown...).ID
}

func (tr *trial) opDetach(r *rand.Rand) string {
	id := tr.someENI(r)
	if id == "" {
		return "detach by hand: there is no ENI"
	}
	return fmt.Sprintf("detach by hand %s: %v", id, tr.Sim.Cloud().DetachByHand(id))
}

func (tr *trial) opDeleteENI(r *rand.Rand) string {
	id := tr.someENI(r)
	if id == "" {
		return "delete by hand: there is no ENI"
	}
	// An ENI that was made minutes ago and has not been described since looks
	// as if a lag hid it, for as long as lags may last. So its agent is made to
	// describe first, and has time to notice.
	node := tr.eni(id).Tags[eni.TagNode]
	tr.agents[node].Kill()
	tr.agent(node)
	time.Sleep(500 * time.Millisecond)
	err := tr.Sim.Cloud().DeleteByHand(id)
	for end := time.Now().Add(600 * time.Millisecond); err != nil && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		_ = tr.Sim.Cloud().DetachByHand(id) // until it is
		err = tr.Sim.Cloud().DeleteByHand(id)
	}
	for end := time.Now().Add(5 * time.Second); err == nil && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if !slices.ContainsFunc(tr.entries(node, ""), func(e v1alpha1.ENIState) bool { return e.ENIID == id }) {
			break
		}
	}
	return fmt.Sprintf("delete by hand %s: %v", id, err)
}

func (tr *trial) opAgent(r *rand.Rand) string {
	node := pick(r, tr.nodes...)
	p := tr.agents[node]
	switch fate := r.IntN(16); {
	case p.Exited():
		tr.agent(node)
		return "start the agent of " + node
	case fate < 4:
		tr.must(p.Pause())
		tr.in(time.Duration(r.IntN(2500))*time.Millisecond, func() { _ = p.Resume() })
		return "freeze the agent of " + node + " for a while"
	case fate < 7:
		return fmt.Sprintf("stop the agent of %s: %v", node, p.Stop())
	case fate < 10:
		p.Kill()
		return "kill the agent of " + node
	}
	p.Kill()
	tr.agent(node)
	return "kill and start the agent of " + node
}

func (tr *trial) opCoordinator(r *rand.Rand) string {
	name := pick(r, "coordinator-1", "coordinator-2")
	p := tr.coordinators[name]
	switch {
	case p.Exited():
		tr.startCoordinator(name)
		return "start " + name
	case r.IntN(3) == 0:
		tr.must(p.Pause())
		tr.in(time.Duration(r.IntN(4000))*time.Millisecond, func() { _ = p.Resume() })
		return "freeze " + name + " for a while"
	}
	p.Kill()
	return "kill " + name
}

// opForeign adds what is none of ours, and must stay.
func (tr *trial) opForeign(node string, r *rand.Rand) string {
	text, lines := tr.stranded(node, r)
	tr.before.hosts[node] = slices.Sorted(slices.Values(append(tr.before.hosts[node], lines...)))
	return text
}

// onNode is an operation on any node.
func (tr *trial) onNode(op func(node string, r *rand.Rand) string) func(*rand.Rand) string {
	return func(r *rand.Rand) string { return op(pick(r, tr.nodes...), r) }
}

func (tr *trial) opFault(r *rand.Rand) string {
	f := anyFault(r)
	f.Action = pick(r, createCall, attachCall, modifyCall, detachCall, deleteCall, describeCall, "DescribeSubnets", "DescribeSecurityGroups", "*")
	if tr.harsh && r.IntN(4) == 0 {
		f = cloud.Fault{Action: f.Action, Count: f.Count, Code: pick(r, "UnauthorizedOperation", "InsufficientFreeAddressesInSubnet", "OperationNotPermitted",
			"NetworkInterfaceLimitExceeded", "AttachmentLimitExceeded", "SecurityGroupsPerInterfaceLimitExceeded", "AuthFailure")}
	}
	if r.IntN(12) == 0 {
		tr.Sim.Cloud().SetThrottle(true)
	}
	tr.must(tr.Sim.Cloud().Inject(f))
	return "fault " + string(mustJSON(f))
}

func (tr *trial) opLag(r *rand.Rand) string {
	timing := tr.timing
	timing.DescribeLag = time.Duration(r.IntN(3000)) * time.Millisecond
	timing.DescribeSpread = time.Duration(r.IntN(3000)) * time.Millisecond
	timing.IMDSLag = time.Duration(r.IntN(5000)) * time.Millisecond
	timing.PlugDelay = time.Duration(r.IntN(pick(r, 500, 2000, 8000))) * time.Millisecond
	timing.Attach = time.Duration(r.IntN(1500)) * time.Millisecond
	timing.Detach = time.Duration(r.IntN(1500)) * time.Millisecond
	timing.DeleteInUse = time.Duration(r.IntN(800)) * time.Millisecond
	tr.must(tr.Sim.Cloud().SetTiming(timing))
	return "timing " + string(mustJSON(timing))
}

// opLoseNode has a Node deleted, and with it, as the garbage collector would,
// its report; then the kubelet registers the Node again and starts a new pod,
// for the old one's token was bound to the old Node. That agent has nothing but
// describes to go by, so they do not lag from here on; what they hid from it would
// be found five minutes later. So would be that an ENI is gone which it is given
// for the same token: two decisions for one place in one second have one.
func (tr *trial) opLoseNode(r *rand.Rand) string {
	node := pick(r, tr.nodes...)
	ctx := tr.t.Context()
	labels := tr.labels(ctx, node)
	tr.must(tr.DeleteNode(ctx, node))
	err := tr.Client.API.Delete().Resource(kube.NodeENIStates).Name(node).Do(ctx).Error()
	time.Sleep(time.Second + time.Duration(r.IntN(500))*time.Millisecond)
	tr.must(tr.CreateNode(ctx, node, labels))
	timing := tr.Sim.Cloud().Timing()
	timing.DescribeLag, timing.DescribeSpread = 0, 0
	tr.must(tr.Sim.Cloud().SetTiming(timing))
	tr.agents[node].Kill()
	tr.agent(node)
	return fmt.Sprintf("Node %s is deleted and comes back; its report: %v", node, err)
}

func (tr *trial) labels(ctx context.Context, node string) map[string]string {
	var n kube.Node
	tr.must(tr.Client.Core.Get().Resource(kube.Nodes).Name(node).Do(ctx).Into(&n))
	return n.Labels
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}
