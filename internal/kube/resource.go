package kube

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Pod is what this project reads of a core/v1 Pod: which ResourceClaims it uses.
//
// +kubebuilder:object:root=true
type Pod struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              PodSpec   `json:"spec,omitempty"`
	Status            PodStatus `json:"status,omitempty"`
}

// PodSpec is what this project reads of a core/v1 PodSpec.
//
// +kubebuilder:object:generate=true
type PodSpec struct {
	NodeName       string             `json:"nodeName,omitempty"`
	ResourceClaims []PodResourceClaim `json:"resourceClaims,omitempty"`
}

// PodResourceClaim is a claim that a pod refers to by name. One that is made from a
// template is in the pod's status only.
//
// +kubebuilder:object:generate=true
type PodResourceClaim struct {
	Name              string  `json:"name"`
	ResourceClaimName *string `json:"resourceClaimName,omitempty"`
}

// PodStatus is what this project reads of a core/v1 PodStatus.
//
// +kubebuilder:object:generate=true
type PodStatus struct {
	Phase                       string               `json:"phase,omitempty"`
	NominatedNodeName           string               `json:"nominatedNodeName,omitempty"`
	ResourceClaimStatuses       []PodResourceClaim   `json:"resourceClaimStatuses,omitempty"`
	ExtendedResourceClaimStatus *ExtendedClaimStatus `json:"extendedResourceClaimStatus,omitempty"`
}

// ExtendedClaimStatus names the claim that the scheduler made for the extended resources
// of a pod.
type ExtendedClaimStatus struct {
	ResourceClaimName string `json:"resourceClaimName"`
}

// PodList is a list of Pods.
//
// +kubebuilder:object:root=true
type PodList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Pod `json:"items"`
}

// ResourceClaim is what this project reads of a resource.k8s.io/v1 ResourceClaim.
//
// +kubebuilder:object:root=true
type ResourceClaim struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Status            ResourceClaimStatus `json:"status,omitempty"`
}

// ResourceClaimStatus is what this project reads of a claim's status.
//
// +kubebuilder:object:generate=true
type ResourceClaimStatus struct {
	Allocation  *Allocation       `json:"allocation,omitempty"`
	ReservedFor []ClaimConsumer   `json:"reservedFor,omitempty"`
	Devices     []AllocatedDevice `json:"devices,omitempty"`
}

// Allocation says which devices a claim has.
//
// +kubebuilder:object:generate=true
type Allocation struct {
	Devices             AllocatedDevices `json:"devices,omitempty"`
	AllocationTimestamp *metav1.Time     `json:"allocationTimestamp,omitempty"`
}

// AllocatedDevices are those of an allocation, with what the user asks of their driver.
//
// +kubebuilder:object:generate=true
type AllocatedDevices struct {
	Results []AllocationResult `json:"results,omitempty"`
	Config  []AllocationConfig `json:"config,omitempty"`
}

// AllocationResult is one device for one request of a claim.
type AllocationResult struct {
	Request string `json:"request"`
	Driver  string `json:"driver"`
	Pool    string `json:"pool"`
	Device  string `json:"device"`
	// AdminAccess is that of a claim that looks at a device which others may have.
	AdminAccess bool `json:"adminAccess,omitempty"`
}

// AllocationConfig are a driver's parameters, for some requests or, if none is named, for all.
//
// +kubebuilder:object:generate=true
type AllocationConfig struct {
	Source   string        `json:"source,omitempty"` // FromClass or FromClaim
	Requests []string      `json:"requests,omitempty"`
	Opaque   *OpaqueConfig `json:"opaque,omitempty"`
}

// OpaqueConfig are parameters that only their driver understands.
//
// +kubebuilder:object:generate=true
type OpaqueConfig struct {
	Driver     string          `json:"driver"`
	Parameters json.RawMessage `json:"parameters,omitempty"`
}

