package agent

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

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
)

// action is EC2's name of the call.
func (v verb) action() string {
	action, _, _ := strings.Cut(string(v), "/")
	return action
}

// call is one mutating EC2 call with its parameters.
type call struct {
	verb verb
	slot slot

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
	return retry.Key{Action: action, Of: attribute, NodeENI: c.slot.uid, Subnet: c.slot.subnet, ENI: c.eni, Index: c.index}
}

// record is the decision to create an ENI. It is in the node's report before
// EC2 is asked, so that an agent that was killed asks in the same words again.
type record struct {
	nodeENI   string // name, for the report
	createdAt time.Time
	replaces  string // the ENI that was here before and is gone
	// unheard is when EC2 was last asked, or may have been, without an answer
	// that tells whether there is an ENI. It is not part of the decision.
	unheard time.Time
}

// is compares times as times: one may have been through the API server.
func (r record) is(other record) bool {
	return r.createdAt.Equal(other.createdAt) && r.replaces == other.replaces
}

// view is all that a plan rests on.
type view struct {
	cluster, node, instanceARN, instanceID string
	// collects: this agent itself detaches and deletes what it has released.
	collects bool

	desired desired
	enis    []tracked // this instance's, by tags
	// certain is false until EC2 has told of this instance's ENIs: before that
	// nothing is created or given up.
	certain bool
	records map[slot]record // decided
	saved   map[slot]record // decided and in the report
	// taken are device indexes held by ENIs that are not ours, with their ids.
	taken map[int32]string
	// limit is how many ENIs the instance type takes on network card 0, the primary
	// one included; 0 while that is not known.
	limit int
	// attaching are the device indexes of the attach calls under way, by ENI.
	attaching map[string]int32
	// creating are the places of the create calls under way.
	creating map[slot]bool
	// blocked are the keys of what is not to be tried again yet.
	blocked map[retry.Key]bool
	// refused are the keys of what EC2 refuses until people mend it, though the
	// instance takes more ENIs.
	refused map[retry.Key]bool
	// unconfirmed are the places from which others have taken an ENI: nothing is
	// attached or created there before the API server confirms that it is wanted.
	unconfirmed map[slot]string
}

// plan is what shall happen next.
type plan struct {
	calls    []call
	assigned map[slot]string  // the ENI of each want
	indexes  map[string]int32 // the device index that each assigned ENI has or shall have
	release  []string         // ENIs that are no longer wanted
	decide   []slot           // wants that need a record before they can be created
	awaited  string           // the ENI that has to be attached before another is created
}

// slotOf is the place that an assigned ENI is for.
func (p plan) slotOf(id string) slot {
	for s, assigned := range p.assigned {
		if assigned == id {
			return s
		}
	}
	return slot{}
}

// next compares what is wanted with what is there. It is a pure function: all
// effects are in the executor.
func next(v view) plan {
	p := plan{assigned: map[slot]string{}, indexes: map[string]int32{}}
	byID := map[string]tracked{}
	for _, e := range v.enis {
		byID[e.ID] = e
	}
	p.assign(v)
	p.index(v)
	p.awaited = p.unattached(v, byID)
	waiting := p.awaited != ""
	for _, w := range v.desired.wants {
		e, ok := byID[p.assigned[w.slot]]
		switch {
		case !v.certain || v.desired.held[w.uid]:
			// Nothing is done on a guess.
		case ok:
			p.calls = append(p.calls, callsFor(w, e, v, p.indexes[e.ID])...)
		case w.unfit != "":
			// It could not be configured.
		case v.unconfirmed[w.slot] != "":
		case v.records[w.slot].createdAt.IsZero():
			p.decide = append(p.decide, w.slot)
		case !v.saved[w.slot].is(v.records[w.slot]):
			// The report is on its way.
		case v.blocked[fullKey(w.subnet)], v.blocked[call{verb: create, slot: w.slot}.key()]:
			// It must not hold up the others.
		case !waiting:
			// One at a time: on an instance that takes no more ENIs at most
			// one is left waiting.
			p.calls = append(p.calls, createCall(w, v))
			waiting = true
		}
	}
	p.collect(v, byID)
	return p
}

// unattached is an ENI that others have to wait for, or "". One that EC2 refuses to
// attach may be refused for a reason of its own, and holds up nobody. With two it is
// the instance's reason, or IAM's, and more would only use up addresses.
func (p *plan) unattached(v view, byID map[string]tracked) string {
	passed := false
	for _, w := range v.desired.wants {
		e, ok := byID[p.assigned[w.slot]]
		switch {
		case !ok, e.Attachment != nil, e.reported && e.plugged: // that was attached when it was reported
		case !passed && v.refused[call{verb: attach, slot: w.slot, eni: e.ID, index: p.indexes[e.ID]}.key()]:
			passed = true
		default:
			return e.ID
		}
	}
	return ""
}

