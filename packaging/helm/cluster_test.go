package helm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// patience is how long a condition may take to come true.
const patience = 90 * time.Second

var (
	leases        = schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}
	nodes         = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	pods          = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	nodeENIStates = schema.GroupVersionResource{Group: "networking.k8s.aws", Version: "v1alpha1", Resource: "nodeenistates"}
	crds          = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	daemonSets    = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}
	configMaps    = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	deployments   = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
)

// cluster is an API server without anything of ours, and EC2 with a node.
type cluster struct {
	*testbed.Testbed
	t         *testing.T
	dir       string
	client    dynamic.Interface
	processes []*testbed.Process
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir()}
	timing := cloud.Timing{Attach: 100 * time.Millisecond, Detach: 100 * time.Millisecond, PlugDelay: 10 * time.Millisecond}
	var err error
	c.Testbed, err = testbed.Start(t.Context(), testbed.Config{
		Programs: programs, Dir: c.dir, Bare: true,
		Topology: sim.Topology{Nodes: sim.Nodes(1), Timing: &timing},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range c.processes {
			p.Kill()
			if t.Failed() {
				t.Logf("%s:\n%s", p.Name, p.Tail(30))
			}
		}
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	_, err = c.AdminKubeconfig()
	c.must(err)
	c.client, err = dynamic.NewForConfig(c.ControlPlane.AdminConfig())
	c.must(err)
	return c
}

func (c *cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) await(what string, check func() string) {
	c.t.Helper()
	last := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if last = check(); last == "" {
			return
		}
	}
	c.t.Fatalf("%s: not within %v: %s", what, patience, last)
}

// helm runs helm on the cluster as its administrator.
func (c *cluster) helm(args ...string) (string, error) {
	c.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := helmCommand(c.t.Context(), c.dir, append([]string{args[0], "--namespace", namespace}, args[1:]...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("helm %s: %w\n%s%s", strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.String(), nil
}

func (c *cluster) mustHelm(args ...string) string {
	c.t.Helper()
	out, err := c.helm(args...)
	c.must(err)
	return out
}

// uninstall is helm uninstall with further arguments, and a kubelet that runs the Job if
// there is one. It returns what helm and the Job's program have said.
func (c *cluster) uninstall(args ...string) (helm string, job *kubelet, err error) {
	c.t.Helper()
	job, stop := c.kubelet(args...)
	helm, err = c.helm("uninstall", release)
	stop()
	return helm, job, err
}

// kubelet runs the uninstall's Job, once, when there is one, until it is stopped.
func (c *cluster) kubelet(args ...string) (job *kubelet, stop func()) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	job = &kubelet{t: c.t, cp: c.ControlPlane, dir: c.dir, args: args}
	done := make(chan error, 1)
	go func() { done <- job.run(ctx) }()
	return job, func() {
		cancel()
		c.must(<-done)
	}
}

// startAgent starts the agent as the DaemonSet says.
func (c *cluster) startAgent(node string) {
	c.t.Helper()
	n, err := c.Sim.Node(node)
	c.must(err)
	var args []string
	for _, arg := range c.live(daemonSets, "eni-agent").args {
		args = append(args, strings.ReplaceAll(arg, "$(HOST_IP)", n.PrivateIP.String()))
	}
	p, err := c.StartAgent(c.t.Context(), node, args...)
	c.must(err)
	c.processes = append(c.processes, p)
}

// startCoordinator starts a coordinator as the Deployment says, but where it
// serves HTTP: it has no network of its own here.
func (c *cluster) startCoordinator(name string) *testbed.Process {
	c.t.Helper()
	var args []string
	for _, arg := range c.live(deployments, "eni-coordinator").args {
		args = append(args, strings.ReplaceAll(arg, "$(POD_NAMESPACE)", namespace))
	}
	p, err := c.StartCoordinator(c.t.Context(), name, append(args, "--http-address=")...)
	c.must(err)
	c.processes = append(c.processes, p)
	return p
}

func (c *cluster) live(kind schema.GroupVersionResource, name string) container {
	c.t.Helper()
	obj, err := c.client.Resource(kind).Namespace(namespace).Get(c.t.Context(), name, metav1.GetOptions{})
	c.must(err)
	return containerOf(c.t, obj)
}

// ours are all objects in the API server that the chart has made, and NodeENIs.
func (c *cluster) ours() []string {
	c.t.Helper()
	cfg := c.ControlPlane.AdminConfig()
	cfg.WarningHandler = rest.NoWarnings{} // of kinds that are deprecated
	disco, err := discovery.NewDiscoveryClientForConfig(cfg)
	c.must(err)
	client, err := dynamic.NewForConfig(cfg)
	c.must(err)
	lists, err := disco.ServerPreferredResources()
	c.must(err)
	var all []string
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		c.must(err)
		for _, resource := range list.APIResources {
			if !slices.Contains(resource.Verbs, "list") {
				continue
			}
			found, err := client.Resource(gv.WithResource(resource.Name)).List(c.t.Context(), metav1.ListOptions{})
			if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
				continue
			}
			c.must(err)
			for _, obj := range found.Items {
				if obj.GetLabels()["app.kubernetes.io/name"] == "aws-multi-eni" || resource.Name == "nodeenis" {
					all = append(all, key(&obj))
				}
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// crd is a CRD as the API server has it; nil when there is none.
func (c *cluster) crd(name string) *unstructured.Unstructured {
	c.t.Helper()
	crd, err := c.client.Resource(crds).Get(c.t.Context(), name+".networking.k8s.aws", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	c.must(err)
	return crd
}

// changedChart is a copy of the chart with another text in one of its files.
func changedChart(t *testing.T, file, from, to string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), chart)
	if err := os.CopyFS(dir, os.DirFS(chart)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, file)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(from)) {
		t.Fatalf("%s lacks %q", file, from)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(text, []byte(from), []byte(to)), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
