package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// EC2 throttles for a while: all agents slow down, none gives up, nothing is
// deleted, and all is well afterwards.
func TestScenario04Throttled(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 5, nil)
	c.coordinator("coordinator-1", eager...)
	throttled := map[string]string{"node-1": describeCall, "node-2": "DescribeSubnets", "node-3": createCall, "node-4": attachCall, "node-5": modifyCall}
	for node, action := range throttled {
		c.fault(node, cloud.Fault{Action: action, Code: "RequestLimitExceeded"})
		c.agent(node)
		c.want(node, "data-"+node, c.plain("data"))
	}
	made := map[string]string{}
	for node, action := range throttled {
		c.awaitEntry(node, "data-"+node, func(e v1alpha1.ENIState) string {
			if e.Phase == v1alpha1.PhaseFailed || e.Reason != "RequestLimitExceeded" || !strings.Contains(e.Message, action) {
				return "want RequestLimitExceeded of " + action
			}
			return ""
		})
		c.awaitCall(node, action, 3)
		for _, e := range c.made(node) {
			made[node] = e.ID
		}
	}
	for node, action := range throttled {
		calls := c.calls(c.source(node), action)
		first, second := calls[1].Time.Sub(calls[0].Time), calls[2].Time.Sub(calls[1].Time)
		if first < 5*time.Second || second < time.Second {
			t.Errorf("%s waits %v at first and %v then between two calls of %s", node, first, second, action)
		}
	}
	c.Sim.Cloud().ClearFaults()
	for node := range throttled {
		only := c.awaitOnly(node, "data-"+node)
		if made[node] != "" {
			same(t, only.ID, made[node])
		}
	}
	c.expectCalls("coordinator-1", nil)

	for _, action := range []string{detachCall, deleteCall} {
		c.inject(cloud.Fault{Action: action, Code: "RequestLimitExceeded", SourceID: "coordinator-1", Count: 3})
	}
	for node := range throttled {
		c.must(c.DeleteNodeENI(t.Context(), "data-"+node))
	}
	c.awaitENIs(0)
	for node := range throttled {
		c.awaitNodeENIGone("data-" + node)
	}
}

// A Modify that fails leaves the ENI attached and in use; the report says what
// is missing, and it is tried again.
func TestScenario05ModifyFails(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	c.coordinator("coordinator-1", eager...)
	spec := c.plain("data") + "\nmtu: 9001\naddressing: Host"
	c.fault("node-1", cloud.Fault{Action: modifyCall, Code: "UnauthorizedOperation"})
	c.fault("node-2", cloud.Fault{Action: modifyCall, Code: "RequestLimitExceeded"})
	for _, node := range []string{"node-1", "node-2"} {
		c.agent(node)
		c.want(node, "data-"+node, spec)
	}
	for node, check := range map[string]func(v1alpha1.ENIState) string{
		"node-1": says(v1alpha1.PhaseFailed, "UnauthorizedOperation", "attached and in use", "ec2:ModifyNetworkInterfaceAttribute"),
		"node-2": says(v1alpha1.PhaseConfiguring, "RequestLimitExceeded", "attached and in use"),
	} {
		entry := c.awaitEntry(node, "data-"+node, check)
		c.await("the link is in use", func() string { return c.configured(node, c.eni(entry.ENIID), true, 9001) })
		c.staysOnly(node, time.Second, entry.ENIID)
		if a := c.eni(entry.ENIID).Attachment; a == nil || a.DeleteOnTermination {
			t.Errorf("%s: attachment %+v", node, a)
		}
	}
	c.Sim.Cloud().ClearFaults()
	for _, node := range []string{"node-1", "node-2"} {
		only := c.awaitOnly(node, "data-"+node)
		if !only.Attachment.DeleteOnTermination {
			t.Errorf("%s: deleteOnTermination is not set", node)
		}
		got := cloud.CountCalls(c.calls(c.source(node)))
		if got[createCall] != 1 || got[attachCall] != 1 {
			t.Errorf("%s: %v", node, got)
		}
	}
	c.expectCalls("coordinator-1", nil)
}

// An instance that takes no more ENIs: one waits, no more are made, and when
// there is room the one that waits is attached.
func TestScenario06AttachmentLimit(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 0, func(topology *sim.Topology) {
		topology.Nodes = []sim.NodeSpec{{Name: "node-1", Type: "t3.nano"}}
	})
	c.coordinator("coordinator-1", eager...)
	c.agent("node-1")
	c.want("node-1", "first", c.plain("data"))
	first := c.awaitReady("node-1", "first", 1)[0].ENIID
	c.want("node-1", "second", c.plain("storage"))
	c.want("node-1", "third", c.plain("nodes"))
	waiting := c.awaitEntry("node-1", "second", says(v1alpha1.PhaseFailed, "AttachmentLimitExceeded", "t3.nano supports 2 ENIs")).ENIID
	attempts := len(c.calls(c.source("node-1"), attachCall))
	c.staysOnly("node-1", 4*time.Second, first, waiting)
	// The waits begin with 1 to 2 s, because room that was noticed comes a moment later,
	// and double.
	if now := len(c.calls(c.source("node-1"), attachCall)); now > attempts+2 {
		t.Errorf("%d attempts to attach within 4 s", now-attempts)
	}
	c.expectCalls("coordinator-1", nil)

	c.must(c.DeleteNodeENI(t.Context(), "first"))
	same(t, c.awaitReady("node-1", "second", 1)[0].ENIID, waiting)
	c.must(c.DeleteNodeENI(t.Context(), "second"))
	c.awaitReady("node-1", "third", 1)
	c.awaitMade("node-1", 1)
	c.expectCalls(c.source("node-1"), map[string]int{createCall: 3, modifyCall: 3, attachCall: len(c.calls(c.source("node-1"), attachCall))})
}

