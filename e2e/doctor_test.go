package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/agent/doctor"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/metadata"
)

// examine runs eni-agent doctor on a node and returns what it says of each check.
func (c *cluster) examine(node string, wantCode int, args ...string) map[string][]doctor.Result {
	c.t.Helper()
	before := len(c.Sim.Cloud().Calls())
	out, errs, code, err := c.RunAgent(c.t.Context(), node, append([]string{"doctor", "-o", "json"}, args...)...)
	c.must(err)
	for _, call := range c.Sim.Cloud().Calls()[before:] {
		if !strings.HasPrefix(call.Action, "Describe") && call.Code == "" {
			c.t.Errorf("the doctor has carried out %s", call.Action)
		}
	}
	var report struct {
		OK     bool
		Checks []doctor.Result
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		c.t.Fatalf("%v: %s\n%s", err, out, errs)
	}
	if code != wantCode || report.OK != (code == 0) {
		c.t.Errorf("exit code %d, want %d; ok is %v:\n%s\n%s", code, wantCode, report.OK, out, errs)
	}
	by := map[string][]doctor.Result{}
	for _, r := range report.Checks {
		by[r.Check] = append(by[r.Check], r)
	}
	return by
}

// expect looks for a result of a check with that status and those words.
func (c *cluster) expect(found map[string][]doctor.Result, check string, status doctor.Status, words ...string) {
	c.t.Helper()
	for _, r := range found[check] {
		all := r.Status == status
		for _, w := range words {
			all = all && strings.Contains(r.Message+"\n"+r.Action, w)
		}
		if all {
			if status == doctor.Failure && r.Action == "" {
				c.t.Errorf("%s says not what to do: %s", check, r.Message)
			}
			return
		}
	}
	c.t.Errorf("%s: %+v, want %s with %q", check, found[check], status, words)
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	const node = "node-1"
	c := newCluster(t, 1, withIPv6AndNodeadm)
	kubeconfig, err := c.AgentKubeconfig(t.Context(), node, "doctor")
	c.must(err)
	flags := []string{"--node-name", node, "--kubeconfig", kubeconfig}
	data := nodeENI("data", "subnetNames: [data]\nsecurityGroupNames: [data]\ndeviceIndex: 1")

	c.run("nothing wanted", func(*testing.T) {
		found := c.examine(node, 0, flags...)
		c.expect(found, "IMDS", doctor.OK, "m5.large")
		c.expect(found, "credentials", doctor.OK, "instance profile")
		c.expect(found, "NodeENIs", doctor.Warning, "none of the 0", "add the labels")
		c.expect(found, "ec2:CreateNetworkInterface", doctor.OK)
		c.expect(found, "ec2:AttachNetworkInterface", doctor.Skipped, "none exists yet")
		c.expect(found, "VPC CNI", doctor.OK, "not installed in this cluster")
	})
	c.must(c.Apply(t.Context(), data))
	c.must(c.Label(t.Context(), node, "ng", "multi-eni"))
	c.run("all is well", func(*testing.T) {
		found := c.examine(node, 0, flags...)
		c.expect(found, "NodeENIs", doctor.OK, "1 of 1 NodeENIs")
		c.expect(found, "subnets in this zone", doctor.OK, "1 ENI")
		c.expect(found, "free addresses", doctor.OK, c.subnet("data", node))
		c.expect(found, "security groups", doctor.OK)
		c.expect(found, "ENI limit", doctor.OK, "supports 3 ENIs; 1 attached, 1 more requested")
		c.expect(found, "device indexes", doctor.OK)
		c.expect(found, "CAP_NET_ADMIN", doctor.OK)
		c.expect(found, "kernel", doctor.OK)
	})
	c.run("every refused action", func(*testing.T) {
		for _, action := range []string{createCall, describeCall, "DescribeSubnets", "DescribeSecurityGroups", "DescribeInstanceTypes"} {
			c.must(c.Sim.Cloud().Inject(cloud.Fault{Action: action, Code: "UnauthorizedOperation", Message: "You are not authorized to perform this operation. Encoded authorization failure message: abc"}))
			found := c.examine(node, 1, flags...)
			c.expect(found, "ec2:"+action, doctor.Failure, "not allowed", "allow ec2:"+action)
			if text := fmt.Sprint(found); strings.Contains(text, "abc") {
				t.Errorf("%s: the encoded message is shown", action)
			}
			c.Sim.Cloud().ClearFaults()
		}
	})
	c.run("a full subnet", func(*testing.T) {
		id := c.subnet("data", node)
		c.must(c.Sim.Cloud().SetFreeAddresses(id, 0))
		c.expect(c.examine(node, 1, flags...), "free addresses", doctor.Failure, id, "has 0", "needs 1")
		c.must(c.Sim.Cloud().SetFreeAddresses(id, 10))
	})
	c.run("a device index that is taken", func(*testing.T) {
		stranger := c.stranger(node, 1)
		c.expect(c.examine(node, 0, flags...), "device indexes", doctor.Warning, "requests index 1", stranger, "gets index 2")
	})
	c.run("the limit", func(*testing.T) {
		c.must(c.Apply(t.Context(), nodeENI("more", "subnetNames: [storage]\nsecurityGroupNames: [storage]")))
		c.expect(c.examine(node, 1, flags...), "ENI limit", doctor.Failure, "m5.large supports 3 ENIs; 2 attached (", "primary ENI", "2 more requested")
		c.must(c.DeleteNodeENI(t.Context(), "more"))
	})
	c.run("names and groups that are wrong", func(*testing.T) {
		c.must(c.Apply(t.Context(), nodeENI("wrong", "subnetNames: [nowhere]\nsecurityGroupNames: [data]")))
		c.must(c.Apply(t.Context(), nodeENI("groups", "subnetNames: [storage]\nsecurityGroupIDs: [sg-0ffffffffffffffff]")))
		found := c.examine(node, 1, flags...)
		c.expect(found, "subnets in this zone", doctor.Failure, "NodeENI wrong", "nowhere", "correct subnetName")
		c.expect(found, "security groups", doctor.Failure, "NodeENI groups", "sg-0ffffffffffffffff")
		c.must(c.DeleteNodeENI(t.Context(), "wrong"))
		c.must(c.DeleteNodeENI(t.Context(), "groups"))
	})
	c.run("a VPC CNI that reads no tags", func(*testing.T) {
		c.must(c.Apply(t.Context(), awsNode("true")))
		c.expect(c.examine(node, 1, flags...), "VPC CNI", doctor.Failure, "ENABLE_IMDS_ONLY_MODE")
		c.must(c.Apply(t.Context(), awsNode("false")))
		c.expect(c.examine(node, 0, flags...), "VPC CNI", doctor.OK)
	})
	c.run("EC2's whole model of an ENI", func(*testing.T) {
		c.must(c.Apply(t.Context(), nodeENI("six", "subnetNames: [six]\nsecurityGroupNames: [storage]\nipv6: {addresses: 2}")))
		c.must(c.Apply(t.Context(), nodeENI("express", "subnetNames: [storage]\nsecurityGroupNames: [storage]\nmtu: 9001\nenaExpress: {enabled: true}")))
		found := c.examine(node, 1, flags...)
		c.expect(found, "instance type", doctor.Failure, "NodeENI express", "m5.large", "not support ENA Express")
		c.expect(found, "ENA Express", doctor.Warning, "NodeENI express has mtu 9001")
		c.expect(found, "free addresses", doctor.OK, c.subnet("six", node), "IPv6-only")
		c.expect(found, "VPC CNI version", doctor.Failure, "1.20.0 crashes", c.subnet("six", node))
		c.expect(found, "router advertisements", doctor.OK, "nf_tables")
		c.expect(found, "nodeadm", doctor.Warning, "the user data enables", "OSManagedNoManageENIs")
		c.must(c.DeleteNodeENI(t.Context(), "six"))
		c.must(c.DeleteNodeENI(t.Context(), "express"))
		c.expect(c.examine(node, 0, flags...), "instance type", doctor.OK, "m5.large: 3 ENIs; 10 IPv4 addresses or prefixes per ENI; 10 IPv6 addresses or prefixes per ENI; no ENA Express")
	})
	c.run("another node's name", func(*testing.T) {
		c.expect(c.examine(node, 1, "--node-name", "node-7", "--kubeconfig", kubeconfig), "NodeENIs", doctor.Failure, "node-7")
	})
	c.run("with an agent at work", func(t *testing.T) {
		c.setInternalIPs(node, "10.0.0.9", "10.0.16.9")
		c.agent(node)
		c.awaitReady(node, "data", 1)
		found := c.examine(node, 0, flags...)
		c.expect(found, "ec2:AttachNetworkInterface", doctor.OK)
		c.expect(found, "ec2:ModifyNetworkInterfaceAttribute", doctor.OK)
		c.expect(found, "kubelet --node-ip", doctor.Warning, "2 InternalIPs", "--node-ip")
		if found["ec2:DeleteNetworkInterface"] != nil {
			t.Error("in a cluster no agent needs to delete")
		}
		c.must(c.Sim.Cloud().Inject(cloud.Fault{Action: attachCall, Code: "UnauthorizedOperation", Count: 1}))
		c.expect(c.examine(node, 1, flags...), "ec2:AttachNetworkInterface", doctor.Failure)
		c.await("one Event at the start", func() string {
			if n := c.events(node, "PreflightKubeletNodeIp"); n != 1 {
				return fmt.Sprintf("%d Events", n)
			}
			return ""
		})
		c.agents[node].Kill()
		c.agent(node)
		c.awaitReady(node, "data", 1)
		if n := c.events(node, "PreflightKubeletNodeIp"); n != 1 {
			t.Errorf("%d Events after a restart", n)
		}
	})
	c.run("the table", func(t *testing.T) {
		out, errs, code, err := c.RunAgent(t.Context(), node, append([]string{"doctor"}, flags...)...)
		c.must(err)
		if code != 0 || !strings.Contains(out, "✓  IMDS") || !strings.Contains(out, "→ start the kubelet with --node-ip") || !strings.Contains(out, "0 failed") {
			t.Errorf("code %d:\n%s\n%s", code, out, errs)
		}
	})
}

