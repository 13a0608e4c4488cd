package agent

import (
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// Attaching has no patience, releasing has. Programs such as node-feature-discovery
// remove their labels and set them again within seconds, and a Node that was deleted
// comes back when its kubelet starts again; an ENI that was released meanwhile would be
// detached, with all connections over it. A NodeENI that is deleted, or changed to
// select other nodes, is meant as it is, and acted on at once.

// MaxReleaseDelay is the longest wait after a label was lost: the coordinator detaches
// the ENI after 15 s in any case, and the link is to be down before.
const MaxReleaseDelay = 10 * time.Second

// nodePatience is the wait after the Node was deleted, as in the coordinator.
const nodePatience = time.Minute

// loss is a NodeENI that selected this node a moment ago, or may have, and does not
// any more for a reason that may pass.
type loss struct {
	nodeENI  v1alpha1.NodeENI
	nodeAway bool // there is no Node of this instance; its labels are not known
	until    time.Time
}

// losses are those that are still waited for.
type losses map[types.UID]loss

// next takes a snapshot in. selected says which NodeENIs selected the node at the last
// one; on the first snapshot in which the Node is here it is not known, and so any may
// have.
func (l losses) next(last, s Snapshot, selected map[types.UID]bool, first bool, delay time.Duration, now time.Time) losses {
	after := losses{}
	away := !s.NodeExists || s.NodeProblem != ""
	for _, n := range s.NodeENIs {
		if n.DeletionTimestamp != nil || !away && n.Selects(s.Labels) {
			continue
		}
		before, waiting := l[n.UID]
		switch {
		case !first && !selected[n.UID], !first && !away && l.selectsOthers(last, n):
			continue
		case waiting && before.nodeAway == away:
			before.nodeENI = n
			after[n.UID] = before
		case away:
			after[n.UID] = loss{n, true, now.Add(nodePatience)}
		default:
			after[n.UID] = loss{n, false, now.Add(delay)}
		}
		// While the Node is another instance, or none, nothing is done at all.
		if !now.Before(after[n.UID].until) && s.NodeProblem == "" {
			delete(after, n.UID)
		}
	}
	return after
}

// selectsOthers says whether the NodeENI itself has been changed to select other nodes
// than at the last snapshot.
func (l losses) selectsOthers(last Snapshot, n v1alpha1.NodeENI) bool {
	before := l[n.UID].nodeENI
	if i := slices.IndexFunc(last.NodeENIs, func(o v1alpha1.NodeENI) bool { return o.UID == n.UID }); i >= 0 {
		before = last.NodeENIs[i]
	}
	return !maps.Equal(before.Spec.NodeSelector, n.Spec.NodeSelector)
}

// wait is how long to wait for labels that may come back.
func (l losses) wait(now time.Time) time.Duration {
	var longest time.Duration
	for _, lost := range l {
		if !lost.nodeAway {
			longest = max(longest, lost.until.Sub(now))
		}
	}
	return longest
}

// outlast is for an agent that is told to stop: the same label that selects the node
// may select the DaemonSet's pods. It waits until it is clear whether the label is
// lost, and only then the last pass releases anything.
func (a *Agent) outlast() {
	snapshot, ok := a.Source.Snapshot()
	if !ok {
		return
	}
	now := time.Now()
	a.notice(snapshot, now)
	timer := time.NewTimer(a.losses.wait(now))
	defer timer.Stop()
	for {
		select {
		case apply := <-a.results:
			apply()
		case <-timer.C:
			return
		}
	}
}

// linger leaves what the NodeENI has as it is: nothing is made, changed or given up.
func (d *desired) linger(n v1alpha1.NodeENI, before []want) {
	d.named = d.named.union(refsOf(n.Spec)) // or they would be asked for again
	d.keep(n.UID, before)
}
