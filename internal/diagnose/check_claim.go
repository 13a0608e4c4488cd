package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
)

// enableOnDemand is the next step where agents or nodes are not prepared for claims.
const enableOnDemand = "set onDemand.enabled=true in the Helm chart, or add the component manifests/on-demand"

// guide is the page about ENIs on demand.
const guide = repository + "/docs/guides/on-demand.md"

// checkServed says whether the API server has claims.
func (p *podCase) checkServed() []Step {
	if p.NotServed {
		return []Step{bad("API server", "TooOld", "upgrade the cluster, or use NodeENIs with attach: Always", "ENIs on demand require Kubernetes 1.36 or later, and the API server does not serve resource.k8s.io/v1")}
	}
	return nil
}

// checkClaims says whether the pod claims ENIs.
func (p *podCase) checkClaims() []Step {
	pod := &p.PodClaims.Pod
	missing := map[string]bool{}
	for _, name := range ClaimNames(pod) {
		missing[name] = !slices.ContainsFunc(p.Claims, func(c resourcev1.ResourceClaim) bool { return c.Name == name })
	}
	for _, c := range pod.Spec.ResourceClaims {
		made := slices.ContainsFunc(pod.Status.ResourceClaimStatuses, func(s corev1.PodResourceClaimStatus) bool { return s.Name == c.Name })
		switch {
		case p.Unread[ResourceClaims] != "":
			return []Step{unknown("claim", "the pod's ResourceClaims cannot be read: %s", p.Unread[ResourceClaims])}
		case c.ResourceClaimName != nil && missing[*c.ResourceClaimName]:
			return []Step{bad("claim", "NoClaim", "create the ResourceClaim in the pod's namespace", "there is no ResourceClaim %s/%s", pod.Namespace, *c.ResourceClaimName)}
		case c.ResourceClaimTemplateName != nil && !made:
			text, next := "kube-controller-manager has not created it yet", "check that kube-controller-manager runs"
			if e := p.lastEvent("FailedResourceClaimCreation"); e != nil {
				text, next = e.Message, "correct the ResourceClaimTemplate, or create it in the pod's namespace"
			}
			return []Step{bad("claim", "ClaimNotCreated", next, "the ResourceClaim of the template %s does not exist: %s", *c.ResourceClaimTemplateName, text).since(pod.CreationTimestamp.Time)}
		}
	}
	if ours := p.ours(); len(ours) > 0 {
		return []Step{ok("claim", "the pod claims ENIs with %s", strings.Join(ours, ", "))}
	}
	if name := p.extended(); name != "" {
		return []Step{ok("claim", "the pod requests %s, for which the scheduler creates a ResourceClaim", name)}
	}
	for i := range p.Claims {
		for _, name := range classesOf(&p.Claims[i]) {
			if p.Unread[DeviceClasses] == "" && p.class(name) == nil {
				return nil // checkClasses has it
			}
		}
	}
	return []Step{bad("claim", "NoENIClaimed", "claim an ENI as the examples do: "+repository+"/examples/on-demand", "the pod claims no device of a DeviceClass for ENIs")}
}

// checkClasses says whether the DeviceClasses exist that the pod's claims name.
func (p *podCase) checkClasses() []Step {
	if why := p.Unread[DeviceClasses]; why != "" {
		return []Step{unknown("DeviceClass", "the DeviceClasses cannot be read: %s", why)}
	}
	for i := range p.Claims {
		for _, name := range classesOf(&p.Claims[i]) {
			if p.class(name) != nil {
				continue
			}
			next := "create it, or correct deviceClassName in the claim"
			if name == driver.Name {
				next = enableOnDemand
			}
			return []Step{bad("DeviceClass", "NoDeviceClass", next, "the claim %s names the DeviceClass %s, which does not exist", p.Claims[i].Name, name)}
		}
	}
	return nil
}

// checkOnDemand says whether there are NodeENIs for claims, and agents that serve them.
func (p *podCase) checkOnDemand() []Step {
	names := p.onDemand()
	if len(names) == 0 {
		return []Step{bad("NodeENI", "NoNodeENI", "create a NodeENI with attach: OnDemand; for an example, see "+repository+"/examples/on-demand", "no NodeENI has attach: OnDemand")}
	}
	if has, known := p.pair("", &v1alpha1.NodeENI{}).runsWith("--on-demand"); known && !has {
		return []Step{bad("agents", "OnDemandDisabled", enableOnDemand, "the agents run without --on-demand, so they offer no ENIs to pods")}
	}
	return []Step{ok("NodeENI", "%s with attach: OnDemand: %s", count(len(names), "NodeENI"), some(names))}
}

// checkClaim are the checks of one claim: the places, as long as it has none, or those of its
// devices.
func (p *podCase) checkClaim(claim *resourcev1.ResourceClaim) (checks []func() []Step) {
	devices := results(claim)
	if len(devices) == 0 {
		return []func() []Step{p.checkPlaces}
	}
	for _, r := range devices {
		node, n := r.Pool, p.nodeENIs[p.nodeENIOf(r)]
		checks = append(checks, func() []Step {
			return []Step{ok("allocation", "the claim %s has the device %s on node %s", claim.Name, r.Device, node)}
		})
		if n != nil {
			pair := p.pair(node, n)
			for _, check := range []check{checkNode, checkAgent, checkReport} {
				checks = append(checks, func() []Step { return check(pair) })
			}
		}
		checks = append(checks, func() []Step { return []Step{p.checkDevice(claim, r)} }, func() []Step { return p.checkDRA(node) })
	}
	return checks
}