// withIPv6AndNodeadm has a node that supports 3 ENIs and was set up by nodeadm, and a subnet
// that has IPv6 only.
func withIPv6AndNodeadm(topology *sim.Topology) {
	topology.Nodes[0].Type = "m5.large"
	topology.Nodes[0].UserData = "apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec: {featureGates: {OSManagedNoManageENIs: true}}\n"
	topology.VPC.IPv6CIDR = netip.MustParsePrefix("2001:db8::/56")
	topology.Subnets = []sim.Subnet{{Name: "six", Zone: "us-east-1a", IPv6CIDR: netip.MustParsePrefix("2001:db8:0:2::/64"), IPv6Native: true}}
	for i, name := range []string{"nodes", "data", "storage"} {
		topology.Subnets = append(topology.Subnets, sim.Subnet{Name: name, Zone: "us-east-1a", CIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(16 * i)}), 20)})
	}
	topology.Nodes[0].Subnet = "nodes"
}

// The same checks without Kubernetes.
func TestDoctorStandAlone(t *testing.T) {
	t.Parallel()
	const node = "node-1"
	c := newStandAlone(t, 1, nil)
	flags := []string{"--nodeeni-dir", c.NodeENIDir(node), "--state-file", c.StateFile(node), "--node-labels", "ng=multi-eni"}
	c.run("no directory", func(*testing.T) {
		c.expect(c.examine(node, 1, flags...), "NodeENIs", doctor.Failure, "does not exist")
	})
	c.write(node, "one", nodeENI("one", c.hostENI("data", "")))
	c.run("a wrong file", func(*testing.T) {
		c.write(node, "two", "kind: Pod")
		found := c.examine(node, 1, flags...)
		c.expect(found, "NodeENIs", doctor.Failure, "two.yaml")
		c.expect(found, "subnets in this zone", doctor.OK, "1 ENI")
		c.expect(found, "ec2:DeleteNetworkInterface", doctor.Skipped, "none exists yet")
		c.unwrite(node, "two")
	})
	c.run("with an agent at work", func(t *testing.T) {
		c.agent(node)
		c.awaitReady(node, "one", 1)
		found := c.examine(node, 0, flags...)
		c.expect(found, "ec2:DetachNetworkInterface", doctor.OK)
		c.expect(found, "ec2:DeleteNetworkInterface", doctor.OK)
		if found["VPC CNI"] != nil {
			t.Error("there is no cluster to have a VPC CNI in")
		}
		c.must(c.Sim.Cloud().Inject(cloud.Fault{Action: detachCall, Code: "UnauthorizedOperation"}))
		c.expect(c.examine(node, 1, flags...), "ec2:DetachNetworkInterface", doctor.Failure)
		c.Sim.Cloud().ClearFaults()
	})
	c.run("without saying what is wanted", func(*testing.T) {
		found := c.examine(node, 0)
		c.expect(found, "ec2:CreateNetworkInterface", doctor.OK)
		c.expect(found, "NodeENIs", doctor.Skipped, "--node-name")
	})
	c.run("without IMDS", func(*testing.T) {
		n, err := c.Sim.Node(node)
		c.must(err)
		c.must(n.IMDS.Inject(metadata.Fault{Status: 403}))
		c.expect(c.examine(node, 1, flags...), "IMDS", doctor.Failure)
	})
}

