package agent

import (
	"context"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// What an agent knows when it starts: what the one before it has reported.

// load starts from the node's last report.
func (a *Agent) load(ctx context.Context) error {
	last, err := a.Source.Load(ctx)
	if err != nil {
		return err
	}
	if last.InstanceID != "" && last.InstanceID != a.Identity.InstanceID {
		a.Log.Info("the last report is of another instance that had this node's name; it does not count, and this instance's first report takes its place", "instance", last.InstanceID)
		a.saved.InstanceID = last.InstanceID // there is one to write over, also without ENIs
		return nil
	}
	a.saved, a.current = last, last
	a.records = savedRecords(last)
	a.standings = stood(last)
	a.recallUnheard(last, time.Now())
	a.enis = slices.DeleteFunc(recall(last, a.Identity.InstanceARN()), func(t tracked) bool { return a.isPrimary(t.ENI) })
	a.links = longMissing(last)
	for i := range a.enis {
		e := &a.enis[i]
		e.collected, e.known = a.Collector != nil && e.released, time.Now()
	}
	if a.Collector != nil && last.InstanceID == "" {
		a.reckon(time.Now()) // a report may have been lost
	}
	return nil
}

// savedRecords are the decisions that the report holds.
func savedRecords(r v1alpha1.NodeENIStateStatus) map[slot]record {
	records := map[slot]record{}
	for _, entry := range r.ENIs {
		if entry.SubnetID == "" || entry.Phase == v1alpha1.PhaseReleased && entry.ENIID != "" || entry.Phase == v1alpha1.PhaseReleasing {
			continue
		}
		rec := record{nodeENI: entry.NodeENI, replaces: entry.Replaces}
		if entry.CreatedAt != nil {
			rec.createdAt = entry.CreatedAt.UTC()
		}
		records[slot{entry.NodeENIUID, entry.SubnetID}] = rec
	}
	return records
}

// recall is what the report tells of ENIs: enough to know them again when EC2's
// describes lag, and to notice that one is gone.
func recall(r v1alpha1.NodeENIStateStatus, instanceARN string) []tracked {
	var all []tracked
	for _, entry := range r.ENIs {
		if entry.ENIID == "" {
			continue
		}
		t := tracked{reported: true, made: entry.LastTransitionTime.Time}
		t.ID, t.MAC, t.SubnetID = entry.ENIID, entry.MAC, entry.SubnetID
		t.released = entry.Phase == v1alpha1.PhaseReleased
		t.listed = entry.Reason == reasonDeleting
		t.Owner = eni.Owner{NodeENI: entry.NodeENI, NodeENIUID: entry.NodeENIUID, Instance: instanceARN}
		if entry.CreatedAt != nil {
			t.Owner.CreatedAt = entry.CreatedAt.Time
		}
		switch entry.Phase {
		case v1alpha1.PhasePending, v1alpha1.PhaseAttaching, v1alpha1.PhaseFailed:
		case v1alpha1.PhaseConfiguring:
			// Or its link was still to come.
			t.plugged = entry.InterfaceName != "" || entry.Reason == reasonLinkGone || entry.Reason == reasonVerifying
		default:
			t.plugged = true
		}
		all = append(all, t)
	}
	return all
}