// assign gives each want its ENI: the one that is attached before one that is
// not, the older before the younger. What is left over is released.
func (p *plan) assign(v view) {
	candidates := slices.Clone(v.enis)
	slices.SortFunc(candidates, func(a, b tracked) int {
		return cmp.Or(cmp.Compare(a.rank(v.instanceID), b.rank(v.instanceID)), a.Owner.CreatedAt.Compare(b.Owner.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	wanted := v.desired.slots()
	for _, e := range candidates {
		s := e.slot()
		switch {
		case wanted[s] && p.assigned[s] == "":
			p.assigned[s] = e.ID
		case !wanted[s] && v.desired.leaves(s.uid):
		case v.certain:
			p.release = append(p.release, e.ID)
		}
	}
	slices.Sort(p.release)
}

// assigned are the ENIs that wants have or would get. A second one for the same
// place is not among them.
func (a *Agent) assigned() map[string]bool {
	p := plan{assigned: map[slot]string{}}
	p.assign(a.view(time.Time{}))
	ids := map[string]bool{}
	for _, id := range p.assigned {
		ids[id] = true
	}
	return ids
}

// index gives each ENI its device index. An attached one keeps the index that it
// has. Then each want whose index is free gets it, and then the others, in their
// order, get another one. Wants that have no ENI yet take part: which ENI is made
// first must not matter.
func (p *plan) index(v view) {
	used := p.keepIndexes(v)
	give := func(w want, index int32) {
		used[index] = true
		if id, ok := p.assigned[w.slot]; ok {
			p.indexes[id] = index
		}
	}
	var displaced []want
	for _, w := range v.desired.wants {
		id, made := p.assigned[w.slot]
		_, done := p.indexes[id]
		switch {
		case done, !made && w.unfit != "": // it has one, or needs none
		case used[w.deviceIndex], w.deviceIndex > v1alpha1.MaxDeviceIndex:
			displaced = append(displaced, w)
		default:
			give(w, w.deviceIndex)
		}
	}
	for _, w := range displaced {
		give(w, v.freeIndex(w.deviceIndex, used))
	}
}

// keepIndexes takes in the indexes that ENIs have, or will have in a moment. It
// returns all that are in use on network card 0.
func (p *plan) keepIndexes(v view) map[int32]bool {
	used := map[int32]bool{0: true}
	for i := range v.taken {
		used[i] = true
	}
	for _, e := range v.enis {
		if e.left {
			continue // EC2 tells if it still has the index
		}
		if a := e.Attachment; a != nil && a.InstanceID == v.instanceID {
			p.indexes[e.ID] = a.DeviceIndex
			used[a.DeviceIndex] = used[a.DeviceIndex] || a.Card == 0
		} else if i, ok := v.attaching[e.ID]; ok {
			p.indexes[e.ID] = i
			used[i] = true
		}
	}
	return used
}

// freeIndex is the next free index above one that is in use. When there is none that
// the instance type takes, as far as that is known, it is the lowest free one.
func (v view) freeIndex(taken int32, used map[int32]bool) int32 {
	top := int32(v1alpha1.MaxDeviceIndex)
	if limit := int32(v.limit); taken < limit {
		top = limit - 1
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
	r := v.records[w.slot]
	return call{verb: create, slot: w.slot, params: eni.CreateParams{
		Owner: eni.Owner{
			Cluster: v.cluster, Node: v.node, Instance: v.instanceARN,
			NodeENI: w.nodeENI, NodeENIUID: types.UID(w.uid), CreatedAt: r.createdAt,
		},
		SubnetID: w.subnet, Groups: w.groups, Description: w.description, UserTags: w.tags, Replaces: r.replaces,
	}}
}

// callsFor brings one ENI from what it is to what is wanted.
func callsFor(w want, e tracked, v view, index int32) []call {
	a := e.Attachment
	switch {
	case e.doubtful() || a.Detaching():
		return nil // EC2 is asked again before anything is done
	case a == nil && v.unconfirmed[w.slot] != "":
		return nil
	case a == nil:
		return []call{{verb: attach, slot: w.slot, eni: e.ID, index: index}}
	case a.InstanceID != v.instanceID:
		return nil // reported; taking it away from another instance is not ours to do
	}
	var calls []call
	if a.DeleteOnTermination != w.deleteOnTermination {
		calls = append(calls, call{verb: setDeleteOnTermination, slot: w.slot, eni: e.ID, attachment: a.ID, value: w.deleteOnTermination})
	}
	if e.SourceDestCheck != w.sourceDestCheck {
		calls = append(calls, call{verb: setSourceDestCheck, slot: w.slot, eni: e.ID, value: w.sourceDestCheck})
	}
	if !slices.Equal(e.Groups, w.groups) {
		calls = append(calls, call{verb: setGroups, slot: w.slot, eni: e.ID, groups: w.groups})
	}
	if e.Description != w.description {
		calls = append(calls, call{verb: setDescription, slot: w.slot, eni: e.ID, text: w.description})
	}
	return calls
}
