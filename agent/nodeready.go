package agent

import (
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

// standing says how a NodeENI that selects this node stands here.
type standing struct {
	nodeENI string // name
	state   standingState
	// since is when a NodeENI that is fading ceased to be ready; zero while it is
	// not known that it has.
	since time.Time
}

type standingState int

const (
	// notReady: an ENI of it is not Ready, or it has not been Ready yet.
	notReady standingState = iota
	// fading: it was ready, and is not at the moment, or it is not known whether
	// it is. Its label stays as it is.
	fading
	// allReady: each of its ENIs on this node is Ready.
	allReady
)

// stand works out how each NodeENI that selects this node stands, from how it
// stood before, what is wanted, and what is reported.
func stand(before map[types.UID]standing, d desired, entries []v1alpha1.ENIState, certain bool, now time.Time) map[types.UID]standing {
	after := map[types.UID]standing{}
	for uid, name := range d.selecting() {
		ready, known := d.ready(uid, entries)
		s := standing{nodeENI: name}
		switch was := before[uid]; {
		case known && ready && certain:
			s.state = allReady
		case was.state == notReady:
		case !known || !certain:
			s.state, s.since = fading, was.since
		case was.since.IsZero():
			s.state, s.since = fading, now
		case now.Sub(was.since) < readyPatience:
			s.state, s.since = fading, was.since
		}
		after[uid] = s
	}
	return after
}

// stood is what is remembered across a restart: what is reported may have been
// ready, and the label, which the Node has kept, tells whether it was.
func stood(last v1alpha1.NodeENIStateStatus) map[types.UID]standing {
	before := map[types.UID]standing{}
	for _, e := range last.ENIs {
		if e.Phase != v1alpha1.PhaseReleasing && e.Phase != v1alpha1.PhaseReleased {
			before[e.NodeENIUID] = standing{nodeENI: e.NodeENI, state: fading}
		}
	}
	return before
}

// selecting are the NodeENIs that select this node, with their names.
func (d *desired) selecting() map[types.UID]string {
	names := map[types.UID]string{}
	for _, p := range d.problems {
		names[p.uid] = p.nodeENI
	}
	for _, w := range d.wants {
		names[w.uid] = w.nodeENI
	}
	return names
}

// ready says whether all ENIs of the NodeENI are reported as Ready. While its
// subnets and groups are being asked for, that is not known.
func (d *desired) ready(uid types.UID, entries []v1alpha1.ENIState) (ready, known bool) {
	for _, p := range d.problems {
		if p.uid == uid {
			return false, p.reason != reasonResolving
		}
	}
	for _, w := range d.wants {
		if w.uid == uid && !slices.ContainsFunc(entries, func(e v1alpha1.ENIState) bool {
			return e.NodeENIUID == uid && e.SubnetID == w.subnet && e.Phase == v1alpha1.PhaseReady
		}) {
			return false, true
		}
	}
	return true, true
}

// fadesAt is when the NodeENI is no longer taken for ready; zero when it is not
// about to.
func (s standing) fadesAt() time.Time {
	if s.state != fading || s.since.IsZero() {
		return time.Time{}
	}
	return s.since.Add(readyPatience)
}

// nodeChange is what the Node shall show otherwise than it does.
type nodeChange struct {
	untaint     []int    // the start-up taint's places among the taints, the last first
	set, remove []string // labels, sorted
}

func (c nodeChange) empty() bool { return len(c.untaint)+len(c.set)+len(c.remove) == 0 }

// changeNode compares what the Node shows with how the NodeENIs stand. The
// start-up taint goes when all that select the node are ready, or none does.
func changeNode(show NodeReadiness, s Snapshot, standings map[types.UID]standing) nodeChange {
	var c nodeChange
	if !s.NodeExists || s.NodeProblem != "" || s.Incomplete {
		return c // or the taint might go for want of a NodeENI that is only not listed
	}
	if show.StartupTaint && everyReady(standings) {
		for i, taint := range slices.Backward(s.Taints) {
			if taint.Key == v1alpha1.StartupTaint {
				c.untaint = append(c.untaint, i)
			}
		}
	}
	if show.Labels {
		c.label(s.Labels, standings)
	}
	return c
}

func everyReady(standings map[types.UID]standing) bool {
	for _, s := range standings {
		if s.state != allReady {
			return false
		}
	}
	return true
}

func (c *nodeChange) label(labels map[string]string, standings map[types.UID]standing) {
	states := map[string]standingState{}
	for _, s := range standings {
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
