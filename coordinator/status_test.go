package coordinator

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

var testNow = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func validNodeENI() *v1alpha1.NodeENI {
	return &v1alpha1.NodeENI{
		ObjectMeta: metav1.ObjectMeta{Name: "multi", UID: "uid-1", Generation: 3},
		Spec: v1alpha1.NodeENISpec{
			NodeSelector: map[string]string{"ng": "multi-eni"}, SubnetID: subnetA, SecurityGroupIDs: []string{"sg-0123456789abcdef0"},
		},
	}
}

func entry(subnet string, phase v1alpha1.Phase, message string) v1alpha1.ENIState {
	return v1alpha1.ENIState{
		NodeENI: "multi", NodeENIUID: "uid-1", ObservedGeneration: 3, ENIID: "eni-" + subnet, SubnetID: subnet,
		Phase: phase, Message: message, LastTransitionTime: metav1.NewTime(testNow.Add(-time.Hour)),
	}
}

func reported(node string, entries ...v1alpha1.ENIState) nodeReport {
	return nodeReport{
		node: &kube.Node{ObjectMeta: metav1.ObjectMeta{Name: node}},
		report: &v1alpha1.NodeENIState{ObjectMeta: metav1.ObjectMeta{Name: node},
			Status: v1alpha1.NodeENIStateStatus{InstanceID: "i-" + node, ENIs: entries}},
	}
}

func silent(node string) nodeReport {
	return nodeReport{node: &kube.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}}
}

// idle is a report of an agent that does nothing.
func idle(nr nodeReport) nodeReport {
	nr.report.Status.Reason, nr.report.Status.Message = "NotThisInstance", "the providerID"
	return nr
}

