package diagnose

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

var now = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func before(d time.Duration) metav1.Time { return metav1.NewTime(now.Add(-d)) }

// healthy is a cluster of two nodes that have an ENI each of the NodeENI data.
func healthy() *Snapshot {
	s := &Snapshot{
		Time: now, Namespace: DefaultNamespace, Unread: map[Resource]string{},
		NodeENIs:    []v1alpha1.NodeENI{newNodeENI("data")},
		DaemonSets:  []appsv1.DaemonSet{newDaemonSet()},
		Deployments: []appsv1.Deployment{newDeployment()},
		Lease:       newLease(2 * time.Second),
	}
	for _, name := range []string{"node-1", "node-2"} {
		s.Nodes = append(s.Nodes, newNode(name))
		s.States = append(s.States, newState(name))
		s.Pods = append(s.Pods, newAgent(name))
	}
	s.Pods = append(s.Pods, corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "eni-coordinator-1", Namespace: DefaultNamespace, Labels: map[string]string{ComponentLabel: CoordinatorComponent}}})
	return s
}

func newNodeENI(name string) v1alpha1.NodeENI {
	n := v1alpha1.NodeENI{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name + "-uid"), Generation: 2, CreationTimestamp: before(24 * time.Hour), Finalizers: []string{v1alpha1.CleanupFinalizer}},
		Spec: v1alpha1.NodeENISpec{
			NodeSelector: map[string]string{"ng": "multi-eni"}, SubnetIDs: []string{"subnet-0123456789abcdef0"}, SecurityGroupIDs: []string{"sg-0123456789abcdef0"},
		},
	}
	v1alpha1.Default(&n)
	return n
}

func instanceOf(node string) string { return "i-0000000000000000" + node[len(node)-1:] }

func newNode(name string) corev1.Node {
	return corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: before(48 * time.Hour), Labels: map[string]string{"ng": "multi-eni", "kubernetes.io/os": "linux", corev1.LabelTopologyZone: "us-east-1a"}},
		Spec:       corev1.NodeSpec{ProviderID: "aws:///us-east-1a/" + instanceOf(name)},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}
}

func newState(node string) v1alpha1.NodeENIState {
	return v1alpha1.NodeENIState{
		ObjectMeta: metav1.ObjectMeta{Name: node, CreationTimestamp: before(24 * time.Hour), ManagedFields: []metav1.ManagedFieldsEntry{{Time: new(before(3 * time.Hour))}}},
		Status: v1alpha1.NodeENIStateStatus{
			InstanceID: instanceOf(node), Zone: "us-east-1a",
			ENIs: []v1alpha1.ENIState{newENI("data")},
		},
	}
}

func newENI(nodeENI string) v1alpha1.ENIState {
	return v1alpha1.ENIState{
		NodeENI: nodeENI, NodeENIUID: types.UID(nodeENI + "-uid"), ObservedGeneration: 2, SubnetID: "subnet-0123456789abcdef0", SubnetCIDR: "10.0.16.0/20",
		ENIID: "eni-0a", AttachmentID: "eni-attach-0a", DeviceIndex: 1, InterfaceName: "ens6", MTU: 9001, Addresses: []string{"10.0.16.4"},
		Phase: v1alpha1.PhaseReady, Reason: "Ready", LastTransitionTime: before(3 * time.Hour),
	}
}

func newDaemonSet() appsv1.DaemonSet {
	ds := appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "eni-agent", Namespace: DefaultNamespace}}
	ds.Spec.Template.Spec = corev1.PodSpec{
		NodeSelector: map[string]string{"kubernetes.io/os": "linux", "ng": "multi-eni"},
		Tolerations:  []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		Containers:   []corev1.Container{{Name: AgentContainer, Image: "ghcr.io/aws-multi-eni/eni-agent:v0.1.0", Args: []string{"--http-address=$(HOST_IP):9480"}}},
		Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
				{Key: "eks.amazonaws.com/compute-type", Operator: corev1.NodeSelectorOpNotIn, Values: []string{"auto", "fargate", "hybrid"}},
			}}},
		}}},
	}
	ds.Status.DesiredNumberScheduled, ds.Status.NumberReady = 2, 2
	return ds
}

func newDeployment() appsv1.Deployment {
	d := appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "eni-coordinator", Namespace: DefaultNamespace}}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "eni-coordinator", Image: "ghcr.io/aws-multi-eni/eni-coordinator:v0.1.0"}}
	return d
}

func newLease(age time.Duration) *coordinationv1.Lease {
	return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{
		HolderIdentity: new("eni-coordinator-1_abc"), LeaseDurationSeconds: new(int32(15)), RenewTime: &metav1.MicroTime{Time: now.Add(-age)},
	}}
}

func newAgent(node string) corev1.Pod {
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: "eni-agent-" + node, Namespace: DefaultNamespace, CreationTimestamp: before(20 * time.Hour), Labels: map[string]string{ComponentLabel: AgentComponent},
	}}
	pod.Spec = newDaemonSet().Spec.Template.Spec
	pod.Spec.Affinity, pod.Spec.NodeName = nil, node
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: AgentContainer, Image: "ghcr.io/aws-multi-eni/eni-agent:v0.1.0", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	return pod
}

// failed makes the ENI of node-1 one that does not exist, in a phase with a reason.
func failed(s *Snapshot, phase v1alpha1.Phase, reason, message string) {
	e := &s.States[0].Status.ENIs[0]
	*e = v1alpha1.ENIState{
		NodeENI: e.NodeENI, NodeENIUID: e.NodeENIUID, ObservedGeneration: e.ObservedGeneration, SubnetID: e.SubnetID, SubnetCIDR: e.SubnetCIDR,
		Phase: phase, Reason: reason, Message: message, LastTransitionTime: before(10 * time.Minute),
	}
}

// attached is like failed for an ENI that exists.
func attached(s *Snapshot, phase v1alpha1.Phase, reason, message string) {
	e := &s.States[0].Status.ENIs[0]
	e.Phase, e.Reason, e.Message, e.LastTransitionTime = phase, reason, message, before(10*time.Minute)
}

func container(s *Snapshot) *corev1.ContainerStatus { return &s.Pods[0].Status.ContainerStatuses[0] }

func warnAbout(s *Snapshot, kind, name, reason, message string) {
	s.Events = append(s.Events, corev1.Event{
		InvolvedObject: corev1.ObjectReference{Kind: kind, Name: name}, Type: corev1.EventTypeWarning,
		Reason: reason, Message: message, LastTimestamp: before(time.Minute),
	})
}

func quantity(text string) resource.Quantity { return resource.MustParse(text) }

func deleteNodeENI(s *Snapshot, since time.Duration) {
	s.NodeENIs[0].DeletionTimestamp = new(before(since))
}

// forPods makes the NodeENI one for pods, whose extended resource the Nodes do not have.
func forPods(s *Snapshot) {
	s.NodeENIs[0].Spec.Pods = &v1alpha1.Pods{}
	s.Pods[0].Spec.Containers[0].Args = []string{"--pods"}
	s.Nodes[0].Status.Capacity = corev1.ResourceList{"cpu": quantity("4")}
}
