package e2e

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// onDemand is a cluster whose pods claim ENIs: a scheduler decides where they run, and
// agents make the ENIs. There is no kubelet, so a pod is done with when it is bound.
type onDemand struct {
	*cluster
	*inspector
	objects client.WithWatch
}

// newOnDemand starts a cluster of n nodes with the label ng=multi-eni, without agents.
func newOnDemand(t *testing.T, n int, change func(*sim.Topology)) *onDemand {
	t.Helper()
	needsScheduler(t)
	return newCluster(t, n, change).withScheduler()
}

// needsScheduler skips the test where KUBEBUILDER_ASSETS has only an API server.
func needsScheduler(t *testing.T) {
	t.Helper()
	for _, name := range []string{"kube-scheduler", "kube-controller-manager"} {
		if _, err := controlplane.Program(name); err != nil {
			t.Skipf("SKIPPED: pods with claims are not tested here: %v", err)
		}
	}
}

// withScheduler has pods of the cluster scheduled.
func (c *cluster) withScheduler() *onDemand {
	c.t.Helper()
	c.warm = 5 * time.Second
	ctx := c.t.Context()
	c.must(testbed.InstallOnDemand(ctx, c.ControlPlane))
	d := c.scheduled()
	for _, n := range c.Sim.Topology().Nodes {
		c.must(testbed.OfferRoom(ctx, c.Client, n.Name))
		c.must(c.Label(ctx, n.Name, "ng", "multi-eni"))
	}
	return d
}

// scheduled starts a scheduler, and a controller manager with what pods with claims need and
// with other controllers.
func (c *cluster) scheduled(controllers ...string) *onDemand {
	c.t.Helper()
	objects, err := client.NewWithWatch(c.ControlPlane.AdminConfig(), client.Options{})
	c.must(err)
	scheduler, err := c.StartScheduler(c.t.Context())
	c.must(err)
	c.coordinators[scheduler.Name] = scheduler // ended with them
	manager, err := c.StartControllerManager(c.t.Context(), controllers...)
	c.must(err)
	c.coordinators[manager.Name] = manager
	c.remember(scheduler.Log)
	c.remember(manager.Log)
	return &onDemand{cluster: c, inspector: c.inspect(objects), objects: objects}
}

// appliance is a NodeENI whose ENIs are made when pods claim them.
func appliance(name, spec string) string {
	return nodeENI(name, "attach: OnDemand\n"+cmp.Or(spec, "subnetNames: [data]\nsecurityGroupNames: [data]"))
}

// claimed is a pod with a claim of one ENI that a CEL expression selects; "" is any.
func claimed(name, selector string) (pod string) {
	if selector != "" {
		selector = fmt.Sprintf("\n          selectors: [{cel: {expression: %q}}]", selector)
	}
	return fmt.Sprintf(`
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: %[1]s, namespace: default}
spec:
  spec:
    devices:
      requests:
      - name: eni
        exactly:
          deviceClassName: eni.networking.k8s.aws%[2]s
---
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: default}
spec:
  resourceClaims: [{name: eni, resourceClaimTemplateName: %[1]s}]
  containers: [{name: main, image: example.com/appliance, resources: {claims: [{name: eni}]}}]
`, name, selector)
}

// ofNodeENI selects the ENIs of a NodeENI.
func ofNodeENI(name string) string {
	return fmt.Sprintf("device.attributes['%s'].nodeENI == '%s'", driver.Name, name)
}

// extendedResource is a DeviceClass by which pods that only set resources.limits get ENIs of
// a NodeENI: of networking.k8s.aws/CLASS.
func extendedResource(class, nodeENI string) string {
	return fmt.Sprintf(`
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: %[1]s}
spec:
  extendedResourceName: networking.k8s.aws/%[1]s
  selectors: [{cel: {expression: %[2]q}}]
`, class, "device.driver == '"+driver.Name+"' && "+ofNodeENI(nodeENI))
}

// create creates pods that claim an ENI each.
func (d *onDemand) create(selector string, pods ...string) {
	d.t.Helper()
	for _, pod := range pods {
		d.must(d.Apply(d.t.Context(), claimed(pod, selector)))
	}
}

// remove deletes pods as a kubelet does once their containers have ended.
func (d *onDemand) remove(pods ...string) {
	d.t.Helper()
	for _, name := range pods {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
		d.must(client.IgnoreNotFound(d.objects.Delete(d.t.Context(), pod, client.GracePeriodSeconds(0))))
		template := &resourcev1.ResourceClaimTemplate{ObjectMeta: pod.ObjectMeta}
		d.must(client.IgnoreNotFound(d.objects.Delete(d.t.Context(), template)))
	}
}

