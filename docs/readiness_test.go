package docs

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// The taint and the label of the examples are those of the agent.
func TestReadinessNames(t *testing.T) {
	taints, labels := 0, 0
	for _, p := range pages(t) {
		for _, m := range p.manifests() {
			var object struct {
				Spec struct {
					NodeSelector map[string]string
					Kubelet      struct{ Flags []string }
					Template     struct {
						Spec struct {
							StartupTaints []struct{ Key, Effect string }
						}
					}
				}
			}
			if err := yaml.Unmarshal([]byte(m.text), &object); err != nil {
				t.Fatalf("%s:%d: %v", p.path, m.line, err)
			}
			for _, taint := range object.Spec.Template.Spec.StartupTaints {
				if taints++; taint.Key != v1alpha1.StartupTaint {
					t.Errorf("%s:%d: the startup taint is %s", p.path, m.line, taint.Key)
				}
			}
			for _, flag := range object.Spec.Kubelet.Flags {
				taint, ok := strings.CutPrefix(flag, "--register-with-taints=")
				if !ok {
					continue
				}
				if taints++; taint != v1alpha1.StartupTaint+"=:NoSchedule" {
					t.Errorf("%s:%d: the kubelet registers with %s", p.path, m.line, taint)
				}
			}
			for key, value := range object.Spec.NodeSelector {
				if !strings.Contains(key, "nodeeni.") {
					continue
				}
				if labels++; !strings.HasPrefix(key, v1alpha1.ReadyLabelPrefix) || value != v1alpha1.ReadyLabelValue {
					t.Errorf("%s:%d: agents set no label %s=%s", p.path, m.line, key, value)
				}
			}
		}
	}
	if taints < 2 || labels < 1 {
		t.Errorf("%d taints and %d labels found", taints, labels)
	}
}
