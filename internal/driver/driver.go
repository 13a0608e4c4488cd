// Package driver has the names that everything which deals with ENIs on demand shares.
package driver

// Name is the name of the driver in ResourceSlices, DeviceClasses, and ResourceClaims.
const Name = "eni.networking.k8s.aws"

// Conditions of a device in the status of a ResourceClaim. The scheduler binds the pod when
// Attached is true, and deallocates the claim when AttachFailed is.
const (
	ConditionAttached     = "networking.k8s.aws/Attached"
	ConditionAttachFailed = "networking.k8s.aws/AttachFailed"
)

const (
	// PlacesCounter is the counter of each network card in ResourceSlices: how many ENIs on
	// demand it takes.
	PlacesCounter = "places"
	// TaintPrefix begins the keys of devices' taints, before the reason.
	TaintPrefix = "networking.k8s.aws/"
)
