package agent

import (
	"cmp"
	"slices"
	"strings"
	"time"

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
	index      int32 // attach
	value      bool
	groups     []string
	text       string
}

// key names what the call is about: two calls of one key never run at once, and
// share their backoff.
func (c call) key() retry.Key {
	action, attribute, _ := strings.Cut(string(c.verb), "/")
	return retry.Key{Action: action, Of: attribute, NodeENI: c.slot.UID, Subnet: c.slot.SubnetID, ENI: c.eni, Index: c.index}
}

// view is all that a plan rests on.
type view struct {
	now                                    time.Time
	cluster, node, instanceARN, instanceID string
	// collects: this agent itself detaches and deletes what it has released.
	collects bool

	desired desired
	enis    []inventory.ENI // this instance's, by tags
	// synced is false until EC2 has shown this instance's ENIs: before that
	// nothing is created or given up.
	synced  bool
	indexes inventory.Indexes
	intents map[inventory.Slot]intent // decided
	saved   map[inventory.Slot]intent // decided and in the report
	// attaching are the device indexes of the attach calls under way, by ENI.
	attaching map[string]int32
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
	assigned map[inventory.Slot]string // the ENI of each want
	indexes  map[inventory.Slot]int32  // the device index that the ENI of each want has or gets
	release  []string                  // ENIs that are no longer wanted
	decide   []inventory.Slot          // wants that need an intent before they can be created
	awaited  call                      // the attach that another create has to wait for
	open     inventory.Open            // what EC2 is asked about soon
}

// next compares what is wanted with what is there. It is a pure function: all
// effects are in the executor.
func next(v view) plan {
	p := plan{assigned: make(map[inventory.Slot]string, len(v.enis)), indexes: make(map[inventory.Slot]int32, len(v.desired.wants))}
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
			p.calls = append(p.calls, callsFor(w, e, v, p.indexes[w.Slot])...)
		case w.unsupported != "":
			// It could not be configured.
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
		c := call{verb: attach, slot: w.Slot, eni: e.ID, index: p.indexes[w.Slot]}
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
// order, get another one. Wants that have no ENI yet take part: which ENI is made
// first must not matter.
func (p *plan) index(v view) {
	used := p.keepIndexes(v)
	give := func(w want, index int32) {
		used[index], p.indexes[w.Slot] = true, index
	}
	var displaced []want
	for _, w := range v.desired.wants {
		_, made := p.assigned[w.Slot]
		_, done := p.indexes[w.Slot]
		switch {
		case done, !made && w.unsupported != "": // it has one, or needs none
		case used[w.deviceIndex], w.deviceIndex > v1alpha1.MaxDeviceIndex:
			displaced = append(displaced, w)
		default:
			give(w, w.deviceIndex)
		}
	}
	for _, w := range displaced {
		give(w, freeIndex(w.deviceIndex, used, v.indexes.Max))
	}
}

// keepIndexes takes in the indexes that ENIs have, or will have in a moment. It
// returns all that are in use on network card 0.
func (p *plan) keepIndexes(v view) map[int32]bool {
	used := map[int32]bool{0: true}
	for i := range v.indexes.Holders {
		used[i] = true
	}
	for _, e := range v.enis {
		if e.LinkLeft() {
			continue // EC2 tells if it still has the index
		}
		index, has := v.attaching[e.ID]
		onCard0 := has
		if e.AttachedTo(v.instanceID) {
			index, has, onCard0 = e.Attachment.DeviceIndex, true, e.Attachment.Card == 0
		}
		used[index] = used[index] || onCard0
		if has && p.assigned[e.Slot()] == e.ID {
			p.indexes[e.Slot()] = index
		}
	}
	return used
}

// freeIndex is the next free index above one that is in use. When there is none that
// the instance type takes, as far as its most is known, it is the lowest free one.
func freeIndex(taken int32, used map[int32]bool, most int) int32 {
	top := int32(v1alpha1.MaxDeviceIndex)
	if taken < int32(most) {
		top = int32(most) - 1
	}
	for i := taken + 1; i <= top; i++ {
		if !used[i] {
			return i
		}
	}
	i := int32(1)
	for used[i] {
		i++
	}
	return i
}

func createCall(w want, v view) call {
	r := v.intents[w.Slot]
	return call{verb: create, slot: w.Slot, params: eni.CreateParams{
		Owner: eni.Owner{
			Cluster: v.cluster, Node: v.node, Instance: v.instanceARN,
			NodeENI: w.nodeENI, NodeENIUID: w.UID, CreatedAt: r.createdAt,
		},
		SubnetID: w.SubnetID, Groups: w.groups, Description: w.description, UserTags: w.tags, Replaces: r.replaces,
	}}
}

// callsFor brings one ENI from what it is to what is wanted.
func callsFor(w want, e inventory.ENI, v view, index int32) []call {
	a := e.Attachment
	switch {
	case e.Uncertain(), e.TakenDown(), a.Detaching():
		return nil // EC2 is asked again before anything is done
	case a == nil && v.unconfirmed[w.Slot] != "":
		return nil
	case a == nil:
		return []call{{verb: attach, slot: w.Slot, eni: e.ID, index: index}}
	case a.InstanceID != v.instanceID:
		return nil // reported; taking it away from another instance is not ours to do
	}
	var calls []call
	if a.DeleteOnTermination != w.deleteOnTermination {
		calls = append(calls, call{verb: setDeleteOnTermination, slot: w.Slot, eni: e.ID, attachment: a.ID, value: w.deleteOnTermination})
	}
	if e.SourceDestCheck != w.sourceDestCheck {
		calls = append(calls, call{verb: setSourceDestCheck, slot: w.Slot, eni: e.ID, value: w.sourceDestCheck})
	}
	if !slices.Equal(e.Groups, w.groups) {
		calls = append(calls, call{verb: setGroups, slot: w.Slot, eni: e.ID, groups: w.groups})
	}
	if e.Description != w.description {
		calls = append(calls, call{verb: setDescription, slot: w.Slot, eni: e.ID, text: w.description})
	}
	return calls
}
