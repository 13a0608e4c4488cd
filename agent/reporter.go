package agent

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// reporter keeps the node's report: as it is now, and as it was last saved.
type reporter struct {
	*shared
	current v1alpha1.NodeENIStateStatus
	saved   v1alpha1.NodeENIStateStatus
	offers  bool // ENIs on demand
}

// lost takes in that what was saved is no longer there, or has been edited: the report is
// written again also when there is nothing to report.
func (r *reporter) lost() {
	r.saved = v1alpha1.NodeENIStateStatus{InstanceID: r.saved.InstanceID}
}

// empty says whether no ENI is reported.
func (r *reporter) empty() bool { return len(r.current.ENIs) == 0 }

// unsaved says whether there is a report that is not saved. A node without ENIs has none,
// unless there is one to write over, or it offers ENIs on demand.
func (r *reporter) unsaved() bool {
	needed := len(r.current.ENIs) > 0 || r.current.Reason != "" || r.saved.InstanceID != "" || r.offers
	return needed && !equality.Semantic.DeepEqual(r.current, r.saved)
}

// saveKey is the report's place among the failures.
var saveKey = retry.Key{Action: "report"}

// report puts the situation into words, logs what is new, and saves it.
func (r *reporter) report(ctx context.Context, v view, p plan, links map[string]linkState, now time.Time) {
	if _, refused := r.failures.Get(describeKey); !v.synced && !refused && r.current.InstanceID == "" {
		return // nothing is known yet
	}
	before := r.current
	r.offers = len(v.desired.onDemand) > 0
	r.current = report(situation{view: v, plan: p, links: links, identity: r.Identity}, before, now)
	r.announce(before.ENIs, r.current.ENIs)
	r.Metrics.reported(r.current.ENIs)
	r.save(ctx, now)
}

// reportProblem reports why nothing is done. What the last report says of ENIs stays. The
// report of another instance, which may be the Node's own, is not written over.
func (r *reporter) reportProblem(ctx context.Context, problem Problem, now time.Time) {
	if problem.Reason == "" || r.saved.InstanceID != "" && r.saved.InstanceID != r.Identity.InstanceID {
		return
	}
	c := &r.current
	c.InstanceID, c.Zone, c.Region, c.Account = r.Identity.InstanceID, r.Identity.Zone, r.Identity.Region, r.Identity.AccountID
	c.Reason, c.Message = problem.Reason, problem.Message
	r.save(ctx, now)
}

// save writes the report unless it is written already. One save runs at a time; what
// changes meanwhile goes into the next one.
func (r *reporter) save(ctx context.Context, now time.Time) {
	if r.calls.busy(saveKey) || r.failures.Blocks(saveKey, now) || !r.unsaved() {
		return
	}
	report := r.current
	r.calls.start(ctx, apiTimeout, saveKey, call{}, func(ctx context.Context) func() {
		err := r.Source.Save(ctx, report)
		return func() { r.savedAs(report, err) }
	})
}

func (r *reporter) savedAs(report v1alpha1.NodeENIStateStatus, err error) {
	r.Metrics.wroteReport(err)
	if err == nil {
		r.saved = report
		r.failures.Reset(saveKey)
		return
	}
	if _, repeated := r.failures.Failed(saveKey, err, time.Now()); !repeated {
		r.Log.Warn("cannot save the NodeENIState; retrying, and no ENI is created until then", "error", err)
	}
}

// announce makes Events and log lines of what changed between two reports.
func (r *reporter) announce(before, after []v1alpha1.ENIState) {
	for _, e := range after {
		old := lastOf(before, e)
		same := old.Phase == e.Phase && old.Reason == e.Reason
		switch {
		case same && old.Message == e.Message:
			continue
		case same && withoutHolder(old.Message) == withoutHolder(e.Message): // pods come and go
			r.Log.Info("the link of an ENI for pods has moved", "eni", e.ENIID, "nodeENI", e.NodeENI, "message", e.Message)
			continue
		}
		about := kube.ObjectReference{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeENI", Name: e.NodeENI, UID: e.NodeENIUID,
		}
		switch {
		case e.Phase == v1alpha1.PhaseReady:
			r.Log.Info("ENI is ready", "eni", e.ENIID, "nodeENI", e.NodeENI, "link", e.InterfaceName, "deviceIndex", e.DeviceIndex, "message", e.Message)
			r.Recorder.Event(about, kube.EventNormal, "ENIReady", "%s on node %s is ready (%s)%s", e.ENIID, r.Node, e.InterfaceName, suffix(e.Message))
			r.Recorder.Event(kube.NodeRef(r.Node), kube.EventNormal, "ENIReady", "%s of NodeENI %s is ready (%s)%s", e.ENIID, e.NodeENI, e.InterfaceName, suffix(e.Message))
		case e.Phase == v1alpha1.PhaseFailed || worthWarning(e):
			r.Log.Warn("ENI is not ready", "nodeENI", e.NodeENI, "eni", e.ENIID, "subnet", e.SubnetID, "reason", e.Reason, "message", e.Message)
			r.Recorder.Event(about, kube.EventWarning, e.Reason, "node %s: %s", r.Node, e.Message)
			r.Recorder.Event(kube.NodeRef(r.Node), kube.EventWarning, e.Reason, "NodeENI %s: %s", e.NodeENI, e.Message)
		case e.Phase == v1alpha1.PhaseReleased && e.ENIID != "":
			r.Recorder.Event(about, kube.EventNormal, "ENIReleased", "node %s no longer uses %s", r.Node, e.ENIID)
			r.Recorder.Event(kube.NodeRef(r.Node), kube.EventNormal, "ENIReleased", "%s of NodeENI %s is no longer in use", e.ENIID, e.NodeENI)
		}
	}
}

func suffix(message string) string {
	if message == "" {
		return ""
	}
	return ": " + message
}

// worthWarning tells reasons that EC2 or the host gave from the plain steps of an
// ENI's life.
func worthWarning(e v1alpha1.ENIState) bool {
	switch e.Reason {
	case reasonCreating, reasonAttaching, "Detaching", reasonSettingAttributes, reasonVerifying, reasonLinkMissing, reasonLinkGone, "NotWanted", reasonDeleting, "Gone", "Ready", reasonResolving, reasonOutOfTouch: // that is announced when it is over
		return false
	}
	return true
}
