// Package nodereadiness tests the optional component on a real API server.
package nodereadiness

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// built is what kustomize makes of a user's overlay, with this tree in the place of
// the release's address.
var built = sync.OnceValues(func() ([]byte, error) {
	if err := testbed.ReadTree("..", ".yaml"); err != nil {
		return nil, err
	}
	manifests, err := filepath.Abs("..")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "node-readiness-") // kustomize refuses an overlay within its base
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	base, err := filepath.Rel(dir, manifests)
	if err != nil {
		return nil, err
	}
	overlay := fmt.Sprintf("resources: [%s]\ncomponents: [%s/node-readiness]\n", base, base)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(overlay), 0o600); err != nil {
		return nil, err
	}
	return testbed.Kustomize(dir)
})

// installed is an API server to which all of it has been applied.
var installed = controlplane.Shared{Install: install}

func install(ctx context.Context, cp *controlplane.ControlPlane) error {
	all, err := built()
	if err != nil {
		return err
	}
	return cp.Apply(ctx, all)
}

func TestMain(m *testing.M) { installed.Main(m) }

// TestComponent: it adds its own objects, and the flags to the agent's.
func TestComponent(t *testing.T) {
	installed.Get(t)
	all, err := built()
	if err != nil {
		t.Fatal(err)
	}
	var args, objects []string
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(all), 4096); ; {
		obj := new(unstructured.Unstructured)
		if decoder.Decode(obj) != nil {
			break
		}
		if obj.GetLabels()["app.kubernetes.io/name"] != "aws-multi-eni" {
			t.Errorf("%s %s is not labelled as part of aws-multi-eni", obj.GetKind(), obj.GetName())
		}
		if strings.HasSuffix(obj.GetName(), "-node-readiness") {
			objects = append(objects, obj.GetKind())
		}
		if obj.GetKind() == "DaemonSet" {
			containers, _, err := unstructured.NestedSlice(obj.Object, "spec", "template", "spec", "containers")
			if err != nil || len(containers) != 1 {
				t.Fatalf("%d containers (%v)", len(containers), err)
			}
			args, _, err = unstructured.NestedStringSlice(containers[0].(map[string]any), "args")
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if want := []string{"--http-address=$(HOST_IP):9480", "--startup-taint", "--node-ready-labels"}; !slices.Equal(args, want) {
		t.Errorf("the agent's arguments are %q, want %q", args, want)
	}
	slices.Sort(objects)
	want := []string{"ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
	if !slices.Equal(objects, want) {
		t.Errorf("it adds %q, want %q", objects, want)
	}
}
