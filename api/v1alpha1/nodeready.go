package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"

	"k8s.io/apimachinery/pkg/util/validation"
)

// What agents show on their Nodes, when they are told to.
const (
	// StartupTaint is the key of the taint, of any effect, that a node may be
	// registered with, to be removed when its ENIs are ready.
	StartupTaint = "networking.k8s.aws/eni-not-ready"
	// ReadyLabelPrefix begins the key of each label that tells of a NodeENI.
	// Labels with this prefix are the agents' own.
	ReadyLabelPrefix = "nodeeni.networking.k8s.aws/"
	// ReadyLabelValue is the value of such a label.
	ReadyLabelValue = "ready"
	// PodResourcePrefix begins the name of each extended resource that says how many pods
	// a NodeENI has addresses for. Extended resources with this prefix are the agent's own.
	PodResourcePrefix = "networking.k8s.aws/"
)

// shortened and digits are what is kept of a name that is too long for a label,
// and of the hash that then tells it from others.
const (
	digits    = 10
	shortened = validation.LabelValueMaxLength - 1 - digits
)

// ReadyLabel is the key of the label that tells that a node has the NodeENI's ENIs.
func ReadyLabel(nodeENI string) string {
	if len(nodeENI) > validation.LabelValueMaxLength {
		nodeENI = hashed(nodeENI)
	}
	return ReadyLabelPrefix + nodeENI
}

// PodResource is the name of the extended resource that says how many pods of a node the
// NodeENI's ENIs have addresses for. A pod that requests a resource may be given a
// toleration of that key (the admission plugin ExtendedResourceToleration), so no resource
// is named like the start-up taint.
func PodResource(nodeENI string) string {
	if len(nodeENI) > validation.LabelValueMaxLength || PodResourcePrefix+nodeENI == StartupTaint {
		nodeENI = hashed(nodeENI)
	}
	return PodResourcePrefix + nodeENI
}

// hashed is a name for what may have 63 characters, and must be another one for each
// NodeENI: the first 52 characters, "-" and the first ten hexadecimal digits of the
// NodeENI's SHA-256 hash.
func hashed(nodeENI string) string {
	hash := sha256.Sum256([]byte(nodeENI))
	return nodeENI[:min(len(nodeENI), shortened)] + "-" + hex.EncodeToString(hash[:])[:digits]
}
