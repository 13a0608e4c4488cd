package helm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

const nodeENI = `
apiVersion: networking.k8s.aws/v1alpha1
kind: NodeENI
metadata: {name: data}
spec:
  nodeSelector: {ng: multi-eni}
  subnetNames: [data]
  securityGroupNames: [data]
  deviceIndex: 2
`

// life is a release from its installation on, with one node.
type life struct {
	*cluster
	coordinator *testbed.Process
	eni         string
}

// TestLife is the life of a release: it is installed, used, upgraded, uninstalled
// and installed anew. Agent and coordinator have the arguments and the rights that
// the chart gives them.
func TestLife(t *testing.T) {
	l := &life{cluster: newCluster(t)}
	l.must(l.CreateNode(t.Context(), "node-1", map[string]string{"ng": "multi-eni"}))
	taint := fmt.Appendf(nil, `{"spec":{"taints":[{"key":%q,"effect":"NoSchedule"}]}}`, v1alpha1.StartupTaint)
	_, err := l.client.Resource(nodes).Patch(t.Context(), "node-1", types.MergePatchType, taint, metav1.PatchOptions{})
	l.must(err)
	l.run("install", l.testInstall)
	l.run("upgrade", l.testUpgrade)
	l.run("uninstall that leaves the ENIs", l.testNodeENIsStay)
	l.run("uninstall without a coordinator", l.testUninstallInVain)
	l.run("uninstall", l.testUninstall)
	l.run("uninstall without a trace", l.testNoTrace)
}

func (l *life) run(name string, f func(t *testing.T)) {
	parent := l.t
	defer func() { l.t = parent }()
	if !parent.Run(name, func(t *testing.T) { l.t = t; f(t) }) {
		parent.FailNow() // the rest builds on it
	}
}

// As everybody types it, and then with a few values of one's own.
func (l *life) testInstall(t *testing.T) {
	notes := l.mustHelm("install", release, chart, "--create-namespace", "--set", "awsRegion=us-east-1", "--set", "nodeSelector.ng=multi-eni")
	l.applyFromNotes(notes)
	l.mustHelm("upgrade", release, chart, "--reuse-values",
		"--set", "eniManager.defaultMTU=1400,controller.maxConcurrentENICleanup=7,uninstall.deleteNodeENIs=false",
		"--set", "nodeReadiness.startupTaint=true,nodeReadiness.labels=true")
	if args := l.live(deployments, "eni-coordinator").args; !slices.Contains(args, "--max-concurrent-eni-cleanup=7") {
		t.Errorf("after the upgrade the coordinator has %q", args)
	}
	l.startAgent("node-1")
	l.coordinator = l.startCoordinator("coordinator-1")
	l.must(l.Apply(t.Context(), nodeENI))
	l.awaitReady(1400)
	l.eni = l.ENIs()[0].ID
	l.await("the Node is labelled and has lost its taint", func() string {
		node, err := l.client.Resource(nodes).Get(t.Context(), "node-1", metav1.GetOptions{})
		l.must(err)
		taints, _, _ := unstructured.NestedSlice(node.Object, "spec", "taints")
		if label := node.GetLabels()[v1alpha1.ReadyLabel("data")]; label != v1alpha1.ReadyLabelValue || len(taints) > 0 {
			return fmt.Sprintf("taints %v, labels %v", taints, node.GetLabels())
		}
		return ""
	})
}

// An upgrade brings a new CRD, and nothing happens to ENIs.
func (l *life) testUpgrade(t *testing.T) {
	newer := changedChart(t, "files/crds/networking.k8s.aws_nodeenis.yaml", "Number of nodes on which every ENI is ready", "Nodes that are ready")
	l.mustHelm("upgrade", release, newer, "--reuse-values")
	if column, _, _ := unstructured.NestedString(l.column("nodeenis", "Ready"), "description"); column != "Nodes that are ready" {
		t.Errorf("after the upgrade the CRD still says %q", column)
	}
	l.awaitReady(1400)
	l.wantENI()
}

// With uninstall.deleteNodeENIs=false an uninstall touches neither NodeENIs nor
// ENIs, and nothing is stuck: another installation goes on with them.
func (l *life) testNodeENIsStay(t *testing.T) {
	for _, p := range l.processes {
		l.must(p.Stop())
	}
	if _, job, err := l.uninstall(); err != nil || job.runs > 0 {
		t.Fatalf("%v; the Job ran %d times", err, job.runs)
	}
	all, err := l.NodeENIs(t.Context())
	l.must(err)
	if len(all) != 1 || all[0].DeletionTimestamp != nil {
		t.Errorf("there are %v, want the one NodeENI as it was", all)
	}
	l.wantENI()

	l.mustHelm("install", release, chart, "--set", "eniManager.defaultMTU=1500")
	l.startAgent("node-1")
	l.awaitReady(1500)
	l.wantENI()
}

