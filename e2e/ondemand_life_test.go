package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// schedulerTick is how often the scheduler looks at the conditions of a claim.
const schedulerTick = 5 * time.Second

// TestOnDemand: the life of an ENI that a pod claims.
func TestOnDemand(t *testing.T) {
	t.Parallel()
	d := newOnDemand(t, 2, nil)
	d.coordinator("coordinator-1", eager...)
	d.agent("node-1", "node-2")
	d.must(d.Apply(t.Context(), appliance("appliance", "")))
	for _, node := range []string{"node-1", "node-2"} {
		for _, device := range d.awaitDevices(node, "appliance", 3) { // of an m5.xlarge's four ENIs
			d.checkDevice(node, device)
		}
	}
	d.run("no ENI before a pod claims one", func(*testing.T) {
		d.stays("no ENI", time.Second, func() string {
			if len(d.managed()) > 0 {
				return d.enis()
			}
			return ""
		})
	})
	var first cloud.Interface
	var node string
	d.run("a pod with a claim", func(t *testing.T) {
		began := time.Now()
		d.create(ofNodeENI("appliance"), "first")
		var pod corev1.Pod
		pod, first = d.awaitBound("first")
		node = pod.Spec.NodeName
		if took := time.Since(began); took > 3*schedulerTick {
			t.Errorf("it was bound after %v", took)
		}
		d.claims(node, "first", first)
		d.expectCalls(d.source(node), map[string]int{createCall: 1, attachCall: 1, modifyCall: 1})
	})
	d.run("the next pod gets the ENI that is warm", func(t *testing.T) {
		d.remove("first")
		d.awaitWarm(node, "appliance", first.ID)
		d.create(ofNodeENI("appliance")+" && device.attributes['"+driver.Name+"'].attached", "second")
		pod, second := d.awaitBound("second")
		same(t, second.ID, first.ID)
		same(t, pod.Spec.NodeName, node)
		d.claims(node, "second", second)
		d.expectCalls(d.source(node), map[string]int{createCall: 1, attachCall: 1, modifyCall: 1})
	})
	d.run("it is released when no pod claims it", func(*testing.T) {
		d.remove("second")
		d.awaitENIs(0)
		d.await("its place can be had again", func() string {
			for _, device := range d.awaitDevices(node, "appliance", 3) {
				if attached(device) || len(device.Taints) > 0 {
					return fmt.Sprintf("%+v", device)
				}
			}
			return ""
		})
	})
	d.run("resources.limits", d.testExtendedResource)
	d.run("EC2 takes longer than the scheduler's tick", func(*testing.T) {
		d.timing(func(timing *cloud.Timing) { timing.PlugDelay, timing.Attach = 7*time.Second, 7*time.Second })
		d.create("", "slow")
		pod, e := d.awaitBound("slow")
		d.claims(pod.Spec.NodeName, "slow", e)
	})
}

// testExtendedResource: a pod without a claim of its own, whose container only asks for the
// extended resource of a DeviceClass.
func (d *onDemand) testExtendedResource(t *testing.T) {
	d.must(d.Apply(t.Context(), extendedResource("appliance", "appliance")+`---
apiVersion: v1
kind: Pod
metadata: {name: limits, namespace: default}
spec:
  containers: [{name: main, image: example.com/appliance, resources: {limits: {networking.k8s.aws/appliance: 1}}}]
`))
	pod, e := d.awaitBound("limits")
	d.claims(pod.Spec.NodeName, "limits", e)
	d.remove("limits")
	d.awaitENIs(0)
}

// checkDevice compares a device that is not attached with its node.
func (d *onDemand) checkDevice(node string, device resourcev1.Device) {
	d.t.Helper()
	n, err := d.Sim.Node(node)
	d.must(err)
	same(d.t, text(device, "zone"), n.Zone)
	same(d.t, text(device, "subnetID"), d.subnet("data", node))
	if attached(device) || device.BindsToNode == nil || !*device.BindsToNode || len(device.BindingConditions) != 1 || len(device.BindingFailureConditions) != 1 || len(device.Taints) > 0 {
		d.t.Errorf("%s offers %+v", node, device)
	}
}

