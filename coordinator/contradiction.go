package coordinator

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// location is where something is in AWS; "" is not known.
type location struct{ Region, Account string }

func (l location) String() string {
	text := "an unknown Region"
	if l.Region != "" {
		text = "Region " + l.Region
	}
	if l.Account != "" {
		text += ", account " + l.Account
	}
	return text
}

// differs says whether the two are certainly not the same.
func (l location) differs(m location) bool {
	return l.Region != "" && m.Region != "" && l.Region != m.Region ||
		l.Account != "" && m.Account != "" && l.Account != m.Account
}

// contradiction is why an ENI that EC2 does not show may exist all the same: of one NodeENI,
// or of all. The zero value is none.
type contradiction struct{ Reason, Message string }

// Reasons of contradictions, for conditions, Events and metrics.
const (
	wrongRegion      = "WrongRegion"
	instancesUnknown = "InstancesUnknown"
	eniElsewhere     = "ENIElsewhere"
	otherClusterName = "OtherClusterName"
)

var contradictionReasons = []string{wrongRegion, instancesUnknown, eniElsewhere, otherClusterName}

// regionMismatch is the contradiction when EC2 is asked in a Region that none of the Nodes is
// in. One Node in the Region is enough: a cluster may have Nodes elsewhere, and a Node with
// a wrong label must not block the collection for the others.
func regionMismatch(here string, nodes []*kube.Node) contradiction {
	elsewhere := map[string][]string{}
	for _, node := range nodes {
		region := node.Region()
		if region == here && here != "" {
			return contradiction{}
		}
		if region != "" {
			elsewhere[region] = append(elsewhere[region], node.Name)
		}
	}
	if here == "" || len(elsewhere) == 0 {
		return contradiction{}
	}
	region := slices.MaxFunc(slices.Sorted(maps.Keys(elsewhere)), func(a, b string) int { return len(elsewhere[a]) - len(elsewhere[b]) })
	slices.Sort(elsewhere[region])
	return contradiction{wrongRegion, fmt.Sprintf(
		"the coordinator uses EC2 in Region %s, but the Nodes of the cluster are in %s (%s), so it detaches and deletes nothing. Set AWS_REGION of the coordinator (awsRegion in the Helm chart) to %s",
		here, region, sample(elsewhere[region]), region)}
}

// reportedENI is an ENI in the report of an existing Node.
type reportedENI struct {
	ENI      string
	NodeENI  types.UID
	Node     string
	Instance string
	At       location
}

// maxReported is how many ENIs of one report count. An instance takes fewer, and a report
// may be forged.
const maxReported = 64

// reportedENIs are the ENIs in the reports of existing Nodes. The Region is that of the Node's
// labels if they have one, because a report may be forged.
func reportedENIs(reports []*v1alpha1.NodeENIState, nodeOf func(string) *kube.Node) []reportedENI {
	var all []reportedENI
	for _, report := range reports {
		node := nodeOf(report.Name)
		if !isReportOf(report, node) {
			continue
		}
		at := location{cmp.Or(node.Region(), report.Status.Region), report.Status.Account}
		counted := 0
		for _, entry := range report.Status.ENIs {
			if entry.ENIID != "" && counted < maxReported {
				counted++
				all = append(all, reportedENI{entry.ENIID, entry.NodeENIUID, report.Name, report.Status.InstanceID, at})
			}
		}
	}
	return all
}

// observation is what EC2 shows without regard to tags.
type observation struct {
	here         location
	enis         map[string]eni.ENI // by id, of those that it was asked for
	instances    map[string]bool    // of those that it was asked for
	instanceSeen bool               // it has shown an instance of the cluster
}

