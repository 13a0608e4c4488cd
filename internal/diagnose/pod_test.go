package diagnose

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
)

// claiming is a healthy cluster in which a pod runs with an ENI of the NodeENI data, which
// it has claimed.
func claiming() *Snapshot {
	s := healthy()
	s.NodeENIs[0].Spec.Attach = v1alpha1.AttachOnDemand
	s.DaemonSets[0].Spec.Template.Spec.Containers[0].Args = []string{"--on-demand"}
	for i := range s.Pods[:2] {
		s.Pods[i].Spec.Containers = append(s.Pods[i].Spec.Containers[:1:1], corev1.Container{Name: "eni-dra"})
		s.Pods[i].Spec.Containers[0].Args = []string{"--on-demand"}
		s.Pods[i].Status.ContainerStatuses = append(s.Pods[i].Status.ContainerStatuses, corev1.ContainerStatus{Name: "eni-dra", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}})
	}
	s.States[0].Status.ENIs[0].Place, s.States[0].Status.ENIs[0].Claim = new(int32(0)), &v1alpha1.ClaimReference{Namespace: "tenant-a", Name: "fw-eni", UID: "claim-uid"}
	s.States[1].Status.ENIs = nil
	s.Pod = &PodClaims{
		Pod: corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "tenant-a", Name: "fw", UID: "pod-uid", CreationTimestamp: before(time.Minute)},
			Spec: corev1.PodSpec{
				NodeName: "node-1", ResourceClaims: []corev1.PodResourceClaim{{Name: "eni", ResourceClaimTemplateName: new("fw")}},
				Containers: []corev1.Container{{Name: "main"}},
			},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, ResourceClaimStatuses: []corev1.PodResourceClaimStatus{{Name: "eni", ResourceClaimName: new("fw-eni")}}},
		},
		Claims:  []resourcev1.ResourceClaim{newClaim()},
		Slices:  append(newSlices("node-1"), newSlices("node-2")...),
		Classes: []resourcev1.DeviceClass{newClass(driver.Name, "")},
	}
	return s
}

func newClass(name, extended string) resourcev1.DeviceClass {
	c := resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourcev1.DeviceClassSpec{
		Selectors: []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: "device.driver == '" + driver.Name + "'"}}},
	}}
	if extended != "" {
		c.Spec.ExtendedResourceName = &extended
	}
	return c
}

func newClaim() resourcev1.ResourceClaim {
	c := resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "tenant-a", Name: "fw-eni", UID: "claim-uid"}}
	c.Spec.Devices.Requests = []resourcev1.DeviceRequest{{Name: "eni", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: driver.Name}}}
	c.Status.Allocation = &resourcev1.AllocationResult{AllocationTimestamp: new(before(30 * time.Second))}
	c.Status.Allocation.Devices.Results = []resourcev1.DeviceRequestAllocationResult{{Request: "eni", Driver: driver.Name, Pool: "node-1", Device: device("data", 0)}}
	c.Status.Devices = []resourcev1.AllocatedDeviceStatus{{
		Driver: driver.Name, Pool: "node-1", Device: device("data", 0),
		Conditions:  []metav1.Condition{{Type: driver.ConditionAttached, Status: "True", Reason: "Ready", LastTransitionTime: before(20 * time.Second)}},
		NetworkData: &resourcev1.NetworkDeviceData{InterfaceName: "eni0", IPs: []string{"10.0.16.4/20"}, HardwareAddress: "02:00:00:00:00:01"},
	}}
	return c
}

// device is the name of the device of an ENI as newENI makes it.
func device(nodeENI string, place int32) string {
	e := newENI(nodeENI)
	return driver.DeviceName(e.NodeENI, string(e.NodeENIUID), e.SubnetID, place)
}

// newSlices are those of a node with two places for ENIs of the NodeENI data.
func newSlices(node string) []resourcev1.ResourceSlice {
	pool := resourcev1.ResourcePool{Name: node, Generation: 1, ResourceSliceCount: 2}
	all := make([]resourcev1.ResourceSlice, 2)
	all[0].Spec = resourcev1.ResourceSliceSpec{Driver: driver.Name, Pool: pool, NodeName: &node, SharedCounters: []resourcev1.CounterSet{
		{Name: "card-0", Counters: map[string]resourcev1.Counter{driver.PlacesCounter: {Value: quantity("2")}}},
	}}
	all[1].Spec = resourcev1.ResourceSliceSpec{Driver: driver.Name, Pool: pool, NodeName: &node}
	for place := range int32(2) {
		all[1].Spec.Devices = append(all[1].Spec.Devices, resourcev1.Device{
			Name: device("data", place), Attributes: map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{"nodeENI": {StringValue: new("data")}},
			ConsumesCounters: []resourcev1.DeviceCounterConsumption{{CounterSet: "card-0", Counters: map[string]resourcev1.Counter{driver.PlacesCounter: {Value: quantity("1")}}}},
		})
	}
	return all
}

