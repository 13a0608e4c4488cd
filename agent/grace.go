package agent

import (
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// Attaching has no grace period, releasing has. Programs such as node-feature-discovery
// remove their labels and set them again within seconds, and a Node that was deleted
// comes back when its kubelet starts again; an ENI that was released meanwhile would be
// detached, with all connections over it. A NodeENI that is deleted, or changed to
// select other nodes, is meant as it is, and acted on at once.

// MaxReleaseDelay is the longest wait after a label was lost: the coordinator detaches
// the ENI after 15 s in any case, and the link is to be down before.
const MaxReleaseDelay = 10 * time.Second

// nodeGrace is the wait after the Node was deleted, as in the coordinator.
const nodeGrace = time.Minute

// grace holds the NodeENIs that selected this node a moment ago, or may have, and do not
// any more for a reason that may pass.
type grace map[types.UID]lostSelection

type lostSelection struct {
	nodeENI v1alpha1.NodeENI
	noNode  bool // there is no Node of this instance; its labels are not known
	until   time.Time
}

// next takes a snapshot in. selected says which NodeENIs selected the node at the last
// one; on the first snapshot in which the Node is here it is not known, and so any may
// have.
func (g grace) next(last, s Snapshot, selected map[types.UID]selected, first bool, delay time.Duration, now time.Time) grace {
	after := grace{}
	noNode, wait := !s.NodeExists || s.NodeProblem != "", delay
	if noNode {
		wait = nodeGrace
	}
	for _, n := range s.NodeENIs {
		selects, selectedBefore := !noNode && n.Selects(s.Labels), first || selected[n.UID].selects
		meant := n.DeletionTimestamp != nil || !first && !noNode && g.selectsOthers(last, n)
		if selects || !selectedBefore || meant {
			continue
		}
		until := now.Add(wait)
		if before, waiting := g[n.UID]; waiting && before.noNode == noNode {
			until = before.until
		}
		// While the Node is another instance, or none, nothing is done at all.
		if now.Before(until) || s.NodeProblem != "" {
			after[n.UID] = lostSelection{n, noNode, until}
		}
	}
	return after
}

// selectsOthers says whether the NodeENI itself has been changed to select other nodes
// than at the last snapshot.
func (g grace) selectsOthers(last Snapshot, n v1alpha1.NodeENI) bool {
	before := g[n.UID].nodeENI
	if i := slices.IndexFunc(last.NodeENIs, func(o v1alpha1.NodeENI) bool { return o.UID == n.UID }); i >= 0 {
		before = last.NodeENIs[i]
	}
	return !maps.Equal(before.Spec.NodeSelector, n.Spec.NodeSelector)
}

// times are when grace periods end.
func (g grace) times() (times []time.Time) {
	for _, lost := range g {
		times = append(times, lost.until)
	}
	return times
}

// forLabels is how long to wait for labels that may come back.
func (g grace) forLabels(now time.Time) time.Duration {
	var longest time.Duration
	for _, lost := range g {
		if !lost.noNode {
			longest = max(longest, lost.until.Sub(now))
		}
	}
	return longest
}

// logGrace tells which NodeENIs have just been lost, and which have come back.
func (s *selection) logGrace(before grace) {
	if !s.nodeSeen {
		return
	}
	for uid, lost := range s.grace {
		if _, waited := before[uid]; !waited {
			s.Log.Info("a NodeENI no longer selects this node; its ENIs are released unless it selects the node again", "nodeENI", lost.nodeENI.Name, "until", lost.until.UTC().Format(time.RFC3339))
		}
	}
	for uid, lost := range before {
		if _, waits := s.grace[uid]; !waits && s.nodeENIs[uid].selects {
			s.Log.Info("a NodeENI selects this node again; its ENIs were not released", "nodeENI", lost.nodeENI.Name)
		}
	}
}