// Without a coordinator ENIs are not deleted. Then nothing may go, not even a
// NodeENI that no coordinator has seen yet.
func (l *life) testUninstallInVain(t *testing.T) {
	l.must(l.Apply(t.Context(), strings.Replace(nodeENI, "{name: data}", "{name: late}", 1)))
	l.awaitENIs(2)
	before := l.ours()
	_, job, err := l.uninstall("--timeout=2s")
	if err == nil || job.runs != 1 || !strings.Contains(job.said, "timed out: 2 NodeENIs are still being deleted (data; late)") {
		t.Fatalf("%v; the Job's program ran %d times and said\n%s", err, job.runs, job.said)
	}
	after := l.ours()
	for _, name := range before {
		if !slices.Contains(after, name) {
			t.Errorf("the uninstall has failed and removed %s all the same", name)
		}
	}
	l.awaitENIs(2)
}

func (l *life) testUninstall(t *testing.T) {
	l.coordinator = l.startCoordinator("coordinator-2")
	out, job, err := l.uninstall()
	if err != nil || job.runs != 1 {
		t.Fatalf("%v; the Job's program ran %d times and said\n%s", err, job.runs, job.said)
	}
	if enis := l.ENIs(); len(enis) > 0 {
		t.Errorf("the uninstall has left %v", enis)
	}
	// The NodeENIs are being deleted since the uninstall that ran out of time, so the
	// coordinator may be done with them before the Job's program looks.
	if !strings.Contains(job.said, "NodeENI data and its ENIs are deleted.\n") && !strings.Contains(job.said, "Done: no NodeENIs exist") {
		t.Errorf("the Job's program said\n%s", job.said)
	}
	kept := []string{"nodeenis.networking.k8s.aws CustomResourceDefinition", "nodeenistates.networking.k8s.aws CustomResourceDefinition"}
	if left := l.ours(); !slices.Equal(left, kept) {
		t.Errorf("the uninstall has left %v, want %v only", left, kept)
	}
	if !strings.Contains(out, "kept due to the resource policy") {
		t.Errorf("helm does not say what it keeps:\n%s", out)
	}
}

func (l *life) testNoTrace(t *testing.T) {
	l.mustHelm("install", release, chart, "--set", "crds.keep=false")
	l.coordinator = l.startCoordinator("coordinator-3")
	if _, job, err := l.uninstall(); err != nil {
		t.Fatalf("%v\n%s", err, job.said)
	}
	l.await("nothing is left", func() string { return strings.Join(l.ours(), "\n") }) // CRDs go in the background
}

func (l *life) awaitENIs(n int) {
	l.t.Helper()
	l.await(fmt.Sprintf("%d ENIs", n), func() string {
		if enis := l.ENIs(); len(enis) != n {
			return fmt.Sprint(enis)
		}
		return ""
	})
}

// wantENI checks that EC2 has the ENI that was made first, and no other.
func (l *life) wantENI() {
	l.t.Helper()
	if enis := l.ENIs(); len(enis) != 1 || enis[0].ID != l.eni {
		l.t.Errorf("there are %v, want %s only", enis, l.eni)
	}
}

// awaitReady waits until agent and coordinator agree that the one ENI is there.
func (l *life) awaitReady(mtu int32) {
	l.t.Helper()
	l.await("the ENI is ready, with the chart's MTU", func() string {
		states, err := l.States(l.t.Context())
		if err != nil || len(states) != 1 || len(states[0].Status.ENIs) != 1 {
			return fmt.Sprint(err, states)
		}
		if e := states[0].Status.ENIs[0]; e.NodeENI != "data" || e.Phase != v1alpha1.PhaseReady || e.MTU != mtu {
			return fmt.Sprintf("%+v", e)
		}
		all, err := l.NodeENIs(l.t.Context())
		if err != nil || len(all) != 1 || all[0].Status.Nodes.Ready != 1 || len(all[0].Finalizers) != 1 {
			return fmt.Sprint(err, all)
		}
		return ""
	})
}

// column is a column that kubectl get shows.
func (c *cluster) column(crd, name string) map[string]any {
	c.t.Helper()
	versions, _, err := unstructured.NestedSlice(c.crd(crd).Object, "spec", "versions")
	c.must(err)
	columns, _, err := unstructured.NestedSlice(versions[0].(map[string]any), "additionalPrinterColumns")
	c.must(err)
	for _, column := range columns {
		if column := column.(map[string]any); column["name"] == name {
			return column
		}
	}
	return nil
}

