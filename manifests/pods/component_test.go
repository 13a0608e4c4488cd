// Package pods tests the optional component on a real API server.
package pods

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
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
	dir, err := os.MkdirTemp("", "pods-") // kustomize refuses an overlay within its base
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	base, err := filepath.Rel(dir, absolute(".."))
	if err != nil {
		return nil, err
	}
	overlay := fmt.Sprintf("resources: [%s]\ncomponents: [%s/pods]\n", base, base)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(overlay), 0o600); err != nil {
		return nil, err
	}
	return testbed.Kustomize(dir)
})

// installed is an API server to which all of it has been applied.
var installed = controlplane.Shared{
	APIServerArgs: []string{"--admission-control-config-file=" + absolute("../testdata/admission.yaml")},
	Install: func(ctx context.Context, cp *controlplane.ControlPlane) error {
		all, err := built()
		if err != nil {
			return err
		}
		return cp.Apply(ctx, all)
	},
}

func absolute(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		panic(err)
	}
	return path
}

func TestMain(m *testing.M) { installed.Main(m) }

// TestPodSecurity: beside what agents need anyway, only directories of the host are what
// the level baseline would refuse.
func TestPodSecurity(t *testing.T) {
	cp := installed.Get(t)
	pod := agentPod(t)
	for namespace, refusal := range map[string]string{
		"eni-system": "",
		"baseline": `violates PodSecurity "baseline:latest": non-default capabilities (container "eni-agent" must not include "NET_ADMIN" in securityContext.capabilities.add), ` +
			`host namespaces (hostNetwork=true), hostPath volumes (volumes "cni-bin", "pod-networks", "pod-attachments", "netns"), hostPort (container "eni-agent" uses hostPort 9480)`,
	} {
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

// TestImages: the plugin is that of the agent's release.
func TestImages(t *testing.T) {
	pod := agentPod(t)
	image := func(kind string) string {
		containers, _, err := unstructured.NestedSlice(pod.Object, "spec", kind)
		if err != nil || len(containers) != 1 {
			t.Fatalf("%d %s (%v)", len(containers), kind, err)
		}
		return containers[0].(map[string]any)["image"].(string)
	}
	if agent, plugin := image("containers"), image("initContainers"); agent != plugin || !strings.Contains(agent, ":v") {
		t.Errorf("the agent is of %s, the plugin of %s", agent, plugin)
	}
}

// agentPod is the pod that the DaemonSet makes.
func agentPod(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	all, err := built()
	if err != nil {
		t.Fatal(err)
	}
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(all), 4096); ; {
		obj := new(unstructured.Unstructured)
		if err := decoder.Decode(obj); err != nil {
			t.Fatalf("there is no DaemonSet: %v", err)
		}
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
}
