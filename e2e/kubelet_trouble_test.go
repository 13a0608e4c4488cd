package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

const (
	fullEvent    = `FailedScheduling: running PreBind plugin "DynamicResources": device binding failed: …, reason=InsufficientFreeAddressesInSubnet, message="… (10.0.16.0/20): the subnet has no free addresses: EC2 refused CreateNetworkInterface (InsufficientFreeAddressesInSubnet: The specified subnet does not have enough free addresses to satisfy the request.); free addresses in the subnet, or list another subnet in this zone; the call is retried automatically"`
	refusedEvent = `FailedScheduling: running PreBind plugin "DynamicResources": device binding failed: …, reason=UnauthorizedOperation, message="IAM does not allow ec2:CreateNetworkInterface: EC2 refused CreateNetworkInterface (UnauthorizedOperation: You are not authorized to perform this operation.); allow ec2:CreateNetworkInterface, and ec2:CreateTags for it, in the IAM policy of the calling role; packaging/iam contains the required policies"`
	waitsEvent   = `FailedScheduling: 0/1 nodes are available: 1 cannot allocate all claims. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.`
)

// TestKubeletRefusals: EC2 creates no ENI. The Events of the pod, which kubectl describe
// shows, say why.
func TestKubeletRefusals(t *testing.T) {
	k := newKubelets(t, 1, nil)
	k.must(k.Apply(t.Context(), appliance("appliance", "")))
	k.awaitDevices("node-1", "appliance", 3)
	k.run("the subnet is full", func(*testing.T) {
		subnet := k.subnet("data", "node-1")
		k.must(k.Sim.Cloud().SetFreeAddresses(subnet, 0))
		k.launch("full", "appliance", "node-1")
		k.awaitEvent("full", fullEvent)
		k.awaitEvent("full", waitsEvent) // while the agent offers no device of this subnet
		k.must(k.Sim.Cloud().SetFreeAddresses(subnet, roomy))
		k.again("full", "again")
	})
	k.run("the agent may not create ENIs", func(*testing.T) {
		k.fault("node-1", cloud.Fault{Action: createCall, Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation."})
		k.launch("refused", "appliance", "node-1")
		k.awaitEvent("refused", refusedEvent)
		k.Sim.Cloud().ClearFaults()
		k.again("refused", "and again")
	})
	k.nothingLeft()
}

// again changes the NodeENI, which has the agent try again at once, and waits until the pod
// runs.
func (k *kubelets) again(pod, description string) {
	k.t.Helper()
	k.must(k.PatchNodeENI(k.t.Context(), "appliance", fmt.Sprintf(`{"spec":{"description":%q}}`, description)))
	k.awaitRunning(pod)
	k.end(pod)
	k.awaitENIs(0)
}

// TestKubeletKilled: each program of a node is killed while a pod starts and another one
// runs. Both have their links in the end, no pod runs without, and nothing is left.
func TestKubeletKilled(t *testing.T) {
	k := newKubelets(t, 1, nil)
	k.must(k.Apply(t.Context(), appliance("appliance", "")))
	k.awaitDevices("node-1", "appliance", 3)
	n := k.nodes["node-1"]
	k.launch("steady", "appliance", "node-1")
	steady := k.awaitRunning("steady")
	start := map[string]func() error{
		"eni-dra": nil, "eni-agent": nil, // the kubelet starts them again
		"kubelet":    n.StartKubelet,
		"containerd": func() error { return n.StartContainerd(t.Context()) },
	}
	kill := func(program string) {
		k.t.Helper()
		k.await(program+" runs", func() string { // the kubelet may be about to start it again
			if len(n.Pids(program)) == 0 {
				return "it does not"
			}
			return ""
		})
		k.must(n.Kill(program))
		if start[program] != nil {
			time.Sleep(time.Second)
			k.must(start[program]())
		}
	}
	for _, program := range slices.Sorted(maps.Keys(start)) {
		for moment, await := range map[string]func(pod string){
			"at once":    func(string) {},
			"when bound": func(pod string) { k.awaitBound(pod) },
		} {
			k.run(program+" "+moment, func(*testing.T) {
				pod := strings.ReplaceAll(program+" "+moment, " ", "-")
				k.launch(pod, "appliance", "node-1")
				await(pod)
				kill(program)
				k.awaitRunning(pod)
				k.delete(pod)
				kill(program)
				k.awaitGone(pod)
				if now := k.awaitRunning("steady"); now.Status.ContainerStatuses[0].ContainerID != steady.Status.ContainerStatuses[0].ContainerID {
					k.t.Errorf("the pod that ran has another container: %+v", now.Status.ContainerStatuses)
				}
				k.awaitAgent("node-1")
			})
		}
	}
	k.end("steady")
	k.nothingLeft()
}
