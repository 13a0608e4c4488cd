package diagnose

import (
	"cmp"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// Filter chooses what a Fleet is about; what is empty chooses all.
type Filter struct {
	NodeENIs []string
	Node     string
	Labels   labels.Selector
}

func (f Filter) hasNode(x *index, node string) bool {
	if f.Node != "" && f.Node != node {
		return false
	}
	of := x.nodes[node]
	return f.Labels == nil || f.Labels.Empty() || of != nil && f.Labels.Matches(labels.Set(of.Labels))
}

// Summary counts the nodes of a NodeENI.
type Summary struct {
	NodeENI  string `json:"nodeENI"`
	Matching int    `json:"matching"`
	Ready    int    `json:"ready"`
	Deleting bool   `json:"deleting,omitempty"`
	// Created is when the NodeENI was.
	Created time.Time `json:"created,omitzero"`
	// Message says what is wrong with the NodeENI itself.
	Message string `json:"message,omitempty"`
}

// Trouble is a NodeENI that is not ready on a node.
type Trouble struct {
	Since   time.Time `json:"since,omitzero"`
	Node    string    `json:"node,omitempty"`
	NodeENI string    `json:"nodeENI"`
	Check   string    `json:"check"`
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message"`
	Next    string    `json:"next,omitempty"`
}

// ENI is one ENI that an agent reports.
type ENI struct {
	Node    string `json:"node"`
	NodeENI string `json:"nodeENI"`
	v1alpha1.ENIState
}

// Fleet is the state of all nodes and NodeENIs.
type Fleet struct {
	Ready    bool      `json:"ready"`
	NodeENIs []Summary `json:"nodeENIs"`
	// NotReady has the oldest problem first.
	NotReady    []Trouble `json:"notReady"`
	Coordinator Step      `json:"coordinator"`
	// Unread says why a resource could not be read.
	Unread map[Resource]string `json:"unread,omitempty"`

	index *index
	pairs [][2]string // node and NodeENI
}

// StatusOf sums up a Snapshot.
func StatusOf(s *Snapshot, f Filter) (Fleet, error) {
	x := newIndex(s)
	fleet := Fleet{Unread: s.Unread, index: x, Coordinator: x.coordinator(), NotReady: []Trouble{}, NodeENIs: []Summary{}}
	if f.Node != "" {
		if _, err := x.isNode(f.Node); err != nil {
			return fleet, err
		}
	}
	names := slices.Compact(slices.Sorted(slices.Values(f.NodeENIs)))
	for _, name := range names {
		if _, err := x.isNodeENI(name); err != nil {
			return fleet, err
		}
	}
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(x.nodeENIs))
	}
	for _, name := range names {
		fleet.add(x.nodeENIs[name], f)
	}
	slices.SortStableFunc(fleet.NotReady, func(a, b Trouble) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.NodeENI, b.NodeENI), cmp.Compare(a.Node, b.Node))
	})
	fleet.Ready = len(fleet.NotReady) == 0 && fleet.Coordinator.Mark != Bad
	return fleet, nil
}

// add adds a NodeENI with its nodes.
func (fleet *Fleet) add(n *v1alpha1.NodeENI, f Filter) {
	x := fleet.index
	sum := Summary{NodeENI: n.Name, Deleting: n.DeletionTimestamp != nil, Created: n.CreationTimestamp.Time}
	for _, node := range x.nodeNames() {
		if !f.hasNode(x, node) || !x.selects(n, node) {
			continue
		}
		sum.Matching++
		fleet.pairs = append(fleet.pairs, [2]string{node, n.Name})
		if sum.Deleting {
			continue
		}
		chain := x.pair(node, n).whole()
		if fleet.note(chain); onlyCoordinator(chain) {
			sum.Ready++
		}
	}
	whole := f.Node == "" && (f.Labels == nil || f.Labels.Empty())
	switch {
	case sum.Deleting:
		fleet.note(x.pair("", n).whole())
		sum.Message = "being deleted"
	case sum.Matching == 0 && whole:
		chain := x.selectsNothing(n)
		fleet.note(chain)
		sum.Message = chain.Causes()[0].Text
	}
	fleet.NodeENIs = append(fleet.NodeENIs, sum)
}

// onlyCoordinator says whether a chain has no cause but that no coordinator leads, which is
// shown once for all.
func onlyCoordinator(c Chain) bool {
	return !slices.ContainsFunc(c.Causes(), func(s Step) bool { return s.Check != "coordinator" })
}

// note keeps the first cause of a chain that is not ready.
func (fleet *Fleet) note(c Chain) {
	for _, cause := range c.Causes() {
		if cause.Check == "coordinator" && c.Node != "" {
			continue
		}
		fleet.NotReady = append(fleet.NotReady, Trouble{
			Since: cause.Since, Node: c.Node, NodeENI: c.NodeENI,
			Check: cause.Check, Reason: cause.Reason, Message: cause.Text, Next: cause.Next,
		})
		return
	}
}

// ENIs are all ENIs of the fleet, by node.
func (fleet *Fleet) ENIs() []ENI {
	var all []ENI
	for _, p := range fleet.pairs {
		n := fleet.index.nodeENIs[p[1]]
		of := entries(n, fleet.index.states[p[0]])
		for _, e := range of {
			all = append(all, ENI{Node: p[0], NodeENI: p[1], ENIState: e})
		}
		if len(of) == 0 {
			all = append(all, ENI{Node: p[0], NodeENI: p[1]})
		}
	}
	slices.SortStableFunc(all, func(a, b ENI) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.NodeENI, b.NodeENI))
	})
	return all
}

// NotReadyNodes are the nodes that are not ready, each once, the oldest problem first.
func (fleet *Fleet) NotReadyNodes() []string {
	var names []string
	for _, t := range fleet.NotReady {
		if t.Node != "" && !slices.Contains(names, t.Node) {
			names = append(names, t.Node)
		}
	}
	return names
}

// AgentOn is the pod of the agent on a node; nil if there is none.
func AgentOn(s *Snapshot, node string) *corev1.Pod { return newIndex(s).agents[node] }
