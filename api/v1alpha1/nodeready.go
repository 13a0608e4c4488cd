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
)

// shortened and digits are what is kept of a name that is too long for a label,
// and of the hash that then tells it from others.
const (
	digits    = 10
	shortened = validation.LabelValueMaxLength - 1 - digits
)

// ReadyLabel is the key of the label that tells that a node has the NodeENI's
// ENIs. What follows the prefix may have 63 characters: a longer name is cut to 52
// and followed by "-" and the first ten hexadecimal digits of its SHA-256 hash.
func ReadyLabel(nodeENI string) string {
	if len(nodeENI) > validation.LabelValueMaxLength {
		hash := sha256.Sum256([]byte(nodeENI))
		nodeENI = nodeENI[:shortened] + "-" + hex.EncodeToString(hash[:])[:digits]
	}
	return ReadyLabelPrefix + nodeENI
}
