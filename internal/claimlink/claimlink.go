// Package claimlink moves the links of claims' ENIs into pods, and back. eni-dra does that
// when the container runtime starts or stops a pod's sandbox, and the CNI plugin when a
// pod names the network of a claim, which is before that. What either does is in the
// attachments of claims, so the other one finds nothing left to do.
package claimlink

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// Mover moves links. Its caller holds [claimnetwork.Lock], because there is one Mover in
// each process.
type Mover struct {
	Host *netns.Namespace
	// ClaimsDir has the agent's files, and DataDir the attachments.
	ClaimsDir, DataDir string
	// SysctlDir is /proc/sys/net where it can be written.
	SysctlDir string
}

// Interface is the interface that a pod gets for one device of a claim.
type Interface struct {
	Device int // its index in the claim
	Name   string
}

// AttachmentsFor returns the attachments of the claims that a pod may use. If several pods
// share a claim, the kubelet has only the first pod's prepared, so the claim's file has
// the pods of now.
func (m Mover) AttachmentsFor(podUID string) ([]claimnetwork.Attachment, error) {
	prepared, unreadable := claimnetwork.Attachments(m.DataDir)
	claims, err := claimnetwork.List(m.ClaimsDir)
	unreadable = errors.Join(unreadable, err)
	for _, claim := range claims {
		i := slices.IndexFunc(prepared, func(a claimnetwork.Attachment) bool { return a.Claim.UID == claim.UID })
		switch {
		case i < 0:
			prepared = append(prepared, claimnetwork.NewAttachment(claim))
		case prepared[i].InPod() != nil:
			prepared[i].Claim.Pods = claim.Pods
		default:
			prepared[i].Claim = claim // the agent may have replaced the ENI
		}
	}
	return slices.DeleteFunc(prepared, func(a claimnetwork.Attachment) bool { return !a.For(podUID) }), unreadable
}

// Attach moves the links of a claim into a pod, or only the one of an interface, and
// configures them. If it fails, it moves all of them back. It continues where another
// process has stopped: eni-dra moves what a CNI network does not, and configures the whole
// once more, because other networks of the pod may have come in between.
func (m Mover) Attach(a *claimnetwork.Attachment, pod claimnetwork.Pod, only *Interface) error {
	if err := m.vacate(a, pod); err != nil {
		return err
	}
	if err := a.Claim.Unready(); err != nil {
		return err
	}
	if pod.NetNS == "" {
		return errors.New("the pod uses the network of the host, where it cannot have an ENI of its own; remove hostNetwork or the claim")
	}
	ns, err := netns.Open(pod.NetNS)
	if err != nil {
		return err
	}
	defer ns.Close()
	if pod.Interfaces, err = interfaces(ns, a.Claim.Devices, only); err != nil {
		return err
	}
	if former := a.InPod(); former != nil {
		pod.Missing = former.Missing // until Repair finds them
	}
	a.Pod = &pod
	if err := claimnetwork.WriteAttachment(m.DataDir, *a); err != nil {
		return err
	}
	for i, device := range a.Claim.Devices {
		if only != nil && only.Device != i || !pod.Has(i) {
			continue
		}
		if err := m.bring(ns, device, pod.Interfaces[i]); err != nil {
			return errors.Join(fmt.Errorf("ENI %s of NodeENI %s: %w", device.ENI.ID, device.NodeENI, err), m.Detach(a))
		}
	}
	a.Pod.Configured = only == nil
	if err := claimnetwork.WriteAttachment(m.DataDir, *a); err != nil {
		return errors.Join(err, m.Detach(a))
	}
	return nil
}

// vacate moves the links of a claim back from a sandbox that the pod had before. It
// refuses to take them from another pod.
func (m Mover) vacate(a *claimnetwork.Attachment, pod claimnetwork.Pod) error {
	holder := a.InPod()
	switch {
	case holder == nil || holder.Sandbox == pod.Sandbox:
		return nil
	case holder.UID != pod.UID:
		return fmt.Errorf("the ENI is in pod %s, and only one pod at a time can have it; delete that pod, or give each pod a claim of its own with a ResourceClaimTemplate", holder)
	}
	return m.Detach(a)
}