// ClaimConsumer is who may use a claim: a pod.
type ClaimConsumer struct {
	Resource string    `json:"resource"`
	Name     string    `json:"name"`
	UID      types.UID `json:"uid"`
}

// AllocatedDevice is what a driver reports of a device of a claim.
//
// +kubebuilder:object:generate=true
type AllocatedDevice struct {
	Driver      string             `json:"driver"`
	Pool        string             `json:"pool"`
	Device      string             `json:"device"`
	Conditions  []metav1.Condition `json:"conditions,omitempty"`
	Data        json.RawMessage    `json:"data,omitempty"`
	NetworkData *NetworkData       `json:"networkData,omitempty"`
}

// NetworkData is the network interface of a device.
//
// +kubebuilder:object:generate=true
type NetworkData struct {
	InterfaceName   string   `json:"interfaceName,omitempty"`
	IPs             []string `json:"ips,omitempty"`
	HardwareAddress string   `json:"hardwareAddress,omitempty"`
}

// ResourceClaimList is a list of ResourceClaims.
//
// +kubebuilder:object:root=true
type ResourceClaimList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ResourceClaim `json:"items"`
}

// ResourceSlice is what this project reads and writes of a resource.k8s.io/v1
// ResourceSlice.
//
// +kubebuilder:object:root=true
type ResourceSlice struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              ResourceSliceSpec `json:"spec"`
}

// ResourceSliceSpec has either devices or the counters that those of the pool share.
//
// +kubebuilder:object:generate=true
type ResourceSliceSpec struct {
	Driver         string       `json:"driver"`
	Pool           ResourcePool `json:"pool"`
	NodeName       string       `json:"nodeName,omitempty"`
	Devices        []Device     `json:"devices,omitempty"`
	SharedCounters []CounterSet `json:"sharedCounters,omitempty"`
}

// ResourcePool is what a slice is a part of. Slices of an older generation do not count.
type ResourcePool struct {
	Name               string `json:"name"`
	Generation         int64  `json:"generation"`
	ResourceSliceCount int64  `json:"resourceSliceCount"`
}

// Device is one that a claim can have.
//
// +kubebuilder:object:generate=true
type Device struct {
	Name                     string                     `json:"name"`
	Attributes               map[string]DeviceAttribute `json:"attributes,omitempty"`
	ConsumesCounters         []CounterConsumption       `json:"consumesCounters,omitempty"`
	Taints                   []DeviceTaint              `json:"taints,omitempty"`
	BindsToNode              *bool                      `json:"bindsToNode,omitempty"`
	BindingConditions        []string                   `json:"bindingConditions,omitempty"`
	BindingFailureConditions []string                   `json:"bindingFailureConditions,omitempty"`
}

// DeviceAttribute is one value that claims may select by.
//
// +kubebuilder:object:generate=true
type DeviceAttribute struct {
	Int    *int64  `json:"int,omitempty"`
	Bool   *bool   `json:"bool,omitempty"`
	String *string `json:"string,omitempty"`
}

// CounterSet is a number of counters that devices of a pool share.
//
// +kubebuilder:object:generate=true
type CounterSet struct {
	Name     string             `json:"name"`
	Counters map[string]Counter `json:"counters"`
}

// Counter is a quantity.
type Counter struct {
	Value string `json:"value"`
}

// CounterConsumption is what a device takes of a set.
//
// +kubebuilder:object:generate=true
type CounterConsumption struct {
	CounterSet string             `json:"counterSet"`
	Counters   map[string]Counter `json:"counters"`
}

// DeviceTaint keeps claims from a device.
//
// +kubebuilder:object:generate=true
type DeviceTaint struct {
	Key       string       `json:"key"`
	Value     string       `json:"value,omitempty"`
	Effect    string       `json:"effect"`
	TimeAdded *metav1.Time `json:"timeAdded,omitempty"`
}

// ResourceSliceList is a list of ResourceSlices.
//
// +kubebuilder:object:root=true
type ResourceSliceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ResourceSlice `json:"items"`
}
