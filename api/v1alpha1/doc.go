// Package v1alpha1 holds the types of the API group networking.k8s.aws:
// NodeENI, which users write, and NodeENIState, which each node's agent reports.
//
// +kubebuilder:object:generate=true
// +groupName=networking.k8s.aws
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of every type in this package.
var GroupVersion = schema.GroupVersion{Group: "networking.k8s.aws", Version: "v1alpha1"}

// CleanupFinalizer keeps a deleted NodeENI until EC2 has no ENI with its UID.
const CleanupFinalizer = "networking.k8s.aws/eni-cleanup"

// AddToScheme registers the types of this package.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&NodeENI{}, &NodeENIList{},
		&NodeENIState{}, &NodeENIStateList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
