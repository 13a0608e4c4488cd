package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/agent/doctor"
	"github.com/aws-multi-eni/aws-multi-eni/agent/files"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/iam"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// TestConfined: the policies of packaging/iam suffice for a whole life of ENIs.
func TestConfined(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	agent, coordinator := c.policy("agent"), c.policy("coordinator")
	c.Sim.Cloud().SetPolicies(func(sourceID string) *iam.Policy {
		if sourceID == "coordinator" {
			return coordinator
		}
		return agent
	})
	c.coordinator("coordinator", eager...)
	c.agent("node-1", "node-2")
	for _, node := range []string{"node-1", "node-2"} {
		c.must(c.Label(t.Context(), node, "ng", "multi-eni"))
	}
	c.must(c.Apply(t.Context(), nodeENI("data", "subnetNames: [data]\nsecurityGroupNames: [data]\ntags: {team: storage}\nsourceDestCheck: false")))
	c.awaitReady("node-1", "data", 1)
	c.awaitReady("node-2", "data", 1)

	kubeconfig, err := c.AgentKubeconfig(t.Context(), "node-1", "doctor")
	c.must(err)
	found := c.examine("node-1", 0, "--node-name", "node-1", "--kubeconfig", kubeconfig)
	for _, check := range []string{"ec2:CreateNetworkInterface", "ec2:AttachNetworkInterface", "ec2:ModifyNetworkInterfaceAttribute", "ec2:DescribeSecurityGroups"} {
		c.expect(found, check, doctor.OK)
	}

	c.must(c.PatchNodeENI(t.Context(), "data", `{"spec": {"securityGroupNames": ["storage"], "description": "other", "deleteOnTermination": false}}`))
	c.await("everything is changed", func() string {
		for _, e := range c.managed() {
			if e.GroupIDs[0] != c.group("storage") || e.Description != "other" || e.Attachment.DeleteOnTermination || e.SourceDestCheck {
				return c.enis()
			}
		}
		return ""
	})
	c.must(c.Unlabel(t.Context(), "node-1", "ng"))
	c.awaitENIs(1)
	c.must(c.DeleteNodeENI(t.Context(), "data"))
	c.awaitENIs(0)
	c.nothingRefused()
}

// The same for agents without Kubernetes, which also remove their ENIs.
func TestConfinedStandAlone(t *testing.T) {
	t.Parallel()
	const node = "node-1"
	c := newStandAlone(t, 1, nil)
	agent := c.policyFor("agent-standalone", files.DefaultCluster)
	c.Sim.Cloud().SetPolicies(func(string) *iam.Policy { return agent })
	c.agent(node)
	c.write(node, "one", nodeENI("one", c.hostENI("data", "")))
	c.awaitReady(node, "one", 1)
	found := c.examine(node, 0, "--nodeeni-dir", c.NodeENIDir(node), "--node-labels", "ng=multi-eni")
	c.expect(found, "ec2:DetachNetworkInterface", doctor.OK)
	c.expect(found, "ec2:DeleteNetworkInterface", doctor.OK)
	c.write(node, "two", nodeENI("two", c.hostENI("storage", "")))
	c.awaitReady(node, "two", 1)
	c.unwrite(node, "one")
	c.awaitENIs(1)
	c.nothingRefused()
}

// nothingRefused: no call has been refused for want of a permission.
func (c *cluster) nothingRefused() {
	c.t.Helper()
	for _, call := range c.Sim.Cloud().Calls() {
		if call.Code == "UnauthorizedOperation" {
			c.t.Errorf("%s called %s, which is not granted", call.SourceID, call.Action)
		}
	}
}

// policy is a policy of packaging/iam for this cluster.
func (c *cluster) policy(name string) *iam.Policy {
	c.t.Helper()
	id, err := c.Client.ClusterID(c.t.Context())
	c.must(err)
	return c.policyFor(name, id)
}

func (c *cluster) policyFor(name, cluster string) *iam.Policy {
	c.t.Helper()
	root, err := testbed.Root(c.t.Context())
	c.must(err)
	text, err := os.ReadFile(filepath.Join(root, "packaging", "iam", name+".json"))
	c.must(err)
	account := c.Sim.Cloud().Config()
	p, err := iam.Parse([]byte(strings.NewReplacer("PARTITION", account.Partition, "REGION", account.Region, "ACCOUNT_ID", account.AccountID,
		"VPC_ID", account.VPCs[0].ID, "CLUSTER_ID", cluster, "USER_TAG_KEYS", "team").Replace(string(text))))
	c.must(err)
	return &p
}
