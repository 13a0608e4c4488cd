package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// runsWith says whether agents have a flag; known is false if that cannot be read.
func (p *pair) runsWith(flag string) (has, known bool) {
	var spec corev1.PodSpec
	switch {
	case p.agent != nil:
		spec = p.agent.Spec
	case p.daemonSet != nil:
		spec = p.daemonSet.Spec.Template.Spec
	default:
		return false, false
	}
	for _, c := range spec.Containers {
		if c.Name == AgentContainer {
			return slices.ContainsFunc(c.Args, func(arg string) bool {
				return arg == flag || strings.HasPrefix(arg, flag+"=") && arg != flag+"=false"
			}), true
		}
	}
	return false, false
}

// hint is the newest warning of the agent about this Node, as a part of a text, and what to
// do about it. A warning about a former Node of that name does not count.
func (p *pair) hint(reasons ...string) (text, next string) {
	e := p.warning("Node", p.nodeName, reasons...)
	if e == nil || happened(e).Before(p.node.CreationTimestamp.Time) {
		return "", p.agentLog()
	}
	text, next = split(e.Message)
	return fmt.Sprintf("; %s %s: %s", e.Reason, p.ago(happened(e)), text), cmp.Or(next, p.agentLog())
}

// checkTaint says whether the node still has the startup taint.
func checkTaint(p *pair) []Step {
	if p.node == nil || !slices.ContainsFunc(p.node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == v1alpha1.StartupTaint }) {
		return nil
	}
	if has, known := p.runsWith("--startup-taint"); known && !has {
		return []Step{bad("readiness", "StartupTaint", "set nodeReadiness.startupTaint=true in the Helm chart", "the node has the taint %s, and agents run without --startup-taint", v1alpha1.StartupTaint)}
	}
	for i := range p.NodeENIs {
		n := &p.NodeENIs[i]
		if n.DeletionTimestamp == nil && p.selects(n, p.nodeName) && !allReady(n, entries(n, p.state)) {
			return []Step{unknown("readiness", "the node keeps the taint %s until the ENIs of NodeENI %s are Ready", v1alpha1.StartupTaint, n.Name)}
		}
	}
	hint, next := p.hint("NodeNotPatched")
	return []Step{bad("readiness", "StartupTaint", next, "all ENIs are Ready, but the node keeps the taint %s%s", v1alpha1.StartupTaint, hint)}
}

func allReady(n *v1alpha1.NodeENI, of []v1alpha1.ENIState) bool {
	wanted := 0
	for _, e := range of {
		if released(e) {
			continue
		}
		if wanted++; e.Phase != v1alpha1.PhaseReady || e.ObservedGeneration < n.Generation {
			return false
		}
	}
	return wanted > 0
}

// checkPods says whether the node offers the NodeENI's addresses to pods.
func checkPods(p *pair) []Step {
	if p.n.Spec.Pods == nil || p.node == nil {
		return nil
	}
	resource := v1alpha1.PodResource(p.n.Name)
	if has, known := p.runsWith("--pods"); known && !has {
		return []Step{bad("pods", "PodsNotEnabled", "set pods.enabled=true in the Helm chart", "the NodeENI is for pods, and agents run without --pods")}
	}
	quantity, has := p.node.Status.Capacity[corev1.ResourceName(resource)]
	if len(p.node.Status.Capacity) == 0 {
		return []Step{unknown("pods", "the Node has no capacity yet; when its kubelet has registered it, the agent adds the extended resource %s", resource)}
	}
	if !has && allReady(p.n, p.entries) {
		hint, next := p.hint("NodeNotPatched", "PodNetworkNotWritten")
		return []Step{bad("pods", "NotOffered", next, "the node does not offer the extended resource %s%s", resource, hint)}
	}
	if e := p.warning("Node", p.nodeName, "PodNetworkNotWritten"); e != nil && p.Time.Sub(happened(e)) < 2*patience {
		text, next := split(e.Message)
		return []Step{bad("pods", e.Reason, cmp.Or(next, p.agentLog()), "%s", text).since(happened(e))}
	}
	if !has {
		return nil
	}
	return []Step{ok("pods", "the node offers %s of %s", quantity.String(), resource)}
}
