package agent

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

const me, other = "i-0123456789abcdef0", "i-0fedcba9876543210"

func wantFor(uid, subnet string, index int32) want {
	return want{
		slot: slot{types.UID(uid), subnet}, nodeENI: uid, groups: []string{groupX}, deviceIndex: index,
		deleteOnTermination: true, sourceDestCheck: true, description: "d",
	}
}

// eniFor is an ENI as a plan wants it, unattached.
func eniFor(id, uid, subnet string) tracked {
	return tracked{listed: true, ENI: eni.ENI{
		ID: id, SubnetID: subnet, Groups: []string{groupX}, Description: "d", SourceDestCheck: true,
		Owner: eni.Owner{NodeENIUID: types.UID(uid), NodeENI: uid, CreatedAt: time.Unix(100, 0)},
	}}
}

func (t tracked) at(instance string, index int32, status string) tracked {
	t.Attachment = &eni.Attachment{ID: "eni-attach-" + t.ID, InstanceID: instance, DeviceIndex: index, Status: status, DeleteOnTermination: true}
	return t
}

func (t tracked) with(f func(*tracked)) tracked {
	f(&t)
	return t
}

// text is a plan in a few words.
func (p plan) text() string {
	var parts []string
	for _, c := range p.calls {
		var part string
		switch c.verb {
		case create:
			part = "create " + string(c.slot.uid)
		case attach:
			part = fmt.Sprintf("attach %s at %d", c.eni, c.index)
		case detach, remove:
			part = string(c.verb) + " " + c.eni
		default:
			_, attribute, _ := strings.Cut(string(c.verb), "/")
			part = "set " + attribute + " of " + c.eni
		}
		parts = append(parts, part)
	}
	for _, s := range p.decide {
		parts = append(parts, "decide "+string(s.uid))
	}
	for _, id := range p.release {
		parts = append(parts, "release "+id)
	}
	return strings.Join(parts, "; ")
}

