package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// kubelets is a cluster with real kubelets and containerd: its pods run. The agent and
// eni-dra are the DaemonSet of manifests/.
type kubelets struct {
	*onDemand
	nodes map[string]*testbed.Node
}

// images are the archives of the images, which are built once.
var images = sync.OnceValues(func() ([]string, error) {
	appliance, agent := filepath.Join(programs, "appliance.tar"), filepath.Join(programs, "agent.tar")
	if err := testbed.WriteImage(context.Background(), appliance, testbed.ApplianceImage, "./internal/testbed/appliance"); err != nil {
		return nil, err
	}
	return []string{appliance, agent}, testbed.WriteImage(context.Background(), agent, testbed.AgentImage, "./cmd/eni-agent", "./cmd/eni-dra")
})

// needsKubelet skips the test unless it is part of make test-kubelet, and where this machine
// cannot run pods.
func needsKubelet(t *testing.T) {
	t.Helper()
	if os.Getenv("ENI_KUBELET") == "" {
		t.Skip("SKIPPED: `make test-kubelet` runs the tests with a kubelet and containerd")
	}
	if err := testbed.CannotRunNodes(); err != nil {
		t.Skipf("SKIPPED: THIS MACHINE CANNOT RUN PODS, so nothing is tested with a kubelet and containerd: %v", err)
	}
}

// newKubelets starts a cluster whose n nodes run pods, and have the agent and eni-dra.
func newKubelets(t *testing.T, n int, change func(*sim.Topology)) *kubelets {
	t.Helper()
	needsKubelet(t)
	archives, err := images()
	if err != nil {
		t.Fatal(err)
	}
	c := start(t, testbed.Config{Topology: quickNodes(n, change)})
	c.kubelets = true
	c.must(pluginsBuilt())
	k := &kubelets{nodes: map[string]*testbed.Node{}}
	t.Cleanup(k.stopNodes)
	k.onDemand = c.scheduled("daemonset-controller", "node-lifecycle-controller", "root-ca-certificate-publisher-controller")
	k.coordinator("coordinator-1", eager...)
	for _, name := range nodesOf(n) {
		k.nodes[name], err = k.StartNode(t.Context(), name, "ng=multi-eni", archives...)
		k.must(err)
	}
	manifests, err := testbed.Kustomize(k.overlay())
	k.must(err)
	k.must(k.ControlPlane.Apply(t.Context(), manifests))
	for _, name := range nodesOf(n) {
		k.awaitAgent(name)
	}
	return k
}

// overlay is a kustomization of the manifests for this cluster.
func (k *kubelets) overlay() string {
	k.t.Helper()
	root, err := testbed.Root(k.t.Context())
	k.must(err)
	dir := k.t.TempDir()
	base, err := filepath.Rel(dir, filepath.Join(root, "manifests"))
	k.must(err)
	service, _ := k.Sim.Service("kube-apiserver")
	env := fmt.Sprintf("[{name: KUBERNETES_SERVICE_HOST, value: kubernetes.default.svc}, {name: KUBERNETES_SERVICE_PORT, value: %q}, {name: AWS_ENDPOINT_URL_EC2, value: %q}]",
		fmt.Sprint(service.Address.Port()), k.Sim.NodeEC2URL())
	name, tag, _ := strings.Cut(testbed.AgentImage, ":")
	content := fmt.Sprintf(`
resources: [%[1]s]
components: [%[1]s/on-demand]
images: [{name: ghcr.io/aws-multi-eni/eni-agent, newName: %[2]s, newTag: %[3]q}]
patches:
- patch: |
    apiVersion: apps/v1
    kind: DaemonSet
    metadata: {name: eni-agent, namespace: eni-system}
    spec:
      template:
        spec:
          hostAliases: [{ip: %[4]s, hostnames: [kubernetes.default.svc]}] # there is no kube-proxy
          containers:
          - {name: eni-agent, imagePullPolicy: Never, env: %[5]s}
          - {name: eni-dra, imagePullPolicy: Never}
- target: {kind: DaemonSet, name: eni-agent}
  patch: |
    - {op: add, path: /spec/template/spec/containers/0/args/-, value: --on-demand-idle=%[6]v}
    - {op: add, path: /spec/template/spec/containers/0/args/-, value: --log-level=debug}
`, base, name, tag, service.Address.Addr(), env, idle)
	k.must(os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(content), 0o600))
	return dir
}

// idle is how long an ENI stays that no pod claims any more.
const idle = 5 * time.Second

// stopNodes ends the nodes, and shows what they have logged if the test has failed.
func (k *kubelets) stopNodes() {
	for _, name := range slices.Sorted(maps.Keys(k.nodes)) {
		if k.nodes[name] == nil {
			continue
		}
		if k.t.Failed() {
			k.t.Logf("%s\n%s", name, k.nodes[name].Logs())
		}
		if err := k.nodes[name].Stop(); err != nil {
			k.t.Error(err)
		}
	}
}

