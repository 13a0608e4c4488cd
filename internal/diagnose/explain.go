package diagnose

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// Group is a chain, and what it also stands for: nodes or NodeENIs with the same cause.
type Group struct {
	Chain
	// Also are the other nodes, or the other NodeENIs, with the same cause.
	Also []string `json:"also,omitempty"`
}

// Explanation answers why a node or a NodeENI is not ready.
type Explanation struct {
	// Title names what is explained.
	Title string `json:"title"`
	// Groups are the chains that are not ready, or all if each is ready.
	Groups []Group `json:"groups"`
	// Ready are the nodes, or the NodeENIs, that are.
	Ready []string `json:"ready,omitempty"`
	// Kind is what Also and Ready name: "node" or "NodeENI".
	Kind string `json:"kind,omitempty"`
}

// IsReady says whether nothing is wrong.
func (e Explanation) IsReady() bool {
	return !slices.ContainsFunc(e.Groups, func(g Group) bool { return !g.Chain.Ready() })
}

// NameError is a name that does not say which object is meant.
type NameError struct{ text string }

func (e *NameError) Error() string { return e.text }

// Explain explains a Node, a NodeENI, a NodeENI on a Node, or the pod of the Snapshot. A name
// may have the prefix node/ or nodeeni/.
func Explain(s *Snapshot, names ...string) (Explanation, error) {
	x := newIndex(s)
	if len(s.Absent) > 0 {
		return x.notInstalled(), nil
	}
	if s.Pod != nil {
		return x.explainPod(), nil
	}
	node, nodeENI, err := x.resolve(names)
	switch {
	case err != nil:
		return Explanation{}, err
	case node == "":
		return x.explainNodeENI(x.nodeENIs[nodeENI]), nil
	case nodeENI == "":
		return x.explainNode(node), nil
	}
	chain := x.pair(node, x.nodeENIs[nodeENI]).whole()
	return Explanation{Title: fmt.Sprintf("NodeENI %s on node %s", nodeENI, node), Groups: []Group{{Chain: chain}}}, nil
}

func (x *index) notInstalled() Explanation {
	var names []string
	for _, r := range x.Absent {
		names = append(names, string(r)+"."+v1alpha1.GroupVersion.Group)
	}
	next := install
	if x.daemonSet != nil {
		next = "apply the CRDs of the version that runs here: " + repository + "/manifests/crds"
	}
	step := bad("CRDs", "NotInstalled", next, "the API server does not serve %s", strings.Join(names, " and "))
	return Explanation{Title: "aws-multi-eni", Groups: []Group{{Chain: Chain{Steps: []Step{step}}}}}
}

// resolve says which Node and which NodeENI are meant.
func (x *index) resolve(names []string) (node, nodeENI string, err error) {
	if len(names) == 2 {
		if node, err = x.isNode(strings.TrimPrefix(names[0], "node/")); err != nil {
			return "", "", err
		}
		nodeENI, err = x.isNodeENI(strings.TrimPrefix(names[1], "nodeeni/"))
		return node, nodeENI, err
	}
	if name, ok := strings.CutPrefix(names[0], "node/"); ok {
		node, err = x.isNode(name)
		return node, "", err
	}
	if name, ok := strings.CutPrefix(names[0], "nodeeni/"); ok {
		nodeENI, err = x.isNodeENI(name)
		return "", nodeENI, err
	}
	name := names[0]
	node, noNode := x.isNode(name)
	nodeENI, noNodeENI := x.isNodeENI(name)
	switch {
	case noNode != nil && noNodeENI != nil && x.Unread[Nodes] != "":
		return "", "", fmt.Errorf("there is no NodeENI %q, and the plugin cannot check whether there is a Node %q: %s", name, name, x.Unread[Nodes])
	case noNode != nil && noNodeENI != nil:
		near := append(nearest(name, x.nodeNames()), nearest(name, slices.Sorted(maps.Keys(x.nodeENIs)))...)
		return "", "", &NameError{fmt.Sprintf("%q is neither a Node nor a NodeENI%s", name, didYouMean(near))}
	case noNode == nil && noNodeENI == nil:
		return "", "", &NameError{fmt.Sprintf("%q is a Node and a NodeENI: write node/%s or nodeeni/%s", name, name, name)}
	}
	return node, nodeENI, nil
}

