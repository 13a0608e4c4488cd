package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// readyPatience is how long a NodeENI whose ENIs were ready may have one that is
// not before its label goes: what the agent repairs by itself, also a link that was
// pulled and has to be attached again, takes less, and a label that flaps moves
// pods about. A link that is missing for as long is reported as overdue.
const readyPatience = linkPatience

// nodeENIReadiness says whether a NodeENI that selects this node is ready here.
type nodeENIReadiness struct {
	nodeENI string // name
	state   readinessState
	// since is when a NodeENI that is degraded ceased to be ready; zero while it is
	// not known that it has.
	since time.Time
}

type readinessState int

const (
	// notReady: an ENI of it is not Ready, or it has not been Ready yet.
	notReady readinessState = iota
	// degraded: it was ready, and is not at the moment, or it is not known whether
	// it is. Its label stays as it is.
	degraded
	// allReady: each of its ENIs on this node is Ready.
	allReady
)

// readinessOf works out whether each NodeENI that selects this node is ready, from how it
// was before, what is wanted, and what is reported.
func readinessOf(before map[types.UID]nodeENIReadiness, d desired, entries []v1alpha1.ENIState, synced bool, now time.Time) map[types.UID]nodeENIReadiness {
	after := map[types.UID]nodeENIReadiness{}
	for uid, name := range d.selecting() {
		ready, known := d.ready(uid, entries)
		s := nodeENIReadiness{nodeENI: name}
		switch was := before[uid]; {
		case known && ready && synced:
			s.state = allReady
		case was.state == notReady:
		case !known || !synced:
			s.state, s.since = degraded, was.since
		case was.since.IsZero():
			s.state, s.since = degraded, now
		case now.Sub(was.since) < readyPatience:
			s.state, s.since = degraded, was.since
		}
		after[uid] = s
	}
	return after
}

// selecting are the NodeENIs that select this node, with their names.
func (d *desired) selecting() map[types.UID]string {
	names := map[types.UID]string{}
	for _, p := range d.problems {
		names[p.uid] = p.nodeENI
	}
	for _, w := range slices.Concat(d.wants, d.onDemand) {
		names[w.UID] = w.nodeENI
	}
	return names
}

// ready says whether all ENIs of the NodeENI are reported as Ready, but for those that
// pods claim. While its subnets and groups are being asked for, that is not known.
func (d *desired) ready(uid types.UID, entries []v1alpha1.ENIState) (ready, known bool) {
	for _, p := range d.problems {
		if p.uid == uid {
			return false, p.reason != reasonResolving
		}
	}
	for _, w := range d.wants {
		if w.UID == uid && !w.OnDemand() && !slices.ContainsFunc(entries, func(e v1alpha1.ENIState) bool {
			return slotIn(e) == w.Slot && e.Phase == v1alpha1.PhaseReady
		}) {
			return false, true
		}
	}
	return true, true
}

// nodeChange is what is to change about what the Node shows.
type nodeChange struct {
	untaint     []int    // the startup taint's places among the taints, the last first
	set, remove []string // labels, sorted
}

func (c nodeChange) empty() bool { return len(c.untaint)+len(c.set)+len(c.remove) == 0 }

// changeNode compares what the Node shows with whether the NodeENIs are ready. The
// startup taint goes when all that select the node are ready, or none does.
func changeNode(show NodeReadiness, s Snapshot, all map[types.UID]nodeENIReadiness) nodeChange {
	var c nodeChange
	if !s.tellsAll() {
		return c // or the taint might go for want of a NodeENI that is only not listed
	}
	if show.StartupTaint && everyReady(all) {
		for i, taint := range slices.Backward(s.Taints) {
			if taint.Key == v1alpha1.StartupTaint {
				c.untaint = append(c.untaint, i)
			}
		}
	}
	if show.Labels {
		c.label(s.Labels, all)
	}
	return c
}

func everyReady(all map[types.UID]nodeENIReadiness) bool {
	for _, s := range all {
		if s.state != allReady {
			return false
		}
	}
	return true
}

func (c *nodeChange) label(labels map[string]string, all map[types.UID]nodeENIReadiness) {
	states := map[string]readinessState{}
	for _, s := range all {
		key := v1alpha1.ReadyLabel(s.nodeENI)
		if state, ok := states[key]; !ok || s.state < state {
			states[key] = s.state
		}
	}
	for key, state := range states {
		if state == allReady && labels[key] != v1alpha1.ReadyLabelValue {
			c.set = append(c.set, key)
		}
	}
	for key := range labels {
		if strings.HasPrefix(key, v1alpha1.ReadyLabelPrefix) && states[key] == notReady {
			c.remove = append(c.remove, key)
		}
	}
	slices.Sort(c.set)
	slices.Sort(c.remove)
}

// Ready says why this node would not get its ENIs; nil when it would. Failures
// of single ENIs are no reason: they are in the report. It may be called at any
// time.
func (a *Agent) Ready() error { return *a.ready.Load() }

func (a *Agent) noteReady() {
	err := a.notReady()
	a.ready.Store(&err)
}

// notReady is the loop's view of it.
func (a *Agent) notReady() error {
	switch failed, refused := a.failures.Get(describeKey); {
	case a.selection.problem().Reason != "":
		return errors.New(a.selection.problem().Message)
	case !a.selection.read:
		return errors.New("not all NodeENIs and the Node have been read yet")
	case !a.selection.snapshot.NodeExists:
		return fmt.Errorf("node %q does not exist", a.Node)
	case a.inventory.Synced():
		return nil
	case refused:
		return fmt.Errorf("EC2 has not yet returned the ENIs of this instance: %w", failed.Err)
	default:
		return errors.New("EC2 has not yet returned the ENIs of this instance")
	}
}
