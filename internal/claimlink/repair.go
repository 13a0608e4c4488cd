package claimlink

import (
	"errors"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// Repair checks that a pod still has the links of a claim. A link disappears from the pod
// when someone detaches or deletes its ENI in EC2. The agent then attaches the ENI again, or
// creates another one for the device, and Repair moves its link from the host into the pod,
// under the name that the former one had. It returns the names of the links that have
// disappeared since the last call, and of those that have come back. The attachment lists
// those that are missing.
func (m Mover) Repair(a *claimnetwork.Attachment) (lost, restored []string, err error) {
	if pod := a.InPod(); pod == nil || !pod.Configured {
		return nil, nil, nil
	}
	ns, err := OpenPod(a.Pod.NetNS)
	if ns == nil || err != nil {
		return nil, nil, err
	}
	defer ns.Close()
	links, err := list(ns)
	if err != nil {
		return nil, nil, err
	}
	for i, name := range a.Pod.Interfaces {
		present := has(links, a.Claim.Devices[i].ENI.MAC, name)
		if present && a.Pod.Has(i) {
			continue
		}
		if a.Pod.Has(i) {
			lost = append(lost, name)
			a.Pod.Missing = append(a.Pod.Missing, name)
			if err := claimnetwork.WriteAttachment(m.DataDir, *a); err != nil {
				return lost, restored, err
			}
		}
		back, err := m.restore(ns, a, i, present)
		if err != nil {
			return lost, restored, err
		}
		if back {
			restored = append(restored, name)
		}
	}
	return lost, restored, nil
}

// has reports whether one of a pod's links is that of an ENI. A pod may rename the link, or
// change its MAC, as a bond does.
func has(links []netlink.Link, mac, name string) bool {
	return slices.ContainsFunc(links, func(link netlink.Link) bool {
		attrs := link.Attrs()
		return attrs.Name == name || sameMAC(attrs.PermHWAddr, mac) || isOf(link, mac)
	})
}

// restore brings back a missing link, if the host has it. Before the link moves, the
// attachment no longer lists it as missing, so that the agent does not miss it on the host.
func (m Mover) restore(ns *netns.Namespace, a *claimnetwork.Attachment, i int, present bool) (back bool, err error) {
	former, name, missing := a.Claim.Devices[i], a.Pod.Interfaces[i], a.Pod.Missing
	device := former
	if claim, err := claimnetwork.Read(m.ClaimsDir, a.Claim.UID); err == nil {
		if i := slices.IndexFunc(claim.Devices, func(d claimnetwork.Device) bool { return d.Name == device.Name }); i >= 0 {
			device.ENI = claim.Devices[i].ENI
		}
	}
	if !device.ENI.Ready {
		return false, nil
	}
	onHost, _, err := Find(m.Host, device.ENI.MAC)
	if err != nil || onHost == nil && !present {
		return false, err
	}
	a.Claim.Devices[i].ENI, a.Pod.Configured = device.ENI, false
	a.Pod.Missing = slices.DeleteFunc(slices.Clone(missing), func(other string) bool { return other == name })
	if err := claimnetwork.WriteAttachment(m.DataDir, *a); err != nil {
		return false, err
	}
	if err = errors.Join(deleteRules(ns, former), m.bring(ns, device, name)); err != nil {
		a.Pod.Missing = missing
	}
	a.Pod.Configured = true
	if err := claimnetwork.WriteAttachment(m.DataDir, *a); err != nil {
		return false, err
	}
	return err == nil, err
}
