package helm

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

var secrets = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}

// TestApplyingDestroysNothing: what the chart renders can be applied by any tool, also
// the hooks, before and during a release's life; only an uninstall by Helm deletes
// NodeENIs.
func TestApplyingDestroysNothing(t *testing.T) {
	l := newLife(t)
	rendered := mustRender(t)
	l.run("rendered and applied", func(t *testing.T) {
		l.apply(rendered)
		l.startPrograms()
		l.must(l.Apply(t.Context(), nodeENI))
		l.awaitReady(9001)
		l.eni = l.ENIs()[0].ID
		l.jobRefuses("the namespace eni-system has no Helm record of the release eni")
	})
	install := []string{"install", release, chart, "--take-ownership", "--force-conflicts"}
	l.run("an installation that fails", func(t *testing.T) {
		l.deleteJob()
		job, stop := l.kubelet()
		_, err := l.helm(append(install, "--rollback-on-failure", "--timeout", "10s")...)
		stop()
		if err == nil || job.runs != 1 || !strings.Contains(job.said, "Done: the release eni was not installed successfully") {
			t.Errorf("%v; the Job ran %d times and said\n%s", err, job.runs, job.said)
		}
		l.wantUntouched()
	})
	l.run("a release's hooks", func(t *testing.T) {
		l.mustHelm(append(install, "--set", "eniManager.defaultMTU=1400")...)
		l.startPrograms()
		l.awaitReady(1400)
		l.apply(decode(t, []byte(l.mustHelm("get", "hooks", release))))
		l.jobRefuses("is deployed, so Helm did not create this Job")
	})
	l.run("after an uninstall that failed", func(t *testing.T) {
		l.deleteJob()
		l.mustLabelRecord("sh.helm.release.v1.eni.v1", map[string]any{"status": "uninstalling"})
		l.ageRecord("sh.helm.release.v1.eni.v1")
		l.apply(rendered)
		l.jobRefuses("does not belong to an uninstall")
		l.mustHelm("rollback", release, "1", "--force-conflicts")
		l.apply(rendered)
		l.jobRefuses("is deployed, so Helm did not create this Job")
	})
	l.run("uninstall", func(t *testing.T) {
		l.mustHelm("rollback", release, "1", "--force-conflicts") // brings back the Job of the first revision
		l.awaitReady(1400)
		// As after an installation long ago: Helm keeps this label when it uninstalls.
		l.mustLabelRecord("sh.helm.release.v1.eni.v3", map[string]any{"modifiedAt": "1700000000"})
		if _, job, err := l.uninstall(); err != nil || len(l.ENIs()) > 0 {
			t.Errorf("%v; it left %v; the Job said\n%s", err, l.ENIs(), job.said)
		}
		for _, kind := range []schema.GroupVersionResource{leases, configMaps} {
			left, err := l.client.Resource(kind).Namespace(namespace).List(t.Context(), metav1.ListOptions{})
			l.must(err)
			for _, obj := range left.Items {
				if strings.HasPrefix(obj.GetName(), "eni-") {
					t.Errorf("the uninstall has left %s", key(&obj))
				}
			}
		}
	})
}

// TestWithoutHelm is an installation by tools that run no hooks of Helm's, such as
// Argo CD, Flux's Kustomization and kubectl: NodeENIs are removed before the programs.
// Where that was done in the wrong order, the programs have to come back.
func TestWithoutHelm(t *testing.T) {
	manifests, err := exec.CommandContext(t.Context(), os.Getenv(kustomizeEnv), "build", "../../manifests").Output()
	if err != nil {
		t.Fatal(err)
	}
	chart := mustRender(t, "--set", "uninstall.deleteNodeENIs=false")
	for _, obj := range chart {
		if obj.GetKind() == "Job" {
			t.Errorf("there is %s", key(obj))
		}
	}
	for name, objects := range map[string][]*unstructured.Unstructured{"helm template": chart, "kustomize build": decode(t, manifests)} {
		t.Run(name, func(t *testing.T) {
			l := newLife(t)
			install := func() {
				l.apply(objects)
				l.startPrograms()
				l.must(l.Apply(t.Context(), nodeENI))
				l.awaitReady(9001)
			}
			install()
			l.must(l.DeleteNodeENI(t.Context(), "data"))
			l.awaitGone()
			l.remove(objects)
			install()
			l.remove(objects) // in the wrong order
			l.must(l.DeleteNodeENI(t.Context(), "data"))
			if all, err := l.NodeENIs(t.Context()); err != nil || len(all) != 1 || len(l.ENIs()) != 1 {
				t.Errorf("without a coordinator there are the NodeENIs %v (%v) and the ENIs %v", all, err, l.ENIs())
			}
			l.apply(objects)
			l.startPrograms()
			l.awaitGone()
			l.remove(objects)
		})
	}
}

