package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// nodeKey is the Node's place among the failures.
var nodeKey = retry.Key{Action: "node"}

// conflictsBeforeWarning is how many patches in a row that came too late are logged, after
// some seconds: others change the Node too, but not all the while.
const conflictsBeforeWarning = 8

// errNodeChanged: the Node had changed before the patch arrived, so that a test failed
// or what should be removed was gone. The watch soon tells what it is now.
var errNodeChanged = retry.With(retry.Conflict, errors.New("others change the Node's taints or labels at the same time"))

// nodeStatus is what the Node shows of this node's NodeENIs.
type nodeStatus struct {
	*shared
	byUID map[types.UID]nodeENIReadiness
}

// times are when NodeENIs are no longer taken for ready.
func (n *nodeStatus) times() (times []time.Time) {
	for _, r := range n.byUID {
		times = append(times, r.since.Add(readyPatience))
	}
	return times
}

// take works out whether the NodeENIs are ready.
func (n *nodeStatus) take(d desired, entries []v1alpha1.ENIState, synced bool, now time.Time) {
	if n.NodeReadiness.StartupTaint || n.NodeReadiness.Labels {
		n.byUID = readinessOf(n.byUID, d, entries, synced, now)
	}
}

// update makes the Node show whether its NodeENIs are ready, once all of them have been
// read. One patch runs at a time; what changes meanwhile goes into the next.
func (n *nodeStatus) update(ctx context.Context, s Snapshot, allRead bool, now time.Time) {
	if !allRead || n.calls.busy(nodeKey) || n.failures.Blocks(nodeKey, now) {
		return
	}
	c := changeNode(n.NodeReadiness, s, n.byUID)
	if c.empty() {
		return
	}
	patch, why := c.patch(s), "all ENIs of this node are ready"
	if len(n.byUID) == 0 {
		why = "no NodeENI selects this node"
	}
	n.calls.start(ctx, apiTimeout, nodeKey, call{}, func(ctx context.Context) func() {
		err := n.NodeReadiness.Patcher.PatchNode(ctx, patch)
		return func() {
			if err != nil {
				n.patchFailed(err, time.Now())
				return
			}
			n.failures.Reset(nodeKey)
			n.logPatch(c, why)
		}
	})
}

// jsonPatch is a list of operations of RFC 6902, done together or not at all.
type jsonPatch []map[string]any

func (p *jsonPatch) test(path string, value any) {
	*p = append(*p, map[string]any{"op": "test", "path": path, "value": value})
}

func (p *jsonPatch) add(path string, value any) {
	*p = append(*p, map[string]any{"op": "add", "path": path, "value": value})
}

func (p *jsonPatch) remove(path string) {
	*p = append(*p, map[string]any{"op": "remove", "path": path})
}

// patch is the change of that Node as JSON patch. It fails when the Node is
// another one by now, or when a taint has moved in the list: others remove theirs
// at the same time.
func (c nodeChange) patch(s Snapshot) []byte {
	var p jsonPatch
	p.test("/metadata/uid", s.NodeUID)
	for _, i := range c.untaint {
		path := fmt.Sprintf("/spec/taints/%d", i)
		p.test(path+"/key", s.Taints[i].Key)
		p.test(path+"/effect", s.Taints[i].Effect)
		p.remove(path)
	}
	const labels = "/metadata/labels"
	if len(c.set) > 0 && len(s.Labels) == 0 {
		p.test(labels, nil)
		p.add(labels, map[string]string{})
	}
	for _, key := range c.set {
		p.add(labels+"/"+escape(key), v1alpha1.ReadyLabelValue)
	}
	for _, key := range c.remove {
		p.remove(labels + "/" + escape(key))
	}
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // a programming error: all of it is text
	}
	return text
}

// escape makes a key a part of a JSON pointer.
func escape(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}

// patchFailed notes a failure. The next attempt is made of what the Node is then.
func (n *nodeStatus) patchFailed(err error, now time.Time) {
	logAt := 1
	if apierrors.IsInvalid(err) || apierrors.IsConflict(err) {
		err, logAt = fmt.Errorf("%w: %w", errNodeChanged, err), conflictsBeforeWarning
	}
	f, _ := n.failures.Failed(nodeKey, err, now)
	n.Log.Debug("the Node was not changed", "error", err, "attempt", f.Attempts)
	if f.Attempts != logAt {
		return
	}
	advice := ""
	if apierrors.IsForbidden(err) {
		advice = "; allow it with manifests/node-readiness (in the Helm chart nodeReadiness), or start the agent without --startup-taint and --node-ready-labels"
	}
	n.Log.Warn("the Node's start-up taint and labels cannot be changed; it is tried again", "error", err.Error()+advice)
	n.Recorder.Event(kube.NodeRef(n.Node), kube.EventWarning, "NodeNotPatched", "the start-up taint and the labels that tell of ENIs cannot be changed: %v%s", err, advice)
}

func (n *nodeStatus) logPatch(c nodeChange, why string) {
	if len(c.untaint) > 0 {
		n.Log.Info("removed the start-up taint", "taint", v1alpha1.StartupTaint, "why", why)
		n.Recorder.Event(kube.NodeRef(n.Node), kube.EventNormal, "StartupTaintRemoved", "%s; removed the taint %s", why, v1alpha1.StartupTaint)
	}
	if len(c.set)+len(c.remove) > 0 {
		n.Log.Info("changed the Node's labels", "set", c.set, "removed", c.remove)
	}
}
