package inventory

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

func TestMerge(t *testing.T) {
	now := time.Unix(10_000, 0)
	ago := now.Add(-time.Second)
	young := func(mac string) ENI {
		return fixture("eni-a", "x").with(func(e *ENI) { e.Evidence, e.Since, e.Changed, e.MAC = Expected, ago, ago, mac })
	}
	settled := fixture("eni-a", "x").at(me, 2, "attached")
	missed := settled.with(func(e *ENI) { e.Evidence = Missed })
	old := settled.with(func(e *ENI) { e.Since = now.Add(-time.Hour) }) // and no describe has shown it
	for _, test := range []struct {
		name   string
		before []ENI
		list   []eni.ENI
		want   string // id, attached or not, uncertain or not
		gone   string
		again  time.Duration // until another describe tells more
	}{
		{"new to us", nil, []eni.ENI{settled.ENI}, "eni-a+", "", 0},
		{"just created, not shown yet", []ENI{young("")}, nil, "eni-a", "", ConsistencyWindow - time.Second},
		{"just attached, shown without", []ENI{young("").at(me, 2, "attached").with(func(e *ENI) { e.AttachedAt = ago })}, []eni.ENI{young("").ENI}, "eni-a+", "", 0},
		{"attached once, its link vanished, shown without", []ENI{settled}, []eni.ENI{fixture("eni-a", "x").ENI}, "eni-a", "", 0},
		{"shown before, not shown", []ENI{settled}, nil, "eni-a+?", "", steps[0]},
		{"not shown a second time", []ENI{missed}, nil, "", "eni-a", 0},
		{"shown before, so young that another describe may lack it", []ENI{missed.with(func(e *ENI) { e.born = ago })}, nil, "eni-a+?", "", ConsistencyWindow - time.Second},
		{"the same, and its link has been here", []ENI{missed.with(func(e *ENI) { e.born, e.Link = ago, LinkSeen })}, nil, "", "eni-a", 0},
		{"shown before, and old enough", []ENI{missed.with(func(e *ENI) { e.born = now.Add(-ConsistencyWindow) })}, nil, "", "eni-a", 0},
		{"shown again", []ENI{missed}, []eni.ENI{settled.ENI}, "eni-a+", "", 0},
		{"known from the report, ready long ago, not shown", []ENI{old.with(func(e *ENI) { e.Evidence = Reported })}, nil, "eni-a+?", "", steps[0]},
		{"known from the report, not shown a second time", []ENI{old.with(func(e *ENI) { e.Evidence = Disputed })}, nil, "", "eni-a", 0},
		{"known from the report, young, not shown", []ENI{young("").with(func(e *ENI) { e.Evidence = Reported })}, nil, "eni-a?", "", ConsistencyWindow - time.Second},
		{"its link is here, not shown", []ENI{missed.with(func(e *ENI) { e.MAC = "here" })}, nil, "eni-a+", "", 0},
		{"its link is here, only reported, not shown", []ENI{settled.with(func(e *ENI) { e.MAC, e.Evidence, e.restored = "here", Disputed, ago })}, nil, "eni-a+?", "", 0},
		{"its link is here, only reported long ago, not shown", []ENI{old.with(func(e *ENI) { e.MAC, e.Evidence = "here", Disputed })}, nil, "", "eni-a", 0},
		{"its link was here, too young to be shown", []ENI{young("").with(func(e *ENI) { e.Link = LinkSeen })}, nil, "eni-a", "", LinkSeenWindow - time.Second},
		{"its link was here, not shown", []ENI{young("").with(func(e *ENI) { e.Link, e.Since = LinkSeen, now.Add(-LinkSeenWindow) })}, nil, "eni-a?", "", steps[0]},
		{"released and wanted again, its link here", []ENI{young("here").with(func(e *ENI) { e.Use = Returning })}, nil, "eni-a?", "", 0},
		{"released and wanted again, not attached yet", []ENI{young("").with(func(e *ENI) { e.Use = Returning })}, nil, "eni-a?", "", ConsistencyWindow - time.Second},
		{"released and wanted again, its link has gone", []ENI{young("").with(func(e *ENI) { e.Use, e.Link = Returning, LinkLost })}, nil, "", "eni-a", 0},
		{"released and wanted again, and shown", []ENI{young("").with(func(e *ENI) { e.Use = Returning })}, []eni.ENI{young("").ENI}, "eni-a", "", 0},
		{"released before it was ever shown", []ENI{young("").with(func(e *ENI) { e.Use = Released })}, nil, "", "eni-a", 0},
		{"never shown, too old for a lag", []ENI{young("").with(func(e *ENI) { e.Since = now.Add(-ConsistencyWindow) })}, nil, "eni-a?", "", steps[0]},
	} {
		t.Run(test.name, func(t *testing.T) {
			after, gone, again := merge(test.before, test.list, func(mac string) bool { return mac == "here" }, now)
			var words, lost []string
			for _, e := range after {
				word := e.ID
				if e.Attachment != nil {
					word += "+"
				}
				if e.Uncertain() {
					word += "?"
				}
				words = append(words, word)
			}
			for _, e := range gone {
				lost = append(lost, e.ID)
			}
			if got := strings.Join(words, " "); got != test.want || strings.Join(lost, " ") != test.gone {
				t.Errorf("got %q, gone %q; want %q, gone %q", got, lost, test.want, test.gone)
			}
			if want := now.Add(test.again); test.again == 0 && !again.IsZero() || test.again != 0 && !again.Equal(want) {
				t.Errorf("another describe tells more at %v, want %v", again, want)
			}
		})
	}
}

