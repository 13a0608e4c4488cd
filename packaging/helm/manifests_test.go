package helm

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// TestDefaultsAreTheManifests: with no value set, helm installs what kubectl apply
// -k manifests does, but the namespace and the labels that it adds.
func TestDefaultsAreTheManifests(t *testing.T) {
	wantSame(t, "../../manifests")
}

// TestValuesAreTheComponents: the optional parts are the same with either tool.
func TestValuesAreTheComponents(t *testing.T) {
	for component, set := range map[string]string{
		"node-readiness": "nodeReadiness.startupTaint=true,nodeReadiness.labels=true",
		"on-demand":      "onDemand.enabled=true",
		"pods":           "pods.enabled=true",
	} {
		t.Run(component, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(filepath.Join(dir, "manifests"), os.DirFS("../../manifests")); err != nil {
				t.Fatal(err)
			}
			overlay := "resources: [manifests]\ncomponents: [manifests/" + component + "]\n"
			if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(overlay), 0o600); err != nil {
				t.Fatal(err)
			}
			wantSame(t, dir, "--set", set)
		})
	}
}

// wantSame compares what kustomize builds of a directory with what helm renders.
func wantSame(t *testing.T, dir string, args ...string) {
	t.Helper()
	built, err := exec.CommandContext(t.Context(), os.Getenv(kustomizeEnv), "build", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	want := texts(decode(t, built))
	delete(want, namespace+" Namespace")
	got := texts(slices.DeleteFunc(mustRender(t, args...), isHook))
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got[name] == "" {
			t.Errorf("%s is in manifests/ only", name)
		} else if got[name] != want[name] {
			t.Errorf("%s differs: %s", name, firstDifference(got[name], want[name]))
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("%s is in the chart only", name)
	}
}

// texts are the objects by name, as text.
func texts(objects []*unstructured.Unstructured) map[string]string {
	all := map[string]string{}
	for _, obj := range objects {
		labels := obj.GetLabels()
		for _, added := range []string{"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"} {
			delete(labels, added)
		}
		obj.SetLabels(labels)
		annotations := obj.GetAnnotations()
		delete(annotations, "helm.sh/resource-policy")
		obj.SetAnnotations(annotations)
		text, err := yaml.Marshal(obj.Object)
		if err != nil {
			panic(err) // it was decoded from YAML
		}
		all[key(obj)] = string(text)
	}
	return all
}

func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			from := max(0, i-3)
			return "the chart has\n" + strings.Join(a[from:min(len(a), i+3)], "\n") + "\nmanifests/ has\n" + strings.Join(b[from:min(len(b), i+3)], "\n")
		}
	}
	return "one is longer"
}