// nodeENIOf is the NodeENI of a device, by the node's ResourceSlices.
func (p *podCase) nodeENIOf(r resourcev1.DeviceRequestAllocationResult) string {
	for i := range p.Slices {
		for _, d := range p.Slices[i].Spec.Devices {
			if p.Slices[i].Spec.Pool.Name == r.Pool && d.Name == r.Device {
				return attribute(d, "nodeENI")
			}
		}
	}
	return ""
}

func attribute(d resourcev1.Device, name resourcev1.QualifiedName) string {
	if value := d.Attributes[name].StringValue; value != nil {
		return *value
	}
	return ""
}

// checkDevice says how far a claim's ENI is.
func (p *podCase) checkDevice(claim *resourcev1.ResourceClaim, r resourcev1.DeviceRequestAllocationResult) Step {
	var status resourcev1.AllocatedDeviceStatus
	for _, d := range claim.Status.Devices {
		if d.Driver == r.Driver && d.Pool == r.Pool && d.Device == r.Device {
			status = d
		}
	}
	if c := meta.FindStatusCondition(status.Conditions, driver.ConditionAttachFailed); c != nil && c.Status == "True" {
		text, next := split(c.Message)
		return bad("ENI", c.Reason, cmp.Or(next, "kubectl eni why "+r.Pool), "the agent on %s cannot attach an ENI: %s", r.Pool, text).since(c.LastTransitionTime.Time)
	}
	c := meta.FindStatusCondition(status.Conditions, driver.ConditionAttached)
	if c != nil && c.Status == "True" {
		text := "attached"
		if n := status.NetworkData; n != nil {
			text += fmt.Sprintf(" as %s with %s", cmp.Or(n.InterfaceName, n.HardwareAddress), strings.Join(n.IPs, ", "))
		}
		return ok("ENI", "%s", text)
	}
	step := unknown("ENI", "the agent on %s has not attached the ENI yet", r.Pool)
	step.Reason, step.waits, step.Next = "Attaching", true, "wait: EC2 usually needs a few seconds"
	if a := claim.Status.Allocation.AllocationTimestamp; a != nil {
		step.Since = a.Time
	}
	if c != nil {
		text, next := split(c.Message)
		step.Reason, step.Text, step.Next = c.Reason, step.Text+": "+cmp.Or(text, c.Reason), cmp.Or(next, step.Next)
	}
	if !step.Since.IsZero() && p.Time.Sub(step.Since) > patience {
		step.Mark, step.Next = Bad, cmp.Or(p.pair(r.Pool, &v1alpha1.NodeENI{}).agentLog(), step.Next)
	}
	return step
}

// checkDRA says whether eni-dra of a node can move links into pods.
func (p *podCase) checkDRA(node string) []Step {
	const check = "eni-dra"
	agent := p.agents[node]
	if agent == nil {
		return nil // checkAgent has it
	}
	if !slices.ContainsFunc(agent.Spec.Containers, func(c corev1.Container) bool { return c.Name == draContainer }) {
		return []Step{bad(check, "NoContainer", enableOnDemand, "the pod %s on %s has no container eni-dra, which moves ENIs into pods", agent.Name, node)}
	}
	ready := slices.ContainsFunc(agent.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.Name == draContainer && s.Ready })
	if !ready {
		return []Step{bad(check, "NotConnected", fmt.Sprintf("see its log: kubectl -n %s logs %s -c eni-dra; NRI must be enabled in the container runtime, as in containerd 2.0 and later: %s", agent.Namespace, agent.Name, guide),
			"eni-dra on %s is not ready: the kubelet has not registered it, or the container runtime is not connected by NRI", node)}
	}
	return []Step{ok(check, "eni-dra on %s is registered with the kubelet, and connected to the container runtime", node)}
}

// checkPod says whether the pod starts.
func (p *podCase) checkPod() []Step {
	pod := &p.PodClaims.Pod
	switch {
	case pod.Status.Phase == corev1.PodRunning, pod.Status.Phase == corev1.PodSucceeded, pod.Status.Phase == corev1.PodFailed:
		return []Step{ok("pod", "the pod is %s on %s", pod.Status.Phase, pod.Spec.NodeName)}
	case pod.Spec.NodeName == "":
		step := unknown("pod", "the scheduler has not bound the pod yet")
		step.Reason, step.waits = "NotBound", true
		if pod.Status.NominatedNodeName == "" { // or the step of the ENI has it
			step.Next = "wait a few seconds, and run the command again"
		}
		if e := p.lastEvent("FailedScheduling"); e != nil {
			step.Text += ": " + e.Message
		}
		return []Step{step.since(pod.CreationTimestamp.Time)}
	}
	if e := p.lastEvent("FailedPrepareDynamicResources", "FailedCreatePodSandBox"); e != nil {
		text, next := split(e.Message)
		return []Step{bad("pod", e.Reason, cmp.Or(next, fmt.Sprintf("kubectl -n %s describe pod %s", pod.Namespace, pod.Name)), "the kubelet on %s cannot start the pod: %s", pod.Spec.NodeName, text).since(happened(e))}
	}
	step := unknown("pod", "the kubelet on %s starts the pod", pod.Spec.NodeName)
	step.Reason, step.waits, step.Next = "Starting", true, fmt.Sprintf("wait, or see kubectl -n %s describe pod %s", pod.Namespace, pod.Name)
	return []Step{step}
}
