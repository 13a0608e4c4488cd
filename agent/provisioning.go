package agent

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// provisioning times ENIs from wanted to ready, for the metrics. Only those that this
// process has created are timed: nobody knows how long an ENI that it found has taken.
type provisioning struct {
	selected map[types.UID]selectedSince
	bySlot   map[inventory.Slot]*provision // of every wanted slot
}

// selectedSince is since when a NodeENI, as it is now, has selected this node.
type selectedSince struct {
	generation int64
	at         time.Time
}

// provision is that of one ENI. A step that is not known to be over has no time.
type provision struct {
	eni                               string
	wanted, created, attached, linked time.Time
	over                              bool
}

func newProvisioning() provisioning {
	return provisioning{selected: map[types.UID]selectedSince{}, bySlot: map[inventory.Slot]*provision{}}
}

// follow takes in what is selected and wanted, and which ENI is for what.
func (p provisioning) follow(s selection, wants []want, assigned map[inventory.Slot]string, now time.Time) {
	p.selectedBy(s, now)
	wanted := map[inventory.Slot]bool{}
	for _, w := range wants {
		wanted[w.Slot] = true
		if p.bySlot[w.Slot] == nil {
			since := now
			if selected, ok := p.selected[w.UID]; ok {
				since = selected.at
			}
			p.bySlot[w.Slot] = &provision{wanted: since}
		}
		if id := assigned[w.Slot]; id != "" && id != p.bySlot[w.Slot].eni {
			p.bySlot[w.Slot].over = true // it was there
		}
	}
	for s := range p.bySlot {
		if !wanted[s] {
			delete(p.bySlot, s)
		}
	}
}

func (p provisioning) selectedBy(s selection, now time.Time) {
	for uid, generation := range s.generations {
		if s.selecting[uid] && p.selected[uid].generation != generation {
			p.selected[uid] = selectedSince{generation, now}
		}
	}
	for uid := range p.selected {
		if !s.selecting[uid] {
			delete(p.selected, uid)
		}
	}
}

// again: the slot's ENI is gone, and another one begins.
func (p provisioning) again(s inventory.Slot, now time.Time) { p.bySlot[s] = &provision{wanted: now} }

func (p provisioning) created(s inventory.Slot, eni string, now time.Time) {
	if v := p.bySlot[s]; v != nil && !v.over {
		v.eni, v.created = eni, now
	}
}

func (p provisioning) attached(eni string, now time.Time) {
	if v := p.find(eni); v != nil && v.attached.IsZero() {
		v.attached = now
	}
}

func (p provisioning) linked(eni string, now time.Time) {
	if v := p.find(eni); v != nil && v.linked.IsZero() {
		v.linked = now
	}
}

// ready ends it for the ENIs that are reported to be ready.
func (p provisioning) ready(entries []v1alpha1.ENIState, done func(provision)) {
	for _, e := range entries {
		if v := p.find(e.ENIID); v != nil && e.Phase == v1alpha1.PhaseReady {
			v.over = true
			done(*v)
		}
	}
}

// find is that of an ENI that is not ready yet.
func (p provisioning) find(eni string) *provision {
	for _, v := range p.bySlot {
		if v.eni == eni && eni != "" && !v.over {
			return v
		}
	}
	return nil
}

// steps are the parts of the time, which add up to all of it. The link may have
// come before EC2's answer to the attach, or that answer was lost.
func (v provision) steps(ready time.Time) map[string]time.Duration {
	attached, linked := v.attached, v.linked
	if linked.IsZero() {
		linked = ready
	}
	if attached.IsZero() {
		attached = linked
	}
	linked = maxTime(attached, linked)
	return map[string]time.Duration{
		"create":    v.created.Sub(v.wanted),
		"attach":    attached.Sub(v.created),
		"link":      linked.Sub(attached),
		"configure": ready.Sub(linked),
	}
}