func TestPlan(t *testing.T) {
	decided := func(uids ...string) map[slot]record {
		m := map[slot]record{}
		for _, uid := range uids {
			m[slot{types.UID(uid), subnetA}] = record{createdAt: time.Unix(7, 0)}
		}
		return m
	}
	x, y := wantFor("x", subnetA, 2), wantFor("y", subnetA, 2)
	z, inOther := wantFor("z", subnetA, 4), wantFor("y", subnetA2, 3)
	ex, ey := eniFor("eni-x", "x", subnetA), eniFor("eni-y", "y", subnetA)
	attachX, attachY := call{verb: attach, slot: x.slot, eni: "eni-x", index: 2}, call{verb: attach, slot: y.slot, eni: "eni-y", index: 3}
	refused := func(calls ...call) map[retry.Key]bool {
		m := map[retry.Key]bool{}
		for _, c := range calls {
			m[c.key()] = true
		}
		return m
	}
	for _, test := range []struct {
		name string
		view view
		want string
	}{
		{"before EC2 has told, nothing", view{desired: desired{wants: []want{x}}, records: decided("x"), saved: decided("x")}, ""},
		{"first the decision", view{certain: true, desired: desired{wants: []want{x}}}, "decide x"},
		{"not before the decision is saved", view{certain: true, desired: desired{wants: []want{x}}, records: decided("x")}, ""},
		{"then create", view{certain: true, desired: desired{wants: []want{x}}, records: decided("x"), saved: decided("x")}, "create x"},
		{"one at a time", view{certain: true, desired: desired{wants: []want{x, y}}, records: decided("x", "y"), saved: decided("x", "y")}, "create x"},
		{"a create that has failed holds up no other", view{certain: true, desired: desired{wants: []want{x, y}}, records: decided("x", "y"), saved: decided("x", "y"),
			blocked: map[retry.Key]bool{call{verb: create, slot: x.slot}.key(): true}}, "create y"},
		{"nor does a subnet that is full", view{certain: true, desired: desired{wants: []want{x, inOther}},
			records: map[slot]record{x.slot: {createdAt: time.Unix(7, 0)}, inOther.slot: {createdAt: time.Unix(7, 0)}},
			saved:   map[slot]record{x.slot: {createdAt: time.Unix(7, 0)}, inOther.slot: {createdAt: time.Unix(7, 0)}},
			blocked: map[retry.Key]bool{fullKey(subnetA): true}}, "create y"},
		{"none while one waits for its attach", view{certain: true, desired: desired{wants: []want{x, y}}, enis: []tracked{ex}, records: decided("y"), saved: decided("y")}, "attach eni-x at 2"},
		{"an attach that EC2 refuses holds up no other", view{certain: true, desired: desired{wants: []want{x, y}}, enis: []tracked{ex}, records: decided("y"), saved: decided("y"),
			refused: refused(attachX)}, "attach eni-x at 2; create y"},
		{"but then the other is waited for", view{certain: true, desired: desired{wants: []want{x, y, z}}, enis: []tracked{ex, ey}, records: decided("z"), saved: decided("z"),
			refused: refused(attachX)}, "attach eni-x at 2; attach eni-y at 3"},
		{"two refused attaches are no accident", view{certain: true, desired: desired{wants: []want{x, y, z}}, enis: []tracked{ex, ey}, records: decided("z"), saved: decided("z"),
			refused: refused(attachX, attachY)}, "attach eni-x at 2; attach eni-y at 3"},
		{"one that was attached when it was reported, and that EC2 does not show, holds up no other", view{certain: true, desired: desired{wants: []want{x, y}}, records: decided("x", "y"), saved: decided("x", "y"),
			enis: []tracked{ex.with(func(t *tracked) { t.reported, t.plugged = true, true })}}, "create y"},
		{"one that was to be attached does", view{certain: true, desired: desired{wants: []want{x, y}}, records: decided("x", "y"), saved: decided("x", "y"),
			enis: []tracked{ex.with(func(t *tracked) { t.reported = true })}}, ""},
		{"what was in use when it was reported is preferred to what only seems to be there", view{certain: true, desired: desired{wants: []want{x}}, records: decided("x"), saved: decided("x"),
			enis: []tracked{ex, eniFor("eni-x2", "x", subnetA).with(func(t *tracked) {
				t.reported, t.plugged, t.Owner.CreatedAt = true, true, ex.Owner.CreatedAt.Add(time.Hour)
			})}}, "release eni-x"},
		{"but not to what is attached", view{certain: true, desired: desired{wants: []want{x}}, records: decided("x"), saved: decided("x"),
			enis: []tracked{ex.at(me, 2, "attached"), eniFor("eni-x2", "x", subnetA).with(func(t *tracked) {
				t.reported, t.plugged, t.Owner.CreatedAt = true, true, ex.Owner.CreatedAt.Add(-time.Hour)
			})}}, "release eni-x2"},
		{"refused at another index", view{certain: true, desired: desired{wants: []want{x, y}}, enis: []tracked{ex}, records: decided("y"), saved: decided("y"), taken: map[int32]string{2: "eni-cni"},
			refused: refused(attachX)}, "attach eni-x at 3"},
		{"attach several that exist", view{certain: true, desired: desired{wants: []want{x, y}}, enis: []tracked{ex, ey}}, "attach eni-x at 2; attach eni-y at 3"},
		{"all well", view{certain: true, desired: desired{wants: []want{x}}, enis: []tracked{ex.at(me, 2, "attached")}}, ""},
		{"attached elsewhere than wanted stays", view{certain: true, desired: desired{wants: []want{x}}, enis: []tracked{ex.at(me, 5, "attached")}}, ""},
		{"the index of one that leaves is free", view{certain: true, desired: desired{wants: []want{x}}, enis: []tracked{ex, ey.at(me, 2, "attached").with(func(t *tracked) {
			t.released, t.left = true, true
		})}}, "attach eni-x at 2; release eni-y"},
		{"that of one that is only released is not", view{certain: true, desired: desired{wants: []want{x}}, enis: []tracked{ex, ey.at(me, 2, "attached").with(func(t *tracked) {
			t.released = true
		})}}, "attach eni-x at 3; release eni-y"},
		{"taken by a stranger: the next free one", view{certain: true, desired: desired{wants: []want{x}}, enis: []tracked{ex}, taken: map[int32]string{2: "eni-cni", 3: "eni-cni2"}}, "attach eni-x at 4"},
		{"who finds its index free gets it before the displaced", view{certain: true, desired: desired{wants: []want{x, y, wantFor("z", subnetA, 3)}},
			enis: []tracked{ex, ey, eniFor("eni-z", "z", subnetA)}}, "attach eni-x at 2; attach eni-y at 4; attach eni-z at 3"},
		{"an index that another wants is not taken, though that other is not made yet", view{certain: true, desired: desired{wants: []want{x, wantFor("y", subnetA, 3)}}, enis: []tracked{ex},
			taken: map[int32]string{2: "eni-cni"}, records: decided("y"), saved: decided("y")}, "attach eni-x at 4"},
		{"no higher one is within the limit: the lowest free one", view{certain: true, limit: 4, desired: desired{wants: []want{x}}, enis: []tracked{ex},
			taken: map[int32]string{2: "eni-cni", 3: "eni-cni2"}}, "attach eni-x at 1"},
		{"none at all is within the limit", view{certain: true, limit: 3, desired: desired{wants: []want{x}}, enis: []tracked{ex},
			taken: map[int32]string{1: "eni-cni", 2: "eni-cni2"}}, "attach eni-x at 3"},
		{"the wanted one is above the limit", view{certain: true, limit: 2, desired: desired{wants: []want{x}}, enis: []tracked{ex}}, "attach eni-x at 2"},
		{"no index is above the highest", view{certain: true, desired: desired{wants: []want{wantFor("x", subnetA, 32)}}, enis: []tracked{ex}}, "attach eni-x at 1"},
		{"another card has indexes of its own", view{certain: true, desired: desired{wants: []want{x, y}}, enis: []tracked{ex, ey.at(me, 2, "attached").with(func(t *tracked) {
			t.Attachment.Card, t.Attachment.DeleteOnTermination = 1, true
		})}}, "attach eni-x at 2"},
		{"an attach under way keeps its index", view{certain: true, desired: desired{wants: []want{y, x}}, enis: []tracked{ex, ey}, attaching: map[string]int32{"eni-x": 2}}, "attach eni-y at 3; attach eni-x at 2"},
		{"being detached: wait", view{certain: true, desired: desired{wants: []want{x}}, enis: []tracked{ex.at(me, 2, "detaching")}}, ""},
		{"attached to another instance: not ours to take", view{certain: true, desired: desired{wants: []want{x}}, enis: []tracked{ex.at(other, 2, "attached")}}, ""},
		{"not shown once: doubt, no second ENI", view{certain: true, desired: desired{wants: []want{x}}, enis: []tracked{ex.with(func(t *tracked) { t.absent = 1 })}}, ""},
		{"attributes", view{certain: true, desired: desired{wants: []want{x}}, enis: []tracked{ex.at(me, 2, "attached").with(func(t *tracked) {
			t.Attachment.DeleteOnTermination, t.SourceDestCheck, t.Groups, t.Description = false, false, []string{groupY}, "old"
		})}}, "set DeleteOnTermination of eni-x; set SourceDestCheck of eni-x; set Groups of eni-x; set Description of eni-x"},
		{"no longer wanted", view{certain: true, enis: []tracked{ex.at(me, 2, "attached")}}, "release eni-x"},
		{"not known whether wanted: left alone", view{certain: true, desired: desired{held: map[types.UID]bool{"x": true}}, enis: []tracked{ex.at(me, 2, "attached")}}, ""},
		{"not known whether wanted beside another: left alone", view{certain: true, desired: desired{wants: []want{x}, partly: map[types.UID]bool{"x": true}},
			enis: []tracked{ex, eniFor("eni-x2", "x", subnetA2).at(me, 3, "attached")}}, "attach eni-x at 2"},
		{"two for one place: the attached stays", view{certain: true, desired: desired{wants: []want{x}}, enis: []tracked{eniFor("eni-0", "x", subnetA), ex.at(me, 2, "attached")}}, "release eni-0"},
		{"two for one place, none attached: the older stays", view{certain: true, desired: desired{wants: []want{x}}, enis: []tracked{
			eniFor("eni-0", "x", subnetA).with(func(t *tracked) { t.Owner.CreatedAt = time.Unix(200, 0) }), ex}}, "attach eni-x at 2; release eni-0"},
		{"a subnet that is no longer listed", view{certain: true, desired: desired{wants: []want{x}}, enis: []tracked{ex.at(me, 2, "attached"), eniFor("eni-old", "x", subnetA2).at(me, 3, "attached")}}, "release eni-old"},
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
			t.Fatalf("seed %d: %s\nplan: %s\nindexes: %v", seed, problem, p.text(), p.indexes)
		}
		again := next(v)
		if again.text() != p.text() {
			t.Fatalf("seed %d: the plan depends on chance:\n%s\n%s", seed, p.text(), again.text())
		}
	}
}

