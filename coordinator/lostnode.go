package coordinator

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

const (
	// lostGrace is how long a Node must be deleted or unreachable, and its agent silent,
	// before pods stop waiting for its ENIs.
	lostGrace = 15 * time.Second
	// maxLostWait is the most between two looks at the pods that wait for a lost node: the
	// scheduler may nominate more of them.
	maxLostWait = 2 * time.Minute
	// lostTTL is how long after the deletion of a Node pods may wait for its ENIs: the
	// scheduler gives up after 10 minutes.
	lostTTL = 15 * time.Minute
	// taintUnreachable is set by Kubernetes when the kubelet of a Node has been silent.
	taintUnreachable = "node.kubernetes.io/unreachable"
	// reasonNodeLost is that of the condition AttachFailed.
	reasonNodeLost = "NodeLost"
)

// lostNodes are the Nodes that are deleted or unreachable. Coordinators that do not lead keep
// them, too: a new leader has seen the deletions. All methods of a nil pointer do nothing.
type lostNodes struct {
	mu    sync.Mutex
	nodes map[string]*lostNode
}

type lostNode struct {
	last      *kube.Node
	deletedAt time.Time // zero: the Node is unreachable
	since     time.Time // when it was lost, or its agent reported last
	next      time.Time // when to look at its pods again
}

func newLostNodes() *lostNodes { return &lostNodes{nodes: map[string]*lostNode{}} }

// nodeChanged takes in an event: now is nil for a Node that is gone.
func (l *lostNodes) nodeChanged(old, now *kube.Node, at time.Time) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.prune(at)
	last := cmp.Or(now, old)
	known := l.nodes[last.Name]
	switch {
	case now != nil && !unreachable(now):
		delete(l.nodes, now.Name)
	case known == nil, now != nil && !known.deletedAt.IsZero(): // a new Node of that name
		known = &lostNode{since: at}
		l.nodes[last.Name] = known
		fallthrough
	default:
		if known.last = last; now == nil {
			known.deletedAt = at
		}
	}
}

// agentReported notes that the agent of an unreachable Node works.
func (l *lostNodes) agentReported(name string, at time.Time) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := l.nodes[name]; n != nil && n.deletedAt.IsZero() {
		n.since, n.next = at, time.Time{}
	}
}

// due are the Nodes to look at now, as they were last, and notes that they are looked at.
func (l *lostNodes) due(now time.Time) (due []*kube.Node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.prune(now)
	for _, n := range l.nodes {
		if now.Sub(n.since) < lostGrace || now.Before(n.next) {
			continue
		}
		n.next = now.Add(min(now.Sub(n.since), maxLostWait))
		due = append(due, n.last)
	}
	slices.SortFunc(due, func(a, b *kube.Node) int { return cmp.Compare(a.Name, b.Name) })
	return due
}

// prune drops Nodes that were deleted long ago; l.mu is held.
func (l *lostNodes) prune(now time.Time) {
	maps.DeleteFunc(l.nodes, func(_ string, n *lostNode) bool { return !n.deletedAt.IsZero() && now.Sub(n.deletedAt) > lostTTL })
}

func unreachable(n *kube.Node) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t kube.Taint) bool { return t.Key == taintUnreachable })
}

// waitingPods are those that are not bound, by UID, and the claims that they use.
func waitingPods(pods []kube.Pod) (waiting map[types.UID]bool, claims map[types.NamespacedName]bool) {
	waiting, claims = map[types.UID]bool{}, map[types.NamespacedName]bool{}
	for _, pod := range pods {
		if pod.Spec.NodeName != "" {
			continue
		}
		waiting[pod.UID] = true
		for _, name := range pod.ClaimNames() {
			claims[types.NamespacedName{Namespace: pod.Namespace, Name: name}] = true
		}
	}
	return waiting, claims
}

// failures are the entries to write of the claim's devices that a lost node does not attach
// any more. A claim that other pods may use than those that wait is left alone: they may be
// bound.
func failures(claim *kube.ResourceClaim, node, message string, waiting map[types.UID]bool, now time.Time) (all []kube.AllocatedDevice) {
	if slices.ContainsFunc(claim.Status.ReservedFor, func(c kube.ClaimConsumer) bool { return c.Resource != kube.Pods || !waiting[c.UID] }) {
		return nil
	}
	for _, r := range claim.AllocatedFrom(driver.Name, node) {
		if status := claim.DeviceStatus(r); status != nil &&
			(meta.IsStatusConditionTrue(status.Conditions, driver.ConditionAttached) || meta.IsStatusConditionTrue(status.Conditions, driver.ConditionAttachFailed)) {
			continue
		}
		all = append(all, kube.AllocatedDevice{Driver: r.Driver, Pool: r.Pool, Device: r.Device, Conditions: []metav1.Condition{{
			Type: driver.ConditionAttachFailed, Status: metav1.ConditionTrue, Reason: reasonNodeLost, Message: message, LastTransitionTime: metav1.NewTime(now.Truncate(time.Second)),
		}}})
	}
	return all
}

// lossOf says what happened to a Node; "" if it is not lost, nil is one that does not exist.
func lossOf(name string, node *kube.Node) string {
	switch {
	case node == nil:
		return "the node " + name + " was deleted before its agent attached the ENI; the scheduler tries another node"
	case unreachable(node):
		return "the node " + name + " is unreachable, and its agent has not attached the ENI; the scheduler tries another node"
	}
	return ""
}
