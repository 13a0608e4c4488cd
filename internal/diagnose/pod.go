package diagnose

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
)

// PodPrefix begins the argument that names a pod.
const PodPrefix = "pod/"

// What a Snapshot holds of a pod that claims ENIs.
const (
	ResourceClaims Resource = "resourceclaims"
	ResourceSlices Resource = "resourceslices"
	DeviceClasses  Resource = "deviceclasses"
)

// draContainer is the container of the DRA plugin in the agent's pod.
const draContainer = "eni-dra"

// PodClaims is a pod, and what decides whether it gets the ENIs that it claims.
type PodClaims struct {
	Pod    corev1.Pod
	Events []corev1.Event // about the pod
	// Claims are those of the pod that exist.
	Claims []resourcev1.ResourceClaim
	// Slices are those of our driver on all nodes.
	Slices  []resourcev1.ResourceSlice
	Classes []resourcev1.DeviceClass
	// NotServed: the API server does not serve resource.k8s.io/v1.
	NotServed bool
}

// ClaimNames are the ResourceClaims that a pod uses.
func ClaimNames(pod *corev1.Pod) (names []string) {
	add := func(name *string) {
		if name != nil && *name != "" && !slices.Contains(names, *name) {
			names = append(names, *name)
		}
	}
	for _, c := range pod.Spec.ResourceClaims {
		add(c.ResourceClaimName)
	}
	for _, c := range pod.Status.ResourceClaimStatuses {
		add(c.ResourceClaimName)
	}
	if e := pod.Status.ExtendedResourceClaimStatus; e != nil {
		add(&e.ResourceClaimName)
	}
	return names
}

// podCase is a pod that is explained.
type podCase struct {
	*index
	*PodClaims
}

// explainPod explains why a pod does not have the ENIs that it claims.
func (x *index) explainPod() Explanation {
	p := &podCase{x, x.Pod}
	checks := []func() []Step{p.checkServed, p.checkClaims, p.checkClasses, p.checkOnDemand}
	for i := range p.Claims {
		if p.isOurs(&p.Claims[i]) {
			checks = append(checks, p.checkClaim(&p.Claims[i])...)
		}
	}
	if len(p.ours()) == 0 { // an extended resource, whose claim the scheduler creates
		checks = append(checks, p.checkPlaces)
	}
	checks = append(checks, p.checkPod)
	title := fmt.Sprintf("Pod %s/%s", p.PodClaims.Pod.Namespace, p.PodClaims.Pod.Name)
	return Explanation{Title: title, Groups: []Group{{Chain: Chain{Steps: inOrder(checks...)}}}}
}

// ours are the claims of the pod that request ENIs.
func (p *podCase) ours() (all []string) {
	for i := range p.Claims {
		if p.isOurs(&p.Claims[i]) {
			all = append(all, p.Claims[i].Name)
		}
	}
	return all
}

// isOurs says whether a claim has or requests a device of an agent. Where the DeviceClasses
// cannot be read, those of other names than ours are taken for other drivers'.
func (p *podCase) isOurs(claim *resourcev1.ResourceClaim) bool {
	if len(results(claim)) > 0 {
		return true
	}
	return slices.ContainsFunc(classesOf(claim), func(name string) bool {
		class := p.class(name)
		return name == driver.Name || class != nil && classIsOurs(class)
	})
}

// classIsOurs says whether a DeviceClass selects devices of agents: its expressions name the
// driver.
func classIsOurs(class *resourcev1.DeviceClass) bool {
	return slices.ContainsFunc(class.Spec.Selectors, func(s resourcev1.DeviceSelector) bool {
		return s.CEL != nil && strings.Contains(s.CEL.Expression, driver.Name)
	})
}

func (p *podCase) class(name string) *resourcev1.DeviceClass {
	i := slices.IndexFunc(p.Classes, func(c resourcev1.DeviceClass) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &p.Classes[i]
}

// classesOf are the DeviceClasses that a claim's requests name.
func classesOf(claim *resourcev1.ResourceClaim) (names []string) {
	for _, request := range claim.Spec.Devices.Requests {
		if request.Exactly != nil {
			names = append(names, request.Exactly.DeviceClassName)
		}
		for _, sub := range request.FirstAvailable {
			names = append(names, sub.DeviceClassName)
		}
	}
	return names
}

// results are the devices of agents that a claim is allocated to.
func results(claim *resourcev1.ResourceClaim) (all []resourcev1.DeviceRequestAllocationResult) {
	if claim.Status.Allocation == nil {
		return nil
	}
	for _, r := range claim.Status.Allocation.Devices.Results {
		if r.Driver == driver.Name {
			all = append(all, r)
		}
	}
	return all
}

// extended is the extended resource by which the pod requests ENIs without a claim of its
// own; "" if there is none.
func (p *podCase) extended() string {
	for _, c := range slices.Concat(p.PodClaims.Pod.Spec.InitContainers, p.PodClaims.Pod.Spec.Containers) {
		for i := range p.Classes {
			name := p.Classes[i].Spec.ExtendedResourceName
			if name == nil || !classIsOurs(&p.Classes[i]) {
				continue
			}
			if _, has := c.Resources.Limits[corev1.ResourceName(*name)]; has {
				return *name
			}
		}
	}
	return ""
}

// lastEvent is the newest warning about the pod with one of the reasons.
func (p *podCase) lastEvent(reasons ...string) *corev1.Event {
	pod := p.PodClaims.Pod
	return newest(p.PodClaims.Events, func(e *corev1.Event) bool {
		former := e.InvolvedObject.UID != "" && pod.UID != "" && e.InvolvedObject.UID != pod.UID
		return !former && e.Type == corev1.EventTypeWarning && slices.Contains(reasons, e.Reason)
	})
}

// onDemand are the NodeENIs whose ENIs pods claim.
func (x *index) onDemand() (names []string) {
	for i := range x.NodeENIs {
		if n := &x.NodeENIs[i]; n.Spec.Attach == v1alpha1.AttachOnDemand && n.DeletionTimestamp == nil {
			names = append(names, n.Name)
		}
	}
	return names
}
