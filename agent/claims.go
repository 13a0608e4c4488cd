package agent

import (
	"context"
	"encoding/json"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
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
	// Status is the device's entry in the claim's status; nil if there is none yet.
	Status *kube.AllocatedDevice
}

// OnDemand is what an agent needs to serve claims.
type OnDemand struct {
	Claims Claims
	// Idle is how long an ENI stays for the next claim after its last one has gone.
	Idle  time.Duration
	Files ClaimFiles
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
	// Follow has these claims watched in addition to those that pods of this node use. They
	// replace the claims of the previous call.
	Follow(claims []types.NamespacedName)
	// Publish writes the ResourceSlices of this node's pool, unless they are like that
	// already. It fills in names, generation, and count.
	Publish(ctx context.Context, pool Pool) error
	// Report replaces the device's entry in the status of the claim. It leaves the entries of
	// other drivers and devices alone.
	Report(ctx context.Context, claim Claim, status kube.AllocatedDevice) error
}
