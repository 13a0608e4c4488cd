package e2e

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kubectl"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// agentDaemonSet is what kubectl eni looks at of the DaemonSet. There is no controller that
// makes pods of it.
const agentDaemonSet = `{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: eni-agent, namespace: eni-system, labels: {app.kubernetes.io/name: aws-multi-eni, app.kubernetes.io/component: agent}},
  spec: {selector: {matchLabels: {app.kubernetes.io/component: agent}}, template: {metadata: {labels: {app.kubernetes.io/component: agent}},
    spec: {nodeSelector: {role: eni}, tolerations: [{operator: Exists}], containers: [{name: eni-agent, image: "eni-agent:v0.1.0"}]}}}}`

// plugin is kubectl eni with the rights of its ClusterRole.
type plugin struct {
	*cluster
	kubeconfig string
}

func (c *cluster) plugin() plugin {
	c.t.Helper()
	root, err := testbed.Root(c.t.Context())
	c.must(err)
	role, err := os.ReadFile(filepath.Join(root, "manifests", "kubectl-eni", "clusterrole.yaml"))
	c.must(err)
	c.must(c.ControlPlane.Apply(c.t.Context(), role, []byte(agentDaemonSet), []byte(`
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: kubectl-eni}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: kubectl-eni},
  subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: operator}]}`)))
	cfg, err := c.ControlPlane.UserConfig("operator")
	c.must(err)
	p := plugin{c, filepath.Join(c.dir, "operator")}
	c.must(controlplane.WriteKubeconfig(p.kubeconfig, cfg))
	return p
}

// run runs a command of the plugin.
func (p plugin) run(kubeconfig, command string) (out string, code int) {
	var stdout, stderr bytes.Buffer
	words := strings.Fields(command)
	args := append([]string{words[0], "--kubeconfig", kubeconfig}, words[1:]...)
	code = kubectl.Main(p.t.Context(), args, kubectl.IO{Out: &stdout, Err: &stderr})
	return stdout.String() + stderr.String(), code
}

// says waits until a command ends with the code and prints all of the words.
func (p plugin) says(command string, code int, words ...string) {
	p.t.Helper()
	p.await("kubectl eni "+command, func() string {
		out, got := p.run(p.kubeconfig, command)
		for _, w := range words {
			if !strings.Contains(out, w) {
				return fmt.Sprintf("nothing of %q in (code %d):\n%s", w, got, out)
			}
		}
		if got != code {
			return fmt.Sprintf("code %d, want %d:\n%s", got, code, out)
		}
		return ""
	})
	out, _ := p.run(p.kubeconfig, command)
	p.t.Logf("$ kubectl eni %s\n%s", command, out)
}

// pod makes the pod of a node's agent, which runs beside it, and says that it is ready.
func (p plugin) pod(node string) {
	p.t.Helper()
	kubeconfig, err := p.AgentKubeconfig(p.t.Context(), node, "doctor-"+node)
	p.must(err)
	p.must(p.ControlPlane.Apply(p.t.Context(), fmt.Appendf(nil, `{apiVersion: v1, kind: Pod, metadata: {name: eni-agent-%s, namespace: eni-system, labels: {app.kubernetes.io/name: aws-multi-eni, app.kubernetes.io/component: agent}},
  spec: {nodeName: %s, serviceAccountName: eni-agent, containers: [{name: eni-agent, image: "eni-agent:v0.1.0", args: ["--http-address=$(HOST_IP):9480", --node-name=%s, --kubeconfig=%s]}]}}`, node, node, node, kubeconfig)))
	const status = `{"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [{"name": "eni-agent", "ready": true, "restartCount": 0, "image": "x", "imageID": "x", "state": {"running": {}}}]}}`
	p.must(p.Client.Core.Patch(types.MergePatchType).Namespace("eni-system").Resource("pods").Name("eni-agent-" + node).SubResource("status").Body([]byte(status)).Do(p.t.Context()).Error())
}

func (p plugin) removePod(node string) {
	p.t.Helper()
	p.must(p.Client.Core.Delete().Namespace("eni-system").Resource("pods").Name("eni-agent-"+node).Param("gracePeriodSeconds", "0").Do(p.t.Context()).Error())
}