// awaitAgent waits until the pod of the agent is ready: kubelet and containerd have
// registered eni-dra, and the agent has heard from EC2.
func (k *kubelets) awaitAgent(node string) {
	k.t.Helper()
	k.await("the agent's pod is ready on "+node, func() string {
		var list corev1.PodList
		k.must(k.objects.List(k.t.Context(), &list, client.InNamespace(testbed.Namespace)))
		for i := range list.Items {
			if pod := &list.Items[i]; pod.Spec.NodeName == node {
				return unready(pod)
			}
		}
		return "there is none"
	})
}

// unready is why a pod is not ready.
func unready(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return ""
		}
	}
	text := fmt.Sprintf("%s %s", pod.Status.Phase, pod.Status.Message)
	for _, s := range pod.Status.ContainerStatuses {
		text += fmt.Sprintf("; %s %+v", s.Name, s.State)
	}
	return text
}

// running is a pod with a claim of one ENI, which fails when it is without the link.
func running(name, selector, node string) string {
	pod := strings.Replace(claimed(name, selector), "image: example.com/appliance", fmt.Sprintf("image: %q, args: [eni0]", testbed.ApplianceImage), 1)
	return strings.Replace(pod, "  containers:", fmt.Sprintf("  restartPolicy: Never\n  nodeSelector: {kubernetes.io/hostname: %s}\n  containers:", node), 1)
}

// launch creates a pod that claims an ENI on a node.
func (k *kubelets) launch(name, nodeENI, node string) {
	k.t.Helper()
	k.must(k.Apply(k.t.Context(), running(name, ofNodeENI(nodeENI), node)))
}

// awaitRunning waits until the pod runs. When a claim of the pod could not be prepared, the
// kubelet tries again only when it looks at all pods, every 60 to 90 seconds.
func (k *kubelets) awaitRunning(name string) *corev1.Pod {
	k.t.Helper()
	var pod corev1.Pod
	k.awaitWithin(2*patience, "pod "+name+" runs", func() string {
		if pod = k.pod(name); pod.Status.Phase == corev1.PodFailed {
			k.t.Fatalf("pod %s has failed: %s", name, unready(&pod))
		}
		if problem := unready(&pod); problem != "" {
			return problem + k.conditions(&pod) + k.claimText(&pod) + strings.Join(k.podEvents(name, ""), "\n")
		}
		return ""
	})
	return &pod
}

// end deletes pods, as users do, and waits until they are gone.
func (k *kubelets) end(names ...string) {
	k.t.Helper()
	k.delete(names...)
	k.awaitGone(names...)
}

func (k *kubelets) delete(names ...string) {
	k.t.Helper()
	for _, name := range names {
		k.must(client.IgnoreNotFound(k.objects.Delete(k.t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}})))
	}
}

func (k *kubelets) awaitGone(names ...string) {
	k.t.Helper()
	for _, name := range names {
		k.await("pod "+name+" is gone", func() string {
			var pod corev1.Pod
			err := k.objects.Get(k.t.Context(), client.ObjectKey{Namespace: "default", Name: name}, &pod)
			if apierrors.IsNotFound(err) {
				return ""
			}
			return fmt.Sprint(err, unready(&pod))
		})
		k.remove(name) // the template of its claim
	}
}

// ask asks the appliance in a pod by the pod's first interface.
func (k *kubelets) ask(pod, path string) string {
	k.t.Helper()
	p := k.pod(pod)
	n, err := k.Sim.Node(p.Spec.NodeName)
	k.must(err)
	transport := &http.Transport{DialContext: n.Namespace.DialContext, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Get("http://" + p.Status.PodIP + ":8080" + path)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(body))
}

// connects checks that a pod reaches an address of another's ENI by its own.
func (k *kubelets) connects(pod string, from, to netip.Addr) {
	k.t.Helper()
	k.await(fmt.Sprintf("%s reaches %s", pod, to), func() string {
		if got, want := k.ask(pod, "/connect?to="+to.String()), fmt.Sprintf("%s to %s", from, to); got != want {
			return got
		}
		return ""
	})
}

// namespaceOf is the network namespace of a pod.
func (k *kubelets) namespaceOf(pod *corev1.Pod) *netns.Namespace {
	k.t.Helper()
	for _, pid := range k.nodes[pod.Spec.NodeName].Pids("appliance") {
		cgroup, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if strings.Contains(string(cgroup), string(pod.UID)) {
			ns, err := netns.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
			k.must(err)
			k.t.Cleanup(func() { _ = ns.Close() })
			return ns
		}
	}
	k.t.Fatalf("pod %s has no process on %s", pod.Name, pod.Spec.NodeName)
	return nil
}

// left is what pods with claims have left on a node.
func (k *kubelets) left(name string, n *testbed.Node) string {
	for _, dir := range []string{claimnetwork.DefaultClaimsDir, claimnetwork.DefaultDataDir} {
		files, _ := filepath.Glob(filepath.Join(n.Path(dir), "*.json"))
		if len(files) > 0 {
			return fmt.Sprint(files)
		}
	}
	var links []string
	for _, l := range k.host(name).links {
		if l.Type() != "veth" || !strings.HasPrefix(l.Attrs().Name, "veth") {
			links = append(links, l.Attrs().Name)
		}
	}
	if len(links) != 2 { // lo, and the primary ENI
		return fmt.Sprint(links)
	}
	return ""
}

func claimNamed(name string) *resourcev1.ResourceClaim {
	return &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
}