// applyFromNotes: what the notes tell people to apply can be applied.
func (c *cluster) applyFromNotes(notes string) {
	c.t.Helper()
	_, rest, _ := strings.Cut(notes, "<<EOF\n")
	manifest, _, found := strings.Cut(rest, "\nEOF\n")
	if !found {
		c.t.Fatalf("there is nothing to apply in the notes:\n%s", notes)
	}
	c.must(c.Apply(c.t.Context(), manifest))
	c.must(c.DeleteNodeENI(c.t.Context(), "data"))
}

// TestForeignCRDAndValueSets: a CRD of another installation, such as one by kubectl or by
// another controller of this field, is taken over when told so only. Afterwards the
// API server takes what each set of values renders.
func TestForeignCRDAndValueSets(t *testing.T) {
	c := newCluster(t)
	c.must(c.ControlPlane.ApplyFiles(t.Context(), "../../manifests/crds/*.yaml"))
	install := []string{"install", release, chart, "--create-namespace"}
	if _, err := c.helm(install...); err == nil || !strings.Contains(err.Error(), "invalid ownership metadata") {
		t.Errorf("without being told so, helm says %v", err)
	}
	c.mustHelm(append(install, "--take-ownership", "--force-conflicts")...)
	if owner := c.crd("nodeenis").GetAnnotations()["meta.helm.sh/release-name"]; owner != release {
		t.Errorf("the CRD belongs to release %q", owner)
	}
	if _, job, err := c.uninstall(); err != nil {
		t.Fatalf("%v\n%s", err, job.said)
	}

	c.must(c.Apply(t.Context(), monitoringCRDs))
	for _, file := range valueSets {
		c.mustHelm(append(install, "--values", "testdata/"+file)...)
		if file == "field.yaml" {
			c.checkPolicy("eni-controller-agent")
			c.checkPodSecurity(file)
		}
		out, job, err := c.uninstall()
		if err != nil {
			t.Errorf("%s: %v\n%s", file, err, job.said)
		}
		if runs := map[bool]int{true: 0, false: 1}[file == "least.yaml"]; job.runs != runs {
			t.Errorf("%s: the Job ran %d times, want %d\n%s", file, job.runs, runs, out)
		}
	}
}

// checkPolicy: the policy is about the agents' account, whatever its name is.
func (c *cluster) checkPolicy(account string) {
	c.t.Helper()
	c.must(c.CreateNode(c.t.Context(), "node-1", nil))
	cfg, err := c.ControlPlane.ServiceAccountConfig(c.t.Context(), namespace, account, "node-1")
	c.must(err)
	client, err := dynamic.NewForConfig(cfg)
	c.must(err)
	report := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.k8s.aws/v1alpha1", "kind": "NodeENIState", "metadata": map[string]any{"name": "node-2"},
	}}
	c.await("an agent may not write another node's report", func() string { // roles and policies come into force a moment later
		_, err := client.Resource(nodeENIStates).Create(c.t.Context(), report, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil || !strings.Contains(err.Error(), "can write the NodeENIState node-1 but not node-2") {
			return fmt.Sprint(err)
		}
		return ""
	})
}

// checkPodSecurity: all but the agents would do in a namespace that allows little.
func (c *cluster) checkPodSecurity(values string) {
	c.t.Helper()
	var accounts strings.Builder
	fmt.Fprint(&accounts, "{apiVersion: v1, kind: Namespace, metadata: {name: strict, labels: {pod-security.kubernetes.io/enforce: restricted}}}\n")
	objects := byKey(mustRender(c.t, "--values", "testdata/"+values))
	workloads := []*unstructured.Unstructured{objects["eni-system/eni-coordinator Deployment"], objects["eni-system/eni-uninstall Job"]}
	for _, w := range workloads {
		fmt.Fprintf(&accounts, "---\n{apiVersion: v1, kind: ServiceAccount, metadata: {name: %s, namespace: strict}}\n", containerOf(c.t, w).account)
	}
	c.must(c.Apply(c.t.Context(), accounts.String()))
	for _, w := range workloads {
		template, _, err := unstructured.NestedMap(w.Object, "spec", "template")
		c.must(err)
		pod := &unstructured.Unstructured{Object: template}
		pod.SetAPIVersion("v1")
		pod.SetKind("Pod")
		pod.SetName(w.GetName())
		if _, err := c.client.Resource(pods).Namespace("strict").Create(c.t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
			c.t.Errorf("the pod of %s: %v", key(w), err)
		}
	}
}

// serviceMonitorCRD is of a kind that the chart uses and does not bring.
const serviceMonitorCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: servicemonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {kind: ServiceMonitor, plural: servicemonitors}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`