func randomView(r *rand.Rand) view {
	v := view{certain: r.IntN(10) > 0, instanceID: me, records: map[slot]record{}, saved: map[slot]record{}, taken: map[int32]string{}, attaching: map[string]int32{}}
	used := map[int32]bool{}
	for range r.IntN(3) {
		i := 1 + r.Int32N(5)
		v.taken[i], used[i] = "eni-foreign", true
	}
	for i, uid := range []string{"a", "b", "c", "d", "e"} {
		w := wantFor(uid, subnetA, 1+r.Int32N(4))
		if r.IntN(4) > 0 {
			v.desired.wants = append(v.desired.wants, w)
		}
		if r.IntN(2) == 0 {
			v.records[w.slot] = record{createdAt: time.Unix(int64(i), 0)}
			if r.IntN(2) == 0 {
				v.saved[w.slot] = v.records[w.slot]
			}
		}
		for n := range r.IntN(3) {
			e := eniFor(fmt.Sprintf("eni-%s%d", uid, n), uid, subnetA)
			index := 1 + r.Int32N(8)
			for used[index] {
				index++
			}
			switch r.IntN(4) {
			case 0:
				e = e.at(me, index, "attached")
				used[index] = true
			case 1:
				e = e.at(me, index, "detaching")
				used[index] = true
			case 2:
				v.attaching[e.ID] = index
				used[index] = true
			}
			v.enis = append(v.enis, e)
		}
	}
	return v
}

