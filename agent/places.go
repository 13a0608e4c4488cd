package agent

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
)

// A NodeENI with attach: OnDemand has places on this node, each for one ENI, numbered from 0
// in each subnet. Each place is a device in the node's ResourceSlices. While the device is
// allocated to a claim, and for a while after that, the place wants an ENI.

// maxPlaces is the largest number of places that a NodeENI has in a subnet.
const maxPlaces = 128

// placeUse is what a place is used for.
type placeUse struct {
	claim *v1alpha1.ClaimReference // that has the device; nil when none has
	idle  time.Time                // since when none has; zero if that is too long
}

// places are the places that are in use, or have an ENI.
type places map[inventory.Slot]placeUse

// device is the name of the template's device with that number.
func (w want) device(number int32) string {
	return driver.DeviceName(w.nodeENI, string(w.UID), w.SubnetID, number)
}

// placeOf is the place of a device; false if it belongs to none of the templates.
func placeOf(templates []want, device string) (inventory.Slot, bool) {
	i := strings.LastIndexByte(device, '-')
	number, err := strconv.ParseUint(device[i+1:], 10, 31)
	if err != nil || number >= maxPlaces {
		return inventory.Slot{}, false
	}
	for _, t := range templates {
		if t.device(int32(number)) == device {
			return inventory.Slot{UID: t.UID, SubnetID: t.SubnetID, Place: 1 + int32(number)}, true
		}
	}
	return inventory.Slot{}, false
}

// observed is what the next use of places depends on.
type observed struct {
	templates []want
	claims    []Claim
	known     bool // there are no other claims
	enis      []inventory.ENI
	asked     func(inventory.Slot) bool // EC2 may have been asked for its ENI
	now       time.Time
}

// next is the use of places after a change. A claim keeps its place as long as it may be
// allocated to it. A place without a claim is kept as long as it has, or may have, an ENI.
func (p places) next(o observed) places {
	after := places{}
	for slot, use := range p {
		if use.claim != nil && o.mayHave(slot, use.claim.UID) {
			after[slot] = use
		}
	}
	for _, c := range slices.SortedFunc(slices.Values(o.claims), compareClaims) {
		slot, ok := placeOf(o.templates, c.Device)
		if ok && after[slot].claim == nil {
			after[slot] = placeUse{claim: c.reference()}
		}
	}
	has := map[inventory.Slot]inventory.ENI{}
	for _, e := range o.enis {
		if slot := e.Slot(); slot.OnDemand() {
			has[slot] = e
		}
	}
	for slot, use := range p {
		_, exists := has[slot]
		if _, done := after[slot]; done || !exists && !o.asked(slot) {
			continue
		}
		if use.claim != nil {
			use = placeUse{idle: o.now}
		}
		after[slot] = use
	}
	for slot, e := range has {
		if _, done := after[slot]; done {
			continue
		}
		use := placeUse{idle: o.now} // an agent that has just started does not know more
		if e.TakenDown() || e.Use == inventory.Releasing {
			use.idle = time.Time{}
		}
		after[slot] = use
	}
	return after
}

// mayHave says whether the claim is allocated to that place, as far as is known.
func (o observed) mayHave(slot inventory.Slot, claim types.UID) bool {
	elsewhere := false
	for _, c := range o.claims {
		at, known := placeOf(o.templates, c.Device)
		switch {
		case c.UID != claim:
		case !known || at == slot:
			return true
		default:
			elsewhere = true
		}
	}
	return !o.known && !elsewhere
}

func compareClaims(a, b Claim) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID), cmp.Compare(a.Device, b.Device))
}

func (c Claim) reference() *v1alpha1.ClaimReference {
	return &v1alpha1.ClaimReference{Namespace: c.Namespace, Name: c.Name, UID: c.UID}
}

// demand is what decides which ENIs without a claim are kept.
type demand struct {
	idle  time.Duration   // how long
	room  map[int32]int32 // for ENIs on demand, by network card; nil while it is not known
	known bool            // all claims are
	now   time.Time
}

// wants are the ENIs that places are to have. Those without a claim come last, and go
// first where there is no room for all, the one that has been without for longest before
// the others.
func (p places) wants(d *desired, of demand) (wants []want) {
	var idle []want
	used := map[int32]int32{}
	for _, w := range p.madeOf(d.onDemand) {
		switch {
		case d.unresolved[w.UID]: // its wants are as they were
		case w.claim != nil:
			wants = append(wants, w)
			used[w.card]++
		case !of.known || of.now.Sub(p[w.Slot].idle) < of.idle:
			idle = append(idle, w)
		}
	}
	slices.SortStableFunc(idle, func(a, b want) int { return p[b.Slot].idle.Compare(p[a.Slot].idle) })
	for _, w := range idle {
		if room, known := of.room[w.card]; !of.known || !known || used[w.card] < room {
			wants = append(wants, w)
			used[w.card]++
		}
	}
	return wants
}

// madeOf are wants of all places of the templates, in their order.
func (p places) madeOf(templates []want) (wants []want) {
	for _, t := range templates {
		for number := range int32(maxPlaces) {
			slot := t.Slot
			slot.Place = 1 + number
			if use, ok := p[slot]; ok {
				w := t
				w.Slot, w.claim = slot, use.claim
				wants = append(wants, w)
			}
		}
	}
	return wants
}

// times are when ENIs without a claim are given up.
func (p places) times(idle time.Duration) (times []time.Time) {
	for _, use := range p {
		if use.claim == nil {
			times = append(times, use.idle.Add(idle))
		}
	}
	return times
}

// placesIn is what the last report tells.
func placesIn(r v1alpha1.NodeENIStateStatus, now time.Time) places {
	p := places{}
	for _, entry := range r.ENIs {
		slot := slotIn(entry)
		releasing := entry.Phase == v1alpha1.PhaseReleasing || entry.Phase == v1alpha1.PhaseReleased
		switch {
		case !slot.OnDemand(), releasing && p[slot] != placeUse{}:
		case releasing:
			p[slot] = placeUse{}
		case entry.Claim != nil:
			p[slot] = placeUse{claim: entry.Claim.DeepCopy()}
		default:
			p[slot] = placeUse{idle: now}
		}
	}
	return p
}

// slotIn is the slot that an entry of a report is of.
func slotIn(entry v1alpha1.ENIState) inventory.Slot {
	s := inventory.Slot{UID: entry.NodeENIUID, SubnetID: entry.SubnetID}
	if entry.Place != nil {
		s.Place = 1 + *entry.Place
	}
	return s
}

// numberOf is the number of the place of an ENI on demand.
func numberOf(s inventory.Slot) *int32 {
	if !s.OnDemand() {
		return nil
	}
	return new(s.Place - 1)
}
