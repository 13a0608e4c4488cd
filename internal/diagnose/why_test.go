package diagnose

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

var update = flag.Bool("update", false, "write testdata")

// situation is a cluster in which something is wrong.
type situation struct {
	name   string
	broken func(*Snapshot)
	about  string // the arguments; node-1 by default
	cause  string // the reason of the first cause
}

var situations = []situation{
	{"healthy", func(*Snapshot) {}, "node-1 data", ""},
	{"healthy NodeENI", func(*Snapshot) {}, "data", ""},
	{"on demand without a claim", func(s *Snapshot) {
		s.NodeENIs[0].Spec.Attach, s.States[0].Status.ENIs = v1alpha1.AttachOnDemand, nil
	}, "node-1 data", ""},
	{"not installed", func(s *Snapshot) { *s = Snapshot{Absent: []Resource{NodeENIs, NodeENIStates}} }, "", "NotInstalled"},
	{"CRD deleted", func(s *Snapshot) { s.Absent = []Resource{NodeENIStates} }, "", "NotInstalled"},
	{"no NodeENI", func(s *Snapshot) { s.NodeENIs = nil }, "", "NoNodeENI"},
	{"invalid spec", func(s *Snapshot) { s.NodeENIs[0].Spec.SubnetIDs = nil }, "", "InvalidSpec"},
	{"no label", func(s *Snapshot) { delete(s.Nodes[0].Labels, "ng"); s.States = s.States[1:] }, "", "NodeNotSelected"},
	{"another value", func(s *Snapshot) { s.Nodes[0].Labels["ng"] = "multi-en1" }, "node-1 data", "NodeNotSelected"},
	{"no node selected", func(s *Snapshot) {
		s.NodeENIs[0].Spec.NodeSelector = map[string]string{"ng": "multi-eni", "tier": "storage"}
	}, "data", "NoMatchingNodes"},
	{"typo in the selector", func(s *Snapshot) { s.NodeENIs[0].Spec.NodeSelector = map[string]string{"ng": "multieni"} }, "data", "NoMatchingNodes"},
	{"wrong zone", func(s *Snapshot) {
		failed(s, v1alpha1.PhaseFailed, "NoSubnetInZone", "no listed subnet is in the node's zone us-east-1b (subnet-0123456789abcdef0 is in us-east-1a); list a subnet of that zone, or select other nodes")
	}, "", "NoSubnetInZone"},
	{"subnet does not exist", func(s *Snapshot) {
		failed(s, v1alpha1.PhaseFailed, "SubnetNotFound", "EC2 knows no subnet subnet-0123456789abcdef0 in this account and Region; correct subnetID or subnetIDs")
	}, "", "SubnetNotFound"},
	{"node not ready", func(s *Snapshot) {
		s.Nodes[0].Status.Conditions[0] = corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, Message: "Kubelet stopped posting node status.", LastTransitionTime: before(time.Hour)}
	}, "", "NodeNotReady"},
	{"no DaemonSet", func(s *Snapshot) { s.DaemonSets, s.Pods, s.States = nil, nil, nil }, "", "AgentNotRunning"},
	{"DaemonSet selects other nodes", func(s *Snapshot) {
		s.DaemonSets[0].Spec.Template.Spec.NodeSelector["pool"] = "network"
		s.Pods, s.States = s.Pods[1:], s.States[1:]
	}, "", "AgentNotRunning"},
	{"EKS Auto Mode", func(s *Snapshot) {
		s.Nodes[0].Labels["eks.amazonaws.com/compute-type"] = "auto"
		s.Pods, s.States = s.Pods[1:], s.States[1:]
	}, "", "AgentNotRunning"},
	{"taint", func(s *Snapshot) {
		s.DaemonSets[0].Spec.Template.Spec.Tolerations = nil
		s.Nodes[0].Spec.Taints = []corev1.Taint{{Key: "dedicated", Value: "db", Effect: corev1.TaintEffectNoSchedule}}
		s.Pods, s.States = s.Pods[1:], s.States[1:]
	}, "", "AgentNotRunning"},
	{"agent gone, ENI Ready", func(s *Snapshot) { s.Pods = s.Pods[1:] }, "", "AgentNotRunning"},
	{"agent crashes", func(s *Snapshot) {
		*container(s) = corev1.ContainerStatus{
			Name: AgentContainer, RestartCount: 7, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "OOMKilled", ExitCode: 137, FinishedAt: before(2 * time.Minute)}},
		}
	}, "", "CrashLoopBackOff"},
	{"image cannot be pulled", func(s *Snapshot) {
		container(s).State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "Back-off pulling image: not found"}}
	}, "", "ImagePullBackOff"},
	{"CNI plugin not installed", func(s *Snapshot) {
		s.Pods[0].Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "install-cni", RestartCount: 3, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}
	}, "", "CrashLoopBackOff"},
	{"agent not scheduled", func(s *Snapshot) {
		s.Pods[0].Spec.NodeName, s.Pods[0].Status = "", corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/2 nodes are available: 1 Insufficient memory."}}}
		s.Pods[0].Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"node-1"}}},
		}}}}}
	}, "", "AgentNotScheduled"},
	{"agent not ready", func(s *Snapshot) {
		s.Pods[0].Status.Conditions[0] = corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "ContainersNotReady", LastTransitionTime: before(5 * time.Minute)}
		s.States[0].Status.ENIs = nil
	}, "", "AgentNotReady"},
	{"agent not ready because of IAM", func(s *Snapshot) {
		s.Pods[0].Status.Conditions[0] = corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "ContainersNotReady", LastTransitionTime: before(5 * time.Minute)}
		failed(s, v1alpha1.PhasePending, "UnauthorizedOperation", "IAM does not allow ec2:DescribeSubnets: EC2 refused DescribeSubnets (UnauthorizedOperation: You are not authorized to perform this operation.); allow ec2:DescribeSubnets in the IAM policy of the role that makes the call; packaging/iam has the policies")
	}, "", "UnauthorizedOperation"},
	{"no report", func(s *Snapshot) { s.States = s.States[1:] }, "", "NoReport"},
	{"wrong Region", func(s *Snapshot) {
		s.States[0].Status.Reason, s.States[0].Status.ENIs = "WrongRegion", nil
		s.States[0].Status.Message = "the AWS Region is set to eu-west-1, and the instance is in us-east-1; unset AWS_REGION"
	}, "", "WrongRegion"},
	{"Node of another instance", func(s *Snapshot) {
		s.States[0].Status.Reason, s.States[0].Status.ENIs = "NotThisInstance", nil
		s.States[0].Status.Message = `Node node-1 has the providerID "aws:///us-east-1a/i-00000000000000001", but IMDS reports that this agent runs on instance i-0ffffffffffffffff. Set --node-name to the name of this instance's Node. If the Node is a leftover from an earlier instance with the same name, delete it and restart the kubelet`
	}, "", "NotThisInstance"},
	{"no providerID", func(s *Snapshot) { s.Nodes[0].Spec.ProviderID = ""; s.States[0].Status.InstanceID = "" }, "", "NotThisInstance"},
	{"providerID of k3s", func(s *Snapshot) { s.Nodes[0].Spec.ProviderID = "k3s://node-1" }, "", "NotThisInstance"},
	{"replaced instance", func(s *Snapshot) { s.Nodes[0].Spec.ProviderID = "aws:///us-east-1a/i-0ffffffffffffffff" }, "", "NotThisInstance"},
	{"no coordinator", func(s *Snapshot) { s.Lease = newLease(time.Hour); s.Pods = s.Pods[:2] }, "", "NoCoordinator"},
	{"no coordinator and a full subnet", func(s *Snapshot) {
		s.Lease = nil
		failed(s, v1alpha1.PhasePending, "InsufficientFreeAddressesInSubnet", "subnet-0123456789abcdef0 (10.0.16.0/20): the subnet has no free address left: EC2 refused CreateNetworkInterface (InsufficientFreeAddressesInSubnet: x); free addresses in the subnet, or list another subnet of this zone; it is tried again")
	}, "", "InsufficientFreeAddressesInSubnet"},
	{"full subnet", func(s *Snapshot) {
		failed(s, v1alpha1.PhasePending, "InsufficientFreeAddressesInSubnet", "subnet-0123456789abcdef0 (10.0.16.0/20): the subnet has no free address left: EC2 refused CreateNetworkInterface (InsufficientFreeAddressesInSubnet: x); free addresses in the subnet, or list another subnet of this zone; it is tried again")
	}, "", "InsufficientFreeAddressesInSubnet"},
	{"IAM denies", func(s *Snapshot) {
		failed(s, v1alpha1.PhaseFailed, "UnauthorizedOperation", "IAM does not allow ec2:CreateNetworkInterface: EC2 refused CreateNetworkInterface (UnauthorizedOperation: no); allow ec2:CreateNetworkInterface, and ec2:CreateTags for it, in the IAM policy of the role that makes the call; packaging/iam has the policies")
	}, "", "UnauthorizedOperation"},
	{"wrong group", func(s *Snapshot) {
		failed(s, v1alpha1.PhaseFailed, "InvalidGroup.NotFound", "EC2 refused CreateNetworkInterface (InvalidGroup.NotFound: The security group 'sg-0ffffffffffffffff' does not exist); correct securityGroupIDs or securityGroupNames: each group must exist in the subnet's VPC")
	}, "", "InvalidGroup.NotFound"},
	{"too many ENIs", func(s *Snapshot) {
		attached(s, v1alpha1.PhaseAttaching, "AttachmentLimitExceeded", "the instance type m5.large takes 3 ENIs and all are in use: EC2 refused AttachNetworkInterface (AttachmentLimitExceeded: x); choose an instance type that takes more ENIs, or ask for fewer on this node")
		second := newENI("data")
		second.SubnetID, second.ENIID, second.Phase, second.Reason, second.Message = "subnet-0fedcba9876543210", "", v1alpha1.PhasePending, "Creating", "not created before eni-0a is attached, which EC2 refuses; see there"
		s.States[0].Status.ENIs = append([]v1alpha1.ENIState{second}, s.States[0].Status.ENIs...)
	}, "", "AttachmentLimitExceeded"},
	{"throttled", func(s *Snapshot) {
		failed(s, v1alpha1.PhasePending, "RequestLimitExceeded", "EC2 throttles CreateNetworkInterface (RequestLimitExceeded) for this account and Region; it is tried again")
	}, "", "RequestLimitExceeded"},
	{"on its way", func(s *Snapshot) {
		failed(s, v1alpha1.PhasePending, "Creating", "waiting for EC2 to create the ENI")
		s.States[0].Status.ENIs[0].LastTransitionTime = before(5 * time.Second)
	}, "", "Creating"},
	{"on its way for too long", func(s *Snapshot) {
		attached(s, v1alpha1.PhaseAttaching, "Attaching", "waiting for EC2 to attach the ENI at device index 1")
	}, "", "Attaching"},
	{"last change not observed", func(s *Snapshot) { s.NodeENIs[0].Generation = 3 }, "", "Outdated"},
	{"no link", func(s *Snapshot) {
		attached(s, v1alpha1.PhaseConfiguring, "LinkOverdue", "EC2 says attached, but for over 1m0s no link with MAC 02:00:00:00:00:01 has been in the host's network namespace; see whether a pod has taken the link (the CNI plugin host-device does), and in the kernel's log whether its driver has failed")
	}, "", "LinkOverdue"},
	{"name of the link is taken", func(s *Snapshot) {
		attached(s, v1alpha1.PhaseFailed, "InterfaceNameTaken", "another link has the name storage0: bond0; choose another interfaceName, or rename that link")
	}, "", "InterfaceNameTaken"},
	{"startup taint without the flag", func(s *Snapshot) {
		s.Nodes[0].Spec.Taints = []corev1.Taint{{Key: v1alpha1.StartupTaint, Effect: corev1.TaintEffectNoSchedule}}
	}, "", "StartupTaint"},
	{"startup taint that cannot be removed", func(s *Snapshot) {
		s.Nodes[0].Spec.Taints = []corev1.Taint{{Key: v1alpha1.StartupTaint, Effect: corev1.TaintEffectNoSchedule}}
		s.Pods[0].Spec.Containers[0].Args = []string{"--startup-taint"}
		warnAbout(s, "Node", "node-1", "NodeNotPatched", "the Node was not changed: nodes \"node-1\" is forbidden; allow patch of nodes")
	}, "", "StartupTaint"},
	{"pods not enabled", func(s *Snapshot) { s.NodeENIs[0].Spec.Pods = &v1alpha1.Pods{} }, "", "PodsNotEnabled"},
	{"pods are offered", func(s *Snapshot) {
		s.NodeENIs[0].Spec.Pods = &v1alpha1.Pods{}
		s.Pods[0].Spec.Containers[0].Args = []string{"--pods"}
		s.Nodes[0].Status.Capacity = corev1.ResourceList{"networking.k8s.aws/data": quantity("14")}
	}, "", ""},
	{"resource not offered", func(s *Snapshot) {
		forPods(s)
		warnAbout(s, "Node", "node-1", "PodNetworkNotWritten", "the network file /run/eni-agent/pods/data.json cannot be written: read-only file system")
	}, "", "NotOffered"},
	{"resource that may not be offered", func(s *Snapshot) {
		forPods(s)
		warnAbout(s, "Node", "node-1", "NodeNotPatched", `cannot change the extended resources networking.k8s.aws/NODEENI: nodes "node-1" is forbidden; apply manifests/pods (pods.enabled in the Helm chart) to allow it, or start the agent without --pods`)
	}, "", "NotOffered"},
	{"warning about a former Node", func(s *Snapshot) {
		forPods(s)
		warnAbout(s, "Node", "node-1", "NodeNotPatched", `cannot change the extended resources networking.k8s.aws/NODEENI: nodes "node-1" is forbidden; apply manifests/pods (pods.enabled in the Helm chart) to allow it`)
		s.Nodes[0].CreationTimestamp = before(30 * time.Second)
	}, "", "NotOffered"},
	{"Node without capacity", func(s *Snapshot) {
		forPods(s)
		s.Nodes[0].Status.Capacity = nil
	}, "", ""},
	{"deletion with a finalizer of others", func(s *Snapshot) {
		deleteNodeENI(s, time.Minute)
		s.NodeENIs[0].Finalizers = []string{"example.com/backup"}
	}, "data", "ForeignFinalizer"},
	{"deletion without a coordinator", func(s *Snapshot) {
		deleteNodeENI(s, time.Hour)
		s.Lease = newLease(50 * time.Minute)
	}, "data", "NoCoordinator"},
	{"deletion that EC2 refuses", func(s *Snapshot) {
		deleteNodeENI(s, time.Hour)
		warnAbout(s, "NodeENI", "data", "ENIRefused", "eni-0a: IAM does not allow ec2:DeleteNetworkInterface: EC2 refused DeleteNetworkInterface (UnauthorizedOperation: no); allow ec2:DeleteNetworkInterface in the IAM policy of the role that makes the call")
	}, "data", "ENIRefused"},
	{"deletion that EC2 refuses at once", func(s *Snapshot) {
		deleteNodeENI(s, time.Minute)
		warnAbout(s, "NodeENI", "data", "EC2Unavailable", "cannot list the ENIs of the NodeENI in EC2, so its deletion waits: IAM does not allow ec2:DescribeNetworkInterfaces: EC2 refused DescribeNetworkInterfaces (UnauthorizedOperation: no); allow ec2:DescribeNetworkInterfaces in the IAM policy of the calling role")
	}, "data", "EC2Unavailable"},
	{"deletion that is blocked", func(s *Snapshot) {
		deleteNodeENI(s, time.Hour)
		s.NodeENIs[0].Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionCleanupBlocked, Status: metav1.ConditionTrue, Reason: "WrongRegion", Message: "the coordinator uses EC2 in Region eu-west-1, but the Nodes of the cluster are in us-east-1 (node-1; node-2), so it detaches and deletes nothing. Set AWS_REGION of the coordinator (awsRegion in the Helm chart) to us-east-1", LastTransitionTime: before(time.Hour)}}
	}, "data", "WrongRegion"},
	{"deletion in progress", func(s *Snapshot) { deleteNodeENI(s, 5*time.Second) }, "data", "Deleting"},
	{"deletion that takes long", func(s *Snapshot) { deleteNodeENI(s, time.Hour) }, "node-1", "Deleting"},
	{"pods cannot be read", func(s *Snapshot) {
		s.Pods, s.Unread = nil, map[Resource]string{Pods: "you do not have permission to list pods", Leases: "you do not have permission to get leases"}
		failed(s, v1alpha1.PhaseFailed, "InvalidGroup.NotFound", "EC2 refused CreateNetworkInterface (InvalidGroup.NotFound: x); correct securityGroupIDs")
	}, "", "InvalidGroup.NotFound"},
	{"Nodes cannot be read", func(s *Snapshot) {
		s.Nodes, s.Unread = nil, map[Resource]string{Nodes: "you do not have permission to list nodes"}
	}, "node-1 data", ""},
	{"versions differ", func(s *Snapshot) {
		s.Deployments[0].Spec.Template.Spec.Containers[0].Image = "registry:5000/eni-coordinator:v0.2.0@sha256:abc"
	}, "", ""},
	{"messages of agents are made printable", func(s *Snapshot) {
		failed(s, v1alpha1.PhaseFailed, "Odd\x1b[2J", "EC2 says \x1b]0;gotcha\x07\u202e; do \x9b31m this\nnext: rm -rf /")
	}, "", "Odd\x1b[2J"},
}

