package coordinator

import (
	"context"
	"errors"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// stuckAfter is how long an ENI may stay as it is before an Event says so; a
// detach takes 2 to 3 seconds as a rule, and over 200 have been seen.
const stuckAfter = time.Minute

// nodeENIRef refers to a NodeENI, which may be gone: Events outlive objects.
func nodeENIRef(e eni.ENI) kube.ObjectReference {
	return kube.ObjectReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeENI",
		Name: e.Owner.NodeENI, UID: e.Owner.NodeENIUID,
	}
}

// event tells whoever looks at the NodeENI of the ENI's tag. Without that tag
// the log has to do.
func (s *sweeper) event(e eni.ENI, eventType, reason, format string, args ...any) {
	if e.Owner.NodeENI != "" {
		s.events.Event(nodeENIRef(e), eventType, reason, format, args...)
	}
}

// nodeEvent tells whoever looks at the Node what has become of its ENI.
func (s *sweeper) nodeEvent(e eni.ENI, event, did string, why reason) {
	if e.Owner.Node != "" {
		s.events.Event(kube.NodeRef(e.Owner.Node), kube.EventNormal, event, "%s of NodeENI %s %s: %s", e.ID, e.Owner.NodeENI, did, why.text())
	}
}

func (s *sweeper) reportDone(r result) {
	why := r.verdict.Reason
	if r.act == actDetach {
		s.log.Info("ENI is being detached", append(ownerAttrs(r.eni), "reason", why)...)
		s.event(r.eni, kube.EventNormal, "ENIDetached", "Detaching %s from node %s (%s): %s",
			r.eni.ID, r.eni.Owner.Node, r.eni.Attachment.InstanceID, why.text())
		s.nodeEvent(r.eni, "ENIDetached", "is being detached", why)
		return
	}
	s.log.Info("ENI is deleted", append(ownerAttrs(r.eni), "reason", why)...)
	s.event(r.eni, kube.EventNormal, "ENIDeleted", "Deleted %s of node %s: %s", r.eni.ID, r.eni.Owner.Node, why.text())
	s.nodeEvent(r.eni, "ENIDeleted", "is deleted", why)
}

func (s *sweeper) reportRefused(r result) {
	if r.act == actRefuse {
		why := refusal(r.eni, r.verdict)
		s.log.Warn("ENI is left over, but it is not detached", append(ownerAttrs(r.eni), "reason", r.verdict.Reason, "attachedTo", r.eni.Attachment.InstanceID, "because", why)...)
		s.event(r.eni, kube.EventWarning, "ENIRefused", "%s of node %s is left over (%s), but it is not detached from %s: %s",
			r.eni.ID, r.eni.Owner.Node, r.verdict.Reason.text(), r.eni.Attachment.InstanceID, why)
		return
	}
	advice := eni.Advice(actionOf(r.act), r.err)
	s.log.Warn("EC2 refuses to "+string(r.act)+" the ENI", append(ownerAttrs(r.eni), "error", advice)...)
	s.event(r.eni, kube.EventWarning, "ENIRefused", "%s of node %s: %s", r.eni.ID, r.eni.Owner.Node, advice)
}

// refusal says why an ENI that is left over is not detached, and what to do.
func refusal(e eni.ENI, v verdict) string {
	switch {
	case e.Removal() == actRefuse:
		return "it is the primary interface of " + e.Attachment.InstanceID + ". Its tags are wrong: remove networking.k8s.aws/cluster from it"
	case v.Reason == reasonBothUnknown:
		return "another cluster may have the same --cluster-name, and use it: give each cluster a name of its own. If nobody uses it, detach it, and it is deleted"
	default:
		return "somebody has attached it to that instance, for which it was not made. Detach it, and it is deleted"
	}
}

func actionOf(a act) string {
	if a == actDetach {
		return "DetachNetworkInterface"
	}
	return "DeleteNetworkInterface"
}

// reportStuck says that an ENI has not moved for long. The words hold the time
// since when, not how long, so that repeating them makes no new Event. err is EC2's
// last word, if there is one.
func (s *sweeper) reportStuck(e eni.ENI, t *track, err error) {
	if t.StateSince.IsZero() || time.Since(t.StateSince) < stuckAfter || t.Verdict.Grace == graceOrphan {
		return
	}
	since := t.StateSince.UTC().Format(time.TimeOnly)
	if e.Attachment != nil {
		s.event(e, kube.EventWarning, "ENIStuck",
			"%s of node %s has been %s at %s since %s UTC. If that instance hangs, stop it, or force the detach: aws ec2 detach-network-interface --force --attachment-id %s",
			e.ID, e.Owner.Node, e.Attachment.Status, e.Attachment.InstanceID, since, e.Attachment.ID)
		return
	}
	says := "status " + e.Status
	if err != nil {
		says += "; " + eni.Advice("DeleteNetworkInterface", err)
	}
	s.event(e, kube.EventWarning, "ENIStuck", "EC2 has not deleted %s of node %s since %s UTC (%s); it is tried again",
		e.ID, e.Owner.Node, since, says)
}

// reportUndone says that somebody has attached an ENI again that was detached. An
// agent that reaches EC2 and not the API server may do so.
func (s *sweeper) reportUndone(e eni.ENI, t *track) {
	s.metrics.undone()
	s.log.Warn("a detached ENI was attached again", append(ownerAttrs(e), "reason", t.Verdict.Reason, "times", t.Undone, "nextDetach", t.DetachAfter)...)
	s.event(e, kube.EventWarning, "ENIAttachedAgain",
		"%s of node %s is left over (%s) and was detached, but it has been attached to %s again (%d times so far). "+
			"The node's agent may not reach the API server, and so not know; see its log and its network. Until that is put right, the ENI is detached less and less often",
		e.ID, e.Owner.Node, t.Verdict.Reason.text(), e.Attachment.InstanceID, t.Undone)
}

// describeFailed reports that EC2 shows nothing. NodeENIs that wait for it in
// vain should say why.
func (s *sweeper) describeFailed(ctx context.Context, err error, deleting []*v1alpha1.NodeENI) {
	if ctx.Err() != nil || errors.Is(err, context.Canceled) {
		return
	}
	advice := eni.Advice("DescribeNetworkInterfaces", err)
	s.log.Warn("the cluster's ENIs could not be listed", "error", advice)
	for _, n := range deleting {
		s.events.Event(refOf(n), kube.EventWarning, "EC2Unavailable", "The deletion waits for EC2: %s", advice)
	}
}

func refOf(n *v1alpha1.NodeENI) kube.ObjectReference {
	return kube.ObjectReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeENI", Name: n.Name, UID: n.UID}
}