// awsNode is the VPC CNI's DaemonSet, as far as it matters.
func awsNode(imdsOnly string) string {
	return `{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: aws-node, namespace: kube-system}, spec: {selector: {matchLabels: {a: b}},
  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: aws-node, image: "amazon-k8s-cni:v1.20.0-eksbuild.1", env: [{name: ENABLE_IMDS_ONLY_MODE, value: "` + imdsOnly + `"}]}]}}}}`
}

// setInternalIPs gives a Node addresses, as the cloud controller does.
func (c *cluster) setInternalIPs(node string, addresses ...string) {
	c.t.Helper()
	var list []map[string]string
	for _, a := range addresses {
		list = append(list, map[string]string{"type": "InternalIP", "address": a})
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"addresses": list}})
	c.must(err)
	c.must(c.Client.Core.Patch("application/merge-patch+json").Resource(kube.Nodes).Name(node).SubResource("status").Body(patch).Do(c.t.Context()).Error())
}

// events counts the Events about a Node with a reason.
func (c *cluster) events(node, reason string) int {
	list := c.eventsOf(node)
	if list == nil {
		return -1
	}
	return len(slices.DeleteFunc(list, func(e event) bool { return e.Reason != reason }))
}

// event is an Event.
type event struct {
	InvolvedObject  struct{ Name string }
	Reason, Message string
}

// eventsOf are the Events about the object of that name; nil while they cannot be read.
func (c *cluster) eventsOf(node string) []event {
	data, err := c.Client.Core.Get().Namespace("default").Resource("events").Do(c.t.Context()).Raw()
	list := struct{ Items []event }{[]event{}}
	if err != nil || json.Unmarshal(data, &list) != nil {
		return nil
	}
	return slices.DeleteFunc(list.Items, func(e event) bool { return e.InvolvedObject.Name != node })
}
