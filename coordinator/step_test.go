package coordinator

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

func TestNextStep(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	times := timing{ReleaseGrace: 15 * time.Second, NodeGrace: time.Minute, OrphanAge: 10 * time.Minute, Poll: 2 * time.Second}
	proven := func(g gracePeriod, ago time.Duration) track {
		return track{Decision: decision{reasonNotSelected, g}, ProvenSince: now.Add(-ago), StateSince: now.Add(-ago)}
	}
	orphan := func(sweeps int) track {
		return track{Decision: decision{reasonNodeUnknown, graceOrphan}, OrphanSweeps: sweeps, StateSince: now}
	}
	unknown := track{Decision: decision{reasonBothUnknown, graceOrphan}, OrphanSweeps: 2, StateSince: now}
	attached := func(e *eni.ENI) {}
	elsewhere := func(e *eni.ENI) { e.Attachment.InstanceID = "i-2" }
	available := func(e *eni.ENI) { e.Status, e.Attachment = "available", nil }
	detaching := func(e *eni.ENI) { e.Attachment.Status = "detaching" }
	born := func(at time.Time) func(*eni.ENI) {
		return func(e *eni.ENI) { available(e); e.Owner.CreatedAt = at }
	}

	tests := []struct {
		name  string
		eni   func(*eni.ENI)
		track track
		want  step
	}{
		{"attached", attached, proven(graceNone, 0), step{Act: actDetach}},
		{"still attaching", func(e *eni.ENI) { e.Attachment.Status = "attaching" }, proven(graceNone, 0), step{Act: actDetach}},
		{"available", available, proven(graceNone, 0), step{Act: actDelete}},
		{"detaching", detaching, proven(graceNone, 0), step{actWait, now.Add(2 * time.Second)}},
		{"detaching for a minute", detaching, proven(graceNone, time.Minute), step{actWait, now.Add(15 * time.Second)}},
		{"detaching for an hour", detaching, proven(graceNone, time.Hour), step{actWait, now.Add(30 * time.Second)}},
		{"pending", func(e *eni.ENI) { available(e); e.Status = "pending" }, proven(graceNone, 0), step{actWait, now.Add(2 * time.Second)}},
		{"in use without an attachment, as between detached and available", func(e *eni.ENI) { e.Attachment = nil }, proven(graceNone, 0),
			step{actWait, now.Add(2 * time.Second)}},
		{"primary", func(e *eni.ENI) { e.Attachment.DeviceIndex = 0 }, proven(graceNone, 0), step{Act: actRefuse}},

		{"attached elsewhere by hand", elsewhere, proven(graceNone, 0), step{Act: actRefuse}},
		{"and it is being detached there", func(e *eni.ENI) { elsewhere(e); detaching(e) }, proven(graceNone, 0), step{actWait, now.Add(2 * time.Second)}},
		{"the tag names no instance", func(e *eni.ENI) { e.Owner.Instance = "" }, proven(graceNone, 0), step{Act: actDetach}},
		{"in use, and nothing of it is known", attached, unknown, step{Act: actRefuse}},
		{"available, and nothing of it is known", available, unknown, step{Act: actDelete}},

		{"agent's grace begins", attached, proven(graceAgent, 0), step{actWait, now.Add(15 * time.Second)}},
		{"agent's grace, almost over", attached, proven(graceAgent, 14*time.Second), step{actWait, now.Add(time.Second)}},
		{"agent's grace is over", attached, proven(graceAgent, 15*time.Second), step{Act: actDetach}},
		{"agent's grace, not attached yet", available, proven(graceAgent, 0), step{actWait, now.Add(15 * time.Second)}},

		{"its Node may come back", attached, proven(graceNode, 10*time.Second), step{actWait, now.Add(50 * time.Second)}},
		{"its Node has not come back", attached, proven(graceNode, time.Minute), step{Act: actDetach}},
		{"its Node is gone, and so is the instance", available, proven(graceNode, 0), step{Act: actDelete}},
		{"its Node is gone, and it is being detached", detaching, proven(graceNode, 0), step{actWait, now.Add(2 * time.Second)}},
		{"attached again", attached, track{Decision: decision{reasonNotSelected, graceNone}, DetachAfter: now.Add(time.Minute)}, step{actWait, now.Add(time.Minute)}},
		{"attached again, and free by now", available, track{Decision: decision{reasonNotSelected, graceNone}, DetachAfter: now.Add(time.Minute)}, step{Act: actDelete}},

		{"not before a time", attached, func() track { t := proven(graceNone, 0); t.NotBefore = now.Add(time.Minute); return t }(),
			step{actWait, now.Add(time.Minute)}},
		{"waited long enough", attached, func() track { t := proven(graceNone, 0); t.NotBefore = now; return t }(), step{Act: actDetach}},

		{"old orphan, seen once", born(now.Add(-time.Hour)), orphan(1), step{Act: actWait}},
		{"old orphan, seen twice", born(now.Add(-time.Hour)), orphan(2), step{Act: actDelete}},
		{"young orphan, seen often", born(now.Add(-9 * time.Minute)), orphan(9), step{Act: actWait}},
		{"orphan of just that age", born(now.Add(-10 * time.Minute)), orphan(2), step{Act: actDelete}},
		{"orphan from a clock ahead", born(now.Add(time.Minute)), orphan(9), step{Act: actWait}},
		{"orphan without age, seen once", born(time.Time{}), orphan(1), step{Act: actWait}},
		{"orphan without age, seen twice", born(time.Time{}), orphan(2), step{Act: actDelete}},
		{"orphan from the far future, seen twice", born(now.AddDate(99, 0, 0)), orphan(2), step{Act: actDelete}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := wantedENI()
			test.eni(&e)
			if got := nextStep(e, &test.track, times, now); got != test.want {
				t.Errorf("got %s until %v, want %s until %v", got.Act, got.Until, test.want.Act, test.want.Until)
			}
		})
	}
}