// pending has the scheduler not have bound the pod.
func pending(s *Snapshot) {
	s.Pod.Pod.Spec.NodeName, s.Pod.Pod.Status.Phase = "", corev1.PodPending
	s.Pod.Claims[0].Status = resourcev1.ResourceClaimStatus{}
	s.States[0].Status.ENIs = nil
}

// attaching has the agent create the ENI of the claim.
func attaching(s *Snapshot, condition, reason, message string) {
	s.Pod.Pod.Spec.NodeName, s.Pod.Pod.Status.Phase, s.Pod.Pod.Status.NominatedNodeName = "", corev1.PodPending, "node-1"
	d := &s.Pod.Claims[0].Status.Devices[0]
	d.NetworkData, d.Conditions = nil, nil
	if condition != "" {
		d.Conditions = []metav1.Condition{{Type: condition, Status: "True", Reason: reason, Message: message, LastTransitionTime: before(5 * time.Second)}}
	}
}

// starting has the kubelet start the pod.
func starting(s *Snapshot) { s.Pod.Pod.Status.Phase = corev1.PodPending }

func warnPod(s *Snapshot, reason, message string) {
	s.Pod.Events = append(s.Pod.Events, corev1.Event{Type: corev1.EventTypeWarning, Reason: reason, Message: message, LastTimestamp: before(10 * time.Second),
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "fw", UID: "pod-uid"}})
}

func taintPlaces(s *Snapshot, slice int, reason string) {
	for i := range s.Pod.Slices[slice].Spec.Devices {
		s.Pod.Slices[slice].Spec.Devices[i].Taints = []resourcev1.DeviceTaint{{Key: driver.TaintPrefix + reason, Effect: "NoSchedule"}}
	}
}

// noDRA has eni-dra of node-1 not be ready.
func noDRA(s *Snapshot) {
	s.Pods[0].Status.ContainerStatuses[1].Ready = false
	s.Pods[0].Status.Conditions[0] = corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionFalse, Message: "containers with unready status: [eni-dra]", LastTransitionTime: before(time.Hour)}
}

