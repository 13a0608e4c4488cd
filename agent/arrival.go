package agent

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// arrivals time ENIs on their way from wanted to ready, for the metrics. Only
// those that this process has created are timed: nobody knows how long an ENI
// that it found has taken.
type arrivals struct {
	asked map[types.UID]asking
	of    map[slot]*arrival // of every wanted slot
}

// asking is since when a NodeENI, as it is now, has selected this node.
type asking struct {
	generation int64
	since      time.Time
}

// arrival is one ENI's way. A step that is not known to be over has no time.
type arrival struct {
	eni                               string
	wanted, created, attached, linked time.Time
	over                              bool
}

func newArrivals() arrivals {
	return arrivals{asked: map[types.UID]asking{}, of: map[slot]*arrival{}}
}

// ask takes in the NodeENIs that select this node, with their generation.
func (a arrivals) ask(selecting map[types.UID]bool, generations map[types.UID]int64, now time.Time) {
	for uid, selects := range selecting {
		switch {
		case !selects:
			delete(a.asked, uid)
		case a.asked[uid].generation != generations[uid]:
			a.asked[uid] = asking{generations[uid], now}
		}
	}
	for uid := range a.asked {
		if !selecting[uid] {
			delete(a.asked, uid)
		}
	}
}

// follow takes in what is wanted, and, unless it is nil, which ENI is for what.
func (a arrivals) follow(wants []want, assigned map[slot]string, now time.Time) {
	wanted := map[slot]bool{}
	for _, w := range wants {
		wanted[w.slot] = true
		if a.of[w.slot] == nil {
			since := now
			if asked, ok := a.asked[w.uid]; ok {
				since = asked.since
			}
			a.of[w.slot] = &arrival{wanted: since}
		}
		if id := assigned[w.slot]; id != "" && id != a.of[w.slot].eni {
			a.of[w.slot].over = true // it was there
		}
	}
	for s := range a.of {
		if !wanted[s] {
			delete(a.of, s)
		}
	}
}

// again: the slot's ENI is gone, and another one begins its way.
func (a arrivals) again(s slot, now time.Time) { a.of[s] = &arrival{wanted: now} }

func (a arrivals) created(s slot, eni string, now time.Time) {
	if v := a.of[s]; v != nil && !v.over {
		v.eni, v.created = eni, now
	}
}

func (a arrivals) attached(eni string, now time.Time) {
	if v := a.find(eni); v != nil && v.attached.IsZero() {
		v.attached = now
	}
}

func (a arrivals) linked(eni string, now time.Time) {
	if v := a.find(eni); v != nil && v.linked.IsZero() {
		v.linked = now
	}
}

// ready ends the ways of the ENIs that are reported to be ready.
func (a arrivals) ready(entries []v1alpha1.ENIState, arrived func(arrival)) {
	for _, e := range entries {
		if v := a.find(e.ENIID); v != nil && e.Phase == v1alpha1.PhaseReady {
			v.over = true
			arrived(*v)
		}
	}
}

// find is the way of an ENI that is still on it.
func (a arrivals) find(eni string) *arrival {
	for _, v := range a.of {
		if v.eni == eni && eni != "" && !v.over {
			return v
		}
	}
	return nil
}

// steps are the parts of the way, which add up to all of it. The link may have
// come before EC2's answer to the attach, or that answer was lost.
func (v arrival) steps(ready time.Time) map[string]time.Duration {
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
