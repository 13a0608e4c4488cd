package agent_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// An agent that starts and finds no Node takes nothing down: the kubelet may be
// late, or --node-name wrong. When the Node goes that it has seen, it does.
func TestNodeThatIsNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, draw.From(nil))
		w.withoutCoordinator()
		links := func(what string, want int) {
			t.Helper()
			time.Sleep(10 * time.Minute)
			if n := len(w.host.Links.Links()); n != want {
				t.Errorf("%s: %d links are configured, want %d", what, n, want)
			}
		}
		there := func(is bool) { w.change(func(s *agent.Snapshot) { s.NodeExists = is }) }
		w.boot()
		links("with a Node", 1)
		w.halt(true)
		there(false)
		w.cloud.ResetCalls()
		w.boot()
		links("no Node yet", 1)
		w.halt(false)
		links("stopped", 1)
		if n := len(w.cloud.Calls()); n > 0 {
			t.Errorf("EC2 is asked %d times without need", n)
		}
		w.boot()
		there(true)
		links("the Node has come", 1)
		there(false)
		links("the Node was deleted", 0)
		w.end()
	})
}

// A report that was edited names an ENI that is not ours as one of ours that
// nothing wants. EC2 does not tell so, and its link stays as it is; after a while the
// agent no longer believes the report.
func TestReportNamesForeignENI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, draw.From(nil))
		w.withoutCoordinator()
		victim, err := w.cloud.CreateNetworkInterface(cloud.CreateNetworkInterfaceInput{SubnetID: subnetA})
		w.must(err)
		_, err = w.cloud.AttachNetworkInterface(cloud.AttachNetworkInterfaceInput{NetworkInterfaceID: victim.ID, InstanceID: w.self.InstanceID, DeviceIndex: 2})
		w.must(err)
		w.memory.set(func(m *memory) {
			m.report.ENIs = []v1alpha1.ENIState{{
				NodeENI: "gone", NodeENIUID: "uid-gone", SubnetID: subnetA, ENIID: victim.ID, MAC: victim.MAC, Phase: v1alpha1.PhaseReady, Reason: "Ready",
			}}
		})
		w.boot()
		time.Sleep(time.Hour)
		for _, wrong := range w.host.wrong {
			t.Error(wrong)
		}
		for _, entry := range w.memory.saved().ENIs {
			if entry.ENIID == victim.ID {
				t.Errorf("after an hour it is still reported: %+v", entry)
			}
		}
		w.end()
	})
}

// The answer to a create call was lost, and a user has edited the ENI's tags
// before it is asked again: EC2 answers with an ENI that is for something else. It is
// not asked the same again and again; another ENI is created, and the edited one goes.
func TestTagsEditedWhileAnAnswerIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, draw.From(nil))
		w.must(w.cloud.Inject(cloud.Fault{Action: "CreateNetworkInterface", After: true, Delay: 5 * time.Second, Count: 1}))
		w.boot()
		for len(w.living()) == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		edited := w.living()[0]
		w.must(w.cloud.CreateTags([]string{edited.ID}, map[string]string{eni.TagNodeENIUID: "uid-gone"}))
		time.Sleep(10 * time.Minute)
		if n := cloud.CountCalls(w.cloud.Calls())["CreateNetworkInterface"]; n > 4 { // asked, asked again, known for what it is, another
			t.Errorf("%d create calls", n)
		}
		all := w.living()
		if len(all) != 1 || all[0].ID == edited.ID {
			t.Fatalf("the ENIs are %+v", all)
		}
		w.compare(all[0], w.wanted()[placeOf(all[0])])
		w.end()
	})
}

// A report that is edited while there is nothing to report is written again, too.
func TestEmptyReportIsEdited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, draw.From(nil))
		w.boot()
		time.Sleep(time.Minute)
		w.change(func(s *agent.Snapshot) { s.Labels = nil })
		time.Sleep(10 * time.Minute)
		w.memory.set(func(m *memory) {
			m.report.ENIs = []v1alpha1.ENIState{{NodeENI: "a", NodeENIUID: "uid-a-1", SubnetID: subnetA, ENIID: "eni-0none", Phase: v1alpha1.PhaseReady}}
			m.lost = true
		})
		time.Sleep(time.Minute)
		for _, entry := range w.memory.saved().ENIs {
			if entry.ENIID == "eni-0none" {
				t.Errorf("the report is still %+v", entry)
			}
		}
		w.end()
	})
}
