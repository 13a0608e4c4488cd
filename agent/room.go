package agent

import (
	"slices"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
)

// room is how many more ENIs each network card takes. A card whose limit is not known is
// not in it.
type room map[int32]int32

func (r room) take(card int32) {
	if _, known := r[card]; known {
		r[card]--
	}
}

// ownRoom is how many ENIs of ours each network card takes: the limit of the instance type,
// less the primary ENI and those of others.
func (v view) ownRoom() room {
	r := room{}
	for card, most := range v.indexes.Max {
		if most > 0 {
			r[card] = most
		}
	}
	r.take(0) // the primary ENI
	for at := range v.indexes.Holders {
		r.take(at.Card)
	}
	return r
}

// roomOnDemand is how many ENIs on demand each network card takes: what is left by the ENIs
// of NodeENIs with attach: Always, and by released ones that are still attached.
func (v view) roomOnDemand(released []string) room {
	r := v.ownRoom()
	for _, w := range v.desired.wants {
		if !w.OnDemand() {
			r.take(w.card)
		}
	}
	for _, e := range v.enis {
		if v.leaving(e, released) {
			r.take(e.Attachment.Card)
		}
	}
	return r
}

// leaving says whether the ENI is released, and still attached to the instance.
func (v view) leaving(e inventory.ENI, released []string) bool {
	return e.AttachedTo(v.instanceID) && slices.Contains(released, e.ID)
}

// awaitRoom takes the attach of a claim's ENI out of the plan when EC2 would refuse it: the
// network card is full until another ENI of ours, which has given way, is detached. Once
// that one's link has left, EC2 is asked whether it is.
func (p *plan) awaitRoom(v view) {
	r := v.ownRoom()
	for _, e := range v.enis {
		if at, attaching := v.attaching[e.ID]; attaching {
			r.take(at.Card)
		} else if e.AttachedTo(v.instanceID) {
			r.take(e.Attachment.Card)
		}
	}
	p.calls = slices.DeleteFunc(p.calls, func(c call) bool {
		_, attaching := v.attaching[c.eni]
		if c.verb != attach || attaching {
			return false
		}
		if left, known := r[c.place.Card]; !known || left > 0 || !c.slot.OnDemand() {
			r.take(c.place.Card)
			return false
		}
		for _, e := range v.enis {
			if !v.leaving(e, p.release) || e.Attachment.Card != c.place.Card {
				continue
			}
			if p.awaitsRoom[c.slot] = e.ID; e.LinkLeft() {
				p.open.Detaching = e.ID
				break
			}
		}
		return p.awaitsRoom[c.slot] != ""
	})
}