// contradicts is why the reported ENI may exist, although EC2 does not list it as the
// cluster's. EC2's tags, and an instance that EC2 shows, count for more than a report.
func (o observation) contradicts(r reportedENI, cluster string) contradiction {
	e, shown := o.enis[r.ENI]
	switch {
	case shown && e.Owner.Cluster != cluster && e.Owner.NodeENIUID == r.NodeENI && e.Owner.InstanceID() == r.Instance:
		return contradiction{otherClusterName, fmt.Sprintf(
			"%s of node %s was created for this NodeENI and instance %s, but its cluster tag is %q, while the cluster name of the coordinator is %q, so the coordinator does not touch it. "+
				"Give the coordinator and the agents the same --cluster-name (clusterName in the Helm chart): the one in the tag of the ENIs",
			r.ENI, r.Node, r.Instance, e.Owner.Cluster, cluster)}
	case shown, o.instances[r.Instance]:
		return contradiction{} // the ENI is not this NodeENI's, or is gone
	case r.At.differs(o.here):
		return contradiction{eniElsewhere, fmt.Sprintf(
			"node %s reports %s in %s, but the coordinator uses EC2 in %s, which does not show that ENI. "+
				"Delete the ENI where it is, and then the Node if its instance is gone, or run the coordinator in that Region and account",
			r.Node, r.ENI, r.At, o.here)}
	case o.instanceSeen:
		return contradiction{} // the instance has gone with its ENIs
	}
	return o.noInstance([]reportedENI{r}, nil)
}

// ofLocation is the contradiction when EC2 was asked for the cluster's instances and has
// shown none.
func (o observation) ofLocation(reported []reportedENI, instances []string) contradiction {
	if o.instanceSeen || len(instances) == 0 {
		return contradiction{}
	}
	return o.noInstance(reported, instances)
}

// noInstance is the contradiction when EC2 shows none of the instances whose agents report
// ENIs or, if there is no report, none of the Nodes' instances.
func (o observation) noInstance(reported []reportedENI, instances []string) contradiction {
	which := "of the cluster's Nodes"
	if len(reported) > 0 {
		which, instances = "whose agents report ENIs", nil
	}
	for _, r := range reported {
		if text := fmt.Sprintf("%s (%s in %s)", r.Node, r.Instance, r.At); !slices.Contains(instances, text) {
			instances = append(instances, text)
		}
	}
	return contradiction{instancesUnknown, fmt.Sprintf(
		"EC2 in %s shows none of the instances %s: %s, so the coordinator detaches and deletes nothing. "+
			"Check that the coordinator has credentials for the account of the nodes, and that AWS_ENDPOINT_URL_EC2, if set, points to the same EC2 endpoint as on the nodes. If the instances are gone, delete their Nodes",
		o.here, which, sample(instances))}
}

// allNodeENIs stands for the UID of each.
const allNodeENIs types.UID = ""

// contradictions are those that the verifier has found. The status writer shows them.
type contradictions struct {
	mu    sync.Mutex
	byUID map[types.UID]contradiction
}

func newContradictions() *contradictions {
	return &contradictions{byUID: map[types.UID]contradiction{}}
}

// of is the contradiction of a NodeENI.
func (c *contradictions) of(uid types.UID) contradiction {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cmp.Or(c.byUID[allNodeENIs], c.byUID[uid])
}

// set returns whether it is another one than before.
func (c *contradictions) set(uid types.UID, found contradiction) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed = c.byUID[uid] != found
	if c.byUID[uid] = found; found == (contradiction{}) {
		delete(c.byUID, uid)
	}
	return changed
}

// forgetGone drops the contradictions of NodeENIs that are gone: the finalizer of one that
// was blocked may have been removed by hand.
func (c *contradictions) forgetGone(find func(types.UID) *v1alpha1.NodeENI) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.byUID, func(uid types.UID, _ contradiction) bool { return uid != allNodeENIs && find(uid) == nil })
}

// counts is the number of NodeENIs by reason. nodeENIs is how many there are.
func (c *contradictions) counts(nodeENIs int) map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := map[string]int{}
	if all := c.byUID[allNodeENIs]; all != (contradiction{}) {
		n[all.Reason] = max(nodeENIs, 1)
		return n
	}
	for _, found := range c.byUID {
		n[found.Reason]++
	}
	return n
}

// condition sets the condition CleanupBlocked as long as there is a contradiction.
func (c *contradictions) condition(n *v1alpha1.NodeENI, status *v1alpha1.NodeENIStatus, now time.Time) {
	found := c.of(n.UID)
	if found == (contradiction{}) {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionCleanupBlocked)
		return
	}
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionCleanupBlocked, Status: metav1.ConditionTrue, Reason: found.Reason, Message: found.Message,
		ObservedGeneration: n.Generation, LastTransitionTime: metav1.NewTime(now),
	})
	if ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady); n.DeletionTimestamp != nil && ready != nil {
		ready.Message = found.Message // and not that its ENIs are being detached and deleted
	}
}