// TestKustomizeRendersTheChart: kustomize's helmCharts renders the hooks too.
func TestKustomizeRendersTheChart(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "charts", chart), os.DirFS(chart)); err != nil {
		t.Fatal(err)
	}
	kustomization := "helmCharts:\n- {name: aws-multi-eni, releaseName: eni, namespace: eni-system}\n"
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), os.Getenv(kustomizeEnv), "build", "--enable-helm", "--helm-command", os.Getenv(helmEnv), dir)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	job := byKey(decode(t, stdout.Bytes()))[namespace+"/eni-uninstall Job"]
	if job == nil || !slices.Contains(containerOf(t, job).args, "--helm-release=eni-system/eni.v1") {
		t.Errorf("it renders the Job %v, want one that asks for Helm's record", job)
	}
}

func newLife(t *testing.T) *life {
	l := &life{cluster: newCluster(t)}
	l.must(l.Apply(t.Context(), "{apiVersion: v1, kind: Namespace, metadata: {name: "+namespace+"}}"))
	l.must(l.CreateNode(t.Context(), "node-1", map[string]string{"ng": "multi-eni"}))
	return l
}

// startPrograms starts agent and coordinator, instead of those that run.
func (l *life) startPrograms() {
	l.t.Helper()
	for _, p := range l.processes {
		if !p.Exited() {
			l.must(p.Stop())
		}
	}
	l.processes = nil
	l.startAgent("node-1")
	l.coordinator = l.startCoordinator("coordinator")
}

func (l *life) apply(objects []*unstructured.Unstructured) {
	l.t.Helper()
	var text strings.Builder
	for _, obj := range objects {
		document, err := yaml.Marshal(obj.Object)
		l.must(err)
		fmt.Fprintf(&text, "---\n%s", document)
	}
	l.must(l.Apply(l.t.Context(), text.String()))
}

// remove deletes objects as kubectl delete does, and stops what the pods have run. The
// CRDs stay, as the chart's annotation says to those who heed it.
func (l *life) remove(objects []*unstructured.Unstructured) {
	l.t.Helper()
	for _, p := range l.processes {
		l.must(p.Stop())
	}
	l.processes = nil
	for _, obj := range objects {
		if kind := obj.GetKind(); kind == "CustomResourceDefinition" || kind == "Namespace" {
			continue
		}
		resource, _ := meta.UnsafeGuessKindToResource(obj.GroupVersionKind())
		err := l.client.Resource(resource).Namespace(obj.GetNamespace()).Delete(l.t.Context(), obj.GetName(), metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			l.t.Errorf("%s: %v", key(obj), err)
		}
	}
}

func (l *life) awaitGone() {
	l.t.Helper()
	l.await("NodeENIs and ENIs are gone", func() string {
		all, err := l.NodeENIs(l.t.Context())
		if err != nil || len(all) > 0 || len(l.ENIs()) > 0 {
			return fmt.Sprint(err, all, l.ENIs())
		}
		return ""
	})
}

// jobRefuses runs the Job that is there; it must fail and say why.
func (l *life) jobRefuses(why string) {
	l.t.Helper()
	job, stop := l.kubelet("--timeout=20s")
	l.await("the Job has run", func() string {
		obj, err := l.client.Resource(jobs).Namespace(namespace).Get(l.t.Context(), "eni-uninstall", metav1.GetOptions{})
		if err != nil || !finished(obj) {
			return fmt.Sprint(err, " it is not over")
		}
		return ""
	})
	stop()
	if !strings.Contains(job.said, "refused to uninstall, nothing was deleted: ") || !strings.Contains(job.said, why) {
		l.t.Errorf("the Job said\n%s\nwant a refusal because %s", job.said, why)
	}
	l.deleteJob()
	l.wantUntouched()
}

func (l *life) deleteJob() {
	l.t.Helper()
	background := metav1.DeletePropagationBackground
	err := l.client.Resource(jobs).Namespace(namespace).Delete(l.t.Context(), "eni-uninstall", metav1.DeleteOptions{PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) {
		l.t.Fatal(err)
	}
}

func (l *life) wantUntouched() {
	l.t.Helper()
	all, err := l.NodeENIs(l.t.Context())
	if err != nil || len(all) != 1 || all[0].DeletionTimestamp != nil {
		l.t.Errorf("there are the NodeENIs %v (%v), want the one as it was", all, err)
	}
	l.wantENI()
}

// ageRecord makes a record of Helm's one that was written last an hour ago.
func (l *life) ageRecord(name string) {
	l.t.Helper()
	records := l.client.Resource(secrets).Namespace(namespace)
	record, err := records.Get(l.t.Context(), name, metav1.GetOptions{})
	l.must(err)
	// The API server ignores a change of times only, so the managers get other names, too.
	fields := record.GetManagedFields()
	for i := range fields {
		fields[i].Manager += "-an-hour-ago"
		fields[i].Time = new(metav1.NewTime(time.Now().Add(-time.Hour)))
	}
	record.SetManagedFields(fields)
	_, err = records.Update(l.t.Context(), record, metav1.UpdateOptions{})
	l.must(err)
}

func (l *life) mustLabelRecord(name string, labels map[string]any) {
	l.t.Helper()
	patch, err := (&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"labels": labels},
	}}).MarshalJSON()
	l.must(err)
	_, err = l.client.Resource(secrets).Namespace(namespace).Patch(l.t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{})
	l.must(err)
}
