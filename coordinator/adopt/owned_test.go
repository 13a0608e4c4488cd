package adopt

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// An ENI that will be removed although it was adopted is not passed over in silence.
func TestOwnedWarning(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Cluster, Account)
		want   string
	}{
		"in order":                     {func(*Cluster, Account) {}, ""},
		"the NodeENI is gone":          {func(c *Cluster, _ Account) { c.NodeENIs = nil }, "has been deleted, so agents and coordinator detach and delete the ENI; if you want to keep it"},
		"the NodeENI is being deleted": {func(c *Cluster, _ Account) { c.NodeENIs[0].DeletionTimestamp = ptr.To(metav1.Now()) }, "is being deleted"},
		"an agent's, of a NodeENI that was created again": {func(c *Cluster, a Account) {
			c.NodeENIs[0].UID = "uid-later"
			a.with("eni-1", func(e *eni.Tagged) { delete(e.Tags, eni.TagAdoptedFrom) })
		}, "has been deleted, so agents and coordinator detach and delete the ENI"},
	} {
		c, a := scene()
		a.with("eni-1", func(e *eni.Tagged) {
			e.Owner, e.Tags[eni.TagAdoptedFrom] = eni.Owner{Cluster: testCluster, NodeENI: "data", NodeENIUID: "uid-data"}, e.ENI.Name
		})
		test.change(&c, a)
		r := decide(c, a)[0]
		if r.Verdict != Ours || (r.Warning == "") != (test.want == "") || !strings.Contains(r.Warning, test.want) {
			t.Errorf("%s: %s, %q; want %q", name, r.Verdict, r.Warning, test.want)
		}
	}
}
