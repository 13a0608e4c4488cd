package inventory

import (
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// Every ENI that was given up and is wanted again may be on its way out, not only
// the first one.
func TestReturningENIs(t *testing.T) {
	now := time.Unix(10_000, 0)
	ours := func(id, uid string, use Use) ENI {
		return fixture(id, uid).at(me, 2, "attached").with(func(e *ENI) { e.Use, e.Changed, e.AttachedAt = use, now, now })
	}
	i := told(false, now, ours("eni-gone", "gone", Released), ours("eni-x", "x", Released), ours("eni-y", "y", Left), ours("eni-z", "z", Assigned))
	assigned := map[Slot]string{{UID: "x", SubnetID: subnetA}: "eni-x", {UID: "y", SubnetID: subnetA}: "eni-y", {UID: "z", SubnetID: subnetA}: "eni-z"}
	i.Assign(assigned, []string{"eni-gone"})
	if i.asked(now) > 0 {
		t.Errorf("EC2 is asked in %v", i.asked(now))
	}
	for id, returns := range map[string]bool{"eni-x": true, "eni-y": true, "eni-z": false, "eni-gone": false} {
		if e, _ := i.Get(id); e.AttachedAt.IsZero() != returns || e.Uncertain() != returns || (e.Use == Returning) != returns {
			t.Errorf("%s: %+v, returns %v", id, e, returns)
		}
	}
	i.Resync.reschedule(now)
	i.Schedule(Open{}, now)
	if i.Assign(assigned, []string{"eni-gone"}); i.asked(now) == 0 {
		t.Error("EC2 is asked again for the same reason")
	}
	i.Describe([]eni.ENI{fixture("eni-x", "x").ENI}, nowhere, now)
	if e, _ := i.Get("eni-x"); e.Uncertain() || e.Use != Assigned {
		t.Errorf("after EC2 has shown it: %+v", e)
	}
}

// What a report says of an ENI that was given up is enough, when the first describe shows
// it and it is wanted: EC2 is not asked once more.
func TestReturningAfterARestart(t *testing.T) {
	now := time.Unix(10_000, 0)
	i := New("c", self, false, time.Hour, nil)
	released := fixture("eni-x", "x").with(func(e *ENI) { e.Use, e.Evidence = Released, Reported })
	i.Restore([]ENI{released}, now)
	i.Assign(map[Slot]string{released.Slot(): "eni-x"}, nil)
	if e, _ := i.Get("eni-x"); e.Use != Released {
		t.Errorf("before EC2 has told it is %+v", e)
	}
	i.Describe([]eni.ENI{released.ENI}, nowhere, now)
	if e, _ := i.Get("eni-x"); e.Use != Assigned || e.Uncertain() {
		t.Errorf("after EC2 has told it is %+v", e)
	}
}

// A report that was edited may name an ENI twice; it is one all the same.
func TestRestoreOnce(t *testing.T) {
	x := fixture("eni-x", "x").with(func(e *ENI) { e.Evidence = Reported })
	i := told(false, time.Unix(10_000, 0), x, x.with(func(e *ENI) { e.Use = Released }))
	if all := i.All(); len(all) != 1 || all[0].Use != Assigned {
		t.Errorf("restored %+v", all)
	}
}

// An ENI that nothing wants goes from use to use as its link does.
func TestGivenUp(t *testing.T) {
	now := time.Unix(10_000, 0)
	i := told(false, now, fixture("eni-x", "x").at(me, 2, "attached"))
	slot := Slot{UID: "x", SubnetID: subnetA}
	use := func(want Use) {
		t.Helper()
		if e, _ := i.Get("eni-x"); e.Use != want {
			t.Fatalf("its use is %v, want %v", e.Use, want)
		}
	}
	release, assign := func() { i.Assign(nil, []string{"eni-x"}) }, func() { i.Assign(map[Slot]string{slot: "eni-x"}, nil) }
	release()
	use(Releasing)
	assign()
	use(Assigned)
	release()
	i.NoteLink("eni-x", LinkTakenDown, now)
	use(Released)
	release()
	use(Released)
	i.NoteLink("eni-x", LinkLeft, now)
	use(Left)
	if in := i.asked(now); in < steps[1] || in > 2*steps[1] {
		t.Errorf("EC2 is asked in %v whether it is gone", in)
	}
	assign()
	use(Returning)
	release()
	use(Releasing)
}

// An ENI whose link has gone since it was released is being detached, and others delete
// it: when it is wanted again, one describe that lacks it is proof. Where this agent itself
// deletes ENIs, no other program does.
func TestReturningAfterItsLinkLeft(t *testing.T) {
	now := time.Unix(10_000, 0)
	for collects, gone := range map[bool]bool{false: true, true: false} {
		i := told(collects, now, fixture("eni-x", "x").at(me, 2, "attached"))
		i.Assign(nil, []string{"eni-x"})
		i.NoteLink("eni-x", LinkTakenDown, now)
		i.NoteLink("eni-x", LinkLeft, now)
		i.Assign(map[Slot]string{{UID: "x", SubnetID: subnetA}: "eni-x"}, nil)
		if e, _ := i.Get("eni-x"); e.Use != Returning || !e.LinkLeft() {
			t.Errorf("it is %+v", e)
		}
		if i.Describe(nil, nowhere, now); len(i.All()) == 0 != gone {
			t.Errorf("collects %v: after a describe that lacks it there are %+v", collects, i.All())
		}
	}
	i := told(false, now, fixture("eni-x", "x").at(me, 2, "attached").with(func(e *ENI) { e.Use, e.Link = Returning, LinkLost }))
	i.Describe([]eni.ENI{fixture("eni-x", "x").at(me, 2, "attached").ENI}, nowhere, now)
	if e, _ := i.Get("eni-x"); e.Use != Assigned || e.Link != LinkSeen {
		t.Errorf("after a describe that shows it, it is %+v", e)
	}
}

// A wait for a link ends when the ENI is detached, and not when it is attached again by
// another attachment: a pod may have the link.
func TestLinkLostUntilDetached(t *testing.T) {
	now := time.Unix(10_000, 0)
	lost := fixture("eni-x", "x").at(me, 2, "attached").with(func(e *ENI) { e.Link = LinkLost })
	again := lost.at(me, 3, "attached").with(func(e *ENI) { e.Attachment.ID = "eni-attach-2" })
	for name, test := range map[string]struct {
		shown ENI
		link  Link
	}{"still attached": {lost, LinkLost}, "attached again": {again, LinkLost}, "detached": {fixture("eni-x", "x"), LinkSeen}} {
		i := told(false, now, lost)
		i.Describe([]eni.ENI{test.shown.ENI}, nowhere, now)
		if e, _ := i.Get("eni-x"); e.Link != test.link {
			t.Errorf("%s: its link is %v, want %v", name, e.Link, test.link)
		}
	}
}

// Only what is known can be missed, so a new node pays for no proof.
func TestNeedsProof(t *testing.T) {
	now := time.Unix(10_000, 0)
	x := fixture("eni-x", "x")
	for name, test := range map[string]struct {
		known []ENI
		needs bool
	}{
		"nothing":               {nil, false},
		"one that is created":   {[]ENI{x}, false},
		"one that is attached":  {[]ENI{x.at(me, 2, "attached")}, true},
		"one from the report":   {[]ENI{x.with(func(e *ENI) { e.Evidence = Reported })}, true},
		"one that is elsewhere": {[]ENI{x.at(other, 2, "attached")}, false},
	} {
		if needs := told(false, now, test.known...).NeedsProof(); needs != test.needs {
			t.Errorf("%s: proof is needed: %v", name, needs)
		}
	}
}

// An answer to Create without the MAC leaves the link unknown: EC2 is asked for it.
func TestCreatedWithoutMAC(t *testing.T) {
	now := time.Unix(10_000, 0)
	for mac, asked := range map[string]bool{"02:00:00:00:00:01": false, "": true} {
		i := told(false, now)
		e := fixture("eni-x", "x").ENI
		e.MAC = mac
		i.Created(e, now)
		if soon := i.asked(now) == 0; soon != asked {
			t.Errorf("with the MAC %q EC2 is asked: %v, want %v", mac, soon, asked)
		}
		e.MAC = "02:00:00:00:00:01"
		i.Describe([]eni.ENI{e}, nowhere, now)
		if got, _ := i.Get("eni-x"); got.MAC != e.MAC {
			t.Errorf("the MAC is %q after EC2 has told it", got.MAC)
		}
	}
}

// What others have detached or deleted of the ENIs in use, and nothing else, is taken.
func TestTaken(t *testing.T) {
	now := time.Unix(10_000, 0)
	attached := fixture("eni-x", "x").at(me, 2, "attached")
	for name, test := range map[string]struct {
		before ENI
		shown  []eni.ENI
		taken  bool
	}{
		"still attached":          {attached, []eni.ENI{attached.ENI}, false},
		"detached":                {attached, []eni.ENI{fixture("eni-x", "x").ENI}, true},
		"detaching":               {attached, []eni.ENI{attached.at(me, 2, "detaching").ENI}, true},
		"not shown once":          {attached, nil, false},
		"deleted":                 {attached.with(func(e *ENI) { e.Evidence = Missed }), nil, true},
		"detached after release":  {attached.with(func(e *ENI) { e.Use = Released }), []eni.ENI{fixture("eni-x", "x").ENI}, false},
		"known from reports only": {attached.with(func(e *ENI) { e.Evidence = Disputed }), nil, false},
	} {
		_, taken := told(false, now, test.before).Describe(test.shown, nowhere, now)
		if got := len(taken) == 1; got != test.taken {
			t.Errorf("%s: taken are %+v", name, taken)
		}
	}
}