// KnowsNode returns an error if there is no such Node, or if that is not known.
func KnowsNode(s *Snapshot, name string) error {
	_, err := newIndex(s).isNode(name)
	return err
}

func (x *index) isNode(name string) (string, error) {
	all := x.nodeNames()
	switch has := slices.Contains(all, name); {
	case !has && x.Unread[Nodes] != "":
		return "", fmt.Errorf("the plugin cannot check whether there is a Node %q: %s", name, x.Unread[Nodes])
	case !has:
		return "", &NameError{fmt.Sprintf("there is no Node %q%s", name, didYouMean(nearest(name, all)))}
	}
	return name, nil
}

func (x *index) isNodeENI(name string) (string, error) {
	if x.nodeENIs[name] == nil {
		return "", &NameError{fmt.Sprintf("there is no NodeENI %q%s", name, didYouMean(nearest(name, slices.Sorted(maps.Keys(x.nodeENIs)))))}
	}
	return name, nil
}

func didYouMean(near []string) string {
	if len(near) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(near, " or ") + "?"
}

// nearest are up to three names that are much like the one that was given.
func nearest(name string, among []string) []string {
	distance := func(other string) int {
		if len(name) >= 3 && strings.Contains(other, name) {
			return 1
		}
		return editDistance(name, other)
	}
	near := slices.DeleteFunc(slices.Clone(among), func(other string) bool { return distance(other) > max(2, len(name)/4) })
	slices.SortStableFunc(near, func(a, b string) int { return cmp.Compare(distance(a), distance(b)) })
	return near[:min(3, len(near))]
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// explainNode explains all NodeENIs that select the node.
func (x *index) explainNode(node string) Explanation {
	e := Explanation{Title: "Node " + node, Kind: "NodeENI"}
	var chains []Chain
	for _, name := range slices.Sorted(maps.Keys(x.nodeENIs)) {
		if n := x.nodeENIs[name]; x.selects(n, node) || n.DeletionTimestamp != nil && len(entries(n, x.states[node])) > 0 {
			chains = append(chains, x.pair(node, n).whole())
		}
	}
	if len(chains) == 0 {
		e.Groups = []Group{{Chain: x.unselected(node)}}
		return e
	}
	e.group(chains, func(c Chain) string { return c.NodeENI })
	return e
}

// unselected is the chain of a node that no NodeENI selects: that of the NodeENI whose
// selector needs the fewest labels.
func (x *index) unselected(node string) Chain {
	c := Chain{Node: node}
	if len(x.nodeENIs) == 0 {
		c.Steps = []Step{bad("NodeENI", "NoNodeENI", "create a NodeENI; for examples, see "+repository+"/examples", "there is no NodeENI")}
		return c
	}
	of := x.nodes[node]
	if of == nil {
		c.Steps = []Step{unknown("selector", "cannot read the labels of %s, and its agent reports no ENI: %s", node, x.Unread[Nodes])}
		c.Steps[0].waits, c.Steps[0].Next = true, moreRights
		return c
	}
	names := slices.Sorted(maps.Keys(x.nodeENIs))
	missing := func(name string) int { return len(missingLabels(x.nodeENIs[name].Spec.NodeSelector, of)) }
	best := slices.MinFunc(names, func(a, b string) int { return missing(a) - missing(b) })
	step := checkSelector(x.pair(node, x.nodeENIs[best]))[0]
	step.Text = fmt.Sprintf("no NodeENI selects the node; for %s, %s", best, step.Text)
	c.NodeENI, c.Steps = best, []Step{step}
	return c
}

// explainNodeENI explains all nodes that the NodeENI selects.
func (x *index) explainNodeENI(n *v1alpha1.NodeENI) Explanation {
	e := Explanation{Title: "NodeENI " + n.Name, Kind: "node"}
	if n.DeletionTimestamp != nil {
		e.Groups = []Group{{Chain: x.pair("", n).whole()}}
		return e
	}
	var chains []Chain
	for _, node := range x.nodeNames() {
		if x.selects(n, node) {
			chains = append(chains, x.pair(node, n).whole())
		}
	}
	if len(chains) == 0 {
		e.Groups = []Group{{Chain: x.selectsNothing(n)}}
		return e
	}
	e.group(chains, func(c Chain) string { return c.Node })
	return e
}

// selectsNothing is the chain of a NodeENI that selects no node.
func (x *index) selectsNothing(n *v1alpha1.NodeENI) Chain {
	p := x.pair("", n)
	c := p.chain(checkSpec)
	if !c.Ready() {
		return c
	}
	text := "no node has the labels " + selectorText(n.Spec.NodeSelector)
	next := "label the nodes that must have these ENIs: kubectl label node NODE " + strings.ReplaceAll(selectorText(n.Spec.NodeSelector), ",", " ")
	for _, key := range slices.Sorted(maps.Keys(n.Spec.NodeSelector)) {
		count := 0
		for i := range x.Nodes {
			if x.Nodes[i].Labels[key] == n.Spec.NodeSelector[key] {
				count++
			}
		}
		if len(n.Spec.NodeSelector) > 1 {
			text += fmt.Sprintf("; %d of %d nodes have %s=%s", count, len(x.Nodes), key, n.Spec.NodeSelector[key])
		}
	}
	if others := x.otherValues(n.Spec.NodeSelector); others != "" {
		text += "; " + others
		next = "correct nodeSelector, or " + next
	}
	step := bad("selector", "NoMatchingNodes", next, "%s", text).since(n.CreationTimestamp.Time)
	if x.Unread[Nodes] != "" {
		step = unknown("selector", "cannot tell which nodes have the labels %s: %s; no agent reports an ENI of this NodeENI", selectorText(n.Spec.NodeSelector), x.Unread[Nodes])
		if why := x.Unread[NodeENIStates]; why != "" {
			step.Text = fmt.Sprintf("cannot read the nodes and ENIs of this NodeENI: %s; %s", x.Unread[Nodes], why)
		}
		step.waits, step.Next = true, moreRights
	}
	c.Steps = append(c.Steps, step)
	return c
}

// otherValues are those that nodes have of labels of which no node has the selector's value.
// One of the two is often a typo.
func (x *index) otherValues(selector map[string]string) string {
	var found []string
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		others := map[string]bool{}
		for i := range x.Nodes {
			if value, has := x.Nodes[i].Labels[key]; has {
				others[key+"="+value] = true
			}
		}
		if !others[key+"="+selector[key]] {
			found = append(found, slices.Sorted(maps.Keys(others))...)
		}
	}
	if len(found) == 0 {
		return ""
	}
	return "nodes have " + some(found)
}

// group sorts chains into groups with one cause each, the oldest cause first. If all are
// ready, the first chain shows that.
func (e *Explanation) group(chains []Chain, name func(Chain) string) {
	by := map[string]int{}
	for _, c := range chains {
		if c.Ready() {
			e.Ready = append(e.Ready, name(c))
			continue
		}
		cause := c.Causes()[0]
		key := cause.Check + "\x00" + cause.Reason
		if i, seen := by[key]; seen {
			e.Groups[i].Also = append(e.Groups[i].Also, name(c))
			continue
		}
		by[key] = len(e.Groups)
		e.Groups = append(e.Groups, Group{Chain: c})
	}
	slices.SortStableFunc(e.Groups, func(a, b Group) int { return a.Causes()[0].Since.Compare(b.Causes()[0].Since) })
	if len(e.Groups) == 0 {
		e.Groups = []Group{{Chain: chains[0], Also: e.Ready[1:]}}
		e.Ready = nil
	}
}
