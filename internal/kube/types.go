package kube

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Node is what this project reads of a core/v1 Node; the rest, which is most
// of it, is not even kept in memory.
//
// +kubebuilder:object:root=true
type Node struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              NodeSpec `json:"spec,omitempty"`
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
