package agent

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
)

// text is a plan in a few words.
func (p plan) text() string {
	var parts []string
	for _, c := range p.calls {
		var part string
		switch c.verb {
		case create:
			part = "create " + string(c.slot.UID)
		case attach:
			part = fmt.Sprintf("attach %s at %d", c.eni, c.place.DeviceIndex)
			if c.place.Card > 0 {
				part += fmt.Sprintf(" of card %d", c.place.Card)
			}
		case detach, remove:
			part = string(c.verb) + " " + c.eni
		default:
			_, attribute, _ := strings.Cut(string(c.verb), "/")
			part = "set " + attribute + " of " + c.eni
		}
		parts = append(parts, part)
	}
	for _, s := range p.decide {
		parts = append(parts, "decide "+string(s.UID))
	}
	for _, id := range p.release {
		parts = append(parts, "release "+id)
	}
	return strings.Join(parts, "; ")
}

func TestPlan(t *testing.T) {
	decided := func(uids ...string) map[inventory.Slot]intent {
		m := map[inventory.Slot]intent{}
		for _, uid := range uids {
			m[inventory.Slot{UID: types.UID(uid), SubnetID: subnetA}] = intent{createdAt: time.Unix(7, 0)}
		}
		return m
	}
	x, y := wantFor("x", subnetA, 2), wantFor("y", subnetA, 2)
	z, inOther := wantFor("z", subnetA, 4), wantFor("y", subnetA2, 3)
	ex, ey := eniFor("eni-x", "x", subnetA), eniFor("eni-y", "y", subnetA)
	attachX, attachY := call{verb: attach, slot: x.Slot, eni: "eni-x", place: inventory.Place{DeviceIndex: 2}}, call{verb: attach, slot: y.Slot, eni: "eni-y", place: inventory.Place{DeviceIndex: 3}}
	refused := func(calls ...call) (f retry.Failures) {
		for _, c := range calls {
			f.Failed(c.key(), ec2Error("UnauthorizedOperation", ""), time.Unix(10, 0))
		}
		return f
	}
	for _, test := range []struct {
		name string
		view view
		want string
	}{
		{"before EC2 has told, nothing", view{desired: desired{wants: []want{x}}, intents: decided("x"), saved: decided("x")}, ""},
		{"first the decision", view{synced: true, desired: desired{wants: []want{x}}}, "decide x"},
		{"not before the decision is saved", view{synced: true, desired: desired{wants: []want{x}}, intents: decided("x")}, ""},
		{"then create", view{synced: true, desired: desired{wants: []want{x}}, intents: decided("x"), saved: decided("x")}, "create x"},
		{"one at a time", view{synced: true, desired: desired{wants: []want{x, y}}, intents: decided("x", "y"), saved: decided("x", "y")}, "create x"},
		{"a create that has failed holds up no other", view{synced: true, desired: desired{wants: []want{x, y}}, intents: decided("x", "y"), saved: decided("x", "y"),
			failures: *failedWith(call{verb: create, slot: x.Slot}.key(), ec2Error("InternalError", ""))}, "create y"},
		{"nor does a subnet that is full", view{synced: true, desired: desired{wants: []want{x, inOther}},
			intents:  map[inventory.Slot]intent{x.Slot: {createdAt: time.Unix(7, 0)}, inOther.Slot: {createdAt: time.Unix(7, 0)}},
			saved:    map[inventory.Slot]intent{x.Slot: {createdAt: time.Unix(7, 0)}, inOther.Slot: {createdAt: time.Unix(7, 0)}},
			failures: *failedWith(subnetFullKey(subnetA), ec2Error("InsufficientFreeAddressesInSubnet", ""))}, "create y"},
		{"none while one waits for its attach", view{synced: true, desired: desired{wants: []want{x, y}}, enis: enis(ex), intents: decided("y"), saved: decided("y")}, "attach eni-x at 2"},
		{"an attach that EC2 refuses holds up no other", view{synced: true, desired: desired{wants: []want{x, y}}, enis: enis(ex), intents: decided("y"), saved: decided("y"),
			failures: refused(attachX)}, "attach eni-x at 2; create y"},
		{"but then the other is waited for", view{synced: true, desired: desired{wants: []want{x, y, z}}, enis: enis(ex, ey), intents: decided("z"), saved: decided("z"),
			failures: refused(attachX)}, "attach eni-x at 2; attach eni-y at 3"},
		{"two refused attaches are no accident", view{synced: true, desired: desired{wants: []want{x, y, z}}, enis: enis(ex, ey), intents: decided("z"), saved: decided("z"),
			failures: refused(attachX, attachY)}, "attach eni-x at 2; attach eni-y at 3"},
		{"one that was attached when it was reported, and that EC2 does not show, holds up no other", view{synced: true, desired: desired{wants: []want{x, y}}, intents: decided("x", "y"), saved: decided("x", "y"),
			enis: enis(ex.with(func(e *inventory.ENI) { e.Evidence, e.Link = inventory.Reported, inventory.LinkSeen }))}, "create y"},
		{"one that was to be attached does", view{synced: true, desired: desired{wants: []want{x, y}}, intents: decided("x", "y"), saved: decided("x", "y"),
			enis: enis(ex.with(func(e *inventory.ENI) { e.Evidence = inventory.Reported }))}, ""},
		{"what was in use when it was reported is preferred to what only seems to be there", view{synced: true, desired: desired{wants: []want{x}}, intents: decided("x"), saved: decided("x"),
			enis: enis(ex, eniFor("eni-x2", "x", subnetA).with(func(e *inventory.ENI) {
				e.Evidence, e.Link, e.Owner.CreatedAt = inventory.Reported, inventory.LinkSeen, ex.Owner.CreatedAt.Add(time.Hour)
			}))}, "release eni-x"},
		{"but not to what is attached", view{synced: true, desired: desired{wants: []want{x}}, intents: decided("x"), saved: decided("x"),
			enis: enis(ex.at(me, 2, "attached"), eniFor("eni-x2", "x", subnetA).with(func(e *inventory.ENI) {
				e.Evidence, e.Link, e.Owner.CreatedAt = inventory.Reported, inventory.LinkSeen, ex.Owner.CreatedAt.Add(-time.Hour)
			}))}, "release eni-x2"},
		{"refused at another index", view{synced: true, desired: desired{wants: []want{x, y}}, enis: enis(ex), intents: decided("y"), saved: decided("y"), indexes: inventory.Indexes{Holders: map[inventory.Place]string{{DeviceIndex: 2}: "eni-cni"}},
			failures: refused(attachX)}, "attach eni-x at 3"},
		{"attach several that exist", view{synced: true, desired: desired{wants: []want{x, y}}, enis: enis(ex, ey)}, "attach eni-x at 2; attach eni-y at 3"},
		{"all well", view{synced: true, desired: desired{wants: []want{x}}, enis: enis(ex.at(me, 2, "attached"))}, ""},
		{"attached elsewhere than wanted stays", view{synced: true, desired: desired{wants: []want{x}}, enis: enis(ex.at(me, 5, "attached"))}, ""},
		{"the index of one that leaves is free", view{synced: true, desired: desired{wants: []want{x}}, enis: enis(ex, ey.at(me, 2, "attached").with(func(e *inventory.ENI) {
			e.Use = inventory.Left
		}))}, "attach eni-x at 2; release eni-y"},
		{"that of one that is only released is not", view{synced: true, desired: desired{wants: []want{x}}, enis: enis(ex, ey.at(me, 2, "attached").with(func(e *inventory.ENI) {
			e.Use = inventory.Released
		}))}, "attach eni-x at 3; release eni-y"},
		{"taken by a stranger: the next free one", view{synced: true, desired: desired{wants: []want{x}}, enis: enis(ex), indexes: inventory.Indexes{Holders: map[inventory.Place]string{{DeviceIndex: 2}: "eni-cni", {DeviceIndex: 3}: "eni-cni2"}}}, "attach eni-x at 4"},
		{"who finds its index free gets it before the displaced", view{synced: true, desired: desired{wants: []want{x, y, wantFor("z", subnetA, 3)}},
			enis: enis(ex, ey, eniFor("eni-z", "z", subnetA))}, "attach eni-x at 2; attach eni-y at 4; attach eni-z at 3"},
		{"an index that another wants is not taken, though that other is not made yet", view{synced: true, desired: desired{wants: []want{x, wantFor("y", subnetA, 3)}}, enis: enis(ex),
			indexes: inventory.Indexes{Holders: map[inventory.Place]string{{DeviceIndex: 2}: "eni-cni"}}, intents: decided("y"), saved: decided("y")}, "attach eni-x at 4"},
		{"no higher one is within the limit: the lowest free one", view{synced: true, desired: desired{wants: []want{x}}, enis: enis(ex),
			indexes: inventory.Indexes{Max: map[int32]int32{0: 4}, Holders: map[inventory.Place]string{{DeviceIndex: 2}: "eni-cni", {DeviceIndex: 3}: "eni-cni2"}}}, "attach eni-x at 1"},
		{"none at all is within the limit", view{synced: true, desired: desired{wants: []want{x}}, enis: enis(ex),
			indexes: inventory.Indexes{Max: map[int32]int32{0: 3}, Holders: map[inventory.Place]string{{DeviceIndex: 1}: "eni-cni", {DeviceIndex: 2}: "eni-cni2"}}}, "attach eni-x at 3"},
		{"the wanted one is above the limit", view{synced: true, indexes: inventory.Indexes{Max: map[int32]int32{0: 2}}, desired: desired{wants: []want{x}}, enis: enis(ex)}, "attach eni-x at 2"},
		{"no index is above the highest", view{synced: true, desired: desired{wants: []want{wantFor("x", subnetA, 32)}}, enis: enis(ex)}, "attach eni-x at 1"},
		{"another card has indexes of its own", view{synced: true, desired: desired{wants: []want{x, y}}, enis: enis(ex, ey.at(me, 2, "attached").with(func(e *inventory.ENI) {
			e.Attachment.Card, e.Attachment.DeleteOnTermination = 1, true
		}))}, "attach eni-x at 2"},
		{"also when both are to be attached", view{synced: true, desired: desired{wants: []want{x, y.on(1), z.on(1)}}, enis: enis(ex, ey, eniFor("eni-z", "z", subnetA)),
			indexes: inventory.Indexes{Holders: map[inventory.Place]string{{DeviceIndex: 4}: "eni-cni"}}}, "attach eni-x at 2; attach eni-y at 2 of card 1; attach eni-z at 4 of card 1"},
		{"and is full on its own", view{synced: true, desired: desired{wants: []want{x, y.on(1)}}, enis: enis(ex, ey),
			indexes: inventory.Indexes{Max: map[int32]int32{0: 3, 1: 4}, Holders: map[inventory.Place]string{{DeviceIndex: 2}: "eni-cni", {Card: 1, DeviceIndex: 2}: "eni-cni2"}}},
			"attach eni-x at 1; attach eni-y at 3 of card 1"},
		{"an attach under way keeps its index", view{synced: true, desired: desired{wants: []want{y, x}}, enis: enis(ex, ey), attaching: map[string]inventory.Place{"eni-x": {DeviceIndex: 2}}}, "attach eni-y at 3; attach eni-x at 2"},
		{"being detached: wait", view{synced: true, desired: desired{wants: []want{x}}, enis: enis(ex.at(me, 2, "detaching"))}, ""},
		{"attached to another instance: not ours to take", view{synced: true, desired: desired{wants: []want{x}}, enis: enis(ex.at(other, 2, "attached"))}, ""},
		{"not shown once: doubt, no second ENI", view{synced: true, desired: desired{wants: []want{x}}, enis: enis(ex.with(func(e *inventory.ENI) { e.Evidence = inventory.Missed }))}, ""},
		{"attributes", view{synced: true, desired: desired{wants: []want{x}}, enis: enis(ex.at(me, 2, "attached").with(func(e *inventory.ENI) {
			e.Attachment.DeleteOnTermination, e.SourceDestCheck, e.Groups, e.Description = false, false, []string{groupY}, "old"
		}))}, "set DeleteOnTermination of eni-x; set SourceDestCheck of eni-x; set Groups of eni-x; set Description of eni-x"},
		{"no longer wanted", view{synced: true, enis: enis(ex.at(me, 2, "attached"))}, "release eni-x"},
		{"not known whether wanted: left alone", view{synced: true, desired: desired{unresolved: map[types.UID]bool{"x": true}}, enis: enis(ex.at(me, 2, "attached"))}, ""},
		{"not known whether wanted beside another: left alone", view{synced: true, desired: desired{wants: []want{x}, partlyResolved: map[types.UID]bool{"x": true}},
			enis: enis(ex, eniFor("eni-x2", "x", subnetA2).at(me, 3, "attached"))}, "attach eni-x at 2"},
		{"two for one place: the attached stays", view{synced: true, desired: desired{wants: []want{x}}, enis: enis(eniFor("eni-0", "x", subnetA), ex.at(me, 2, "attached"))}, "release eni-0"},
		{"two for one place, none attached: the older stays", view{synced: true, desired: desired{wants: []want{x}}, enis: enis(
			eniFor("eni-0", "x", subnetA).with(func(e *inventory.ENI) { e.Owner.CreatedAt = time.Unix(200, 0) }), ex)}, "attach eni-x at 2; release eni-0"},
		{"a subnet that is no longer listed", view{synced: true, desired: desired{wants: []want{x}}, enis: enis(ex.at(me, 2, "attached"), eniFor("eni-old", "x", subnetA2).at(me, 3, "attached"))}, "release eni-old"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.view.instanceID = me
			if got := next(test.view).text(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// Whatever the situation: no two ENIs get one device index, none gets 0 or one
// that is taken, an attached ENI is never attached again, at most one ENI is
// created, and what is assigned is not released.
func TestPlanProperties(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 0))
		v := randomView(r)
		p := next(v)
		if problem := violated(v, p); problem != "" {
			t.Fatalf("seed %d: %s\nplan: %s\nplaces: %v", seed, problem, p.text(), p.places)
		}
		again := next(v)
		if again.text() != p.text() {
			t.Fatalf("seed %d: the plan depends on chance:\n%s\n%s", seed, p.text(), again.text())
		}
	}
}

func randomView(r *rand.Rand) view {
	v := view{synced: r.IntN(10) > 0, instanceID: me, intents: map[inventory.Slot]intent{}, saved: map[inventory.Slot]intent{}, indexes: inventory.Indexes{Holders: map[inventory.Place]string{}}, attaching: map[string]inventory.Place{}}
	used := map[inventory.Place]bool{}
	for range r.IntN(3) {
		at := inventory.Place{Card: r.Int32N(2), DeviceIndex: 1 + r.Int32N(5)}
		v.indexes.Holders[at], used[at] = "eni-foreign", true
	}
	for i, uid := range []string{"a", "b", "c", "d", "e"} {
		w := wantFor(uid, subnetA, 1+r.Int32N(4)).on(r.Int32N(2))
		if r.IntN(4) > 0 {
			v.desired.wants = append(v.desired.wants, w)
		}
		if r.IntN(2) == 0 {
			v.intents[w.Slot] = intent{createdAt: time.Unix(int64(i), 0)}
			if r.IntN(2) == 0 {
				v.saved[w.Slot] = v.intents[w.Slot]
			}
		}
		for n := range r.IntN(3) {
			e := eniFor(fmt.Sprintf("eni-%s%d", uid, n), uid, subnetA)
			at := inventory.Place{Card: w.card, DeviceIndex: 1 + r.Int32N(8)}
			for used[at] {
				at.DeviceIndex++
			}
			switch r.IntN(4) {
			case 0:
				e = e.atPlace(me, at, "attached")
				used[at] = true
			case 1:
				e = e.atPlace(me, at, "detaching")
				used[at] = true
			case 2:
				v.attaching[e.ID] = at
				used[at] = true
			}
			v.enis = append(v.enis, e.ENI)
		}
	}
	return v
}

func violated(v view, p plan) string {
	byPlace := map[inventory.Place]string{}
	for _, e := range v.enis {
		at, ok := p.places[e.Slot()]
		if p.assigned[e.Slot()] != e.ID {
			if ok = e.AttachedTo(v.instanceID) && !e.LinkLeft(); ok {
				at = inventory.PlaceOf(e.Attachment)
			}
		}
		if !ok {
			continue
		}
		if holder, taken := v.indexes.Holders[at]; at.DeviceIndex == 0 || taken && e.Attachment == nil {
			return fmt.Sprintf("%s gets %v of %s", e.ID, at, holder)
		}
		if byPlace[at] != "" {
			return fmt.Sprintf("%s and %s share %v", byPlace[at], e.ID, at)
		}
		byPlace[at] = e.ID
	}
	for _, w := range v.desired.wants {
		if e := byPlace[p.places[w.Slot]]; p.places[w.Slot].Card != w.card && e == "" {
			return fmt.Sprintf("%v gets %v, and card %d is wanted", w.Slot, p.places[w.Slot], w.card)
		}
	}
	creates := 0
	for _, c := range p.calls {
		if c.verb == create {
			creates++
		}
		if slices.Contains(p.release, c.eni) && c.verb != detach && c.verb != remove {
			return c.eni + " is released and changed"
		}
		for _, e := range v.enis {
			if e.ID == c.eni && c.verb == attach && e.Attachment != nil {
				return e.ID + " is attached twice"
			}
		}
	}
	if creates > 1 {
		return "more than one ENI is created at once"
	}
	waiting := 0
	for _, e := range v.enis {
		if p.assigned[e.Slot()] == e.ID && e.Attachment == nil {
			waiting++
		}
	}
	if creates > 0 && waiting > 1 {
		return fmt.Sprintf("an ENI is created while %d wait to be attached", waiting)
	}
	if !v.synced && len(p.calls)+len(p.release)+len(p.decide) > 0 {
		return "acts before EC2 has told"
	}
	for _, id := range p.assigned {
		if slices.Contains(p.release, id) {
			return id + " is assigned and released"
		}
	}
	return ""
}
