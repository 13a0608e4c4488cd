package agent

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
)

// release takes the link of an ENI down that nothing wants, once. EC2, and not a report
// that a user may have edited, says whose link it is.
func (a *Agent) release(e inventory.ENI) (events []linkEvent) {
	switch {
	case e.Use == inventory.Released && !a.linkMayBeHere(e.MAC):
		return []linkEvent{{e.ID, inventory.LinkLeft}}
	case e.TakenDown(), e.ReportedOnly():
		return nil
	}
	err := a.host.release(e, subnetOf(a.reporter.current.ENIs, e))
	if err != nil {
		return nil
	}
	a.Log.Info("released an ENI that this node no longer needs", "eni", e.ID, "nodeENI", e.Owner.NodeENI)
	if pod := a.onDemand.files.attachments().holder(e.ID).pod; pod != "" {
		a.tellPodsLose(e.Owner.NodeENI, e.Owner.NodeENIUID, e.ID+" is being released. The pod keeps running, but it loses this interface; delete the pod so that it is created again: "+pod)
	}
	return []linkEvent{{e.ID, inventory.LinkTakenDown}}
}

func (h *host) release(e inventory.ENI, subnet want) (err error) {
	var at inventory.Place
	if e.Attachment != nil {
		at = inventory.PlaceOf(e.Attachment)
	}
	wanted := wantedLink(subnet, e, at)
	if wanted.MAC != nil {
		err = h.Links.Release(wanted)
	}
	h.links[e.ID] = linkState{err: err}
	return err
}

// maySweep: while a NodeENI cannot be resolved, or the addresses of an ENI are not known,
// their rules look like leftovers, and a restart must not take them. By its
// rules, hostnet tells which addresses of a link it has still to delete.
func (a *Agent) maySweep() bool {
	if !a.desired.complete() || slices.ContainsFunc(a.inventory.All(), inventory.ENI.ReportedOnly) {
		return false
	}
	for _, l := range a.host.links {
		if l.err != nil && linkReason(l.err) == reasonLinkFailed {
			return false
		}
	}
	return true
}

// sweep removes the rules and routes of ENIs that are no more.
func (h *host) sweep(keep []hostnet.Wanted) {
	n, err := h.Links.Sweep(keep)
	if err == nil {
		h.sweepError = ""
	} else if text := err.Error(); text != h.sweepError {
		h.Log.Warn("cannot remove leftover rules or routes", "error", err)
		h.sweepError = text
	}
	h.Metrics.repaired(repairLeftover, n)
	if n > 0 {
		h.Log.Info("removed leftover rules and routes", "count", n)
	}
}

// swept says whether nothing is known to be left on the host.
func (h *host) swept() bool { return h.sweepError == "" }

// swapNames has links of ours give up names that others of ours are to have: two
// NodeENIs, or the subnets of one, have changed places, or nothing wants the ENI
// any more that still has the name.
func (h *host) swapNames(links []link, released []inventory.ENI, now time.Time) (events []linkEvent) {
	for _, l := range links {
		var taken *hostnet.NameTakenError
		if !errors.As(h.links[l.eni.ID].err, &taken) || !yields(taken, links, released) {
			continue
		}
		if err := h.Links.Yield(taken.HolderMAC, taken.Name); err != nil {
			h.Log.Warn("cannot free the name of a link", "error", err)
			continue
		}
		events = append(events, h.configure(l, now)...)
	}
	return events
}

// yields says whether the link that has the name is one of ours that has no use
// for it. One that may have any name keeps the one it has: people may use it.
func yields(taken *hostnet.NameTakenError, links []link, released []inventory.ENI) bool {
	if len(taken.HolderMAC) == 0 {
		return false // no ENI
	}
	for _, l := range links {
		if bytes.Equal(l.wanted.MAC, taken.HolderMAC) {
			return l.wanted.InterfaceName != "" && l.wanted.InterfaceName != taken.Name
		}
	}
	return slices.ContainsFunc(released, func(e inventory.ENI) bool { return bytes.Equal(hardwareAddr(e.MAC), taken.HolderMAC) })
}
