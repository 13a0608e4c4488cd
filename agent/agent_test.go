package agent

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// What waits for people is tried again when they have changed something.
func TestNoticeForgives(t *testing.T) {
	object := func(uid types.UID, generation int64) v1alpha1.NodeENI {
		return v1alpha1.NodeENI{ObjectMeta: metav1.ObjectMeta{UID: uid, Generation: generation}}
	}
	snapshot := func(labels map[string]string, all ...v1alpha1.NodeENI) Snapshot {
		return Snapshot{NodeExists: true, Labels: labels, NodeENIs: all}
	}
	ng := map[string]string{"ng": "multi-eni"}
	before := snapshot(ng, object("x", 1), object("y", 1))
	for _, test := range []struct {
		name    string
		after   Snapshot
		forgive bool
	}{
		{"nothing", before, false},
		{"another order", snapshot(ng, object("y", 1), object("x", 1)), false},
		{"a spec", snapshot(ng, object("x", 2), object("y", 1)), true},
		{"a new NodeENI", snapshot(ng, object("x", 1), object("y", 1), object("z", 1)), true},
		{"a NodeENI less", snapshot(ng, object("x", 1)), true},
		{"a label", snapshot(nil, object("x", 1), object("y", 1)), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := New(Config{})
			a.notice(before)
			a.failures.add("attach", "AttachNetworkInterface", ec2Error("AttachmentLimitExceeded", ""), time.Now())
			a.notice(test.after)
			if forgiven := len(a.failures) == 0; forgiven != test.forgive {
				t.Errorf("forgiven: %v, want %v", forgiven, test.forgive)
			}
		})
	}
}
