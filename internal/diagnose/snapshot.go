// Package diagnose explains why a node does not have its ENIs. It works on a Snapshot of
// what the API server shows and is pure: it reads nothing by itself, so that each broken
// situation is a table test.
package diagnose

import (
	"cmp"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// Names and labels of the workloads that the manifests and the Helm chart create.
const (
	NameLabel            = "app.kubernetes.io/name"
	NameValue            = "aws-multi-eni"
	ComponentLabel       = "app.kubernetes.io/component"
	AgentComponent       = "agent"
	CoordinatorComponent = "coordinator"
	AgentContainer       = "eni-agent"
	LeaseName            = "eni-coordinator"
	DefaultNamespace     = "eni-system"
)

// Resource names what a Snapshot holds.
type Resource string

// The resources of a Snapshot.
const (
	NodeENIs      Resource = "nodeenis"
	NodeENIStates Resource = "nodeenistates"
	Nodes         Resource = "nodes"
	Events        Resource = "events"
	DaemonSets    Resource = "daemonsets"
	Deployments   Resource = "deployments"
	Pods          Resource = "pods"
	Leases        Resource = "leases"
)

// Snapshot is what the API server shows at one moment.
type Snapshot struct {
	Time time.Time
	// Namespace is where the agents and coordinators run.
	Namespace string
	NodeENIs  []v1alpha1.NodeENI
	States    []v1alpha1.NodeENIState
	Nodes     []corev1.Node
	// Events are warnings about Nodes and NodeENIs.
	Events []corev1.Event
	// DaemonSets run agents, Deployments run coordinators, and Pods are those of both.
	DaemonSets  []appsv1.DaemonSet
	Deployments []appsv1.Deployment
	Pods        []corev1.Pod
	// Lease is the coordinators', nil if it does not exist.
	Lease *coordinationv1.Lease
	// Pod is the pod that is explained, nil for others than pods.
	Pod *PodClaims
	// Absent are the resources that the API server does not serve.
	Absent []Resource
	// Unread says why a resource could not be read.
	Unread map[Resource]string
}

// index finds the objects of a Snapshot.
type index struct {
	*Snapshot
	nodes     map[string]*corev1.Node
	nodeENIs  map[string]*v1alpha1.NodeENI
	states    map[string]*v1alpha1.NodeENIState
	agents    map[string]*corev1.Pod // by node
	daemonSet *appsv1.DaemonSet
}

func newIndex(s *Snapshot) *index {
	x := &index{
		Snapshot: s, nodes: map[string]*corev1.Node{}, nodeENIs: map[string]*v1alpha1.NodeENI{},
		states: map[string]*v1alpha1.NodeENIState{}, agents: map[string]*corev1.Pod{},
	}
	for i := range s.Nodes {
		x.nodes[s.Nodes[i].Name] = &s.Nodes[i]
	}
	for i := range s.NodeENIs {
		x.nodeENIs[s.NodeENIs[i].Name] = &s.NodeENIs[i]
	}
	for i := range s.States {
		x.states[s.States[i].Name] = &s.States[i]
	}
	for i := range s.DaemonSets {
		if x.daemonSet == nil || s.DaemonSets[i].Namespace == s.Namespace {
			x.daemonSet = &s.DaemonSets[i]
		}
	}
	for i := range s.Pods {
		x.addPod(&s.Pods[i])
	}
	return x
}

func (x *index) addPod(pod *corev1.Pod) {
	if pod.Labels[ComponentLabel] != AgentComponent {
		return
	}
	// While a pod is replaced, the node has two. The one that is not being deleted counts.
	if former := x.agents[nodeOf(pod)]; former == nil || former.DeletionTimestamp != nil {
		x.agents[nodeOf(pod)] = pod
	}
}

// nodeOf is the node of a pod. The DaemonSet controller binds a pod by an affinity to the
// node's name, so a pod that is not scheduled also has one.
func nodeOf(pod *corev1.Pod) string {
	if pod.Spec.NodeName != "" || pod.Spec.Affinity == nil || pod.Spec.Affinity.NodeAffinity == nil || pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return pod.Spec.NodeName
	}
	for _, term := range pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, field := range term.MatchFields {
			if field.Key == "metadata.name" && len(field.Values) == 1 {
				return field.Values[0]
			}
		}
	}
	return ""
}

// nodeNames are all names by which a node is known. Where Nodes cannot be read, those that
// report count.
func (x *index) nodeNames() []string {
	if x.Unread[Nodes] == "" {
		return slices.Sorted(maps.Keys(x.nodes))
	}
	return slices.Sorted(maps.Keys(x.states))
}

// entries are the ENIs of the NodeENI in a node's report, by its UID: a NodeENI that was
// deleted may have had the name.
func entries(n *v1alpha1.NodeENI, state *v1alpha1.NodeENIState) []v1alpha1.ENIState {
	if state == nil {
		return nil
	}
	var of []v1alpha1.ENIState
	for _, e := range state.Status.ENIs {
		if gone := e.Phase == v1alpha1.PhaseReleased && e.ENIID == ""; e.NodeENIUID == n.UID && !gone {
			of = append(of, e)
		}
	}
	return of
}

// released says whether the node no longer needs the ENI.
func released(e v1alpha1.ENIState) bool {
	return e.Phase == v1alpha1.PhaseReleasing || e.Phase == v1alpha1.PhaseReleased
}

// selects says whether the node must have ENIs of the NodeENI. Where Nodes cannot be
// read, the node's own report is all that is known.
func (x *index) selects(n *v1alpha1.NodeENI, node string) bool {
	if x.Unread[Nodes] != "" {
		return slices.ContainsFunc(entries(n, x.states[node]), func(e v1alpha1.ENIState) bool { return !released(e) })
	}
	of := x.nodes[node]
	return of != nil && n.Selects(of.Labels)
}

// warning is the newest warning about an object with one of the reasons; nil if there is
// none.
func (x *index) warning(kind, name string, reasons ...string) *corev1.Event {
	return newest(x.Events, func(e *corev1.Event) bool {
		return e.InvolvedObject.Kind == kind && e.InvolvedObject.Name == name && e.Type == corev1.EventTypeWarning && slices.Contains(reasons, e.Reason)
	})
}

// newest is the last one of the Events that are chosen; nil if there is none.
func newest(events []corev1.Event, chosen func(*corev1.Event) bool) (last *corev1.Event) {
	for i := range events {
		if e := &events[i]; chosen(e) && (last == nil || happened(e).After(happened(last))) {
			last = e
		}
	}
	return last
}

// happened is when an Event was last seen.
func happened(e *corev1.Event) time.Time {
	if e.LastTimestamp.IsZero() {
		return cmp.Or(e.EventTime.Time, e.CreationTimestamp.Time)
	}
	return e.LastTimestamp.Time
}