func violated(v view, p plan) string {
	byIndex := map[int32]string{}
	for _, e := range v.enis {
		i, ok := p.indexes[e.ID]
		if !ok {
			continue
		}
		if holder, taken := v.taken[i]; i == 0 || taken && e.Attachment == nil {
			return fmt.Sprintf("%s gets the index %d of %s", e.ID, i, holder)
		}
		if byIndex[i] != "" {
			return fmt.Sprintf("%s and %s share index %d", byIndex[i], e.ID, i)
		}
		byIndex[i] = e.ID
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
		if p.assigned[e.slot()] == e.ID && e.Attachment == nil {
			waiting++
		}
	}
	if creates > 0 && waiting > 1 {
		return fmt.Sprintf("an ENI is created while %d wait to be attached", waiting)
	}
	if !v.certain && len(p.calls)+len(p.release)+len(p.decide) > 0 {
		return "acts before EC2 has told"
	}
	for _, id := range p.assigned {
		if slices.Contains(p.release, id) {
			return id + " is assigned and released"
		}
	}
	return ""
}

func TestMerge(t *testing.T) {
	now := time.Unix(10_000, 0)
	young := func(id string) tracked {
		return eniFor(id, "x", subnetA).with(func(t *tracked) {
			t.listed, t.Owner.CreatedAt, t.changed = false, now.Add(-time.Second), now.Add(-time.Second)
		})
	}
	settled := eniFor("eni-a", "x", subnetA).at(me, 2, "attached")
	for _, test := range []struct {
		name   string
		before []tracked
		list   []eni.ENI
		want   string // id, attached or not, doubtful or not
		gone   string
	}{
		{"new to us", nil, []eni.ENI{settled.ENI}, "eni-a+", ""},
		{"just created, not shown yet", []tracked{young("eni-a")}, nil, "eni-a", ""},
		{"just attached, shown without", []tracked{young("eni-a").at(me, 2, "attached").with(func(t *tracked) { t.attached = t.changed })}, []eni.ENI{young("eni-a").ENI}, "eni-a+", ""},
		{"attached once, its link vanished, shown without", []tracked{settled}, []eni.ENI{eniFor("eni-a", "x", subnetA).ENI}, "eni-a", ""},
		{"seen before, not shown", []tracked{settled}, nil, "eni-a+?", ""},
		{"not shown a second time", []tracked{settled.with(func(t *tracked) { t.absent = 1 })}, nil, "", "eni-a"},
		{"not shown, and made by a clock that was ahead", []tracked{settled.with(func(t *tracked) { t.Owner.CreatedAt = now.Add(time.Hour) })}, nil, "eni-a+?", ""},
		{"shown again", []tracked{settled.with(func(t *tracked) { t.absent = 1 })}, []eni.ENI{settled.ENI}, "eni-a+", ""},
		{"known from the report, ready long ago, not shown", []tracked{settled.with(func(t *tracked) { t.reported = true })}, nil, "eni-a+?", ""},
		{"known from the report, young, not shown", []tracked{young("eni-a").with(func(t *tracked) { t.reported = true })}, nil, "eni-a?", ""},
		{"its link is here, not shown", []tracked{eniFor("eni-here", "x", subnetA).at(me, 2, "attached").with(func(t *tracked) { t.absent = 1 })}, nil, "eni-here+", ""},
		{"its link was here, too young to be shown", []tracked{young("eni-a").with(func(t *tracked) { t.plugged, t.absent = true, 1 })}, nil, "eni-a?", ""},
		{"its link was here, not shown", []tracked{young("eni-a").with(func(t *tracked) {
			t.plugged, t.Owner.CreatedAt = true, now.Add(-pluggedWindow)
		})}, nil, "eni-a?", ""},
		{"decided long ago and made only now, not shown", []tracked{eniFor("eni-a", "x", subnetA).with(func(t *tracked) {
			t.listed, t.absent, t.made = false, 1, now.Add(-time.Second)
		})}, nil, "eni-a?", ""},
		{"released and wanted again, its link here", []tracked{young("eni-here").with(func(t *tracked) { t.returning = true })}, nil, "eni-here?", ""},
		{"released and wanted again, not attached yet", []tracked{young("eni-a").with(func(t *tracked) { t.returning = true })}, nil, "eni-a?", ""},
		{"released and wanted again, its link has gone", []tracked{young("eni-a").with(func(t *tracked) { t.returning, t.left = true, true })}, nil, "", "eni-a"},
		{"released before it was ever shown", []tracked{young("eni-a").with(func(t *tracked) { t.released = true })}, nil, "", "eni-a"},
		{"made in the future, seen before, not shown a second time", []tracked{settled.with(func(t *tracked) {
			t.Owner.CreatedAt, t.absent = now.Add(1000*time.Hour), 1
		})}, nil, "", "eni-a"},
		{"made in the future, a moment ago, not shown", []tracked{young("eni-a").with(func(t *tracked) {
			t.Owner.CreatedAt, t.known = now.Add(1000*time.Hour), now.Add(-time.Second)
		})}, nil, "eni-a", ""},
		{"never shown, too old for a lag", []tracked{eniFor("eni-a", "x", subnetA).with(func(t *tracked) { t.listed, t.absent = false, 1 })}, nil, "", "eni-a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			after, gone := merge(test.before, test.list, func(t tracked) bool { return t.ID == "eni-here" }, now)
			var words []string
			for _, e := range after {
				word := e.ID
				if e.Attachment != nil {
					word += "+"
				}
				if e.doubtful() {
					word += "?"
				}
				words = append(words, word)
			}
			if got := strings.Join(words, " "); got != test.want || strings.Join(gone, " ") != test.gone {
				t.Errorf("got %q, gone %q; want %q, gone %q", got, gone, test.want, test.gone)
			}
		})
	}
}

