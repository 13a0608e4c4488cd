package agent

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"k8s.io/utils/ptr"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// verb is a mutating EC2 call.
type verb string

const (
	create                 verb = "CreateNetworkInterface"
	attach                 verb = "AttachNetworkInterface"
	setDeleteOnTermination verb = "ModifyNetworkInterfaceAttribute/DeleteOnTermination"
	setSourceDestCheck     verb = "ModifyNetworkInterfaceAttribute/SourceDestCheck"
	setGroups              verb = "ModifyNetworkInterfaceAttribute/Groups"
	setDescription         verb = "ModifyNetworkInterfaceAttribute/Description"
	setConnectionTracking  verb = "ModifyNetworkInterfaceAttribute/ConnectionTracking"
	setENAExpress          verb = "ModifyNetworkInterfaceAttribute/ENAExpress"
	setENAQueues           verb = "ModifyNetworkInterfaceAttribute/ENAQueues"
	setPrimaryIPv6         verb = "ModifyNetworkInterfaceAttribute/PrimaryIPv6"
	assignIPv4             verb = "AssignPrivateIpAddresses"
	assignIPv6             verb = "AssignIpv6Addresses"
	detach                 verb = "DetachNetworkInterface"
	remove                 verb = "DeleteNetworkInterface"
)

// call is one mutating EC2 call with its parameters.
type call struct {
	verb verb
	slot inventory.Slot

	params     eni.CreateParams // create
	eni        string
	attachment string
	place      inventory.Place // attach
	express    eni.ENAExpress  // attach, setENAExpress
	queues     int32           // attach, setENAQueues
	value      bool
	groups     []string
	text       string
	timeouts   eni.ConnectionTracking
	counts     counts // assign
}

// key names what the call is about: two calls of one key never run at once, and
// share their backoff.
func (c call) key() retry.Key {
	action, attribute, _ := strings.Cut(string(c.verb), "/")
	return retry.Key{Action: action, Of: attribute, NodeENI: c.slot.UID, Subnet: c.slot.SubnetID, ENI: c.eni, Index: c.place.DeviceIndex}
}

// view is all that a plan rests on.
type view struct {
	now                                    time.Time
	cluster, node, instanceARN, instanceID string
	// collects: this agent itself detaches and deletes what it has released.
	collects bool
	pods     bool // this agent offers ENIs to pods

	desired desired
	enis    []inventory.ENI // this instance's, by tags
	// synced is false until EC2 has shown this instance's ENIs: before that
	// nothing is created or given up.
	synced  bool
	indexes inventory.Indexes
	intents map[inventory.Slot]intent // decided
	saved   map[inventory.Slot]intent // decided and in the report
	// attaching are the places of the attach calls under way, by ENI.
	attaching map[string]inventory.Place
	// creating are the slots of the create calls under way.
	creating map[inventory.Slot]bool
	failures retry.Failures
	// unconfirmed are the slots from which others have taken an ENI: nothing is
	// attached or created there before the API server confirms that it is wanted.
	unconfirmed map[inventory.Slot]string
}

// plan is what has to happen next.
type plan struct {
	calls    []call
	assigned map[inventory.Slot]string          // the ENI of each want
	places   map[inventory.Slot]inventory.Place // the device index that the ENI of each want has or gets
	release  []string                           // ENIs that are no longer wanted
	decide   []inventory.Slot                   // wants that need an intent before they can be created
	awaited  call                               // the attach that another create has to wait for
	open     inventory.Open                     // what EC2 is asked about soon
	// awaitsRoom are the slots of claims whose ENI waits until another one, which has
	// given way, is detached.
	awaitsRoom map[inventory.Slot]string
}

func newPlan(v view) plan {
	return plan{
		assigned: make(map[inventory.Slot]string, len(v.enis)), places: make(map[inventory.Slot]inventory.Place, len(v.desired.wants)),
		awaitsRoom: map[inventory.Slot]string{},
	}
}