func (d *onDemand) pod(name string) corev1.Pod {
	d.t.Helper()
	var pod corev1.Pod
	d.must(d.objects.Get(context.WithoutCancel(d.t.Context()), types.NamespacedName{Namespace: "default", Name: name}, &pod))
	return pod
}

// claimOf is the claim of a pod, made from its template or for its extended resource.
func (d *onDemand) claimOf(pod *corev1.Pod) (claim resourcev1.ResourceClaim, ok bool) {
	name := ""
	for _, s := range pod.Status.ResourceClaimStatuses {
		if s.ResourceClaimName != nil {
			name = *s.ResourceClaimName
		}
	}
	if s := pod.Status.ExtendedResourceClaimStatus; s != nil {
		name = s.ResourceClaimName
	}
	if name == "" {
		return claim, false
	}
	err := d.objects.Get(context.Background(), types.NamespacedName{Namespace: pod.Namespace, Name: name}, &claim)
	return claim, err == nil
}

// eniOf is the ENI that a claim is reported to have; there may be none yet.
func (d *onDemand) eniOf(claim *resourcev1.ResourceClaim) (e cloud.Interface, status resourcev1.AllocatedDeviceStatus, ok bool) {
	for _, status := range claim.Status.Devices {
		if status.NetworkData == nil {
			continue
		}
		for _, e := range d.managed() {
			if e.MAC == status.NetworkData.HardwareAddress {
				return e, status, true
			}
		}
	}
	return e, status, false
}

// awaitBound waits until the pod is bound, and returns it with the ENI that it claims.
func (d *onDemand) awaitBound(name string) (corev1.Pod, cloud.Interface) {
	d.t.Helper()
	var pod corev1.Pod
	d.await("pod "+name+" is bound", func() string {
		if pod = d.pod(name); pod.Spec.NodeName == "" {
			return fmt.Sprintf("it is not: %s%s", d.conditions(&pod), d.claimText(&pod))
		}
		return ""
	})
	claim, ok := d.claimOf(&pod)
	if !ok {
		d.t.Fatalf("pod %s has no claim: %+v", name, pod.Status)
	}
	e, status, ok := d.eniOf(&claim)
	if !ok {
		d.t.Fatalf("the claim of pod %s reports no ENI that exists: %+v", name, claim.Status.Devices)
	}
	d.checkStatus(e, status)
	return pod, e
}

// checkStatus compares what a claim reports of its device with EC2.
func (d *onDemand) checkStatus(e cloud.Interface, status resourcev1.AllocatedDeviceStatus) {
	d.t.Helper()
	var ips []string
	for _, ip := range status.NetworkData.IPs {
		address, _, _ := strings.Cut(ip, "/")
		ips = append(ips, address)
	}
	var want []string
	for _, a := range slices.Concat(e.PrivateIPs, e.IPv6Addresses) {
		want = append(want, a.String())
	}
	if !slices.Equal(ips, want) {
		d.t.Errorf("the claim reports the addresses %v, EC2 has %v", ips, want)
	}
	if !meta.IsStatusConditionTrue(status.Conditions, driver.ConditionAttached) || status.Data == nil || !strings.Contains(string(status.Data.Raw), e.ID) {
		d.t.Errorf("the claim reports %+v of %s", status, e.ID)
	}
}

func (d *onDemand) conditions(pod *corev1.Pod) string {
	var all []string
	for _, c := range pod.Status.Conditions {
		all = append(all, fmt.Sprintf("%s=%s %s", c.Type, c.Status, c.Message))
	}
	return strings.Join(all, "; ")
}

func (d *onDemand) claimText(pod *corev1.Pod) string {
	claim, ok := d.claimOf(pod)
	if !ok {
		return "; it has no claim"
	}
	text := fmt.Sprintf("; claim %s:", claim.Name)
	if a := claim.Status.Allocation; a != nil {
		for _, r := range a.Devices.Results {
			text += fmt.Sprintf(" %s/%s", r.Pool, r.Device)
		}
	}
	for _, device := range claim.Status.Devices {
		for _, c := range device.Conditions {
			text += fmt.Sprintf(" %s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	return text
}

// demandFlags are those of an agent that serves claims.
func (c *cluster) demandFlags(node string) []string {
	return []string{"--on-demand", "--on-demand-idle", c.warm.String(), "--claims-dir", filepath.Join(c.dir, node, "claims"), "--claims-data-dir", filepath.Join(c.dir, node, "claims-data")}
}
