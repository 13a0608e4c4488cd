package agent

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

const (
	// devicesInSlice is how many devices a slice may have that have taints or take of counters.
	devicesInSlice = 64
	// placesCounter is the counter of each network card.
	placesCounter = "places"
	// reasonReleasing: the place's ENI is being released. It may be gone in a moment.
	reasonReleasing = "Releasing"
)

// offering is what slices rest on.
type offering struct {
	view    view
	plan    plan
	entries []v1alpha1.ENIState // that are reported
	zone    string
}

// slicesOf tells Kubernetes which devices this node has: one for each place of each
// NodeENI with attach: OnDemand. All places that the instance type has room for are
// devices at all times, so that their names stay. Counters say how many of them there is
// room for now, and taints which of them are of no use for a while.
func slicesOf(o offering) (all []kube.ResourceSliceSpec) {
	devices := o.devices()
	if len(devices) == 0 {
		return nil
	}
	newSlice := func() kube.ResourceSliceSpec {
		return kube.ResourceSliceSpec{Driver: DRADriver, Pool: kube.ResourcePool{Name: o.view.node}, NodeName: o.view.node}
	}
	counters := newSlice()
	room := o.view.room(o.leaving)
	for _, card := range o.cards() {
		counters.SharedCounters = append(counters.SharedCounters, kube.CounterSet{
			Name: counterSet(card), Counters: map[string]kube.Counter{placesCounter: {Value: strconv.Itoa(int(max(room[card], 0)))}},
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

func counterSet(card int32) string { return "card-" + strconv.Itoa(int(card)) }

// cards are those that have places.
func (o offering) cards() (cards []int32) {
	for _, t := range o.view.desired.onDemand {
		if !slices.Contains(cards, t.card) && o.view.indexes.Max[t.card] > 0 {
			cards = append(cards, t.card)
		}
	}
	slices.Sort(cards)
	return cards
}

// leaving says whether an ENI that nothing wants still takes room.
func (o offering) leaving(e inventory.ENI) bool {
	return e.AttachedTo(o.view.instanceID) && slices.Contains(o.plan.release, e.ID)
}

// room is how many ENIs on demand each network card takes: as many as the instance type
// allows, without the primary one, those of others, those that are wanted at all times,
// and those of ours for which also is true.
func (v view) room(also func(inventory.ENI) bool) map[int32]int32 {
	room := map[int32]int32{}
	for card, most := range v.indexes.Max {
		if most > 0 {
			room[card] = most
		}
	}
	take := func(card int32) {
		if _, known := room[card]; known {
			room[card]--
		}
	}
	take(0) // the primary one
	for at := range v.indexes.Holders {
		take(at.Card)
	}
	for _, w := range v.desired.wants {
		if !w.OnDemand() {
			take(w.card)
		}
	}
	for _, e := range v.enis {
		if also(e) {
			take(e.Attachment.Card)
		}
	}
	return room
}

// devices are those that are attached first: of those that a claim may have, the scheduler
// takes the first.
func (o offering) devices() []kube.Device {
	var attached, others []kube.Device
	for _, t := range o.view.desired.onDemand {
		most := o.view.indexes.Max[t.card]
		if t.card == 0 {
			most-- // the primary ENI
		}
		for number := range min(most, v1alpha1.MaxDeviceIndex, maxPlaces) {
			w := t
			w.Place = 1 + number
			if device, is := o.device(w); is {
				attached = append(attached, device)
			} else {
				others = append(others, device)
			}
		}
	}
	return slices.Concat(attached, others)
}

// device is that of a place, and whether its ENI is attached.
func (o offering) device(w want) (kube.Device, bool) {
	attached := slices.ContainsFunc(o.view.enis, func(e inventory.ENI) bool {
		return e.ID == o.plan.assigned[w.Slot] && e.AttachedTo(o.view.instanceID) && !e.Attachment.Detaching() && !e.Uncertain()
	})
	d := kube.Device{
		Name: w.device(w.Place - 1),
		Attributes: map[string]kube.DeviceAttribute{
			"nodeENI":     {String: new(v1alpha1.DeviceNodeENI(w.nodeENI))},
			"subnetID":    {String: &w.SubnetID},
			"zone":        {String: &o.zone},
			"ipv4":        {Bool: new(w.cidr != "")},
			"ipv6":        {Bool: new(w.givesIPv6())},
			"attached":    {Bool: &attached},
			"networkCard": {Int: new(int64(w.card))},
		},
		ConsumesCounters:         []kube.CounterConsumption{{CounterSet: counterSet(w.card), Counters: map[string]kube.Counter{placesCounter: {Value: "1"}}}},
		BindsToNode:              new(true),
		BindingConditions:        []string{ConditionAttached},
		BindingFailureConditions: []string{ConditionAttachFailed},
	}
	if w.mtu > 0 {
		d.Attributes["mtu"] = kube.DeviceAttribute{Int: new(int64(w.mtu))}
	}
	if reason := o.useless(w, attached); reason != "" {
		d.Taints = []kube.DeviceTaint{{Key: taintPrefix + reason, Effect: "NoSchedule"}}
	}
	return d, attached
}

// taintPrefix begins the keys of devices' taints, before the reason.
const taintPrefix = "networking.k8s.aws/"

// givesIPv6 says whether a new ENI has an IPv6 address.
func (w want) givesIPv6() bool {
	if w.ipv6.Addresses != nil {
		return *w.ipv6.Addresses > 0
	}
	return w.assignsIPv6
}

// useless is why no claim should have the place for a while, in one word: because of
// its own ENI, or of what keeps any from being created or attached there.
func (o offering) useless(w want, attached bool) string {
	v := o.view
	if slices.ContainsFunc(v.enis, func(e inventory.ENI) bool { return e.Slot() == w.Slot && slices.Contains(o.plan.release, e.ID) }) && o.plan.assigned[w.Slot] == "" {
		return reasonReleasing
	}
	if entry := entryOf(o.entries, w); needsHelp(entry) {
		return entry.Reason
	}
	if attached {
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

// unattachable is why EC2 refuses to attach any ENI there, as it does another one.
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
