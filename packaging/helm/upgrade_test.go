package helm

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// newField is a field of NodeENIs that the chart of the previous version does not have.
// When hack/release/previous moves on to a version that has it, choose a newer one.
const newField = "connectionTracking"

// TestUpgradeOfChart: a release of the previous version's chart is upgraded, rolled back
// and upgraded again, with programs that run as each revision says.
func TestUpgradeOfChart(t *testing.T) {
	previous := os.Getenv("ENI_PREVIOUS")
	if previous == "" {
		t.Skip("SKIPPED: the chart and the programs of the previous version are not here; 'make test-upgrade' builds them and runs this test")
	}
	l := &life{cluster: newCluster(t)}
	l.must(l.CreateNode(t.Context(), "node-1", map[string]string{"ng": "multi-eni"}))
	l.run("the previous version", func(*testing.T) {
		l.mustHelm("install", release, filepath.Join(previous, chart), "--create-namespace", "--set", "awsRegion=us-east-1")
		l.start(previous, "coordinator-1")
		l.must(l.Apply(t.Context(), nodeENI))
		l.awaitReady(9001)
		l.eni = l.ENIs()[0].ID
		l.wantField(false)
	})
	l.run("upgrade", func(*testing.T) {
		l.stopAll()
		l.mustHelm("upgrade", release, chart, "--reset-then-reuse-values")
		l.start(programs, "coordinator-2")
		l.awaitReady(9001)
		l.wantENI()
		l.wantField(true)
	})
	l.run("rollback", func(*testing.T) {
		l.stopAll()
		l.mustHelm("rollback", release)
		l.start(previous, "coordinator-3")
		l.awaitReady(9001)
		l.wantENI()
		l.wantField(false)
	})
	l.run("rollback that leaves the CRDs", func(*testing.T) {
		l.mustHelm("upgrade", release, chart, "--reset-then-reuse-values")
		l.stopAll()
		l.mustHelm("upgrade", release, filepath.Join(previous, chart), "--reset-then-reuse-values", "--set", "crds.install=false")
		l.start(previous, "coordinator-4")
		l.awaitReady(9001)
		l.wantENI()
		l.wantField(true)
	})
	l.run("uninstall of what was upgraded", func(t *testing.T) {
		l.stopAll()
		l.mustHelm("upgrade", release, chart, "--reset-then-reuse-values", "--set", "crds.install=true")
		l.start(programs, "coordinator-5")
		l.awaitReady(9001)
		l.wantENI()
		if _, job, err := l.uninstall(); err != nil {
			t.Fatalf("%v\n%s", err, job.said)
		}
		l.awaitENIs(0)
	})
}

// start starts agent and coordinator of a directory, as the release says.
func (l *life) start(programs, coordinator string) {
	l.t.Helper()
	l.UsePrograms(programs)
	l.startAgent("node-1")
	l.startCoordinator(coordinator)
}

func (l *life) stopAll() {
	l.t.Helper()
	for _, p := range l.processes {
		l.must(p.Stop())
	}
	l.processes = nil
}

// wantField checks whether the CRD has the new field.
func (l *life) wantField(want bool) {
	l.t.Helper()
	versions, _, err := unstructured.NestedSlice(l.crd("nodeenis").Object, "spec", "versions")
	l.must(err)
	_, has, err := unstructured.NestedMap(versions[0].(map[string]any), "schema", "openAPIV3Schema", "properties", "spec", "properties", newField)
	l.must(err)
	if has != want {
		l.t.Errorf("the CRD has the field %s: %v, want %v", newField, has, want)
	}
}
