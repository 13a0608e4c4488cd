package helm

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// paths are all values of values.yaml, and the maps that hold them.
func paths(t *testing.T) (all, leaves []string) {
	t.Helper()
	var values map[string]any
	read(t, chart+"/values.yaml", &values)
	var walk func(prefix string, values map[string]any)
	walk = func(prefix string, values map[string]any) {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			all = append(all, prefix+name)
			if inner, ok := values[name].(map[string]any); ok && len(inner) > 0 && name != "affinity" { // which is Kubernetes' own
				walk(prefix+name+".", inner)
			} else {
				leaves = append(leaves, prefix+name)
			}
		}
	}
	walk("", values)
	return all, leaves
}

// TestNullValues: every value may be null, which removes what values.yaml says, and
// the API server takes what is rendered.
func TestNullValues(t *testing.T) {
	all, _ := paths(t)
	everything := []string{"--set", "metrics.enabled=true,metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true,metrics.dashboard.enabled=true"}
	c := newCluster(t)
	if c.servesClaims() {
		everything = append(everything, "--set", "onDemand.enabled=true")
	}
	c.must(c.Apply(t.Context(), monitoringCRDs+"---\n{apiVersion: v1, kind: Namespace, metadata: {name: "+namespace+"}}\n"))
	c.must(c.ControlPlane.ApplyFiles(t.Context(), "../../manifests/crds/*.yaml"))
	seen := map[string]bool{}
	check := func(set string) {
		objects, err := render(t, append(slices.Clone(everything), "--set", set)...)
		if err != nil {
			t.Errorf("--set %s: %v", set, err)
			return
		}
		for _, obj := range objects {
			text, err := json.Marshal(obj.Object)
			c.must(err)
			if seen[string(text)] {
				continue
			}
			seen[string(text)] = true
			if err := c.dryRun(obj); err != nil {
				t.Errorf("--set %s: %s: %v", set, key(obj), err)
			}
		}
	}
	for _, path := range all {
		if path != "metrics.enabled" { // without which a ServiceMonitor is refused
			check(path + "=null")
		}
	}
	objects := byKey(mustRender(t, "--set", "admissionPolicy=null,nodeSelector=null,logLevel=null"))
	agent := objects[namespace+"/eni-agent DaemonSet"]
	if got := part(t, agent, "spec.template.spec.nodeSelector"); got != "kubernetes.io/os: linux" {
		t.Errorf("without nodeSelector agents run on %q", got)
	}
	if objects["eni-agent-own-node ValidatingAdmissionPolicy"] == nil {
		t.Error("without a value the admission policy is off")
	}
	if args := containerOf(t, agent).args; !slices.Equal(args, containerOf(t, byKey(mustRender(t))[key(agent)]).args) {
		t.Errorf("without logLevel the agent has %q", args)
	}
}

// TestWrongTypes: the schema refuses a value of a type that it cannot have, by its name.
func TestWrongTypes(t *testing.T) {
	_, leaves := paths(t)
	var sets []string
	for _, path := range leaves {
		sets = append(sets, "--set-json", path+"=[[1]]")
	}
	_, err := render(t, sets...)
	for _, path := range leaves {
		if name := "'/" + strings.ReplaceAll(path, ".", "/"); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("a list of lists as %s: the schema does not name %s", path, name)
		}
	}
	if t.Failed() {
		t.Log(err)
	}
}

// TestStrategies: rollingUpdate is of the strategy of its name only.
func TestStrategies(t *testing.T) {
	objects := byKey(mustRender(t, "--set", "controller.updateStrategy.type=Recreate,eniManager.updateStrategy.type=OnDelete"))
	for name, want := range map[string]string{
		"eni-system/eni-coordinator Deployment: spec.strategy": "type: Recreate",
		"eni-system/eni-agent DaemonSet: spec.updateStrategy":  "type: OnDelete",
	} {
		object, path, _ := strings.Cut(name, ": ")
		if got := part(t, objects[object], path); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func (c *cluster) dryRun(obj *unstructured.Unstructured) error {
	c.t.Helper()
	resource, _ := meta.UnsafeGuessKindToResource(obj.GroupVersionKind())
	_, err := c.client.Resource(resource).Namespace(obj.GetNamespace()).Apply(c.t.Context(), obj.GetName(), obj,
		metav1.ApplyOptions{FieldManager: "test", Force: true, DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return fmt.Errorf("%s: %w", resource.Resource, err)
	}
	return nil
}

// monitoringCRDs are of kinds that the chart uses and does not bring.
var monitoringCRDs = serviceMonitorCRD + "---" + strings.NewReplacer(
	"servicemonitors", "prometheusrules", "ServiceMonitor", "PrometheusRule").Replace(serviceMonitorCRD)
