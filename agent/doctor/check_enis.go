package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

const wantedCheck = "NodeENIs"

// checkWanted: whether it is known what is wanted of this node.
func checkWanted(f Facts) []Result {
	w := f.Wanted
	if w == nil {
		if f.IMDS == nil {
			return nil
		}
		return []Result{skipped(wantedCheck, "not checked: specify --node-name or --nodeeni-dir to check the NodeENIs")}
	}
	if w.Err != nil {
		action := "check that this node can reach the API server, that the CRDs are installed, and that the kubeconfig or ServiceAccount has the permissions of the ClusterRole eni-agent"
		switch {
		case w.Standalone:
			action = "create the directory, and make it readable"
		case apierrors.IsUnauthorized(w.Err):
			action = "renew the token or certificate of the kubeconfig or ServiceAccount: it may have expired or belong to another cluster"
		}
		return []Result{failure(wantedCheck, action, "cannot read the NodeENIs from %s: %v", w.From, w.Err)}
	}
	var results []Result
	for _, err := range w.WrongFiles {
		results = append(results, failure(wantedCheck, "correct the file; the agent uses the other files in the meantime", "%v", err))
	}
	if w.Problem != "" {
		return append(results, failure("Node", "the agent does nothing on this node until this is fixed", "%s", w.Problem))
	}
	selecting := 0
	for i := range w.NodeENIs {
		if w.NodeENIs[i].Selects(w.Labels) {
			selecting++
		}
	}
	if selecting == 0 {
		return append(results, warning(wantedCheck, "add the labels of a NodeENI's nodeSelector to the node, or create a NodeENI",
			"none of the %d NodeENIs in %s selects this node, so it gets no ENIs", len(w.NodeENIs), w.From))
	}
	return append(results, ok(wantedCheck, "%d of %d NodeENIs in %s select this node", selecting, len(w.NodeENIs), w.From))
}

const forecastCheck = "subnets in this zone"

// checkNodeENIs: whether the NodeENIs that select this node can be carried out.
func checkNodeENIs(f Facts) []Result {
	if f.EC2 == nil {
		return nil
	}
	if err := f.EC2.ForecastErr; err != nil {
		what, do := eni.Explain("", err)
		return []Result{failure(forecastCheck, do, "cannot query EC2: %s", what)}
	}
	if f.EC2.Forecast == nil {
		return nil
	}
	var results []Result
	for _, p := range f.EC2.Forecast.Problems {
		if p.Reason == agent.ReasonInstanceType {
			continue // see checkInstanceType
		}
		message, action := split(p.Message, "correct the NodeENI")
		results = append(results, failure(forecastCheck, action, "NodeENI %s: %s", p.NodeENI, message))
	}
	if n := len(f.EC2.Forecast.ENIs); n > 0 && len(results) == 0 {
		results = append(results, ok(forecastCheck, "this node needs %s", count(n, "ENI")))
	}
	return results
}

// checkSubnets: whether the subnets have addresses for the ENIs to be created.
func checkSubnets(f Facts) []Result {
	if f.EC2 == nil || f.EC2.Forecast == nil {
		return nil
	}
	missing := map[string]int{}
	for _, e := range f.EC2.Forecast.ENIs {
		if e.ID == "" {
			missing[e.Create.SubnetID] += addressesOf(e.Create)
		} else {
			missing[e.Create.SubnetID] += 0
		}
	}
	for _, p := range f.EC2.Forecast.Places {
		missing[p.SubnetID] += 0
	}
	var results []Result
	for _, id := range slices.Sorted(maps.Keys(missing)) {
		const check = "free addresses"
		switch s := f.EC2.Forecast.Subnets[id]; {
		case s.IPv6Only:
			results = append(results, ok(check, "%s is IPv6-only, and EC2 does not report its free addresses", id))
		case s.Free < missing[id]:
			results = append(results, failure(check, "free addresses in the subnet, or list another subnet in this zone",
				"%s (%s) has %d, but this node needs %d", id, s.CIDR, s.Free, missing[id]))
		default:
			results = append(results, ok(check, "%s (%s) has %d", id, s.CIDR, s.Free))
		}
	}
	return results
}

