package coordinator

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// region is a cluster in one Region and account, and a coordinator that asks EC2 in one, which
// may be another: nodes, some of whose instances are gone, with ENIs, and one node that lies.
type region struct {
	there, here location
	nodes       []*kube.Node
	reports     []*v1alpha1.NodeENIState
	instances   map[string]bool    // that exist there
	enis        map[string]eni.ENI // that exist there
}

const liar = "node-c"

func drawRegion(c *draw.Choices) *region {
	r := &region{there: location{"us-east-1", "1"}, instances: map[string]bool{}, enis: map[string]eni.ENI{}}
	r.here = draw.Of(c, r.there, r.there, location{"us-west-2", "1"}, location{"us-east-1", "2"}, location{"us-east-1", ""})
	for _, name := range []string{"node-a", "node-b", liar} {
		instance := "i-" + name[len(name)-1:]
		if name != liar { // that one exists, or it could not lie
			r.instances[instance] = !c.Rarely(4)
		} else {
			r.instances[instance] = true
		}
		report := &v1alpha1.NodeENIState{}
		report.Name = name
		report.Status.InstanceID, report.Status.Region, report.Status.Account = instance, r.there.Region, r.there.Account
		for _, uid := range []types.UID{"uid-1", "uid-2"} {
			e := eni.ENI{ID: "eni-" + name[len(name)-1:] + string(uid[4:])}
			e.Owner = eni.Owner{Cluster: draw.Of(c, testCluster, testCluster, testCluster, "other"), NodeENIUID: uid, Instance: arn(instance)}
			if c.Bool() {
				r.enis[e.ID] = e
			}
			if r.enis[e.ID].ID != "" || c.Rarely(4) { // it may not have noticed that it is gone
				report.Status.ENIs = append(report.Status.ENIs, v1alpha1.ENIState{ENIID: e.ID, NodeENIUID: uid})
			}
		}
		if name == liar {
			report.Status = lies(c)
		}
		r.nodes = append(r.nodes, nodeIn(name, draw.Of(c, "aws:///us-east-1a/", "aws:///us-east-1a/", "aws:///us-east-1-bos-1a/")+instance))
		r.reports = append(r.reports, report)
	}
	return r
}

func lies(c *draw.Choices) (s v1alpha1.NodeENIStateStatus) {
	s.InstanceID = draw.Of(c, "i-c", "i-c", "i-a", "i-0")
	s.Region, s.Account = draw.Of(c, "us-east-1", "eu-west-1", ""), draw.Of(c, "1", "9", "")
	for _, id := range draw.Some(c, "eni-a1", "eni-b1", "eni-c1", "eni-0") {
		s.ENIs = append(s.ENIs, v1alpha1.ENIState{ENIID: id, NodeENIUID: draw.Of[types.UID](c, "uid-1", "uid-2")})
	}
	return s
}

// view is what EC2 shows the coordinator.
func (r *region) view() observation {
	t := observation{here: r.here}
	if r.here.differs(r.there) {
		return t
	}
	t.enis, t.instances = r.enis, r.instances
	t.instanceSeen = slices.ContainsFunc(r.nodes, func(n *kube.Node) bool { return r.instances[kube.InstanceID(n.Spec.ProviderID)] })
	return t
}

// blocked is why the finalizer of a NodeENI stays when EC2 lists no ENI of it.
func (r *region) blocked(uid types.UID) contradiction {
	if c := regionMismatch(r.here.Region, r.nodes); c != (contradiction{}) {
		return c
	}
	reported := reportedENIs(r.reports, func(name string) *kube.Node {
		return r.nodes[slices.IndexFunc(r.nodes, func(n *kube.Node) bool { return n.Name == name })]
	})
	o := r.view()
	var instances []string
	for _, n := range r.nodes {
		instances = append(instances, kube.InstanceID(n.Spec.ProviderID))
	}
	if c := o.ofLocation(reported, instances); c != (contradiction{}) {
		return c
	}
	for _, e := range reported {
		if d := o.contradicts(e, testCluster); e.NodeENI == uid && d != (contradiction{}) {
			return d
		}
	}
	return contradiction{}
}

// FuzzContradictions: in the wrong Region or account no NodeENI goes, whatever a node reports.
// In the right one, a node that reports lies blocks none.
func FuzzContradictions(f *testing.F) {
	draw.Fuzz(f, 300, func(t *testing.T, c *draw.Choices) {
		r := drawRegion(c)
		for _, uid := range []types.UID{"uid-1", "uid-2"} {
			why := r.blocked(uid)
			if r.here.differs(r.there) {
				if why == (contradiction{}) {
					t.Fatalf("the coordinator is in %v, the cluster in %v, and %s goes", r.here, r.there, uid)
				}
				continue
			}
			named := false // with another cluster's tag: that is right to be reported
			for _, e := range r.enis {
				named = named || e.Owner.NodeENIUID == uid && e.Owner.Cluster != testCluster
			}
			if why != (contradiction{}) && !named {
				t.Fatalf("%s is blocked in the right Region and account: %+v; the lie is %+v", uid, why, r.reports[2].Status)
			}
		}
	})
}