// next compares what is wanted with what is there. It is a pure function: all
// effects are in the executor.
func next(v view) plan {
	p := newPlan(v)
	byID := make(map[string]inventory.ENI, len(v.enis))
	for _, e := range v.enis {
		byID[e.ID] = e
	}
	p.assign(v)
	p.index(v)
	p.awaited = p.unattached(v, byID)
	waiting := p.awaited.eni != ""
	for _, w := range v.desired.wants {
		e, ok := byID[p.assigned[w.Slot]]
		switch {
		case !v.synced || v.desired.unresolved[w.UID]:
			// Nothing is done on a guess.
		case ok:
			calls, counting := callsFor(w, e, v, p.places[w.Slot])
			p.calls = append(p.calls, calls...)
			if counting {
				p.open.Counting = append(p.open.Counting, e.ID)
			}
		case v.unconfirmed[w.Slot] != "":
		case v.intents[w.Slot].createdAt.IsZero():
			p.decide = append(p.decide, w.Slot)
		case !v.saved[w.Slot].is(v.intents[w.Slot]):
			// The report is on its way.
		case v.failures.Blocks(subnetFullKey(w.SubnetID), v.now), v.failures.Blocks(call{verb: create, slot: w.Slot}.key(), v.now):
			// It must not hold up the others.
		case !waiting:
			// One at a time: on an instance that takes no more ENIs at most
			// one is left waiting.
			p.calls = append(p.calls, createCall(w, v))
			waiting = true
		}
	}
	p.awaitRoom(v)
	p.remove(v, byID)
	return p
}

// unattached is the attach of an ENI that others have to wait for, if any. One that EC2
// refuses to attach may be refused for a reason of its own, and does not block others.
// With two it is the instance's reason, or IAM's, and more would only use up addresses.
func (p *plan) unattached(v view, byID map[string]inventory.ENI) call {
	passed := false
	for _, w := range v.desired.wants {
		e, ok := byID[p.assigned[w.Slot]]
		c := attachCall(w, e, p.places[w.Slot])
		switch {
		case !ok, e.Attachment != nil, e.ReportedOnly() && e.Link != inventory.LinkNeverSeen: // that was attached when it was reported
		case !passed && v.failures.Refuses(c.key()):
			passed = true
		default:
			return c
		}
	}
	return call{}
}