// addressesOf is how many IPv4 addresses a new ENI takes from its subnet: the primary one,
// secondary ones, and those of prefixes.
func addressesOf(p eni.CreateParams) int {
	const perPrefix = 16 // a /28
	return int(1 + p.SecondaryAddresses + perPrefix*p.IPv4Prefixes)
}

// checkGroups: whether the security groups that are named by id exist in the
// subnets' VPC. Names are looked up with the subnets.
func checkGroups(f Facts) []Result {
	const check = "security groups"
	if f.EC2 == nil || f.EC2.Forecast == nil {
		return nil
	}
	if err := f.EC2.GroupsErr; err != nil {
		what, do := eni.Explain("DescribeSecurityGroups", err)
		return []Result{failure(check, do, "cannot query EC2: %s", what)}
	}
	var results []Result
	seen := map[string]bool{}
	for _, e := range f.EC2.Forecast.ENIs {
		vpc := f.EC2.Forecast.Subnets[e.Create.SubnetID].VPCID
		for _, id := range e.Create.Groups {
			i := slices.IndexFunc(f.EC2.Groups, func(g eni.Group) bool { return g.ID == id })
			message := ""
			switch {
			case i < 0:
				message = fmt.Sprintf("NodeENI %s: security group %s does not exist in this account and Region", e.NodeENI, id)
			case f.EC2.Groups[i].VPCID != vpc:
				message = fmt.Sprintf("NodeENI %s: security group %s is in %s, but subnet %s is in %s", e.NodeENI, id, f.EC2.Groups[i].VPCID, e.Create.SubnetID, vpc)
			}
			if message != "" && !seen[message] {
				seen[message] = true
				results = append(results, failure(check, "correct securityGroupIDs or securityGroupNames: each group must exist in the subnet's VPC", "%s", message))
			}
		}
	}
	if len(results) == 0 && len(f.EC2.Forecast.ENIs) > 0 {
		results = append(results, ok(check, "all of them are in the VPC of the subnets"))
	}
	return results
}

// isPrimary: device indexes count per network card.
func isPrimary(e eni.ENI) bool { return e.Attachment.DeviceIndex == 0 && e.Attachment.Card == 0 }

// whose says of each ENI who made it, as far as its tags and description tell.
func whose(enis []eni.ENI) []string {
	var all []string
	for _, e := range enis {
		by := e.Owner.NodeENI
		switch {
		case by != "":
			by = "NodeENI " + by
		case isPrimary(e):
			by = "primary ENI"
		case strings.HasPrefix(e.Description, "aws-K8S-"):
			by = "VPC CNI"
		case e.Name != "":
			by = e.Name
		case e.Description != "":
			by = e.Description
		default:
			by = "unknown"
		}
		all = append(all, fmt.Sprintf("%s [%s]", e.ID, by))
	}
	return all
}

// checkDeviceIndexes: whether the wanted indexes are free.
func checkDeviceIndexes(f Facts) []Result {
	const check = "device indexes"
	if f.EC2 == nil || f.EC2.Forecast == nil || len(f.EC2.Forecast.ENIs) == 0 {
		return nil
	}
	var results []Result
	for _, e := range f.EC2.Forecast.ENIs {
		if e.DeviceIndex != e.Wanted {
			card := ""
			if e.NetworkCard > 0 {
				card = fmt.Sprintf(" on network card %d", e.NetworkCard)
			}
			results = append(results, warning(check, "choose a higher deviceIndex if it must be the same on all nodes",
				"NodeENI %s requests index %d%s, but %s uses it; its ENI %s index %d", e.NodeENI, e.Wanted, card, holder(e, f.EC2.Forecast), has(e), e.DeviceIndex))
		}
	}
	if len(results) == 0 {
		results = append(results, ok(check, "all requested indexes are available"))
	}
	return results
}

func holder(e agent.ForecastENI, f *agent.Forecast) string {
	for i, a := range f.Attached {
		if a.ID == e.Holder {
			return whose(f.Attached)[i]
		}
	}
	return e.Holder
}

func has(e agent.ForecastENI) string {
	if e.Attached {
		return "has"
	}
	return "gets"
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
