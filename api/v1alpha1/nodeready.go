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
	// DeviceResourcePrefix is the prefix of the name by which Multus finds the devices of a
	// NodeENI with attach: OnDemand.
	DeviceResourcePrefix = "eni.networking.k8s.aws/"
)

const (
	// digits is the number of characters of the hash in a shortened name.
	digits = 10
	// attributeMaxLength is the length of the value of a device's attribute.
	attributeMaxLength = 64
)

// ReadyLabel is the key of the label on a node whose ENIs of the NodeENI are ready.
func ReadyLabel(nodeENI string) string {
	return ReadyLabelPrefix + atMost(validation.LabelValueMaxLength, nodeENI)
}

// PodResource is the name of the extended resource for the number of pods on a node for
// which the NodeENI's ENIs have addresses. The admission plugin ExtendedResourceToleration
// adds a toleration with the name of the resource to pods that request it, so no resource
// has the name of the startup taint.
func PodResource(nodeENI string) string {
	if PodResourcePrefix+nodeENI == StartupTaint {
		return PodResourcePrefix + hashed(nodeENI, validation.LabelValueMaxLength)
	}
	return PodResourcePrefix + atMost(validation.LabelValueMaxLength, nodeENI)
}

// DeviceNodeENI is the value of the attribute nodeENI of the NodeENI's devices. The value
// of an attribute has at most 64 characters.
func DeviceNodeENI(nodeENI string) string {
	return atMost(validation.LabelValueMaxLength, nodeENI)
}

// DeviceResource is the value of the attribute k8s.cni.cncf.io/resourceName of the NodeENI's
// devices, by which Multus finds the device for a network. It is also the
// extendedResourceName for a DeviceClass of the NodeENI: Multus requires that both are equal.
func DeviceResource(nodeENI string) string {
	return DeviceResourcePrefix + atMost(attributeMaxLength-len(DeviceResourcePrefix), nodeENI)
}

// atMost is the name if it has at most so many characters, and otherwise hashed.
func atMost(length int, nodeENI string) string {
	if len(nodeENI) > length {
		return hashed(nodeENI, length)
	}
	return nodeENI
}

// hashed is a name of at most so many characters that is different for each NodeENI: the
// start of its name, "-", and the first ten hexadecimal digits of the SHA-256 hash of it.
func hashed(nodeENI string, length int) string {
	hash := sha256.Sum256([]byte(nodeENI))
	return nodeENI[:min(len(nodeENI), length-1-digits)] + "-" + hex.EncodeToString(hash[:])[:digits]
}
