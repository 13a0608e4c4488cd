package agent

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// selection is which NodeENIs there are, and which of them select this node.
type selection struct {
	*shared
	snapshot    Snapshot
	read        bool                // there has been a snapshot
	generations map[types.UID]int64 // of the NodeENIs in the snapshot
	selecting   map[types.UID]bool
	grace       grace // those that selected the node a moment ago

	nodeSeen bool // the Node has been here, and was this instance
	// What was logged last, and is not logged again.
	nodeMissing bool
	lastProblem Problem
}

// setDesired takes the newest snapshot in, and works out what is desired. It says
// whether all NodeENIs are known at this moment.
func (a *Agent) setDesired(now time.Time) (complete bool) {
	snapshot, complete := a.Source.Snapshot()
	if complete {
		a.take(snapshot, now)
		a.selection.read = true
	}
	if a.selection.read && !a.selection.idle() {
		a.resolve()
	}
	return complete
}

// take takes a snapshot in.
func (a *Agent) take(s Snapshot, now time.Time) {
	before := a.selection
	a.selection.take(s, now)
	a.selection.logGrace(before.grace)
	if changed := changedNodeENIs(before, a.selection); len(changed) > 0 {
		a.retryChanged(changed, s.NodeENIs)
	}
	if s.ReportLost {
		a.reporter.lost()
	}
}

func (s *selection) take(snapshot Snapshot, now time.Time) {
	within := s.grace.next(s.snapshot, snapshot, s.selecting, !s.nodeSeen, s.ReleaseDelay, now)
	s.generations, s.selecting = map[types.UID]int64{}, map[types.UID]bool{}
	for _, n := range snapshot.NodeENIs {
		_, waits := within[n.UID]
		s.generations[n.UID] = n.Generation
		s.selecting[n.UID] = waits || snapshot.NodeExists && n.Selects(snapshot.Labels)
	}
	s.grace, s.snapshot = within, snapshot
	if !snapshot.NodeExists {
		s.snapshot.NodeENIs = nil
	}
}

// resolve works out what is wanted. When a name stands for other groups than
// before, what failed with those may be tried again.
func (a *Agent) resolve() {
	before := a.desired.wants
	s := a.selection.snapshot
	a.desired = desire(s.NodeENIs, s.Labels, a.Identity.Zone, a.catalog, before)
	a.desired.known = s.known()
	for _, lost := range a.selection.grace {
		a.desired.retain(lost.nodeENI, before)
	}
	for i := range a.desired.wants {
		w := &a.desired.wants[i]
		w.mtu = cmp.Or(w.mtu, a.DefaultMTU)
	}
	a.catalog.keep(a.desired.named)
	a.failures.RetryChanged(regrouped(before, a.desired.wants))
}

// changedNodeENIs are the NodeENIs that have changed, or select the node otherwise
// than before, and that concern it: before the change or after it.
func changedNodeENIs(before, after selection) map[types.UID]bool {
	changed := map[types.UID]bool{}
	for _, uids := range []map[types.UID]int64{before.generations, after.generations} {
		for uid := range uids {
			differs := before.generations[uid] != after.generations[uid] || before.selecting[uid] != after.selecting[uid]
			if differs && (before.selecting[uid] || after.selecting[uid]) {
				changed[uid] = true
			}
		}
	}
	return changed
}

// retryChanged lets the calls that wait for a change of one of these NodeENIs be made
// at once, and what they name be looked up.
func (a *Agent) retryChanged(changed map[types.UID]bool, nodeENIs []v1alpha1.NodeENI) {
	a.failures.RetryChanged(changed)
	for _, n := range nodeENIs {
		if !changed[n.UID] {
			continue
		}
		named := refsOf(n.Spec)
		for _, kind := range lookUpKeys {
			a.failures.RetryLookUps(kind, named.of(kind))
		}
	}
}

// forgetFailures drops those of subnets, names, slots and ENIs that are no more.
func (a *Agent) forgetFailures(now time.Time) {
	slots := a.desired.slots()
	for s := range a.intents.bySlot {
		slots[s] = true
	}
	subnets := map[string]bool{}
	for s := range slots {
		subnets[s.SubnetID] = true
	}
	a.failures.Forget(now, func(key retry.Key) bool {
		switch {
		case key.ENI != "":
			_, exists := a.inventory.Get(key.ENI)
			return exists
		case key.Name != "":
			return slices.Contains(a.desired.named.of(named(key, "")), key.Name)
		case key.NodeENI != "":
			return slots[inventory.Slot{UID: key.NodeENI, SubnetID: key.Subnet}]
		default:
			return key.Subnet == "" || subnets[key.Subnet]
		}
	})
}
