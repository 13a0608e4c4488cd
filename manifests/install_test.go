package manifests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// objects are what kustomize builds, in its order.
func objects(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	all, err := built()
	if err != nil {
		t.Fatal(err)
	}
	var list []*unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(all), 4096); ; {
		obj := new(unstructured.Unstructured)
		if err := decoder.Decode(obj); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, obj)
	}
}

func object(t *testing.T, kind, name string) *unstructured.Unstructured {
	t.Helper()
	for _, obj := range objects(t) {
		if obj.GetKind() == kind && obj.GetName() == name {
			return obj
		}
	}
	t.Fatalf("there is no %s %s", kind, name)
	return nil
}

// TestInstall: the API server has taken all of it (or install fails), a
// namespace before what is in it, and no file is left out.
func TestInstall(t *testing.T) {
	installed.Get(t)
	var got []string
	for _, obj := range objects(t) {
		if len(got) > 0 && obj.GetKind() == "Namespace" {
			t.Error("the Namespace is not the first object")
		}
		if obj.GetLabels()["app.kubernetes.io/name"] != "aws-multi-eni" {
			t.Errorf("%s %s is not labelled as part of aws-multi-eni", obj.GetKind(), obj.GetName())
		}
		got = append(got, strings.TrimPrefix(fmt.Sprintf("%s/%s %s", obj.GetNamespace(), obj.GetName(), obj.GetKind()), "/"))
	}
	var want []string
	files, err := filepath.Glob("*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "namespace.yaml") {
		if slices.Contains([]string{"node-readiness", "on-demand", "pods", "kubectl-eni", "testdata"}, filepath.Dir(file)) {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096); ; {
			obj := new(unstructured.Unstructured)
			if decoder.Decode(obj) != nil {
				break
			}
			want = append(want, strings.TrimPrefix(fmt.Sprintf("%s/%s %s", obj.GetNamespace(), obj.GetName(), obj.GetKind()), "/"))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("kustomize builds\n%s\nthe files have\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// podOf is the pod that a workload makes.
func podOf(t *testing.T, kind, name string) *unstructured.Unstructured {
	t.Helper()
	template, ok, err := unstructured.NestedMap(object(t, kind, name).Object, "spec", "template")
	if err != nil || !ok {
		t.Fatalf("%s %s has no template (%v)", kind, name, err)
	}
	pod := &unstructured.Unstructured{Object: template}
	pod.SetAPIVersion("v1")
	pod.SetKind("Pod")
	pod.SetNamespace(namespace)
	pod.SetName(name)
	return pod
}

// TestPodSecurity: the namespace's level lets both pods in. Of the agent that is
// the least possible, the coordinator would do with the highest.
func TestPodSecurity(t *testing.T) {
	cp := installed.Get(t)
	for _, level := range []string{"baseline", "restricted"} {
		err := cp.Apply(t.Context(), fmt.Appendf(nil, `
apiVersion: v1
kind: Namespace
metadata: {name: %[1]s, labels: {pod-security.kubernetes.io/enforce: %[1]s}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: eni-agent, namespace: %[1]s}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: eni-coordinator, namespace: %[1]s}}
`, level))
		if err != nil {
			t.Fatal(err)
		}
	}
	client := controlplane.Client(t, cp.AdminConfig())
	for _, test := range []struct{ kind, name, namespace, refusal string }{
		{"DaemonSet", "eni-agent", namespace, ""},
		{"DaemonSet", "eni-agent", "baseline", `violates PodSecurity "baseline:latest": non-default capabilities (container "eni-agent" must not include "NET_ADMIN" in securityContext.capabilities.add), host namespaces (hostNetwork=true), hostPort (container "eni-agent" uses hostPort 9480)`},
		{"Deployment", "eni-coordinator", namespace, ""},
		{"Deployment", "eni-coordinator", "restricted", ""},
	} {
		pod := podOf(t, test.kind, test.name)
		pod.SetNamespace(test.namespace)
		_, err := client.Resource(pods).Namespace(test.namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if test.refusal == "" && err != nil || test.refusal != "" && (err == nil || !strings.HasSuffix(err.Error(), test.refusal)) {
			t.Errorf("%s in namespace %s: %v, want %q", test.name, test.namespace, err, test.refusal)
		}
	}
}

// TestArguments: the programs know the flags that they are given, and serve
// where the probes ask.
func TestArguments(t *testing.T) {
	dir := t.TempDir()
	if err := testbed.Build(t.Context(), dir, false); err != nil {
		t.Fatal(err)
	}
	// The agent's pod has the host's addresses, those of the ENIs too.
	hosts := map[string]string{"eni-agent": "$(HOST_IP)", "eni-coordinator": ""}
	for kind, name := range map[string]string{"DaemonSet": "eni-agent", "Deployment": "eni-coordinator"} {
		containers, _, err := unstructured.NestedSlice(podOf(t, kind, name).Object, "spec", "containers")
		if err != nil || len(containers) != 1 {
			t.Fatalf("%s has %d containers (%v), want 1", name, len(containers), err)
		}
		container := containers[0].(map[string]any)
		args, _, err := unstructured.NestedStringSlice(container, "args")
		if err != nil {
			t.Fatal(err)
		}
		if out, err := help(t.Context(), filepath.Join(dir, name), args); err != nil {
			t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		if out, err := help(t.Context(), filepath.Join(dir, name), append(args, "--nonsense")); err == nil {
			t.Errorf("%s takes the flag --nonsense\n%s", name, out)
		}
		ports, _, err := unstructured.NestedSlice(container, "ports")
		if err != nil || len(ports) != 1 {
			t.Fatalf("%s has %d ports (%v), want 1", name, len(ports), err)
		}
		port := ports[0].(map[string]any)
		if flag := fmt.Sprintf("--http-address=%s:%d", hosts[name], port["containerPort"]); !slices.Contains(args, flag) {
			t.Errorf("%s has the arguments %q, want %s", name, args, flag)
		}
		for probe, path := range map[string]string{"livenessProbe": "/healthz", "readinessProbe": "/readyz"} {
			get, _, err := unstructured.NestedMap(container, probe, "httpGet")
			if err != nil || get["port"] != port["name"] || get["path"] != path {
				t.Errorf("%s: the %s asks %v (%v), want %s of port %s", name, probe, get, err, path, port["name"])
			}
		}
	}
}

// help runs a program that looks at its arguments and ends.
func help(ctx context.Context, program string, args []string) ([]byte, error) {
	return exec.CommandContext(ctx, program, append(args, "--help")...).CombinedOutput()
}
