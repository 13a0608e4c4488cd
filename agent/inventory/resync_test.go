package inventory

import (
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// EC2 is asked every hour, and once when describes must show what was made.
func TestResyncWhenNothingHappens(t *testing.T) {
	now := time.Unix(100_000, 0)
	i := New("c", self, false, time.Hour, nil)
	if !i.Resync.Due(now) {
		t.Error("EC2 is not asked at the start")
	}
	expect := func(low, high time.Duration) {
		t.Helper()
		if in := i.asked(now); in < low || in > high {
			t.Errorf("EC2 is asked in %v, want %v to %v", in, low, high)
		}
	}
	schedule := func(now time.Time) {
		i.Resync.reschedule(now)
		i.Schedule(Open{}, now)
	}
	schedule(now)
	expect(60*time.Minute, 72*time.Minute)
	i.Resync.VerifyAfterLag(now)
	expect(5*time.Minute, 6*time.Minute)
	first, _ := i.Resync.Next()
	schedule(now.Add(time.Minute)) // another describe between
	if next, _ := i.Resync.Next(); !next.Equal(first) {
		t.Errorf("EC2 is asked at %v, want %v", next, first)
	}
	now = first
	schedule(now)
	expect(60*time.Minute, 72*time.Minute)
}

// The earlier of two reasons counts, and the log says which it is.
func TestResyncReasons(t *testing.T) {
	now := time.Unix(100_000, 0)
	i := told(false, now)
	for _, step := range []struct {
		ask  func(*Resync)
		in   time.Duration
		want string
	}{
		{func(r *Resync) { r.At("a", now.Add(time.Minute)) }, time.Minute, "a"},
		{func(r *Resync) { r.At("later", now.Add(2*time.Minute)) }, time.Minute, "a"},
		{func(r *Resync) { r.Soon("b", now) }, steps[0], "b"},
		{func(r *Resync) { r.Now("c") }, 0, "c"},
		{func(r *Resync) { r.Soon("later", now) }, 0, "c"},
	} {
		step.ask(&i.Resync)
		if _, why := i.Resync.Next(); i.asked(now) != step.in || why != step.want {
			t.Errorf("EC2 is asked in %v because %s; want %v, %s", i.asked(now), why, step.in, step.want)
		}
	}
}

// That an ENI may have been created which nothing wants any more has EC2 asked soon, and
// once.
func TestSearching(t *testing.T) {
	now := time.Unix(10_000, 0)
	i := told(false, now)
	searching := Open{MayHaveCreated: map[Slot]bool{{UID: "x"}: true}}
	if i.Schedule(searching, now); i.asked(now) != steps[0] {
		t.Errorf("EC2 is asked in %v", i.asked(now))
	}
	i.Resync.next = now.Add(time.Hour) // it has been asked
	if i.Schedule(searching, now); i.asked(now) != time.Hour {
		t.Errorf("EC2 is asked again, in %v", i.asked(now))
	}
}

// What a describe left open about an ENI is pursued; afterwards nothing would ask. An
// ENI that nothing wants is pursued as long as only a report names it, because it is not
// released on that, and while this agent takes it out of EC2.
func TestWhatIsLeftOpen(t *testing.T) {
	now := time.Unix(10_000, 0)
	x := fixture("eni-x", "x")
	removing := Open{Removing: map[string]bool{"eni-x": true}}
	for name, test := range map[string]struct {
		eni    ENI
		open   Open
		within time.Duration
	}{
		"nothing":                           {x.at(me, 2, "attached"), Open{}, time.Hour * 6 / 5},
		"missed":                            {x.with(func(e *ENI) { e.Evidence = Missed }), Open{}, steps[0]},
		"only reported":                     {x.with(func(e *ENI) { e.Evidence = Reported }), Open{}, steps[0]},
		"being detached":                    {x.at(me, 2, "detaching"), Open{}, steps[0]},
		"elsewhere":                         {x.at(other, 2, "attached"), Open{}, steps[0]},
		"not wanted, missed":                {x.with(func(e *ENI) { e.Use, e.Evidence = Released, Missed }), Open{}, time.Hour * 6 / 5},
		"not wanted, only reported":         {x.with(func(e *ENI) { e.Use, e.Evidence = Releasing, Reported }), Open{}, steps[0]},
		"not wanted, removed by this agent": {x.at(me, 2, "detaching").with(func(e *ENI) { e.Use = Released }), removing, steps[0]},
		"released, and it may be wanted":    {x.at(me, 2, "detaching").with(func(e *ENI) { e.Use = Left }), Open{}, steps[0]},
		"one is searched for":               {x.at(me, 2, "attached"), Open{MayHaveCreated: map[Slot]bool{{UID: "y"}: true}}, steps[0]},
	} {
		i := told(len(test.open.Removing) > 0, now, test.eni)
		if use := test.eni.Use; use == Released || use == Releasing {
			i.Assign(nil, []string{"eni-x"})
		}
		i.Resync.reschedule(now)
		i.Schedule(test.open, now)
		if in := i.asked(now); in > test.within || in < min(test.within, time.Hour) {
			t.Errorf("%s: EC2 is asked in %v, want %v", name, in, test.within)
		}
	}
}

// An ENI that was just created, and that no describe has to show yet, is no reason to ask
// again: nothing is open about it.
func TestCreatedIsNotPursued(t *testing.T) {
	now := time.Unix(10_000, 0)
	i := told(false, now)
	i.Created(fixture("eni-x", "x").with(func(e *ENI) { e.MAC = "02:00:00:00:00:01" }).ENI, now)
	i.Describe(nil, nowhere, now.Add(time.Second))
	if i.Schedule(Open{}, now.Add(time.Second)); i.asked(now) < time.Hour {
		t.Errorf("EC2 is asked in %v", i.asked(now))
	}
}

// An ENI that a describe did not show is looked for soon, also when the schedule is worked
// out once more before that.
func TestMissedIsPursuedThroughOtherNews(t *testing.T) {
	now := time.Unix(10_000, 0)
	i := told(true, now, fixture("eni-x", "x").at(me, 2, "attached"), fixture("eni-y", "y"))
	i.Describe([]eni.ENI{fixture("eni-y", "y").ENI}, nowhere, now)
	i.Resync.open = 3
	i.Schedule(Open{}, now)
	i.Deleted("eni-y", now.Add(time.Second))
	now = now.Add(time.Second)
	if i.Schedule(Open{}, now); i.asked(now) != steps[0] {
		t.Errorf("EC2 is asked in %v, want %v", i.asked(now), steps[0])
	}
}

// What a plan finds out after a describe is asked about at once, whatever the describe
// itself has left open.
func TestScheduleKeepsWhatIsSooner(t *testing.T) {
	now := time.Unix(10_000, 0)
	i := told(false, now, fixture("eni-x", "x").at(me, 2, "attached").with(func(e *ENI) { e.Use = Released }))
	i.Resync.reschedule(now)
	i.Assign(map[Slot]string{{UID: "x", SubnetID: subnetA}: "eni-x"}, nil)
	if i.Schedule(Open{}, now); i.asked(now) != 0 || i.Resync.open != 0 {
		t.Errorf("EC2 is asked in %v whether an ENI that is wanted again is still there, after %d steps", i.asked(now), i.Resync.open)
	}
}

// An ENI that this agent takes out of EC2 is looked at often, however long it takes.
func TestRemovalIsPursued(t *testing.T) {
	now := time.Unix(10_000, 0)
	i := told(true, now, fixture("eni-x", "x").at(me, 2, "detaching").with(func(e *ENI) { e.Use = Released }))
	i.Assign(nil, []string{"eni-x"})
	for range 20 {
		i.Resync.reschedule(now)
		i.Schedule(Open{Removing: map[string]bool{"eni-x": true}}, now)
		if in := i.asked(now); in > removalPoll {
			t.Fatalf("EC2 is asked in %v", in)
		}
		now = now.Add(i.asked(now))
	}
}

// A link that a pod has taken, and one that the coordinator has not collected
// yet, make EC2 asked a few times and then every hour, not a few times an hour.
func TestMovedLinksAreLetBe(t *testing.T) {
	for name, change := range map[string]func(*ENI){
		"in a pod":       func(e *ENI) { e.Link = LinkLost },
		"on its way out": func(e *ENI) { e.Use, e.Link = Left, LinkLost },
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(10_000, 0)
			i := told(false, now, fixture("eni-x", "x").at(me, 2, "attached").with(change))
			if e, _ := i.Get("eni-x"); e.Use == Left {
				i.Assign(nil, []string{"eni-x"})
			}
			asked := func(d time.Duration) (n int) {
				for end := now.Add(d); ; n++ {
					i.Resync.reschedule(now)
					i.Schedule(Open{}, now)
					next, _ := i.Resync.Next()
					if next.After(end) {
						return n
					}
					now = next
				}
			}
			if n := asked(30 * time.Minute); n != len(steps) {
				t.Errorf("at first EC2 is asked %d times, want %d", n, len(steps))
			}
			if n := asked(10 * time.Hour); n > 11 {
				t.Errorf("then %d times in ten hours", n)
			}
			i.Resync.Now("something new")
			if n := asked(30 * time.Minute); n != len(steps) {
				t.Errorf("after something new EC2 is asked %d times, want %d", n, len(steps))
			}
		})
	}
}

// A describe that lags says that an ENI is attached which was detached a moment
// ago, and there is no link: EC2 is asked again, also when it is asked for another
// reason before it can know better.
func TestAbsentLinkIsAskedAboutAfterEveryLag(t *testing.T) {
	now := time.Unix(10_000, 0)
	i := told(false, now, fixture("eni-x", "x").at(me, 2, "attached"))
	i.Resync.Now("that reason")
	if i.NoteLink("eni-x", LinkAbsent, now); i.asked(now) != 0 {
		t.Fatalf("EC2 is asked in %v, want at once", i.asked(now))
	}
	schedule := func(now time.Time) {
		i.Resync.reschedule(now)
		i.Schedule(Open{}, now)
	}
	if schedule(now.Add(time.Second)); i.asked(now) != LinkSeenWindow {
		t.Errorf("EC2 is asked again in %v, want %v", i.asked(now), LinkSeenWindow)
	}
	if schedule(now.Add(LinkSeenWindow)); i.asked(now) < 30*time.Minute {
		t.Errorf("and then again after %v", i.asked(now))
	}
}
