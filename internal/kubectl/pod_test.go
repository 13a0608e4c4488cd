package kubectl

import (
	"context"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
)

const podWithClaim = `
apiVersion: v1
kind: Namespace
metadata: {name: tenant-a}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: tenant-a}
---
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: eni.networking.k8s.aws}
spec: {selectors: [{cel: {expression: device.driver == 'eni.networking.k8s.aws'}}]}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: fw, namespace: tenant-a}
spec: {devices: {requests: [{name: eni, exactly: {deviceClassName: eni.networking.k8s.aws}}]}}
---
apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {name: node-1-eni-1}
spec: {driver: eni.networking.k8s.aws, nodeName: node-1, pool: {name: node-1, generation: 1, resourceSliceCount: 1}, devices: [{name: data-0}]}
---
apiVersion: v1
kind: Pod
metadata: {name: fw, namespace: tenant-a}
spec:
  resourceClaims: [{name: eni, resourceClaimName: fw}]
  containers: [{name: main, image: example.com/fw, resources: {claims: [{name: eni}]}}]
`

// A pod is found by its namespace, and all that it depends on is read with the rights that
// are shipped.
func TestWhyPod(t *testing.T) {
	cp := installed.Get(t)
	if err := cp.Apply(t.Context(), []byte(podWithClaim)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // the other tests' bundles do without
		admin := controlplane.Client(t, cp.AdminConfig())
		for _, o := range []struct{ group, version, resource, namespace, name string }{
			{"", "v1", "pods", "tenant-a", "fw"},
			{"resource.k8s.io", "v1", "resourceclaims", "tenant-a", "fw"},
			{"resource.k8s.io", "v1", "resourceslices", "", "node-1-eni-1"},
			{"resource.k8s.io", "v1", "deviceclasses", "", "eni.networking.k8s.aws"},
		} {
			kind := schema.GroupVersionResource{Group: o.group, Version: o.version, Resource: o.resource}
			if err := admin.Resource(kind).Namespace(o.namespace).Delete(context.Background(), o.name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}); err != nil {
				t.Error(err)
			}
		}
	})
	for _, command := range []string{"why -n tenant-a pod/fw", "why pod/tenant-a/fw", "why -n eni-system pod/tenant-a/fw"} {
		check(t, "reader", command, 1, "Pod tenant-a/fw", "the pod claims ENIs with fw", "no NodeENI has attach: OnDemand [NoNodeENI]")
	}
	check(t, "reader", "why pod/fw", 2, "there is no pod default/fw; for a pod in another namespace, use -n or pod/NAMESPACE/NAME")
	for _, command := range []string{"why pod/", "why pod/a/b/c", "why pod/fw data"} {
		check(t, "reader", command, 2, "name the pod as pod/NAME or pod/NAMESPACE/NAME")
	}
	check(t, "least", "why pod/tenant-a/fw", 3, "permission to read /api/v1/namespaces/tenant-a/pods/fw")

	cfg, err := cp.UserConfig("reader", "people")
	if err != nil {
		t.Fatal(err)
	}
	c, err := newClient(cfg, "")
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.pod(t.Context(), "tenant-a", "fw"); err != nil {
		t.Fatal(err)
	}
	p := r.snapshot.Pod
	got := fmt.Sprint(len(p.Claims), len(p.Slices), len(p.Classes), p.NotServed, len(r.snapshot.Unread))
	if want := "1 1 1 false 0"; got != want {
		t.Errorf("claims, slices, classes, not served, unread: %s, want %s (%v)", got, want, strings.Join(strings.Fields(fmt.Sprint(r.snapshot.Unread)), " "))
	}
}
