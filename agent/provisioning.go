package agent

import (
	"maps"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// provisioning times ENIs from wanted to ready, for the metrics. Only those that this
// process has created are timed: how long an ENI that it found has taken is not known.
type provisioning map[inventory.Slot]*provision // of every wanted slot

// provision is that of one ENI. A step that is not known to be over has no time.
type provision struct {
	eni                               string
	wanted, created, attached, linked time.Time
	over                              bool
}

// follow takes in what is selected and wanted, and which ENI is for what.
func (p provisioning) follow(s selection, d desired, assigned map[inventory.Slot]string, now time.Time) {
	wanted := d.slots()
	maps.DeleteFunc(p, func(s inventory.Slot, _ *provision) bool { return !wanted[s] })
	for slot := range wanted {
		if p[slot] == nil {
			p[slot] = &provision{wanted: s.nodeENIs[slot.UID].since}
			if slot.OnDemand() {
				p[slot].wanted = now
			}
		}
		if id := assigned[slot]; id != "" && id != p[slot].eni {
			p[slot].over = true // it was there
		}
	}
}

// again: the slot's ENI is gone, and another one begins.
func (p provisioning) again(s inventory.Slot, now time.Time) { p[s] = &provision{wanted: now} }

func (p provisioning) created(s inventory.Slot, eni string, now time.Time) {
	if v := p[s]; v != nil && !v.over {
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
	for _, v := range p {
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
	if linked.Before(attached) {
		linked = attached
	}
	return map[string]time.Duration{
		"create":    v.created.Sub(v.wanted),
		"attach":    attached.Sub(v.created),
		"link":      linked.Sub(attached),
		"configure": ready.Sub(linked),
	}
}
