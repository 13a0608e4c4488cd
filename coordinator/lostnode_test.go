package coordinator

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

func reachable(name string) *kube.Node { return &kube.Node{ObjectMeta: metav1.ObjectMeta{Name: name}} }

func unreachableNode(name string) *kube.Node {
	n := reachable(name)
	n.Spec.Taints = []kube.Taint{{Key: "example.com/x"}, {Key: taintUnreachable, Effect: "NoExecute"}}
	return n
}

// When the coordinator looks at the pods that wait for a node, in seconds.
func TestLostNodesDue(t *testing.T) {
	up, down := reachable("a"), unreachableNode("a")
	type event struct {
		at       int
		old, now *kube.Node
		report   bool
	}
	for name, test := range map[string]struct {
		events []event
		want   string
	}{
		"never lost":                           {[]event{{0, nil, up, false}}, "[]"},
		"unreachable: less and less often":     {[]event{{0, up, down, false}}, "[15 30 60 120 240]"},
		"unreachable when the process starts":  {[]event{{0, nil, down, false}}, "[15 30 60 120 240]"},
		"other changes do not begin it again":  {[]event{{0, up, down, false}, {10, down, down, false}}, "[15 30 60 120 240]"},
		"its agent reports":                    {[]event{{0, up, down, false}, {10, nil, nil, true}, {100, nil, nil, true}}, "[25 40 70 115 130 160 220]"},
		"it returns":                           {[]event{{0, up, down, false}, {20, down, up, false}}, "[15]"},
		"it returns, and is unreachable again": {[]event{{0, up, down, false}, {5, down, up, false}, {10, up, down, false}}, "[25 40 70 130 250]"},
		"deleted":                              {[]event{{0, up, nil, false}}, "[15 30 60 120 240]"},
		"deleted, and the agent reports":       {[]event{{0, up, nil, false}, {10, nil, nil, true}}, "[15 30 60 120 240]"},
		"deleted, and registered again":        {[]event{{0, up, nil, false}, {10, nil, up, false}}, "[]"},
		"deleted, another is unreachable":      {[]event{{0, up, nil, false}, {10, nil, down, false}}, "[25 40 70 130 250]"},
		"unreachable, then deleted":            {[]event{{0, up, down, false}, {20, down, nil, false}}, "[15 30 60 120 240]"},
	} {
		l, start, got := newLostNodes(), time.Unix(1000, 0), []int{}
		for second := range 300 {
			at := start.Add(time.Duration(second) * time.Second)
			for _, e := range test.events {
				switch {
				case e.at != second:
				case e.report:
					l.agentReported("a", at)
				default:
					l.nodeChanged(e.old, e.now, at)
				}
			}
			for range l.due(at) {
				got = append(got, second)
			}
		}
		if fmt.Sprint(got) != test.want {
			t.Errorf("%s: at %v, want %s", name, got, test.want)
		}
	}
}

// Deleted Nodes are forgotten, also on coordinators that do not lead.
func TestLostNodesForgotten(t *testing.T) {
	l, start := newLostNodes(), time.Unix(1000, 0)
	l.nodeChanged(reachable("a"), nil, start)
	l.nodeChanged(reachable("b"), unreachableNode("b"), start)
	l.nodeChanged(nil, reachable("c"), start.Add(lostTTL+time.Second))
	if len(l.nodes) != 1 || l.nodes["b"] == nil {
		t.Errorf("it keeps %v", l.nodes)
	}
	var none *lostNodes // without --on-demand
	none.nodeChanged(nil, reachable("a"), start)
	none.agentReported("a", start)
}

// Which devices of a claim fail with their node.
func TestFailures(t *testing.T) {
	now := time.Unix(1000, 0)
	result := func(driver, pool, device string) kube.AllocationResult {
		return kube.AllocationResult{Driver: driver, Pool: pool, Device: device}
	}
	ours := result(driver.Name, "node-1", "a-0")
	reports := func(condition string, status metav1.ConditionStatus) []kube.AllocatedDevice {
		return []kube.AllocatedDevice{{Driver: driver.Name, Pool: "node-1", Device: "a-0", Conditions: []metav1.Condition{{Type: condition, Status: status}}}}
	}
	pod := func(uid types.UID) kube.ClaimConsumer { return kube.ClaimConsumer{Resource: "pods", UID: uid} }
	for name, test := range map[string]struct {
		results  []kube.AllocationResult
		reported []kube.AllocatedDevice
		by       []kube.ClaimConsumer
		want     []string
	}{
		"nothing is reported":            {[]kube.AllocationResult{ours}, nil, []kube.ClaimConsumer{pod("waits")}, []string{"a-0"}},
		"it is not reserved yet":         {[]kube.AllocationResult{ours}, nil, nil, []string{"a-0"}},
		"two devices":                    {[]kube.AllocationResult{ours, result(driver.Name, "node-1", "b-0")}, nil, nil, []string{"a-0", "b-0"}},
		"one of two is attached":         {[]kube.AllocationResult{ours, result(driver.Name, "node-1", "b-0")}, reports(driver.ConditionAttached, "True"), nil, []string{"b-0"}},
		"it is attached":                 {[]kube.AllocationResult{ours}, reports(driver.ConditionAttached, "True"), nil, nil},
		"EC2 is in trouble":              {[]kube.AllocationResult{ours}, reports(driver.ConditionAttached, "False"), nil, []string{"a-0"}},
		"it has failed":                  {[]kube.AllocationResult{ours}, reports(driver.ConditionAttachFailed, "True"), nil, nil},
		"another node's":                 {[]kube.AllocationResult{result(driver.Name, "node-2", "a-0")}, nil, nil, nil},
		"another driver's":               {[]kube.AllocationResult{result("gpu.example.com", "node-1", "a-0")}, nil, nil, nil},
		"not allocated":                  {nil, nil, nil, nil},
		"a bound pod uses it, too":       {[]kube.AllocationResult{ours}, nil, []kube.ClaimConsumer{pod("waits"), pod("bound")}, nil},
		"other consumers are left alone": {[]kube.AllocationResult{ours}, nil, []kube.ClaimConsumer{{Resource: "podgroups", UID: "waits"}}, nil},
	} {
		claim := &kube.ResourceClaim{Status: kube.ResourceClaimStatus{Devices: test.reported, ReservedFor: test.by}}
		if test.results != nil {
			claim.Status.Allocation = &kube.Allocation{Devices: kube.AllocatedDevices{Results: test.results}}
		}
		var got []string
		for _, f := range failures(claim, "node-1", "because", map[types.UID]bool{"waits": true}, now) {
			got = append(got, f.Device)
			if c := f.Conditions[0]; f.Pool != "node-1" || f.Driver != driver.Name || len(f.Conditions) != 1 || c.Type != driver.ConditionAttachFailed || c.Status != "True" || c.Reason != "NodeLost" || c.Message != "because" {
				t.Errorf("%s: %+v", name, f)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func TestLossOf(t *testing.T) {
	for want, node := range map[string]*kube.Node{"node-1 was deleted": nil, "node-1 is unreachable": unreachableNode("node-1")} {
		if got := lossOf("node-1", node); !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := lossOf("node-1", reachable("node-1")); got != "" {
		t.Error(got)
	}
}
