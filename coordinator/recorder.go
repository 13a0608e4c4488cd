package coordinator

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// stuckAfter is how long the state of an ENI may stay the same before an Event says so. A
// detach takes 2 to 3 seconds as a rule, and over 200 have been seen.
const stuckAfter = time.Minute

// recorder writes logs and Events about ENIs and NodeENIs.
type recorder struct {
	events *kube.Recorder
	log    *slog.Logger
}

func refOf(n *v1alpha1.NodeENI) kube.ObjectReference {
	return nodeENIRef(eni.Owner{NodeENI: n.Name, NodeENIUID: n.UID})
}

// nodeENIRef refers to a NodeENI, which may be gone: Events stay longer than their objects.
func nodeENIRef(o eni.Owner) kube.ObjectReference {
	return kube.ObjectReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeENI", Name: o.NodeENI, UID: o.NodeENIUID}
}

func ownerAttrs(e eni.ENI) []any {
	return []any{"eni", e.ID, "node", e.Owner.Node, "instance", e.Owner.InstanceID(), "nodeENI", e.Owner.NodeENI, "subnet", e.SubnetID}
}

func (r *recorder) info(text string, e eni.ENI, attrs ...any) {
	r.log.Info(text, append(ownerAttrs(e), attrs...)...)
}

func (r *recorder) warn(text string, e eni.ENI, attrs ...any) {
	r.log.Warn(text, append(ownerAttrs(e), attrs...)...)
}

// event writes an Event of the NodeENI in the ENI's tag. Without that tag there is only the
// log.
func (r *recorder) event(e eni.ENI, eventType, reason, format string, args ...any) {
	if e.Owner.NodeENI != "" {
		r.events.Event(nodeENIRef(e.Owner), eventType, reason, format, args...)
	}
}

func (r *recorder) settled(res result, t *track) {
	switch res.outcome {
	case outcomeDone:
		r.done(res)
	case outcomeRefused:
		r.refused(res)
	case outcomeLater:
		r.info("EC2 cannot "+string(res.act)+" the ENI yet; retrying", res.eni, "error", eni.Advice(actionOf(res.act), res.err))
		r.stuck(res.eni, t, res.err)
	}
}

func (r *recorder) done(res result) {
	e, why := res.eni, reasons[res.decision.Reason]
	event, did, text := "ENIDeleted", "has been deleted", fmt.Sprintf("Deleted %s of node %s: %s", e.ID, e.Owner.Node, why)
	if res.act == actDetach {
		event, did, text = "ENIDetached", "is being detached", fmt.Sprintf("Detaching %s from node %s (%s): %s", e.ID, e.Owner.Node, e.Attachment.InstanceID, why)
	}
	r.info("ENI "+did, e, "reason", res.decision.Reason)
	r.event(e, kube.EventNormal, event, "%s", text)
	if e.Owner.Node != "" {
		r.events.Event(kube.NodeRef(e.Owner.Node), kube.EventNormal, event, "%s of NodeENI %s %s: %s", e.ID, e.Owner.NodeENI, did, why)
	}
}

func (r *recorder) refused(res result) {
	e := res.eni
	if res.act == actRefuse {
		why := refusal(e, res.decision)
		r.warn("did not detach a leftover ENI", e, "reason", res.decision.Reason, "attachedTo", e.Attachment.InstanceID, "because", why)
		r.event(e, kube.EventWarning, "ENIRefused", "%s of node %s is a leftover ENI (%s), but the coordinator does not detach it from %s: %s",
			e.ID, e.Owner.Node, reasons[res.decision.Reason], e.Attachment.InstanceID, why)
		return
	}
	advice := eni.Advice(actionOf(res.act), res.err)
	r.warn("EC2 refused to "+string(res.act)+" the ENI", e, "error", advice)
	r.event(e, kube.EventWarning, "ENIRefused", "%s of node %s: %s", e.ID, e.Owner.Node, advice)
}

// refusal says why an ENI that is left over is not detached, and what to do.
func refusal(e eni.ENI, d decision) string {
	switch {
	case e.Removal() == actRefuse:
		return "it is the primary ENI of " + e.Attachment.InstanceID + ". Remove the tag networking.k8s.aws/cluster from it"
	case d.Reason == reasonBothUnknown:
		return "another cluster may have the same --cluster-name and use this ENI. Give each cluster its own name. If the ENI is not in use, detach it, and the coordinator deletes it"
	default:
		return "it was created for another instance and attached to this one manually. Detach it, and the coordinator deletes it"
	}
}

