package agent

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

const (
	// devicesInSlice is how many devices a slice may have that have taints or take of counters.
	devicesInSlice = 64
	// reasonReleasing: the place's ENI is being released. It may be gone in a moment.
	reasonReleasing = "Releasing"
)

// offering is what a node's ResourceSlices, and the status of its claims, are computed from.
type offering struct {
	view    view
	plan    plan
	entries []v1alpha1.ENIState // of the report
	zone    string
}

// slicesOf are the ResourceSlices of the node: a device for each place of each NodeENI with
// attach: OnDemand. Every place that the instance type has room for is a device at all
// times, so that names stay the same. The counters say how many of them there is room for
// now, and taints which of them the scheduler must not allocate for a while.
func slicesOf(o offering) (all []kube.ResourceSliceSpec) {
	devices := o.devices()
	if len(devices) == 0 {
		return nil
	}
	newSlice := func() kube.ResourceSliceSpec {
		return kube.ResourceSliceSpec{Driver: driver.Name, Pool: kube.ResourcePool{Name: o.view.node}, NodeName: o.view.node}
	}
	counters := newSlice()
	room := o.view.roomOnDemand(o.plan.release)
	for _, card := range o.cards() {
		counters.SharedCounters = append(counters.SharedCounters, kube.CounterSet{
			Name: driver.CounterSet(card), Counters: map[string]kube.Counter{driver.PlacesCounter: {Value: strconv.Itoa(int(max(room[card], 0)))}},
		})
	}
	all = append(all, counters)
	for part := range slices.Chunk(devices, devicesInSlice) {
		slice := newSlice()
		slice.Devices = part
		all = append(all, slice)
	}
	return all
}

// cards are the network cards of the devices.
func (o offering) cards() (cards []int32) {
	for _, t := range o.view.desired.onDemand {
		if !slices.Contains(cards, t.card) && o.view.indexes.Max[t.card] > 0 {
			cards = append(cards, t.card)
		}
	}
	slices.Sort(cards)
	return cards
}

// preference orders devices: of those that a claim may have, the scheduler takes the first.
type preference int

const (
	preferReady   preference = iota // has an ENI that a pod can use at once
	preferNew                       // has none, or one that is on its way
	preferTrouble                   // has an ENI that is kept from being Ready
	preferences
)

// preferenceOf is that of a place by what is reported of its ENI; the zero value is none.
func preferenceOf(entry v1alpha1.ENIState) preference {
	switch {
	case entry.Phase == v1alpha1.PhaseReady, entry.Reason == reasonSettingAttributes:
		return preferReady
	case entry.ENIID == "":
		return preferNew
	case entry.Reason == reasonCreating, entry.Reason == reasonAttaching, entry.Reason == reasonLinkMissing:
		return preferNew
	}
	return preferTrouble
}

// devices are all devices of the node, in the order of preference.
func (o offering) devices() []kube.Device {
	var ordered [preferences][]kube.Device
	for _, t := range o.view.desired.onDemand {
		most := o.view.indexes.Max[t.card]
		if t.card == 0 {
			most-- // the primary ENI
		}
		for number := range min(most, v1alpha1.MaxDeviceIndex, maxPlaces) {
			w := t
			w.Place = 1 + number
			entry := entryOf(o.entries, w)
			preference := preferenceOf(entry)
			ordered[preference] = append(ordered[preference], o.device(w, entry))
		}
	}
	return slices.Concat(ordered[:]...)
}

// device is the device of a place.
func (o offering) device(w want, entry v1alpha1.ENIState) kube.Device {
	attached := preferenceOf(entry) == preferReady
	name := w.device(w.Place - 1)
	d := kube.Device{
		Name: name,
		Attributes: map[string]kube.DeviceAttribute{
			"nodeENI":     {String: new(v1alpha1.DeviceNodeENI(w.nodeENI))},
			"subnetID":    {String: &w.SubnetID},
			"zone":        {String: &o.zone},
			"ipv4":        {Bool: new(w.cidr != "")},
			"ipv6":        {Bool: new(w.givesIPv6())},
			"attached":    {Bool: &attached},
			"networkCard": {Int: new(int64(w.card))},
			"mtu":         {Int: new(int64(w.mtu))}, // 0 if not set: the scheduler stops at a device without the attribute
			// Multus passes the ID of the device to the CNI plugin eni.
			"k8s.cni.cncf.io/resourceName": {String: new(v1alpha1.DeviceResource(w.nodeENI))},
			"k8s.cni.cncf.io/deviceID":     {String: &name},
		},
		ConsumesCounters:         []kube.CounterConsumption{{CounterSet: driver.CounterSet(w.card), Counters: map[string]kube.Counter{driver.PlacesCounter: {Value: "1"}}}},
		BindsToNode:              new(true),
		BindingConditions:        []string{driver.ConditionAttached},
		BindingFailureConditions: []string{driver.ConditionAttachFailed},
	}
	if reason := o.taint(w, entry); reason != "" {
		d.Taints = []kube.DeviceTaint{{Key: driver.TaintPrefix + reason, Effect: "NoSchedule"}}
	}
	return d
}

// givesIPv6 says whether a new ENI has an IPv6 address.
func (w want) givesIPv6() bool {
	if w.ipv6.Addresses != nil {
		return *w.ipv6.Addresses > 0
	}
	return w.assignsIPv6
}

// taint is the reason why the scheduler must not allocate the device for a while, empty if
// it may: a failure of the place's own ENI, or one that keeps any ENI from being created or
// attached there.
func (o offering) taint(w want, entry v1alpha1.ENIState) (reason string) {
	v := o.view
	releasing := func(e inventory.ENI) bool { return e.Slot() == w.Slot && slices.Contains(o.plan.release, e.ID) }
	switch {
	case o.plan.assigned[w.Slot] == "" && slices.ContainsFunc(v.enis, releasing):
		return reasonReleasing
	case needsHelp(entry):
		return entry.Reason
	case preferenceOf(entry) == preferReady:
		return ""
	}
	for _, p := range v.desired.problems {
		if p.uid == w.UID && p.reason != reasonResolving && v.desired.unresolved[w.UID] {
			return p.reason
		}
	}
	if f, _ := v.failures.Get(subnetFullKey(w.SubnetID)); v.failures.Blocks(subnetFullKey(w.SubnetID), v.now) {
		return eni.Reason(f.Err)
	}
	for _, key := range []retry.Key{call{verb: create, slot: w.Slot}.key(), attachKey(w.Slot)} {
		if f, _ := v.failures.Get(key); v.failures.Blocks(key, v.now) && (f.Terminal() || eni.IsSubnetFull(f.Err)) {
			return eni.Reason(f.Err)
		}
	}
	return o.unattachable(w)
}

// unattachable is the reason for which EC2 refuses to attach another ENI, if it would refuse
// the ENI of this place for the same reason.
func (o offering) unattachable(w want) (reason string) {
	for _, other := range o.view.desired.wants {
		i := slices.IndexFunc(o.view.enis, func(e inventory.ENI) bool { return e.ID == o.plan.assigned[other.Slot] })
		if i < 0 || o.view.enis[i].Attachment != nil {
			continue
		}
		key := attachCall(other, o.view.enis[i], o.plan.places[other.Slot]).key()
		f, _ := o.view.failures.Get(key)
		same := eni.IsUnauthorized(f.Err) || eni.IsUnauthenticated(f.Err) || eni.IsAttachmentLimit(f.Err) && other.card == w.card
		if same && o.view.failures.Blocks(key, o.view.now) {
			reason = cmp.Or(reason, eni.Reason(f.Err))
		}
	}
	return reason
}
