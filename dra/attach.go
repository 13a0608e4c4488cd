package dra

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// attach brings the links of a claim into a pod, and undoes what it did when it fails. It
// goes on where one before it has been killed.
func (d *Driver) attach(a *claimnetwork.Attachment, pod claimnetwork.Pod) error {
	begun := time.Now()
	if err := d.vacate(a, pod); err != nil {
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
	if pod.Interfaces, err = names(ns, a.Claim.Devices); err != nil {
		return err
	}
	a.Pod = &pod
	if err := claimnetwork.WriteAttachment(d.DataDir, *a); err != nil {
		return err
	}
	for i, device := range a.Claim.Devices {
		if err := d.bring(ns, device, pod.Interfaces[i]); err != nil {
			return errors.Join(fmt.Errorf("ENI %s of NodeENI %s: %w", device.ENI.ID, device.NodeENI, err), d.detach(a))
		}
	}
	a.Pod.Configured = true
	if err := claimnetwork.WriteAttachment(d.DataDir, *a); err != nil {
		return errors.Join(err, d.detach(a))
	}
	d.Log.Info("moved ENIs into a pod", "claim", a.Claim.String(), "pod", pod.String(), "interfaces", pod.Interfaces, "took", time.Since(begun).Round(time.Millisecond))
	return nil
}

// vacate has the links of a claim come back from a sandbox that the pod had before. It
// refuses to take them from another pod.
func (d *Driver) vacate(a *claimnetwork.Attachment, pod claimnetwork.Pod) error {
	holder := a.InPod()
	switch {
	case holder == nil || holder.Sandbox == pod.Sandbox:
		return nil
	case holder.UID != pod.UID:
		return fmt.Errorf("the ENI is in pod %s, and only one pod at a time can have it; delete that pod, or give each pod a claim of its own with a ResourceClaimTemplate", holder)
	}
	return d.detach(a)
}

// names are those that the links of the devices get in a pod: the ones that they have when
// they are there.
func names(ns *netns.Namespace, devices []claimnetwork.Device) ([]string, error) {
	chosen := make([]string, len(devices))
	var taken []string
	for i, device := range devices {
		link, all, err := find(ns, device.ENI.MAC)
		if err != nil {
			return nil, err
		}
		taken = append(taken, all...)
		if link != nil {
			chosen[i] = link.Attrs().Name
		}
	}
	for i, device := range devices {
		if chosen[i] == "" {
			name, err := newName(device.Parameters.InterfaceName, taken)
			if err != nil {
				return nil, err
			}
			chosen[i] = name
			taken = append(taken, name)
		}
	}
	return chosen, nil
}

// newName is the wanted name, or the first free one of eni0, eni1 and so on.
func newName(wanted string, taken []string) (string, error) {
	if wanted != "" {
		if slices.Contains(taken, wanted) {
			return "", fmt.Errorf("the pod already has an interface %s; set another interfaceName in the parameters of the claim", wanted)
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
func (d *Driver) bring(ns *netns.Namespace, device claimnetwork.Device, name string) error {
	link, _, err := find(ns, device.ENI.MAC)
	if err != nil {
		return err
	}
	if link == nil {
		if link, _, err = find(d.host, device.ENI.MAC); err != nil {
			return err
		}
		if link == nil {
			return fmt.Errorf("the node has no link with the MAC %s", device.ENI.MAC)
		}
		if err := move(link, d.host, ns, name); err != nil {
			return err
		}
	}
	return configure(ns, d.SysctlDir, device.ENI.MAC, inPod(device))
}

// detach takes the links of a claim back from the pod that they are in. The kubelet may
// use the claim again.
func (d *Driver) detach(a *claimnetwork.Attachment) error {
	if a.Pod == nil {
		return nil
	}
	pod, err := openPod(a.Pod.NetNS)
	if err != nil {
		return fmt.Errorf("take the ENIs of claim %s back from pod %s: %w", a.Claim, a.Pod, err)
	}
	if pod != nil {
		defer pod.Close()
	}
	for i, device := range a.Claim.Devices {
		if err := d.takeBack(pod, device, a.Pod.Interfaces[i]); err != nil {
			return fmt.Errorf("take ENI %s back from pod %s: %w", device.ENI.ID, a.Pod, err)
		}
	}
	d.Log.Info("took ENIs back from a pod", "claim", a.Claim.String(), "pod", a.Pod.String())
	a.Pod = nil
	return claimnetwork.WriteAttachment(d.DataDir, *a)
}

// openPod is the namespace at the path, nil when there is none any more: the file is gone,
// or the runtime has unmounted it and is about to remove it.
func openPod(path string) (*netns.Namespace, error) {
	ns, err := netns.Open(path)
	if _, unopened := errors.AsType[*fs.PathError](err); err != nil && (!unopened || errors.Is(err, fs.ErrNotExist)) {
		return nil, nil
	}
	return ns, err
}

// takeBack moves a link back to the host, where it has the name from before, if that is
// still free. With the namespace the link has come back by itself, by the name that it had
// in the pod or one that the kernel made. Addresses, routes and rules stay behind with the
// pod's namespace, and the agent sets the link up.
func (d *Driver) takeBack(pod *netns.Namespace, device claimnetwork.Device, inPod string) error {
	host, taken, err := find(d.host, device.ENI.MAC)
	if err != nil {
		return err
	}
	former := device.ENI.Link
	if former == "" || slices.Contains(taken, former) {
		former = "eni" + strings.ReplaceAll(device.ENI.MAC, ":", "")
	}
	if host != nil {
		return d.rename(host.Attrs().Name, former, inPod)
	}
	if pod == nil {
		return nil // EC2 has detached the ENI
	}
	link, _, err := find(pod, device.ENI.MAC)
	if err != nil || link == nil {
		return err
	}
	return move(link, pod, d.host, former)
}

// rename gives a link that has come back with the pod's name its former one: that of the
// next link in a pod may be the same.
func (d *Driver) rename(is, former, inPod string) error {
	if is != inPod || is == former {
		return nil
	}
	handle, err := d.host.Netlink()
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
