package agent

import (
	"context"
	"net/netip"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// reporter keeps the node's report: as it is now, and as it was last saved.
type reporter struct {
	current v1alpha1.NodeENIStateStatus
	saved   v1alpha1.NodeENIStateStatus
}

// lost takes in that what was saved is no longer there, or has been edited: the report is
// written again also when there is nothing to report.
func (r *reporter) lost() {
	r.saved = v1alpha1.NodeENIStateStatus{InstanceID: r.saved.InstanceID}
}

// empty says whether no ENI is reported.
func (r *reporter) empty() bool { return len(r.current.ENIs) == 0 }

// unsaved says whether there is a report that is not saved. A node without ENIs has none,
// unless there is one to write over.
func (r *reporter) unsaved() bool {
	needed := len(r.current.ENIs) > 0 || r.current.Reason != "" || r.saved.InstanceID != ""
	return needed && !equality.Semantic.DeepEqual(r.current, r.saved)
}

// subnetOf is the CIDR of the ENI's subnet as the last report had it: the want
// that knew it is gone.
func (r *reporter) subnetOf(eniID string) netip.Prefix {
	for _, entry := range r.current.ENIs {
		if entry.ENIID == eniID {
			subnet, _ := netip.ParsePrefix(entry.SubnetCIDR)
			return subnet
		}
	}
	return netip.Prefix{}
}

// saveKey is the report's place among the failures.
var saveKey = retry.Key{Action: "report"}

// report puts the situation into words, logs what is new, and saves it.
func (a *Agent) report(ctx context.Context, v view, p plan, now time.Time) {
	if _, refused := a.failures.Get(describeKey); !v.synced && !refused && a.reporter.current.InstanceID == "" {
		return // nothing is known yet
	}
	before := a.reporter.current
	a.reporter.current = report(situation{view: v, plan: p, failures: a.failures, links: a.host.links, identity: a.Identity}, before, now)
	entries := a.reporter.current.ENIs
	a.announce(before.ENIs, entries)
	a.Metrics.reported(entries)
	a.provisioning.ready(entries, func(v provision) { a.Metrics.provisioned(v, time.Now()) })
	a.save(ctx, now)
}

// save writes the report unless it is written already. One save runs at a time; what
// changes meanwhile goes into the next one.
func (a *Agent) save(ctx context.Context, now time.Time) {
	if a.calls.busy(saveKey) || a.failures.Blocks(saveKey, now) || !a.reporter.unsaved() {
		return
	}
	r := a.reporter.current
	a.calls.start(saveKey, call{}, func() func() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		err := a.Source.Save(ctx, r)
		return func() { a.savedReport(r, err) }
	})
}

func (a *Agent) savedReport(r v1alpha1.NodeENIStateStatus, err error) {
	a.Metrics.wroteReport(err)
	if err == nil {
		a.reporter.saved = r
		a.failures.Reset(saveKey)
		return
	}
	if failed, _ := a.failures.Get(saveKey); failed.Err == nil {
		a.Log.Warn("the node's report could not be saved; it is tried again, and no ENI is created until then", "error", err)
	}
	a.failures.Failed(saveKey, err, time.Now())
}

// announce makes Events and log lines of what changed between two reports.
func (a *Agent) announce(before, after []v1alpha1.ENIState) {
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
	case "Creating", "Attaching", "Detaching", "SettingAttributes", reasonVerifying, "LinkMissing", reasonLinkGone, "NotWanted", reasonDeleting, "Gone", "Ready", reasonResolving, reasonOutOfTouch: // that is announced when it is over
		return false
	}
	return true
}