func TestStatusCondition(t *testing.T) {
	ready := func(node string) nodeReport { return reported(node, entry("a", v1alpha1.PhaseReady, "")) }
	failed := func(node string) nodeReport {
		return reported(node, entry("a", v1alpha1.PhaseFailed, "subnet a is full"))
	}
	older := func(phase v1alpha1.Phase) nodeReport {
		e := entry("a", phase, "no")
		e.ObservedGeneration--
		return reported("a", e)
	}
	tests := []struct {
		name   string
		change func(*v1alpha1.NodeENI)
		nodes  []nodeReport
		counts v1alpha1.NodeCounts
		want   string // status reason: message
	}{
		{"no node", nil, nil, v1alpha1.NodeCounts{}, "False NoMatchingNodes: no node matches the nodeSelector ng=multi-eni"},
		{"an agent that does nothing", nil, []nodeReport{idle(ready("a")), idle(reported("b"))}, v1alpha1.NodeCounts{Matching: 2, Failed: 2},
			"False NodesFailed: 0 of 2 nodes are ready; a: the providerID; b: the providerID"},
		{"no report", nil, []nodeReport{silent("a")}, v1alpha1.NodeCounts{Matching: 1},
			"False NodesNotReady: 0 of 1 nodes are ready; a: its agent has not reported yet"},
		{"nothing about it in the report", nil, []nodeReport{reported("a")}, v1alpha1.NodeCounts{Matching: 1},
			"False NodesNotReady: 0 of 1 nodes are ready; a: its agent has not reported yet"},
		{"on demand: no claim, one, one that fails, and no report", func(n *v1alpha1.NodeENI) { n.Spec.Attach = v1alpha1.AttachOnDemand },
			[]nodeReport{reported("a"), ready("b"), failed("c"), silent("d")}, v1alpha1.NodeCounts{Matching: 4, Ready: 2, Failed: 1},
			"False NodesFailed: 2 of 4 nodes are ready; c: subnet a is full"},
		{"ready", nil, []nodeReport{ready("a"), ready("b")}, v1alpha1.NodeCounts{Matching: 2, Ready: 2},
			"True AllNodesReady: 2 of 2 nodes are ready"},
		{"one fails", nil, []nodeReport{ready("a"), failed("b"), ready("c")}, v1alpha1.NodeCounts{Matching: 3, Ready: 2, Failed: 1},
			"False NodesFailed: 2 of 3 nodes are ready; b: subnet a is full"},
		{"failures come before waiting", nil, []nodeReport{silent("a"), failed("b")}, v1alpha1.NodeCounts{Matching: 2, Failed: 1},
			"False NodesFailed: 0 of 2 nodes are ready; b: subnet a is full"},
		{"many fail", nil, []nodeReport{failed("a"), failed("b"), failed("c"), failed("d"), failed("e")}, v1alpha1.NodeCounts{Matching: 5, Failed: 5},
			"False NodesFailed: 0 of 5 nodes are ready; a: subnet a is full; b: subnet a is full; c: subnet a is full; and 2 more"},
		{"one of a node's two is not there", nil,
			[]nodeReport{reported("a", entry("a", v1alpha1.PhaseReady, ""), entry("b", v1alpha1.PhaseAttaching, ""))}, v1alpha1.NodeCounts{Matching: 1},
			"False NodesNotReady: 0 of 1 nodes are ready; a: Attaching"},
		{"one of a node's two fails", nil,
			[]nodeReport{reported("a", entry("a", v1alpha1.PhaseAttaching, ""), entry("b", v1alpha1.PhaseFailed, "no"))}, v1alpha1.NodeCounts{Matching: 1, Failed: 1},
			"False NodesFailed: 0 of 1 nodes are ready; a: no"},
		{"ready for an older spec", nil, []nodeReport{older(v1alpha1.PhaseReady)}, v1alpha1.NodeCounts{Matching: 1},
			"False NodesNotReady: 0 of 1 nodes are ready; a: its agent has not processed the latest change of the NodeENI yet"},
		{"failed with an older spec", nil, []nodeReport{older(v1alpha1.PhaseFailed)}, v1alpha1.NodeCounts{Matching: 1},
			"False NodesNotReady: 0 of 1 nodes are ready; a: its agent has not processed the latest change of the NodeENI yet"},
		{"what is released does not count", nil,
			[]nodeReport{reported("a", entry("a", v1alpha1.PhaseReady, ""), entry("b", v1alpha1.PhaseReleasing, ""))}, v1alpha1.NodeCounts{Matching: 1, Ready: 1},
			"True AllNodesReady: 1 of 1 nodes are ready"},
		{"only released ones", nil, []nodeReport{reported("a", entry("a", v1alpha1.PhaseReleased, ""))}, v1alpha1.NodeCounts{Matching: 1},
			"False NodesNotReady: 0 of 1 nodes are ready; a: its agent has not reported yet"},
		{"a NodeENI of the same name before", func(n *v1alpha1.NodeENI) { n.UID = "uid-2" }, []nodeReport{ready("a")}, v1alpha1.NodeCounts{Matching: 1},
			"False NodesNotReady: 0 of 1 nodes are ready; a: its agent has not reported yet"},
		{"stored before the schema", func(n *v1alpha1.NodeENI) { n.Spec.MTU = -7 }, nil, v1alpha1.NodeCounts{},
			"False InvalidSpec: spec.mtu: Invalid value: -7: "},
		{"being deleted", func(n *v1alpha1.NodeENI) { n.DeletionTimestamp = &metav1.Time{} }, []nodeReport{ready("a")}, v1alpha1.NodeCounts{Matching: 1, Ready: 1},
			"False Deleting: the ENIs are being released, detached, and deleted; see the Events if the deletion does not finish"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			n := validNodeENI()
			if test.change != nil {
				test.change(n)
			}
			status := statusOf(n, test.nodes, testNow)
			c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
			got := fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
			if got != test.want && !(c.Reason == "InvalidSpec" && strings.HasPrefix(got, test.want)) {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if status.Nodes != test.counts {
				t.Errorf("got counts %+v, want %+v", status.Nodes, test.counts)
			}
			if status.ObservedGeneration != 3 || c.ObservedGeneration != 3 {
				t.Errorf("the generation is not the object's: %d, %d", status.ObservedGeneration, c.ObservedGeneration)
			}
		})
	}
}