// Each broken situation is explained with its cause, and with the words in testdata/why.
func TestWhy(t *testing.T) {
	seen := map[string]bool{}
	for _, sit := range situations {
		t.Run(sit.name, func(t *testing.T) {
			s := healthy()
			sit.broken(s)
			about := strings.Fields(sit.about)
			if len(about) == 0 {
				about = []string{"node-1"}
			}
			e, err := Explain(s, about...)
			if err != nil {
				t.Fatal(err)
			}
			if e.IsReady() != (sit.cause == "") {
				t.Errorf("ready is %v", e.IsReady())
			}
			if !e.IsReady() {
				cause := e.Groups[0].Causes()[0]
				if cause.Reason != sit.cause || cause.Next == "" {
					t.Errorf("the cause is %q with next %q, want %q", cause.Reason, cause.Next, sit.cause)
				}
				seen[cause.Check+cause.Reason] = true
			}
			var out bytes.Buffer
			Printer{Out: &out}.Explanation(e)
			compare(t, filepath.Join("testdata", "why", strings.ReplaceAll(sit.name, " ", "-")+".txt"), out.Bytes())
			for _, c := range out.String() {
				if c != '\n' && !strings.ContainsRune(v1alpha1.Printable(string(c)), c) {
					t.Errorf("the output contains %q", c)
				}
			}
		})
	}
	if len(seen) < 25 {
		t.Errorf("the situations have only %d causes", len(seen))
	}
}