// An ENI that is released before any describe has shown it is not forgotten, be its
// link gone for as long as it takes to replace one in use: here no other program
// would delete it, and a file that returns would get a second one beside it.
func TestMergeKeepsWhatIsToBeRemoved(t *testing.T) {
	now := time.Unix(10_000, 0)
	detached := fixture("eni-x", "x").with(func(e *ENI) {
		e.collects, e.Use, e.Link, e.Evidence, e.Since = true, Left, LinkLost, Expected, now.Add(-LinkSeenWindow)
	})
	for _, test := range []struct {
		name string
		eni  ENI
		kept bool
	}{
		{"never attached", detached.with(func(e *ENI) { e.Use, e.Link, e.Since = Released, LinkNeverSeen, now }), true},
		{"detached", detached, true},
		{"detached, known from the report only", detached.with(func(e *ENI) { e.Evidence = Reported }), true},
		{"detached and wanted again", detached.with(func(e *ENI) { e.Use = Returning }), true},
		{"detached, and missed once", detached.with(func(e *ENI) { e.Evidence = Missed }), true},
		{"missed once, too old for a lag", detached.with(func(e *ENI) { e.Evidence, e.Since = Missed, now.Add(-ConsistencyWindow) }), false},
		{"missed once, and shown before", detached.with(func(e *ENI) { e.Evidence, e.Since = Missed, time.Time{} }), false},
		{"in a cluster", detached.with(func(e *ENI) { e.collects = false }), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			after, gone, _ := merge([]ENI{test.eni}, nil, nowhere, now)
			if kept := len(after) == 1 && len(gone) == 0; kept != test.kept {
				t.Errorf("known %v, gone %v", after, gone)
			}
		})
	}
}

// What this agent has just changed is not undone by a describe that lags.
func TestMergeKeepsOwnChanges(t *testing.T) {
	now := time.Unix(10_000, 0)
	mine := fixture("eni-a", "x").at(me, 2, "attached").with(func(e *ENI) { e.Changed = now.Add(-time.Second) })
	old := mine.ENI
	old.Groups, old.Attachment = []string{groupY}, &eni.Attachment{ID: mine.Attachment.ID, InstanceID: me, DeviceIndex: 2, Status: "attached"}
	after, _, _ := merge([]ENI{mine}, []eni.ENI{old}, nil, now)
	if !slices.Equal(after[0].Groups, []string{groupX}) || !after[0].Attachment.DeleteOnTermination {
		t.Errorf("a describe that lags has undone our own change: %+v", after[0])
	}
	later, _, _ := merge([]ENI{mine}, []eni.ENI{old}, nil, now.Add(ExpectationTimeout))
	if !slices.Equal(later[0].Groups, []string{groupY}) || later[0].Attachment.DeleteOnTermination {
		t.Errorf("EC2's word does not count after %v", ExpectationTimeout)
	}
}