func TestStatusAttachments(t *testing.T) {
	gone := entry("x", v1alpha1.PhaseReleased, "")
	gone.ENIID = ""
	second := entry("b", v1alpha1.PhaseReady, "")
	second.DeviceIndex = 3
	second.AttachmentID, second.SubnetCIDR, second.MTU = "eni-attach-1", "10.0.2.0/24", 9001
	nodes := []nodeReport{
		reported("a", second, entry("a", v1alpha1.PhaseReady, ""), gone),
		reported("b", entry("a", v1alpha1.PhaseConfiguring, "waiting for the link")),
		silent("c"),
		reported("d", entry("a", v1alpha1.PhaseFailed, "no address left")),
	}
	status := statusOf(validNodeENI(), nodes, testNow)
	var got []string
	for _, a := range status.Attachments {
		got = append(got, a.NodeID+"/"+a.SubnetID+" "+a.Status)
	}
	want := []string{"d/a Failed", "b/a Configuring", "a/a Ready", "a/b Ready"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	full := v1alpha1.Attachment{
		NodeID: "a", InstanceID: "i-a", ENIID: "eni-b", AttachmentID: "eni-attach-1", SubnetID: "b", SubnetCIDR: "10.0.2.0/24",
		DeviceIndex: 3, MTU: 9001, Status: "Ready", LastUpdated: second.LastTransitionTime,
	}
	if last := status.Attachments[3]; !reflect.DeepEqual(last, full) {
		t.Errorf("got %+v, want %+v", last, full)
	}
}

func TestStatusOfManyNodes(t *testing.T) {
	var nodes []nodeReport
	for i := range 300 {
		phase := v1alpha1.PhaseReady
		if i%100 == 99 {
			phase = v1alpha1.PhaseFailed
		}
		e := entry("subnet-0aaaaaaaaaaaaaaaa", phase, strings.Repeat("界", 1000))
		e.ENIID, e.AttachmentID, e.SubnetCIDR = "eni-0123456789abcdef0", "eni-attach-0123456789abcdef0", "192.168.100.128/28"
		e.DeviceIndex, e.MTU = 31, 9001
		nr := reported(fmt.Sprintf("node-%03d", i), e)
		nr.node.Name += strings.Repeat(".name", 49) // names have up to 253 characters
		nodes = append(nodes, nr)
	}
	n := validNodeENI()
	n.Status = statusOf(n, nodes, testNow)
	status := n.Status
	if encoded, err := json.Marshal(n); err != nil || len(encoded) > 100<<10 {
		t.Errorf("the object has %d bytes (%v), want at most 100 KiB", len(encoded), err)
	}
	if len(status.Attachments) != v1alpha1.MaxAttachments {
		t.Fatalf("got %d attachments, want %d", len(status.Attachments), v1alpha1.MaxAttachments)
	}
	for i, want := range []string{"node-099", "node-199", "node-299", "node-000"} {
		if got := status.Attachments[i]; !strings.HasPrefix(got.NodeID, want) || !utf8.ValidString(got.Message) {
			t.Errorf("attachment %d is of %s (%q), want %s", i, got.NodeID, got.Message, want)
		}
	}
	if status.Nodes != (v1alpha1.NodeCounts{Matching: 300, Ready: 297, Failed: 3}) {
		t.Errorf("got %+v", status.Nodes)
	}
	if message := status.Conditions[0].Message; len(message) > 2048 {
		t.Errorf("the condition's message has %d bytes", len(message))
	}
}

// TestStatusOfBadSpec: the schema takes no message of more than 32768 characters.
func TestStatusOfBadSpec(t *testing.T) {
	n := validNodeENI()
	for i := range 1000 {
		n.Spec.SubnetIDs = append(n.Spec.SubnetIDs, fmt.Sprint("no-subnet-", i))
	}
	status := statusOf(n, nil, testNow)
	if message := status.Conditions[0].Message; len(message) > 2048 || !strings.Contains(message, "no-subnet-0") {
		t.Errorf("the condition's message has %d bytes: %.200s", len(message), message)
	}
}

// TestStatusStaysTheSame: what changes nothing must not write anything.
func TestStatusStaysTheSame(t *testing.T) {
	n := validNodeENI()
	nodes := []nodeReport{reported("a", entry("a", v1alpha1.PhaseReady, ""))}
	n.Status = statusOf(n, nodes, testNow)
	later := statusOf(n, nodes, testNow.Add(time.Hour))
	if !reflect.DeepEqual(later, n.Status) {
		t.Errorf("an hour later the status of the same reports is\n%+v, was\n%+v", later, n.Status)
	}
	nodes = append(nodes, silent("b"))
	changed := statusOf(n, nodes, testNow.Add(time.Hour))
	if got := changed.Conditions[0].LastTransitionTime.Time; !got.Equal(testNow.Add(time.Hour)) {
		t.Errorf("the condition changed at %v, want an hour after %v", got, testNow)
	}
	if was := n.Status.Conditions[0].Status; was != metav1.ConditionTrue {
		t.Errorf("computing a status changed the cached object: %s", was)
	}
}

func TestBeingCreated(t *testing.T) {
	report := func(phase v1alpha1.Phase) []*v1alpha1.NodeENIState {
		return []*v1alpha1.NodeENIState{reported("a", entry("a", phase, "")).report}
	}
	node := &kube.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: kube.NodeSpec{ProviderID: "aws:///z/i-a"}}
	replaced := &kube.Node{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: kube.NodeSpec{ProviderID: "aws:///z/i-b"}}
	tests := []struct {
		name    string
		reports []*v1alpha1.NodeENIState
		node    *kube.Node
		want    bool
	}{
		{"no report", nil, node, false},
		{"pending", report(v1alpha1.PhasePending), node, true},
		{"ready, the agent knows of nothing", report(v1alpha1.PhaseReady), node, true},
		{"releasing", report(v1alpha1.PhaseReleasing), node, false},
		{"released", report(v1alpha1.PhaseReleased), node, false},
		{"pending on a Node that is gone", report(v1alpha1.PhasePending), nil, false},
		{"pending on another instance", report(v1alpha1.PhasePending), replaced, false},
	}
	for _, test := range tests {
		got := beingCreated("uid-1", test.reports, func(string) *kube.Node { return test.node })
		if got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
		if beingCreated("uid-2", test.reports, func(string) *kube.Node { return test.node }) {
			t.Errorf("%s: another NodeENI is held", test.name)
		}
	}
}

