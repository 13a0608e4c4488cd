package agent

import (
	"context"
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
// twice. Nothing but the moment of a call rests on the status.

const (
	// statusAge is how old a status may be: the coordinator writes one every 5 s.
	// Before that it may not know of the crowd.
	statusAge = 5500 * time.Millisecond
	// statusJitter is added to it.
	statusJitter = 1500 * time.Millisecond
	// lookAgain is the time after which a turn that is farther away is drawn
	// again: some give up, others join.
	lookAgain = 30 * time.Second
	// soonest is the least time that turns are spread over.
	soonest = 500 * time.Millisecond
	// crowding is the part of the time to serve all that turns are spread over:
	// a few refusals are better than calls that nobody makes.
	crowding = 0.9
)

// throttledDelay is how long the wait after the n-th refusal in a row is before
// the turn is drawn, from 0.
func throttledDelay(n int) time.Duration {
	if n == 0 {
		return statusAge + rand.N(statusJitter)
	}
	return crowdPace.delay(n - 1)
}

// drawTurn is when one of a backlog of ENIs makes its call, of which EC2 takes
// perSecond; idle is how long nobody has called, so that EC2 has calls to spare.
func drawTurn(backlog int, perSecond float64, idle time.Duration) time.Duration {
	all := time.Duration(crowding * float64(backlog) / perSecond * float64(time.Second))
	return rand.N(max(all-idle, soonest))
}

// findTurns has the turns drawn of the throttled calls whose wait is over.
func (a *Agent) findTurns(ctx context.Context, now time.Time) {
	if a.counting || !a.failures.findTurn(now) {
		return
	}
	perNode := a.enisPerNode()
	a.counting = true
	go func() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		backlog := 0
		for nodeENI, enis := range perNode {
			nodes, err := a.Source.Waiting(ctx, nodeENI)
			if err != nil {
				a.Log.Debug("how many nodes wait is not known", "nodeENI", nodeENI, "error", err)
				continue
			}
			backlog += nodes * enis
		}
		a.results <- func() {
			a.counting = false
			a.failures.giveTurns(backlog, time.Now())
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

// findTurn says whether there is a throttled call whose turn is to be drawn.
func (f failures) findTurn(now time.Time) bool {
	for _, failed := range f {
		if failed.queued && !now.Before(failed.until) {
			return true
		}
	}
	return false
}

// giveTurns draws the turns that are to be drawn.
func (f failures) giveTurns(backlog int, now time.Time) {
	for key, failed := range f {
		if !failed.queued || now.Before(failed.until) {
			continue
		}
		ahead := backlog >> min(failed.attempts-1, 20) // who was refused again has waited longer
		wait := drawTurn(ahead, eni.CallsPerSecond(failed.action), now.Sub(failed.idle))
		failed.queued = wait > lookAgain
		failed.until = now.Add(min(wait, lookAgain))
		failed.idle = failed.until // meanwhile others call
		f[key] = failed
	}
}