// What is believed of an attachment when a describe says otherwise.
func TestAttachmentBelieved(t *testing.T) {
	now := time.Unix(10_000, 0)
	recently, longAgo := now.Add(-ExpectationTimeout+1), now.Add(-ExpectationTimeout)
	attachment := func(id, status string) *eni.Attachment {
		return &eni.Attachment{ID: id, InstanceID: me, DeviceIndex: 2, Status: status}
	}
	own, another := attachment("own", "attached"), attachment("other", "attached")
	same, detaching := attachment("own", "attached"), attachment("own", "detaching")
	for _, test := range []struct {
		name              string
		own               *eni.Attachment
		attached, changed time.Time
		shown, want       *eni.Attachment
	}{
		{"none of our own", nil, time.Time{}, recently, another, another},
		{"not shown yet", own, recently, time.Time{}, nil, own},
		{"gone", own, longAgo, time.Time{}, nil, nil},
		{"gone, though an attribute was changed", own, longAgo, recently, nil, nil},
		{"gone, and its link has vanished", own, time.Time{}, recently, nil, nil},
		{"an older one", own, recently, recently, another, own},
		{"a newer one", own, longAgo, recently, another, another},
		{"as before our change of DeleteOnTermination", own, longAgo, recently, same, own},
		{"as it is", own, longAgo, longAgo, same, same},
		{"on its way out", own, recently, recently, detaching, detaching},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := ENI{AttachedAt: test.attached, Changed: test.changed}
			e.Attachment = test.own
			if got := e.mergeAttachment(test.shown, now); got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}

// An ENI that is known stays that of its NodeENI when the tag is removed: it
// would be given up, and made again by the same token, without end.
func TestTagRemoved(t *testing.T) {
	shown := fixture("eni-a", "").ENI
	if got := fixture("eni-a", "x").shownAs(shown, time.Unix(10_000, 0)).Slot(); got != (Slot{UID: "x", SubnetID: subnetA}) {
		t.Errorf("it is at %v", got)
	}
	onDemand := fixture("eni-a", "x").with(func(e *ENI) { e.Owner.Place = 2 })
	if got := onDemand.shownAs(shown, time.Unix(10_000, 0)).Slot(); got != (Slot{UID: "x", SubnetID: subnetA, Place: 2}) {
		t.Errorf("it is at %v", got)
	}
}

// A describe that lags does not bring back what has been deleted, and one that
// shows the ENI long afterwards is right.
func TestDeletedStaysDeleted(t *testing.T) {
	now := time.Unix(10_000, 0)
	e := fixture("eni-x", "x")
	i := told(true, now, e)
	if deleted, ok := i.Deleted("eni-x", now); !ok || deleted.ID != e.ID || len(i.All()) > 0 {
		t.Fatalf("deleted %v %+v, left are %+v", ok, deleted, i.All())
	}
	if i.Describe([]eni.ENI{e.ENI}, nowhere, now.Add(time.Minute)); len(i.All()) > 0 {
		t.Error("a describe has brought back what was deleted a minute ago")
	}
	if i.Describe([]eni.ENI{e.ENI}, nowhere, now.Add(ConsistencyWindow)); len(i.All()) != 1 {
		t.Error("an ENI that EC2 still shows after any lag is never seen again")
	}
}

// The primary ENI is none of ours, whatever a tag editor or an edited report says.
func TestPrimaryIsNeverOurs(t *testing.T) {
	const mac = "02:00:00:00:00:01"
	now := time.Unix(10_000, 0)
	i := told(false, now)
	i.identity.MAC = []byte{2, 0, 0, 0, 0, 1}
	byMAC := fixture("by-mac", "x").with(func(e *ENI) { e.MAC = mac })
	if i.Restore([]ENI{byMAC}, now); len(i.All()) > 0 {
		t.Errorf("taken from the report: %+v", i.All())
	}
	i.Describe([]eni.ENI{
		byMAC.ENI, fixture("by-place", "x").at(me, 0, "attached").ENI,
		fixture("elsewhere", "x").at(other, 0, "attached").ENI, fixture("ours", "x").at(me, 2, "attached").ENI,
	}, nowhere, now)
	if all := i.All(); len(all) != 2 || all[0].ID != "elsewhere" || all[1].ID != "ours" || !i.Knows("by-place") {
		t.Errorf("ours are %+v", all)
	}
}

// FuzzMerge: no ENI gets lost between two describes, none appears twice, and none
// is gone without proof.
func FuzzMerge(f *testing.F) {
	draw.Fuzz(f, 200, func(t *testing.T, c *draw.Choices) {
		now := time.Unix(10_000, 0)
		ago := func() time.Time { return now.Add(-time.Duration(c.N(8)) * time.Minute) }
		var before []ENI
		var list []eni.ENI
		here := map[string]bool{}
		for n := range c.N(5) {
			e := fixture(fmt.Sprintf("eni-%d", n), "x")
			e.MAC = e.ID
			e.Since, e.restored, e.Changed, e.AttachedAt = draw.Of(c, time.Time{}, ago()), ago(), ago(), ago()
			e.Use, e.Evidence, e.Link, e.collects = Use(c.N(5)), Evidence(c.N(5)), Link(c.N(3)), c.Bool()
			if c.Bool() {
				e = e.at(me, int32(1+n), draw.Of(c, "attached", "detaching"))
			}
			here[e.ID] = c.Bool()
			if c.Bool() {
				before = append(before, e)
			}
			if c.Bool() {
				list = append(list, e.ENI)
			}
		}
		after, gone, _ := merge(before, list, func(mac string) bool { return here[mac] }, now)
		where := map[string]int{}
		for _, e := range after {
			where[e.ID]++
			if shown := slices.ContainsFunc(list, func(o eni.ENI) bool { return o.ID == e.ID }); shown && (e.Evidence != Shown || e.Uncertain()) {
				t.Fatalf("%s was shown and is in doubt", e.ID)
			}
		}
		for _, e := range gone {
			where[e.ID]++
		}
		for _, e := range before {
			if where[e.ID] != 1 {
				t.Fatalf("%s is there or gone %d times", e.ID, where[e.ID])
			}
			lost := slices.ContainsFunc(gone, func(o ENI) bool { return o.ID == e.ID })
			once := e.Evidence == Missed || e.Evidence == Disputed
			if lost && !e.leaving() && (here[e.ID] && !e.disproved(now) || !once || now.Before(e.MustShowFrom())) {
				t.Fatalf("%s is taken for gone: %+v", e.ID, e)
			}
		}
		for _, e := range list {
			if where[e.ID] != 1 {
				t.Fatalf("%s was shown and is there %d times", e.ID, where[e.ID])
			}
		}
	})
}
