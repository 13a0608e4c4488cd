package agent

import (
	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// remove adds the calls that take released ENIs out of EC2.
func (p *plan) remove(v view, byID map[string]inventory.ENI) {
	if !v.collects {
		return
	}
	p.open.Removing, p.open.MayHaveCreated = map[string]bool{}, v.unwanted()
	for _, id := range p.release {
		e := byID[id]
		if v.removing(e) {
			p.open.Removing[id] = true
		}
		if c, ok := v.removeCall(e); ok {
			p.calls = append(p.calls, c)
		}
	}
}

// removeCall is the next step of an ENI that nothing wants. Its link has been taken down
// before.
func (v view) removeCall(e inventory.ENI) (call, bool) {
	if !e.TakenDown() || e.Uncertain() || !v.mayRemove(e) {
		return call{}, false
	}
	if _, ok := v.attaching[e.ID]; ok {
		return call{}, false
	}
	c := call{slot: e.Slot(), eni: e.ID}
	switch e.Removal() {
	case eni.RemovalDetach:
		c.verb, c.attachment = detach, e.Attachment.ID
	case eni.RemovalDelete:
		c.verb = remove
	default:
		return call{}, false
	}
	return c, true
}

// mayRemove: only what bears this cluster's and this instance's tag, and is not
// attached to another instance.
func (v view) mayRemove(e inventory.ENI) bool {
	return e.Owner.Cluster == v.cluster && e.Owner.Instance == v.instanceARN &&
		(e.Attachment == nil || e.Attachment.InstanceID == v.instanceID)
}

// removing says whether an ENI that nothing wants is on its way out of EC2,
// and not held up by what only people can end.
func (v view) removing(e inventory.ENI) bool {
	switch {
	case e.ReportedOnly(): // a describe tells whose it is
		return true
	case !v.mayRemove(e), e.Removal() == eni.RemovalRefuse:
		return false
	}
	return !v.failures.Refuses(call{verb: detach, slot: e.Slot(), eni: e.ID}.key()) && !v.failures.Refuses(call{verb: remove, slot: e.Slot(), eni: e.ID}.key())
}

// empty says whether this instance has no ENI of ours, none is on its way, and
// nothing of them is left on the host.
func (a *Agent) empty() bool {
	return a.inventory.Synced() && !a.calls.mustEnd() && len(a.inventory.All()) == 0 && a.reporter.empty() && a.host.swept()
}
