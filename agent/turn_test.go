package agent

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// What a node adds to the backlog: what its NodeENIs give it.
func TestENIsPerNode(t *testing.T) {
	a := New(Config{})
	a.selection.nodeENIs = map[types.UID]selected{"uid-x": {selects: true}, "uid-new": {selects: true}}
	a.selection.snapshot = Snapshot{NodeENIs: []v1alpha1.NodeENI{nodeENI("x", nil), nodeENI("new", nil), nodeENI("elsewhere", nil)}}
	a.desired.wants = []want{wantFor("uid-x", subnetA, 1), wantFor("uid-x", subnetB, 2)}
	got := a.enisPerNode()
	if len(got) != 2 || got["x"] != 2 || got["new"] != 1 {
		t.Errorf("got %v", got)
	}
}