var podSituations = []situation{
	{"runs", func(*Snapshot) {}, "", ""},
	{"no claim", func(s *Snapshot) {
		s.Pod.Pod.Spec.ResourceClaims, s.Pod.Pod.Status.ResourceClaimStatuses, s.Pod.Claims = nil, nil, nil
	}, "", "NoENIClaimed"},
	{"claim of another driver", func(s *Snapshot) {
		s.Pod.Claims[0].Spec.Devices.Requests[0].Exactly.DeviceClassName, s.Pod.Claims[0].Status = "gpu.example.com", resourcev1.ResourceClaimStatus{}
		s.Pod.Classes = append(s.Pod.Classes, resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "gpu.example.com"}})
	}, "", "NoENIClaimed"},
	{"claim that does not exist", func(s *Snapshot) {
		pending(s)
		s.Pod.Pod.Spec.ResourceClaims[0] = corev1.PodResourceClaim{Name: "eni", ResourceClaimName: new("mine")}
	}, "", "NoClaim"},
	{"template that does not exist", func(s *Snapshot) {
		pending(s)
		s.Pod.Pod.Status.ResourceClaimStatuses, s.Pod.Claims = nil, nil
		warnPod(s, "FailedResourceClaimCreation", `PodResourceClaim eni: resource claim template "fw": resourceclaimtemplate.resource.k8s.io "fw" not found`)
	}, "", "ClaimNotCreated"},
	{"claims that cannot be read", func(s *Snapshot) {
		pending(s)
		s.Pod.Claims, s.Unread[ResourceClaims] = nil, "you do not have permission to read /apis/resource.k8s.io/v1/namespaces/tenant-a/resourceclaims/fw-eni"
	}, "", "NotBound"},
	{"old cluster", func(s *Snapshot) { pending(s); s.Pod.NotServed = true }, "", "TooOld"},
	{"no DeviceClass", func(s *Snapshot) { pending(s); s.Pod.Classes = nil }, "", "NoDeviceClass"},
	{"DeviceClass with a typo", func(s *Snapshot) {
		pending(s)
		s.Pod.Claims[0].Spec.Devices.Requests[0].Exactly.DeviceClassName = "eni.networking.k8s.aw"
	}, "", "NoDeviceClass"},
	{"no NodeENI on demand", func(s *Snapshot) { pending(s); s.NodeENIs[0].Spec.Attach = "" }, "", "NoNodeENI"},
	{"onDemand disabled", func(s *Snapshot) {
		pending(s)
		s.DaemonSets[0].Spec.Template.Spec.Containers[0].Args = nil
	}, "", "OnDemandDisabled"},
	{"feature gate off", func(s *Snapshot) {
		pending(s)
		s.Pod.Slices = nil
		s.States[0].Status.ENIs = []v1alpha1.ENIState{newENI("data")}
		failed(s, v1alpha1.PhaseFailed, "OnDemandUnavailable", "ENIs on demand need Kubernetes 1.36 or later, with the feature gates DRADeviceBindingConditions, DRADeviceTaints, and DRAPartitionableDevices: the API server does not keep all fields of a ResourceSlice; upgrade the cluster or enable the feature gates")
	}, "", "OnDemandUnavailable"},
	{"no slices", func(s *Snapshot) { pending(s); s.Pod.Slices = nil }, "", "NoResourceSlices"},
	{"waits for the scheduler", pending, "", "NotBound"},
	{"selectors that match nothing", func(s *Snapshot) {
		pending(s)
		warnPod(s, "FailedScheduling", "0/2 nodes are available: 2 cannot allocate all claims. still not schedulable, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.")
	}, "", "FailedScheduling"},
	{"extended resource", func(s *Snapshot) {
		pending(s)
		s.Pod.Pod.Spec.ResourceClaims, s.Pod.Pod.Status.ResourceClaimStatuses, s.Pod.Claims = nil, nil, nil
		s.Pod.Pod.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"eni.example.com/data": quantity("1")}
		s.Pod.Classes = append(s.Pod.Classes, newClass("data", "eni.example.com/data"))
	}, "", "NotBound"},
	{"places taken and tainted", func(s *Snapshot) {
		pending(s)
		s.States[1].Status.ENIs = []v1alpha1.ENIState{newENI("data"), newENI("data")}
		for i := range s.States[1].Status.ENIs {
			s.States[1].Status.ENIs[i].Place, s.States[1].Status.ENIs[i].Claim = new(int32(i)), &v1alpha1.ClaimReference{Namespace: "tenant-b", Name: "x"}
		}
		taintPlaces(s, 1, "InsufficientFreeAddressesInSubnet")
	}, "", "NoPlaces"},
	{"places of NodeENIs with similar names", func(s *Snapshot) {
		pending(s)
		for i := range s.States { // the name of data, and no place of it
			s.States[i].Status.ENIs = []v1alpha1.ENIState{newENI("dat")}
			s.States[i].Status.ENIs[0].Place, s.States[i].Status.ENIs[0].Claim = new(int32(0)), &v1alpha1.ClaimReference{Namespace: "tenant-b", Name: "x"}
		}
		s.Pod.Slices[1].Spec.Devices, s.Pod.Slices[3].Spec.Devices = s.Pod.Slices[1].Spec.Devices[:1], s.Pod.Slices[3].Spec.Devices[:1]
	}, "", "NotBound"},
	{"ENI on its way", func(s *Snapshot) { attaching(s, "", "", "") }, "", "Attaching"},
	{"ENI on its way for too long", func(s *Snapshot) {
		attaching(s, "", "", "")
		s.Pod.Claims[0].Status.Allocation.AllocationTimestamp = new(before(10 * time.Minute))
	}, "", "Attaching"},
	{"ENI that cannot be attached", func(s *Snapshot) {
		attaching(s, driver.ConditionAttachFailed, "UnauthorizedOperation", "EC2 refused CreateNetworkInterface (UnauthorizedOperation: x); allow ec2:CreateNetworkInterface in the agent's IAM policy")
	}, "", "UnauthorizedOperation"},
	{"agent of the node gone", func(s *Snapshot) { attaching(s, "", "", ""); s.Pods = s.Pods[1:] }, "", "AgentNotRunning"},
	{"no eni-dra on the node", func(s *Snapshot) {
		starting(s)
		s.Pods[0].Spec.Containers = s.Pods[0].Spec.Containers[:1]
		warnPod(s, "FailedPrepareDynamicResources", "Failed to prepare dynamic resources: x: DRA driver eni.networking.k8s.aws is not registered")
	}, "", "NoContainer"},
	{"NRI not connected", func(s *Snapshot) { starting(s); noDRA(s) }, "", "NotConnected"},
	{"sandbox that fails", func(s *Snapshot) {
		starting(s)
		warnPod(s, "FailedCreatePodSandBox", `Failed to create pod sandbox: rpc error: code = Unknown desc = NRI plugin: claim tenant-a/fw-eni: the pod tenant-a/other has the ENI eni-0a`)
	}, "", "FailedCreatePodSandBox"},
	{"starts", starting, "", "Starting"},
}

// Each situation of a pod that claims an ENI is explained, with the words in testdata/pod.
func TestWhyPod(t *testing.T) {
	for _, sit := range podSituations {
		t.Run(sit.name, func(t *testing.T) {
			s := claiming()
			sit.broken(s)
			e, err := Explain(s, "pod/fw")
			if err != nil {
				t.Fatal(err)
			}
			if causes := e.Groups[0].Causes(); sit.cause == "" && !e.IsReady() {
				t.Errorf("not ready: %+v", causes)
			} else if sit.cause != "" && (e.IsReady() || causes[0].Reason != sit.cause || causes[0].Next == "") {
				t.Errorf("the causes are %+v, want %q", causes, sit.cause)
			}
			var out bytes.Buffer
			Printer{Out: &out}.Explanation(e)
			compare(t, filepath.Join("testdata", "pod", strings.ReplaceAll(sit.name, " ", "-")+".txt"), out.Bytes())
		})
	}
}
