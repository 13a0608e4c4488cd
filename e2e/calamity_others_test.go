package e2e

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// opReaddress has others assign addresses to an ENI of the node, or take them away.
func (c *cluster) opReaddress(node string, r *rand.Rand) string {
	all := c.made(node)
	if len(all) == 0 {
		return "addresses of " + node + ": there is no ENI"
	}
	e := pick(r, all...)
	if secondary := e.PrivateIPs[1:]; len(secondary) > 0 && r.IntN(2) == 0 {
		return fmt.Sprintf("unassign %v of %s: %v", secondary[:1], e.ID, c.Sim.Cloud().UnassignPrivateIPAddresses(e.ID, secondary[:1]))
	}
	assigned, err := c.Sim.Cloud().AssignPrivateIPAddresses(cloud.AssignPrivateIPAddressesInput{NetworkInterfaceID: e.ID, SecondaryCount: 1 + r.IntN(2)})
	return fmt.Sprintf("assign %v to %s: %v", assigned, e.ID, err)
}

// opRegroup has others change the security groups of an ENI of the node.
func (c *cluster) opRegroup(node string, r *rand.Rand) string {
	all := c.made(node)
	if len(all) == 0 {
		return "groups of " + node + ": there is no ENI"
	}
	e, group := pick(r, all...), c.group(pick(r, "data", "storage", "nodes"))
	err := c.Sim.Cloud().ModifyNetworkInterfaceAttribute(cloud.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceID: e.ID, GroupIDs: []string{group}})
	return fmt.Sprintf("set groups of %s to %s: %v", e.ID, group, err)
}

// opIsolate has the agent of a node hear EC2, but not the API server, while the node
// loses its label, or all stays as it is.
func (tr *trial) opIsolate(node string, r *rand.Rand) string {
	d := time.Duration(1+r.IntN(25)) * time.Second
	tr.Gate.Isolate("agent-"+node, d)
	what := "nothing else happens"
	if r.IntN(2) == 0 {
		what = pick(r, tr.opLabel, tr.opDelete, tr.opDetach, tr.opChange)(r)
	}
	time.Sleep(d / 2)
	return fmt.Sprintf("the agent of %s does not reach the API server for %v: %s", node, d, what)
}
