package diagnose

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// fleetOf has n nodes, of which three are not ready, and a NodeENI that selects none.
func fleetOf(n int) *Snapshot {
	s := healthy()
	s.Nodes, s.States, s.Pods = nil, nil, s.Pods[2:]
	for i := range n {
		name := fmt.Sprintf("node-%04d", i)
		s.Nodes, s.States, s.Pods = append(s.Nodes, newNode(name)), append(s.States, newState(name)), append(s.Pods, newAgent(name))
	}
	failed(s, v1alpha1.PhaseFailed, "SecurityGroupNotFound", "no security group in the node's VPC has the group name or the Name tag \"data\"; correct securityGroupNames")
	s.States[1].Status.ENIs[0].Phase, s.States[1].Status.ENIs[0].Reason, s.States[1].Status.ENIs[0].Message = v1alpha1.PhaseAttaching, "Attaching", "waiting for EC2 to attach the ENI"
	s.States[1].Status.ENIs[0].LastTransitionTime = before(3 * time.Second)
	s.States = append(s.States[:2], s.States[3:]...)
	storage := newNodeENI("storage")
	storage.Spec.NodeSelector = map[string]string{"tier": "storage"}
	s.NodeENIs = append(s.NodeENIs, storage)
	return s
}

func TestStatus(t *testing.T) {
	for _, test := range []struct {
		name   string
		nodes  int
		filter Filter
		wide   bool
		change func(*Snapshot)
	}{
		{name: "thousand", nodes: 1000},
		{name: "wide", nodes: 4, wide: true},
		{name: "wide-on-demand", nodes: 4, wide: true, change: func(s *Snapshot) {
			s.NodeENIs[0].Spec.Attach = v1alpha1.AttachOnDemand
			s.States[0].Status.ENIs[0].Place, s.States[0].Status.ENIs[0].Claim = new(int32(0)), &v1alpha1.ClaimReference{Namespace: "tenant-a", Name: "fw-eni"}
			s.States[1].Status.ENIs[0].Place = new(int32(1))
		}},
		{name: "of-a-node", nodes: 4, filter: Filter{Node: "node-0003"}},
		{name: "of-a-NodeENI", nodes: 4, filter: Filter{NodeENIs: []string{"storage"}}},
		{name: "of-labels", nodes: 4, filter: Filter{Labels: labels.SelectorFromSet(labels.Set{"ng": "other"})}},
		{name: "deleting", nodes: 4, change: func(s *Snapshot) { deleteNodeENI(s, time.Hour); s.Lease = nil }},
		{name: "nothing", nodes: 4, change: func(s *Snapshot) { s.NodeENIs = nil }},
		{name: "unread", nodes: 4, change: func(s *Snapshot) {
			s.Pods, s.Nodes = nil, nil
			s.Unread = map[Resource]string{Nodes: "you do not have permission to list nodes", Pods: "you do not have permission to list pods"}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := fleetOf(test.nodes)
			if test.change != nil {
				test.change(s)
			}
			fleet, err := StatusOf(s, test.filter)
			if err != nil {
				t.Fatal(err)
			}
			if fleet.Ready != (len(fleet.NotReady) == 0 && fleet.Coordinator.Mark != Bad) {
				t.Errorf("ready is %v with %+v", fleet.Ready, fleet.NotReady)
			}
			var out bytes.Buffer
			Printer{Out: &out}.Fleet(fleet, test.wide)
			compare(t, "testdata/status-"+test.name+".txt", out.Bytes())
			if lines := bytes.Count(out.Bytes(), []byte("\n")); lines > 20 {
				t.Errorf("%d lines", lines)
			}
			if _, err := json.Marshal(fleet); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := StatusOf(healthy(), Filter{Node: "node-7"}); err == nil {
		t.Error("a Node that does not exist is no error")
	}
}