func actionOf(a act) string {
	if a == actDetach {
		return "DetachNetworkInterface"
	}
	return "DeleteNetworkInterface"
}

// stuck says that the state of an ENI has stayed the same for long: since when, not for how
// long, so that repeating it makes no new Event. err is EC2's last answer, if it was an error.
func (r *recorder) stuck(e eni.ENI, t *track, err error) {
	if t.StateSince.IsZero() || time.Since(t.StateSince) < stuckAfter || t.Decision.GracePeriod == graceOrphan {
		return
	}
	since := t.StateSince.UTC().Format(time.TimeOnly)
	answer := ""
	if e.Attachment != nil {
		if err != nil {
			answer = " (" + eni.Advice("DetachNetworkInterface", err) + ")"
		}
		r.event(e, kube.EventWarning, "ENIStuck",
			"%s of node %s has been %s on %s since %s UTC%s. If that instance does not respond, stop it, or force the detachment: aws ec2 detach-network-interface --force --attachment-id %s",
			e.ID, e.Owner.Node, e.Attachment.Status, e.Attachment.InstanceID, since, answer, e.Attachment.ID)
		return
	}
	if err != nil {
		answer = "; " + eni.Advice("DeleteNetworkInterface", err)
	}
	r.event(e, kube.EventWarning, "ENIStuck", "the coordinator has been trying to delete %s of node %s since %s UTC (status %s%s) and keeps retrying",
		e.ID, e.Owner.Node, since, e.Status, answer)
}

// attachedAgain says that an ENI was attached again after a Detach, as by an agent that
// reaches EC2 and not the API server.
func (r *recorder) attachedAgain(e eni.ENI, t *track) {
	r.warn("a detached ENI was attached again", e, "reason", t.Decision.Reason, "times", t.Reattached, "nextDetach", t.DetachAfter)
	r.event(e, kube.EventWarning, "ENIAttachedAgain",
		"%s of node %s is a leftover ENI (%s). The coordinator detached it, but it was attached to %s again (%d times so far). "+
			"Check in the log of the node's agent whether the agent can reach the API server. The coordinator waits longer before each attempt to detach the ENI",
		e.ID, e.Owner.Node, reasons[t.Decision.Reason], e.Attachment.InstanceID, t.Reattached)
}

func (r *recorder) notConfirmed(j job, err error) {
	r.warn("cannot confirm with the API server that an ENI is a leftover; retrying", j.eni, "error", err)
	r.event(j.eni, kube.EventWarning, "NotConfirmed",
		"%s of node %s is a leftover ENI (%s), but the coordinator does not delete it until the API server confirms that: %v. The coordinator retries; its ClusterRole must allow get for nodeenis, nodeenistates, and nodes",
		j.eni.ID, j.eni.Owner.Node, reasons[j.decision.Reason], err)
}

// notListed says that EC2 does not list ENIs, for which the NodeENIs that are being deleted
// wait.
func (r *recorder) notListed(err error, deleting []*v1alpha1.NodeENI) {
	advice := eni.Advice("DescribeNetworkInterfaces", err)
	r.log.Warn("cannot list the ENIs of the cluster; retrying", "error", advice)
	for _, n := range deleting {
		r.events.Event(refOf(n), kube.EventWarning, "EC2Unavailable", "cannot list the ENIs of the NodeENI in EC2, so its deletion waits: %s", advice)
	}
}

// contradicted says why the NodeENI may have an ENI that EC2 does not show.
func (r *recorder) contradicted(n *v1alpha1.NodeENI, c contradiction) {
	if c != (contradiction{}) {
		r.events.Event(refOf(n), kube.EventWarning, c.Reason, "%s", c.Message)
	}
}

func (r *recorder) finalizerNotRemoved(n *v1alpha1.NodeENI, err error) {
	r.log.Warn("cannot remove the finalizer of a NodeENI; retrying", "nodeENI", n.Name, "error", err)
	r.events.Event(refOf(n), kube.EventWarning, "FinalizerNotRemoved",
		"all ENIs of the NodeENI are deleted, but the coordinator cannot remove the finalizer %s: %v. The coordinator retries; its ClusterRole must allow patch for nodeenis",
		v1alpha1.CleanupFinalizer, err)
}
