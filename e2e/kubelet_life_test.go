package e2e

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// TestKubelet: pods that run, with ENIs that did not exist a moment before.
func TestKubelet(t *testing.T) {
	k := newKubelets(t, 2, dualStackZones)
	k.must(k.Apply(t.Context(), appliance("appliance", "subnetNames: [data]\nsecurityGroupNames: [data]\nmtu: 8000")))
	k.must(k.Apply(t.Context(), appliance("dual", "subnetNames: [storage]\nsecurityGroupNames: [data]\nipv6: {addresses: 1}")))
	for _, node := range nodesOf(2) {
		k.awaitDevices(node, "appliance", 3)
		k.awaitDevices(node, "dual", 3)
	}
	k.run("pods reach each other by ENIs that did not exist", k.testPods)
	k.run("the link is back on the host, and the next pod gets the ENI", k.testWarm)
	k.run("resources.limits", k.testLimits)
	k.run("two pods share a claim", k.testShared)
	k.run("IPv6", k.testIPv6)
	k.run("someone detaches or deletes the ENIs of running pods", k.testLostENI)
	k.nothingLeft()
}

func (k *kubelets) testPods(*testing.T) {
	k.awaitENIs(0)
	began := time.Now()
	k.launch("one", "appliance", "node-1")
	k.launch("two", "appliance", "node-2")
	one, two := k.awaitRunning("one"), k.awaitRunning("two")
	k.t.Logf("both pods run after %v", time.Since(began).Round(100*time.Millisecond))
	_, first := k.awaitBound("one")
	_, second := k.awaitBound("two")
	k.connects("one", first.PrivateIPs[0], second.PrivateIPs[0])
	k.connects("two", second.PrivateIPs[0], first.PrivateIPs[0])
	p := k.startPings(k.within(one), first.PrivateIPs[0], k.within(two), second.PrivateIPs[0])
	p.await(k.t, 20)
	if sent, lost := p.stop(); lost > 0 {
		k.t.Errorf("%d of %d packets were lost", lost, sent)
	}
	for name, e := range map[string]cloud.Interface{"one": first, "two": second} {
		k.checkNetwork(name, e)
	}
}

// testLostENI: the pods keep running, and get the links of the ENIs that the agents attach.
func (k *kubelets) testLostENI(t *testing.T) {
	for name, node := range map[string]string{"one": "node-1", "two": "node-2"} {
		pod := running(name, ofNodeENI("appliance"), node)
		k.must(k.Apply(t.Context(), strings.Replace(pod, "args: [eni0]", "args: [--at-start, eni0]", 1)))
	}
	k.awaitRunning("one")
	k.awaitRunning("two")
	_, first := k.awaitBound("one")
	_, second := k.awaitBound("two")
	began := time.Now()
	k.must(k.Sim.Cloud().DetachByHand(first.ID))
	k.must(k.Sim.Cloud().DetachByHand(second.ID))
	k.await(second.ID+" can be deleted", func() string {
		if err := k.Sim.Cloud().DeleteByHand(second.ID); err != nil {
			return err.Error()
		}
		return ""
	})
	k.checkNetwork("one", first)
	former := second.ID
	k.await("the claim of pod two has another ENI", func() string {
		for _, entry := range k.entries("node-2", "appliance") {
			if entry.Claim != nil && entry.ENIID != former && entry.Phase == v1alpha1.PhaseReady {
				second, _ = k.Sim.Cloud().Interface(entry.ENIID)
				return ""
			}
		}
		return fmt.Sprintf("%+v", k.entries("node-2", "appliance"))
	})
	k.checkNetwork("two", second)
	k.connects("one", first.PrivateIPs[0], second.PrivateIPs[0])
	t.Logf("both pods have their ENIs after %v", time.Since(began).Round(100*time.Millisecond))
	for _, name := range []string{"one", "two"} {
		k.await("the claim of pod "+name+" is attached", func() string {
			pod := k.pod(name)
			claim, _ := k.claimOf(&pod)
			for _, d := range claim.Status.Devices {
				if meta.IsStatusConditionTrue(d.Conditions, driver.ConditionAttached) {
					return ""
				}
			}
			return fmt.Sprintf("%+v", claim.Status.Devices)
		})
		for _, status := range k.pod(name).Status.ContainerStatuses {
			if status.RestartCount > 0 || status.State.Running == nil {
				t.Errorf("the container of pod %s has ended", name)
			}
		}
	}
	k.end("one", "two")
	k.awaitENIs(0)
}

// checkNetwork checks what the pod itself sees of its ENI, and what its claim shows.
func (k *kubelets) checkNetwork(name string, e cloud.Interface) {
	k.t.Helper()
	subnet, others := k.prefixes(e.SubnetID)
	gateway := subnet.Addr().Next()
	address := netip.PrefixFrom(e.PrivateIPs[0], subnet.Bits())
	want := []string{
		fmt.Sprintf("link eni0 %s mtu 8000 %s", e.MAC, address),
		fmt.Sprintf("route 0.0.0.0/0 via %s table own", gateway),
		fmt.Sprintf("rule from %s/32 table own", e.PrivateIPs[0]),
	}
	for _, table := range []string{"shared", "own"} {
		want = append(want, fmt.Sprintf("route %s via <nil> table %s", subnet, table))
		for _, other := range others {
			want = append(want, fmt.Sprintf("route %s via %s table %s", other, gateway, table))
		}
	}
	slices.Sort(want)
	k.await("pod "+name+" sees its ENI", func() string {
		if got := k.ask(name, "/network"); got != strings.Join(want, "\n") {
			return fmt.Sprintf("it sees\n%s\nand not\n%s", got, strings.Join(want, "\n"))
		}
		return ""
	})
	pod := k.pod(name)
	k.await("the claim shows the link's name in the pod", func() string {
		claim, _ := k.claimOf(&pod)
		for _, d := range claim.Status.Devices {
			if n := d.NetworkData; n != nil && n.InterfaceName == "eni0" && n.HardwareAddress == e.MAC && slices.Equal(n.IPs, []string{address.String()}) {
				return ""
			}
		}
		return fmt.Sprintf("%+v", claim.Status.Devices)
	})
}

