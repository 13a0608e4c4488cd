package diagnose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// checkSpec validates a spec that may have been stored before the schema refused it.
func checkSpec(p *pair) []Step {
	n := p.n.DeepCopy()
	v1alpha1.Default(n)
	if err := v1alpha1.ValidateNodeENI(n).ToAggregate(); err != nil {
		return []Step{bad("NodeENI", "InvalidSpec", "correct the spec: kubectl edit nodeeni "+n.Name, "the spec of %s is not valid: %v", n.Name, err).since(n.CreationTimestamp.Time)}
	}
	return []Step{ok("NodeENI", "%s is valid (generation %d)", n.Name, n.Generation)}
}

// checkSelector compares the selector with the node's labels.
func checkSelector(p *pair) []Step {
	if p.node == nil {
		return []Step{unknown("selector", "cannot read the labels of %s: %s", p.nodeName, p.Unread[Nodes])}
	}
	differences := missingLabels(p.n.Spec.NodeSelector, p.node)
	if len(differences) == 0 {
		return []Step{ok("selector", "the node has %s", selectorText(p.n.Spec.NodeSelector))}
	}
	text := strings.Join(differences, "; ")
	if len(p.entries) > 0 {
		text += "; the node's ENIs of this NodeENI are being released"
	}
	next := fmt.Sprintf("if the node must have these ENIs, label it: kubectl label node %s %s", p.nodeName, labelArguments(p.n.Spec.NodeSelector, p.node))
	return []Step{bad("selector", "NodeNotSelected", next, "%s", text).since(p.node.CreationTimestamp.Time)}
}

// missingLabels says which labels of the selector the node does not have.
func missingLabels(selector map[string]string, node *corev1.Node) (differences []string) {
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		switch got, has := node.Labels[key]; {
		case !has:
			differences = append(differences, fmt.Sprintf("the node does not have the label %s=%s", key, selector[key]))
		case got != selector[key]:
			differences = append(differences, fmt.Sprintf("the node has the label %s=%s, and the NodeENI requires %s=%s", key, got, key, selector[key]))
		}
	}
	return differences
}

// labelArguments are those of kubectl label that make the selector match.
func labelArguments(selector map[string]string, node *corev1.Node) string {
	var words []string
	overwrite := false
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		got, has := node.Labels[key]
		if has && got == selector[key] {
			continue
		}
		overwrite = overwrite || has
		words = append(words, key+"="+selector[key])
	}
	if overwrite {
		words = append(words, "--overwrite")
	}
	return strings.Join(words, " ")
}

func selectorText(selector map[string]string) string {
	var labels []string
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		labels = append(labels, key+"="+selector[key])
	}
	return strings.Join(labels, ",")
}

// Reasons of the agent for subnets that it cannot use.
var subnetReasons = []string{"NoSubnetInZone", "SubnetNotFound", "SubnetNameAmbiguous", "InvalidSubnetID.NotFound", "InvalidSubnet.NotFound", "InvalidSubnetID.Malformed"}

// checkSubnet says which of the NodeENI's subnets are in the node's zone. Only agents ask
// EC2 for that, so a report that does not stand for the present does not count.
func checkSubnet(p *pair) []Step {
	var subnets []string
	for _, e := range p.entries {
		if released(e) || !p.current(e) {
			continue
		}
		if slices.Contains(subnetReasons, e.Reason) {
			text, next := split(e.Message)
			return []Step{bad("subnet", e.Reason, next, "%s", text).since(e.LastTransitionTime.Time)}
		}
		if e.SubnetID != "" {
			subnets = append(subnets, fmt.Sprintf("%s (%s)", e.SubnetID, e.SubnetCIDR))
		}
	}
	if len(subnets) > 0 {
		return []Step{ok("subnet", "%s in the node's zone %s", strings.Join(subnets, ", "), p.state.Status.Zone)}
	}
	zone := ""
	if p.node != nil {
		zone = p.node.Labels[corev1.LabelTopologyZone]
	}
	text := "the agent has not reported which subnet it uses"
	if others := p.subnetsOfOthers(zone); zone != "" && len(others) > 0 {
		text += fmt.Sprintf("; other nodes in %s use %s", zone, strings.Join(others, ", "))
	}
	return []Step{unknown("subnet", "%s", text)}
}

// subnetsOfOthers are the subnets that other nodes of the zone use for the NodeENI.
func (p *pair) subnetsOfOthers(zone string) []string {
	found := map[string]bool{}
	for i := range p.States {
		if p.States[i].Status.Zone != zone {
			continue
		}
		for _, e := range entries(p.n, &p.States[i]) {
			if e.ENIID != "" && e.SubnetID != "" {
				found[e.SubnetID] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// current says whether an entry of the report is about the present: the Node is the
// instance that reports, and the agent has observed the last change of the NodeENI.
func (p *pair) current(e v1alpha1.ENIState) bool {
	return e.ObservedGeneration >= p.n.Generation && (p.node == nil || kube.InstanceID(p.node.Spec.ProviderID) == p.state.Status.InstanceID)
}