func compare(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant:\n%s", file, got, want)
	}
}

// Nodes with the same cause are one group, and the oldest trouble comes first.
func TestWhyGroups(t *testing.T) {
	s := healthy()
	for _, name := range []string{"node-3", "node-4", "node-5"} {
		s.Nodes, s.States, s.Pods = append(s.Nodes, newNode(name)), append(s.States, newState(name)), append(s.Pods, newAgent(name))
	}
	for _, i := range []int{1, 3, 4} {
		s.States[i].Status.ENIs[0].Phase, s.States[i].Status.ENIs[0].Reason = v1alpha1.PhaseFailed, "SecurityGroupNotFound"
	}
	s.States[2].Status.Reason, s.States[2].ManagedFields[0].Time = "WrongRegion", new(before(20*time.Hour))
	e, err := Explain(s, "data")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	Printer{Out: &out}.Explanation(e)
	compare(t, "testdata/groups.txt", out.Bytes())
}

// A coordinator that is gone is no reason to take nodes with other causes for the same.
func TestWhyGroupsWithoutCoordinator(t *testing.T) {
	s := healthy()
	s.Lease = nil
	for i, reason := range []string{"SecurityGroupNotFound", "UnauthorizedOperation"} {
		s.States[i].Status.ENIs[0].Phase, s.States[i].Status.ENIs[0].Reason = v1alpha1.PhaseFailed, reason
	}
	e, err := Explain(s, "data")
	if err != nil {
		t.Fatal(err)
	}
	var causes []string
	for _, g := range e.Groups {
		for _, c := range g.Causes() {
			causes = append(causes, c.Reason)
		}
	}
	if want := []string{"SecurityGroupNotFound", "NoCoordinator", "UnauthorizedOperation", "NoCoordinator"}; !slices.Equal(causes, want) {
		t.Errorf("the causes are %q, want %q", causes, want)
	}
}

