package agent

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/agenttest"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
)

// The last report is saved, though a save has failed a moment ago: the coordinator waits
// for it, and there is no later.
func TestLastReportIsSaved(t *testing.T) {
	now := time.Now()
	saves := make(chan v1alpha1.NodeENIStateStatus, 4)
	source := &source{Known: true, Saves: saves, Desired: Snapshot{NodeExists: true, NodeENIs: []v1alpha1.NodeENI{nodeENI("x", nil)}}}
	a := New(Config{
		Log: slog.New(slog.DiscardHandler), Source: source, Links: agenttest.NewLinks(), Recorder: &agenttest.Recorder{}, Identity: imds.Identity{InstanceID: me},
	})
	a.selection.nodeSeen = true
	a.synced(now, eniFor("eni-x", "uid-x", subnetA).at(me, 2, "attached"))
	a.failures.Failed(saveKey, errors.New("503"), now)
	a.shutDown(t.Context())
	close(saves)
	last := <-saves
	if len(last.ENIs) != 1 || last.ENIs[0].Phase != v1alpha1.PhaseReleased {
		t.Errorf("the last report that was saved is %+v", last)
	}
}
