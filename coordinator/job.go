package coordinator

import "github.com/aws-multi-eni/aws-multi-eni/internal/eni"

// act is what to do with a left-over ENI.
type act = eni.Removal

const (
	actWait   = eni.RemovalWait
	actDetach = eni.RemovalDetach
	actDelete = eni.RemovalDelete
	actRefuse = eni.RemovalRefuse
)

// job is one act to carry out.
type job struct {
	eni      eni.ENI
	decision decision
	act      act
}

// result is a job carried out.
type result struct {
	job
	outcome outcome
	err     error // EC2's answer, unless done
}

// outcome is how a job ended.
type outcome string

const (
	outcomeDone      outcome = "done"      // EC2 did it, or had done it before
	outcomeLater     outcome = "later"     // EC2 cannot do it yet, or did not answer: the next describe tells
	outcomeThrottled outcome = "throttled" // too many calls
	outcomeRefused   outcome = "refused"   // until permissions, or the ENI, are changed
	outcomeSkipped   outcome = "skipped"   // EC2 refuses the same for other ENIs
	outcomePostponed outcome = "postponed" // not reached in this sweep
	outcomeDropped   outcome = "dropped"   // the decision does not hold any more
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