func TestTrackObserve(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	var tr track
	orphan, proven := decision{reasonNodeUnknown, graceOrphan}, decision{reasonNodeReplaced, graceNone}
	check := func(what string, sweeps int, provenSince, stateSince time.Time) {
		t.Helper()
		if tr.OrphanSweeps != sweeps || !tr.ProvenSince.Equal(provenSince) || !tr.StateSince.Equal(stateSince) {
			t.Errorf("%s: found an orphan %d times, proven since %v, state since %v; want %d, %v, %v",
				what, tr.OrphanSweeps, tr.ProvenSince, tr.StateSince, sweeps, provenSince, stateSince)
		}
	}
	e := wantedENI()
	tr.observe(e, orphan, true, now)
	check("full sweep", 1, time.Time{}, now)
	tr.observe(e, orphan, false, now.Add(time.Second))
	check("a sweep between full ones does not count", 1, time.Time{}, now)
	tr.observe(e, orphan, true, now.Add(2*time.Second))
	check("second full sweep", 2, time.Time{}, now)

	tr.observe(e, proven, true, now.Add(3*time.Second))
	check("a proof ends the counting", 0, now.Add(3*time.Second), now)
	tr.NotBefore = now.Add(time.Hour)
	tr.observe(e, proven, true, now.Add(4*time.Second))
	check("proven since the first time", 0, now.Add(3*time.Second), now)
	if tr.NotBefore.IsZero() {
		t.Error("nothing moved, but the wait was cut short")
	}
	e.Attachment.Status = "detaching"
	tr.observe(e, proven, false, now.Add(5*time.Second))
	check("a new state", 0, now.Add(3*time.Second), now.Add(5*time.Second))
	if !tr.NotBefore.IsZero() {
		t.Error("the ENI moved, but the wait for the state before it goes on")
	}
	tr.NotBefore = now.Add(time.Hour)
	tr.observe(e, orphan, true, now.Add(6*time.Second))
	if !tr.NotBefore.IsZero() {
		t.Error("the reason is another one, but the wait goes on")
	}
	check("a proof that no longer holds", 1, time.Time{}, now.Add(5*time.Second))
}

// An ENI that is attached again after each Detach is detached ever later, until the decision
// about it changes.
func TestReattached(t *testing.T) {
	now := testNow
	e, v := wantedENI(), decision{reasonNotSelected, graceAgent}
	tr := &track{}
	tr.observe(e, v, false, now)
	var waits []time.Duration
	for round := range 6 {
		tr.Detached = e.Attachment.ID
		e.Attachment.Status = "detaching"
		if tr.observe(e, v, false, now) {
			t.Fatal("an attachment that is being detached counts as another one")
		}
		e.Attachment = &eni.Attachment{ID: fmt.Sprint("eni-attach-again-", round), InstanceID: "i-1", DeviceIndex: 2, Status: "attached"}
		if !tr.observe(e, v, false, now) || tr.observe(e, v, false, now) {
			t.Fatal("each attachment counts once")
		}
		waits = append(waits, max(0, tr.DetachAfter.Sub(now)))
	}
	for i, most := range []time.Duration{0, time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
		if got := waits[i]; got < most/2 || got > most {
			t.Errorf("round %d: waits %v, want %v to %v", i+1, got, most/2, most)
		}
	}
	tr.observe(e, decision{reasonNotSelected, graceNone}, false, now) // the agent is back, and has released it
	if wait := tr.DetachAfter.Sub(now); wait > reattachedRetry {
		t.Errorf("waits %v though the agent has released it", wait)
	}
}

// A Node that comes back without the label has an agent, which gets its grace period.
func TestGracePeriodBeginsAgain(t *testing.T) {
	e, tr := wantedENI(), &track{}
	tr.observe(e, decision{reasonNodeDeleted, graceNode}, false, testNow)
	back := testNow.Add(50 * time.Second)
	tr.observe(e, decision{reasonNotSelected, graceAgent}, false, back)
	if want := back.Add(fuzzTimes.ReleaseGrace); nextStep(e, tr, fuzzTimes, back) != (step{actWait, want}) {
		t.Errorf("got %+v, want a wait until %v", nextStep(e, tr, fuzzTimes, back), want)
	}
}
