package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Taints, labels, and resources that agents set on, or remove from, their Nodes.
const (
	// StartupTaint is the key of the taint, with any effect, with which you can register
	// a node. The agent removes it when the node's ENIs are ready.
	StartupTaint = "networking.k8s.aws/eni-not-ready"
	// ReadyLabelPrefix is the prefix of the key of each label for a NodeENI. All labels
	// with this prefix belong to the agents.
	ReadyLabelPrefix = "nodeeni.networking.k8s.aws/"
	// ReadyLabelValue is the value of such a label.
	ReadyLabelValue = "ready"
	// PodResourcePrefix is the prefix of the name of each extended resource for the
	// addresses of a NodeENI. All extended resources with this prefix belong to the agents.
	PodResourcePrefix = "networking.k8s.aws/"
)

// shortened and digits are the numbers of characters that are kept of a name that is too
// long for a label, and of its hash.
const (
	digits    = 10
	shortened = validation.LabelValueMaxLength - 1 - digits
)

// ReadyLabel is the key of the label on a node whose ENIs of the NodeENI are ready.
func ReadyLabel(nodeENI string) string {
	if len(nodeENI) > validation.LabelValueMaxLength {
		nodeENI = hashed(nodeENI)
	}
	return ReadyLabelPrefix + nodeENI
}

// PodResource is the name of the extended resource for the number of pods on a node for
// which the NodeENI's ENIs have addresses. The admission plugin ExtendedResourceToleration
// adds a toleration with the name of the resource to pods that request it, so no resource
// has the name of the startup taint.
func PodResource(nodeENI string) string {
	if len(nodeENI) > validation.LabelValueMaxLength || PodResourcePrefix+nodeENI == StartupTaint {
		nodeENI = hashed(nodeENI)
	}
	return PodResourcePrefix + nodeENI
}

// DeviceNodeENI is the value of the attribute nodeENI of the NodeENI's devices. The value
// of an attribute has at most 64 characters.
func DeviceNodeENI(nodeENI string) string {
	if len(nodeENI) > validation.LabelValueMaxLength {
		return hashed(nodeENI)
	}
	return nodeENI
}

// hashed is a name of at most 63 characters that is different for each NodeENI: its first
// 52 characters, "-", and the first ten hexadecimal digits of the SHA-256 hash of its name.
func hashed(nodeENI string) string {
	hash := sha256.Sum256([]byte(nodeENI))
	return nodeENI[:min(len(nodeENI), shortened)] + "-" + hex.EncodeToString(hash[:])[:digits]
}
