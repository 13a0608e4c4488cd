package agent

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// reasonDeviceGone: the node no longer has the device that the claim is allocated to.
const reasonDeviceGone = "DeviceGone"

// deviceData is the driver's own data about a device in the status of a claim.
type deviceData struct {
	ENIID    string `json:"eniID"`
	SubnetID string `json:"subnetID"`
}

// progress is how far the ENI of a claim's device is.
type progress struct {
	entry v1alpha1.ENIState
	// awaitsRoom: EC2 refuses the attach until another ENI of ours is detached, which is
	// under way.
	awaitsRoom bool
	link       string // the link's name in the pod, once it is there
}

// deviceStatus is the status of a claim's device, given the status so far. When Attached is
// true, the scheduler binds the pod; when AttachFailed is true, it allocates another device.
// A device that has been attached never gets AttachFailed, because the pod may be bound.
func deviceStatus(c Claim, node string, p progress, before *kube.AllocatedDevice, now time.Time) kube.AllocatedDevice {
	status := kube.AllocatedDevice{Driver: driver.Name, Pool: node, Device: c.Device}
	if before != nil {
		status.Conditions, status.Data, status.NetworkData = slices.Clone(before.Conditions), before.Data, before.NetworkData
	}
	set := func(condition string, is metav1.ConditionStatus) {
		meta.SetStatusCondition(&status.Conditions, metav1.Condition{
			Type: condition, Status: is, Reason: conditionReason(p.entry.Reason), Message: withoutHolder(p.entry.Message), LastTransitionTime: metav1.NewTime(now.Truncate(time.Second)),
		})
	}
	wasAttached := status.NetworkData != nil
	switch {
	case p.entry.Phase == v1alpha1.PhaseReady:
		set(driver.ConditionAttached, metav1.ConditionTrue)
		if meta.FindStatusCondition(status.Conditions, driver.ConditionAttachFailed) != nil {
			set(driver.ConditionAttachFailed, metav1.ConditionFalse)
		}
		status.NetworkData, status.Data = networkData(p), dataOf(p.entry)
	case needsHelp(p.entry) && !p.awaitsRoom && !wasAttached:
		set(driver.ConditionAttached, metav1.ConditionFalse)
		set(driver.ConditionAttachFailed, metav1.ConditionTrue)
	case wasAttached && p.entry.Reason == reasonSettingAttributes: // meanwhile, the ENI stays in use
	case p.entry.Reason != "" && (wasAttached || worthWarning(p.entry)):
		set(driver.ConditionAttached, metav1.ConditionFalse)
	}
	return status
}

// needsHelp says whether a pod should not wait for the ENI: a person has to end what keeps it
// from being Ready, or that takes longer than a pod waits.
func needsHelp(e v1alpha1.ENIState) bool {
	return e.Phase == v1alpha1.PhaseFailed || e.Reason == reasonLinkOverdue || eni.IsSubnetFull(refusalIn(e))
}

func isAttached(status kube.AllocatedDevice) bool {
	return meta.IsStatusConditionTrue(status.Conditions, driver.ConditionAttached)
}

func hasFailed(status kube.AllocatedDevice) bool {
	return meta.IsStatusConditionTrue(status.Conditions, driver.ConditionAttachFailed)
}

// conditionReason is the reason without the dots of EC2's codes, which conditions do not
// allow.
func conditionReason(reason string) string { return strings.ReplaceAll(reason, ".", "") }

// States of the devices of claims, for the metrics.
const (
	stateWaiting  = "waiting"
	stateAttached = "attached"
	stateFailed   = "failed"
)

func stateOf(status kube.AllocatedDevice) string {
	switch {
	case isAttached(status):
		return stateAttached
	case hasFailed(status):
		return stateFailed
	default:
		return stateWaiting
	}
}

func networkData(p progress) *kube.NetworkData {
	data := &kube.NetworkData{InterfaceName: cmp.Or(p.link, p.entry.InterfaceName), HardwareAddress: p.entry.MAC}
	subnets := prefixes(append([]string{p.entry.SubnetCIDR}, p.entry.SubnetIPv6CIDRs...)...)
	for _, address := range addressesIn(p.entry) {
		bits := address.BitLen()
		for _, subnet := range subnets {
			if subnet.Contains(address) {
				bits = subnet.Bits()
			}
		}
		data.IPs = append(data.IPs, netip.PrefixFrom(address, bits).String())
	}
	return data
}

func dataOf(entry v1alpha1.ENIState) json.RawMessage {
	text, err := json.Marshal(deviceData{entry.ENIID, entry.SubnetID})
	if err != nil {
		panic(err) // a programming error: all of it is text
	}
	return text
}
