package adopt

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

func TestGiveBack(t *testing.T) {
	c, a := scene()
	now := time.Unix(1_800_000_000, 0)
	c.NodeENIs[0].Finalizers = []string{"example.com/kept", v1alpha1.CleanupFinalizer}
	owner := eni.Owner{Cluster: testCluster, NodeENI: "data", NodeENIUID: "uid-data"}
	a.with("eni-1", func(e *eni.Tagged) { e.Owner, e.Tags[eni.TagAdoptedFrom] = owner, e.ENI.Name })
	for _, id := range []string{"eni-2", "eni-3", "eni-4", "eni-5"} {
		a.ENIs[id] = formerENI(id, subnetB, 3)
	}
	a.with("eni-2", func(e *eni.Tagged) { e.Owner, e.Tags = owner, nil })                             // an agent's
	a.with("eni-3", func(e *eni.Tagged) { e.Attachment.InstanceID = "i-2" })                          // another cluster's
	a.with("eni-4", func(e *eni.Tagged) { e.Owner, e.Owner.Cluster = owner, "c-2" })                  // too
	a.with("eni-5", func(e *eni.Tagged) { e.Tags[FormerNodeENI], e.AttachedAt = "data", time.Now() }) // given back before
	deleted := *c.NodeENIs[0].DeepCopy()
	deleted.Name, deleted.DeletionTimestamp = "deleted", ptr.To(metav1.Now())
	c.NodeENIs = append(c.NodeENIs, deleted)
	rows, changes := giveBack(c, a, now)
	var got []string
	for _, r := range rows {
		got = append(got, r.ID+" "+string(r.Verdict))
	}
	if all := strings.Join(got, ", "); all != "eni-1 give back, eni-2 keep, eni-5 keep" {
		t.Error(all)
	}
	if len(changes) != 1 || changes[0].from != v1alpha1.CleanupFinalizer || changes[0].to != FormerFinalizer || len(changes[0].attachments) != 3 {
		t.Fatalf("%+v", changes)
	}
	want := v1alpha1.Attachment{
		NodeID: "node-1", InstanceID: instance1, ENIID: "eni-1", AttachmentID: "attach-eni-1", SubnetID: subnetA, SubnetCIDR: "10.0.1.0/24",
		DeviceIndex: 2, MTU: 9001, Status: "attached", LastUpdated: metav1.NewTime(now),
	}
	if changes[0].attachments[0] != want {
		t.Errorf("%+v, want %+v", changes[0].attachments[0], want)
	}
}

// What the former controller would take from a node does not get into a status.
func TestNotGivenBack(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Cluster, Account)
		want   string // verdict, and ENIs in the status of data
		words  string
	}{
		"as adopted":                  {func(*Cluster, Account) {}, "give back 1", ""},
		"the node has lost the label": {func(c *Cluster, _ Account) { c.Nodes[0].Labels = nil }, "refuse 0", "detach the ENI by force and delete it"},
		"never adopted, and the node has lost the label": {func(c *Cluster, a Account) {
			c.Nodes[0].Labels = nil
			a.with("eni-1", func(e *eni.Tagged) { e.Owner = eni.Owner{} })
		}, "refuse 0", "label the node"},
		"never adopted, because its tag was edited": {func(_ *Cluster, a Account) {
			a.with("eni-1", func(e *eni.Tagged) { e.Owner, e.Tags[FormerNodeENI] = eni.Owner{}, "other" })
		}, "keep 1", ""},
		"never adopted, because its tags were removed": {func(_ *Cluster, a Account) {
			a.with("eni-1", func(e *eni.Tagged) { e.Owner, e.Tags = eni.Owner{}, nil })
		}, "keep 1", ""},
		"adopted with another cluster name": {func(_ *Cluster, a Account) {
			a.with("eni-1", func(e *eni.Tagged) { e.Owner.Cluster = "c-2" })
		}, "keep 1", ""},
		"the NodeENI is gone":          {func(c *Cluster, _ Account) { c.NodeENIs[0].Name = "other" }, "give back 0", ""},
		"the NodeENI is being deleted": {func(c *Cluster, _ Account) { c.NodeENIs[0].DeletionTimestamp = ptr.To(metav1.Now()) }, "give back", ""}, // its status stays as it is,
		"a Node has no instance yet": {func(c *Cluster, a Account) {
			c.Nodes[0].Spec.ProviderID = ""
			a.with("eni-1", func(e *eni.Tagged) { e.Attachment.InstanceID = "" })
		}, "give back 0", ""},
	} {
		c, a := scene()
		a.with("eni-1", func(e *eni.Tagged) {
			e.Owner, e.Tags[eni.TagAdoptedFrom] = eni.Owner{Cluster: testCluster, NodeENI: "data", NodeENIUID: "uid-data"}, e.ENI.Name
		})
		test.change(&c, a)
		rows, changes := giveBack(c, a, time.Now())
		if len(rows) != 1 {
			t.Errorf("%s: %+v", name, rows)
			continue
		}
		got := string(rows[0].Verdict)
		for _, change := range changes {
			got += fmt.Sprintf(" %d", len(change.attachments))
		}
		if got != test.want || !strings.Contains(rows[0].Reason, test.words) {
			t.Errorf("%s: %s (%s), want %s (%s)", name, got, rows[0].Reason, test.want, test.words)
		}
	}
}
