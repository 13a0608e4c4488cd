package agent

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// Snapshot is what is wanted of this node at one moment.
type Snapshot struct {
	// NodeExists is false when the cluster has no Node of this name.
	NodeExists bool
	// NodeProblem says why the Node is not this instance; nothing is done then.
	NodeProblem string
	NodeUID     types.UID
	Labels      map[string]string
	Taints      []kube.Taint
	// Resources are those of the Node's capacity that agents advertise; nil while the
	// kubelet has not reported any capacity.
	Resources kube.PodResources
	NodeENIs  []v1alpha1.NodeENI
	// Claims are those that are allocated to devices of this node. Without ClaimsKnown
	// there may be others, or these may not be allocated any more: what they have stays.
	Claims      []Claim
	ClaimsKnown bool
	// SlicesLost: another client has deleted or changed ResourceSlices of this node's pool
	// since they were published. The kubelet does when it starts.
	SlicesLost bool
	// ReportLost: another client has deleted the report since it was saved.
	ReportLost bool
	// Incomplete: there may be NodeENIs that are neither here nor in Deleted, because
	// what holds them cannot be read, or is not to be trusted. Their ENIs are left
	// as they are.
	Incomplete bool
	Deleted    map[types.UID]bool
}

// listed are the NodeENIs of which something is known; nil are all.
func (s Snapshot) listed() map[types.UID]bool {
	if !s.Incomplete {
		return nil
	}
	known := map[types.UID]bool{}
	maps.Copy(known, s.Deleted)
	for _, n := range s.NodeENIs {
		known[n.UID] = true
	}
	return known
}

// tellsAll says whether the Node is there and all NodeENIs that select it are known.
func (s Snapshot) tellsAll() bool { return s.NodeExists && s.NodeProblem == "" && !s.Incomplete }

// Source tells what is wanted, and keeps the node's report.
type Source interface {
	// Snapshot is false until everything has been read for the first time.
	Snapshot() (Snapshot, bool)
	// Changed yields after every change.
	Changed() <-chan struct{}
	// Load returns the report as it was last saved; empty when there is none.
	Load(ctx context.Context) (v1alpha1.NodeENIStateStatus, error)
	// Save keeps the report. It is done when it returns without an error.
	Save(ctx context.Context, report v1alpha1.NodeENIStateStatus) error
	// Counts are the nodes of a NodeENI by what they have of it. It fails where
	// that is not known.
	Counts(ctx context.Context, nodeENI string) (v1alpha1.NodeCounts, error)
	// Refresh asks for the newest truth about the node, for the last reconcile.
	Refresh(ctx context.Context) error
}

// Confirmer asks the API server itself, past what its watches tell. A Source without an
// API server is none.
type Confirmer interface {
	// Confirm fails unless the NodeENI selects the node now.
	Confirm(ctx context.Context, uid types.UID, name string) error
}

// Collector takes ENIs out of EC2; an eni.Client does. Only an agent that stands
// alone has one: in a cluster the coordinator collects, and the agent can not.
type Collector interface {
	Detach(ctx context.Context, attachmentID string) error
	Delete(ctx context.Context, eniID string) error
}

// Links configures the host; a hostnet.Host does.
type Links interface {
	// Know tells of further links that are ENIs: what main reaches by them is not
	// reached by this host's own networks.
	Know(macs ...net.HardwareAddr) error
	Present(net.HardwareAddr) (bool, error)
	// Expect tells of a link that is about to come.
	Expect(net.HardwareAddr) error
	Configure(hostnet.Wanted) (hostnet.Status, error)
	Release(hostnet.Wanted) error
	Yield(mac net.HardwareAddr, name string) error
	Sweep(keep []hostnet.Wanted) (int, error)
	Watch(context.Context) (<-chan struct{}, error)
}

// Metadata tells what IMDS knows of the instance's interfaces.
type Metadata interface {
	Interfaces(context.Context) ([]imds.Interface, error)
	Assigned(context.Context, net.HardwareAddr) (imds.Assigned, error)
	// VPC are the CIDRs of the instance's VPC.
	VPC(context.Context) ([]netip.Prefix, error)
}

// Recorder writes Events; a kube.Recorder does.
type Recorder interface {
	Event(about kube.ObjectReference, eventType, reason, format string, args ...any)
}

// NodePatcher changes the agent's own Node; a Kubernetes source does.
type NodePatcher interface {
	// PatchNode applies a JSON patch to the Node, or to a subresource of it.
	PatchNode(ctx context.Context, patch []byte, subresources ...string) error
}

// NodeReadiness says what the agent changes on its Node, with the Patcher.
type NodeReadiness struct {
	StartupTaint bool // it is removed
	Labels       bool // they are set and removed
	PodResources bool // they are advertised
	Patcher      NodePatcher
}

// PodFiles says where the files are that the agent shares with the CNI plugin eni.
type PodFiles struct {
	NetworksDir string // what the agent writes
	DataDir     string // what the plugin writes
}

// Config is what an agent needs.
type Config struct {
	Cluster  string // of the ENIs' cluster tag
	Node     string // the node's name
	Identity imds.Identity
	EC2      *eni.Client
	Source   Source
	Links    Links
	Metadata Metadata
	Recorder Recorder
	Log      *slog.Logger
	Metrics  *Metrics  // nil: of a registry of their own
	Counters *Counters // of links; nil shows none
	// Pods is nil unless the ENIs of NodeENIs with pods are offered to pods.
	Pods        *PodFiles
	PodCounters *PodCounters // nil shows none
	// OnDemand is nil unless claims are given ENIs.
	OnDemand *OnDemand
	// NodeReadiness is empty unless the Node is to show what it has.
	NodeReadiness NodeReadiness
	// Problem, unless its reason is empty, is why the agent must not work at all. It
	// stays idle, is not ready, and reports it.
	Problem Problem
	// DefaultMTU is that of the links whose NodeENI names none; 0 leaves them as
	// they are.
	DefaultMTU int32
	// ReleaseDelay is how long a label that selects the node may be gone before its
	// ENIs are released; at most MaxReleaseDelay.
	ReleaseDelay time.Duration
	// VerifyEvery is how often EC2 is asked when nothing happens; 0 is every hour.
	VerifyEvery time.Duration
	// Collector is nil in a cluster.
	Collector Collector
	// Beat, when set, is called by the loop: when it begins, and then every
	// BeatEvery for as long as it turns.
	Beat      func()
	BeatEvery time.Duration
	// Emptied, when set, is called when no ENI of this instance is left.
	Emptied func()
}
