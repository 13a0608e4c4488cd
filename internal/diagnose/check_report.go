package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// agentLog is how to read the log of the node's agent.
func (p *pair) agentLog() string {
	if p.agent == nil {
		return fmt.Sprintf("see the log of the agent on %s", p.nodeName)
	}
	return fmt.Sprintf("see the agent's log: kubectl -n %s logs %s", p.agent.Namespace, p.agent.Name)
}

// checkReport says whether the agent reports, and whether it does anything.
func checkReport(p *pair) []Step {
	if why := p.Unread[NodeENIStates]; why != "" {
		return []Step{unknown("report", "the agent's report cannot be read: %s", why)}
	}
	if p.state == nil {
		return []Step{bad("report", "NoReport", p.agentLog(), "the agent has not written a report (there is no NodeENIState %s)", p.nodeName).since(p.nodeCreated())}
	}
	if s := p.state.Status; s.Reason != "" {
		text, next := split(cmp.Or(s.Message, s.Reason))
		return []Step{bad("report", s.Reason, cmp.Or(next, p.agentLog()), "the agent does nothing: %s", text).since(p.written())}
	}
	return []Step{ok("report", "last changed %s, by the agent on %s in %s", p.ago(p.written()), p.state.Status.InstanceID, p.state.Status.Zone)}
}

func (p *pair) written() time.Time {
	return lastWritten(p.state.ManagedFields, p.state.CreationTimestamp)
}

func (p *pair) nodeCreated() time.Time {
	if p.node == nil {
		return p.n.CreationTimestamp.Time
	}
	return latest(p.node.CreationTimestamp.Time, p.n.CreationTimestamp.Time)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// checkInstance compares the instance of the Node with the one that reports.
func checkInstance(p *pair) []Step {
	const replace = "a providerID cannot be changed: delete the Node and restart the kubelet, which registers it again"
	if p.node == nil {
		return nil
	}
	id, providerID := kube.InstanceID(p.node.Spec.ProviderID), p.node.Spec.ProviderID
	switch {
	case providerID == "":
		return []Step{bad("instance", "NotThisInstance", "check that the cloud controller runs, or start the kubelet with --provider-id", "the Node has no providerID").since(p.nodeCreated())}
	case id == "":
		return []Step{bad("instance", "NotThisInstance", replace, "the Node's providerID %q does not name an EC2 instance", providerID).since(p.nodeCreated())}
	case p.state == nil:
		return []Step{unknown("instance", "the Node is %s", id)}
	case id != p.state.Status.InstanceID:
		return []Step{bad("instance", "NotThisInstance", p.agentLog(), "the Node is %s, and the report is from %s: the agent on %s has not reported", id, p.state.Status.InstanceID, id).since(p.nodeCreated())}
	}
	return []Step{ok("instance", "the Node and the report are %s", id)}
}

// waiting are the reasons of an ENI that is on its way.
var waiting = []string{"", "Creating", "Attaching", "Detaching", "SettingAttributes", "Verifying", "LinkMissing", "LinkGone"}

// patience is how long an ENI may be on its way. EC2 takes seconds; five minutes is how long
// the agent waits until EC2 must show what an ENI has.
const patience = 5 * time.Minute

// checkENIs judges each ENI that the node must have. The causes come first, because other
// ENIs may wait for them.
func checkENIs(p *pair) []Step {
	if p.state == nil {
		return nil
	}
	var steps []Step
	wanted := 0
	for _, e := range p.entries {
		if !released(e) {
			wanted++
		}
		steps = append(steps, p.checkENI(e)...)
	}
	switch {
	case wanted == 0 && p.n.Spec.Attach == v1alpha1.AttachOnDemand:
		steps = append(steps, ok("ENI", "no pod on the node has claimed an ENI of this NodeENI (attach: OnDemand)"))
	case wanted == 0:
		step := unknown("ENI", "the agent has not reported an ENI of this NodeENI yet").since(latest(p.nodeCreated(), p.written()))
		step.Reason, step.waits, step.suspect, step.Next = "NotReported", true, p.Time.Sub(step.Since) > patience, p.agentLog()
		steps = append(steps, step)
	}
	slices.SortStableFunc(steps, func(a, b Step) int { return severity(a) - severity(b) })
	return steps
}

func severity(s Step) int {
	switch {
	case s.Mark == Bad:
		return 0
	case s.Mark == OK:
		return 2
	}
	return 1
}

// checkENI is the step of an ENI. That of one that is ready has two: in EC2, and on the host.
func (p *pair) checkENI(e v1alpha1.ENIState) []Step {
	name := "ENI"
	if isOfLink(e.Reason) {
		name = "link"
	}
	text, next := split(cmp.Or(e.Message, e.Reason, string(e.Phase)))
	at := e.LastTransitionTime.Time
	switch {
	case released(e):
		return []Step{unknown(name, "%s is no longer needed and is being released", cmp.Or(e.ENIID, "an ENI"))}
	case e.ObservedGeneration < p.n.Generation:
		step := unknown(name, "the agent has not observed the last change of the NodeENI yet (generation %d, now %d)", e.ObservedGeneration, p.n.Generation).since(at)
		step.Reason, step.waits, step.Next = "Outdated", true, "wait; if it lasts, "+p.agentLog()
		step.suspect = p.Time.Sub(lastWritten(p.n.ManagedFields, p.n.CreationTimestamp)) > patience
		return []Step{step}
	case e.Phase == v1alpha1.PhaseReady:
		return p.readyENI(e)
	case e.Phase != v1alpha1.PhaseFailed && slices.Contains(waiting, e.Reason):
		step := unknown(name, "%s%s: %s", prefix(e), e.Phase, cmp.Or(e.Message, e.Reason)).since(at)
		step.Reason, step.waits, step.Next = cmp.Or(e.Reason, string(e.Phase)), true, "wait: EC2 needs a few seconds"
		if p.Time.Sub(at) > patience {
			step.suspect, step.Next = true, p.agentLog()
			step.Text += fmt.Sprintf(" (for %s)", strings.TrimSuffix(p.ago(at), " ago"))
		}
		return []Step{step}
	}
	return []Step{bad(name, cmp.Or(e.Reason, string(e.Phase)), cmp.Or(next, p.agentLog()), "%s%s: %s", prefix(e), e.Phase, text).since(at)}
}

// prefix names an ENI that exists.
func prefix(e v1alpha1.ENIState) string {
	if e.ENIID == "" {
		return ""
	}
	return e.ENIID + " is "
}

func (p *pair) readyENI(e v1alpha1.ENIState) []Step {
	in := ok("ENI", "%s is attached at device index %d", e.ENIID, e.DeviceIndex)
	if e.NetworkCard > 0 {
		in.Text += fmt.Sprintf(" of network card %d", e.NetworkCard)
	}
	if len(e.Addresses) > 0 {
		in.Text += " with " + strings.Join(e.Addresses[:min(3, len(e.Addresses))], ", ")
		if more := len(e.Addresses) - 3; more > 0 {
			in.Text += fmt.Sprintf(" and %d more", more)
		}
	}
	link := ok("link", "%s is configured (MTU %d)", cmp.Or(e.InterfaceName, "the link"), e.MTU)
	if e.Message != "" {
		link.Text += "; " + e.Message
	}
	return []Step{in, link}
}

// isOfLink says whether a reason is about the link on the host.
func isOfLink(reason string) bool {
	for _, begins := range []string{"Link", "InterfaceName", "MTU", "IPv6Disabled", "RouterAdvertisements"} {
		if strings.HasPrefix(reason, begins) {
			return true
		}
	}
	return false
}