// assign gives each want its ENI: the one that is attached before one that is
// not, the older before the younger. What is left over is released.
func (p *plan) assign(v view) {
	candidates := slices.Clone(v.enis)
	slices.SortFunc(candidates, func(a, b inventory.ENI) int {
		return cmp.Or(cmp.Compare(a.Rank(v.instanceID), b.Rank(v.instanceID)), a.Owner.CreatedAt.Compare(b.Owner.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	wanted := v.desired.slots()
	for _, e := range candidates {
		s := e.Slot()
		switch {
		case wanted[s] && p.assigned[s] == "":
			p.assigned[s] = e.ID
		case !wanted[s] && v.desired.mayWant(s.UID):
		case v.synced:
			p.release = append(p.release, e.ID)
		}
	}
	slices.Sort(p.release)
}

// index gives each ENI its device index. An attached one keeps the index that it
// has. Then each want whose index is free gets it, and then the others, in their
// order, get another one of the same card. Wants that have no ENI yet take part: which
// ENI is made first must not matter.
func (p *plan) index(v view) {
	used := p.keepPlaces(v)
	give := func(w want, at inventory.Place) {
		used[at], p.places[w.Slot] = true, at
	}
	var displaced []want
	for _, w := range v.desired.wants {
		_, done := p.places[w.Slot]
		switch {
		case done:
		case used[w.place()], w.deviceIndex > v1alpha1.MaxDeviceIndex:
			displaced = append(displaced, w)
		default:
			give(w, w.place())
		}
	}
	for _, w := range displaced {
		give(w, freePlace(w.place(), used, v.indexes.Max[w.card]))
	}
}

// keepPlaces takes in the places that ENIs have, or will have in a moment. It returns
// all that are in use.
func (p *plan) keepPlaces(v view) map[inventory.Place]bool {
	used := map[inventory.Place]bool{{}: true} // the primary ENI's
	for at := range v.indexes.Holders {
		used[at] = true
	}
	for _, e := range v.enis {
		if e.LinkLeft() {
			continue // EC2 tells if it still has the index
		}
		at, has := v.attaching[e.ID]
		if e.AttachedTo(v.instanceID) {
			at, has = inventory.PlaceOf(e.Attachment), true
		}
		if !has {
			continue
		}
		used[at] = true
		if p.assigned[e.Slot()] == e.ID {
			p.places[e.Slot()] = at
		}
	}
	return used
}

// freePlace has the next free index above one that is in use. When there is none that
// the instance type takes on that card, as far as its most is known, it has the lowest
// free one.
func freePlace(taken inventory.Place, used map[inventory.Place]bool, most int32) inventory.Place {
	top := int32(v1alpha1.MaxDeviceIndex)
	if taken.DeviceIndex < most {
		top = most - 1
	}
	at := taken
	for at.DeviceIndex++; at.DeviceIndex <= top; at.DeviceIndex++ {
		if !used[at] {
			return at
		}
	}
	for at.DeviceIndex = 1; used[at]; at.DeviceIndex++ {
	}
	return at
}

func createCall(w want, v view) call {
	r := v.intents[w.Slot]
	return call{verb: create, slot: w.Slot, params: eni.CreateParams{
		Owner: eni.Owner{
			Cluster: v.cluster, Node: v.node, Instance: v.instanceARN,
			NodeENI: w.nodeENI, NodeENIUID: w.UID, CreatedAt: r.createdAt, Place: w.Place,
		},
		SubnetID: w.SubnetID, Groups: w.groups, Description: w.description, UserTags: w.tags, Replaces: r.replaces,
		SecondaryAddresses: w.ipv4.SecondaryAddresses, IPv4Prefixes: w.ipv4.Prefixes,
		IPv6Addresses: w.ipv6.Addresses, IPv6Prefixes: w.ipv6.Prefixes, PrimaryIPv6: w.ipv6.PrimaryIPv6,
		ConnectionTracking: w.connectionTracking,
	}}
}

func attachCall(w want, e inventory.ENI, at inventory.Place) call {
	return call{verb: attach, slot: w.Slot, eni: e.ID, place: at, express: w.enaExpress, queues: w.enaQueues}
}

// callsFor brings one ENI from what it is to what is wanted. counting says that it lacks
// addresses or prefixes as far as is known, and that describes have to show whether it
// does.
func callsFor(w want, e inventory.ENI, v view, at inventory.Place) (calls []call, counting bool) {
	a := e.Attachment
	switch {
	case e.Uncertain(), e.TakenDown(), a.Detaching():
		return nil, false // EC2 is asked again before anything is done
	case a == nil && v.unconfirmed[w.Slot] != "":
		return nil, false
	case a == nil:
		return []call{attachCall(w, e, at)}, false
	case a.InstanceID != v.instanceID:
		return nil, false // reported; taking it away from another instance is not ours to do
	}
	change := func(c call) {
		c.slot, c.eni, c.attachment = w.Slot, e.ID, a.ID
		calls = append(calls, c)
	}
	if a.DeleteOnTermination != w.deleteOnTermination {
		change(call{verb: setDeleteOnTermination, value: w.deleteOnTermination})
	}
	if e.SourceDestCheck != w.sourceDestCheck {
		change(call{verb: setSourceDestCheck, value: w.sourceDestCheck})
	}
	if !slices.Equal(e.Groups, w.groups) {
		change(call{verb: setGroups, groups: w.groups})
	}
	if e.Description != w.description {
		change(call{verb: setDescription, text: w.description})
	}
	if t := w.connectionTracking.Or(e.ConnectionTracking); t != e.ConnectionTracking {
		change(call{verb: setConnectionTracking, timeouts: t})
	}
	if a.ENAExpress != w.enaExpress {
		change(call{verb: setENAExpress, express: w.enaExpress})
	}
	if w.enaQueues != 0 && a.ENAQueues != w.enaQueues {
		change(call{verb: setENAQueues, queues: w.enaQueues})
	}
	ipv4, ipv6 := w.lacks(e)
	if counting = ipv4.some() || ipv6.some(); counting && !e.CountsFrom.IsZero() {
		return calls, true
	}
	if ipv4.some() {
		change(call{verb: assignIPv4, counts: ipv4})
	}
	if ipv6.some() {
		change(call{verb: assignIPv6, counts: ipv6})
	} else if w.ipv6.PrimaryIPv6 && !e.PrimaryIPv6 {
		change(call{verb: setPrimaryIPv6})
	}
	return calls, false
}

// counts are numbers of addresses and prefixes of one IP family.
type counts struct{ addresses, prefixes int32 }

func (c counts) some() bool { return c.addresses > 0 || c.prefixes > 0 }

// lacks is what the ENI is to get in addition to what it has. What it has beyond that
// stays: pods may hold it.
func (w want) lacks(e inventory.ENI) (ipv4, ipv6 counts) {
	var has4, has6 counts
	of := func(ipv6 bool) *counts {
		if ipv6 {
			return &has6
		}
		return &has4
	}
	addresses, prefixes := e.Has()
	for _, a := range addresses {
		of(a.Is6()).addresses++
	}
	for _, p := range prefixes {
		of(strings.Contains(p, ":")).prefixes++
	}
	lack := func(want, has int32) int32 { return max(want-max(has, 0), 0) }
	// The primary IPv4 address is not among the secondary ones.
	ipv4 = counts{lack(w.ipv4.SecondaryAddresses, has4.addresses-1), lack(w.ipv4.Prefixes, has4.prefixes)}
	ipv6 = counts{lack(ptr.Deref(w.ipv6.Addresses, 0), has6.addresses), lack(w.ipv6.Prefixes, has6.prefixes)}
	return ipv4, ipv6
}
