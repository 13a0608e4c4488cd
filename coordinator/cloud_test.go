package coordinator

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/simtest"
)

// another is another account's EC2.
func (r *rig) another(region, account string) (*cloud.Cloud, func(*Config)) {
	r.Helper()
	config := cloud.Config{Region: region, AccountID: account, VPCs: r.cloud.Config().VPCs, SecurityGroups: r.cloud.Config().SecurityGroups}
	for _, subnet := range r.cloud.Config().Subnets {
		subnet.Zone, subnet.ZoneID = region+"a", ""
		config.Subnets = append(config.Subnets, subnet)
	}
	c, access := simtest.Account(r, config)
	return c, func(cfg *Config) { cfg.EC2, cfg.Region = ec2Client(*access.BaseEndpoint, cfg.Identity), region }
}

func (r *rig) inject(f cloud.Fault) {
	r.Helper()
	if err := r.cloud.Inject(f); err != nil {
		r.Fatal(err)
	}
}

// throttleEverySecond has every second describe throttled, for so many.
func (r *rig) throttleEverySecond(many int) {
	for n := range many {
		// Each fault sees the calls that those before it let pass.
		r.inject(cloud.Fault{Action: "DescribeNetworkInterfaces", Code: "RequestLimitExceeded", Skip: n + 1, Count: 1})
	}
}

// fleetENIs makes ENIs of nodes that the rig has no Node of, all of one NodeENI, without
// calls of the API: those are the coordinators' only.
func (r *rig) fleetENIs(n *v1alpha1.NodeENI, from, to int) (ids []string) {
	r.Helper()
	for i := from; i < to; i++ {
		e, err := r.cloud.CreateNetworkInterface(cloud.CreateNetworkInterfaceInput{SubnetID: subnetBig, Tags: map[string]string{
			eni.TagCluster: testCluster, eni.TagNode: fmt.Sprint("fleet-", i), eni.TagInstance: arn(fmt.Sprintf("i-%017x", i)),
			eni.TagNodeENI: n.Name, eni.TagNodeENIUID: string(n.UID), eni.TagCreatedAt: time.Now().UTC().Format(time.RFC3339),
		}})
		if err != nil {
			r.Fatal(err)
		}
		ids = append(ids, e.ID)
	}
	return ids
}

func (r *rig) callsOf(sourceID, action string) int {
	n := 0
	for _, c := range r.cloud.Calls() {
		if c.SourceID == sourceID && (action == "" || c.Action == action) {
			n++
		}
	}
	return n
}

// mutating counts Detach and Delete calls.
func (r *rig) mutating(sourceID string) int {
	return r.callsOf(sourceID, "DetachNetworkInterface") + r.callsOf(sourceID, "DeleteNetworkInterface")
}

// filters are those of the describes that coordinators made.
func (r *rig) filters() map[string]int {
	count := map[string]int{}
	for _, c := range r.cloud.Calls() {
		if c.Action == "DescribeNetworkInterfaces" && c.SourceID != "AKIDTEST" {
			count[c.Params["Filter.2.Name"]]++
		}
	}
	return count
}

func assertUntouched(t *testing.T, r *rig, ids []string) {
	t.Helper()
	for _, id := range ids {
		i, ok := r.cloud.Interface(id)
		if !ok {
			t.Errorf("the stranger %s was deleted", id)
		}
		for _, c := range r.cloud.Calls() {
			named := c.Params["NetworkInterfaceId"] == id || i.Attachment != nil && c.Params["AttachmentId"] == i.Attachment.ID
			if named && c.SourceID != "AKIDTEST" {
				t.Errorf("%s named the stranger %s", c.Action, id)
			}
		}
	}
}

// count counts the calls of an action by coordinators; the rig makes its own
// ENIs as AKIDTEST.
func (r *rig) count(action string) int {
	n := 0
	for _, c := range r.cloud.Calls() {
		if c.Action == action && c.SourceID != "AKIDTEST" {
			n++
		}
	}
	return n
}

// tagPrimary puts an agent's tags onto the primary ENI of the first instance.
func (r *rig) tagPrimary(n *v1alpha1.NodeENI, instance string) (id string) {
	r.Helper()
	id = r.cloud.Interfaces()[0].ID
	if err := r.cloud.CreateTags([]string{id}, map[string]string{
		eni.TagCluster: testCluster, eni.TagNode: "node-a", eni.TagInstance: arn(instance), eni.TagNodeENI: n.Name, eni.TagNodeENIUID: string(n.UID),
	}); err != nil {
		r.Fatal(err)
	}
	return id
}
