package kube

import (
	"encoding/json"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// Node is what this project reads of a core/v1 Node; the rest, which is most
// of it, is not even kept in memory.
//
// +kubebuilder:object:root=true
type Node struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              NodeSpec   `json:"spec,omitempty"`
	Status            NodeStatus `json:"status,omitempty"`
}

// NodeSpec is what this project reads of a core/v1 NodeSpec.
//
// +kubebuilder:object:generate=true
type NodeSpec struct {
	ProviderID string  `json:"providerID,omitempty"`
	Taints     []Taint `json:"taints,omitempty"`
}

// Taint is what this project reads of a core/v1 Taint.
type Taint struct {
	Key    string `json:"key"`
	Effect string `json:"effect"`
}

// NodeStatus is what this project reads of a core/v1 NodeStatus.
//
// +kubebuilder:object:generate=true
type NodeStatus struct {
	Capacity PodResources `json:"capacity,omitempty"`
}

// PodResources are those of a Node's resources that agents advertise, with their
// quantities. They are nil when the Node has no resources, not even a kubelet's.
//
// +kubebuilder:object:generate=true
type PodResources map[string]string

// UnmarshalJSON leaves out all other resources.
func (r *PodResources) UnmarshalJSON(data []byte) error {
	var all map[string]string
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	*r = PodResources{}
	for name, quantity := range all {
		if strings.HasPrefix(name, v1alpha1.PodResourcePrefix) {
			(*r)[name] = quantity
		}
	}
	return nil
}

// NodeList is a list of Nodes.
//
// +kubebuilder:object:root=true
type NodeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Node `json:"items"`
}

// Namespace is what this project reads of a core/v1 Namespace.
//
// +kubebuilder:object:root=true
type Namespace struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
}
