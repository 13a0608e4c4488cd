package agent

import (
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// pace is how fast something that failed is tried again: the delay doubles from
// first to max, and each delay is drawn from its upper half, so that a fleet
// does not march in step.
type pace struct{ first, max time.Duration }

var (
	// Transient faults: AWS's own clients begin below a second and double.
	briskPace = pace{time.Second, 30 * time.Second}
	// A Node that others change at the same time: pods wait for the taint to go.
	hastyPace = pace{50 * time.Millisecond, 5 * time.Second}
	// EC2 throttles again at a node's turn, see turn.go: how many wait is not
	// known, or others call too.
	crowdPace = pace{2 * time.Second, time.Minute}
	// A subnet that is full: addresses come back when others release them, and
	// a fleet that waits for them shares EC2's buckets.
	coolPace = pace{30 * time.Second, 10 * time.Minute}
	// Credentials that are replaced, or a clock that is set, while nobody looks; and
	// describes that IAM does not allow, without which nothing on the node goes on.
	credentialsPace = pace{10 * time.Second, 5 * time.Minute}
	// Other calls that IAM does not allow. Nothing tells when it does, and whoever
	// has changed the policy watches; 1,000 nodes use less than half of a bucket.
	permissionPace = pace{10 * time.Second, 10 * time.Minute}
	// What may pass within seconds or last for ever: a refusal that EC2 words in a
	// way that is not known here, and an instance that is full until an ENI leaves.
	unknownPace = pace{2 * time.Second, time.Hour}
	// What only a person can change.
	slowPace = pace{30 * time.Second, time.Hour}
)

func paceOf(action string, err error) pace {
	switch {
	case errors.Is(err, errOutrun):
		return hastyPace
	case eni.IsThrottled(err):
		return crowdPace
	case eni.IsSubnetFull(err):
		return coolPace
	case eni.IsUnauthenticated(err), eni.IsTerminal(err) && strings.HasPrefix(action, "Describe"):
		return credentialsPace
	case eni.IsUnauthorized(err):
		return permissionPace
	case eni.IsAttachmentLimit(err), eni.IsRefusal(err), errors.Is(err, errWrongPlace):
		return unknownPace
	case eni.IsTerminal(err), errors.Is(err, errAbsent), errors.As(err, new(*retaggedError)):
		return slowPace
	default:
		return briskPace
	}
}

// delay is how long the wait after the n-th failure in a row is, from 0.
func (p pace) delay(n int) time.Duration {
	d := min(p.first<<min(n, 20), p.max)
	return d/2 + rand.N(d/2)
}

// failure is the last failure of one thing, and when it may be tried again.
type failure struct {
	action   string // EC2's name of the call
	slot     slot   // that the call is for; empty for describes
	err      error
	attempts int // at this pace, since the last success
	row      row
	until    time.Time
	turn     turn // of a throttled call
}

// row is what has failed since the last success. When EC2 is in trouble its errors
// alternate, so each pace counts for itself, and a code is new once.
type row struct {
	attempts map[pace]int
	since    map[string]time.Time // by code, the first
}

// terminal: waiting alone does not help, as far as anything here knows.
func (f failure) terminal() bool { return eni.IsTerminal(f.err) || eni.IsRefusal(f.err) }

// failures holds what failed, by the key of the call.
type failures map[string]failure

func (f failures) add(key, action string, err error, now time.Time) failure {
	r := f[key].row
	if r.since == nil {
		r.attempts, r.since = map[pace]int{}, map[string]time.Time{}
	}
	p, throttled := paceOf(action, err), eni.IsThrottled(err)
	wait := p.delay
	if throttled {
		wait = throttledDelay
	}
	before := r.attempts[p]
	r.attempts[p]++
	if !f.met(key, err) {
		r.since[eni.Code(err)] = now
	}
	f[key] = failure{
		action: action, err: err, attempts: before + 1, row: r,
		until: now.Add(wait(before)), turn: turn{due: throttled, idle: now},
	}
	return f[key]
}

// met says whether the error's code has been seen since the last success.
func (f failures) met(key string, err error) bool {
	_, ok := f[key].row.since[eni.Code(err)]
	return ok
}

// blocks says whether it is too early to try again.
func (f failures) blocks(key string, now time.Time) bool {
	return f[key].turn.due || now.Before(f[key].until)
}

// resting are the keys of what is not to be tried again yet.
func (f failures) resting(now time.Time) map[string]bool {
	keys := map[string]bool{}
	for key := range f {
		if f.blocks(key, now) {
			keys[key] = true
		}
	}
	return keys
}

// refused are the keys of what waits for people, and not for room on the instance.
func (f failures) refused() map[string]bool {
	keys := map[string]bool{}
	for key, failed := range f {
		if failed.terminal() && !eni.IsAttachmentLimit(failed.err) {
			keys[key] = true
		}
	}
	return keys
}
