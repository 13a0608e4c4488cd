package coordinator

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// rememberDeletion is how long a seen deletion counts. What is still there
// after that is an orphan, and old enough.
const rememberDeletion = time.Hour

// deletions remembers which objects this process saw go.
type deletions struct {
	mu       sync.Mutex
	nodeENIs map[types.UID]time.Time
	nodes    map[string]nodeDeletion
}

// nodeDeletion holds the instance too: a Node may come back under its name as
// another instance, and the cache may learn of that after EC2 has.
type nodeDeletion struct {
	instanceID string // "" when the Node did not tell
	at         time.Time
}

func newDeletions() *deletions {
	return &deletions{nodeENIs: map[types.UID]time.Time{}, nodes: map[string]nodeDeletion{}}
}

func (d *deletions) nodeENI(uid types.UID, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(now)
	d.nodeENIs[uid] = now
}

func (d *deletions) node(node *kube.Node, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(now)
	d.nodes[node.Name] = nodeDeletion{kube.InstanceID(node.Spec.ProviderID), now}
}

// explain says whether a seen deletion accounts for the lack of the ENI's
// NodeENI or Node. That of a Node accounts for ENIs made for that instance
// before: one made after was made for a Node that is back.
func (d *deletions) explain(o eni.Owner) (nodeENI, node bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, nodeENI = d.nodeENIs[o.NodeENIUID]
	gone, node := d.nodes[o.Node]
	if gone.instanceID != "" && gone.instanceID != o.InstanceID() || o.CreatedAt.After(gone.at) {
		node = false
	}
	return nodeENI, node
}

// evidence puts the objects that an ENI's tags name, nil for each that is not
// there, together with the deletions that were seen.
func (d *deletions) evidence(e eni.ENI, nodeENI *v1alpha1.NodeENI, node *kube.Node, report *v1alpha1.NodeENIState) evidence {
	ev := evidence{NodeENI: nodeENI, Node: node, Phase: reportedPhase(e, report)}
	ev.NodeENIDeleted, ev.NodeDeleted = d.explain(e.Owner)
	return ev
}

// forgetOld drops what no longer counts. Recording does so too: on a coordinator
// that stands by, nobody else would.
func (d *deletions) forgetOld(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(now)
}

func (d *deletions) forget(now time.Time) {
	maps.DeleteFunc(d.nodeENIs, func(_ types.UID, t time.Time) bool { return now.Sub(t) > rememberDeletion })
	maps.DeleteFunc(d.nodes, func(_ string, gone nodeDeletion) bool { return now.Sub(gone.at) > rememberDeletion })
}
