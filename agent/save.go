package agent

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// saveKey is the report's place among the failures.
var saveKey = retry.Key{Action: "report"}

// report puts the situation into words, tells what is new, and saves it. One
// save runs at a time; what changes meanwhile goes into the next one.
func (a *Agent) report(ctx context.Context, p plan, now time.Time) {
	if _, refused := a.failures.Get(observeKey); !a.certain && !refused && a.current.InstanceID == "" {
		return // nothing is known yet
	}
	r := report(situation{
		view: a.view(now), plan: p, failures: a.failures, links: a.links,
		identity: a.Identity, limit: a.limit,
	}, a.current, now)
	a.tell(a.current.ENIs, r.ENIs)
	a.current = r
	a.Metrics.reported(r.ENIs)
	a.arrivals.ready(r.ENIs, func(v arrival) { a.Metrics.arrived(v, time.Now()) })
	a.save(ctx, now)
}

// save writes the report unless it is written already. A node without ENIs
// writes none.
func (a *Agent) save(ctx context.Context, now time.Time) {
	r := a.current
	if a.saving || equality.Semantic.DeepEqual(r, a.saved) || a.failures.Blocks(saveKey, now) {
		return
	}
	if len(r.ENIs) == 0 && r.Reason == "" && a.saved.InstanceID == "" {
		return
	}
	a.saving = true
	go func() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		err := a.Source.Save(ctx, r)
		a.results <- func() {
			a.saving = false
			a.Metrics.wroteReport(err)
			if err == nil {
				a.saved = r
				a.failures.Reset(saveKey)
				return
			}
			_, known := a.failures.Get(saveKey)
			a.failures.Failed(saveKey, err, time.Now())
			if !known {
				a.Log.Warn("the node's report could not be saved; it is tried again, and no ENI is created until then", "error", err)
			}
		}
	}()
}

// tell makes Events and log lines of what changed between two reports.
func (a *Agent) tell(before, after []v1alpha1.ENIState) {
	for _, e := range after {
		if old, ok := lastOf(before, e); ok && old.Phase == e.Phase && old.Reason == e.Reason && old.Message == e.Message {
			continue
		}
		about := kube.ObjectReference{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeENI", Name: e.NodeENI, UID: e.NodeENIUID,
		}
		switch {
		case e.Phase == v1alpha1.PhaseReady:
			a.Log.Info("ENI is ready", "eni", e.ENIID, "nodeENI", e.NodeENI, "link", e.InterfaceName, "deviceIndex", e.DeviceIndex, "message", e.Message)
			a.Recorder.Event(about, kube.EventNormal, "ENIReady", "%s on node %s is ready (%s)%s", e.ENIID, a.Node, e.InterfaceName, suffix(e.Message))
			a.Recorder.Event(kube.NodeRef(a.Node), kube.EventNormal, "ENIReady", "%s of NodeENI %s is ready (%s)%s", e.ENIID, e.NodeENI, e.InterfaceName, suffix(e.Message))
		case e.Phase == v1alpha1.PhaseFailed || a.isTrouble(e):
			a.Log.Warn("ENI is not ready", "nodeENI", e.NodeENI, "eni", e.ENIID, "subnet", e.SubnetID, "reason", e.Reason, "message", e.Message)
			a.Recorder.Event(about, kube.EventWarning, e.Reason, "node %s: %s", a.Node, e.Message)
			a.Recorder.Event(kube.NodeRef(a.Node), kube.EventWarning, e.Reason, "NodeENI %s: %s", e.NodeENI, e.Message)
		case e.Phase == v1alpha1.PhaseReleased && e.ENIID != "":
			a.Recorder.Event(about, kube.EventNormal, "ENIReleased", "node %s no longer uses %s", a.Node, e.ENIID)
			a.Recorder.Event(kube.NodeRef(a.Node), kube.EventNormal, "ENIReleased", "%s of NodeENI %s is no longer used", e.ENIID, e.NodeENI)
		}
	}
}

func suffix(message string) string {
	if message == "" {
		return ""
	}
	return ": " + message
}

func lastOf(entries []v1alpha1.ENIState, e v1alpha1.ENIState) (v1alpha1.ENIState, bool) {
	for _, old := range entries {
		if sameENI(old, e) {
			return old, true
		}
	}
	return v1alpha1.ENIState{}, false
}

// isTrouble tells reasons that EC2 or the host gave from the plain steps of an
// ENI's life.
func (a *Agent) isTrouble(e v1alpha1.ENIState) bool {
	switch e.Reason {
	case "Creating", "Attaching", "Detaching", "SettingAttributes", reasonVerifying, "LinkMissing", reasonLinkGone, "NotWanted", reasonDeleting, "Gone", "Ready", reasonResolving, reasonOutOfTouch: // that is told when it is over
		return false
	}
	return true
}

// leaveAttempts are the attempts of the last pass to change a Node that others
// change at the same time.
const leaveAttempts = 5

// leaveTime is how long the last pass may take.
const leaveTime = 5 * time.Second

// leave is the last pass. A DaemonSet's pod is also ended because its node lost
// the label: then, if the label does not come back, the links are taken down and that
// is reported.
func (a *Agent) leave(ctx context.Context) {
	if a.ReleaseDelay > 0 && a.refresh(ctx) == nil {
		a.outlast()
	}
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	for len(a.running) > 0 || a.saving || a.observing || a.patching {
		if !a.drain(ctx) {
			return
		}
	}
	for range leaveAttempts {
		if err := a.refresh(ctx); err != nil {
			a.Log.Warn("could not ask whether this node still matches; everything stays in place", "error", err)
			return
		}
		a.release(ctx, time.Now())
		for a.saving || a.patching {
			if !a.drain(ctx) {
				return
			}
		}
		if !errors.Is(a.failures.Err(nodeKey), errOutrun) {
			return
		}
	}
}

// refresh reads the Node, in a moment.
func (a *Agent) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTime/2)
	defer cancel()
	return a.Source.Refresh(ctx)
}

// drain takes in one result of what is under way; false when time is up.
func (a *Agent) drain(ctx context.Context) bool {
	select {
	case apply := <-a.results:
		apply()
		return true
	case <-ctx.Done():
		return false
	}
}

// release runs a pass that only takes down and reports.
func (a *Agent) release(ctx context.Context, now time.Time) {
	snapshot, ok := a.Source.Snapshot()
	if !ok || !a.certain {
		return
	}
	a.notice(snapshot, now)
	if a.tellNodeProblem() {
		return
	}
	a.resolve()
	p := next(a.view(now))
	for _, id := range p.release {
		for _, e := range a.enis {
			if e.ID == id {
				a.releaseLink(e)
			}
		}
	}
	a.report(ctx, p, now)
	a.failures.Reset(nodeKey) // there is no later
	a.showOnNode(ctx, true, now)
}