// An ENI that a describe did not show is looked for again when that tells more.
func TestLookAgain(t *testing.T) {
	now := time.Unix(10_000, 0)
	soon := now.Add(doubtSteps[0])
	for _, test := range []struct {
		name   string
		change func(*tracked)
		want   time.Time
	}{
		{"shown", func(*tracked) {}, time.Time{}},
		{"absent", func(t *tracked) { t.absent = 1 }, soon},
		{"may not be there to see yet", func(t *tracked) { t.hidden, t.listed, t.Owner.CreatedAt = true, false, now }, now.Add(consistencyWindow)},
		{"decided long ago and made only now", func(t *tracked) { t.hidden, t.listed, t.made = true, false, now }, now.Add(consistencyWindow)},
		{"its link was here", func(t *tracked) { t.hidden, t.listed, t.plugged, t.Owner.CreatedAt = true, false, true, now }, now.Add(pluggedWindow)},
		{"detached after it was absent once", func(t *tracked) {
			t.hidden, t.absent, t.listed, t.plugged, t.released, t.collected, t.Owner.CreatedAt = true, 1, false, true, true, true, now
		}, now.Add(consistencyWindow)},
		{"had to be there to see all the while", func(t *tracked) { t.hidden = true }, soon},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := eniFor("eni-a", "x", subnetA).with(test.change).lookAgain(now); !got.Equal(test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// What this agent has just changed is not undone by a describe that lags.
func TestMergeKeepsOwnChanges(t *testing.T) {
	now := time.Unix(10_000, 0)
	mine := eniFor("eni-a", "x", subnetA).at(me, 2, "attached").with(func(t *tracked) { t.changed = now.Add(-time.Second) })
	old := mine.ENI
	old.Groups, old.Attachment = []string{groupY}, &eni.Attachment{ID: mine.Attachment.ID, InstanceID: me, DeviceIndex: 2, Status: "attached"}
	after, _ := merge([]tracked{mine}, []eni.ENI{old}, nil, now)
	if !slices.Equal(after[0].Groups, []string{groupX}) || !after[0].Attachment.DeleteOnTermination {
		t.Errorf("a describe that lags has undone our own change: %+v", after[0])
	}
	later, _ := merge([]tracked{mine}, []eni.ENI{old}, nil, now.Add(settledAfter))
	if !slices.Equal(later[0].Groups, []string{groupY}) || later[0].Attachment.DeleteOnTermination {
		t.Errorf("EC2's word does not count after %v", settledAfter)
	}
}