// What a NodeENI names is in another zone, does not exist, or is ambiguous: the
// report says so, another NodeENI on the node is not held up, and a corrected
// spec works.
func TestScenario07WrongNames(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, func(topology *sim.Topology) {
		topology.Subnets = []sim.Subnet{
			subnet("nodes", "us-east-1a", 0), subnet("data", "us-east-1a", 1), subnet("data", "us-east-1b", 2),
			subnet("twin", "us-east-1a", 3), subnet("other-twin", "us-east-1a", 4), subnet("far", "us-east-1b", 5),
		}
		topology.Subnets[4].Tags = map[string]string{"Name": "twin"}
	})
	const node = "node-1"
	c.agent(node)
	group := "\nsecurityGroupIDs: [" + c.group("data") + "]"
	index := 1
	for name, test := range map[string]struct{ spec, reason, words string }{
		"other-zone":      {"subnetNames: [far]" + group, "NoSubnetInZone", "us-east-1b"},
		"no-subnet-id":    {"subnetID: subnet-0123456789abcdef0" + group, "SubnetNotFound", "subnet-0123456789abcdef0"},
		"no-subnet-name":  {"subnetName: nowhere" + group, "SubnetNotFound", "nowhere"},
		"several-subnets": {"subnetName: twin" + group, "SubnetNameAmbiguous", c.topologySubnet("other-twin")},
		"no-group-id":     {"subnetName: data\nsecurityGroupIDs: [sg-0123456789abcdef0]", "InvalidGroup.NotFound", "sg-0123456789abcdef0"},
		"no-group-name":   {"subnetName: data\nsecurityGroupNames: [missing]", "SecurityGroupNotFound", "missing"},
	} {
		c.run(name, func(*testing.T) {
			index++
			c.want(node, name, test.spec+fmt.Sprintf("\ndeviceIndex: %d", index))
			c.awaitEntry(node, name, says(v1alpha1.PhaseFailed, test.reason, test.words))
		})
	}
	c.run("malformed id", func(t *testing.T) {
		err := c.Apply(t.Context(), nodeENI("malformed", "subnetID: subnet-xyz"+group))
		if err == nil || !strings.Contains(err.Error(), "subnetID") {
			t.Errorf("the API server says %v", err)
		}
	})
	c.run("a sound NodeENI beside them", func(*testing.T) {
		// The name data has a subnet in each of two zones, one of them this.
		c.want(node, "sound", "subnetNames: [data]"+group+"\ndeviceIndex: 1")
		c.awaitReady(node, "sound", 1)
		c.awaitMade(node, 1)
	})
	c.run("corrected", func(t *testing.T) {
		c.must(c.PatchNodeENI(t.Context(), "no-group-id", fmt.Sprintf(`{"spec":{"securityGroupIDs":[%q]}}`, c.group("data"))))
		c.must(c.PatchNodeENI(t.Context(), "other-zone", `{"spec":{"subnetNames":["far","data"]}}`))
		c.awaitReady(node, "no-group-id", 1)
		c.awaitReady(node, "other-zone", 1)
		c.awaitMade(node, 3)
	})
}

func subnet(name, zone string, n int) sim.Subnet {
	return sim.Subnet{Name: name, Zone: zone, CIDR: netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/24", n))}
}

// topologySubnet is the id of the only subnet that the topology calls so.
func (c *cluster) topologySubnet(name string) string {
	all := c.Sim.Topology().Subnets
	return all[slices.IndexFunc(all, func(s sim.Subnet) bool { return s.Name == name })].ID
}

// A full subnet is left alone for a while and reported, in both of EC2's
// spellings; other subnets are not held up, and when addresses come back the ENI
// is made.
func TestScenario08SubnetFull(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	c.must(c.Sim.Cloud().SetFreeAddresses(c.subnet("data", "node-1"), 0))
	c.fault("node-2", cloud.Fault{
		Action: createCall, ResourceID: c.subnet("data", "node-2"),
		Code: "InvalidParameterValue", Message: "There aren't sufficient free Ipv4 addresses or prefixes",
	})
	for node, code := range map[string]string{"node-1": "InsufficientFreeAddressesInSubnet", "node-2": "InvalidParameterValue"} {
		c.agent(node)
		c.want(node, "full-"+node, c.plain("data"))
		c.awaitEntry(node, "full-"+node, says(v1alpha1.PhasePending, code, "free addresses in the subnet"))
	}
	for _, node := range []string{"node-1", "node-2"} {
		c.want(node, "also-"+node, c.plain("data"))
		c.want(node, "free-"+node, c.plain("storage"))
		c.awaitReady(node, "free-"+node, 1)
		c.awaitMade(node, 1)
		c.expectCooling(node)
	}
	c.must(c.Sim.Cloud().SetFreeAddresses(c.subnet("data", "node-1"), 10))
	c.Sim.Cloud().ClearFaults()
	for _, node := range []string{"node-1", "node-2"} {
		c.awaitReady(node, "full-"+node, 1)
		c.awaitReady(node, "also-"+node, 1)
		c.awaitMade(node, 3)
	}
}

// expectCooling checks that a node's calls that were refused for want of
// addresses are far apart, whatever else is asked for meanwhile.
func (c *cluster) expectCooling(node string) {
	c.t.Helper()
	var last time.Time
	for _, call := range c.calls(c.source(node), createCall) {
		if call.Code == "" {
			continue
		}
		if gap := call.Time.Sub(last); gap < 10*time.Second {
			c.t.Errorf("%s asks again after %v", node, gap)
		}
		last = call.Time
	}
}
