package coordinator

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// stuckAfter is how long an ENI may stay as it is before an Event says so; a
// detach takes 2 to 3 seconds as a rule, and over 200 have been seen.
const stuckAfter = time.Minute

// reporter tells people, in the log and in Events, what becomes of ENIs and NodeENIs.
type reporter struct {
	events *kube.Recorder
	log    *slog.Logger
}

func refOf(n *v1alpha1.NodeENI) kube.ObjectReference {
	return nodeENIRef(eni.Owner{NodeENI: n.Name, NodeENIUID: n.UID})
}

// nodeENIRef refers to a NodeENI, which may be gone: Events outlive objects.
func nodeENIRef(o eni.Owner) kube.ObjectReference {
	return kube.ObjectReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeENI", Name: o.NodeENI, UID: o.NodeENIUID}
}

func ownerAttrs(e eni.ENI) []any {
	return []any{"eni", e.ID, "node", e.Owner.Node, "instance", e.Owner.InstanceID(), "nodeENI", e.Owner.NodeENI, "subnet", e.SubnetID}
}

func (r *reporter) info(text string, e eni.ENI, attrs ...any) {
	r.log.Info(text, append(ownerAttrs(e), attrs...)...)
}
func (r *reporter) warn(text string, e eni.ENI, attrs ...any) {
	r.log.Warn(text, append(ownerAttrs(e), attrs...)...)
}

// event is about the NodeENI of the ENI's tag. Without that tag the log has to do.
func (r *reporter) event(e eni.ENI, eventType, reason, format string, args ...any) {
	if e.Owner.NodeENI != "" {
		r.events.Event(nodeENIRef(e.Owner), eventType, reason, format, args...)
	}
}

func (r *reporter) settled(res result, t *track) {
	switch res.outcome {
	case outcomeDone:
		r.done(res)
	case outcomeRefused:
		r.refused(res)
	case outcomeLater:
		r.info("EC2 cannot yet "+string(res.act)+" the ENI; it is tried again", res.eni, "error", eni.Advice(actionOf(res.act), res.err))
		r.stuck(res.eni, t, res.err)
	}
}

func (r *reporter) done(res result) {
	e, why := res.eni, reasons[res.verdict.Reason]
	event, did, text := "ENIDeleted", "is deleted", fmt.Sprintf("Deleted %s of node %s: %s", e.ID, e.Owner.Node, why)
	if res.act == actDetach {
		event, did, text = "ENIDetached", "is being detached", fmt.Sprintf("Detaching %s from node %s (%s): %s", e.ID, e.Owner.Node, e.Attachment.InstanceID, why)
	}
	r.info("ENI "+did, e, "reason", res.verdict.Reason)
	r.event(e, kube.EventNormal, event, "%s", text)
	if e.Owner.Node != "" {
		r.events.Event(kube.NodeRef(e.Owner.Node), kube.EventNormal, event, "%s of NodeENI %s %s: %s", e.ID, e.Owner.NodeENI, did, why)
	}
}

func (r *reporter) refused(res result) {
	e := res.eni
	if res.act == actRefuse {
		why := refusal(e, res.verdict)
		r.warn("ENI is left over, but it is not detached", e, "reason", res.verdict.Reason, "attachedTo", e.Attachment.InstanceID, "because", why)
		r.event(e, kube.EventWarning, "ENIRefused", "%s of node %s is left over (%s), but it is not detached from %s: %s",
			e.ID, e.Owner.Node, reasons[res.verdict.Reason], e.Attachment.InstanceID, why)
		return
	}
	advice := eni.Advice(actionOf(res.act), res.err)
	r.warn("EC2 refuses to "+string(res.act)+" the ENI", e, "error", advice)
	r.event(e, kube.EventWarning, "ENIRefused", "%s of node %s: %s", e.ID, e.Owner.Node, advice)
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

// stuck says that an ENI has not moved for long: since when, not how long, so that
// repeating it makes no new Event. err is EC2's last answer, if there is one.
func (r *reporter) stuck(e eni.ENI, t *track, err error) {
	if t.StateSince.IsZero() || time.Since(t.StateSince) < stuckAfter || t.Verdict.Grace == graceOrphan {
		return
	}
	since := t.StateSince.UTC().Format(time.TimeOnly)
	if e.Attachment != nil {
		r.event(e, kube.EventWarning, "ENIStuck",
			"%s of node %s has been %s at %s since %s UTC. If that instance hangs, stop it, or force the detach: aws ec2 detach-network-interface --force --attachment-id %s",
			e.ID, e.Owner.Node, e.Attachment.Status, e.Attachment.InstanceID, since, e.Attachment.ID)
		return
	}
	says := "status " + e.Status
	if err != nil {
		says += "; " + eni.Advice("DeleteNetworkInterface", err)
	}
	r.event(e, kube.EventWarning, "ENIStuck", "EC2 has not deleted %s of node %s since %s UTC (%s); it is tried again",
		e.ID, e.Owner.Node, since, says)
}

// attachedAgain: an agent that reaches EC2 and not the API server may do so.
func (r *reporter) attachedAgain(e eni.ENI, t *track) {
	r.warn("a detached ENI was attached again", e, "reason", t.Verdict.Reason, "times", t.Undone, "nextDetach", t.DetachAfter)
	r.event(e, kube.EventWarning, "ENIAttachedAgain",
		"%s of node %s is left over (%s) and was detached, but it has been attached to %s again (%d times so far). "+
			"The node's agent may not reach the API server, and so not know; see its log and its network. Until that is put right, the ENI is detached less and less often",
		e.ID, e.Owner.Node, reasons[t.Verdict.Reason], e.Attachment.InstanceID, t.Undone)
}

func (r *reporter) notConfirmed(j job, err error) {
	r.warn("ENI stays until the API server confirms that it is left over", j.eni, "error", err)
	r.event(j.eni, kube.EventWarning, "NotConfirmed",
		"%s of node %s is left over (%s), but it stays until the API server confirms that, which it is asked again and again: %v. The coordinator needs the right to get nodeenis, nodeenistates and nodes",
		j.eni.ID, j.eni.Owner.Node, reasons[j.verdict.Reason], err)
}

// notListed says that EC2 shows nothing, also of the NodeENIs that wait for it in vain.
func (r *reporter) notListed(err error, deleting []*v1alpha1.NodeENI) {
	advice := eni.Advice("DescribeNetworkInterfaces", err)
	r.log.Warn("the cluster's ENIs could not be listed", "error", advice)
	for _, n := range deleting {
		r.events.Event(refOf(n), kube.EventWarning, "EC2Unavailable", "The deletion waits for EC2: %s", advice)
	}
}

// contradicted says what speaks against what EC2 shows of the NodeENI.
func (r *reporter) contradicted(n *v1alpha1.NodeENI, c contradiction) {
	if c != (contradiction{}) {
		r.events.Event(refOf(n), kube.EventWarning, c.Reason, "%s", c.Message)
	}
}

func (r *reporter) finalizerNotRemoved(n *v1alpha1.NodeENI, err error) {
	r.log.Warn("the finalizer could not be removed; it is tried again", "nodeENI", n.Name, "error", err)
	r.events.Event(refOf(n), kube.EventWarning, "FinalizerNotRemoved",
		"EC2 shows no ENI of it any more, but the finalizer %s could not be removed, which is tried again and again: %v. The coordinator needs the right to patch nodeenis",
		v1alpha1.CleanupFinalizer, err)
}
