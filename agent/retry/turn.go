package retry

import (
	"math/rand/v2"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// EC2 lets an account make so many calls a second and keeps no queue: of a fleet
// that starts at once most are refused, and an agent that asks again soon is refused
// again, a dozen times per node among 1,000. So agents do not ask again soon. The
// NodeENIs' status says how many nodes wait, EC2's documentation how many calls
// a second it takes: each node draws its turn from the time that serving all of
// them takes. Calls then arrive as fast as EC2 takes them, and few are refused
// twice. Nothing but the moment of a call rests on the status, and one that does not
// change is not believed for long.

const (
	// statusAge is how old a status may be: the coordinator writes one every 5 s.
	// Before that it may not know of the others.
	statusAge = 5500 * time.Millisecond
	// statusJitter is added to it.
	statusJitter = 1500 * time.Millisecond
	// lookAgain is how long a turn is waited for without another look at the
	// status: the others may be served, and the coordinator may have stopped writing it.
	lookAgain = 30 * time.Second
	// soonest is the least time that turns are spread over.
	soonest = 500 * time.Millisecond
)

// throttledDelay is how long the wait after the n-th refusal in a row is before
// the turn is drawn, from 0.
func throttledDelay(n int) time.Duration {
	if n == 0 {
		return statusAge + rand.N(statusJitter)
	}
	return throttledBackoff.Delay(n - 1)
}

// Fleet is what the status says of the ENIs that NodeENIs of this node give to
// nodes, if it is known.
type Fleet struct {
	Waiting, Ready int // ENIs
	Unknown        bool
}

// served is how long EC2 takes to serve all who wait.
func (f Fleet) served(bucket eni.Bucket) time.Duration {
	return time.Duration(float64(f.Waiting) / bucket.PerSecond * float64(time.Second))
}

// turn is the wait of a call for its turn.
type turn struct {
	due   bool      // to be drawn, or looked at again, when the failure's wait is over
	idle  time.Time // since when others may be waiting like this one
	at    time.Time // zero until it is drawn
	ready int       // in the status at the last look
}

// look draws the turn, or sees whether it may stay; refused is how often in a row
// EC2 has refused the call. It returns how long to wait from now on.
func (t turn) look(fleet Fleet, bucket eni.Bucket, refused int, now time.Time) (turn, time.Duration) {
	stale := !t.at.IsZero() && fleet.Ready == t.ready
	switch {
	case fleet.Unknown && !t.at.IsZero():
		fleet.Ready = t.ready // the turn stays
	case fleet.Unknown: // the others ask the API server, too
		t.at = now.Add(rand.N(lookAgain))
	case t.at.IsZero():
		// Those before the first refusal have been served, though the status may
		// not show them ready yet. Who was refused again has waited longer.
		fleet.Waiting = (fleet.Waiting - max(bucket.Size-fleet.Ready, 0)) >> min(refused-1, 20)
		t.at = now.Add(rand.N(max(fleet.served(bucket)-now.Sub(t.idle), soonest)))
	case stale:
		t.at = now
	case now.Add(fleet.served(bucket)).Before(t.at):
		t.at = now.Add(rand.N(max(fleet.served(bucket), soonest)))
	}
	t.ready = fleet.Ready
	wait := t.at.Sub(now)
	t.due = wait > lookAgain
	return t, min(wait, lookAgain)
}

// TurnDue says whether the status is to be looked at.
func (f *Failures) TurnDue(now time.Time) bool {
	return f.any(func(failed Failure) bool { return failed.turn.due && !now.Before(failed.Until) })
}

// DrawTurns draws a turn for each throttled call whose wait is over, or sees whether
// its turn may stay.
func (f *Failures) DrawTurns(fleet Fleet, now time.Time) {
	for key, failed := range f.byKey {
		if !failed.turn.due || now.Before(failed.Until) {
			continue
		}
		var wait time.Duration
		failed.turn, wait = failed.turn.look(fleet, eni.BucketOf(key.Action), failed.Attempts, now)
		failed.Until = now.Add(wait)
		f.byKey[key] = failed
	}
}
