package dra

import (
	"errors"
	"fmt"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimlink"
	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
)

// startPod moves the links of a pod's claims into its sandbox. If it fails, the pod must not
// start.
func (d *Driver) startPod(pod claimnetwork.Pod) error {
	return d.change(func() error { return d.attachAll(pod) })
}

func (d *Driver) attachAll(pod claimnetwork.Pod) error {
	attachments, unreadable := d.links().AttachmentsFor(pod.UID)
	if unreadable != nil {
		d.Log.Warn("cannot read all claims of this node", "error", unreadable)
	}
	for i := range attachments {
		a := &attachments[i]
		if in(a, pod) {
			continue
		}
		if err := d.attach(a, pod); err != nil {
			err = fmt.Errorf("claim %s: %w", a.Claim, err)
			d.Log.Warn("cannot move the ENIs of a claim into its pod", "pod", pod.String(), "error", err)
			for j := range attachments[:i] {
				err = errors.Join(err, d.detach(&attachments[j]))
			}
			return err
		}
	}
	return nil
}

// in reports whether a pod's sandbox has all of a claim's links.
func in(a *claimnetwork.Attachment, pod claimnetwork.Pod) bool {
	holder := a.InPod()
	return holder != nil && holder.Sandbox == pod.Sandbox && holder.Configured
}

// stopPod moves the links of a sandbox back to the host. It returns no error, because the
// kernel returns the links of hardware when the sandbox's network namespace ends.
func (d *Driver) stopPod(sandbox string) {
	d.takeBackAll(func(p claimnetwork.Pod) bool { return p.Sandbox == sandbox })
}

func (d *Driver) takeBackAll(from func(claimnetwork.Pod) bool) {
	err := d.change(func() error { return d.tryTakeBackAll(from) })
	if err != nil {
		d.Log.Warn("cannot move all ENIs of ended pods back to the host; retrying when the kubelet releases their claims", "error", err)
	}
}

func (d *Driver) tryTakeBackAll(from func(claimnetwork.Pod) bool) error {
	attachments, unreadable := claimnetwork.Attachments(d.DataDir)
	errs := []error{unreadable}
	for i := range attachments {
		if a := &attachments[i]; a.Pod != nil && from(*a.Pod) {
			errs = append(errs, d.detach(a))
		}
	}
	return errors.Join(errs...)
}

// synchronize compares the attachments with the sandboxes that exist: while the runtime was
// not connected, sandboxes may have started and ended, and a previous process may have been
// killed during a move.
func (d *Driver) synchronize(pods []claimnetwork.Pod) {
	d.takeBackAll(func(p claimnetwork.Pod) bool {
		for _, pod := range pods {
			if pod.Sandbox == p.Sandbox {
				ns, err := claimlink.OpenPod(p.NetNS)
				if ns != nil {
					defer ns.Close()
				}
				return ns == nil && err == nil
			}
		}
		return true
	})
	for _, pod := range pods {
		ns, err := claimlink.OpenPod(pod.NetNS)
		if ns == nil || err != nil {
			continue // the pod has ended, or uses the network of the host
		}
		ns.Close()
		_ = d.startPod(pod) // logs errors, and CreateContainer tries again
	}
}