// prefixes are the CIDRs of a subnet, and of those of the same name in other zones.
func (k *kubelets) prefixes(id string) (subnet netip.Prefix, others []netip.Prefix) {
	k.t.Helper()
	all := k.Sim.Topology().Subnets
	i := slices.IndexFunc(all, func(s sim.Subnet) bool { return s.ID == id })
	for _, s := range all {
		if s.Name == all[i].Name && s.ID != id {
			others = append(others, s.CIDR)
		}
	}
	return all[i].CIDR, others
}

func (k *kubelets) testWarm(t *testing.T) {
	_, e := k.awaitBound("one")
	calls := mutating(cloud.CountCalls(k.calls(k.source("node-1"))))
	k.end("one")
	k.await("the link is back on the host", func() string { return k.configured("node-1", e, false, 0) })
	k.awaitWarm("node-1", "appliance", e.ID)
	began := time.Now()
	k.launch("next", "appliance", "node-1")
	k.awaitRunning("next")
	t.Logf("the next pod runs after %v", time.Since(began).Round(100*time.Millisecond))
	_, again := k.awaitBound("next")
	same(t, again.ID, e.ID)
	k.checkNetwork("next", again)
	if now := mutating(cloud.CountCalls(k.calls(k.source("node-1")))); now != calls {
		t.Errorf("it has cost %d calls to EC2", now-calls)
	}
	k.end("next", "two")
	k.awaitENIs(0)
}

func (k *kubelets) testLimits(*testing.T) {
	k.must(k.Apply(k.t.Context(), extendedResource("appliance", "appliance")+fmt.Sprintf(`---
apiVersion: v1
kind: Pod
metadata: {name: limits, namespace: default}
spec:
  restartPolicy: Never
  containers: [{name: main, image: %q, args: [eni0], resources: {limits: {networking.k8s.aws/appliance: 1}}}]
`, testbed.ApplianceImage)))
	k.awaitRunning("limits")
	_, e := k.awaitBound("limits")
	k.checkNetwork("limits", e)
	k.end("limits")
	k.awaitENIs(0)
}

// sharedEvent is what kubectl describe shows for the second pod of a claim.
const sharedEvent = `FailedCreatePodSandBox: Failed to create pod sandbox: rpc error: code = Unknown desc = NRI RunPodSandbox failed: rpc error: code = Unknown desc = claim default/shared: the ENI is in pod default/first, and only one pod at a time can have it; delete that pod, or give each pod a claim of its own with a ResourceClaimTemplate`

func (k *kubelets) testShared(t *testing.T) {
	k.must(k.Apply(t.Context(), fmt.Sprintf(`
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: shared, namespace: default}
spec: {devices: {requests: [{name: eni, exactly: {deviceClassName: %s}}]}}
`, driver.Name)))
	sharing := func(name string) {
		k.must(k.Apply(t.Context(), fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: default}
spec:
  restartPolicy: Never
  resourceClaims: [{name: eni, resourceClaimName: shared}]
  containers: [{name: main, image: %q, args: [eni0], resources: {claims: [{name: eni}]}}]
`, name, testbed.ApplianceImage)))
	}
	sharing("first")
	k.awaitRunning("first")
	sharing("second")
	k.awaitEvent("second", sharedEvent)
	k.awaitRunning("first")
	k.end("first")
	k.awaitRunning("second")
	k.end("second")
	k.must(k.objects.Delete(t.Context(), claimNamed("shared")))
	k.awaitENIs(0)
}

func (k *kubelets) testIPv6(*testing.T) {
	k.launch("six-one", "dual", "node-1")
	k.launch("six-two", "dual", "node-2")
	k.awaitRunning("six-one")
	k.awaitRunning("six-two")
	_, one := k.awaitBound("six-one")
	_, two := k.awaitBound("six-two")
	k.connects("six-one", one.IPv6Addresses[0], two.IPv6Addresses[0])
	k.connects("six-two", two.IPv6Addresses[0], one.IPv6Addresses[0])
	k.end("six-one", "six-two")
}

// within is a node in whose place startPings uses a pod.
func (k *kubelets) within(pod *corev1.Pod) sim.Node {
	k.t.Helper()
	return sim.Node{Namespace: k.namespaceOf(pod)}
}

// nothingLeft checks that nothing is left of the pods: no ENI, no link, no file.
func (k *kubelets) nothingLeft() {
	k.t.Helper()
	k.awaitENIs(0)
	for name, n := range k.nodes {
		k.await("nothing is left on "+name, func() string { return k.left(name, n) })
	}
}

// variable are parts of Events that differ from run to run.
var variable = regexp.MustCompile(`(subnet|eni|i|sg)-[0-9a-f]{8,}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]+|claim=[a-z0-9-]+`)

// awaitEvent waits until a pod has an Event with this reason and message, in which variable
// parts are "…".
func (k *kubelets) awaitEvent(pod, want string) {
	k.t.Helper()
	k.await(fmt.Sprintf("pod %s has the Event %q", pod, want), func() string {
		var masked []string
		for _, message := range k.podEvents(pod, "") {
			masked = append(masked, variable.ReplaceAllString(message, "…"))
		}
		if slices.Contains(masked, want) {
			return ""
		}
		return "it has:\n" + strings.Join(masked, "\n")
	})
}