// claims checks that the node reports the pod's claim of the ENI, and that its link is ready
// on the host.
func (d *onDemand) claims(node, pod string, e cloud.Interface) {
	d.t.Helper()
	p := d.pod(pod)
	claim, ok := d.claimOf(&p)
	if !ok {
		d.t.Fatalf("pod %s has no claim", pod)
	}
	d.await(fmt.Sprintf("%s reports the claim of %s", node, pod), func() string {
		for _, entry := range d.entries(node, "") {
			if entry.ENIID == e.ID && entry.Phase == v1alpha1.PhaseReady && entry.Claim != nil && string(entry.Claim.UID) == string(claim.UID) {
				return ""
			}
		}
		return fmt.Sprintf("%+v", d.entries(node, ""))
	})
	if problem := d.configured(node, e, false, 0); problem != "" {
		d.t.Error(problem)
	}
}

// awaitWarm waits until the node reports the ENI as Ready and claimed by no pod.
func (d *onDemand) awaitWarm(node, nodeENI, id string) {
	d.t.Helper()
	d.await(id+" is warm", func() string {
		for _, entry := range d.entries(node, nodeENI) {
			if entry.ENIID == id && entry.Phase == v1alpha1.PhaseReady && entry.Claim == nil {
				return ""
			}
		}
		return fmt.Sprintf("%+v", d.entries(node, nodeENI))
	})
}

// TestOnDemandPlaces: a node has room for so many ENIs, with those of NodeENIs that always
// have one and those of others. A pod for which there is none waits, and nothing is made.
func TestOnDemandPlaces(t *testing.T) {
	t.Parallel()
	d := newOnDemand(t, 1, nil)
	d.coordinator("coordinator-1", eager...)
	d.warm = 10 * time.Minute
	d.agent("node-1")
	d.must(d.Apply(t.Context(), nodeENI("storage", "subnetNames: [storage]\nsecurityGroupNames: [data]")))
	d.awaitReady("node-1", "storage", 1)
	d.must(d.Apply(t.Context(), appliance("appliance", "")))
	d.must(d.Apply(t.Context(), appliance("probe", "subnetNames: [storage]\nsecurityGroupNames: [data]")))
	d.awaitDevices("node-1", "appliance", 3)
	d.awaitDevices("node-1", "probe", 3)
	if n := d.room("node-1"); n != 2 {
		t.Errorf("there is room for %d ENIs", n)
	}
	d.create(ofNodeENI("appliance"), "a")
	d.create(ofNodeENI("probe"), "b")
	_, a := d.awaitBound("a")
	_, b := d.awaitBound("b")
	same(t, a.SubnetID, d.subnet("data", "node-1"))
	same(t, b.SubnetID, d.subnet("storage", "node-1"))
	d.create(ofNodeENI("probe"), "surplus")
	d.awaitPodEvent("surplus", "FailedScheduling")
	d.stays("the surplus pod waits", 2*time.Second, func() string {
		if pod := d.pod("surplus"); pod.Spec.NodeName != "" || len(d.managed()) != 3 {
			return pod.Spec.NodeName + "\n" + d.enis()
		}
		return ""
	})
	// The ENI that becomes free is another NodeENI's. It makes room although it is warm.
	d.remove("a")
	_, surplus := d.awaitBound("surplus")
	if surplus.ID == b.ID {
		t.Errorf("two pods have %s", b.ID)
	}
	if n := len(d.calls(d.source("node-1"), createCall)); n != 4 {
		t.Errorf("%d ENIs were created", n)
	}
}

// TestOnDemandSelection: claims select by attributes.
func TestOnDemandSelection(t *testing.T) {
	t.Parallel()
	d := newOnDemand(t, 3, dualStackZones)
	d.coordinator("coordinator-1", eager...)
	d.agent(nodesOf(3)...)
	d.must(d.Apply(t.Context(), appliance("four", "")))
	d.must(d.Apply(t.Context(), appliance("dual", "subnetNames: [data, storage]\nsecurityGroupNames: [data]\nipv6: {addresses: 1}\nmtu: 1500")))
	for _, node := range nodesOf(3) {
		d.awaitDevices(node, "four", 3)
	}
	attribute := "device.attributes['" + driver.Name + "']."
	d.create(attribute+"zone == 'us-east-1b' && "+attribute+"nodeENI == 'four'", "zone")
	d.create(attribute+"ipv6", "ipv6")
	d.create(fmt.Sprintf("%ssubnetID == '%s'", attribute, d.subnet("storage", "node-1")), "subnet")
	d.create(attribute+"mtu == 1500", "mtu")
	pod, _ := d.awaitBound("zone")
	same(t, pod.Spec.NodeName, "node-2") // the only one in this zone
	if _, e := d.awaitBound("ipv6"); len(e.IPv6Addresses) != 1 {
		t.Errorf("it has %+v", e)
	}
	_, e := d.awaitBound("subnet")
	same(t, e.SubnetID, d.subnet("storage", "node-1"))
	d.awaitBound("mtu")
}

