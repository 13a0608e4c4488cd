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

// place is where AWS keeps something; "" is not known.
type place struct{ Region, Account string }

func (p place) String() string {
	text := "an unknown Region"
	if p.Region != "" {
		text = "Region " + p.Region
	}
	if p.Account != "" {
		text += ", account " + p.Account
	}
	return text
}

// differs says whether the two are surely not the same place.
func (p place) differs(q place) bool {
	return p.Region != "" && q.Region != "" && p.Region != q.Region ||
		p.Account != "" && q.Account != "" && p.Account != q.Account
}

// contradiction is why what EC2 shows must not be believed, or not of one NodeENI.
// The zero value is none.
type contradiction struct{ Reason, Message string }

// Reasons of contradictions, for conditions, Events and metrics.
const (
	wrongRegion      = "WrongRegion"
	instancesUnknown = "InstancesUnknown"
	eniElsewhere     = "ENIElsewhere"
	otherClusterName = "OtherClusterName"
)

var contradictionReasons = []string{wrongRegion, instancesUnknown, eniElsewhere, otherClusterName}

// wrongPlace says whether EC2 is asked in a Region that none of the Nodes is in. One
// Node in the Region is enough: a cluster may have Nodes elsewhere, and a Node that
// says so falsely must not stop the others' collection.
func wrongPlace(here string, nodes []*kube.Node) contradiction {
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
		"the coordinator asks EC2 in Region %s, but the cluster's Nodes are in %s (%s); nothing is detached or deleted. Set the coordinator's AWS_REGION (awsRegion in the Helm chart) to %s",
		here, region, sample(elsewhere[region]), region)}
}

// reportedENI is an ENI that the report of a living Node names.
type reportedENI struct {
	ENI      string
	NodeENI  types.UID
	Node     string
	Instance string
	At       place
}

// maxReported is how many ENIs of one report count; an instance takes fewer, and a
// report may lie.
const maxReported = 64

// reportedENIs are those that the reports of living Nodes name. The Region is the Node's own
// word, for a report may lie.
func reportedENIs(reports []*v1alpha1.NodeENIState, nodeOf func(string) *kube.Node) []reportedENI {
	var all []reportedENI
	for _, report := range reports {
		node := nodeOf(report.Name)
		if !speaksFor(report, node) {
			continue
		}
		at := place{cmp.Or(node.Region(), report.Status.Region), report.Status.Account}
		named := 0
		for _, entry := range report.Status.ENIs {
			if entry.ENIID != "" && named < maxReported {
				named++
				all = append(all, reportedENI{entry.ENIID, entry.NodeENIUID, report.Name, report.Status.InstanceID, at})
			}
		}
	}
	return all
}

// observation is what EC2 shows without regard to tags.
type observation struct {
	here      place
	enis      map[string]eni.ENI // by id, of those that it was asked for
	instances map[string]bool    // of those that it was asked for
	known     bool               // it has shown an instance of the cluster
}

// contradicts says what speaks against the conclusion that the reported ENI does not
// exist any more, given that EC2 does not list it among the cluster's. EC2's tags count for
// more than a report, and so does an instance that EC2 shows.
func (o observation) contradicts(r reportedENI, cluster string) contradiction {
	e, shown := o.enis[r.ENI]
	switch {
	case shown && e.Owner.Cluster != cluster && e.Owner.NodeENIUID == r.NodeENI && e.Owner.InstanceID() == r.Instance:
		return contradiction{otherClusterName, fmt.Sprintf(
			"%s of node %s was made for this NodeENI and for instance %s, but its cluster tag is %q, and the coordinator's cluster is %q; the coordinator leaves it alone. "+
				"Give coordinator and agents the same --cluster-name (clusterName in the Helm chart): the ENIs' tag tells which",
			r.ENI, r.Node, r.Instance, e.Owner.Cluster, cluster)}
	case shown, o.instances[r.Instance]:
		return contradiction{} // none of this NodeENI's, or gone
	case r.At.differs(o.here):
		return contradiction{eniElsewhere, fmt.Sprintf(
			"node %s reports %s in %s, and the coordinator asks EC2 in %s, which does not show it. "+
				"Delete the ENI there, and then the Node if its instance is gone, or run the coordinator there",
			r.Node, r.ENI, r.At, o.here)}
	case o.known:
		return contradiction{} // the right place, and the instance has gone with its ENIs
	}
	return o.noInstance([]reportedENI{r}, nil)
}

// ofPlace says whether EC2 should know one of the instances that it was asked for, and
// does not.
func (o observation) ofPlace(reported []reportedENI, instances []string) contradiction {
	if o.known || len(instances) == 0 {
		return contradiction{}
	}
	return o.noInstance(reported, instances)
}

// noInstance is the contradiction when EC2 shows none of the instances whose agents
// report ENIs, or when none does, of those that Nodes are.
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
		"EC2, asked in %s, shows none of the instances %s: %s; nothing is detached or deleted. "+
			"See that the coordinator's credentials are of the nodes' account, and that AWS_ENDPOINT_URL_EC2, where it is set, leads to the nodes' EC2. If the instances are gone, delete their Nodes",
		o.here, which, sample(instances))}
}

// allNodeENIs stands for the UID of each.
const allNodeENIs types.UID = ""

// contradictions keeps what speaks against the conclusion that an ENI does not exist
// because EC2 does not show it. The verifier finds it, the status writer shows it.
type contradictions struct {
	mu    sync.Mutex
	byUID map[types.UID]contradiction
}

func newContradictions() *contradictions {
	return &contradictions{byUID: map[types.UID]contradiction{}}
}

// of is what is to be said of a NodeENI.
func (c *contradictions) of(uid types.UID) contradiction {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cmp.Or(c.byUID[allNodeENIs], c.byUID[uid])
}

// set returns whether that is news.
func (c *contradictions) set(uid types.UID, found contradiction) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	news := c.byUID[uid] != found
	if c.byUID[uid] = found; found == (contradiction{}) {
		delete(c.byUID, uid)
	}
	return news
}

// forgetGone drops what was said of NodeENIs that are gone: somebody may have taken the
// finalizer off one that was blocked.
func (c *contradictions) forgetGone(find func(types.UID) *v1alpha1.NodeENI) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.byUID, func(uid types.UID, _ contradiction) bool { return uid != allNodeENIs && find(uid) == nil })
}

// counts are how many of so many NodeENIs each reason concerns.
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

// condition sets the condition CleanupBlocked, which is there as long as it holds.
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
		ready.Message = found.Message // nothing is detached or deleted, whatever Deleting says
	}
}
