// Package dra moves the ENIs of ResourceClaims into pods and back. It is a DRA plugin of
// the kubelet, which calls it before the first pod that uses a claim starts and after the
// last one has ended, and an NRI plugin of the container runtime, which calls it when a
// pod has its network namespace and before that is removed. It asks neither the API server
// nor EC2: the agent writes to files which ENIs a claim has and which pods may use it.
package dra

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/backoff"
	"github.com/aws-multi-eni/aws-multi-eni/internal/claimlink"
	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

// Config is the configuration of a Driver.
type Config struct {
	Log     *slog.Logger
	Metrics *Metrics
	// Heartbeat detects a move that hangs. It is optional.
	Heartbeat *program.Heartbeat
	// ClaimsDir has the files of the agent, and DataDir the attachments.
	ClaimsDir, DataDir string
	// SysctlDir is a writable /proc/sys/net.
	SysctlDir string
	// KubeletDir is the root directory of the kubelet.
	KubeletDir string
	// NRISocket is the socket on which the runtime listens for NRI plugins.
	NRISocket string
	// Patience is how long a call that prepares a claim waits for the agent or the
	// runtime. The kubelet waits for 45 s, and calls again later.
	Patience time.Duration
}

// Driver moves links into pods and back. All its state is in the attachments' files: a new
// Driver continues where the previous process was killed.
type Driver struct {
	Config
	*connections
	host *netns.Namespace

	mu sync.Mutex // held during each change
}

// New returns a Driver for the links of the host's network namespace.
func New(config Config, host *netns.Namespace) *Driver {
	return &Driver{Config: config, connections: newConnections(), host: host}
}

func (d *Driver) links() claimlink.Mover {
	return claimlink.Mover{Host: d.host, ClaimsDir: d.ClaimsDir, DataDir: d.DataDir, SysctlDir: d.SysctlDir}
}

// change runs a function that changes attachments and links, and keeps other calls and the
// CNI plugin waiting.
func (d *Driver) change(do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Heartbeat.Beat()
	defer d.Heartbeat.Rest()
	unlock, err := claimnetwork.Lock(d.DataDir)
	if err != nil {
		return err
	}
	defer unlock()
	return do()
}

// claimRef is a claim as the kubelet identifies it.
type claimRef struct{ namespace, name, uid string }

// String names the claim, for messages.
func (r claimRef) String() string { return r.namespace + "/" + r.name }

// prepare records that a pod is about to use a claim, and returns its devices. The kubelet
// starts no pod while that fails, so it fails as long as the pod would not get its ENIs:
// the agent has not attached them, or the runtime is not connected. It tries until ctx
// ends.
func (d *Driver) prepare(ctx context.Context, ref claimRef) (claimnetwork.Claim, error) {
	for {
		var claim claimnetwork.Claim
		err := d.change(func() (err error) {
			claim, err = d.tryPrepare(ref)
			return err
		})
		if err == nil || backoff.Sleep(ctx, 100*time.Millisecond) != nil {
			return claim, err
		}
	}
}

func (d *Driver) tryPrepare(ref claimRef) (claimnetwork.Claim, error) {
	if err := d.Runtime(); err != nil {
		return claimnetwork.Claim{}, err
	}
	a, err := claimnetwork.ReadAttachment(d.DataDir, ref.uid)
	if err == nil && a.InPod() != nil {
		return a.Claim, nil // the kubelet prepares all claims again when it has restarted
	}
	claim, err := claimnetwork.Read(d.ClaimsDir, ref.uid)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return claim, fmt.Errorf("the agent has no ENI for the claim yet: %w; check the logs of eni-agent on this node", err)
	case err != nil:
		return claim, err
	case len(claim.Pods) == 0:
		return claim, errors.New("the agent has not seen yet for which pod the claim is reserved")
	}
	if err := claim.Unready(); err != nil {
		return claim, err
	}
	return claim, claimnetwork.WriteAttachment(d.DataDir, claimnetwork.NewAttachment(claim))
}

// unprepare moves the links of a claim that no pod uses any longer back to the host.
func (d *Driver) unprepare(ref claimRef) error {
	return d.change(func() error { return d.tryUnprepare(ref) })
}

func (d *Driver) tryUnprepare(ref claimRef) error {
	a, err := claimnetwork.ReadAttachment(d.DataDir, ref.uid)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		// The kernel returns the links with the pod's namespace.
		d.Log.Warn("cannot read the attachment of a claim that is no longer used; removing it", "claim", ref.String(), "error", err)
	default:
		if err := d.detach(&a); err != nil {
			return err
		}
	}
	return claimnetwork.RemoveAttachment(d.DataDir, ref.uid)
}

// attach moves the links of a claim into a pod.
func (d *Driver) attach(a *claimnetwork.Attachment, pod claimnetwork.Pod) error {
	begun := time.Now()
	err := d.links().Attach(a, pod, nil)
	d.Metrics.moved(toPod, begun, err)
	if err == nil {
		d.Log.Info("moved ENIs into a pod", "claim", a.Claim.String(), "pod", pod.String(), "interfaces", a.Pod.Interfaces, "took", time.Since(begun).Round(time.Millisecond))
	}
	return err
}

// detach moves the links of a claim from its pod, if any, back to the host. The claim stays
// prepared, for the next sandbox or pod.
func (d *Driver) detach(a *claimnetwork.Attachment) error {
	pod := a.Pod
	if pod == nil {
		return nil
	}
	begun := time.Now()
	err := d.links().Detach(a)
	d.Metrics.moved(toHost, begun, err)
	if err == nil {
		d.Log.Info("moved ENIs back from a pod", "claim", a.Claim.String(), "pod", pod.String())
	}
	return err
}