// TestOnDemandFails: an ENI that cannot be made. The pod says why, and another node has it.
func TestOnDemandFails(t *testing.T) {
	t.Parallel()
	d := newOnDemand(t, 2, func(topology *sim.Topology) {
		topology.Nodes[0].Type = "m5.4xlarge" // eight ENIs
	})
	d.coordinator("coordinator-1", eager...)
	d.must(d.Unlabel(t.Context(), "node-2", "ng"))
	d.agent("node-1", "node-2")
	d.must(d.Apply(t.Context(), appliance("appliance", "")))
	d.awaitDevices("node-1", "appliance", 7)
	full := d.subnet("data", "node-1")
	d.must(d.Sim.Cloud().SetFreeAddresses(full, 0))
	d.create(ofNodeENI("appliance"), "first")
	d.run("EC2's reason is shown", func(*testing.T) {
		d.awaitPodEvent("first", "FailedScheduling", full)
		d.await("the devices that share the cause are tainted", func() string {
			for _, device := range d.devices("node-1") {
				if len(device.Taints) == 0 {
					return fmt.Sprintf("%+v", device)
				}
			}
			return ""
		})
		if n := len(d.calls(d.source("node-1"), createCall)); n != 1 {
			d.t.Errorf("%d calls of %s", n, createCall)
		}
		d.awaitENIs(0)
	})
	d.run("a node in another zone has one", func(t *testing.T) {
		d.must(d.Label(t.Context(), "node-2", "ng", "multi-eni"))
		pod, _ := d.awaitBound("first")
		same(t, pod.Spec.NodeName, "node-2")
	})
	d.run("and this one when the subnet has addresses again", func(t *testing.T) {
		d.must(d.Sim.Cloud().SetFreeAddresses(full, roomy))
		d.must(d.PatchNodeENI(t.Context(), "appliance", `{"spec":{"description":"again"}}`)) // ends the cool-down
		d.create(fmt.Sprintf("device.attributes['%s'].subnetID == '%s'", driver.Name, full), "second")
		pod, _ := d.awaitBound("second")
		same(t, pod.Spec.NodeName, "node-1")
	})
}

// TestOnDemandKilled: the agent is killed at each moment of an ENI's making. The next start
// goes on with that ENI, and the pod is bound.
func TestOnDemandKilled(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, node, action string
		carriedOut         bool
	}{
		{"before Create", "node-1", createCall, false},
		{"after Create, before its answer", "node-2", createCall, true},
		{"after Create's answer", "node-3", attachCall, false},
		{"after Attach, before its answer", "node-4", attachCall, true},
	}
	d := newOnDemand(t, len(tests), nil)
	d.coordinator("coordinator-1", eager...)
	d.must(d.Apply(t.Context(), appliance("appliance", "")))
	for _, test := range tests {
		d.run(test.name, func(t *testing.T) {
			d.agent(test.node)
			d.awaitDevices(test.node, "appliance", 3)
			d.fault(test.node, cloud.Fault{Action: test.action, After: test.carriedOut, Hang: true, Count: 1})
			d.create("", test.node) // the other nodes are full, or have no agent yet
			d.awaitCall(test.node, test.action, 1)
			d.restart(test.node)
			pod, e := d.awaitBound(test.node)
			same(t, pod.Spec.NodeName, test.node)
			d.staysOnly(test.node, 2*time.Second, e.ID)
			d.must(d.Unlabel(t.Context(), test.node, "ng"))
		})
	}
}

// TestOnDemandPodGone: the pod is deleted while its ENI is made. Nothing is left.
func TestOnDemandPodGone(t *testing.T) {
	t.Parallel()
	d := newOnDemand(t, 1, nil)
	d.coordinator("coordinator-1", eager...)
	d.agent("node-1")
	d.must(d.Apply(t.Context(), appliance("appliance", "")))
	d.awaitDevices("node-1", "appliance", 3)
	d.timing(func(timing *cloud.Timing) { timing.Attach = 2 * time.Second })
	for i, action := range []string{createCall, attachCall} {
		name := strings.ToLower(action)
		d.create("", name)
		d.awaitCall("node-1", action, i+1)
		d.remove(name)
		d.awaitENIs(0)
	}
}
