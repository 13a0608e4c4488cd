package agent

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// selection is which NodeENIs there are, and which of them select this node.
type selection struct {
	*shared
	snapshot Snapshot
	read     bool                   // there has been a snapshot
	nodeENIs map[types.UID]selected // those in the snapshot
	grace    grace                  // those that selected the node a moment ago

	nodeSeen bool // the Node has been here, and was this instance
	// What was logged last, and is not logged again.
	nodeMissing bool
	lastProblem Problem
}

// selected says whether a NodeENI selects this node, or did a moment ago, and since when
// that and the NodeENI are as they are.
type selected struct {
	generation int64
	selects    bool
	since      time.Time
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
		a.onDemand.now = now
		a.resolve()
	}
	return complete
}

// take takes a snapshot in. The calls that wait for a change of a NodeENI that has changed
// may be made at once, and what it names may be looked up.
func (a *Agent) take(s Snapshot, now time.Time) {
	before := a.selection
	a.selection.take(s, now)
	a.selection.logGrace(before.grace)
	changed := changedNodeENIs(before, a.selection)
	a.failures.RetryChanged(changed)
	for _, n := range s.NodeENIs {
		if changed[n.UID] {
			a.failures.RetryLookUps(refsOf(n.Spec))
		}
	}
	if s.ReportLost {
		a.reporter.lost()
	}
}

func (s *selection) take(snapshot Snapshot, now time.Time) {
	before := s.nodeENIs
	within := s.grace.next(s.snapshot, snapshot, before, !s.nodeSeen, s.ReleaseDelay, now)
	s.nodeENIs = map[types.UID]selected{}
	for _, n := range snapshot.NodeENIs {
		_, waits := within[n.UID]
		is := selected{n.Generation, waits || snapshot.NodeExists && n.Selects(snapshot.Labels), now}
		if was := before[n.UID]; was.generation == is.generation && was.selects == is.selects {
			is.since = was.since
		}
		s.nodeENIs[n.UID] = is
	}
	s.grace, s.snapshot = within, snapshot
	if !snapshot.NodeExists {
		s.snapshot.NodeENIs = nil
	}
}

// resolve works out what is wanted. When a name stands for other groups than
// before, what failed with those may be tried again.
func (a *Agent) resolve() {
	before := slices.Concat(a.desired.wants, a.desired.onDemand)
	s := a.selection.snapshot
	a.desired = desire(s.NodeENIs, s.Labels, a.Identity.Zone, a.catalog, before)
	a.desired.listed = s.listed()
	for _, lost := range a.selection.grace {
		a.desired.retain(lost.nodeENI, before)
	}
	for _, wants := range [][]want{a.desired.wants, a.desired.onDemand} {
		for i := range wants {
			wants[i].mtu = cmp.Or(wants[i].mtu, a.DefaultMTU)
		}
	}
	a.resolveClaims()
	a.catalog.keep(a.desired.named)
	a.failures.RetryChanged(regrouped(before, a.desired.wants))
}

// changedNodeENIs are the NodeENIs that have changed, or select the node otherwise
// than before, and that concern it: before the change or after it.
func changedNodeENIs(before, after selection) map[types.UID]bool {
	changed := map[types.UID]bool{}
	for _, uids := range []map[types.UID]selected{before.nodeENIs, after.nodeENIs} {
		for uid := range uids {
			was, is := before.nodeENIs[uid], after.nodeENIs[uid]
			if was != is && (was.selects || is.selects) {
				changed[uid] = true
			}
		}
	}
	return changed
}

// Problem is why an agent does nothing: one word, and what to do about it.
type Problem struct{ Reason, Message string }

// ReasonWrongRegion: EC2 would be asked in another Region than the instance's.
const ReasonWrongRegion = "WrongRegion"

// idle says whether nothing is done because the Node is not this instance, or has
// never been here. A node that boots may be registered late, and a wrong name has
// no Node: neither is a reason to take down what an agent before this one has set
// up. A Node that was here and was deleted wants nothing any more.
func (s *selection) idle() bool {
	return s.problem() != Problem{} || !s.snapshot.NodeExists && !s.nodeSeen
}

// problem is why nothing is done here, if there is a reason that people have to remove.
func (s *selection) problem() Problem {
	if s.Problem.Reason == "" && s.snapshot.NodeProblem != "" {
		return Problem{"NotThisInstance", s.snapshot.NodeProblem}
	}
	return s.Problem
}

// logNodeProblem says, once, why the Node is not this instance, or that there is none.
func (s *selection) logNodeProblem() {
	if missing := !s.snapshot.NodeExists && !s.snapshot.Incomplete; missing != s.nodeMissing {
		s.nodeMissing = missing
		switch {
		case missing && s.nodeSeen:
			s.Log.Warn("the Node was deleted; its ENIs are released unless the Node is registered again", "node", s.Node, "within", nodeGrace)
		case s.snapshot.NodeExists:
			s.Log.Info("the Node exists again", "node", s.Node)
		case missing:
			s.Log.Warn("the Node does not exist; waiting for it; if it has another name, correct --node-name", "node", s.Node)
		}
	}
	s.nodeSeen = s.nodeSeen || s.snapshot.NodeExists && s.problem() == Problem{}
	if problem := s.problem(); problem != s.lastProblem {
		s.lastProblem = problem
		if problem.Reason != "" {
			s.Log.Error("the agent does nothing on this node", "node", s.Node, "reason", problem.Reason, "problem", problem.Message)
			s.Recorder.Event(kube.NodeRef(s.Node), kube.EventWarning, problem.Reason, "%s", problem.Message)
		}
	}
}

// forgetFailures drops those of subnets, names, slots and ENIs that are no more.
func (a *Agent) forgetFailures(now time.Time) {
	slots := map[inventory.Slot]bool{} // without places: those of a subnet share their failures
	for _, w := range slices.Concat(a.desired.wants, a.desired.onDemand) {
		slots[inventory.Slot{UID: w.UID, SubnetID: w.SubnetID}] = true
	}
	for s := range a.intents {
		slots[inventory.Slot{UID: s.UID, SubnetID: s.SubnetID}] = true
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
		case key.Action == claimAction:
			return slices.ContainsFunc(a.selection.snapshot.Claims, func(c Claim) bool { return c.key() == key })
		case key.Name != "":
			return slices.Contains(a.desired.named, key)
		case key.NodeENI != "":
			return slots[inventory.Slot{UID: key.NodeENI, SubnetID: key.Subnet}]
		default:
			return key.Subnet == "" || subnets[key.Subnet]
		}
	})
}
