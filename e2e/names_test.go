package e2e

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
)

// managedFields, audit logs and CloudTrail name the program that wrote or called.
func TestProgramsNameThemselves(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	c.agent("node-1")
	c.coordinator("coordinator-1", eager...)
	c.want("node-1", "node-1", c.hostSpec())
	c.awaitOnly("node-1", "node-1")
	client := controlplane.Client(t, c.ControlPlane.AdminConfig())
	managers := func(gvr schema.GroupVersionResource, namespace, name string) (all []string) {
		obj, err := client.Resource(gvr).Namespace(namespace).Get(t.Context(), name, metav1.GetOptions{})
		c.must(err)
		for _, entry := range obj.GetManagedFields() {
			all = append(all, entry.Manager)
		}
		return all
	}
	for _, test := range []struct {
		gvr                   schema.GroupVersionResource
		namespace, name, want string
	}{
		{v1alpha1.GroupVersion.WithResource("nodeenistates"), "", "node-1", "eni-agent"},
		{v1alpha1.GroupVersion.WithResource("nodeenis"), "", "node-1", "eni-coordinator"},
		{schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}, "eni-system", "eni-coordinator", "eni-coordinator"},
	} {
		c.await("fields of "+test.gvr.Resource+" that "+test.want+" manages", func() string {
			got := strings.Join(managers(test.gvr, test.namespace, test.name), ", ")
			if strings.Contains(got, "Go-http-client") || !strings.Contains(got, test.want) {
				return "the managers are " + got
			}
			return ""
		})
	}

	c.must(c.DeleteNodeENI(t.Context(), "node-1"))
	c.awaitNodeENIGone("node-1")
	named := map[string]int{}
	for _, call := range c.Sim.Cloud().Calls() {
		for _, program := range []string{"eni-agent", "eni-coordinator"} {
			if strings.Contains(call.UserAgent, " aws-multi-eni/") && strings.Contains(call.UserAgent, " "+program) {
				named[program]++
			}
		}
	}
	if calls := len(c.Sim.Cloud().Calls()); named["eni-agent"] == 0 || named["eni-coordinator"] == 0 || named["eni-agent"]+named["eni-coordinator"] != calls {
		t.Errorf("of %d calls %v name themselves, such as %q", calls, named, c.Sim.Cloud().Calls()[0].UserAgent)
	}
}
