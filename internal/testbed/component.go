package testbed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"

	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
)

// Component is an optional component of the manifests, on an API server on which the
// manifests are installed with it. A package of tests has one.
type Component struct {
	controlplane.Shared
	build func() ([]byte, error)
}

// NewComponent is the component in the working directory, which is called name.
func NewComponent(name string, apiServerArgs ...string) *Component {
	c := &Component{build: sync.OnceValues(func() ([]byte, error) { return buildComponent(name) })}
	c.APIServerArgs = apiServerArgs
	c.Install = func(ctx context.Context, cp *controlplane.ControlPlane) error {
		manifests, err := c.build()
		if err != nil {
			return err
		}
		return cp.Apply(ctx, manifests)
	}
	return c
}

// buildComponent is what kustomize makes of a user's overlay, with this tree in the place
// of the release's address.
func buildComponent(name string) ([]byte, error) {
	if err := ReadTree("..", ".yaml"); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", name+"-") // kustomize refuses an overlay within its base
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	base, err := filepath.Abs("..")
	if err != nil {
		return nil, err
	}
	if base, err = filepath.Rel(dir, base); err != nil {
		return nil, err
	}
	overlay := fmt.Sprintf("resources: [%[1]s]\ncomponents: [%[1]s/%[2]s]\n", base, name)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(overlay), 0o600); err != nil {
		return nil, err
	}
	return Kustomize(dir)
}

// Objects are those of the manifests and the component.
func (c *Component) Objects(t testing.TB) (all []*unstructured.Unstructured) {
	t.Helper()
	manifests, err := c.build()
	if err != nil {
		t.Fatal(err)
	}
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096); ; {
		obj := new(unstructured.Unstructured)
		if err := decoder.Decode(obj); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, obj)
	}
}

// AgentPod is the pod that the DaemonSet makes.
func (c *Component) AgentPod(t testing.TB) *unstructured.Unstructured {
	t.Helper()
	for _, obj := range c.Objects(t) {
		if obj.GetKind() != "DaemonSet" {
			continue
		}
		template, _, err := unstructured.NestedMap(obj.Object, "spec", "template")
		if err != nil {
			t.Fatal(err)
		}
		pod := &unstructured.Unstructured{Object: template}
		pod.SetAPIVersion("v1")
		pod.SetKind("Pod")
		pod.SetName("eni-agent")
		return pod
	}
	t.Fatal("there is no DaemonSet")
	return nil
}

// Containers are those of the agent's pod: "containers" or "initContainers".
func (c *Component) Containers(t testing.TB, kind string) (all []map[string]any) {
	t.Helper()
	containers, _, err := unstructured.NestedSlice(c.AgentPod(t).Object, "spec", kind)
	if err != nil {
		t.Fatal(err)
	}
	for _, container := range containers {
		all = append(all, container.(map[string]any))
	}
	return all
}

// Access is that of a ServiceAccount of the component, with a token that is bound to a Node,
// unless node is empty.
func (c *Component) Access(t testing.TB, account, node string) *rest.Config {
	t.Helper()
	cfg, err := c.Get(t).ServiceAccountConfig(t.Context(), Namespace, account, node)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// CheckPodSecurity checks that the agent's pod may run in its namespace, and with which words
// the level baseline would refuse it.
func (c *Component) CheckPodSecurity(t *testing.T, baseline string) {
	t.Helper()
	cp, pod := c.Get(t), c.AgentPod(t)
	for namespace, refusal := range map[string]string{"eni-system": "", "baseline": baseline} {
		if refusal != "" {
			err := cp.Apply(t.Context(), fmt.Appendf(nil, `
{apiVersion: v1, kind: Namespace, metadata: {name: %[1]s, labels: {pod-security.kubernetes.io/enforce: %[1]s}}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: eni-agent, namespace: %[1]s}}
`, namespace))
			if err != nil {
				t.Fatal(err)
			}
		}
		pod.SetNamespace(namespace)
		pods := schema.GroupVersionResource{Version: "v1", Resource: "pods"}
		_, err := controlplane.Client(t, cp.AdminConfig()).Resource(pods).Namespace(namespace).
			Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if refusal == "" && err != nil || refusal != "" && (err == nil || !strings.HasSuffix(err.Error(), refusal)) {
			t.Errorf("in the namespace %s: %v, want %q", namespace, err, refusal)
		}
	}
}