// interfaces returns the names of the devices' links in a pod. A link that is already
// there keeps its name. With only, the name of any other link is "" until it is there.
func interfaces(ns *netns.Namespace, devices []claimnetwork.Device, only *Interface) ([]string, error) {
	names := make([]string, len(devices))
	var taken []string
	for i, device := range devices {
		link, all, err := Find(ns, device.ENI.MAC)
		if err != nil {
			return nil, err
		}
		taken = append(taken, all...)
		if link != nil {
			names[i] = link.Attrs().Name
		}
	}
	for i, device := range devices {
		wanted := device.Parameters.InterfaceName
		if only != nil {
			wanted = only.Name
		}
		if names[i] != "" || only != nil && only.Device != i {
			continue
		}
		name, err := newName(wanted, taken)
		if err != nil {
			return nil, err
		}
		names[i] = name
		taken = append(taken, name)
	}
	return names, nil
}

// newName is the wanted name, or the first free one of eni0, eni1, and so on.
func newName(wanted string, taken []string) (string, error) {
	if wanted != "" {
		if slices.Contains(taken, wanted) {
			return "", fmt.Errorf("the pod already has an interface %s; set another interfaceName in the parameters of the ResourceClaim", wanted)
		}
		return wanted, nil
	}
	for i := 0; ; i++ {
		if name := fmt.Sprintf("eni%d", i); !slices.Contains(taken, name) {
			return name, nil
		}
	}
}

// bring moves one link into a pod, unless it is there, and configures it.
func (m Mover) bring(ns *netns.Namespace, device claimnetwork.Device, name string) error {
	link, _, err := Find(ns, device.ENI.MAC)
	if err != nil {
		return err
	}
	if link == nil {
		if link, _, err = Find(m.Host, device.ENI.MAC); err != nil {
			return err
		}
		if link == nil {
			return fmt.Errorf("the node has no link with the MAC %s", device.ENI.MAC)
		}
		if err := Move(link, m.Host, ns, name); err != nil {
			return err
		}
	}
	return Configure(ns, m.SysctlDir, device)
}

// Detach moves the links of a claim back from the pod that they are in. The kubelet may
// use the claim again.
func (m Mover) Detach(a *claimnetwork.Attachment) error {
	if a.Pod == nil {
		return nil
	}
	pod, err := OpenPod(a.Pod.NetNS)
	if err != nil {
		return fmt.Errorf("move the ENIs of claim %s back from pod %s: %w", a.Claim, a.Pod, err)
	}
	if pod != nil {
		defer pod.Close()
	}
	for i, device := range a.Claim.Devices {
		if err := m.takeBack(pod, device, a.Pod.Interfaces[i]); err != nil {
			return fmt.Errorf("move ENI %s back from pod %s: %w", device.ENI.ID, a.Pod, err)
		}
	}
	a.Pod = nil
	return claimnetwork.WriteAttachment(m.DataDir, *a)
}

// OpenPod opens a pod's network namespace. It returns nil if the namespace no longer
// exists: its file is gone, or the runtime has unmounted it and is about to remove it.
func OpenPod(path string) (*netns.Namespace, error) {
	ns, err := netns.Open(path)
	if _, unopened := errors.AsType[*fs.PathError](err); err != nil && (!unopened || errors.Is(err, fs.ErrNotExist)) {
		return nil, nil
	}
	return ns, err
}

// takeBack moves a link back to the host, where it gets its former name, if that is still
// free. If the namespace is gone, the kernel has moved the link back, with its name in the
// pod or one that the kernel made. Addresses, routes, and rules stay in the pod's
// namespace, and the agent sets the link up.
func (m Mover) takeBack(pod *netns.Namespace, device claimnetwork.Device, inPod string) error {
	host, taken, err := Find(m.Host, device.ENI.MAC)
	if err != nil {
		return err
	}
	former := device.ENI.Link
	if former == "" || slices.Contains(taken, former) {
		former = "eni" + strings.ReplaceAll(device.ENI.MAC, ":", "")
	}
	if host != nil {
		return m.rename(host.Attrs().Name, former, inPod)
	}
	if pod == nil {
		return nil // EC2 has detached the ENI
	}
	link, _, err := Find(pod, device.ENI.MAC)
	if err != nil || link == nil {
		return err
	}
	return Move(link, pod, m.Host, former)
}

// rename gives a link its former name if it has come back with the one from the pod, which
// the next link in a pod may need.
func (m Mover) rename(is, former, inPod string) error {
	if is != inPod || is == former {
		return nil
	}
	handle, err := m.Host.Netlink()
	if err != nil {
		return err
	}
	defer handle.Close()
	link, err := handle.LinkByName(is)
	if err != nil {
		return err
	}
	if err := handle.LinkSetDown(link); err != nil {
		return err
	}
	return handle.LinkSetName(link, former)
}
