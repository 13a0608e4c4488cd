package prometheus

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"
)

// The PodMonitors select the pods of manifests, and a port that these have.
func TestPodMonitors(t *testing.T) {
	text, err := os.ReadFile("podmonitors.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		var monitor struct {
			APIVersion, Kind string
			Metadata         struct {
				Name, Namespace string
				Labels          map[string]string
			}
			Spec struct {
				Selector            struct{ MatchLabels map[string]string }
				PodMetricsEndpoints []struct{ Port string }
			}
		}
		if err := yaml.UnmarshalStrict([]byte(document), &monitor); err != nil {
			t.Fatal(err)
		}
		component := monitor.Spec.Selector.MatchLabels["app.kubernetes.io/component"]
		file, name, container := filepath.Join("../../manifests/workloads", component+".yaml"), monitor.Metadata.Name, 0
		if name == "eni-dra" { // in the pods of agents
			file, name, container = "../../manifests/on-demand/daemonset.yaml", "eni-agent", 1
		}
		workload, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var pods appsv1.DaemonSet // a Deployment has the same here
		first, _, _ := strings.Cut(string(workload), "\n---\n")
		if err := yaml.Unmarshal([]byte(first), &pods); err != nil {
			t.Fatal(err)
		}
		if monitor.Metadata.Namespace != pods.Namespace || name != pods.Name {
			t.Errorf("%s/%s watches %s/%s", monitor.Metadata.Namespace, monitor.Metadata.Name, pods.Namespace, pods.Name)
		}
		for key, value := range monitor.Spec.Selector.MatchLabels {
			if container == 0 && pods.Spec.Template.Labels[key] != value { // the component does not change the labels
				t.Errorf("%s: the pods have no label %s=%s", monitor.Metadata.Name, key, value)
			}
		}
		found := false
		for _, port := range pods.Spec.Template.Spec.Containers[container].Ports {
			found = found || len(monitor.Spec.PodMetricsEndpoints) == 1 && port.Name == monitor.Spec.PodMetricsEndpoints[0].Port
		}
		if !found {
			t.Errorf("%s: the pods have no such port", monitor.Metadata.Name)
		}
	}
}
