package retry

import (
	"errors"
	"strings"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/backoff"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// Backoff is how fast something that failed is tried again.
type Backoff = backoff.Exponential

var (
	// Transient faults: AWS's own clients begin below a second and double.
	transientBackoff = Backoff{First: time.Second, Max: 30 * time.Second}
	// Conflict is for an object that others change at the same time, and that pods
	// wait for: the Node's startup taint.
	Conflict = Backoff{First: 50 * time.Millisecond, Max: 5 * time.Second}
	// EC2 throttles again at a node's turn, see turn.go: how many wait is not
	// known, or others call too.
	throttledBackoff = Backoff{First: 2 * time.Second, Max: time.Minute}
	// A subnet that is full: addresses come back when others release them, and
	// a fleet that waits for them shares EC2's buckets.
	subnetFullBackoff = Backoff{First: 30 * time.Second, Max: 10 * time.Minute}
	// Credentials that are replaced, or a clock that is set, while no person looks; and
	// describes that IAM does not allow, without which nothing on the node goes on.
	credentialsBackoff = Backoff{First: 10 * time.Second, Max: 5 * time.Minute}
	// Other calls that IAM does not allow. Nothing tells when it does, and whoever
	// has changed the policy watches; 1,000 nodes use less than half of a bucket.
	permissionBackoff = Backoff{First: 10 * time.Second, Max: 10 * time.Minute}
	// Unknown is for what may pass within seconds or last for ever: a refusal that EC2
	// words in a way that is not known here, and an instance that is full until an ENI
	// leaves.
	Unknown = Backoff{First: 2 * time.Second, Max: time.Hour}
	// Terminal is for what only a person can change.
	Terminal = Backoff{First: 30 * time.Second, Max: time.Hour}
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
