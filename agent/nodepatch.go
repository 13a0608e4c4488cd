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
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// nodePatch is a part of the Node that the API server takes patches of by itself.
type nodePatch struct {
	key          retry.Key // among calls and failures
	subresources []string
	what         string // that the agent changes
	advice       string // for an agent that may not
}

var (
	nodePart = nodePatch{
		key: retry.Key{Action: "node"}, what: "the startup taint and the labels for NodeENIs",
		advice: "apply manifests/node-readiness (nodeReadiness in the Helm chart) to allow it, or start the agent without --startup-taint and --node-ready-labels",
	}
	statusPart = nodePatch{
		key: retry.Key{Action: "node status"}, subresources: []string{"status"}, what: "the extended resources " + v1alpha1.PodResourcePrefix + "NODEENI",
		advice: "apply manifests/pods (pods.enabled in the Helm chart) to allow it, or start the agent without --pods",
	}
)

// conflictsBeforeWarning is how many patches in a row that came too late are logged, after
// some seconds: others change the Node too, but not all the while.
const conflictsBeforeWarning = 8

// errNodeChanged: the Node had changed before the patch arrived, so that a test failed
// or what should be removed was gone. The watch soon tells what it is now.
var errNodeChanged = retry.With(retry.Conflict, errors.New("another client changed the Node at the same time"))

// nodeStatus is what the Node shows of this node's NodeENIs.
type nodeStatus struct {
	*shared
	byUID     map[types.UID]nodeENIReadiness
	forPods   map[types.UID]string // NodeENIs, with their names
	networks  []podnetwork.Network // what those of them offer of which it is known
	synced    bool                 // EC2 has shown what there is
	resources advertised
}

// times are when NodeENIs are no longer taken for ready.
func (n *nodeStatus) times() (times []time.Time) {
	for _, r := range n.byUID {
		times = append(times, r.since.Add(readyPatience))
	}
	return times
}

// offer takes in what the NodeENIs offer to pods.
func (n *nodeStatus) offer(networks []podnetwork.Network) { n.networks = networks }

// take works out whether the NodeENIs are ready.
func (n *nodeStatus) take(d desired, entries []v1alpha1.ENIState, synced bool, now time.Time) {
	if show := n.NodeReadiness; show.StartupTaint || show.Labels || show.PodResources {
		n.byUID, n.forPods, n.synced = readinessOf(n.byUID, d, entries, synced, now), d.pods, synced
	}
}

// update makes the Node show whether its NodeENIs are ready and what they offer to pods,
// once all of them have been read.
func (n *nodeStatus) update(ctx context.Context, s Snapshot, allRead bool, now time.Time) {
	if !allRead {
		return
	}
	if c := changeNode(n.NodeReadiness, s, n.byUID); !c.empty() {
		why := "all ENIs of this node are ready"
		if len(n.byUID) == 0 {
			why = "no NodeENI selects this node"
		}
		n.patch(ctx, nodePart, c.patch(s), now, func(time.Time) error {
			n.logPatch(c, why)
			return nil
		})
	}
	if n.NodeReadiness.PodResources && n.synced {
		if c := changeResources(s, n.byUID, n.forPods, n.networks); len(c) > 0 {
			n.patch(ctx, statusPart, c.patch(s), now, func(now time.Time) error {
				err := n.resources.advertise(c, now)
				if err == nil {
					n.Log.Info("changed the extended resources of the Node", "resources", c)
				}
				return err
			})
		}
	}
}

// patch patches a part of the Node. One patch of it runs at a time; what changes meanwhile
// goes into the next. done may have the next one wait.
func (n *nodeStatus) patch(ctx context.Context, part nodePatch, patch []byte, now time.Time, done func(time.Time) error) {
	if n.calls.busy(part.key) || n.failures.Blocks(part.key, now) {
		return
	}
	n.calls.start(ctx, apiTimeout, part.key, call{}, func(ctx context.Context) func() {
		err := n.NodeReadiness.Patcher.PatchNode(ctx, patch, part.subresources...)
		return func() {
			now := time.Now()
			if err == nil {
				err = done(now)
			}
			if err != nil {
				n.patchFailed(part, err, now)
				return
			}
			n.failures.Reset(part.key)
		}
	})
}

// jsonPatch is a list of operations of RFC 6902, done together or not at all.
type jsonPatch []map[string]any

// patchOf begins a patch that fails when the Node is another one by now.
func patchOf(s Snapshot) (p jsonPatch) {
	p.test("/metadata/uid", s.NodeUID)
	return p
}

func (p jsonPatch) text() []byte {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // a programming error: all of it is text
	}
	return text
}

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
	p := patchOf(s)
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
	return p.text()
}

// escape makes a key a part of a JSON pointer.
func escape(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}

// patchFailed notes a failure. The next attempt is made of what the Node is then.
func (n *nodeStatus) patchFailed(part nodePatch, err error, now time.Time) {
	logAt := 1
	switch {
	case errors.Is(err, errUndone):
		logAt = conflictsBeforeWarning
	case apierrors.IsInvalid(err), apierrors.IsConflict(err):
		err, logAt = fmt.Errorf("%w: %w", errNodeChanged, err), conflictsBeforeWarning
	}
	f, _ := n.failures.Failed(part.key, err, now)
	n.Log.Debug("did not update the Node", "error", err, "attempt", f.Attempts)
	if f.Attempts != logAt {
		return
	}
	advice := ""
	if apierrors.IsForbidden(err) {
		advice = "; " + part.advice
	}
	n.Log.Warn("cannot update the Node; retrying", "what", part.what, "error", err.Error()+advice)
	n.Recorder.Event(kube.NodeRef(n.Node), kube.EventWarning, "NodeNotPatched", "cannot change %s: %v%s", part.what, err, advice)
}

func (n *nodeStatus) logPatch(c nodeChange, why string) {
	if len(c.untaint) > 0 {
		n.Log.Info("removed the startup taint", "taint", v1alpha1.StartupTaint, "why", why)
		n.Recorder.Event(kube.NodeRef(n.Node), kube.EventNormal, "StartupTaintRemoved", "%s; removed the taint %s", why, v1alpha1.StartupTaint)
	}
	if len(c.set)+len(c.remove) > 0 {
		n.Log.Info("changed the labels of the Node", "set", c.set, "removed", c.remove)
	}
}
