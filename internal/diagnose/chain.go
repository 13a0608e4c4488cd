package diagnose

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// repository is where people who only have the plugin find the rest.
const repository = "https://github.com/aws-multi-eni/aws-multi-eni/tree/main"

// install is the next step where nothing is installed.
const install = "install aws-multi-eni: " + repository + "/docs/installation.md"

// moreRights is the next step for those who cannot see enough.
const moreRights = "get the permissions that the plugin needs: " + repository + "/docs/kubectl-eni.md#permissions"

// Mark is the result of a step.
type Mark string

const (
	// OK: the step is as it must be.
	OK Mark = "ok"
	// Bad: the step is a cause.
	Bad Mark = "bad"
	// Unknown: the step cannot be judged, or it is under way.
	Unknown Mark = "unknown"
)

// Step is one step of a chain.
type Step struct {
	Check string `json:"check"`
	Mark  Mark   `json:"mark"`
	// Reason is one word, such as a reason of the agent or a code of EC2.
	Reason string `json:"reason,omitempty"`
	Text   string `json:"text"`
	// Next is what to do about it.
	Next string `json:"next,omitempty"`
	// Since is when this began; zero if that is not known.
	Since time.Time `json:"since,omitzero"`

	goesOn  bool // the steps behind it count even though it is Bad
	waits   bool // Unknown because it is under way: the node is not ready
	suspect bool // Unknown that is the cause if no other step is
}

// Chain is all steps from a NodeENI to its ENIs on one node, up to the first cause.
type Chain struct {
	Node    string `json:"node,omitempty"`
	NodeENI string `json:"nodeENI,omitempty"`
	Steps   []Step `json:"steps"`
}

// Causes are the steps that keep the node from being ready: the bad ones, or without
// those the ones that are under way. A cause behind which the chain went on, such as that no
// coordinator leads, comes after one that stopped it.
func (c Chain) Causes() []Step {
	pick := func(f func(Step) bool) (some []Step) {
		for _, s := range c.Steps {
			if f(s) {
				some = append(some, s)
			}
		}
		return some
	}
	stops := pick(func(s Step) bool { return s.Mark == Bad && !s.goesOn })
	if bad := slices.Concat(stops, pick(func(s Step) bool { return s.Mark == Bad && s.goesOn })); len(bad) > 0 {
		return bad
	}
	return pick(func(s Step) bool { return s.waits })
}

// Ready says whether nothing is wrong or under way.
func (c Chain) Ready() bool { return len(c.Causes()) == 0 }

// check is a step, or several, of a chain.
type check func(*pair) []Step

// pair is a NodeENI and one of its nodes.
type pair struct {
	*index
	nodeName string
	node     *corev1.Node // nil if Nodes cannot be read
	n        *v1alpha1.NodeENI
	state    *v1alpha1.NodeENIState
	entries  []v1alpha1.ENIState
	agent    *corev1.Pod // nil if there is none, or Pods cannot be read
}

func (x *index) pair(node string, n *v1alpha1.NodeENI) *pair {
	state := x.states[node]
	return &pair{index: x, nodeName: node, node: x.nodes[node], n: n, state: state, entries: entries(n, state), agent: x.agents[node]}
}

// chain goes through the checks up to the first cause.
func (p *pair) chain(checks ...check) Chain {
	bound := make([]func() []Step, len(checks))
	for i, check := range checks {
		bound[i] = func() []Step { return check(p) }
	}
	return Chain{Node: p.nodeName, NodeENI: p.n.Name, Steps: inOrder(bound...)}
}

// inOrder are the steps of the checks up to the first cause.
func inOrder(checks ...func() []Step) (all []Step) {
	for _, check := range checks {
		steps := check()
		all = append(all, steps...)
		if slices.ContainsFunc(steps, func(s Step) bool { return s.Mark == Bad && !s.goesOn }) {
			return all
		}
	}
	if slices.ContainsFunc(all, func(s Step) bool { return s.Mark == Bad }) {
		return all
	}
	if i := slices.IndexFunc(all, func(s Step) bool { return s.suspect }); i >= 0 {
		all[i].Mark = Bad
	}
	return all
}

// whole is the chain of a NodeENI that a node must have ENIs of.
func (p *pair) whole() Chain {
	if p.n.DeletionTimestamp != nil {
		return p.chain(checkDeletion)
	}
	return p.chain(checkSpec, checkSelector, checkSubnet, checkNode, checkAgent, checkReport, checkInstance, checkCoordinator, checkENIs, checkTaint, checkPods)
}

func ok(check, format string, args ...any) Step {
	return Step{Check: check, Mark: OK, Text: fmt.Sprintf(format, args...)}
}

func unknown(check, format string, args ...any) Step {
	return Step{Check: check, Mark: Unknown, Text: fmt.Sprintf(format, args...)}
}

func bad(check, reason, next, format string, args ...any) Step {
	return Step{Check: check, Mark: Bad, Reason: reason, Next: next, Text: fmt.Sprintf(format, args...)}
}

// since sets when a step began.
func (s Step) since(t time.Time) Step {
	s.Since = t
	return s
}

// ago is the age of something in words.
func (x *index) ago(t time.Time) string {
	return duration.HumanDuration(max(0, x.Time.Sub(t))) + " ago"
}

// split divides a message of an agent or coordinator into what is wrong and what to do, which
// begins at the first semicolon or sentence that is not in parentheses: those hold the words
// of EC2.
func split(message string) (text, next string) {
	depth := 0
	for i, c := range message {
		switch c {
		case '(':
			depth++
		case ')':
			depth--
		case ';':
			if depth <= 0 && strings.HasPrefix(message[i:], "; ") && i > 0 {
				return message[:i], advice(message[i+2:])
			}
		case '.':
			if depth <= 0 && sentence.MatchString(message[i:]) {
				return message[:i], advice(strings.ToLower(message[i+2:i+3]) + message[i+3:])
			}
		}
	}
	return message, ""
}

// sentence matches between two sentences. A name such as EC2 begins none of ours.
var sentence = regexp.MustCompile(`^\. [A-Z][a-z]`)

// advice says that there is nothing to do if an agent or a coordinator does it.
func advice(text string) string {
	for _, actor := range []string{"it is ", "the call is retried", "the agent ", "the coordinator "} {
		if strings.HasPrefix(text, actor) {
			return "wait: " + text
		}
	}
	return text
}
