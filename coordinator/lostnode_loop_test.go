package coordinator

import (
	"context"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

const lostNodeObjects = `
{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: default}}
---
apiVersion: networking.k8s.aws/v1alpha1
kind: NodeENI
metadata: {name: appliance}
spec: {nodeSelector: {ng: lost}, subnetNames: [data], securityGroupNames: [web], attach: OnDemand}
---
apiVersion: v1
kind: Node
metadata: {name: lost-1, labels: {ng: lost}}
spec: {taints: [{key: node.kubernetes.io/unreachable, effect: NoExecute}]}
`

// A pod with a claim that is allocated to a device of the node.
const lostNodePod = `
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: %[1]s, namespace: default}
spec: {devices: {requests: [{name: eni, exactly: {deviceClassName: eni.networking.k8s.aws}}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: default}
spec:
  nodeName: %[2]q
  resourceClaims: [{name: eni, resourceClaimName: %[1]s}]
  containers: [{name: main, image: example.com/appliance}]
`

// TestClaimsOfLostNode: with the rights of the component, the coordinator reports to the
// claims of pods that wait for the node's ENIs, and to no others.
func TestClaimsOfLostNode(t *testing.T) {
	r := newRig(t)
	if err := r.cp.ApplyFiles(t.Context(), "../manifests/on-demand/deviceclass.yaml", "../manifests/on-demand/policy.yaml", "../manifests/on-demand/rbac-coordinator.yaml"); err != nil {
		t.Fatal(err)
	}
	pods := []struct{ name, nominated, bound string }{{"waits", "lost-1", ""}, {"elsewhere", "other-1", ""}, {"bound", "", "lost-1"}}
	manifests := [][]byte{[]byte(lostNodeObjects)}
	for _, p := range pods {
		manifests = append(manifests, fmt.Appendf(nil, lostNodePod, p.name, p.bound))
	}
	if err := r.cp.Apply(t.Context(), manifests...); err != nil {
		t.Fatal(err)
	}
	admin := controlplane.Client(t, r.cp.AdminConfig())
	patch := func(group, resource, name, status string) {
		t.Helper()
		version := schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}
		if _, err := admin.Resource(version).Namespace("default").Patch(t.Context(), name, types.MergePatchType, []byte(status), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range pods {
		patch("", kube.Pods, p.name, fmt.Sprintf(`{"status":{"nominatedNodeName":%q}}`, p.nominated))
		patch("resource.k8s.io", kube.ResourceClaims, p.name, fmt.Sprintf(`{"status":{"allocation":{"devices":{"results":[
			{"request":"eni","driver":%q,"pool":"lost-1","device":"appliance-0","bindingConditions":[%q],"bindingFailureConditions":[%q]}]}}}}`,
			driver.Name, driver.ConditionAttached, driver.ConditionAttachFailed))
	}
	t.Cleanup(func() {
		for client, resource := range map[rest.Interface]string{r.kube.Core: kube.Pods, r.kube.Resource: kube.ResourceClaims} {
			if err := client.Delete().Namespace("default").Resource(resource).Param("gracePeriodSeconds", "0").Do(context.Background()).Error(); err != nil {
				t.Error(err)
			}
		}
	})
	c := r.onDemandCoordinator()
	stop := r.follow(c)
	defer stop()
	if due := c.claims.nodes.due(time.Now()); len(due) > 0 {
		t.Errorf("%d nodes at once", len(due))
	}
	due := c.claims.nodes.due(time.Now().Add(lostGrace))
	if len(due) != 1 || due[0].Name != "lost-1" {
		t.Fatalf("to look at are %+v", due)
	}
	r.await("the roles and the policy are in force, and the claim has the condition", func() bool {
		if err := c.claims.fail(t.Context(), due[0]); err != nil {
			t.Log(err)
		}
		return r.failed("waits")
	})
	for _, name := range []string{"elsewhere", "bound"} {
		if r.failed(name) {
			t.Errorf("the claim of the pod %s has failed", name)
		}
	}
	// It is not written again, and a node that has returned is left alone.
	before := r.claim("waits").ResourceVersion
	if err := c.claims.fail(t.Context(), due[0]); err != nil || r.claim("waits").ResourceVersion != before {
		t.Errorf("it is written again: %v", err)
	}
	// The report of an agent that works after all replaces it.
	claim, report := r.claim("waits"), kube.AllocatedDevice{Driver: driver.Name, Pool: "lost-1", Device: "appliance-0"}
	meta.SetStatusCondition(&report.Conditions, metav1.Condition{Type: driver.ConditionAttachFailed, Status: metav1.ConditionFalse, Reason: "Ready"})
	err := r.kube.ApplyDeviceStatus(t.Context(), types.NamespacedName{Namespace: "default", Name: "waits"}, claim.UID, "eni-agent/appliance-0", report)
	if err != nil || r.failed("waits") {
		t.Errorf("the claim has still failed: %v", err)
	}
	r.patch(r.kube.Core, kube.Nodes, "lost-1", map[string]any{"spec": map[string]any{"taints": nil}})
	patch("", kube.Pods, "elsewhere", `{"status":{"nominatedNodeName":"lost-1"}}`)
	if err := c.claims.fail(t.Context(), due[0]); err != nil || r.failed("elsewhere") {
		t.Errorf("a node that has returned is lost: %v", err)
	}
	r.remove(r.kube.Core, kube.Nodes, "lost-1")
	if err := c.claims.fail(t.Context(), due[0]); err != nil || !r.failed("elsewhere") {
		t.Errorf("a node that was deleted is not lost: %v", err)
	}
}

func (r *rig) onDemandCoordinator() *coordinator {
	r.Helper()
	cfg, err := fastConfig(r.Context(), r.access, r.ec2URL, "leader")
	if err != nil {
		r.Fatal(err)
	}
	cfg.OnDemand = true
	c, err := newCoordinator(cfg)
	if err != nil {
		r.Fatal(err)
	}
	return c
}

func (r *rig) claim(name string) (claim kube.ResourceClaim) {
	r.Helper()
	if err := r.kube.Resource.Get().Namespace("default").Resource(kube.ResourceClaims).Name(name).Do(r.Context()).Into(&claim); err != nil {
		r.Fatal(err)
	}
	return claim
}

func (r *rig) failed(name string) bool {
	r.Helper()
	claim := r.claim(name)
	return len(claim.Status.Devices) > 0 && meta.IsStatusConditionTrue(claim.Status.Devices[0].Conditions, driver.ConditionAttachFailed)
}
