// Package nodereadiness tests the optional component on a real API server.
package nodereadiness

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

var installed = testbed.NewComponent("node-readiness")

func TestMain(m *testing.M) { installed.Main(m) }

// TestComponent: it adds its own objects, and the flags to the agent's.
func TestComponent(t *testing.T) {
	installed.Get(t)
	var objects []string
	for _, obj := range installed.Objects(t) {
		if obj.GetLabels()["app.kubernetes.io/name"] != "aws-multi-eni" {
			t.Errorf("%s %s is not labelled as part of aws-multi-eni", obj.GetKind(), obj.GetName())
		}
		if strings.HasSuffix(obj.GetName(), "-node-readiness") {
			objects = append(objects, obj.GetKind())
		}
	}
	containers := installed.Containers(t, "containers")
	if len(containers) != 1 {
		t.Fatalf("%d containers", len(containers))
	}
	args := containers[0]["args"].([]any)
	if want := []any{"--http-address=$(HOST_IP):9480", "--startup-taint", "--node-ready-labels"}; !slices.Equal(args, want) {
		t.Errorf("the agent's arguments are %q, want %q", args, want)
	}
	slices.Sort(objects)
	want := []string{"ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
	if !slices.Equal(objects, want) {
		t.Errorf("it adds %q, want %q", objects, want)
	}
}
