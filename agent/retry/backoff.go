package retry

import (
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// Backoff is how fast something that failed is tried again: the delay doubles from
// First to Max, and each delay is drawn from its upper half, so that a fleet does not
// march in step.
type Backoff struct{ First, Max time.Duration }

var (
	// Transient faults: AWS's own clients begin below a second and double.
	transientBackoff = Backoff{time.Second, 30 * time.Second}
	// Conflict is for an object that others change at the same time, and that pods
	// wait for: the Node's start-up taint.
	Conflict = Backoff{50 * time.Millisecond, 5 * time.Second}
	// EC2 throttles again at a node's turn, see turn.go: how many wait is not
	// known, or others call too.
	throttledBackoff = Backoff{2 * time.Second, time.Minute}
	// A subnet that is full: addresses come back when others release them, and
	// a fleet that waits for them shares EC2's buckets.
	subnetFullBackoff = Backoff{30 * time.Second, 10 * time.Minute}
	// Credentials that are replaced, or a clock that is set, while nobody looks; and
	// describes that IAM does not allow, without which nothing on the node goes on.
	credentialsBackoff = Backoff{10 * time.Second, 5 * time.Minute}
	// Other calls that IAM does not allow. Nothing tells when it does, and whoever
	// has changed the policy watches; 1,000 nodes use less than half of a bucket.
	permissionBackoff = Backoff{10 * time.Second, 10 * time.Minute}
	// Unknown is for what may pass within seconds or last for ever: a refusal that EC2
	// words in a way that is not known here, and an instance that is full until an ENI
	// leaves.
	Unknown = Backoff{2 * time.Second, time.Hour}
	// Terminal is for what only a person can change.
	Terminal = Backoff{30 * time.Second, time.Hour}
)

// With gives an error a backoff of its own.
func With(b Backoff, err error) error { return &withBackoff{err, b} }

type withBackoff struct {
	error
	backoff Backoff
}

func (e *withBackoff) Unwrap() error { return e.error }

func backoffOf(action string, err error) Backoff {
	var own *withBackoff
	switch {
	case errors.As(err, &own):
		return own.backoff
	case eni.IsThrottled(err):
		return throttledBackoff
	case eni.IsSubnetFull(err):
		return subnetFullBackoff
	case eni.IsUnauthenticated(err), eni.IsTerminal(err) && strings.HasPrefix(action, "Describe"):
		return credentialsBackoff
	case eni.IsUnauthorized(err):
		return permissionBackoff
	case eni.IsAttachmentLimit(err), eni.IsRefusal(err):
		return Unknown
	case eni.IsTerminal(err):
		return Terminal
	default:
		return transientBackoff
	}
}

// delay is how long the wait after the n-th failure in a row is, from 0.
func (b Backoff) delay(n int) time.Duration {
	d := min(b.First<<min(n, 20), b.Max)
	return d/2 + rand.N(d/2)
}
