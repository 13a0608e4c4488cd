package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// EC2 lets an account make so many calls a second and keeps no queue: of a fleet
// that starts at once most are refused, and whoever asks again soon is refused
// again, a dozen times per node among 1,000. So nobody asks again soon. The
// NodeENIs' status tells how many nodes wait, EC2's documentation how many calls
// a second it takes: each node draws its turn from the time that serving all of
// them takes. Calls then arrive as fast as EC2 takes them, and few are refused
// twice. Nothing but the moment of a call rests on the status, and one that does not
// change is not believed for long.

const (
	// statusAge is how old a status may be: the coordinator writes one every 5 s.
	// Before that it may not know of the crowd.
	statusAge = 5500 * time.Millisecond
	// statusJitter is added to it.
	statusJitter = 1500 * time.Millisecond
	// lookAgain is how long a turn is waited for without another look at the
	// status: the crowd may go, and nobody may write the status any more.
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
	return crowdPace.delay(n - 1)
}

// crowd is what the status tells of the ENIs that NodeENIs of this node give to
// nodes, if it is known.
type crowd struct {
	waiting, ready int
	unknown        bool
}

// served is how long EC2 takes to serve all who wait.
func (c crowd) served(bucket eni.Bucket) time.Duration {
	return time.Duration(float64(c.waiting) / bucket.PerSecond * float64(time.Second))
}

// turn is the wait of a call for its turn.
type turn struct {
	due   bool      // to be drawn, or looked at again, when the failure's wait is over
	idle  time.Time // since when a crowd may be waiting like this one
	at    time.Time // zero until it is drawn
	ready int       // what the status told at the last look
}

// look draws the turn, or sees whether it may stay; refused is how often in a row
// EC2 has refused the call. It returns how long to wait from now on.
func (t turn) look(c crowd, bucket eni.Bucket, refused int, now time.Time) (turn, time.Duration) {
	stale := !t.at.IsZero() && c.ready == t.ready // then it tells nothing
	switch {
	case c.unknown && !t.at.IsZero():
		c.ready = t.ready // the turn stays
	case c.unknown: // a crowd asks the API server, too
		t.at = now.Add(rand.N(lookAgain))
	case t.at.IsZero():
		// Those before the first refusal have been served, though the status may
		// not show them ready yet. Who was refused again has waited longer.
		c.waiting = (c.waiting - max(bucket.Size-c.ready, 0)) >> min(refused-1, 20)
		t.at = now.Add(rand.N(max(c.served(bucket)-now.Sub(t.idle), soonest)))
	case stale:
		t.at = now
	case now.Add(c.served(bucket)).Before(t.at):
		t.at = now.Add(rand.N(max(c.served(bucket), soonest)))
	}
	t.ready = c.ready
	wait := t.at.Sub(now)
	t.due = wait > lookAgain
	return t, min(wait, lookAgain)
}

// findTurns looks at the status for the throttled calls whose wait is over.
func (a *Agent) findTurns(ctx context.Context, now time.Time) {
	if a.counting || !a.failures.turnDue(now) {
		return
	}
	perNode := a.enisPerNode()
	a.counting = true
	go func() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		var c crowd
		for nodeENI, enis := range perNode {
			nodes, err := a.Source.Counts(ctx, nodeENI)
			if errors.Is(err, errors.ErrUnsupported) {
				continue
			}
			if err != nil {
				a.Log.Debug("how many nodes wait is not known", "nodeENI", nodeENI, "error", err)
				c.unknown = true
				continue
			}
			c.waiting += enis * max(int(nodes.Matching-nodes.Ready-nodes.Failed), 0)
			c.ready += enis * int(nodes.Ready)
		}
		a.results <- func() {
			a.counting = false
			a.failures.giveTurns(c, time.Now())
		}
	}()
}

// enisPerNode is how many ENIs each NodeENI that selects this node gives it.
func (a *Agent) enisPerNode() map[string]int {
	wanted := map[types.UID]int{}
	for _, w := range a.desired.wants {
		wanted[w.uid]++
	}
	perNode := map[string]int{}
	for _, n := range a.snapshot.NodeENIs {
		if a.selecting[n.UID] {
			perNode[n.Name] = max(wanted[n.UID], 1) // its subnets may not be known yet
		}
	}
	return perNode
}

// turnDue says whether the status is to be looked at.
func (f failures) turnDue(now time.Time) bool {
	for _, failed := range f {
		if failed.turn.due && !now.Before(failed.until) {
			return true
		}
	}
	return false
}

// giveTurns has all look that are to.
func (f failures) giveTurns(c crowd, now time.Time) {
	for key, failed := range f {
		if !failed.turn.due || now.Before(failed.until) {
			continue
		}
		var wait time.Duration
		failed.turn, wait = failed.turn.look(c, eni.BucketOf(failed.action), failed.attempts, now)
		failed.until = now.Add(wait)
		f[key] = failed
	}
}
