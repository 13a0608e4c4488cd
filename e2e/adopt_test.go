package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/iam"
)

// A cluster is switched from the former controller and back, as docs/migration.md says, with
// the rights that it says, while traffic flows through an ENI all the time.
func TestAdopt(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, nil)
	nodes := nodesOf(3)
	policy := c.policy("administrator-adopt")
	c.Sim.Cloud().SetPolicies(func(sourceID string) *iam.Policy {
		if sourceID == "administrator" {
			return policy
		}
		return nil
	})
	administrator := c.administrator(documentedIn(t, "migration.md", "ClusterRole", "eni-adopt"))
	f := c.former()
	for _, node := range nodes {
		c.must(c.Label(t.Context(), node, "ng", "multi-eni"))
	}
	c.must(c.Apply(t.Context(), nodeENI("multus", "subnetNames: [data, storage]\nsecurityGroupNames: [data]\ndeviceIndex: 2\nmtu: 9001\ndeleteOnTermination: true")))
	var attachments []map[string]any
	for _, node := range nodes {
		attachments = append(attachments, f.create("multus", node, c.subnet("data", node), 2), f.create("multus", node, c.subnet("storage", node), 3))
	}
	f.record("multus", attachments)
	before := map[string]cloud.Interface{}
	ids := map[string][]string{}
	for _, a := range attachments {
		id, node := a["eniID"].(string), a["nodeID"].(string)
		before[id], ids[node] = c.eni(id), append(ids[node], id)
		f.setUp(node, before[id])
	}
	// node-1 and node-3 are in one zone.
	data := map[string]cloud.Interface{"node-1": before[ids["node-1"][0]], "node-3": before[ids["node-3"][0]]}
	for node, e := range data {
		c.onHost(node, func(h *netlink.Handle) error {
			l, _ := c.host(node).linkOf(e.MAC)
			return h.AddrAdd(l, &netlink.Addr{IPNet: ipv4(fmt.Sprintf("%s/%d", e.PrivateIPs[0], c.ranges(e.SubnetID)[0].Bits()))})
		})
	}
	c.serveEcho(c.instance("node-3"), data["node-3"].PrivateIPs[0])
	c.await("the nodes reach each other", func() string {
		return errorText(c.instance("node-1").Namespace.Do(func() error { return echo(data["node-1"].PrivateIPs[0], data["node-3"].PrivateIPs[0]) }))
	})
	watched := []func() []string{c.watchLink("node-1", data["node-1"]), c.watchLink("node-3", data["node-3"])}
	stop := c.stream("node-1", data["node-1"].PrivateIPs[0], "node-3", data["node-3"].PrivateIPs[0])

	c.run("while the former controller runs", func(t *testing.T) {
		f.workloads(1, 3, time.Now())
		for _, flag := range []string{"--dry-run", "--dry-run=false"} {
			administrator.run(2, []string{flag}, "6 ENIs", "Deployment eni-controller-system/eni-controller has 1 replica", "DaemonSet eni-controller-system/eni-manager runs on 3 nodes", "nodeeni-controller-leader-election is held by", "nothing was changed")
		}
		f.workloads(0, 0, time.Now().Add(-time.Minute))
		c.expectCalls("administrator", nil)
	})
	c.run("a dry run changes nothing", func(t *testing.T) {
		administrator.run(0, nil, "ENIs by action: 6 adopt.", "This was a dry run", "NodeENI multus: replace the finalizer nodeeni.networking.k8s.aws/finalizer with networking.k8s.aws/eni-cleanup")
		c.expectCalls("administrator", nil)
		if got := c.stored("multus").Finalizers; !slices.Equal(got, []string{"nodeeni.networking.k8s.aws/finalizer"}) {
			t.Errorf("the finalizers are %v", got)
		}
	})
	c.run("adopted", func(t *testing.T) {
		calls := len(c.calls("administrator"))
		administrator.run(0, []string{"--dry-run=false"}, "6 ENIs adopted.")
		got := cloud.CountCalls(c.calls("administrator")[calls:])
		if want := map[string]int{"DescribeNetworkInterfaces": 2, "DescribeInstances": 1, "DescribeSubnets": 1, "DescribeSecurityGroups": 1, "CreateTags": 6}; !maps.Equal(got, want) {
			t.Errorf("the calls are %v, want %v", got, want)
		}
		for id, was := range before {
			e := c.eni(id)
			for key, value := range map[string]string{
				eni.TagName: "multus/" + was.Tags["Node"], eni.TagNode: was.Tags["Node"], eni.TagAdoptedFrom: was.Tags["Name"],
				eni.TagInstance: "arn:aws:ec2:us-east-1:123456789012:instance/" + was.Attachment.InstanceID,
			} {
				if e.Tags[key] != value {
					t.Errorf("%s has the tag %s=%q, want %q", id, key, e.Tags[key], value)
				}
			}
		}
		administrator.run(0, []string{"--dry-run=false"}, "ENIs by action: 6 already owned.", "There is nothing left to do.")
		c.expectCalls("administrator", map[string]int{"CreateTags": 6})
	})
	c.run("agents and a coordinator take them for their own", func(t *testing.T) {
		c.coordinator("coordinator-1", eager...)
		c.agent(nodes...)
		for _, node := range nodes {
			var got []string
			for _, e := range c.awaitReady(node, "multus", 2) {
				got = append(got, e.ENIID)
			}
			slices.Sort(got)
			if slices.Sort(ids[node]); !slices.Equal(got, ids[node]) {
				t.Errorf("%s has %v, and had %v", node, got, ids[node])
			}
			c.await("EC2 has the description", func() string {
				for _, id := range ids[node] {
					if text := c.eni(id).Description; text != "NodeENI multus" {
						return text
					}
				}
				return ""
			})
			c.expectCalls(c.source(node), map[string]int{modifyCall: 2}) // the descriptions
		}
		c.await("the status", func() string {
			if n := c.stored("multus"); n.Status.Nodes.Ready != 3 || len(n.Status.Attachments) != 6 || !slices.Equal(n.Finalizers, []string{v1alpha1.CleanupFinalizer}) {
				return fmt.Sprintf("%v %+v", n.Finalizers, n.Status)
			}
			return ""
		})
		for id, was := range before {
			e := c.eni(id)
			if e.Attachment == nil || e.Attachment.ID != was.Attachment.ID || e.MAC != was.MAC || !slices.Equal(e.PrivateIPs, was.PrivateIPs) || !e.Attachment.DeleteOnTermination {
				t.Errorf("%s is %+v, and was %+v", id, e, was)
			}
		}
	})
	c.run("given back", func(t *testing.T) {
		administrator.run(2, []string{"--undo"}, "the Lease eni-system/eni-coordinator is held by", "nothing was changed")
		for _, node := range nodes {
			c.must(c.agents[node].Stop())
		}
		c.must(c.coordinators["coordinator-1"].Stop())
		administrator.run(0, []string{"--undo"}, "ENIs by action: 6 give back.", "This was a dry run")
		administrator.run(0, []string{"--undo", "--dry-run=false"}, "6 ENIs given back.")
		c.expectCalls("administrator", map[string]int{"CreateTags": 12, "DeleteTags": 6})
		for id, was := range before {
			if got := c.eni(id); !maps.Equal(got.Tags, was.Tags) || got.Attachment.ID != was.Attachment.ID {
				t.Errorf("%s has the tags %v, and had %v", id, got.Tags, was.Tags)
			}
		}
		n := c.stored("multus")
		if !slices.Equal(n.Finalizers, []string{"nodeeni.networking.k8s.aws/finalizer"}) || len(n.Status.Attachments) != 6 || len(n.Status.Conditions) != 0 {
			t.Errorf("the NodeENI has the finalizers %v and the status %+v", n.Finalizers, n.Status)
		}
		for _, a := range n.Status.Attachments {
			was := before[a.ENIID]
			if a.Status != "attached" || a.AttachmentID != was.Attachment.ID || a.NodeID != was.Tags["Node"] || a.SubnetID != was.SubnetID || a.DeviceIndex != was.Attachment.DeviceIndex || a.MTU != 9001 || a.SubnetCIDR != c.ranges(was.SubnetID)[0].String() {
				t.Errorf("the status has %+v", a)
			}
		}
	})
	c.run("again, while a coordinator runs and one agent", func(t *testing.T) {
		c.must(c.Client.API.Delete().Resource(kube.NodeENIStates).Do(t.Context()).Error())
		c.coordinator("coordinator-2", eager...)
		c.await("the coordinator has rewritten the status", func() string {
			if n := c.stored("multus"); len(n.Status.Attachments) > 0 || len(n.Status.Conditions) == 0 {
				return fmt.Sprintf("%+v", n.Status)
			}
			return ""
		})
		pod := c.agentPod("node-1")
		out := administrator.run(2, []string{"--dry-run=false"}, "4 ENIs adopted.", "2 ENIs refused")
		if n := strings.Count(out, "(refuse): an agent runs on node node-1"); n != 2 {
			t.Errorf("it says that of %d ENIs", n)
		}
		c.must(c.Client.Core.Delete().AbsPath(pod).Body([]byte(`{"gracePeriodSeconds":0}`)).Do(t.Context()).Error())
		administrator.run(0, []string{"--dry-run=false"}, "2 ENIs adopted.")
		c.agent(nodes...)
		for _, node := range nodes {
			c.awaitReady(node, "multus", 2)
			c.expectCalls(c.source(node), map[string]int{modifyCall: 2}) // as before
		}
		c.expectCalls("coordinator-2", nil)
		if got := len(c.managed()); got != 6 {
			t.Errorf("there are %d ENIs:\n%s", got, c.enis())
		}
	})
	if sent, lost := stop(); lost > 0 || sent < 1000 {
		t.Errorf("%d of %d packets were lost", lost, sent)
	}
	for _, problems := range watched {
		for _, problem := range problems() {
			t.Error(problem)
		}
	}
	c.nothingRefused()
}

