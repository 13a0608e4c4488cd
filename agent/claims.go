package agent

import (
	"context"
	"encoding/json"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// DRADriver is the name of the driver in ResourceSlices, DeviceClasses and claims.
const DRADriver = claimnetwork.Driver

// Conditions of a device of a claim. The scheduler binds the pod when Attached is true, and
// gives the allocation up when AttachFailed is.
const (
	ConditionAttached     = "networking.k8s.aws/Attached"
	ConditionAttachFailed = "networking.k8s.aws/AttachFailed"
)

// Claim is a ResourceClaim that is allocated to a device of this node.
type Claim struct {
	Namespace, Name string
	UID             types.UID
	Device          string // its name in the node's ResourceSlices
	// Pods are the UIDs of the pods that may use it (status.reservedFor).
	Pods []types.UID
	// Parameters are those of the driver in the claim and its class, the claim's last.
	Parameters []json.RawMessage
	// Status is what the claim reports of the device; nil is nothing yet.
	Status *kube.AllocatedDevice
}

// OnDemand is what an agent needs to give claims their ENIs.
type OnDemand struct {
	Claims Claims
	// Idle is how long an ENI is kept after its claim has gone, for the next one.
	Idle  time.Duration
	Files ClaimFiles
}

// ClaimReference names a claim.
type ClaimReference struct {
	Namespace, Name string
	UID             types.UID
}

// Pool is what the ResourceSlices of this node have.
type Pool struct {
	Slices []kube.ResourceSliceSpec
	// Keep has the NodeENIs, by their device attribute nodeENI, whose devices are not known
	// at the moment. Those that are published stay as they are.
	Keep []string
}

// UnavailableError is an error of Claims that lasts until a person changes the cluster: it
// cannot serve ENIs on demand.
type UnavailableError struct{ Err error }

// Error implements error.
func (e *UnavailableError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }

// Claims is the API server's side of ENIs on demand; a Source in a cluster has one.
type Claims interface {
	// Follow has claims watched although no pod of this node names them (any more), as
	// those of the last report. They replace those of the call before.
	Follow(claims []ClaimReference)
	// Publish writes the ResourceSlices of this node's pool, unless they are like that
	// already. It fills in names, generation, and count.
	Publish(ctx context.Context, pool Pool) error
	// Report makes the device's entry in the claim's status the one given. It leaves
	// entries of other drivers and devices alone.
	Report(ctx context.Context, claim Claim, status kube.AllocatedDevice) error
}
