package coordinator

import (
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// act is what to do with a left-over ENI.
type act = eni.Removal

const (
	actWait   = eni.RemovalWait
	actDetach = eni.RemovalDetach
	actDelete = eni.RemovalDelete
	actRefuse = eni.RemovalRefuse
)

// step is an act. A wait ends at Until; with a zero Until the next full sweep
// is soon enough.
type step struct {
	Act   act
	Until time.Time
}

// timing holds the times that decisions depend on.
type timing struct {
	Sweep        time.Duration // between full sweeps
	ReleaseGrace time.Duration
	NodeGrace    time.Duration
	OrphanAge    time.Duration
	Poll         time.Duration
}

// job is one step to carry out.
type job struct {
	eni     eni.ENI
	verdict verdict
	act     act
}

// outcome is what became of a job.
type outcome string

const (
	outcomeDone      outcome = "done"      // EC2 did it, or had done it before
	outcomeLater     outcome = "later"     // not yet, or nobody knows: the next describe tells
	outcomeThrottled outcome = "throttled" // too many calls
	outcomeRefused   outcome = "refused"   // until somebody changes something
	outcomeHeld      outcome = "held"      // EC2 refuses the same for other ENIs
	outcomePostponed outcome = "postponed" // not reached in this sweep
	outcomeDropped   outcome = "dropped"   // something changed since the decision
)

// outcomeOf reads EC2's answer to a Detach or a Delete.
func outcomeOf(err error) outcome {
	switch {
	case err == nil, eni.IsNotFound(err), eni.IsAttachmentGone(err):
		return outcomeDone
	case eni.IsThrottled(err):
		return outcomeThrottled
	case eni.IsTerminal(err):
		return outcomeRefused
	default:
		return outcomeLater
	}
}

// result is a job carried out.
type result struct {
	job
	outcome outcome
	err     error // EC2's answer, unless done
}