func takeDue(s *schedule, now time.Time) []string {
	names := s.dueNow(now)
	for _, name := range names {
		delete(s.due, name)
	}
	return names
}

func TestSchedule(t *testing.T) {
	const interval = 5 * time.Second
	s := newSchedule(interval)
	s.add("a", testNow)
	if got := takeDue(&s, testNow.Add(settleTime-1)); len(got) != 0 {
		t.Errorf("due before changes could gather: %q", got)
	}
	if got := takeDue(&s, testNow.Add(settleTime)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("got %q due, want a", got)
	}
	s.written["a"] = testNow
	s.add("a", testNow.Add(time.Second))
	s.add("b", testNow.Add(time.Second))
	if got := takeDue(&s, testNow.Add(interval-1)); !slices.Equal(got, []string{"b"}) {
		t.Errorf("within the interval of a: got %q due, want b", got)
	}
	if got := s.due["a"]; !got.Equal(testNow.Add(interval)) {
		t.Errorf("next is %v, want the end of the interval of a", got)
	}
	s.add("a", testNow.Add(4*time.Second)) // more changes do not put it off
	if got := takeDue(&s, testNow.Add(interval)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("after the interval: got %q due, want a", got)
	}
	s.addNow("a", testNow.Add(interval))
	if got := takeDue(&s, testNow.Add(interval)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("at once: got %q due, want a", got)
	}
	s.retryLater("a", testNow.Add(interval))
	s.addNow("a", testNow.Add(interval))
	if got := takeDue(&s, testNow.Add(interval)); len(got) != 0 {
		t.Errorf("in spite of an error: got %q due", got)
	}
}

// TestStatusConflict: a cache that lags behind the object, or is ahead of it after a
// restore of etcd, keeps no status from being written.
func TestStatusConflict(t *testing.T) {
	r := newRig(t)
	n := r.nodeENI("multi", func(n *v1alpha1.NodeENI) { n.Finalizers = []string{v1alpha1.CleanupFinalizer} })
	w := r.coordinatorAsOf().status
	for i, version := range []string{w.caches.nodeENIs.get(n.Name).ResourceVersion, "99999999999"} {
		r.patch(r.kube.API, kube.NodeENIs, n.Name, map[string]any{"spec": map[string]any{"mtu": 9001 - i}})
		w.caches.nodeENIs.get(n.Name).ResourceVersion = version
		w.sync(t.Context(), n.Name)
		if now := r.getNodeENI(n.Name); len(w.schedule.due) != 0 || now.Status.ObservedGeneration != now.Generation {
			t.Errorf("with the version %s, due again: %v; the status is of generation %d instead of %d", version, w.schedule.due, now.Status.ObservedGeneration, now.Generation)
		}
	}
}