// kubectl eni finds the cause of what goes wrong with real agents and coordinators.
func TestKubectlENI(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	p := c.plugin()
	c.coordinator("coordinator-1", eager...)
	c.must(c.Apply(t.Context(), nodeENI("data", "subnetNames: [data]\nsecurityGroupNames: [data]")))
	c.run("before an agent runs", func(t *testing.T) {
		p := plugin{c, p.kubeconfig}
		p.says("why node-1", 1, "✗ selector", "does not have the label ng=multi-eni", "next: if the node must have these ENIs, label it: kubectl label node node-1 ng=multi-eni")
		p.says("why data", 1, "no node has the labels ng=multi-eni")
		c.must(c.Label(t.Context(), "node-1", "ng", "multi-eni"))
		p.says("why node-1", 1, "✗ agent", "requires role=eni (nodeSelector): the node does not have the label role=eni", "kubectl label node node-1 role=eni")
		c.must(c.Label(t.Context(), "node-1", "role", "eni"))
		p.says("why data", 1, "✗ agent", "has no pod on the node")
	})
	for _, node := range []string{"node-1", "node-2"} {
		c.agent(node)
		p.pod(node)
	}
	c.run("all is ready", func(*testing.T) {
		c.awaitReady("node-1", "data", 1)
		p := plugin{c, p.kubeconfig}
		p.says("status", 0, "data      1          1       0")
		p.says("status -o wide", 0, c.managed()[0].ID)
		p.says("why node-1", 0, "✓ ENI", "✓ link", "next: nothing, everything is ready")
	})
	c.run("EC2 and the NodeENI do not agree", func(t *testing.T) { c.testWhyEC2(t, p.kubeconfig) })
	c.run("the Node is another instance", func(t *testing.T) {
		p := plugin{c, p.kubeconfig}
		c.must(c.DeleteNode(t.Context(), "node-3"))
		c.must(c.Apply(t.Context(), `{apiVersion: v1, kind: Node, metadata: {name: node-3, labels: {ng: multi-eni, role: eni}}, spec: {providerID: "aws:///us-east-1a/i-0ffffffffffffffff"}}`))
		p.pod("node-3")
		c.agent("node-3")
		p.says("why node-3", 1, "✗ report", "[NotThisInstance]", "i-0ffffffffffffffff", "next: ")
	})
	c.run("the doctor, by exec", func(t *testing.T) { c.testPluginDoctor(t, p.kubeconfig) })
	c.run("an agent that is gone", func(*testing.T) {
		p := plugin{c, p.kubeconfig}
		c.agents["node-1"].Kill()
		p.removePod("node-1")
		p.says("why node-1 data", 1, "✗ agent", "ENIs and links stay as the last agent configured them")
		p.says("status --node node-1", 1, "AgentNotRunning")
	})
	c.run("a deletion without a coordinator", func(t *testing.T) {
		p := plugin{c, p.kubeconfig}
		c.coordinators["coordinator-1"].Kill()
		c.must(c.DeleteNodeENI(t.Context(), "data"))
		p.says("why data", 1, "– finalizer    networking.k8s.aws/eni-cleanup", "✗ coordinator", "was last renewed")
		p.says("status", 1, "being deleted")
	})
}

// testWhyEC2: what EC2 refuses, and what the NodeENI names wrongly.
func (c *cluster) testWhyEC2(t *testing.T, kubeconfig string) {
	p := plugin{c, kubeconfig}
	c.must(c.Label(t.Context(), "node-2", "role", "eni"))
	c.want("node-1", "zone", fmt.Sprintf("subnetIDs: [%s]\nsecurityGroupNames: [data]", c.subnet("data", "node-2")))
	p.says("why node-1 zone", 1, "✗ subnet", "[NoSubnetInZone]", "next: ")
	full := c.subnet("storage", "node-1")
	c.must(c.Sim.Cloud().SetFreeAddresses(full, 0))
	c.want("node-1", "full", c.plain("storage"))
	p.says("why node-1 full", 1, "✗ ENI", full, "[InsufficientFreeAddressesInSubnet]", "next: ")
	c.want("node-2", "group", "subnetNames: [data]\nsecurityGroupIDs: [sg-0ffffffffffffffff]")
	p.says("why group", 1, "✗ ENI", "[InvalidGroup.NotFound]", "securityGroupIDs")
	c.must(c.DeleteNodeENI(t.Context(), "group"))
	c.must(c.Sim.Cloud().Inject(cloud.Fault{Action: createCall, Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation."}))
	c.want("node-2", "denied", c.plain("data"))
	p.says("why node-2", 1, "✗ ENI", "[UnauthorizedOperation]", "next: allow ec2:CreateNetworkInterface")
	p.says("status", 1, "NoSubnetInZone", "InsufficientFreeAddressesInSubnet", "UnauthorizedOperation", "data      1          1       0")
	c.Sim.Cloud().ClearFaults()
	for _, name := range []string{"zone", "full", "denied"} {
		c.must(c.DeleteNodeENI(t.Context(), name))
	}
}

// testPluginDoctor runs the real doctor through the API server.
func (c *cluster) testPluginDoctor(t *testing.T, kubeconfig string) {
	k := &testbed.Kubelet{Exec: func(pod string, command []string, out, errOut io.Writer) int {
		text, errs, code, err := c.RunAgent(t.Context(), strings.TrimPrefix(pod, "eni-agent-"), command[1:]...)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprint(out, text)
		fmt.Fprint(errOut, errs)
		return code
	}}
	k.Start()
	defer k.Close()
	c.must(k.Serve(t.Context(), c.Client, "node-1"))
	admin, err := c.AdminKubeconfig()
	c.must(err)
	p := plugin{c, admin}
	p.says("doctor node-1", 0, "✓  NodeENIs", "select this node", "✓  ec2:AttachNetworkInterface", "0 failed")
	c.must(c.Sim.Cloud().Inject(cloud.Fault{Action: attachCall, Code: "UnauthorizedOperation"}))
	p.says("doctor node-1 -- -o json", 1, `"status": "failure"`, "ec2:AttachNetworkInterface")
	c.Sim.Cloud().ClearFaults()
	plugin{c, kubeconfig}.says("doctor node-1", 3, "permission to run commands in the agent's pod", "kubectl debug node/node-1")
}
