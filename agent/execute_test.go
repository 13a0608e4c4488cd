package agent

import (
	"maps"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// Device indexes are taken by ENIs of others, not by one of ours that this
// process has not seen yet.
func TestLearnHolders(t *testing.T) {
	a := New(Config{Cluster: "c", Identity: imds.Identity{
		InstanceID: me, Partition: "aws", Region: "us-east-1", AccountID: "1",
	}})
	a.known["eni-known"] = true
	a.taken[9] = "eni-formerly"
	at := func(id string, index int32, owner eni.Owner) eni.ENI {
		return eni.ENI{ID: id, Owner: owner, Attachment: &eni.Attachment{InstanceID: me, DeviceIndex: index}}
	}
	arn := a.Identity.InstanceARN()
	a.learnHolders([]eni.ENI{
		at("eni-primary", 0, eni.Owner{}),
		at("eni-cni", 1, eni.Owner{}),
		at("eni-known", 2, eni.Owner{}),
		at("eni-unseen", 3, eni.Owner{Cluster: "c", Instance: arn}),
		at("eni-other-cluster", 4, eni.Owner{Cluster: "d", Instance: arn}),
	})
	want := map[int32]string{1: "eni-cni", 4: "eni-other-cluster"}
	if !maps.Equal(a.taken, want) {
		t.Errorf("taken are %v, want %v", a.taken, want)
	}
}
