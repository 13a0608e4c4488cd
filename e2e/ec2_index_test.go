package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// stranger attaches an ENI without our tags, as the VPC CNI does, and returns
// its id. No call of that is logged.
func (c *cluster) stranger(node string, index int32) string {
	c.t.Helper()
	n, err := c.Sim.Node(node)
	c.must(err)
	e, err := c.Sim.Cloud().CreateNetworkInterface(cloud.CreateNetworkInterfaceInput{SubnetID: c.subnet("nodes", node), GroupIDs: []string{c.group("nodes")}})
	c.must(err)
	_, err = c.Sim.Cloud().AttachNetworkInterface(cloud.AttachNetworkInterfaceInput{NetworkInterfaceID: e.ID, InstanceID: n.ID, DeviceIndex: index})
	c.must(err)
	return e.ID
}

// at checks a report's entry: Ready at that index, with the words.
func at(index int32, words ...string) func(v1alpha1.ENIState) string {
	return func(e v1alpha1.ENIState) string {
		if e.DeviceIndex != index {
			return fmt.Sprintf("want device index %d", index)
		}
		return says(v1alpha1.PhaseReady, "Ready", words...)(e)
	}
}

// The wanted device index is taken: the next free one is used, the report names
// the holder, nothing is done in vain twice, and the mapping stays.
func TestScenario09IndexTaken(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4, nil)
	c.coordinator("coordinator-1", eager...)
	strangers := map[string]string{}

	c.run("by a stranger that IMDS shows", func(*testing.T) {
		holder := c.stranger("node-1", 2)
		strangers[holder] = "node-1"
		c.agent("node-1")
		c.want("node-1", "one", c.plain("data"))
		c.awaitEntry("node-1", "one", at(3, holder))
		c.expectCalls(c.source("node-1"), map[string]int{createCall: 1, attachCall: 1, modifyCall: 1})
	})
	c.run("by strangers that IMDS does not show yet", func(t *testing.T) {
		c.timing(func(timing *cloud.Timing) { timing.IMDSLag = time.Minute })
		holder := c.stranger("node-2", 2)
		strangers[holder], strangers[c.stranger("node-2", 3)] = "node-2", "node-2"
		c.agent("node-2")
		c.want("node-2", "two", c.plain("data"))
		id := c.awaitEntry("node-2", "two", at(4, holder)).ENIID
		once := map[string]int{createCall: 1, attachCall: 2, modifyCall: 1}
		c.expectCalls(c.source("node-2"), once)

		described := len(c.calls(c.source("node-2"), describeCall))
		c.restart("node-2")
		c.awaitCall("node-2", describeCall, described+1)
		c.staysOnly("node-2", time.Second, id)
		same(t, c.awaitEntry("node-2", "two", at(4)).ENIID, id)
		c.expectCalls(c.source("node-2"), once)
	})
	c.run("by a stranger that comes between", func(*testing.T) {
		// IMDS has told of none when the agent started.
		c.agent("node-3")
		c.want("node-3", "first", c.plain("data"))
		c.awaitReady("node-3", "first", 1)
		holder := c.stranger("node-3", 3)
		strangers[holder] = "node-3"
		c.want("node-3", "second", fmt.Sprintf("subnetNames: [storage]\nsecurityGroupIDs: [%s]\ndeviceIndex: 3", c.group("data")))
		c.awaitEntry("node-3", "second", at(4, holder))
		c.expectCalls(c.source("node-3"), map[string]int{createCall: 2, attachCall: 3, modifyCall: 2})
	})
	c.run("by another NodeENI", func(t *testing.T) {
		c.agent("node-4")
		c.want("node-4", "a-older", c.plain("data"))
		holder := c.awaitReady("node-4", "a-older", 1)[0].ENIID
		c.want("node-4", "b-younger", c.plain("storage"))
		displaced := c.awaitEntry("node-4", "b-younger", at(3, holder)).ENIID
		c.expectCalls(c.source("node-4"), map[string]int{createCall: 2, attachCall: 2, modifyCall: 2})

		// The ENI that was there first leaves; the other one does not move up.
		c.must(c.DeleteNodeENI(t.Context(), "a-older"))
		c.awaitMade("node-4", 1)
		c.staysOnly("node-4", time.Second, displaced)
		same(t, c.awaitEntry("node-4", "b-younger", at(3)).ENIID, displaced)
		c.expectCalls(c.source("node-4"), map[string]int{createCall: 2, attachCall: 2, modifyCall: 2})
	})
	for id, node := range strangers {
		if a := c.eni(id).Attachment; a == nil || a.Status != cloud.AttachmentAttached {
			t.Errorf("the stranger %s on %s has attachment %+v", id, node, a)
		}
	}
}
