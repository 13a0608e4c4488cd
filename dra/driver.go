// Package dra brings the ENIs of ResourceClaims into pods. It is the DRA plugin of the
// kubelet, which says when a claim is about to be used, and an NRI plugin of the container
// runtime, which says when a pod has a network namespace and when it ends. It speaks
// neither to the API server nor to EC2: the agent says in files what ENIs a claim has, and
// which pods may use it.
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
)

// Config says where things are.
type Config struct {
	Log *slog.Logger
	// ClaimsDir has the agent's files, and DataDir the attachments.
	ClaimsDir, DataDir string
	// SysctlDir is /proc/sys/net where it can be written.
	SysctlDir string
	// KubeletDir is the kubelet's root directory, and NRISocket that of the runtime.
	KubeletDir, NRISocket string
	// Patience is how long preparing a claim waits for what is missing. The kubelet itself
	// waits 45 s, and tries again.
	Patience time.Duration
}

// Driver moves links into pods and back. Its state is in the attachments' files; a Driver
// that is new goes on where the one before it was killed.
type Driver struct {
	Config
	host *netns.Namespace

	mu sync.Mutex // one change at a time
	// offline is why the runtime would not tell of a pod that it makes now; nil when it
	// would.
	offline error
	// registered: the kubelet has found the plugin.
	registered bool
}

// New returns a Driver for links of the host's namespace.
func New(config Config, host *netns.Namespace) *Driver {
	return &Driver{Config: config, host: host, offline: errors.New("not connected yet")}
}

func (d *Driver) links() claimlink.Mover {
	return claimlink.Mover{Host: d.host, ClaimsDir: d.ClaimsDir, DataDir: d.DataDir, SysctlDir: d.SysctlDir}
}

// change changes links and attachments while neither another call nor the CNI plugin does.
func (d *Driver) change(do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	unlock, err := claimnetwork.Lock(d.DataDir)
	if err != nil {
		return err
	}
	defer unlock()
	return do()
}

// setOffline notes whether the runtime tells of pods.
func (d *Driver) setOffline(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.offline = err
}

func (d *Driver) setRegistered(registered bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.registered = registered
}

// claimRef is a claim as the kubelet names it.
type claimRef struct{ namespace, name, uid string }

// prepare notes that a claim is about to be used by a pod, and returns its devices. A pod
// whose claim is not prepared is not started, so it fails while the pod would not get the
// links: the agent has not made them, or the runtime does not tell of pods. It tries until
// ctx ends.
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
	if d.offline != nil {
		return claimnetwork.Claim{}, fmt.Errorf("eni-dra does not receive the events of pods from the container runtime: %w; check that NRI is enabled in containerd, which it is by default from version 2.0", d.offline)
	}
	a, err := claimnetwork.ReadAttachment(d.DataDir, ref.uid)
	if err == nil && a.InPod() != nil {
		return a.Claim, nil // after a restart of the kubelet
	}
	claim, err := claimnetwork.Read(d.ClaimsDir, ref.uid)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return claim, fmt.Errorf("the agent has no ENI for the claim yet: %w; check the logs of eni-agent on this node", err)
	case err != nil:
		return claim, err
	case len(claim.Pods) == 0:
		return claim, errors.New("the agent has not seen yet which pod the claim is reserved for")
	}
	if err := claim.Unready(); err != nil {
		return claim, err
	}
	return claim, claimnetwork.WriteAttachment(d.DataDir, claimnetwork.NewAttachment(claim))
}

// unprepare takes the links of a claim back that no pod uses any more.
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
		d.Log.Warn("cannot read the attachment of a claim that is no longer used; removing it", "claim", ref.namespace+"/"+ref.name, "error", err)
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
	if err := d.links().Attach(a, pod, nil); err != nil {
		return err
	}
	d.Log.Info("moved ENIs into a pod", "claim", a.Claim.String(), "pod", pod.String(), "interfaces", a.Pod.Interfaces, "took", time.Since(begun).Round(time.Millisecond))
	return nil
}

// detach moves the links of a claim back from its pod.
func (d *Driver) detach(a *claimnetwork.Attachment) error {
	pod := a.Pod
	err := d.links().Detach(a)
	if err == nil && pod != nil {
		d.Log.Info("took ENIs back from a pod", "claim", a.Claim.String(), "pod", pod.String())
	}
	return err
}