// Without the right to list Nodes, it is not known whether a name is that of one.
func TestNamesWithoutNodes(t *testing.T) {
	s := healthy()
	s.Nodes, s.States, s.Unread = nil, nil, map[Resource]string{Nodes: "you do not have permission to list nodes"}
	for _, names := range []string{"node-1", "node/node-1", "node-1 data"} {
		_, err := Explain(s, strings.Fields(names)...)
		if err == nil || !strings.Contains(err.Error(), `cannot check whether there is a Node "node-1": you do not have permission to list nodes`) || errors.As(err, new(*NameError)) {
			t.Errorf("%s: %v", names, err)
		}
	}
	e, err := Explain(s, "data")
	if err != nil {
		t.Fatal(err)
	}
	if causes := e.Groups[0].Causes(); e.IsReady() || len(causes) != 1 || causes[0].Next != moreRights {
		t.Errorf("data: %+v", e.Groups[0].Steps)
	}
}

func TestSplit(t *testing.T) {
	for message, want := range map[string][2]string{
		"a is wrong; correct it":                       {"a is wrong", "correct it"},
		"EC2 refused X (A: b; c. Do d); do e. Then f":  {"EC2 refused X (A: b; c. Do d)", "do e. Then f"},
		"it is wrong. Set x, which y. If z, delete it": {"it is wrong", "set x, which y. If z, delete it"},
		"version 1.2. EC2 is not a sentence":           {"version 1.2. EC2 is not a sentence", ""},
		"EC2 is throttling; the call is retried":       {"EC2 is throttling", "wait: the call is retried"},
		"it was attached again. The coordinator waits": {"it was attached again", "wait: the coordinator waits"},
	} {
		if text, next := split(message); text != want[0] || next != want[1] {
			t.Errorf("%s: %q, %q", message, text, next)
		}
	}
}

func TestNames(t *testing.T) {
	s := healthy()
	s.NodeENIs = append(s.NodeENIs, newNodeENI("node-2"))
	for names, want := range map[string]string{
		"node-1":         "",
		"node/node-2":    "",
		"nodeeni/node-2": "",
		"node-1 data":    "",
		"node-2":         `"node-2" is a Node and a NodeENI: write node/node-2 or nodeeni/node-2`,
		"nod-1":          `"nod-1" is neither a Node nor a NodeENI; did you mean node-1`,
		"dta":            `"dta" is neither a Node nor a NodeENI; did you mean data?`,
		"something":      `"something" is neither a Node nor a NodeENI`,
		"node-9 data":    `there is no Node "node-9"; did you mean node-1 or node-2?`,
		"node-1 date":    `there is no NodeENI "date"; did you mean data?`,
	} {
		_, err := Explain(s, strings.Fields(names)...)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", names, err)
		case want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)):
			t.Errorf("%s: %v, want %s", names, err, want)
		}
	}
}