// administrator is a person with a kubeconfig of their own.
type administrator struct {
	*cluster
	kubeconfig string
}

// administrator makes one who has the rights of a ClusterRole.
func (c *cluster) administrator(role string) administrator {
	c.t.Helper()
	c.must(c.Apply(c.t.Context(), role))
	c.must(c.Apply(c.t.Context(), "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: eni-adopt}\n"+
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: eni-adopt}\nsubjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: administrator}]"))
	cfg, err := c.ControlPlane.UserConfig("administrator")
	c.must(err)
	path := filepath.Join(c.dir, "kubeconfig-administrator")
	c.must(controlplane.WriteKubeconfig(path, cfg))
	return administrator{c, path}
}

// run runs eni-coordinator adopt, which has to end with that code and say these words.
func (a administrator) run(code int, args []string, words ...string) string {
	a.t.Helper()
	cmd := exec.Command(filepath.Join(programs, "eni-coordinator"), append([]string{"adopt", "--kubeconfig", a.kubeconfig}, args...)...)
	cmd.Env = []string{
		"AWS_ENDPOINT_URL_EC2=" + a.Sim.EC2URL(), "AWS_REGION=" + a.Sim.Topology().Region, "AWS_ACCESS_KEY_ID=administrator", "AWS_SECRET_ACCESS_KEY=secret",
		"AWS_EC2_METADATA_DISABLED=true", "PATH=" + os.Getenv("PATH"), "HOME=" + a.dir, "GORACE=halt_on_error=1",
	}
	out, err := cmd.CombinedOutput()
	a.t.Logf("eni-coordinator adopt %s\n%s", strings.Join(args, " "), out)
	if got := cmd.ProcessState.ExitCode(); got != code {
		a.t.Fatalf("adopt %v ends with %d (%v), want %d", args, got, err, code)
	}
	for _, w := range words {
		if !strings.Contains(string(out), w) {
			a.t.Errorf("adopt %v does not say %q", args, w)
		}
	}
	return string(out)
}

// agentPod creates the object of an agent's pod on a node, and returns its path.
func (c *cluster) agentPod(node string) string {
	c.t.Helper()
	name := "eni-agent-" + node
	c.must(c.Apply(c.t.Context(), fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: eni-system, labels: {app.kubernetes.io/name: aws-multi-eni, app.kubernetes.io/component: agent}}
spec: {nodeName: %s, serviceAccountName: eni-agent, containers: [{name: agent, image: ghcr.io/aws-multi-eni/eni-agent:v0.1.0}]}`, name, node)))
	return "/api/v1/namespaces/eni-system/pods/" + name
}

// stored is a NodeENI as the API server has it.
func (c *cluster) stored(name string) v1alpha1.NodeENI {
	c.t.Helper()
	all, err := c.NodeENIs(c.t.Context())
	c.must(err)
	i := slices.IndexFunc(all, func(n v1alpha1.NodeENI) bool { return n.Name == name })
	if i < 0 {
		c.t.Fatalf("there is no NodeENI %s", name)
	}
	return all[i]
}
